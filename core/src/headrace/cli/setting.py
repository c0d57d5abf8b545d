"""What commands share: options that name a configuration, and what they open."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..errors import ConfigError

if TYPE_CHECKING:  # half a second, and 40 MB, which the process that only looks after workers need not spend
    from ..config import Config
    from ..plugins import Registry

F = TypeVar("F", bound=Callable[..., Any])

log = logging.getLogger(__name__)

# The words of RUST_LOG, which TensorZero's users have set.
_LEVELS = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "off": logging.CRITICAL,
}


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


def log_to_stderr(log_format: str) -> None:
    """Set up logging for a command that stays; ``set_level`` says how much once the configuration is known."""
    handler = logging.StreamHandler()
    if log_format == "json":
        handler.setFormatter(_JsonLines())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for chatty in ("httpx", "httpcore", "hypercorn.error"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def set_level(*, debug: bool, environ: Mapping[str, str] = os.environ) -> None:
    """``gateway.debug`` or, before it, the general level in ``RUST_LOG``; levels of its modules mean nothing here."""
    asked = [part.strip().lower() for part in environ.get("RUST_LOG", "").split(",") if "=" not in part]
    level = next((_LEVELS[word] for word in asked if word in _LEVELS), logging.DEBUG if debug else logging.INFO)
    logging.getLogger().setLevel(level)


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
