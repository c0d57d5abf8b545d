"""Which store a configuration means, how records reach it, and where answers are kept (config spec 4)."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

from ..cache import AnswerCache
from ..config import Tables, environment
from ..contracts import Cache, Store
from ..pacing import Pace
from ..recorder import CAPACITY, Recorder
from ..retention import Retention
from ..spill import Spill
from ..telemetry import Telemetry
from .parts import Parts

# Between two writes of records that nobody waits for, in seconds: at 1,000 requests a second a batch of 20 costs twice
# as much per record as one of 100.
PACE_S = 0.05

log = logging.getLogger(__name__)

# Databases that are found by the environment, the one to prefer first.
URLS: Final[Mapping[str, str]] = {
    "clickhouse": "TENSORZERO_CLICKHOUSE_URL",
    "postgres": "TENSORZERO_POSTGRES_URL",
}
_CLUSTER = "TENSORZERO_CLICKHOUSE_CLUSTER_NAME"
# Where Valkey is for cached answers, the one to prefer first.
_CACHES = ("TENSORZERO_VALKEY_CACHE_URL", "TENSORZERO_VALKEY_URL")


class Storing:
    """The part of an assembly that is about records. ``backend`` is the type of the store, "" if there is none."""

    def __init__(
        self, parts: Parts, tables: Tables, environ: Mapping[str, str], telemetry: Telemetry, store: Store | None
    ) -> None:
        self._parts = parts
        self._tables = tables
        self._telemetry = telemetry
        self._environment: dict[str, str | None] = dict.fromkeys((*URLS.values(), _CLUSTER, *_CACHES))
        for name in self._environment:
            with parts.problems.at("environment"):
                self._environment[name] = environment(name, environ)
        self._known = parts.registry.types("store")
        self._check_tables()
        self.backend = self._backend()
        self._table = self.table_of(self.backend)
        self._is_lent = store is not None
        self.store = store or self._store()
        named = tables.gateway.cache.table("valkey").get("url")
        self._valkey_url = named or next(filter(None, map(self._environment.get, _CACHES)), None)
        # What ``/health`` asks besides the store, under its key there.
        self.pings: dict[str, Callable[[], Awaitable[None]]] = {}

    def _check_tables(self) -> None:
        for name in self._tables.stores:
            if name not in self._known:
                installed = ", ".join(self._known) or "none"
                self._parts.problems.add(name, f"unknown table (stores installed: {installed})")
        if self._tables.postgres.enabled and not self._environment[URLS["postgres"]]:
            self._parts.problems.add("postgres.enabled", f"Missing environment variable {URLS['postgres']}.")

    def _backend(self) -> str:
        """The one that is named, or the database whose URL is set, or a file."""
        observability = self._tables.gateway.observability
        if observability.enabled is False:
            return ""
        if observability.backend != "auto":
            return observability.backend
        for name, variable in URLS.items():
            if self._environment[variable] and not (name == "postgres" and self._tables.postgres.enabled is False):
                return name
        if "sqlite" in self._known:
            return "sqlite"
        if observability.enabled:
            self._parts.problems.add(
                "gateway.observability", "no store is installed; `pip install headrace-sqlite` or set `backend`"
            )
        return ""

    def table_of(self, backend: str) -> dict[str, Any]:
        """What the store's settings are made of; the address and the cluster of a database are in the environment."""
        table = {"type": backend, **self._tables.store(backend)}
        if backend in URLS and (url := self._environment[URLS[backend]]):
            table.setdefault("url", url)
        if backend == "clickhouse" and (cluster := self._environment[_CLUSTER]):
            table.setdefault("cluster", cluster)
        return table

    def _store(self) -> Store | None:
        if not self.backend:
            return None
        observability = self._tables.gateway.observability
        if self.backend in URLS and "url" not in self._table:
            missing = f"Missing environment variable {URLS[self.backend]}."
            if observability.enabled:
                self._parts.problems.add("gateway.observability.enabled", missing)
            else:
                log.warning("%s Nothing is recorded.", missing)
            return None
        if self.backend in URLS and self.backend not in self._known:
            self._parts.problems.add(
                "gateway.observability.backend",
                f"records are to go to {self.backend}, whose plugin is not installed: `pip install "
                f"headrace-{self.backend}`, or name another store (installed: {', '.join(self._known) or 'none'})",
            )
            return None
        store: Store | None = self._parts.build("store", self.backend, self._table, key="gateway.observability.backend")
        return store

    def answers(self) -> AnswerCache | None:
        """Where answers are kept (http-api 12): the store itself if it can, or a cache of its own."""
        table = self._tables.gateway.cache
        if table.enabled is False:
            return None
        type_ = self._keeper() if table.backend == "auto" else table.backend
        backend: object = None
        if type_ == self.backend and (table.backend == "auto" or isinstance(self.store, Cache)):
            backend = self.store  # which may be no cache, where nobody has asked for one
        else:
            backend = self._cache(type_)
            if type_ == "valkey" and isinstance(backend, Cache) and (table.enabled or table.backend != "auto"):
                self._parts.own(_Present(self.pings["valkey_cache"]))
        if not isinstance(backend, Cache):
            if table.enabled:
                self._parts.problems.add("gateway.cache", "is enabled, but no backend is available: set `backend`")
            return None
        answers = AnswerCache(backend)
        self._parts.own(answers)
        return answers

    def _keeper(self) -> str:
        """The type of the cache that nobody has named: ClickHouse if records are there, else Valkey, else the store."""
        if self._valkey_url and self.backend != "clickhouse":
            if "valkey" in self._parts.registry.types("cache"):
                return "valkey"
            log.warning("a Valkey is named, but no answer is cached there: `pip install headrace-valkey`")
        return self.backend

    def _cache(self, type_: str) -> object:
        """A cache by itself."""
        table = {"type": type_, **self._tables.gateway.cache.table(type_)}
        if type_ == "valkey":
            if not self._valkey_url:
                self._parts.problems.add("gateway.cache.backend", f"Missing environment variable {_CACHES[-1]}.")
                return None
            table["url"] = self._valkey_url
        backend = self._parts.build("cache", f"gateway.cache.{type_}", table, key="gateway.cache.backend")
        self._parts.own(backend)
        if type_ == "valkey" and backend is not None:
            self.pings["valkey_cache"] = backend.ping
            if self._valkey_url == self._environment[_CACHES[-1]]:
                self.pings["valkey"] = backend.ping
        return backend

    def recorder(self) -> Recorder | None:
        """What hands records over to the store, in the way that is configured; None where there is no store."""
        if self.store is None:
            return None
        observability, records = self._tables.gateway.observability, self._tables.headrace.records
        gathered: dict[str, Any] = {"wait": not observability.async_writes, "pace": Pace(pace_s=self._pace_s())}
        writes = observability.batch_writes
        if writes is not None and writes.enabled:
            max_rows = writes.max_rows_postgres if self.backend == "postgres" else None
            gathered = {
                "max_rows": max_rows or writes.max_rows,
                "pace": Pace(writes.flush_interval_ms / 1000),
                "capacity": writes.write_queue_capacity or CAPACITY,
            }
        recorder = Recorder(
            self.store,
            on_drop=self._telemetry.dropped,
            spill=self._spill(),
            spill_after_s=records.spill_after_s,
            when_full=records.when_full,
            **gathered,
        )
        self._telemetry.watch("headrace_records_waiting", lambda: recorder.waiting)
        self._telemetry.watch("headrace_records_spilled", lambda: recorder.spilled_total)
        return recorder

    def _pace_s(self) -> float:
        """None where a batch costs nothing beside its records."""
        return 0.0 if self._is_lent or self.backend == "memory" else PACE_S

    def retention(self) -> Retention | None:
        """What ends old rows; None where nothing is to end."""
        days = self._tables.headrace.retention.days(self._tables.postgres if self.backend == "postgres" else None)
        return Retention(self.store, self._parts.clock, days) if days and self.store is not None else None

    def _spill(self) -> Spill | None:
        """A folder for each database, so that nothing is replayed into another one; none for what is never away."""
        records = self._tables.headrace.records
        if not records.spill_path or self._is_lent or self.backend == "memory":
            return None
        address = repr(
            sorted((key, str(value)) for key, value in self._table.items() if key in ("type", "url", "path"))
        )
        name = f"{self.backend}-{hashlib.blake2b(address.encode(), digest_size=6).hexdigest()}"
        return Spill(Path(records.spill_path) / name, max_bytes=records.spill_max_bytes)


class _Present:
    """Keeps a gateway from starting without something that its configuration asks for by name."""

    def __init__(self, ping: Callable[[], Awaitable[None]]) -> None:
        self._ping = ping

    async def __aenter__(self) -> None:
        await self._ping()

    async def __aexit__(self, *exc: object) -> None:
        """Nothing is left to close."""
