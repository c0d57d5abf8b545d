"""Collects everything that is wrong with a configuration, so that a user sees all of it at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import ValidationError

from ..errors import ConfigError


class Problems:
    """Lines of the form ``path.to.key: what is wrong``."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, where: str, what: str) -> None:
        """Note one problem at a TOML key; a text that names its whole key itself, in backquotes, stays as it is."""
        named = what.startswith(f"`{where.partition('.')[0]}.")
        self.lines.append(f"{where}: {what}" if where and not named else what)

    @contextmanager
    def at(self, where: str) -> Iterator[None]:
        """Note what the block raises as problems at this key, and go on."""
        try:
            yield
        except ConfigError as error:
            for line in error.problems:
                self.add(where, line)
        except ValidationError as error:
            self.lines.extend(describe(error, where))

    def check(self) -> None:
        """Raise one ConfigError with all the problems, if there are any."""
        if self.lines:
            raise ConfigError(*self.lines)


def describe(error: ValidationError, where: str = "") -> list[str]:
    """Pydantic's findings as lines that start with the TOML key; a validator of ours may find several, one a line."""
    lines = []
    for found in error.errors(include_url=False, include_context=False):
        # Pydantic marks a finding about a table's key, rather than its value, with one more step.
        steps = found["loc"][:-1] if found["loc"][-1:] == ("[key]",) else found["loc"]
        steps = tuple(step for step in steps if not _is_tag(step))
        key = ".".join(str(part) for part in (*([where] if where else []), *steps))
        message = found["msg"].removeprefix("Value error, ")
        if found["type"] == "extra_forbidden":
            message = "unknown key (extra inputs are not permitted)"
        elif found["type"] == "table_type":
            key += ".type"
        elif found["type"] not in ("missing", "value_error"):
            message = f"{message}, found {found['input']!r}"[:300]
        lines += [_line(key, line) for line in message.splitlines()]
    return lines


def _is_tag(step: object) -> bool:
    """Which table of a union was chosen; no key of the user's."""
    return isinstance(step, str) and step.startswith("<") and step.endswith(">")


def _line(key: str, text: str) -> str:
    if text.startswith("."):  # a finding about a key further down
        return f"{key}{text}" if key else text[1:]
    return f"{key}: {text}" if key else text
