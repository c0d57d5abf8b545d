"""Flags of TensorZero's gateway that start no gateway: each is understood, and refused in a line that says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from ..errors import ConfigError

F = TypeVar("F", bound=Callable[..., Any])

_MIGRATE = "`headrace migrate` will do it in a later one; sqlite's tables are made when the store is opened"
# What each flag's parameter is called, and what does its work one day.
_LATER: Mapping[str, tuple[str, str]] = {
    "run_clickhouse_migrations": ("--run-clickhouse-migrations", _MIGRATE),
    "run_postgres_migrations": ("--run-postgres-migrations", _MIGRATE),
    "create_api_key": ("--create-api-key", "`headrace keys create` will do it in a later one"),
    "disable_api_key": ("--disable-api-key", "`headrace keys disable` will do it in a later one"),
    "migrate_config": ("--migrate-config", "`headrace config store` will do it in a later one"),
}


def with_early_exits(command: F) -> F:
    """Add the flags, and ``--validate-and-exit`` of their group."""
    options = (
        click.option("--migrate-config", metavar="GLOB", hidden=True),
        click.option("--disable-api-key", metavar="PUBLIC_ID", hidden=True),
        click.option("--expiration", metavar="RFC3339", hidden=True),
        click.option("--create-api-key", is_flag=True, hidden=True),
        click.option("--run-postgres-migrations", is_flag=True, hidden=True),
        click.option("--run-clickhouse-migrations", "--run-migrations", is_flag=True, hidden=True),
        click.option("--validate-and-exit", is_flag=True, help="Start up completely, open stores too, then stop."),
    )
    for option in options:
        command = option(command)
    return command


def check_early_exits(*, validate_and_exit: bool, expiration: str | None, **given: Any) -> None:
    """Raise UsageError for two commands at once, ConfigError for one that this version does not have."""
    asked = [_LATER[name] for name, value in given.items() if value not in (None, False)]
    flags = [*(["--validate-and-exit"] if validate_and_exit else []), *(flag for flag, _ in asked)]
    if len(flags) > 1:
        raise click.UsageError(f"{' and '.join(flags)} cannot be used together")
    if expiration is not None and not given["create_api_key"]:
        raise click.UsageError("--expiration needs --create-api-key")
    for flag, instead in asked:
        raise ConfigError(f"{flag} is not available in this version: {instead}")
