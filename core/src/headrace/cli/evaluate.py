"""``headrace evaluate``: score variants on one split of a dataset, and compare them pair by pair."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from functools import partial
from typing import Any

import anyio
import click
import msgspec
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from ..assembly import Assembly
from ..config import Config
from ..contracts import Evaluator, SystemClock
from ..errors import ConfigError
from ..evaluation import Evaluation, choose, compare
from ..evaluation import evaluate as run_evaluation
from ..http.native import response_body
from ..plugins import Registry
from ..statistics import Estimate, PairedDifference, percentiles
from ..tags import is_reserved
from ..types import Split
from .setting import open_config, with_config


@click.command()
@with_config
@click.option("--function-name", required=True)
@click.option("--evaluator-names", help="Comma-separated; all of the function's by default.")
@click.option("--dataset-name", "-d", required=True)
@click.option("--variant-name", "-v", "variant_names", multiple=True, required=True, help="Give several to compare.")
@click.option("--split", default="test", show_default=True, type=click.Choice(["train", "validation", "test"]))
@click.option("--concurrency", "-c", default=1, show_default=True, type=click.IntRange(1))
@click.option("--max-datapoints", type=click.IntRange(1), help="A random sample of this size.")
@click.option("--seed", default=0, show_default=True, help="Of that sample.")
@click.option("--format", "-f", "format_", default="pretty", type=click.Choice(["pretty", "jsonl"]))
def evaluate(
    *,
    config_file: str | None,
    default_config: bool,
    strict_plugins: bool,
    evaluator_names: str | None,
    format_: str,
    **options: Any,
) -> None:
    """Score variants on a dataset. Numbers come with n and a 95 % interval; differences are paired."""
    config, registry = open_config(config_file, default_config=default_config, strict_plugins=strict_plugins)
    names = evaluator_names.split(",") if evaluator_names else None
    runs = anyio.run(partial(_evaluate, config, registry, evaluator_names=names, **options))
    if format_ == "jsonl":
        for run in runs:
            _print_lines(run)
    else:
        _print_tables(runs)


async def _evaluate(
    config: Config,
    registry: Registry,
    *,
    function_name: str,
    evaluator_names: Sequence[str] | None,
    dataset_name: str,
    variant_names: Sequence[str],
    split: Split,
    concurrency: int,
    max_datapoints: int | None,
    seed: int,
) -> list[Evaluation]:
    assembly = Assembly(config, registry)
    gateway = assembly.gateway()
    evaluators = _chosen(assembly, function_name, evaluator_names)
    for name in variant_names:
        gateway.functions[function_name].pinned(name)
    async with gateway:
        datapoints = await choose(
            gateway,
            dataset_name=dataset_name,
            function_name=function_name,
            split=split,
            at_most=max_datapoints,
            seed=seed,
        )
        runs = []
        with Progress(console=Console(stderr=True), transient=True) as progress:
            for name in variant_names:
                task = progress.add_task(name, total=len(datapoints))
                run = await run_evaluation(
                    gateway,
                    evaluators,
                    datapoints=datapoints,
                    variant_name=name,
                    concurrency=concurrency,
                    clock=SystemClock(),
                    advance=partial(progress.advance, task),
                )
                runs.append(run)
        return runs


def _chosen(assembly: Assembly, function_name: str, names: Sequence[str] | None) -> dict[str, Evaluator]:
    if function_name not in assembly.functions.functions:
        known = ", ".join(name for name in assembly.functions.functions if not is_reserved(name)) or "none"
        raise ConfigError(f"Unknown function: {function_name} (known: {known})")
    have = assembly.functions.evaluators.get(function_name, {})
    for name in names or ():
        if name not in have:
            raise ConfigError(f"functions.{function_name}.evaluators: no {name!r} (known: {', '.join(have) or 'none'})")
    chosen = {name: have[name] for name in names or have}
    if not chosen:
        raise ConfigError(f"functions.{function_name}.evaluators is empty: there is nothing to score with")
    return chosen


def _print_tables(runs: Sequence[Evaluation]) -> None:
    console = Console()
    first = runs[0]
    console.print(f"{first.function_name} on {first.dataset_name!r}, split {first.split}, n = {len(first.outcomes)}")
    for run in runs:
        console.print(f"Run ID: {run.run_id} ({run.variant_name})", highlight=False)
    table = Table("variant", "evaluator", "mean", "95 % interval", "n", "failed", "p50 ms", "p90 ms", "cost $")
    for run in runs:
        middle, high = percentiles([outcome.processing_time_ms for outcome in run.outcomes], [50, 90])
        for name in first.outcomes[0].scores:
            estimate = run.estimate(name)
            table.add_row(
                run.variant_name,
                name,
                _number(estimate.mean),
                _interval(estimate),
                str(estimate.n),
                str(run.failures),
                _number(middle, 0),
                _number(high, 0),
                _money(run.cost),
            )
    console.print(table)
    for run in runs:
        for name in first.outcomes[0].scores:
            _print_failures(console, run, name)
    for run in runs[1:]:
        for name in first.outcomes[0].scores:
            difference = compare(first, run, name)
            console.print(
                f"{run.variant_name} - {first.variant_name}, {name}: {_number(difference.difference)} "
                f"{_interval(difference)} (n = {difference.n} pairs: {difference.wins} better, "
                f"{difference.losses} worse; p = {_number(difference.p_value)})",
                highlight=False,
            )


def _print_failures(console: Console, run: Evaluation, evaluator: str) -> None:
    """A smaller n must not go by in silence."""
    count = run.evaluator_failures(evaluator)
    if count:
        reason = next(error for outcome in run.outcomes if (error := outcome.evaluator_errors.get(evaluator)))
        console.print(f"{run.variant_name}: {evaluator} failed to judge {count} outputs: {reason}", highlight=False)


def _interval(of: Estimate | PairedDifference) -> str:
    return "-" if of.low is None or of.high is None else f"[{of.low:.3f}, {of.high:.3f}]"


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _money(value: Decimal | None) -> str:
    return "-" if value is None else f"{value:f}"


def _print_lines(run: Evaluation) -> None:
    encode = msgspec.json.Encoder(decimal_format="number").encode
    head = {
        "evaluation_run_id": run.run_id,
        "evaluation_name": run.function_name,
        "num_datapoints": len(run.outcomes),
        "variant_name": run.variant_name,
        "dataset_name": run.dataset_name,
        "split": run.split,
    }
    click.echo(encode(head))
    for outcome in run.outcomes:
        if outcome.response is None:
            click.echo(encode({"datapoint_id": outcome.datapoint.id, "message": outcome.error}))
            continue
        line = {
            "datapoint": outcome.datapoint,
            "response": response_body(outcome.response),
            "evaluations": outcome.scores,
            "evaluator_errors": outcome.evaluator_errors,
            "processing_time_ms": outcome.processing_time_ms,
        }
        click.echo(encode(line))
