"""What the gateway tells of itself: probabilities, configurations, stored files; and the datasets' parameters."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from headrace import Factory
from headrace.contracts import ObjectStore
from headrace.errors import ObjectStoreError
from headrace.http.app import create_app
from headrace.plugins import Plugin, Registry
from headrace.records import ConfigSnapshot
from pydantic import BaseModel

pytestmark = pytest.mark.anyio

TOML = """
[models.good]
routing = ["p"]
[models.good.providers.p]
type = "scripted"
says = ["good ", "day"]

[metrics.liked]
type = "boolean"
optimize = "max"
level = "inference"

[functions.even]
type = "chat"
[functions.even.variants.a]
type = "chat_completion"
model = "good"
[functions.even.variants.b]
type = "chat_completion"
model = "good"

[functions.weighted]
type = "chat"
[functions.weighted.variants.a]
type = "chat_completion"
model = "good"
[functions.weighted.variants.b]
type = "chat_completion"
model = "good"
[functions.weighted.variants.c]
type = "chat_completion"
model = "good"
[functions.weighted.experimentation]
type = "static"
candidate_variants = { a = 3.0, b = 1.0 }
fallback_variants = ["c"]

[functions.none]
type = "chat"
[functions.none.variants]
"""
PICTURE = b"\x89PNG\r\n\x1a\n and more"
KEY = "observability/files/0a1b.png"


class Empty(BaseModel, extra="forbid"):
    """Nothing to set."""


class Drawer:
    """An object store with two things in it, one of which is nobody's business."""

    kind: Mapping[str, Any] = {"type": "drawer"}

    def __init__(self, settings: Empty, services: object) -> None:
        self._things = {KEY: PICTURE, "secret": b"secret"}

    async def put(self, path: str, data: bytes, mime_type: str | None = None) -> None:
        self._things[path] = data

    async def get(self, path: str) -> bytes:
        if path not in self._things:
            raise ObjectStoreError(f"there is no {path}")
        return self._things[path]


@pytest.fixture(scope="module")
def registry(registry: Registry) -> Registry:
    """The installed plugins, and the drawer."""
    drawer: Factory[ObjectStore] = Factory("drawer", Empty, Drawer)
    plugin = Plugin(name="drawer", distribution="tests", version="0", state="loaded")
    registry.add(plugin, [("object_store", drawer)])
    return registry


@pytest.fixture
def client(opened: Any) -> Callable[..., Any]:
    """``async with client(toml) as (http, host)``."""

    @asynccontextmanager
    async def open_(more: str = "") -> AsyncGenerator[tuple[httpx.AsyncClient, Any], None]:
        async with opened(TOML + more) as host:
            transport = httpx.ASGITransport(create_app(host.gateway, owns_gateway=False))
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
                yield http, host

    return open_


@pytest.mark.parametrize(
    ("function", "status", "body"),
    [
        ("even", 200, {"probabilities": {"a": 0.5, "b": 0.5}}),
        ("weighted", 200, {"probabilities": {"a": 0.75, "b": 0.25, "c": 0.0}}),
        ("tensorzero::default", 200, {"probabilities": {}}),
        ("headrace::default", 200, {"probabilities": {}}),
        ("nope", 404, {"error": "Unknown function: nope"}),
        ("none", 500, {"error": "Function none has no variants"}),
    ],
)
async def test_tells_the_probability_of_each_variant(client: Any, function: str, status: int, body: Any) -> None:
    async with client() as (http, _):
        reply = await http.get(f"/internal/functions/{function}/variant_sampling_probabilities")
    assert (reply.status_code, reply.json()) == (status, body)


async def test_tells_the_configuration_that_runs(client: Any) -> None:
    async with client() as (http, host):
        running = (await http.get("/internal/config")).json()
        again = (await http.get(f"/internal/config/{running['hash']}")).json()
        hash_ = (await http.get("/status")).json()["config_hash"]
        snapshot = host.gateway.snapshot
    assert running == again
    assert set(running) == {"config", "hash", "extra_templates", "tags"}
    assert (running["hash"], running["config"]) == (hash_, snapshot.config)


async def test_tells_a_configuration_that_ran_once(client: Any) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    old = ConfigSnapshot(hash="12", config="x", extra_templates={"a": "b"}, headrace_version="0", created_at=now)
    async with client() as (http, host):
        await host.store.write([old])
        found, lost = await http.get("/internal/config/12"), await http.get("/internal/config/13")
    assert found.json() == {"config": "x", "hash": "12", "extra_templates": {"a": "b"}, "tags": {}}
    assert (lost.status_code, lost.json()) == (404, {"error": "Config snapshot not found: 13"})


# -- stored files -----------------------------------------------------------------------------------------


def _asked(path: Any) -> str:
    text = path if isinstance(path, str) else json.dumps(path)
    return f"/internal/object_storage?{httpx.QueryParams(storage_path=text)}"


async def test_gives_the_bytes_of_a_stored_file(client: Any) -> None:
    async with client('[object_storage]\ntype = "drawer"\n') as (http, _):
        reply = await http.get(_asked({"kind": {"type": "drawer"}, "path": KEY}))
        lost = await http.get(_asked({"kind": {"type": "drawer"}, "path": f"{KEY}x"}))
    assert reply.json() == {"data": base64.b64encode(PICTURE).decode(), "reused_object_store": True}
    assert (lost.status_code, list(lost.json())) == (500, ["error"])


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("drawer", "secret"),
        ("drawer", "observability/files/../../secret"),
        ("drawer", "/etc/passwd"),
        ("drawer", "observability/files/"),
        ("drawer", ""),
        ("drawer", "\x00"),
        ("filesystem", KEY),
    ],
)
async def test_nothing_but_files_of_the_configured_store_is_read(client: Any, kind: str, path: str) -> None:
    async with client('[object_storage]\ntype = "drawer"\n') as (http, _):
        reply = await http.get(_asked({"kind": {"type": kind}, "path": path}))
    assert (reply.status_code, list(reply.json())) == (400, ["error"])


