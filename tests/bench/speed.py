"""What our gateway costs beside no gateway, a bare app and peers, over sockets; kept in ``.bench/speed.json``.

scripts/bench                       measure (about 9 minutes), show beside the last saved run
scripts/bench --save                ... and keep this run; a run is compared with the last of the same machine
scripts/bench --check               ... and fail if a request takes more than 10 % more CPU than in the last saved run
scripts/bench --check --rates none  the same in 3 minutes, without latencies
scripts/bench --peers DIR           beside TensorZero and LiteLLM, in the environments DIR/tz and DIR/ll
scripts/bench --gateways uvicorn-sqlite,granian-off      only these of ours: SERVER-STORE
scripts/bench --write               write docs/explanation/speed.md with its chart
scripts/bench --saved --write       do not measure, write from what is kept
scripts/bench --quick               in one process, without sockets; seconds (--quick --help)
scripts/bench --stores              the stores on real engines (--stores --help)
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import gateways
import processes
import uvloop
from gateways import CASES, PEERS, Target
from load import Ask, Load, Seen, undisturbed
from rich.console import Console
from speed_page import draw, page, tables
from speed_rule import regressions, shape, summary

ROOT = Path(__file__).parents[2]
SAVED = ROOT / ".bench" / "speed.json"
PAGE = ROOT / "docs" / "explanation" / "speed.md"
CONNECTIONS = 64
DEFAULT = "hypercorn-off,uvicorn-off,granian-off,uvicorn-sqlite,uvicorn-postgres,uvicorn-clickhouse"
_AT_REST_S = 0.02
_RESTS_WITHIN_S = 45
_MOST_OF_CAPACITY = 0.9
_TRIES = 3
_console = Console(width=None if sys.stdout.isatty() else 140)
Found = dict[str, Any]


def main(arguments: list[str]) -> None:
    """Measure, keep, show, judge and write, as asked."""
    parser = argparse.ArgumentParser(
        "scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gateways", default=DEFAULT, type=_gateways, metavar="SERVER-STORE,...")
    parser.add_argument("--peers", type=Path, metavar="DIR")
    parser.add_argument(
        "--rates", default="50,200,500,1000", type=_rates, metavar="N,...|none", help="requests a second"
    )
    parser.add_argument("--seconds", default=1.5, type=float, help="of a turn at a rate")
    parser.add_argument("--closed-seconds", default=2.0, type=float, help="of a turn as fast as it is answered")
    parser.add_argument("--rounds", default=2, type=int, help="of turns")
    parser.add_argument("--saved", action="store_true", help="do not measure")
    for name in ("save", "check", "write"):
        parser.add_argument(f"--{name}", action="store_true")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    kept: Found = json.loads(SAVED.read_text()) if SAVED.exists() else {}
    last: Found = kept.get(shape(processes.machine()), {})
    if options.saved:
        found = last
        if not found:
            raise SystemExit(
                f"nothing is kept of a machine like this one in {SAVED.relative_to(ROOT)}: scripts/bench --save"
            )
    else:
        found = _run(options, last if options.check else {})
    for table in tables(found, last):
        _console.print(table)
    if options.write:
        picture = PAGE.with_suffix(".svg")
        PAGE.write_text(page(found, picture.name), encoding="utf-8")
        draw(found, picture)
        _console.print(f"written: {PAGE.relative_to(ROOT)}")
    worse = regressions(found, last) if options.check else []
    if options.save and not worse:
        SAVED.parent.mkdir(exist_ok=True)
        SAVED.write_text(json.dumps(kept | {shape(found["machine"]): found}, indent=1))
    if options.check and not last:
        _console.print("nothing to compare with: no run of a machine like this one is kept (--save)")
    if worse:
        raise SystemExit("more CPU a request than in the last saved run:\n  " + "\n  ".join(worse))


def _run(options: argparse.Namespace, last: Found) -> Found:
    began = time.monotonic()
    found: Found = {"machine": processes.machine(), "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M}", "targets": {}}
    found["rates"], found["closed_s"], found["rate_s"] = options.rates, options.closed_seconds, options.seconds
    os.sched_setaffinity(0, gateways.OTHERS)
    undisturbed()
    with _started(options) as targets:
        bench = _Bench(targets)
        for case in CASES:
            for number in range(options.rounds):
                bench.round_of_all(case, options.closed_seconds)
                _say(began, f"{case}: as fast as it is answered, turn {number + 1} of {options.rounds}")
            for rate in options.rates:
                for number in range(options.rounds):
                    bench.round_of_all(case, options.seconds, rate, backwards=number % 2 == 1)
                _say(began, f"{case}: {rate}/s")
        # Whoever looks slower is asked again: a neighbour on this machine adds to CPU time, and nothing takes from it.
        for _ in range(_TRIES):
            found["targets"] = bench.found()
            if not (again := regressions(found, last)):
                break
            _say(began, "again: " + "; ".join(again))
            for case in CASES:
                bench.round_of_all(case, options.closed_seconds)
        found["targets"] = bench.found()
    found["took_s"] = round(time.monotonic() - began)
    return found


def _say(began: float, text: str) -> None:
    _console.print(f"{time.monotonic() - began:6.0f} s  {text}", highlight=False)


@contextmanager
def _started(options: argparse.Namespace) -> Iterator[list[Target]]:
    """All that is measured, running; the upstream first. Who cannot start is left out, and it is told why."""
    with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:

        def place(name: str) -> Path:
            made = Path(folder) / name
            made.mkdir()
            return made

        upstream, pid = stack.enter_context(gateways.upstream(Path(folder)))
        starts: dict[str, Callable[[], Any]] = {"bare": partial(gateways.bare, place("bare"))}
        for name in options.gateways:
            starts[name] = partial(gateways.ours, name, upstream, place(name))
        for name, (environment, start) in PEERS.items() if options.peers else ():
            where = (options.peers / environment).absolute()
            if (where / "bin" / "python").exists():
                starts[name] = partial(start, where, upstream, place(name))
            else:
                _console.print(f"{name} is left out: no environment {where}")
        targets = [gateways.direct(upstream, pid)]
        for name, start in starts.items():
            try:
                targets.append(stack.enter_context(start()))
            except (RuntimeError, OSError) as error:
                _console.print(f"{name} is left out: {error}", markup=False)
        yield targets


class _Bench:
    """Turns of load, each target's in turn, so that what happens to the machine happens to all."""

    def __init__(self, targets: list[Target]) -> None:
        self._targets = targets
        self._turns: dict[str, dict[str, dict[int, list[Found]]]] = {
            target.name: {case: {} for case in CASES} for target in targets
        }

    def round_of_all(self, case: str, seconds: float, rate: int = 0, *, backwards: bool = False) -> None:
        """One turn of each; at a rate not of those that would not keep up with it."""
        for target in reversed(self._targets) if backwards else self._targets:
            turns = self._turns[target.name][case]
            if rate and (target.name == "bare" or rate > _MOST_OF_CAPACITY * max(each["rps"] for each in turns[0])):
                continue
            turns.setdefault(rate, []).append(self._turn(target, case, seconds, rate))

    def _turn(self, target: Target, case: str, seconds: float, rate: int) -> Found:
        gc.collect()
        cpu, helper = processes.cpu_s(target.pids), processes.cpu_s(target.helpers())
        seen = uvloop.run(_load(target, case, seconds, rate))
        _rest(target)  # what it has put off is charged to this turn, and not to the next
        answered = max(seen.answered, 1)
        return {
            "rps": seen.answered / seen.seconds,
            "answered": seen.answered,
            "errors": seen.errors,
            "wrong": dict(seen.wrong.most_common(3)),
            "cpu_ms": (processes.cpu_s(target.pids) - cpu) / answered * 1000,
            "helper_cpu_ms": (processes.cpu_s(target.helpers()) - helper) / answered * 1000,
            "rss_mib": processes.rss_mib(target.pids),
            "latency_us": seen.latency_us,
            "first_us": seen.first_us,
            "late_us": seen.late_us,
        }

    def found(self) -> Found:
        """What was measured, without the samples."""
        return {
            target.name: {
                "version": target.version,
                "cases": {
                    case: {str(rate): summary(turns) for rate, turns in by_rate.items()}
                    for case, by_rate in self._turns[target.name].items()
                },
            }
            for target in self._targets
        }


