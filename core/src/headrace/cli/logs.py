"""The log of a command that stays: which lines are written, what they look like, and what is kept out of them."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from ..errors import ConfigError

# The words of RUST_LOG, which TensorZero's users have set.
_LEVELS = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "off": logging.CRITICAL,
}
_SHOWN = {logging.WARNING: "WARN", logging.CRITICAL: "ERROR"}
_VARIABLES = ("HEADRACE_LOG", "RUST_LOG")
_TARGET = re.compile(r"[\w:.]+")
_OURS = "headrace"

_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
# One of ours in a URL, say; whose it is may be shown.
_API_KEY = re.compile(r"(sk-t0-[A-Za-z0-9]{12}-)[A-Za-z0-9]{48}")
# Shorter words are in texts that have nothing to do with them.
_SHORTEST = 8


def log_to_stderr(log_format: str, environ: Mapping[str, str] = os.environ) -> None:
    """Set up logging; ``set_level`` says how much once the configuration is known. Raise ConfigError for a filter."""
    handler = logging.StreamHandler()
    handler.setFormatter((_JsonLines if log_format == "json" else _Text)(secrets_in(environ)))
    logging.basicConfig(handlers=[handler])
    set_level(debug=False, environ=environ)


def set_level(*, debug: bool, environ: Mapping[str, str] = os.environ) -> None:
    """``HEADRACE_LOG`` or ``RUST_LOG``, or else our own code at info (debug, with ``gateway.debug``), others at warn.

    Raise ConfigError for a filter that says nothing.
    """
    variable = next((name for name in _VARIABLES if environ.get(name)), None)
    if variable is None:
        others, levels = logging.WARNING, {_OURS: logging.DEBUG if debug else logging.INFO}
    else:
        others, levels = _filter(variable, environ[variable])
    logging.getLogger().setLevel(others)
    plugins = [name for name in sys.modules if name.startswith(f"{_OURS}_") and "." not in name]
    if _OURS in levels:
        levels = {**dict.fromkeys(plugins, levels[_OURS]), **levels}
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def _filter(variable: str, text: str) -> tuple[int, dict[str, int]]:
    """The level of all that is not named, and of what is: ``info,sqlite=debug``."""
    others, levels = logging.ERROR, {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        target, separator, word = part.rpartition("=")
        level = _LEVELS.get(word.lower())
        if level is None or (separator and not _TARGET.fullmatch(target)):
            known = ", ".join(_LEVELS)
            raise ConfigError(f"{variable}: cannot read {part!r}; say a level ({known}), or NAME=LEVEL")
        if not separator:
            others = level
        elif target.partition("::")[0] in ("gateway", "tensorzero", "tensorzero_core"):
            levels[_OURS] = level
        else:
            levels[target.replace("::", ".")] = level
    return others, levels


def secrets_in(environ: Mapping[str, str]) -> list[str]:
    """What no line may show: values of variables that are called keys and the like, and passwords of URLs."""
    return sorted({secret for secret in _secrets(environ) if len(secret) >= _SHORTEST}, key=len, reverse=True)


def _secrets(environ: Mapping[str, str]) -> Iterator[str]:
    for name, value in environ.items():
        if _SECRET.search(name):
            yield value.strip()
        if "://" in value:
            try:
                password = urlsplit(value).password or ""
            except ValueError:
                continue
            yield password
            yield unquote(password)


class _Lines(logging.Formatter):
    """Lines without secrets. What is known of the request that a line belongs to is in it."""

    def __init__(self, secrets: list[str]) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = self.written(record)
        for secret in self._secrets:
            if secret in line:
                line = line.replace(secret, "[redacted]")
        return _API_KEY.sub(r"\1[redacted]", line) if "sk-t0-" in line else line

    def written(self, record: logging.LogRecord) -> str:
        """The line as it is."""
        return super().format(record)


class _Text(_Lines):
    def formatMessage(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={value}" for name, value in _fields(record).items())
        return super().formatMessage(record) + fields


class _JsonLines(_Lines):
    def written(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds")
        line: dict[str, Any] = {
            "timestamp": at.replace("+00:00", "Z"),
            "level": _SHOWN.get(record.levelno, record.levelname),
            "target": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """What the line says beside its message, and of the request and the span that it was written in."""
    found: dict[str, Any] = dict(getattr(record, "fields", {}))
    # Only where it is in use already: the process that looks after workers has no requests, and needs none of this.
    if (incoming := sys.modules.get(f"{_OURS}.incoming")) and (request := incoming.current()):
        found |= request.told()
    if (tracing := sys.modules.get(f"{_OURS}.tracing")) and (node := tracing.current()):
        _, found["trace_id"], found["span_id"], *_ = node.span.headers().get("traceparent", "---").split("-")
    return found
