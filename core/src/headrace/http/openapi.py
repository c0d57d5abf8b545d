"""``GET /openapi.json``: the HTTP API as OpenAPI 3.1, made of the types that requests are decoded to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import msgspec
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from .. import __version__
from . import openapi_datasets, openapi_history, openapi_operations, openapi_reports
from .errors import native_body
from .openapi_operations import Operation, when
from .routing import Route

OPERATIONS = (
    *openapi_operations.OPERATIONS,
    *openapi_datasets.OPERATIONS,
    *openapi_history.OPERATIONS,
    *openapi_reports.OPERATIONS,
)

_ABOUT = """\
Bodies are JSON in UTF-8 whatever `Content-Type` says, perhaps compressed (`Content-Encoding`: gzip, deflate, br, zstd).
`null` is as good as absence. Names that begin with `tensorzero::` may begin with `headrace::` as well. Schemas say what
decodes; what else a field has to be is in the reference, and told by an error."""
_STREAM = "Server-sent events, if `stream` is true."
_REF = "#/components/schemas/{name}"
_NAME = re.compile(r"[^A-Za-z0-9_.-]+")


def document(root_path: str = "") -> dict[str, Any]:
    """The document of an app whose routes begin with ``root_path``."""
    schemas = _Schemas(OPERATIONS)
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "headrace", "version": __version__, "description": _ABOUT},
        "servers": [{"url": root_path or "/"}],
        "paths": paths,
        "components": {"schemas": schemas.components},
    }


class _Schemas:
    """The JSON Schemas of all types, by reference where a type has a name."""

    def __init__(self, operations: tuple[Operation, ...]) -> None:
        types = [type_ for operation in operations for type_ in _types(operation)]
        found, components = msgspec.json.schema_components(types, ref_template=_REF)
        names = _plain_names(components)
        self._of = {repr(type_): _renamed(schema, names) for type_, schema in zip(types, found, strict=True)}
        self.components = {names[name]: _renamed(schema, names) for name, schema in sorted(components.items())}

    def any_of(self, *types: Any) -> dict[str, Any]:
        """The schema of what is one of these."""
        schemas = [self._of[repr(type_)] for type_ in types]
        return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _types(operation: Operation) -> Iterator[Any]:
    yield from operation.answers
    yield from (type_ for type_ in (operation.body, operation.error, operation.unwell) if type_ is not None)


def _plain_names(components: Mapping[str, Any]) -> dict[str, str]:
    """Names without underscores and modules in front, where that leaves them different."""
    names: dict[str, str] = {}
    for name in sorted(components, key=lambda name: (name.startswith("_"), "." in name, name)):
        plain = name.rpartition(".")[2].lstrip("_")
        if plain in names.values():
            plain = f"{plain}Part" if "." not in name else name.removeprefix("headrace.http.").replace("._", ".")
        names[name] = plain
    return names


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """The schema, with what it refers to under its new name."""
    if isinstance(value, dict):
        return {key: _renamed(each, names) for key, each in value.items()}
    if isinstance(value, list):
        return [_renamed(each, names) for each in value]
    prefix = _REF.format(name="")
    if isinstance(value, str) and value.startswith(prefix):
        return prefix + names[value.removeprefix(prefix)]
    return value


def _operation(operation: Operation, schemas: _Schemas) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operationId": _NAME.sub("_", f"{operation.method.lower()}{operation.path}").strip("_").replace("/", "_"),
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": [_parameter(operation, name, schema) for name, schema in operation.parameters.items()],
        "responses": _responses(operation, schemas),
    }
    if operation.body is not None:
        told["requestBody"] = {"required": True, "content": _json(schemas.any_of(operation.body))}
    return told


def _parameter(operation: Operation, name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    is_in_path = f"{{{name}}}" in operation.path
    return {
        "name": name,
        "in": "path" if is_in_path else "query",
        "required": is_in_path or name in operation.required,
        "schema": schema,
    }


def _responses(operation: Operation, schemas: _Schemas) -> dict[str, Any]:
    content = {operation.media: {"schema": schemas.any_of(*operation.answers)}}
    if operation.streams:
        # No type: OpenAPI before 3.2 does not say whether a schema here is the stream's or each event's.
        content["text/event-stream"] = {"schema": {"description": _STREAM}}
    told: dict[str, Any] = {"200": {"description": "OK", "content": content}}
    for status in operation.errors:
        told[str(status)] = {"description": when(status), "content": _json(schemas.any_of(operation.error))}
    if operation.refuses_parameters:
        refused = told.setdefault("400", {"description": when(400), "content": {}})
        refused["content"]["text/plain"] = {"schema": {"type": "string"}}
    if operation.unwell is not None:
        told["503"] = {"description": when(503), "content": _json(schemas.any_of(operation.unwell))}
    return told


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


@lru_cache(maxsize=8)
def _bytes(root_path: str) -> bytes:
    """Made when first asked for: some 50 ms that most gateways never need."""
    return msgspec.json.encode(document(root_path))


async def _serve(request: Request) -> Response:
    body = await to_thread.run_sync(_bytes, request.scope.get("root_path", ""))
    return Response(body, media_type="application/json")


def routes() -> list[Route]:
    """The route of the document."""
    return [Route("GET", "/openapi.json", _serve, native_body)]
