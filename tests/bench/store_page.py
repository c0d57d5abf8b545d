"""How the figures of stores are shown: as a table, and as a page of the documentation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from rich.table import Table

Found = dict[str, Any]
INGEST_PER_S = {"sqlite": 5_000, "postgres": 5_000, "clickhouse": 20_000}
LIST_MS = {"sqlite": 100, "postgres": 100, "clickhouse": 50}
RATIO = 0.90
FLAT_MIB = 10.0

_PAGE = """\
# What the stores do: figures

Measured, not estimated, and on one machine: yours will give others. This page is made by a command; do not edit it.

    scripts/bench --stores --write

| | |
| --- | --- |
| machine | {cpu}, {cores} cores, {memory_gib} GiB; {system} |
| Python | {python} |
{versions}

Gateway, database and load share these cores. Each database is fresh and on one local disk, and is asked to survive a
loss of power with what it has acknowledged: SQLite with `synchronous = "full"`, PostgreSQL with its own defaults,
ClickHouse with `fsync_after_insert`.

{table}

`-` is: not measured, or there was no way to. What was asked is in the second column; **bold** misses it.

## What the rows mean

* **Ingest**: model inferences with 2 to 4 kB of raw texts each, put one by one into one recorder as the gateway does,
  up to 1000 in a batch, until the last one is stored. "Filling" are large batches from two writers: inferences, and
  feedback on them.
* **Lists**: the 100 newest inferences that meet a boolean metric, out of all, each with exactly one row of feedback.
  "Half" is a metric that every second inference has, true for half of them; "1 in 10,000" is the rare value of the
  metric that the others have. Median and 95th percentile of 30 queries. "Over HTTP" is
  `POST /v1/inferences/list_inferences`, without a socket. PostgreSQL was told to `VACUUM ANALYZE` before, as it does
  by itself a minute or so after a great change; until then its planner knows nothing of the rows and lists are slow.
* **Storing or not**: `/inference` on the `echo` provider, which costs nothing, with a store and with
  `gateway.observability.enabled = false`, in turns, the order changing. "In process" calls the ASGI app, and a turn
  ends when its last record is stored; "Hypercorn" is two servers and a load generator over sockets, closed loop,
  {connections} connections. The ratio is the median of those of the pairs of turns, with a 95 % interval from their
  order. Both are as fast as they can be all the time, so this is the worst case: with a real model, which takes its
  time, what storing costs is the CPU time per request.
* **CPU** is that of the gateway's own process; that of PostgreSQL and ClickHouse comes on top, in theirs, and on few
  cores it is missing from the throughput.
* **Memory**: resident, of a gateway flooded for some time while its store is away (SQLite is locked, a server is
  killed). With the spill all requests are answered and records go to the disk; without it requests wait once 10,000
  records do, and memory holds these requests as well, also those whose clients have given up (after 10 seconds here).
  What is asked is that it is flat: in the last third at most {flat_mib:g} MiB more than before.

## How to repeat

