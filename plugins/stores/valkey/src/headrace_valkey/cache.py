"""Answers of model calls, each under a key of its own, which the server forgets by itself."""

from __future__ import annotations

import logging

from headrace import Services
from headrace.errors import StoreError

from .server import Away, Server
from .settings import CacheSettings

log = logging.getLogger(__name__)

_PREFIX = "tensorzero_cache:"
# A server that is full refuses every entry; nobody wants to read that of each.
_TELL_AGAIN_S = 60.0


class ValkeyCache:
    """A cache whose troubles are never anybody's: without its server it is empty. An async context manager."""

    def __init__(self, settings: CacheSettings, services: Services) -> None:
        self._server = Server(settings.url, meanwhile="nothing comes from the cache")
        self._ttl_s = settings.ttl_s
        self._clock = services.clock
        self._told_at = float("-inf")

    async def __aenter__(self) -> ValkeyCache:
        """Open, whether or not the server answers."""
        await self._server.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close every connection."""
        await self._server.__aexit__(*exc)

    async def cached(self, key: str, *, max_age_s: float | None = None) -> bytes | None:
        """The entry kept last under this key, unless it is older, by the clocks of gateways, than asked for."""
        try:
            found = await self._server.ask("GET", _PREFIX + key)
        except StoreError as error:
            self._tell(error)
            return None
        if found is None:
            return None
        written_at, _, entry = found.partition(b"\n")
        try:
            age_s = self._clock.time() - float(written_at)
        except ValueError:  # somebody else's
            return None
        return entry if max_age_s is None or age_s < max_age_s else None

    async def cache(self, key: str, entry: bytes) -> None:
        """Keep the entry for ``ttl_s``, in place of one that is there."""
        written = f"{self._clock.time()!r}\n".encode()
        try:
            await self._server.ask("SET", _PREFIX + key, written + entry, "EX", self._ttl_s)
        except StoreError as error:
            self._tell(error)

    async def ping(self) -> None:
        """Return if the server answers; raise StoreError otherwise."""
        await self._server.ping()

    def _tell(self, error: StoreError) -> None:
        now = self._clock.time()
        if not isinstance(error, Away) and now - self._told_at >= _TELL_AGAIN_S:
            self._told_at = now
            log.warning("the cache is of no use: %s", error)
