"""How a soak is shown: as a table, as a chart, and as a page of the documentation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.table import Table

Found = dict[str, Any]
_CURVES = {"rss_mib": "RSS, MiB", "files": "open files", "tasks": "asyncio tasks"}
_NAMES = ("", "at rest before", "middle", "end", "at rest after", "growth of the last half (95 % interval)", "")

_PAGE = """\
# A long run: is it flat?

Measured on one machine. This page is made by a command; do not edit it.

    scripts/soak --write

| | |
| --- | --- |
| machine | {cpu}, {cores} cores, {memory_gib} GiB; {system}; load average at the start {load_1min:.1f} |
| Python | {python} |
| measured | {date}: {requests:,} requests in {took_s:,.0f} s, {rate:,.0f}/s |
| gateway | `headrace serve --server {server}`, SQLite, API keys, a schema and templates; one worker |

{table}

![The curves]({chart})

{problems}

## What was asked

| | requests |
| --- | --- |
{asked}

{answered:,} were answered as they should be, errors included; in {left:,} cases the client had left before. 32
connections, each asks again when it is answered. Who leaves closes the connection: while it waits for a slow
upstream, or when a stream has just begun.

## How it is judged

A sample each second. The last half of the run is cut into ten blocks, and a line laid through their means by
requests; the interval is that of its slope. A curve is flat if growth is not proven, or at most 2 % of its level (or
one) is possible. Memory is that of all processes of the gateway. That of the first half is not judged: pools, caches
and the store's own memory fill then. "At rest" is ten seconds after the last request.
"""


def _cells(found: Found) -> Iterator[list[str]]:
    samples = found["samples"]
    for name, title in _CURVES.items():
        places = [found["before"], samples[len(samples) // 2], samples[-1], found["after"]]
        slope = found["slopes"].get(name)
        growth = f"{slope['growth']:+.1f} ({slope['low']:+.1f} to {slope['high']:+.1f})" if slope else "too short a run"
        yield [
            title,
            *(f"{each[name]:.0f}" for each in places),
            growth,
            "flat" if slope and slope["is_flat"] else "NOT FLAT",
        ]


def table(found: Found) -> Table:
    """The result for a terminal."""
    shown = Table(*_NAMES, title=f"{found['requests']:,} requests in {found['took_s']:.0f} s")
    for line in _cells(found):
        shown.add_row(*line)
    return shown


def page(found: Found, chart: str) -> str:
    """The page of the documentation; its chart is the file of that name beside it."""
    lines = [f"| {' | '.join(_NAMES)} |", "|" + " --- |" * len(_NAMES)]
    lines += [f"| {' | '.join(line)} |" for line in _cells(found)]
    about = {
        **found["machine"],
        **{name: found[name] for name in ("date", "requests", "took_s", "server", "answered", "left")},
    }
    problems = (
        "\n".join(f"* {each}" for each in found["problems"]) or "Nothing was answered otherwise than it should be."
    )
    return _PAGE.format(
        **about,
        rate=found["requests"] / found["took_s"],
        table="\n".join(lines),
        chart=chart,
        problems=problems,
        asked="\n".join(f"| {name} | {number:,} |" for name, number in found["asked"].items()),
    )


def draw(found: Found, file: Path) -> None:
    """Write the chart."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    thousands = [each["requests"] / 1000 for each in found["samples"]]
    for axes, (name, title) in zip(figure.subplots(len(_CURVES), 1, sharex=True), _CURVES.items(), strict=True):
        values = [each[name] for each in found["samples"]]
        axes.plot(thousands, values, linewidth=1)
        axes.set(ylabel=title, ylim=(0, 1.2 * max(values)))
    axes.set(xlabel="thousand requests")
    figure.savefig(file, metadata={"Date": None})
