"""What came out: a table with intervals, paired differences, and a chart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.statistics import paired, percentiles, proportion
from rich.console import Console
from rich.table import Table

_POINTS = (50, 90, 99)


@dataclass(frozen=True)
class Result:
    """Right or wrong for each test row, in one order for all results; milliseconds and dollars where an LLM ran."""

    name: str
    right: Sequence[bool]
    milliseconds: Sequence[float] = field(default_factory=list)
    dollars: Sequence[float] = field(default_factory=list)
    failed: int = 0

    @classmethod
    def of(cls, name: str, lines: Sequence[dict[str, Any]]) -> Result:
        """From what ``headrace evaluate --format jsonl`` printed. A failed inference is a wrong answer."""
        answered = [line for line in lines if "response" in line]
        return cls(
            name,
            [bool(line.get("evaluations", {}).get("correct")) for line in lines],
            [line["processing_time_ms"] for line in answered],
            [cost for line in answered if (cost := line["response"]["usage"]["cost"]) is not None],
            len(lines) - len(answered),
        )


def show(console: Console, results: Sequence[Result]) -> None:
    """Print the table, and every result against the first, pair by pair."""
    first = results[0]
    table = Table(title=f"accuracy on the test split, n = {len(first.right)}, 95 % intervals")
    for name in (
        "variant",
        "accuracy",
        "interval",
        "failed",
        "ms p50 / p90 / p99",
        "$ per 1000 calls, p50 / p90",
    ):
        table.add_column(name, justify="left" if name == "variant" else "right")
    for result in results:
        estimate = proportion(sum(result.right), len(result.right))
        table.add_row(
            result.name,
            _percent(estimate.mean),
            f"{_percent(estimate.low)} to {_percent(estimate.high)}",
            str(result.failed),
            _points(result.milliseconds, 1, 0),
            _points(result.dollars, 1000, 4, (50, 90)),
        )
    console.print(table)
    for result in results[1:]:
        difference = paired(first.right, result.right)
        p_value = "-" if difference.p_value is None else f"{difference.p_value:.2g}"
        console.print(
            f"{result.name} minus {first.name}: {_percent(difference.difference, sign=True)} "
            f"({_percent(difference.low, sign=True)} to {_percent(difference.high, sign=True)}; "
            f"n = {difference.n} pairs, {difference.wins} better, {difference.losses} worse, p = {p_value})",
            highlight=False,
            soft_wrap=True,
        )


def draw(results: Sequence[Result], path: Path) -> None:
    """Save accuracies with their intervals as PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    estimates = [proportion(sum(result.right), len(result.right)) for result in results]
    means = [100 * (estimate.mean or 0) for estimate in estimates]
    lows = [100 * ((estimate.mean or 0) - (estimate.low or 0)) for estimate in estimates]
    highs = [100 * ((estimate.high or 0) - (estimate.mean or 0)) for estimate in estimates]
    figure, axes = pyplot.subplots(figsize=(7, 2.6), layout="constrained")
    names = [result.name for result in results]
    axes.errorbar(means, names, xerr=[lows, highs], fmt="o", capsize=4)
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.margins(y=0.3)
    axes.set_xlabel(f"accuracy on the test split, %, with 95 % intervals (n = {len(results[0].right)})")
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _percent(value: float | None, *, sign: bool = False) -> str:
    return "-" if value is None else f"{100 * value:{'+' if sign else ''}.1f} %"


def _points(values: Sequence[float], scale: float, digits: int, points: Sequence[int] = _POINTS) -> str:
    found = percentiles(values, points)
    return " / ".join("-" if value is None else f"{scale * value:.{digits}f}" for value in found)
