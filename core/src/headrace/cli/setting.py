"""What commands share: options that name a configuration, and what they open."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any, TypeVar

import click

from ..config import Config, load, loads
from ..errors import ConfigError
from ..plugins import Registry
from ..plugins import load as load_plugins

F = TypeVar("F", bound=Callable[..., Any])


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
    if config_file and default_config:
        raise ConfigError("You must not specify both --config-file and --default-config.")
    if not config_file and not default_config:
        raise ConfigError("You must specify either --config-file or --default-config.")
    registry = load_plugins()
    registry.check(strict=strict_plugins)
    return (load(config_file) if config_file else loads()), registry


def log_to_stderr(log_format: str, *, debug: bool) -> None:
    """Set up logging for a command that stays."""
    handler = logging.StreamHandler()
    if log_format == "json":
        handler.setFormatter(_JsonLines())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, handlers=[handler])
    for chatty in ("httpx", "httpcore", "hypercorn.error"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "timestamp": self.formatTime(record),
            "level": record.levelname,
            "target": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)
