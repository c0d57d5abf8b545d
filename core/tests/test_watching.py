"""What ``/metrics`` says of requests and of the calls behind them, and what the log says of each request."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import httpx
import pytest
from headrace import plugins
from headrace.assembly import assemble
from headrace.config import loads
from headrace.conformance.script import Script
from headrace.http.app import create_app
from headrace.http.watching import Watched
from headrace.incoming import current
from headrace.transport import Call, Reply
from prometheus_client.parser import text_string_to_metric_families

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]

OVERHEAD = "tensorzero_inference_latency_overhead_seconds"
TOML = """
[gateway.observability]
backend = "memory"

[models.good]
routing = ["dummy"]
providers.dummy = { type = "dummy", model_name = "good" }

[models.falls]
routing = ["bad", "dummy"]
providers.bad = { type = "dummy", model_name = "error" }
providers.dummy = { type = "dummy", model_name = "good" }

[models.fails]
routing = ["bad"]
providers.bad = { type = "dummy", model_name = "error" }

[functions.one]
type = "chat"
variants.v = { type = "chat_completion", model = "good" }

[functions.two]
type = "chat"
[functions.two.experimentation]
type = "static"
candidate_variants = ["bad"]
fallback_variants = ["good"]
[functions.two.variants.bad]
type = "chat_completion"
model = "fails"
[functions.two.variants.good]
type = "chat_completion"
model = "good"
"""


class Serving:
    """A gateway behind a client."""

    def __init__(self, gateway: Any, app: Any, http: httpx.AsyncClient) -> None:
        self.gateway, self.app, self.http = gateway, app, http

    async def ask(self, path: str = "/inference", **body: Any) -> httpx.Response:
        said = {"input": {"messages": [{"role": "user", "content": "hello"}]}, **body}
        return await self.http.post(path, json=said)

    async def samples(self) -> dict[str, float]:
        """Every sample of the page by its name and labels, checked as a scraper would."""
        page = (await self.http.get("/metrics")).text
        found: dict[str, float] = {}
        names = set()
        for family in text_string_to_metric_families(page):
            assert re.fullmatch(r"[a-z][a-z0-9_]*", family.name)
            assert family.name not in names
            names.add(family.name)
            assert family.documentation or family.type == "summary"
            assert family.type in ("counter", "gauge", "histogram", "summary")
            for sample in family.samples:
                key = shown(sample.name, sample.labels)
                assert key not in found
                found[key] = sample.value
        return found


def shown(name: str, labels: Mapping[str, str] = {}) -> str:
    inner = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    return f"{name}{{{inner}}}" if inner else name


@pytest.fixture
async def serving() -> Any:
    gateway = assemble(loads(TOML), plugins.load(), transport=Script())
    app = create_app(gateway, owns_gateway=False)
    async with gateway, httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as http:
        yield Serving(gateway, app, http)


# -- overhead ---------------------------------------------------------------------------------------------


def counts(samples: Mapping[str, float]) -> dict[str, float]:
    return {
        key.removeprefix(f"{OVERHEAD}_count"): n for key, n in samples.items() if key.startswith(f"{OVERHEAD}_count")
    }


async def test_overhead_says_which_function_and_which_variant_if_it_was_the_only_one(serving: Serving) -> None:
    await serving.ask(function_name="one")
    await serving.ask(function_name="one", stream=True)
    await serving.ask(model_name="good")
    await serving.ask(function_name="two")
    await serving.ask(model_name="fails")
    assert counts(await serving.samples()) == {
        "{function_name=one,variant_name=v}": 2,
        "{function_name=tensorzero::default,variant_name=good}": 1,
        "{function_name=two}": 1,
        "{function_name=tensorzero::default}": 1,
    }


async def test_overhead_of_what_no_function_was_asked_for_has_no_labels(serving: Serving) -> None:
    await serving.http.post("/inference", content=b"{")
    await serving.ask(function_name="nobody")
    assert counts(await serving.samples()) == {"": 2}


@pytest.mark.parametrize("path", ["/inference?x=1", "/openai/v1/chat/completions", "/feedback", "/inference/"])
async def test_overhead_is_of_exactly_one_target(serving: Serving, path: str) -> None:
    await serving.ask(path, model_name="good", model="tensorzero::model_name::good")
    await serving.http.get("/inference")
    assert counts(await serving.samples()) == {}


@pytest.mark.parametrize("base", ["/llm"])
async def test_overhead_is_of_no_target_below_a_base_path(base: str) -> None:
    gateway = assemble(loads(TOML), plugins.load(), transport=Script())
    app = create_app(gateway, base_path=base, owns_gateway=False)
    async with gateway, httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as http:
        assert (await Serving(gateway, app, http).ask("/llm/inference", model_name="good")).status_code == 200
        page = (await http.get("/llm/metrics")).text
    assert OVERHEAD not in page
    assert 'headrace_request_duration_seconds_count{method="POST",route="/inference",status="2xx"} 1.0' in page


async def test_buckets_are_those_of_the_configuration() -> None:
    buckets = f"[gateway.metrics]\n{OVERHEAD}_buckets = [0.25, 20]\n"
    gateway = assemble(loads(buckets + TOML), plugins.load(), transport=Script())
    app = create_app(gateway, owns_gateway=False)
    async with gateway, httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as http:
        serving = Serving(gateway, app, http)
        await serving.ask(function_name="one")
        samples = await serving.samples()
    found = [key.partition("le=")[2].split(",")[0] for key in samples if key.startswith(f"{OVERHEAD}_bucket")]
    assert [bound.rstrip("}") for bound in found] == ["0.25", "20.0", "+Inf"]


async def test_without_buckets_it_is_a_summary_without_help() -> None:
    gateway = assemble(
        loads(f"[gateway.metrics]\n{OVERHEAD}_buckets = []\n" + TOML), plugins.load(), transport=Script()
    )
    app = create_app(gateway, owns_gateway=False)
    async with gateway, httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as http:
        serving = Serving(gateway, app, http)
        await serving.ask(function_name="one")
        samples = await serving.samples()
        page = (await http.get("/metrics")).text
    assert f"# TYPE {OVERHEAD} summary" in page
    assert f"# HELP {OVERHEAD}" not in page
    labels = {"function_name": "one", "variant_name": "v"}
    total = samples[shown(f"{OVERHEAD}_sum", labels)]
    for quantile in ("0.0", "0.5", "0.99", "1.0"):  # there is only one, so they are all about it
        assert samples[shown(OVERHEAD, {**labels, "quantile": quantile})] == pytest.approx(total, rel=0.06)


# -- requests and calls -----------------------------------------------------------------------------------


async def test_requests_are_counted_by_patterns_that_callers_cannot_make_up(serving: Serving) -> None:
    await serving.ask(function_name="one")
    for name in ("one", "made-up"):
        await serving.http.get(f"/internal/functions/{name}/metrics")
    await serving.http.get("/made/up")
    await serving.http.request("BREW", "/made/up/too")
    await serving.http.request("BREW", "/inference")
    samples = await serving.samples()
    prefix = "headrace_request_duration_seconds_count"
    found = {key.removeprefix(prefix): value for key, value in samples.items() if key.startswith(prefix)}
    assert found["{method=POST,route=/inference,status=2xx}"] == 1
    patterned = "{method=GET,route=/internal/functions/{function_name}/metrics,status="
    assert sum(value for key, value in found.items() if key.startswith(patterned)) == 2
    assert found["{method=other,route=none,status=4xx}"] == 2
    assert found["{method=other,route=/inference,status=4xx}"] == 1
    assert not any("made" in key or "BREW" in key for key in found)


async def test_calls_of_models_are_counted_each_and_failures_by_kind(serving: Serving) -> None:
    before = await serving.samples()
    await serving.ask(model_name="falls")
    await serving.ask(model_name="good", stream=True)
    after = await serving.samples()
    good, bad = ({"model_name": "falls", "provider_name": name} for name in ("dummy", "bad"))
    assert after[shown("headrace_model_call_duration_seconds_count", good)] == 1
    assert after[shown("headrace_model_call_duration_seconds_count", bad)] == 1
    assert after[shown("headrace_model_errors_total", {**bad, "kind": "server_error"})] == 1
    assert after[shown("headrace_model_input_tokens_total", good)] == after["tensorzero_input_tokens_total"] / 2
    streamed = {"model_name": "good", "provider_name": "dummy"}
    assert after[shown("headrace_model_first_piece_seconds_count", streamed)] == 1
    assert all(after[key] >= value for key, value in before.items() if not key.endswith("in_flight"))


async def test_names_of_models_that_nobody_has_make_no_series(serving: Serving) -> None:
    for number in range(3):
        await serving.ask(model_name=f"dummy::error_{number}")
        await serving.ask(model_name=f"nowhere::{number}")
    samples = await serving.samples()
    ours = {key for key in samples if key.startswith("headrace_model") and "model_name" in key}
    assert {re.findall(r"model_name=([^,}]*)", key)[0] for key in ours} == {"other"}
    assert (
        samples[
            shown(
                "headrace_model_errors_total", {"model_name": "other", "provider_name": "other", "kind": "server_error"}
            )
        ]
        == 3
    )


async def test_the_cache_is_counted_by_what_it_had(serving: Serving) -> None:
    for _ in range(2):
        await serving.ask(model_name="good", cache_options={"enabled": "on"})
        await anyio.wait_all_tasks_blocked()
    samples, labels = await serving.samples(), {"model_name": "good", "provider_name": "dummy"}
    assert samples[shown("headrace_cache_misses_total", labels)] == 1
    assert samples[shown("headrace_cache_hits_total", labels)] == 1
    assert samples[shown("headrace_model_call_duration_seconds_count", labels)] == 1


async def test_the_page_says_which_build_it_is_and_what_is_under_way(serving: Serving) -> None:
    samples = await serving.samples()
    assert [value for key, value in samples.items() if key.startswith("headrace_build_info{")] == [1]
    assert samples["headrace_requests_in_flight"] == 1  # this one
    assert samples["headrace_streams_in_flight"] == 0


# -- the log ----------------------------------------------------------------------------------------------


async def test_every_request_has_an_id_of_its_own_within_it_and_none_outside() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def inside() -> None:
            seen.append(current())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(inside)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    gateway = assemble(loads(TOML), plugins.load(), transport=Script())
    watched = Watched(app, gateway, [])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(watched), base_url="http://gateway") as http:
        for _ in range(2):
            await http.get("/x?y=1", headers={"x-amzn-trace-id": "Root=1"})
    assert current() is None
    told = [one.told() for one in seen]
    assert told[0] == {**told[1], "request_id": told[0]["request_id"]}
    assert told[0]["uri"] == "/x?y=1"
    assert told[0]["x_amzn_trace_id"] == "Root=1"
    assert told[0]["request_id"] != told[1]["request_id"]
    assert all(UUID(each["request_id"]).version == 7 for each in told)


async def test_a_request_is_told_of_at_its_start_and_at_its_end_in_debug(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "headrace.http.watching"):
        await serving.ask(function_name="one", stream=True)
    lines = [record for record in caplog.records if record.name == "headrace.http.watching"]
    assert [line.getMessage() for line in lines] == ["started processing request", "finished processing request"]
    fields: dict[str, Any] = vars(lines[1])["fields"]
    assert re.fullmatch(r"\d+ ms", fields["latency"])
    assert (fields["status"], fields["success"]) == (200, True)


async def test_no_line_is_written_of_a_request_that_goes_well(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        caplog.clear()
        await serving.ask(function_name="one")
    assert [record for record in caplog.records if record.name.startswith("headrace")] == []


@pytest.mark.parametrize(("method", "told"), [("POST", 1), ("HEAD", 0)])
async def test_a_client_that_leaves_a_long_request_is_told_of_and_leaves_no_overhead(
    serving: Serving, caplog: pytest.LogCaptureFixture, method: str, told: int
) -> None:
    noted, answered = anyio.Event(), []

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        with anyio.fail_after(20):
            await noted.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    messages: Iterator[dict[str, Any]] = iter([{"type": "http.request", "body": b""}, {"type": "http.disconnect"}])

    async def receive() -> Any:
        message = next(messages)
        if message["type"] == "http.disconnect":
            noted.set()
        return message

    async def send(message: Any) -> None:
        answered.append(message["type"])

    scope = {"type": "http", "method": method, "path": "/inference", "query_string": b"", "http_version": "1.1"}
    with caplog.at_level(logging.WARNING, "headrace.http.watching"):
        await Watched(slow, serving.gateway, [])({**scope, "headers": []}, receive, send)
    lines = [record for record in caplog.records if "closed the connection" in record.getMessage()]
    assert len(lines) == told
    assert answered == ["http.response.start", "http.response.body"]
    assert counts(await serving.samples()) == {}


# -- outbound ---------------------------------------------------------------------------------------------


async def test_calls_of_upstreams_are_not_overhead() -> None:
    class Slow:
        async def send(self, call: Call) -> Reply:
            await anyio.sleep(0.3)
            return Reply(500, {}, b"no")

    toml = TOML + '[models.away]\nrouting = ["p"]\n[models.away.providers.p]\ntype = "openai"\nmodel_name = "m"\n'
    toml += 'api_base = "http://x/"\napi_key_location = "none"\n'
    gateway = assemble(loads(toml), plugins.load(), transport=Slow())
    app = create_app(gateway, owns_gateway=False)
    async with gateway, httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as http:
        serving = Serving(gateway, app, http)
        assert (await serving.ask(model_name="away")).status_code == 502
        samples = await serving.samples()
    assert samples[shown(f"{OVERHEAD}_sum", {"function_name": "tensorzero::default"})] < 0.3
    took = {"method": "POST", "route": "/inference", "status": "5xx"}
    assert samples[shown("headrace_request_duration_seconds_sum", took)] >= 0.3
