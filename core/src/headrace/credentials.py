"""Where a secret comes from: ``env::``, ``path::``, ``path_from_env::``, ``dynamic::``, ``sdk``, ``none``, a pair."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from .errors import ConfigError, MissingCredential

Location: TypeAlias = str | dict[str, str]

_GRAMMAR = "Use `env::VAR_NAME`, `path::FILE_PATH`, `dynamic::KEY_NAME`, or `sdk`."


class Secret:
    """A credential: static, or to be brought by each request, or none. Never prints its value."""

    def __init__(self, *, value: str | None = None, dynamic: str | None = None, fallback: Secret | None = None) -> None:
        self._value = value
        self._dynamic = dynamic
        self._fallback = fallback

    def reveal(self, brought: Mapping[str, str]) -> str | None:
        """The credential for one request, or None where none is to be sent. Raise MissingCredential."""
        if self._dynamic is None:
            return self._value
        found = brought.get(self._dynamic)
        if found is not None:
            return found
        if self._fallback is not None:
            return self._fallback.reveal(brought)
        raise MissingCredential(f"Dynamic api key `{self._dynamic}` is missing")

    def __repr__(self) -> str:
        return f"Secret(dynamic={self._dynamic!r})" if self._dynamic else "Secret(...)"


class Credentials:
    """Credentials by location, each read once; what cannot be read stays so for the life of the process."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._environ = environ
        self._known: dict[str, Secret | ConfigError] = {}

    def load(self, location: Location) -> Secret:
        """The credential. Raise ConfigError, the same one each time."""
        key = json.dumps(location, sort_keys=True)
        if key not in self._known:
            try:
                self._known[key] = load(location, self._environ)
            except ConfigError as error:
                self._known[key] = error
        known = self._known[key]
        if isinstance(known, ConfigError):
            raise ConfigError(*known.problems)
        return known


def load(location: Location, environ: Mapping[str, str] = os.environ) -> Secret:
    """Read a credential once. Both members of a pair are read now, so a missing fallback is found at start-up."""
    if isinstance(location, dict):
        if set(location) != {"default", "fallback"}:
            raise ConfigError(f"a credential pair has exactly `default` and `fallback`, not {sorted(location)}")
        return _with_fallback(load(location["default"], environ), load(location["fallback"], environ))
    if location in ("none", "sdk"):
        return Secret()
    kind, separator, name = location.partition("::")
    if separator and name:
        if kind == "env":
            return Secret(value=_variable(name, environ))
        if kind == "path":
            return Secret(value=_contents(name))
        if kind == "path_from_env":
            return Secret(value=_contents(_variable(name, environ)))
        if kind == "dynamic":
            return Secret(dynamic=name)
    raise ConfigError(f"Invalid credential location format: `{location}`. {_GRAMMAR}")


def _with_fallback(default: Secret, fallback: Secret) -> Secret:
    return Secret(value=default._value, dynamic=default._dynamic, fallback=fallback)


def _variable(name: str, environ: Mapping[str, str]) -> str:
    value = environ.get(name)
    if value is None:
        raise ConfigError(f"Environment variable `{name}` is missing")
    return value


def _contents(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"Credential file `{path}` cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"Credential file `{path}` cannot be read: not UTF-8 text, {error.reason}") from None
