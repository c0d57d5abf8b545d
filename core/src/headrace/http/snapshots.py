"""``POST /internal/config``: a configuration is checked and written down. Which one runs does not change."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from anyio import to_thread
from msgspec import Struct, structs
from starlette.requests import Request
from starlette.responses import Response

from .. import __version__
from ..config.restoring import restored
from ..errors import BadRequest, ConfigError
from ..gateway import Gateway, snapshot_of
from ..records import ConfigSnapshot
from .errors import decode, native_body, read
from .native import encode
from .routing import Route


class WriteConfigBody(Struct):
    """A configuration as ``GET /internal/config`` shows it; ``config`` is TOML, or the tree that it stands for."""

    config: str | dict[str, Any]
    extra_templates: dict[str, str] | None = None
    tags: dict[str, str] | None = None


_write = msgspec.json.Decoder(WriteConfigBody)


class SnapshotRoutes:
    """The endpoint, bound to one gateway."""

    def __init__(self, gateway: Gateway, max_body_bytes: int) -> None:
        self._gateway = gateway
        self._history = gateway.history
        self._max_body_bytes = max_body_bytes

    async def write(self, request: Request) -> Response:
        """``POST /internal/config``."""
        body = decode(_write, await read(request, self._max_body_bytes))
        snapshot = await to_thread.run_sync(_snapshot, body)
        kept = await self._history.keep(snapshot)
        if kept.hash == self._gateway.snapshot.hash:
            self._gateway.snapshot = structs.replace(self._gateway.snapshot, tags=kept.tags)
        return Response(encode({"hash": kept.hash}), media_type="application/json")


def _snapshot(body: WriteConfigBody) -> ConfigSnapshot:
    """The row. Raise BadRequest. What only plugins know of is not checked, nor credentials: nothing is built of it."""
    try:
        config = restored(body.config, body.extra_templates or {})
    except ConfigError as error:
        raise BadRequest(f"config: {error}") from None
    files = {**config.files, **config.includes}
    now = datetime.now(UTC).timestamp()
    made = snapshot_of(config.hash, config.text, files, __version__, now)
    return structs.replace(made, last_used=None, tags=body.tags or {})


def routes(gateway: Gateway, max_body_bytes: int) -> list[Route]:
    """The route of this surface."""
    return [Route("POST", "/internal/config", SnapshotRoutes(gateway, max_body_bytes).write, native_body)]
