"""``headrace optimize``: run an optimizer on a dataset and write what came out as TOML."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import anyio
import click
from rich.console import Console
from rich.progress import Progress

from ..assembly import Assembly
from ..config import Config
from ..errors import ConfigError, HeadraceError
from ..jobs import Completed, JobStatus
from ..optimization import Bench, as_toml
from ..optimization import optimize as run_optimizer
from ..plugins import Registry
from .setting import open_config, with_config


@click.command()
@with_config
@click.option("--optimizer", "optimizer_name", required=True, help="The name in [optimizers].")
@click.option("--dataset-name", "-d", required=True, help="Its train split is learnt from; test is never read.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the TOML here, not to stdout.")
def optimize(
    *,
    config_file: str | None,
    default_config: bool,
    strict_plugins: bool,
    optimizer_name: str,
    dataset_name: str,
    out: Path | None,
) -> None:
    """Make a better variant from data; put the TOML beside your configuration to use it."""
    if out is not None and out.exists():
        raise ConfigError(f"--out {out}: there is a file already; remove it or choose another name")
    config, registry = open_config(config_file, default_config=default_config, strict_plugins=strict_plugins)
    function_name = config.tables.optimizers.get(optimizer_name, {}).get("function_name", "")
    status = anyio.run(partial(_optimize, config, registry, optimizer_name, function_name, dataset_name))
    if not isinstance(status, Completed):
        raise HeadraceError(f"optimizer {optimizer_name} failed: {status.message}")
    name = str(config.tables.optimizers[optimizer_name].get("variant_name", optimizer_name))
    text = as_toml(status.output, function_name, name)
    if out is None:
        click.echo(text, nl=False)
    else:
        out.write_text(text, encoding="utf-8")
        click.echo(f"wrote {out}", err=True)


async def _optimize(
    config: Config, registry: Registry, optimizer_name: str, function_name: str, dataset_name: str
) -> JobStatus:
    assembly = Assembly(config, registry)
    optimizer, gateway = assembly.optimizer(optimizer_name), assembly.gateway()
    if function_name not in gateway.functions:
        known = ", ".join(gateway.functions) or "none"
        raise ConfigError(f"optimizers.{optimizer_name}.function_name: no function {function_name!r} (known: {known})")
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(optimizer_name, total=None)

        def advance(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        async with gateway:
            bench = Bench(gateway, gateway.functions[function_name].spec, dataset_name, advance)
            return await run_optimizer(optimizer, bench, say=progress.console.print)
