"""Dataset routes: make, change, retire, list and get datapoints; who has read test data."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

import msgspec
from msgspec import Struct, structs
from starlette.requests import Request
from starlette.responses import Response

from ..contracts import DatapointQuery, InferenceQuery
from ..datapoints import Drafts
from ..datasets import Made, OutputSource, check_name
from ..errors import BadRequest
from ..gateway import Gateway
from ..holdout import Reader
from ..ids import unix_seconds
from ..records import Datapoint
from ..types import Split
from .blocks import shown
from .bodies import U32
from .datapoint_bodies import (
    CloneBody,
    CreateBody,
    IdsBody,
    RenameBody,
    UpdateBody,
    to_changes,
    to_ids,
    to_names,
    to_new,
)
from .errors import decode, native_body, query_whole, read
from .filters import (
    FilterBody,
    ListInferencesBody,
    OrderBody,
    check_relevance,
    datapoint_filter_of,
    datapoint_orders_of,
    inference_query_of,
    known_function,
)
from .native import encode
from .readers import name_of, reader_of
from .routing import Route
from .shown_tools import shown_tools

NULL = "x-headrace-null"
"""``keep``: null in a change means the same as absence, for clients that write null for what they were not given."""


class FromInferencesBody(ListInferencesBody, kw_only=True):
    """Which inferences to make datapoints of: these ids, or what a query selects, all of it unless it has a limit."""

    type: Literal["inference_ids", "inference_query"]
    inference_ids: list[UUID] | None = None


class ListBody(Struct):
    """Which datapoints; ``page_size`` is an old name of ``limit``."""

    function_name: str | None = None
    limit: U32 | None = None
    page_size: U32 | None = None
    offset: U32 | None = None
    splits: list[Split] | None = None
    filter: FilterBody | None = None
    order_by: list[OrderBody] | None = None
    search_query_experimental: str | None = None


_create = msgspec.json.Decoder(CreateBody)
_update = msgspec.json.Decoder(UpdateBody)
_rename = msgspec.json.Decoder(RenameBody)
_ids = msgspec.json.Decoder(IdsBody)
_clone = msgspec.json.Decoder(CloneBody)
_from_inferences = msgspec.json.Decoder(FromInferencesBody)
_list = msgspec.json.Decoder(ListBody)


class DatasetRoutes:
    """The endpoints, bound to one gateway."""

    def __init__(self, gateway: Gateway, max_body_bytes: int) -> None:
        self._gateway = gateway
        self._datasets = gateway.datasets
        self._drafts = Drafts(gateway.functions, gateway.tools, gateway.attachments)
        self._max_body_bytes = max_body_bytes

    # -- making and changing --------------------------------------------------------------------------------

    async def create(self, request: Request) -> Response:
        """``POST /v1/datasets/{dataset_name}/datapoints``."""
        name = _dataset(request)
        wanted = to_new(decode(_create, await read(request, self._max_body_bytes)))
        return _made(await self._datasets.create(name, await self._drafts.new(wanted), editor=name_of(request)))

    async def from_inferences(self, request: Request) -> Response:
        """``POST /v1/datasets/{dataset_name}/from_inferences``."""
        name = _dataset(request)
        query, source = self._query(decode(_from_inferences, await read(request, self._max_body_bytes)))
        return _made(await self._datasets.from_inferences(name, query, source, editor=name_of(request)))

    async def clone(self, request: Request) -> Response:
        """``POST /internal/datasets/{dataset_name}/datapoints/clone``: copies from whichever dataset."""
        name = _dataset(request)
        body = decode(_clone, await read(request, self._max_body_bytes))
        ids = await self._datasets.clone(name, body.datapoint_ids, editor=name_of(request))
        return _json({"datapoint_ids": ids})

    async def update(self, request: Request) -> Response:
        """``PATCH /v1/datasets/{dataset_name}/datapoints``: a new version of each, with a new id."""
        name = _dataset(request)
        body = decode(_update, await read(request, self._max_body_bytes))
        changes = to_changes(body, null_keeps=_null_keeps(request))
        old = await self._datasets.current(name, [change.id for change in changes])
        drafts = await self._drafts.changed(old, changes)
        return _made(await self._datasets.replace(name, old, drafts, editor=name_of(request)))

    async def rename(self, request: Request) -> Response:
        """``PATCH /v1/datasets/{dataset_name}/datapoints/metadata``: in place."""
        name = _dataset(request)
        body = decode(_rename, await read(request, self._max_body_bytes))
        return _json({"ids": await self._datasets.rename(name, to_names(body, null_keeps=_null_keeps(request)))})

    async def delete(self, request: Request) -> Response:
        """``DELETE /v1/datasets/{dataset_name}/datapoints``: what is not there, or is retired already, is no error."""
        name = _dataset(request)
        ids = to_ids(decode(_ids, await read(request, self._max_body_bytes)))
        return _json({"num_deleted_datapoints": await self._datasets.retire(name, ids)})

    async def delete_dataset(self, request: Request) -> Response:
        """``DELETE /v1/datasets/{dataset_name}``."""
        return _json({"num_deleted_datapoints": await self._datasets.retire(_dataset(request))})

    # -- reading --------------------------------------------------------------------------------------------

    async def list_datapoints(self, request: Request) -> Response:
        """``POST /v1/datasets/{dataset_name}/list_datapoints``."""
        body = decode(_list, await read(request, self._max_body_bytes))
        orders, search = datapoint_orders_of(body.order_by or []), body.search_query_experimental or None
        check_relevance(orders, search)
        query = DatapointQuery(
            dataset_name=request.path_params["dataset_name"],
            function_name=known_function(body.function_name, self._gateway),
            splits=tuple(body.splits) if body.splits is not None else None,
            filters=datapoint_filter_of(body.filter) if body.filter is not None else None,
            search=search,
            order_by=orders,
            limit=_first(body.limit, body.page_size, 20),
            offset=body.offset or 0,
        )
        return await self._found(query, reader_of(request))

    async def get_datapoints(self, request: Request) -> Response:
        """``POST /v1/datasets[/{dataset_name}]/get_datapoints``; retired ones too."""
        body = decode(_ids, await read(request, self._max_body_bytes))
        if not body.ids:
            return _json({"datapoints": []})
        query = DatapointQuery(ids=tuple(body.ids), dataset_name=request.path_params.get("dataset_name"), limit=None)
        return await self._found(query, reader_of(request))

    async def count(self, request: Request) -> Response:
        """``GET /internal/datasets/{dataset_name}/datapoints/count``."""
        name, function_name = request.path_params["dataset_name"], request.query_params.get("function_name")
        query = DatapointQuery(dataset_name=name, function_name=known_function(function_name, self._gateway))
        return _json({"datapoint_count": await self._datasets.count(query)})

    async def holdout(self, request: Request) -> Response:
        """``GET /v1/datasets/{dataset_name}/holdout``: how much test data there is, and who has read it."""
        name, limit = request.path_params["dataset_name"], query_whole(request, "limit")
        count, accesses = await self._datasets.accesses(name, limit=100 if limit is None else limit)
        shown_accesses = [
            {
                "id": access.id,
                "at": datetime.fromtimestamp(unix_seconds(access.id), UTC),
                "reader": access.reader,
                "purpose": access.purpose,
                "datapoint_count": access.datapoint_count,
            }
            for access in accesses
        ]
        test = DatapointQuery(dataset_name=name, splits=("test",))
        return _json(
            {
                "dataset_name": name,
                "datapoint_count": await self._datasets.count(test),
                "access_count": count,
                "accesses": shown_accesses,
            }
        )

    async def datasets(self, request: Request) -> Response:
        """``GET /internal/datasets``."""
        limit, offset = query_whole(request, "limit"), query_whole(request, "offset") or 0
        found = await self._datasets.names(request.query_params.get("function_name"))
        return _json({"datasets": found[offset : None if limit is None else offset + limit]})

    # -- parts ----------------------------------------------------------------------------------------------

    def _query(self, body: FromInferencesBody) -> tuple[InferenceQuery, OutputSource]:
        if body.type == "inference_ids":
            if not body.inference_ids:
                raise BadRequest("inference_ids: at least one is needed")
            return InferenceQuery(ids=tuple(body.inference_ids), limit=None), body.output_source or "inference"
        query, source = inference_query_of(body, self._gateway)
        return structs.replace(query, limit=body.limit), source

    async def _found(self, query: DatapointQuery, reader: Reader) -> Response:
        found = await self._datasets.find(query, reader)
        return _json({"datapoints": [self._shown(datapoint) for datapoint in found]})

    def _shown(self, datapoint: Datapoint) -> dict[str, Any]:
        """The wire form (datasets-and-queries 4), and what is ours: ``split``, ``editor`` and ``replaces``."""
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
            "editor": datapoint.editor,
            "replaces": datapoint.replaces,
        }
        if datapoint.function_type == "json":
            return body | {"output_schema": datapoint.output_schema or {}}
        function = self._gateway.functions.get(datapoint.function_name)
        return body | (shown_tools(function, datapoint.tools) if datapoint.tools is not None else {})


def _dataset(request: Request) -> str:
    """The name of a dataset to write to. Raise BadRequest."""
    name: str = request.path_params["dataset_name"]
    check_name(name)
    return name


def _made(made: Made) -> Response:
    """Ids, and near duplicates where there are any: clients of others know only the ids."""
    body: dict[str, Any] = {"ids": made.ids}
    return _json(body | {"near_duplicates": made.near_duplicates} if made.near_duplicates else body)


def _null_keeps(request: Request) -> bool:
    said = request.headers.get(NULL)
    if said not in (None, "keep", "clear"):
        raise BadRequest(f"{NULL}: expected `keep` or `clear`, found {said[:100]!r}")
    return said == "keep"


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)


def _json(body: dict[str, Any]) -> Response:
    return Response(encode(body), media_type="application/json")


def routes(gateway: Gateway, max_body_bytes: int) -> list[Route]:
    """The routes of this surface, frequent ones first."""
    endpoints = DatasetRoutes(gateway, max_body_bytes)
    dataset, internal = "/v1/datasets/{dataset_name}", "/internal/datasets/{dataset_name}/datapoints"
    return [
        Route("POST", f"{dataset}/from_inferences", endpoints.from_inferences, native_body),
        Route("POST", f"{dataset}/list_datapoints", endpoints.list_datapoints, native_body),
        Route("POST", f"{dataset}/get_datapoints", endpoints.get_datapoints, native_body),
        Route("POST", "/v1/datasets/get_datapoints", endpoints.get_datapoints, native_body),
        Route("POST", f"{dataset}/datapoints", endpoints.create, native_body),
        Route("PATCH", f"{dataset}/datapoints", endpoints.update, native_body),
        Route("DELETE", f"{dataset}/datapoints", endpoints.delete, native_body),
        Route("PATCH", f"{dataset}/datapoints/metadata", endpoints.rename, native_body),
        Route("GET", f"{dataset}/holdout", endpoints.holdout, native_body),
        Route("DELETE", dataset, endpoints.delete_dataset, native_body),
        Route("GET", "/internal/datasets", endpoints.datasets, native_body),
        Route("POST", f"{internal}/clone", endpoints.clone, native_body),
        Route("GET", f"{internal}/count", endpoints.count, native_body),
    ]