async def test_a_file_without_object_storage_is_a_500_that_says_so(client: Any) -> None:
    async with client() as (http, _):
        reply = await http.get(_asked({"kind": {}, "path": KEY}))
    assert reply.status_code == 500
    assert reply.json()["error"].startswith("Object storage is not configured")


@pytest.mark.parametrize("path", ["", "x", "[]", "{}", '{"kind": 1, "path": "x"}', '{"kind": {}, "path": 1}'])
async def test_a_storage_path_of_no_meaning_is_refused(client: Any, path: str) -> None:
    async with client() as (http, _):
        reply = await http.get(_asked(path))
    assert reply.status_code == 400
    assert reply.json()["error"].startswith("storage_path: ")


async def test_no_storage_path_is_plain_text(client: Any) -> None:
    async with client() as (http, _):
        reply = await http.get("/internal/object_storage")
    assert (reply.status_code, reply.headers["content-type"]) == (400, "text/plain; charset=utf-8")


# -- feedback and datasets --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"value": True}, 400, "Object missing required field `metric_name`"),
        ({"metric_name": "liked"}, 400, "Object missing required field `value`"),
        ({"metric_name": "liked", "value": True, "nope": 1}, 400, "unknown field `nope`"),
        ({"metric_name": "liked", "value": True, "inference_id": "x"}, 400, "inference_id: Invalid UUID"),
        ({"metric_name": "nope", "value": True}, 404, "Unknown metric: nope"),
        ({"metric_name": "liked", "value": 1}, 400, "Correct ID was not provided for feedback level"),
        ({"metric_name": "comment", "value": "x"}, 400, "Exactly one of inference_id or episode_id must be provided"),
        ({"metric_name": "liked", "value": True, "tags": {"tensorzero::x": "y"}}, 400, "Invalid tag: `tensorzero::x`"),
        ({"metric_name": "liked", "value": True, "tags": {"headrace::x": "y"}}, 400, "Invalid tag: `headrace::x`"),
        ({"metric_name": "liked", "value": True, "tags": {"x": None}}, 400, "tags[...]: Expected `str`, got `null`"),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_feedback_is_refused_with_a_line_to_act_on(client: Any, body: Any, status: int, message: str) -> None:
    async with client() as (http, _):
        reply = await http.post("/feedback", json=body)
    assert reply.status_code == status
    assert reply.json()["error"].startswith(message)


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/v1/datasets/d/list_datapoints", {"limit": -1}, 400, "limit: Expected `int` >= 0"),
        ("/v1/datasets/d/list_datapoints", {"limit": 2**64}, 400, "limit: "),
        ("/v1/datasets/d/list_datapoints", {"offset": 2**32}, 400, "offset: Expected `int` <="),
        ("/v1/datasets/d/list_datapoints", {"order_by": [{}]}, 400, "order_by[0]: Object missing required field `by`"),
        ("/v1/datasets/d/from_inferences", {"type": "x"}, 400, "type: unknown variant `x`"),
        ("/v1/datasets/d/from_inferences", {"type": "inference_query", "after": str(KEY)}, 400, "after: Invalid UUID"),
        ("/v1/datasets/d/from_inferences", {"type": "inference_query", "filters": {"a": 1}}, 400, "filters: "),
        ("/v1/datasets/d/from_inferences", {"type": "inference_ids"}, 400, "inference_ids: at least one"),
        ("/v1/datasets/builder/from_inferences", {"type": "inference_query"}, 400, "Invalid dataset name: builder"),
        ("/v1/datasets/d/get_datapoints", {"ids": ["x"]}, 400, "ids[0]: Invalid UUID"),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_datasets_refuse_what_they_cannot_do(
    client: Any, path: str, body: Any, status: int, message: str
) -> None:
    async with client() as (http, _):
        reply = await http.post(path, json=body)
    assert reply.status_code == status
    assert reply.json()["error"].startswith(message)


async def test_datasets_are_listed_in_pages_and_found_by_id(client: Any) -> None:
    ask = {"function_name": "even", "input": {"messages": [{"role": "user", "content": "hello"}]}}
    tool = {"name": "t", "description": "d", "parameters": {"type": "object"}}
    async with client() as (http, _):
        await http.post("/inference", json=ask | {"additional_tools": [tool]})
        made = {}
        for name in ("x", "y"):
            wanted = {"type": "inference_query", "function_name": "even"}
            made[name] = (await http.post(f"/v1/datasets/{name}/from_inferences", json=wanted)).json()["ids"]
        pages = [(await http.get(f"/internal/datasets?limit=1&offset={n}")).json()["datasets"] for n in (0, 1, 2)]
        bad = await http.get("/internal/datasets?limit=x")
        [found] = (await http.post("/v1/datasets/get_datapoints", json={"ids": made["x"]})).json()["datapoints"]
        other = (await http.post("/v1/datasets/y/get_datapoints", json={"ids": made["x"]})).json()["datapoints"]
    assert sorted(page[0]["dataset_name"] for page in pages[:2]) == ["x", "y"]
    assert pages[2] == other == []
    assert (bad.status_code, bad.headers["content-type"]) == (400, "text/plain; charset=utf-8")
    assert found["additional_tools"] == [{"type": "function", "strict": False, **tool}]
    assert (found["provider_tools"], found["tool_choice"]) == ([], "auto")
