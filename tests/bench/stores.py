"""What the stores do on real engines; kept in ``.bench/stores.json``.

scripts/bench --stores                   measure sqlite, postgres and clickhouse (about 12 minutes, some GB of disk)
scripts/bench --stores sqlite --rows 20000 --seconds 0.2 --flood-seconds 5        a quick try of one
scripts/bench --stores --rows sqlite=1000000,postgres=500000,clickhouse=1000000   as many inferences for each
scripts/bench --stores --parts lists     only a part of ingest, lists, cost, sockets, memory; the rest stays as kept
scripts/bench --stores --write           ... and write docs/explanation/store-figures.md from what is kept
scripts/bench --stores --saved --write   do not measure, only write
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
import traceback
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import store_measures as measures
import store_processes as processes
from processes import machine
from rich.console import Console
from store_engines import NAMES, Engine, engine
from store_page import page, table
from store_rows import Rows

ROOT = Path(__file__).parents[2]
SAVED = ROOT / ".bench" / "stores.json"
PAGE = ROOT / "docs" / "explanation" / "store-figures.md"
PARTS = ("ingest", "lists", "cost", "sockets", "memory")
_console = Console()


def main(arguments: list[str]) -> None:
    """Measure each store, one after the other, and keep, show and perhaps write down what was found."""
    parser = argparse.ArgumentParser(
        "scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stores", nargs="?", const=",".join(NAMES), type=_choice(NAMES), metavar=",".join(NAMES))
    parser.add_argument("--parts", default=PARTS, type=_choice(PARTS), metavar=",".join(PARTS))
    parser.add_argument("--rows", default="1000000", help="inferences to list from: N, or STORE=N,...")
    parser.add_argument("--ingest-rows", default=100_000, type=int, help="model inferences to measure ingest with")
    parser.add_argument("--seconds", default=0.8, type=float, help="of one turn, storing or not")
    parser.add_argument("--pairs", default=12, type=int, help="of turns")
    parser.add_argument("--flood-seconds", default=30, type=float)
    parser.add_argument("--saved", action="store_true", help="do not measure")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    options = parser.parse_args(arguments)
    options.rows = _rows(parser, options.rows)
    found: dict[str, Any] = json.loads(SAVED.read_text()) if SAVED.exists() else {"stores": {}}
    for name in () if options.saved else options.stores:
        measured = found["stores"].setdefault(name, {})
        try:
            _measure(name, options, measured)
        except Exception as error:  # the others are to be measured all the same
            traceback.print_exc()
            measured["failed"] = f"{type(error).__name__}: {error}"
        found["machine"] = machine()
        SAVED.parent.mkdir(exist_ok=True)
        SAVED.write_text(json.dumps(found, indent=2))
    _console.print(table(found))
    if options.write:
        PAGE.write_text(page(found), encoding="utf-8")
        _console.print(f"written: {PAGE.relative_to(ROOT)}")


def _measure(name: str, options: argparse.Namespace, measured: dict[str, Any]) -> None:
    began = time.monotonic()

    def say(text: str) -> None:
        _console.print(f"{time.monotonic() - began:6.0f} s  {name}: {text}", highlight=False)

    say("starts")
    with engine(name) as made:
        if set(options.parts) == set(PARTS):
            measured.clear()  # else only what is measured again is replaced
        measured.pop("failed", None)
        measured |= {"version": made.version, "date": f"{datetime.now(UTC):%Y-%m-%d}"}
        asyncio.run(_inside(made, options, measured, say))  # asyncpg knows no other loop
        if "sockets" in options.parts:
            pairs, seconds = max(1, options.pairs * 3 // 4), options.seconds * 2
            measured["sockets"] = processes.over_sockets(made, pairs=pairs, seconds=seconds, say=say)
        if "memory" in options.parts:
            measured["memory"] = processes.memory(made, seconds=options.flood_seconds, say=say)
    measured["took_s"] = round(time.monotonic() - began)
    say("done")


async def _inside(made: Engine, options: argparse.Namespace, measured: dict[str, Any], say: measures.Say) -> None:
    """All that is measured in this process: one gateway stores, the other does not."""
    name, rows = made.name, Rows(options.rows[made.name])
    async with (
        measures.gateway_of(measures.config(name, made.table)) as storing,
        measures.gateway_of(measures.config(name, made.table, enabled=False)) as other,
    ):
        assert storing.store is not None
        if {"ingest", "lists"} & set(options.parts):
            measured["rows"] = rows.count
            measured["fill"] = await measures.fill(storing.store, rows, say)
            await asyncio.to_thread(made.settle)
            gigabytes = await asyncio.to_thread(made.bytes_on_disk) / 1e9
            say(f"filled: {measured['fill']['rows_per_s']:,.0f} rows/s, {gigabytes:.2f} GB")
        if "lists" in options.parts:
            measured["lists"] = await measures.lists(storing, rows, say)
        if "ingest" in options.parts:
            measured["ingest"] = await measures.ingest(storing.store, rows, options.ingest_rows)
            say(f"ingest: {measured['ingest']['rows_per_s']:,.0f} model inferences/s")
        if "cost" in options.parts:
            cost = partial(measures.in_process, pairs=options.pairs, seconds=options.seconds, say=say)
            measured["cost"] = await cost(storing, other)
        measured["disk_bytes"] = await asyncio.to_thread(made.bytes_on_disk)


def _choice(known: tuple[str, ...]) -> Any:
    def chosen(text: str) -> tuple[str, ...]:
        names = tuple(text.split(","))
        if wrong := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"{', '.join(wrong)}: not one of {', '.join(known)}")
        return names

    return chosen


def _rows(parser: argparse.ArgumentParser, text: str) -> dict[str, int]:
    """How many inferences for each store."""
    try:
        if "=" not in text:
            return dict.fromkeys(NAMES, int(text))
        said = dict(part.split("=", 1) for part in text.split(","))
        if wrong := set(said) - set(NAMES):
            parser.error(f"--rows: no store {', '.join(sorted(wrong))} (known: {', '.join(NAMES)})")
        return dict.fromkeys(NAMES, 1_000_000) | {name: int(number) for name, number in said.items()}
    except ValueError:
        parser.error(f"--rows: {text!r} is neither N nor STORE=N,...")