The engines come from packages, or are those at `POSTGRES_URL` and `CLICKHOUSE_URL` (these cannot be taken away, so
memory is not measured there). `scripts/bench --stores --help` tells how to measure one store, fewer rows or a part.
The figures are kept in `.bench/stores.json`.
"""


def _ingest(found: Found, store: str) -> str:
    return _said(found["ingest"]["rows_per_s"], INGEST_PER_S[store], "{:,.0f}/s", is_least=True)


def _list(name: str) -> Callable[[Found, str], str]:
    def shown(found: Found, store: str) -> str:
        each = found["lists"][name]
        median = _said(each["median_ms"], LIST_MS[store], "{:.1f}", is_least=False)
        wrong = "" if each["is_right"] else f" (**only {each['rows']} rows**)"
        return f"{median} / {each['p95_ms']:.1f} ms{wrong}"

    return shown


def _ratio(part: str) -> Callable[[Found, str], str]:
    def shown(found: Found, store: str) -> str:
        each = found[part]
        ratio = _said(each["ratio"], RATIO, "x {:.2f}", is_least=True)
        return f"{ratio} ({each['low']:.2f} to {each['high']:.2f}; n = {each['n']})"

    return shown


def _rates(part: str) -> Callable[[Found, str], str]:
    return lambda found, store: f"{found[part]['storing_per_s']:,.0f} / {found[part]['not_storing_per_s']:,.0f}"


def _cpu(part: str) -> Callable[[Found, str], str]:
    return lambda found, store: f"{found[part]['cpu_us_storing']:,.0f} / {found[part]['cpu_us_not_storing']:,.0f} µs"


def _memory(mode: str) -> Callable[[Found, str], str]:
    def shown(found: Found, store: str) -> str:
        each = found["memory"][mode]
        first = each["two_thirds_max_mib"] - each["start_mib"]
        last = _said(each["max_mib"] - each["two_thirds_max_mib"], FLAT_MIB, "{:.0f}", is_least=False)
        return f"{each['start_mib']:.0f} + {first:.0f} + {last} MiB"

    return shown


def _said(value: float, asked: float, form: str, *, is_least: bool) -> str:
    met = value >= asked if is_least else value <= asked
    return form.format(value) if met else f"**{form.format(value)}**"


_LISTS = ("half, all functions", "half, one function", "1 in 10,000, all functions", "1 in 10,000, one function")
_LINES: tuple[tuple[str, str, Callable[[Found, str], str]], ...] = (
    ("Ingest, model inferences", "20,000/s ClickHouse, 5,000/s others", _ingest),
    ("... CPU a row", "", lambda found, store: f"{found['ingest']['cpu_us_per_row']:.0f} µs"),
    ("Filling, inferences and feedback", "", lambda found, store: f"{found['fill']['rows_per_s']:,.0f}/s"),
    ("Inferences to list from", "1,000,000", lambda found, store: f"{found['rows']:,}"),
    ("Disk, in all", "", lambda found, store: f"{found['disk_bytes'] / 1e9:.2f} GB"),
    *((f"List: {name}", "50 ms ClickHouse, 100 ms others", _list(name)) for name in _LISTS),
    *((f"List over HTTP: {name}", "the same", _list(f"{name}, over HTTP")) for name in _LISTS),
    ("Storing or not, in process", f"x {RATIO:.2f}", _ratio("cost")),
    ("... requests/s", "", _rates("cost")),
    ("... CPU a request", "", _cpu("cost")),
    ("Storing or not, Hypercorn", f"x {RATIO:.2f}", _ratio("sockets")),
    ("... requests/s", "", _rates("sockets")),
    ("... CPU a request", "", _cpu("sockets")),
    ("Memory with the spill: start, growth, and growth in the last third", "flat", _memory("spill")),
    ("Memory without: the same", "flat", _memory("wait")),
)


def table(found: Found) -> Table:
    """The figures for a terminal. What misses what was asked is bold and red."""
    shown = Table("what", "asked", *found["stores"])
    for line in _cells(found):
        shown.add_row(*(_for_terminal(cell) for cell in line))
    return shown


def page(found: Found) -> str:
    """The page of the documentation."""
    stores: Found = found["stores"]
    lines = [f"| what | asked | {' | '.join(stores)} |", f"| --- | --- |{' --- |' * len(stores)}"]
    lines += [f"| {' | '.join(line)} |" for line in _cells(found)]
    versions = [
        f"| {name} | {each.get('version', 'not there')}, {each.get('date', '')}{_how_it_ended(each)} |"
        for name, each in stores.items()
    ]
    about = {**found["machine"], "connections": 32, "flat_mib": FLAT_MIB}
    return _PAGE.format(**about, versions="\n".join(versions), table="\n".join(lines))


def _how_it_ended(each: Found) -> str:
    return f"; failed: {each['failed']}" if "failed" in each else ""


def _cells(found: Found) -> Iterator[list[str]]:
    for name, asked, shown in _LINES:
        cells = []
        for store, each in found["stores"].items():
            try:
                cells.append(shown(each, store))
            except KeyError:  # not measured
                cells.append("-")
        yield [name, asked, *cells]


def _for_terminal(cell: str) -> str:
    return cell.replace("**", "[bold red]", 1).replace("**", "[/]", 1) if "**" in cell else cell
