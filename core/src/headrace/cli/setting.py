"""What commands share: options that name a configuration, and what they open."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..errors import ConfigError
from .logs import log_to_stderr, set_level

if TYPE_CHECKING:  # half a second, and 40 MB, which the process that only looks after workers need not spend
    from ..config import Config
    from ..plugins import Registry

__all__ = ["log_to_stderr", "open_config", "set_level", "with_config"]

F = TypeVar("F", bound=Callable[..., Any])

log = logging.getLogger(__name__)


def with_config(command: F) -> F:
    """Add ``--config``, ``--default-config`` and ``--strict-plugins``."""
    options = (
        click.option(
            "--strict-plugins", is_flag=True, help="Refuse to start while any installed plugin fails to load."
        ),
        click.option("--default-config", is_flag=True, help="Run with an empty configuration."),
        click.option("--config", "--config-file", "config_file", metavar="GLOB", help="Configuration file, or a glob."),
    )
    for option in options:
        command = option(command)
    return command


def open_config(config_file: str | None, *, default_config: bool, strict_plugins: bool) -> tuple[Config, Registry]:
    """The configuration and the plugins. Raise ConfigError or PluginError."""
    if config_file is not None and default_config:
        raise ConfigError("You must not specify both --config-file and --default-config.")
    if config_file is None and not default_config:
        raise ConfigError("You must specify either --config-file or --default-config.")
    from ..config import load, loads
    from ..plugins import load as load_plugins

    registry = load_plugins()
    registry.check(strict=strict_plugins)
    if config_file is not None:
        return load(config_file), registry
    log.warning("Running with an empty configuration: only default functions and models by short name are available")
    return loads(), registry
