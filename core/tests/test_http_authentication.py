"""With authentication on, nothing but what needs no key is answered without one; and who asked is written down."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from headrace.assembly import Assembly
from headrace.authentication import make_key
from headrace.config import loads
from headrace.conformance.script import SetClock
from headrace.contracts import InferenceQuery
from headrace.errors import ConfigError, StoreError
from headrace.http.app import create_app, routes_of
from headrace.http.authentication import EXEMPT
from headrace.http.readers import API_KEY
from headrace.plugins import Registry
from headrace.records import ApiKey, BatchInference, Feedback
from headrace_memory import Memory, Settings
from recipes import function, model

pytestmark = pytest.mark.anyio

ON = "[gateway.auth]\nenabled = true\n"
TOML = ON + model() + function() + '[metrics.good]\ntype = "boolean"\noptimize = "max"\nlevel = "inference"\n'
NOW = datetime.fromtimestamp(SetClock().time(), UTC)
TEXT, KEY = make_key(NOW)
SHOWN = {"authorization": f"Bearer {TEXT}"}
REQUIRED = "TensorZero authentication error: Error performing authentication: Authorization header is required"
INPUT = {"messages": [{"role": "user", "content": "hello"}]}
ASK = {"function_name": "f", "input": INPUT}
TAG = "tensorzero::api_key_public_id"


class Called:
    """A gateway that is called over HTTP."""

    def __init__(self, http: httpx.AsyncClient, host: Any, app: Any) -> None:
        self.http = http
        self.host = host
        self.app = app
        self.base_path = ""

    async def post(self, path: str, body: Any, headers: dict[str, str] | None = None) -> httpx.Response:
        return await self.http.post(path, json=body, headers=SHOWN if headers is None else headers)


@pytest.fixture
def called(opened: Any) -> Callable[..., Any]:
    """``async with called(toml) as it``: it knows one key."""

    @asynccontextmanager
    async def open_(
        toml: str = TOML, *keys: ApiKey, base_path: str = "/", error_json: bool = False, **stand_ins: Any
    ) -> AsyncGenerator[Called, None]:
        async with opened(toml, **stand_ins) as host:
            await host.store.write([KEY, *keys])
            app = create_app(host.gateway, owns_gateway=False, base_path=base_path, error_json=error_json)
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
                yield Called(http, host, app)

    return open_


# -- what is behind it ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", ["/", "/v1"])
async def test_every_route_but_the_exempt_ones_needs_a_key(called: Any, base: str) -> None:
    prefix = base.rstrip("/")
    async with called(base_path=base) as it:
        routes = routes_of(it.host.gateway, 1000)
        assert len(routes) > 60
        for route in routes:
            path = prefix + re.sub(r"\{[^}]*\}", "x", route.path)
            for method in route.methods or ():
                reply = await it.http.request(method, path)
                assert (reply.status_code == 401) == (route.path not in EXEMPT), (method, path, reply.text)
                reply = await it.http.request(method, path, headers=SHOWN)
                assert reply.status_code != 401, (method, path)


@pytest.mark.parametrize("base", ["/", "/v1"])
@pytest.mark.parametrize("path", EXEMPT)
async def test_what_balancers_ask_for_needs_no_key(called: Any, path: str, base: str) -> None:
    async with called(base_path=base) as it:
        reply = await it.http.get(base.rstrip("/") + path)
        assert reply.status_code == (404 if "autopilot" in path else 200)
        assert (await it.http.get(base.rstrip("/") + path, headers={"authorization": "x"})).status_code != 401
        if base != "/":
            assert (await it.http.get(path)).status_code == 401


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY"])
@pytest.mark.parametrize("path", ["/", "/nowhere", "/inference", "/metrics", "/openapi.json", "/%00", "/v1/%ff"])
async def test_what_does_not_exist_needs_a_key_too(called: Any, method: str, path: str) -> None:
    async with called() as it:
        assert (await it.http.request(method, path)).status_code == 401


@pytest.mark.parametrize(
    "path",
    [
        "//health",
        "/health/",
        "/health/../inference",
        "/health/..",
        "/./health",
        "/health.",
        "/health;x",
        "/health ",
        "/health\n",
        "/health\x00",
        "/HEALTH",
        "/Status",
        "/status/../metrics",
        "/status%2f..%2fmetrics",
        "/status/..;/metrics",
        "/v1/health",
        "/internal/autopilot/status/x",
        "health",
        "",
        "http://gateway/health",
        "*",
    ],
)
async def test_no_path_that_only_looks_exempt_is(called: Any, path: str) -> None:
    async with called() as it:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "path": path,
            "raw_path": b"/health",
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"/status"), (b"x-original-url", b"/health"), (b"x-forwarded-prefix", b"/health")],
        }
        await it.app(scope, receive, send)
        assert sent[0]["status"] == 401


async def test_a_websocket_needs_a_key(called: Any) -> None:
    async with called() as it:
        for headers, code in (([], 1008), ([(b"authorization", f"Bearer {TEXT}".encode())], 1000)):
            sent: list[Any] = []

            async def receive() -> Any:
                return {"type": "websocket.connect"}

            async def send(message: Any, sent: list[Any] = sent) -> None:
                sent.append(message)

            scope = {"type": "websocket", "path": "/x", "raw_path": b"/x", "headers": headers, "root_path": ""}
            await it.app(scope, receive, send)
            assert sent == [{"type": "websocket.close", "code": code}]


async def test_http_edge_30_metrics_need_a_key_and_health_does_not(called: Any) -> None:
    async with called() as it:
        assert (await it.http.get("/metrics")).status_code == 401
        assert (await it.http.get("/metrics", headers=SHOWN)).status_code == 200
        for path in ("/status", "/health"):
            assert (await it.http.get(path)).status_code == 200


@pytest.mark.parametrize("path", ["/metrics", "/status", "/health"])
@pytest.mark.parametrize("header", [None, "Bearer sk-t0-nobody", "nonsense"], ids=["none", "key", "nonsense"])
async def test_http_edge_30_without_authentication_its_header_is_ignored(
    called: Any, path: str, header: str | None
) -> None:
    headers = {} if header is None else {"authorization": header}
    async with called(TOML.replace(ON, "")) as it:
        assert (await it.http.get(path, headers=headers)).status_code == 200


# -- what is said ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/inference", {"error": REQUIRED}),
        ("/nowhere", {"error": REQUIRED}),
        ("/openai/v1/chat/completions", {"error": {"message": REQUIRED}}),
        ("/openai/v1/nowhere", {"error": {"message": REQUIRED}}),
        (
            "/anthropic/v1/messages",
            {"type": "error", "error": {"type": "authentication_error", "message": REQUIRED}},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_each_surface_refuses_in_its_own_form(called: Any, path: str, body: Any) -> None:
    async with called() as it:
        reply = await it.post(path, ASK, {})
        assert (reply.status_code, reply.json()) == (401, body)
        assert reply.headers["www-authenticate"] == "Bearer"
        assert reply.headers["content-type"] == "application/json"
        assert "x-tensorzero-gateway-version" in reply.headers


async def test_the_responses_surface_refuses_in_its_own_form(called: Any) -> None:
    async with called() as it:
        reply = await it.post("/openai/v1/responses", ASK, {})
        assert reply.status_code == 401
        assert reply.json()["error"]["message"] == REQUIRED
        assert "type" in reply.json()["error"]


async def test_as_data_the_error_is_its_text(called: Any) -> None:
    async with called(error_json=True) as it:
        assert (await it.post("/inference", ASK, {})).json() == {"error": REQUIRED, "error_json": REQUIRED}
        reply = (await it.post("/openai/v1/chat/completions", ASK, {})).json()["error"]
        assert reply == {"message": REQUIRED, "tensorzero_error_json": REQUIRED, "error_json": REQUIRED}


async def test_two_headers_are_refused_although_one_is_good(called: Any) -> None:
    async with called() as it:
        for headers in ([SHOWN["authorization"], "x"], ["x", SHOWN["authorization"]], [SHOWN["authorization"]] * 2):
            reply = await it.http.get("/metrics", headers=[("authorization", each) for each in headers])
            assert reply.status_code == 401
            assert "more than one authorization header" in reply.text


async def test_expired_and_disabled_keys_are_told_so(called: Any) -> None:
    gone, expired = make_key(NOW, expires_at=NOW - timedelta(days=1))
    text, disabled = make_key(NOW)
    async with called(TOML, expired, ApiKey(**{**_fields(disabled), "disabled_at": NOW}), clock=SetClock()) as it:
        reply = await it.post("/inference", ASK, {"authorization": f"Bearer {gone}"})
        assert "API key expired at: 2025-06-14 15:06:40 UTC" in reply.json()["error"]
        reply = await it.post("/inference", ASK, {"authorization": f"Bearer {text}"})
        assert "API key was disabled at: 2025-06-15 15:06:40 UTC" in reply.json()["error"]


async def test_a_store_that_is_away_is_a_401_without_its_words(called: Any, caplog: pytest.LogCaptureFixture) -> None:
    class Away(Memory):
        async def api_key(self, public_id: str) -> ApiKey | None:
            raise StoreError("postgres store db.internal: password hunter2 refused")

    async with called(store=Away(Settings())) as it:
        with caplog.at_level(logging.ERROR):
            reply = await it.post("/inference", ASK)
        assert reply.status_code == 401
        assert reply.json()["error"].startswith("TensorZero authentication error: Database error: ")
        assert "hunter2" not in reply.text
        assert (await it.http.get("/health")).status_code == 200


async def test_a_bug_lets_nobody_in(called: Any) -> None:
    class Buggy(Memory):
        async def api_key(self, public_id: str) -> ApiKey | None:
            raise KeyError("oops")

    async with called(store=Buggy(Settings())) as it:
        assert (await it.post("/inference", ASK)).status_code == 500
        assert await it.host.store.inferences(InferenceQuery()) == []


async def test_who_is_refused_reaches_no_model(called: Any) -> None:
    async with called() as it:
        assert (await it.post("/inference", ASK, {"authorization": "Bearer x"})).status_code == 401
        await it.host.settled()
        assert it.host.asked() == []


# -- who asked ------------------------------------------------------------------------------------------------


CHAT = {"model": "tensorzero::function_name::f", "messages": INPUT["messages"]}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/inference", ASK),
        ("/inference", {**ASK, "stream": True}),
        ("/inference", {**ASK, "internal": True, "tags": {TAG: "somebody els"}}),
        ("/openai/v1/chat/completions", CHAT),
        ("/openai/v1/responses", {"model": CHAT["model"], "input": "hello"}),
        ("/anthropic/v1/messages", {**CHAT, "max_tokens": 5}),
    ],
    ids=["native", "streamed", "forged", "openai", "responses", "anthropic"],
)
async def test_an_inference_says_which_key_it_was_asked_with(called: Any, path: str, body: Any) -> None:
    async with called() as it:
        reply = await it.post(path, body)
        assert reply.status_code == 200, reply.text
        await it.host.settled()
        [record] = await it.host.store.inferences(InferenceQuery())
        assert record.tags[TAG] == KEY.public_id
        assert it.host.asked()[0].caller.api_key_public_id == KEY.public_id


async def test_without_authentication_an_inference_has_no_such_tag(called: Any) -> None:
    async with called(TOML.replace(ON, "")) as it:
        assert (await it.post("/inference", ASK)).status_code == 200
        await it.host.settled()
        [record] = await it.host.store.inferences(InferenceQuery())
        assert record.tags == {}


async def test_feedback_says_which_key_it_was_given_with(called: Any) -> None:
    async with called() as it:
        id_ = (await it.post("/inference", ASK)).json()["inference_id"]
        await it.host.settled()
        await it.post("/feedback", {"metric_name": "good", "inference_id": id_, "value": True, "tags": {"a": "1"}})
        await it.host.settled()
        [given] = [row for row in it.host.store.records if isinstance(row, Feedback)]
        assert given.tags == {"a": "1", TAG: KEY.public_id}


async def test_an_inference_of_a_batch_says_which_key_it_was_asked_with(called: Any) -> None:
    toml = ON + '[models.m]\nrouting = ["p"]\nproviders.p = { type = "dummy", model_name = "good" }\n' + function()
    async with called(toml) as it:
        reply = await it.post("/batch_inference", {"function_name": "f", "inputs": [INPUT]})
        assert reply.status_code == 200, reply.text
        [row] = [row for row in it.host.store.records if isinstance(row, BatchInference)]
        assert row.tags[TAG] == KEY.public_id


async def test_a_datapoint_says_which_key_made_it(called: Any) -> None:
    async with called() as it:
        point = {"type": "chat", "function_name": "f", "input": INPUT}
        reply = await it.post("/v1/datasets/d/datapoints", {"datapoints": [point]})
        assert reply.status_code == 200, reply.text
        found = await it.post("/v1/datasets/get_datapoints", {"ids": reply.json()["ids"]})
        assert json.dumps(found.json()).count(KEY.public_id) == 1


async def test_an_anthropic_sdk_shows_its_key_in_its_own_header(called: Any) -> None:
    async with called() as it:
        body = {**CHAT, "max_tokens": 5}
        assert (await it.post("/anthropic/v1/messages", body, {"x-api-key": TEXT})).status_code == 200
        assert (await it.post("/anthropic/v1/messages", body, {"x-api-key": "x"})).status_code == 401
        both = {"x-api-key": TEXT, "authorization": "Bearer x"}
        assert (await it.post("/anthropic/v1/messages", body, both)).status_code == 401
        assert (await it.post("/inference", ASK, {"x-api-key": TEXT})).status_code == 401


async def test_nobody_can_say_who_they_are_in_a_header(called: Any) -> None:
    async with called() as it:
        headers = {**SHOWN, API_KEY: "forged", "x-headrace-reader": "forged"}
        await it.post("/inference", ASK, headers)
        await it.host.settled()
        [record] = await it.host.store.inferences(InferenceQuery())
        assert record.tags == {TAG: KEY.public_id}


# -- start-up -------------------------------------------------------------------------------------------------


def test_authentication_without_a_store_is_refused_at_start_up(registry: Registry) -> None:
    with pytest.raises(ConfigError) as caught:
        Assembly(loads("[gateway.observability]\nenabled = false\n" + ON), registry, environ={}).gateway()
    [problem] = caught.value.problems
    assert problem.startswith("gateway.auth.enabled: Authentication is enabled")
    assert "but Postgres is not available" in problem


def test_authentication_that_is_off_costs_nothing(registry: Registry) -> None:
    off = Assembly(loads("[gateway.observability]\nenabled = false\n"), registry, environ={}).gateway()
    assert off.authenticator is None


def _fields(key: ApiKey) -> dict[str, Any]:
    return {name: getattr(key, name) for name in key.__struct_fields__}
