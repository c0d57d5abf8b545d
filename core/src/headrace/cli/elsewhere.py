"""Flags of TensorZero's gateway that start no gateway: done at once, or refused in a line that says what will do it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from ..errors import ConfigError

F = TypeVar("F", bound=Callable[..., Any])

_MIGRATE = "`headrace migrate` will do it in a later one; sqlite's tables are made when the store is opened"
# What each flag's parameter is called; of those that are not there yet, what does their work one day.
_KEYS: Mapping[str, str] = {"create_api_key": "--create-api-key", "disable_api_key": "--disable-api-key"}
_LATER: Mapping[str, tuple[str, str]] = {
    "run_clickhouse_migrations": ("--run-clickhouse-migrations", _MIGRATE),
    "run_postgres_migrations": ("--run-postgres-migrations", _MIGRATE),
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
    """Do what a flag asks and end the command; go on if there is none.

    Raise UsageError for two of them at once, ConfigError for one that this version does not have.
    """
    asked = [name for name, value in given.items() if value not in (None, False)]
    flags = [*(["--validate-and-exit"] if validate_and_exit else []), *map(_flag, asked)]
    if len(flags) > 1:
        raise click.UsageError(f"{' and '.join(flags)} cannot be used together")
    if expiration is not None and not given["create_api_key"]:
        raise click.UsageError("--expiration needs --create-api-key")
    for name in asked:
        if name in _LATER:
            raise ConfigError(f"{_flag(name)} is not available in this version: {_LATER[name][1]}")
        _change_keys(expiration, given)
        click.get_current_context().exit()


def _flag(name: str) -> str:
    return _KEYS[name] if name in _KEYS else _LATER[name][0]


def _change_keys(expiration: str | None, given: Mapping[str, Any]) -> None:
    from . import keys  # what nearly nobody needs when a gateway starts

    options = click.get_current_context().params
    config = {name: options[name] for name in ("config_file", "default_config", "strict_plugins")}
    if given["create_api_key"]:
        keys.create_by_flag(expiration, **config)
    else:
        keys.disable_by_flag(given["disable_api_key"], **config)
