"""Dataset routes: create from inferences, list, get."""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from ..contracts import DatapointQuery, InferenceQuery
from ..datasets import OutputSource
from ..errors import BadRequest, NotFound, NotSupported
from ..gateway import Gateway
from ..records import Datapoint
from ..types import CustomTool, Split, Tool, ToolConfig
from .blocks import shown
from .bodies import U32
from .errors import decode, native_body, query_whole, read
from .native import encode
from .routing import Route


class _FromInferencesBody(Struct):
    type: Literal["inference_ids", "inference_query"]
    inference_ids: list[UUID] | None = None
    function_name: str | None = None
    variant_name: str | None = None
    episode_id: UUID | None = None
    limit: U32 | None = None
    offset: U32 | None = None
    before: UUID | None = None
    output_source: OutputSource | None = None
    after: UUID | None = None
    filters: dict[str, Any] | None = None
    filter: dict[str, Any] | None = None
    order_by: list[Any] | None = None
    search_query_experimental: str | None = None


class _ListBody(Struct):
    function_name: str | None = None
    limit: U32 | None = None
    page_size: U32 | None = None  # deprecated alias of limit
    offset: U32 | None = None
    splits: list[Split] | None = None
    filter: dict[str, Any] | None = None
    order_by: list[Any] | None = None
    search_query_experimental: str | None = None


class _GetBody(Struct):
    ids: list[UUID]


_from_inferences = msgspec.json.Decoder(_FromInferencesBody)
_list = msgspec.json.Decoder(_ListBody)
_get = msgspec.json.Decoder(_GetBody)


class DatasetRoutes:
    """The endpoints, bound to one gateway."""

    def __init__(self, gateway: Gateway, max_body_bytes: int) -> None:
        self._gateway = gateway
        self._max_body_bytes = max_body_bytes

    async def from_inferences(self, request: Request) -> Response:
        """``POST /v1/datasets/{dataset_name}/from_inferences``."""
        body = decode(_from_inferences, await read(request, self._max_body_bytes))
        query = self._query(body)
        ids = await self._gateway.datasets.from_inferences(
            request.path_params["dataset_name"], query, body.output_source or "inference"
        )
        return _json({"ids": ids})

    async def list_datapoints(self, request: Request) -> Response:
        """``POST /v1/datasets/{dataset_name}/list_datapoints``."""
        body = decode(_list, await read(request, self._max_body_bytes))
        _refuse(body, "filter", "order_by", "search_query_experimental")
        query = DatapointQuery(
            dataset_name=request.path_params["dataset_name"],
            function_name=body.function_name,
            splits=tuple(body.splits) if body.splits is not None else None,
            limit=_first(body.limit, body.page_size, 20),
            offset=body.offset or 0,
        )
        return self._datapoints(await self._gateway.datasets.find(query))

    async def get_datapoints(self, request: Request) -> Response:
        """``POST /v1/datasets[/{dataset_name}]/get_datapoints``; retired ones too."""
        body = decode(_get, await read(request, self._max_body_bytes))
        query = DatapointQuery(ids=tuple(body.ids), dataset_name=request.path_params.get("dataset_name"), limit=None)
        return self._datapoints(await self._gateway.datasets.find(query) if body.ids else [])

    async def datasets(self, request: Request) -> Response:
        """``GET /internal/datasets``."""
        limit, offset = query_whole(request, "limit"), query_whole(request, "offset") or 0
        found = await self._gateway.datasets.names(request.query_params.get("function_name"))
        return _json({"datasets": found[offset : None if limit is None else offset + limit]})

    def _query(self, body: _FromInferencesBody) -> InferenceQuery:
        _refuse(body, "filters", "filter", "after", "order_by", "search_query_experimental")
        if body.function_name is not None and body.function_name not in self._gateway.functions:
            raise NotFound(f"Unknown function: {body.function_name}")
        if body.type == "inference_ids":
            if not body.inference_ids:
                raise BadRequest("inference_ids: at least one is needed")
            return InferenceQuery(ids=tuple(body.inference_ids), limit=None)
        return InferenceQuery(
            function_name=body.function_name,
            variant_name=body.variant_name,
            episode_ids=(body.episode_id,) if body.episode_id is not None else None,
            before=body.before,
            limit=body.limit,
            offset=body.offset or 0,
        )

    def _datapoints(self, found: list[Datapoint]) -> Response:
        return _json({"datapoints": [self._shown(datapoint) for datapoint in found]})

    def _shown(self, datapoint: Datapoint) -> dict[str, Any]:
        """The wire form (datasets-and-queries 4) and ``split``, which is ours."""
        body: dict[str, Any] = {
            "type": datapoint.function_type,
            "dataset_name": datapoint.dataset_name,
            "function_name": datapoint.function_name,
            "id": datapoint.id,
            "episode_id": datapoint.episode_id,
            "input": shown(datapoint.input),
            "output": datapoint.output,
            "tags": datapoint.tags,
            "is_deleted": datapoint.staled_at is not None,
            "is_custom": datapoint.is_custom,
            "source_inference_id": datapoint.source_inference_id,
            "staled_at": datapoint.staled_at,
            "updated_at": datapoint.updated_at,
            "name": datapoint.name,
            "split": datapoint.split,
        }
        if datapoint.function_type == "json":
            return body | {"output_schema": datapoint.output_schema or {}}
        return body | (self._tools(datapoint.function_name, datapoint.tools) if datapoint.tools is not None else {})

    def _tools(self, function_name: str, tools: ToolConfig) -> dict[str, Any]:
        """The fields that would ask for these tools again."""
        function = self._gateway.functions.get(function_name)
        configured = {tool.name for tool in function.spec.tools.values()} if function else set()
        added = [_tool("function", tool) for tool in tools.tools if tool.name not in configured]
        return {
            "additional_tools": added + [_tool("openai_custom", tool) for tool in tools.custom],
            "allowed_tools": tools.allowed,
            "tool_choice": tools.choice,
            "parallel_tool_calls": tools.parallel,
            "provider_tools": tools.provider_tools,
        }


def _tool(type_: str, tool: Tool | CustomTool) -> dict[str, Any]:
    return {"type": type_, **msgspec.to_builtins(tool)}


def _refuse(body: Struct, *names: str) -> None:
    """What would select or order differently must not be passed over in silence."""
    for name in names:
        if getattr(body, name):
            raise NotSupported(f"`{name}` is not supported by this version of headrace")


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)


def _json(body: dict[str, Any]) -> Response:
    return Response(encode(body), media_type="application/json")


def routes(gateway: Gateway, max_body_bytes: int) -> list[Route]:
    """The routes of this surface, frequent ones first."""
    endpoints = DatasetRoutes(gateway, max_body_bytes)
    return [
        Route("POST", "/v1/datasets/{dataset_name}/from_inferences", endpoints.from_inferences, native_body),
        Route("POST", "/v1/datasets/{dataset_name}/list_datapoints", endpoints.list_datapoints, native_body),
        Route("POST", "/v1/datasets/{dataset_name}/get_datapoints", endpoints.get_datapoints, native_body),
        Route("POST", "/v1/datasets/get_datapoints", endpoints.get_datapoints, native_body),
        Route("GET", "/internal/datasets", endpoints.datasets, native_body),
    ]
