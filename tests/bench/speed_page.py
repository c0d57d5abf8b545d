"""How the figures of gateways are shown: as tables, as a chart, and as a page of the documentation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.table import Table
from speed_rule import added, in_bare

Found = dict[str, Any]
_TITLES = {"chat": "Plain answers", "stream": "Streams of 16 words"}
_CLOSED = (
    "gateway",
    "requests/s",
    "CPU ms per 1,000 requests",
    "database",
    "x bare",
    "last saved",
    "RSS MiB",
    "errors",
)
_RATE = ("requests/s", "gateway", "added p50", "p90", "p99 ms", "CPU ms per 1,000 requests", "errors")

_PAGE = """\
# What the gateway costs: figures

Measured, not estimated, and on one machine: yours will give others. This page is made by a command; do not edit it.

    scripts/bench --peers DIR --write

| | |
| --- | --- |
| machine | {cpu}, {cores} cores, {memory_gib} GiB; {system}; load average at the start {load_1min:.1f} |
| Python | {python} |
| measured | {date}, in {took_s} s |
{versions}

![Added time by rate, and CPU time of a request]({chart})

{tables}

## What the rows mean

* **Who**: `hypercorn-off` is `headrace serve --server hypercorn` that stores nothing; `uvicorn-sqlite` is uvicorn
  with the SQLite store, and so on. All have a function with a JSON Schema and two templates; those with a store keep
  every inference and ask for an API key as well (keys are in the store). `direct` is the load on the upstream without
  a gateway, `bare` a Starlette app under uvicorn that answers by itself. `tensorzero` is the gateway out of
  TensorZero's wheel with the same function; it stores nothing and asks for no key. `litellm` is LiteLLM's proxy with
  one worker and no database; it has no functions and gets the rendered text.
* **Where**: the gateway has one core to itself; load, upstream and databases share the other. The upstream answers at
  once, always the same, so that all time is the gateway's.
* **As fast as it is answered**: 64 connections, each asks again when it has its answer.
* **Added** is a quantile of the gateway minus the same quantile of `direct`, at a constant rate. A request's time
  counts from when it was due, so a stall is charged to all that it delays. Of a stream the time to its first byte is
  told, then that to its last. A rate above 90 % of what a gateway can do is not asked of it. The 99th percentile
  needs more requests than a quick run has at low rates: `--seconds 10` is better.
* **CPU** is that of all processes of the gateway, until it is at rest again, so with all that it has put off; the
  best of {turns} turns, since neighbours only add to it. `database` is that of PostgreSQL or ClickHouse.
* **RSS** is the memory of all its processes after the load.
"""


def _closed(found: Found, last: Found, case: str) -> Iterator[list[str]]:
    for name, target in found["targets"].items():
        each = target["cases"][case].get("0")
        if not each:
            continue
        ratios = (in_bare(run, name, case) for run in (found, last))
        yield [
            name,
            f"{each['rps']:,.0f}",
            f"{each['cpu_ms'] * 1000:,.0f}",
            f"{each['helper_cpu_ms'] * 1000:,.0f}" if each["helper_cpu_ms"] else "",
            *(f"{ratio:.2f}" if ratio is not None else "" for ratio in ratios),
            f"{each['rss_mib']:.0f}",
            _errors(each),
        ]


def _rates(found: Found, case: str) -> Iterator[list[str]]:
    for rate in map(str, found["rates"]):
        for name, target in found["targets"].items():
            if name in ("direct", "bare"):
                continue
            each = target["cases"][case].get(rate)
            if each is None:
                yield [rate, name, "cannot do it", "", "", "", ""]
                continue
            whole = added(found, name, case, rate)
            first = added(found, name, case, rate, "first_us") if case == "stream" else {}
            shown = [
                f"{first[name]:.2f}, {whole[name]:.2f}" if name in first else f"{whole[name]:.2f}" for name in whole
            ] or [""] * 3
            yield [rate, name, *shown, f"{each['cpu_ms'] * 1000:,.0f}", _errors(each)]


def _errors(each: Found) -> str:
    return (
        f"{each['errors']} of {each['answered'] + each['errors']}: {', '.join(each['wrong'])}"
        if each["errors"]
        else "0"
    )


def tables(found: Found, last: Found) -> Iterator[Table]:
    """The figures for a terminal."""
    for case, title in _TITLES.items():
        closed = Table(*_CLOSED, title=f"{title}, as fast as they are answered")
        for line in _closed(found, last, case):
            closed.add_row(*line)
        yield closed
        if found["rates"]:
            rates = Table(*_RATE, title=f"{title}, at a constant rate")
            for line in _rates(found, case):
                rates.add_row(*line)
            yield rates


def page(found: Found, chart: str) -> str:
    """The page of the documentation; its chart is the file of that name beside it."""
    parts = []
    for case, title in _TITLES.items():
        parts += [f"## {title}", "", "As fast as they are answered:", ""]
        keep = [place for place, name in enumerate(_CLOSED) if name != "last saved"]
        parts += _markdown(_CLOSED, _closed(found, {}, case), keep)
        parts += ["", "At a constant rate:", "", *_markdown(_RATE, _rates(found, case), list(range(len(_RATE)))), ""]
    versions = [f"| {name} | {target['version']} |" for name, target in found["targets"].items() if target["version"]]
    turns = len(found["targets"]["direct"]["cases"]["chat"]["0"]["cpu_ms_of_turns"])
    about = {**found["machine"], "date": found["date"], "took_s": found["took_s"], "chart": chart, "turns": turns}
    return _PAGE.format(**about, versions="\n".join(versions), tables="\n".join(parts).strip())


def _markdown(names: tuple[str, ...], lines: Iterator[list[str]], keep: list[int]) -> Iterator[str]:
    yield "| " + " | ".join(names[place] for place in keep) + " |"
    yield "|" + " --- |" * len(keep)
    for line in lines:
        yield "| " + " | ".join(line[place].replace("|", "\\|").replace("\n", " ") for place in keep) + " |"


def draw(found: Found, file: Path) -> None:
    """Write the chart."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    names = [name for name in found["targets"] if name not in ("direct", "bare")]
    for name in names:
        points = [(rate, added(found, name, "chat", str(rate)).get("p50")) for rate in found["rates"]]
        shown = [(rate, value) for rate, value in points if value is not None and value > 0]
        left.plot([rate for rate, _ in shown], [value for _, value in shown], marker="o", label=name)
    left.set(title="Added p50, plain answers", xlabel="requests/s", ylabel="ms", yscale="log")
    left.legend(fontsize="small")
    for offset, case in enumerate(_TITLES):
        cpu = [found["targets"][name]["cases"][case].get("0", {}).get("cpu_ms", 0) for name in names]
        right.barh([place + offset * 0.4 for place in range(len(names))], cpu, height=0.4, label=_TITLES[case])
    right.set(title="CPU of a request, as fast as they are answered", xlabel="ms", xscale="log")
    right.set_yticks([place + 0.2 for place in range(len(names))], names)
    right.invert_yaxis()
    right.legend(fontsize="small")
    figure.savefig(file, metadata={"Date": None})
