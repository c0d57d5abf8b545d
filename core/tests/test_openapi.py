"""``GET /openapi.json`` tells every route there is, no other, and is a valid document of OpenAPI 3.1."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import httpx
import msgspec
import pytest
from headrace.gateway import Gateway
from headrace.http import anthropic_bodies, batch_bodies, bodies, openai_bodies, openai_embeddings, responses_bodies
from headrace.http.app import create_app, routes_of
from headrace.http.openapi import document
from openapi_spec_validator import OpenAPIV31SpecValidator

pytestmark = pytest.mark.anyio

DOCUMENT = document()
OPERATIONS = {(method, path) for path, methods in DOCUMENT["paths"].items() for method in methods}


def routes(gateway: Gateway) -> Iterable[tuple[str, str]]:
    """What the app's own table holds."""
    for route in routes_of(gateway, 1):
        for method in (route.methods or set()) - {"HEAD"}:
            yield method.lower(), re.sub(r":[a-z]+}", "}", route.path)


def test_the_document_is_valid() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()


async def test_every_route_is_in_the_document_and_no_other(opened: Any) -> None:
    async with opened("") as host:
        there = set(routes(host.gateway))
    assert there - OPERATIONS == set(), "not in the document: see http/openapi_operations.py"
    assert OPERATIONS - there == set(), "in the document, but there is no such route"


@pytest.mark.parametrize(
    "struct",
    [
        bodies.InferenceBody,
        bodies.FeedbackBody,
        openai_bodies.ChatBody,
        openai_embeddings.EmbeddingsBody,
        responses_bodies.ResponsesBody,
        anthropic_bodies.MessagesBody,
        batch_bodies.BatchBody,
    ],
    ids=lambda struct: struct.__name__,
)
def test_every_field_of_a_body_is_in_the_document(struct: Any) -> None:
    told = DOCUMENT["components"]["schemas"][struct.__name__]["properties"]
    assert set(told) == {field.encode_name for field in msgspec.structs.fields(struct)}


def test_every_reference_leads_somewhere_and_every_schema_is_used() -> None:
    used = set(re.findall(r'"#/components/schemas/([^"]+)"', msgspec.json.encode(DOCUMENT).decode()))
    assert used == set(DOCUMENT["components"]["schemas"])


def test_operations_have_different_ids() -> None:
    ids = [operation["operationId"] for methods in DOCUMENT["paths"].values() for operation in methods.values()]
    assert len(ids) == len(set(ids)) == len(OPERATIONS)


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/inference", {"error"}),
        ("/openai/v1/chat/completions", {"error.message"}),
        ("/openai/v1/responses", {"error.message", "error.type", "error.param", "error.code"}),
        ("/anthropic/v1/messages", {"type", "error.type", "error.message"}),
    ],
)
def test_an_error_has_its_surface_s_own_body(path: str, fields: set[str]) -> None:
    told = DOCUMENT["paths"][path]["post"]["responses"]["400"]["content"]["application/json"]["schema"]
    outer = resolved(told)
    required = set(outer["required"])
    inner = resolved(outer["properties"]["error"])
    if "required" in inner:
        required = (required - {"error"}) | {f"error.{name}" for name in inner["required"]}
    assert required == fields


def test_streams_are_events_beside_the_whole_answer() -> None:
    streaming = {
        path
        for path, methods in DOCUMENT["paths"].items()
        for operation in methods.values()
        if "text/event-stream" in operation["responses"]["200"]["content"]
    }
    assert streaming == {
        "/inference",
        "/openai/v1/chat/completions",
        "/openai/v1/responses",
        "/anthropic/v1/messages",
    }


@pytest.mark.parametrize("base_path", ["/", "/llm"])
async def test_the_served_document_knows_where_the_app_is(opened: Any, base_path: str) -> None:
    async with opened("") as host:
        transport = httpx.ASGITransport(create_app(host.gateway, owns_gateway=False, base_path=base_path))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
            reply = await http.get(f"{base_path.rstrip('/')}/openapi.json")
    assert reply.headers["content-type"] == "application/json"
    assert reply.json() == document("" if base_path == "/" else base_path)
    assert reply.json()["servers"] == [{"url": base_path}]


def resolved(schema: Any) -> Any:
    while "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema
