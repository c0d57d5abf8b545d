"""Which backend holds the buckets of rate limits, and the limiter of the configured rules (config spec 20)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from ..config import RateLimitingTable, environment
from ..config import Rule as RuleTable
from ..contracts import Buckets
from ..errors import ConfigError
from ..limiting import Limiter
from ..limits import Part, Rule, Rules
from ..plugins import Kind
from ..tags import canonical
from .parts import Parts
from .storing import URLS, Storing

_WHERE: Final = "rate_limiting.backend"
_VALKEY, _VALKEY_URL = "valkey", "TENSORZERO_VALKEY_URL"


def limiter_of(parts: Parts, table: RateLimitingTable, storing: Storing, environ: Mapping[str, str]) -> Limiter | None:
    """None where there is nothing to limit, or where a problem has been noted."""
    if not table.enabled or not (table.rules or table.backend != "auto"):
        return None
    backends = _Backends(parts, storing, environ)
    name = backends.chosen() if table.backend == "auto" else table.backend
    buckets = None if name is None else backends.named(name)
    if name is None or buckets is None or not any(rule.limits for rule in table.rules):
        return None
    if not backends.is_the_store(name):
        parts.own(buckets)
        if ping := getattr(buckets, "ping", None):
            storing.pings[name] = ping
    limiter = Limiter(Rules(map(_rule, table.rules)), buckets, default_cost=table.default_cost)
    parts.own(limiter)
    return limiter


def _rule(table: RuleTable) -> Rule:
    scope = tuple(
        Part(scope.tag_key and canonical(scope.tag_key), canonical(scope.tag_value or scope.api_key_public_id or ""))
        for scope in table.scope
    )
    return Rule(table.limits, scope, None if table.always else table.priority)


class _Backends:
    """What could hold buckets here."""

    def __init__(self, parts: Parts, storing: Storing, environ: Mapping[str, str]) -> None:
        self._parts = parts
        self._storing = storing
        self._environ = environ

    def chosen(self) -> str | None:
        """Valkey where its address is known, else the store, else Postgres; None and a problem noted."""
        if self._value(_VALKEY_URL):
            return _VALKEY
        if isinstance(self._storing.store, Buckets):
            return self._storing.backend
        if self._value(URLS["postgres"]) and "postgres" in self._parts.registry.types("store"):
            return "postgres"
        self._parts.problems.add(
            "rate_limiting.rules",
            "no backend is available that can hold their buckets: set TENSORZERO_VALKEY_URL or "
            "TENSORZERO_POSTGRES_URL, use a store that can (`headrace-sqlite`), or set `rate_limiting.enabled = false`",
        )
        return None

    def named(self, name: str) -> Buckets | None:
        """The backend of that name; None and a problem noted if it is not there."""
        registry = self._parts.registry
        backend: object = None
        if self.is_the_store(name):
            backend = self._storing.store
        elif name in registry.types("buckets"):
            backend = self._built("buckets", name, {"type": name}, {_VALKEY: _VALKEY_URL})
        elif name in registry.types("store"):
            backend = self._built("store", name, self._storing.table_of(name), URLS)
        else:
            offered = sorted({*registry.types("buckets"), *registry.types("store")})
            self._parts.problems.add(
                _WHERE,
                f'"{name}" is not installed: `pip install headrace-{name}`, or use one of {", ".join(offered)}',
            )
            return None
        if backend is not None and not isinstance(backend, Buckets):
            self._parts.problems.add(_WHERE, f'"{name}" cannot hold buckets; use Valkey, Postgres or SQLite')
            return None
        return backend

    def _built(self, kind: Kind, name: str, table: Mapping[str, Any], variables: Mapping[str, str]) -> object:
        """The plugin's object; its address is in the environment, if it is one of those that have one."""
        if name in variables and "url" not in table:
            url = self._value(variables[name])
            if url is None:
                self._parts.problems.add(_WHERE, f'"{name}": Missing environment variable {variables[name]}.')
                return None
            table = {**table, "url": url}
        return self._parts.build(kind, _WHERE, table, key=_WHERE)

    def is_the_store(self, name: str) -> bool:
        """Whether that is where records go, too."""
        return name == self._storing.backend and self._storing.store is not None

    def _value(self, variable: str) -> str | None:
        with suppress(ConfigError):  # it and its alias differ; that has been noted already
            return environment(variable, self._environ)
        return None
