"""What the platform tells of itself: sampling probabilities, configurations that ran, stored files."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ..admission import DEFAULT_FUNCTION
from ..errors import BadRequest, HeadraceError, NotFound
from ..gateway import Gateway
from ..media import StoragePath
from ..records import ConfigSnapshot
from ..tags import canonical
from .errors import BadParameter, decode, native_body
from .native import encode
from .routing import Route

_storage_path = msgspec.json.Decoder(StoragePath)


class Platform:
    """The endpoints, bound to one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def probabilities(self, request: Request) -> Response:
        """``GET /internal/functions/{function_name}/variant_sampling_probabilities``."""
        name = canonical(request.path_params["function_name"])
        if name == DEFAULT_FUNCTION:
            return _json({"probabilities": {}})
        function = self._gateway.functions.get(name)
        if function is None:
            raise NotFound(f"Unknown function: {name}")
        if not function.variants:
            raise HeadraceError(f"Function {name} has no variants")
        return _json({"probabilities": function.experiment.probabilities()})

    async def config(self, request: Request) -> Response:
        """``GET /internal/config``: the one that runs."""
        return _json(_snapshot(self._gateway.snapshot))

    async def config_of(self, request: Request) -> Response:
        """``GET /internal/config/{hash}``: one that ran, as the store remembers it."""
        hash_ = request.path_params["hash"]
        if hash_ == self._gateway.snapshot.hash:
            return _json(_snapshot(self._gateway.snapshot))
        store = self._gateway.store
        found = await store.config_snapshot(hash_) if store is not None else None
        if found is None:
            raise NotFound(f"Config snapshot not found: {hash_}")
        return _json(_snapshot(found))

    async def stored_file(self, request: Request) -> Response:
        """``GET /internal/object_storage?storage_path=JSON``: the bytes of a file of an inference."""
        given = request.query_params.get("storage_path")
        if given is None:
            raise BadParameter("Failed to deserialize query string: missing field `storage_path`")
        try:
            path = decode(_storage_path, given.encode())
        except BadRequest as error:
            raise BadRequest(f"storage_path: {error}") from None
        data = await self._gateway.attachments.read(path)  # from the configured store, and nothing but files
        return _json({"data": base64.b64encode(data).decode(), "reused_object_store": True})


def _snapshot(snapshot: ConfigSnapshot) -> dict[str, Any]:
    return {
        "config": snapshot.config,
        "hash": snapshot.hash,
        "extra_templates": snapshot.extra_templates,
        "tags": snapshot.tags,
    }


def _json(body: dict[str, Any]) -> Response:
    return Response(encode(body), media_type="application/json")


def routes(gateway: Gateway, max_body_bytes: int) -> list[Route]:
    """The routes of this surface, frequent ones first."""
    endpoints = Platform(gateway)
    sampling = "/internal/functions/{function_name}/variant_sampling_probabilities"
    return [
        Route("GET", sampling, endpoints.probabilities, native_body),
        Route("GET", "/internal/config", endpoints.config, native_body),
        Route("GET", "/internal/config/{hash}", endpoints.config_of, native_body),
        Route("GET", "/internal/object_storage", endpoints.stored_file, native_body),
    ]