async def _load(target: Target, case: str, seconds: float, rate: int) -> Seen:
    ask, where = Ask(target.requests[case], CASES[case]), urlsplit(target.url)
    load = Load((where.hostname or "", where.port or 80), lambda: ask)
    if rate:
        return await load.at_rate(rate, seconds)
    until = time.monotonic() + seconds + 0.5
    return await load.at_once(CONNECTIONS, lambda: time.monotonic() < until)


def _rest(target: Target) -> None:
    """Return when a gateway and its database have nothing left to do."""
    until = time.monotonic() + _RESTS_WITHIN_S

    def used() -> float:
        return processes.cpu_s({*target.pids, *target.helpers()})

    before = used()
    while time.monotonic() < until:
        time.sleep(0.2)
        now = used()
        if now - before <= _AT_REST_S:
            return
        before = now


def _gateways(text: str) -> list[str]:
    known = [f"{server}-{store}" for server in gateways.SERVERS for store in gateways.STORES]
    names = known if text == "all" else text.split(",")
    if wrong := [name for name in names if name not in known]:
        raise argparse.ArgumentTypeError(f"{', '.join(wrong)}: not `all`, nor one of {', '.join(known)}")
    return names


def _rates(text: str) -> list[int]:
    return [] if text == "none" else [int(rate) for rate in text.split(",")]
