"""``headrace validate``: everything that is wrong with a configuration, at once."""

from __future__ import annotations

import click

from ..assembly import assemble
from .setting import open_config, with_config


@click.command()
@with_config
def validate(*, config_file: str | None, default_config: bool, strict_plugins: bool) -> None:
    """Check a configuration, its files and credentials, and stop. Opens no socket and no store."""
    config, registry = open_config(config_file, default_config=default_config, strict_plugins=strict_plugins)
    assemble(config, registry)
    tables = config.tables
    click.echo(
        f"ok: {len(tables.functions)} functions, {len(tables.models)} models, "
        f"{len(tables.embedding_models)} embedding models, {len(tables.metrics)} metrics; hash {config.hash}"
    )
