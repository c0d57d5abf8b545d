"""Traces of a gateway as its users run it, as a collector sees them: every shape of tree, over gRPC and HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from collector import Collected, grpc_collector, http_collector
from served import Serve

CANARY = "the canary sings at dawn"

TOML = """
[gateway.observability]
backend = "sqlite"

[sqlite]
path = "records.db"

[gateway.export.otlp.traces]
enabled = true
extra_headers = { x-team = "blue", x-both = "static" }

[models.good]
routing = ["dummy"]
[models.good.providers.dummy]
type = "dummy"
model_name = "good"

[models.falls]
routing = ["bad", "dummy"]
[models.falls.providers.bad]
type = "dummy"
model_name = "error"
[models.falls.providers.dummy]
type = "dummy"
model_name = "good"

[embedding_models.zeros]
routing = ["dummy"]
[embedding_models.zeros.providers.dummy]
type = "dummy"
model_name = "zeros"

[metrics.good]
type = "boolean"
level = "inference"
optimize = "max"

[functions.plain]
type = "chat"
[functions.plain.variants.v]
type = "chat_completion"
model = "good"

[functions.falling]
type = "chat"
[functions.falling.variants.v]
type = "chat_completion"
model = "falls"

[functions.retrying]
type = "chat"
[functions.retrying.variants.v]
type = "chat_completion"
model = "dummy::flaky_traces"
retries = { num_retries = 1, max_delay_s = 0.01 }

[functions.failing]
type = "chat"
[functions.failing.variants.v]
type = "chat_completion"
model = "dummy::error"

[functions.best]
type = "chat"
[functions.best.experimentation]
type = "static"
candidate_variants = ["best"]
[functions.best.variants.v]
type = "chat_completion"
model = "good"
[functions.best.variants.best]
type = "experimental_best_of_n_sampling"
candidates = ["v", "v"]
[functions.best.variants.best.evaluator]
model = "dummy::best_of_n_1"
"""

LIMITS = ("rate_limiting_consume_tickets", "rate_limiting_return_tickets")
PROVIDER, FAILED = ("model_provider_inference", *LIMITS), ("model_provider_inference!", LIMITS[0])
CALL = ("model_inference", PROVIDER)
VARIANT = ("variant_inference", CALL)


@pytest.fixture(params=["grpc", "http/protobuf"])
def collected(request: pytest.FixtureRequest) -> Iterator[Collected]:
    with grpc_collector() if request.param == "grpc" else http_collector() as found:
        yield found


def told(collected: Collected) -> dict[str, str]:
    """What the environment says of this collector; Batches are sent early enough for a test."""
    protocol = "http/protobuf" if collected.url.endswith("/v1/traces") else "grpc"
    return {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": collected.url, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": protocol}


def asked(function: str, text: str = "hello", **more: Any) -> dict[str, Any]:
    return {"function_name": function, "input": {"messages": [{"role": "user", "content": text}]}, **more}


def test_every_request_of_a_gateway_is_a_tree_of_spans(serve: Serve, collected: Collected) -> None:
    with serve(TOML, **told(collected)) as served, httpx.Client(base_url=served.url) as http:
        plain = http.post("/inference", json=asked("plain", CANARY, tags={"user": "me"}))
        inference = plain.json()["inference_id"]
        streamed = http.post("/inference", json=asked("plain", CANARY, stream=True))
        http.post("/inference", json=asked("falling"))
        http.post("/inference", json=asked("retrying"))
        http.post("/inference", json=asked("retrying"))  # every second call of this model fails
        failed = http.post("/inference", json=asked("failing"))
        http.post("/inference", json=asked("best"))
        http.post("/feedback", json={"metric_name": "good", "value": True, "inference_id": inference})
        embedded = {"model": "tensorzero::embedding_model_name::zeros", "input": CANARY}
        http.post("/openai/v1/embeddings", json=embedded)
        bad = http.post("/inference", content=b"{")
        assert (plain.status_code, streamed.status_code) == (200, 200)
        http.get("/status")
        assert served.stop() == 0
    post, write = "POST /inference", "write_inference"
    assert collected.trees() == [
        (post, ("function_inference", VARIANT, write)),
        (post, ("function_inference", VARIANT, write)),
        (
            post,
            (
                "function_inference",
                (
                    "variant_inference",
                    ("model_inference", FAILED, PROVIDER),
                ),
                write,
            ),
        ),
        (post, ("function_inference", VARIANT, write)),
        (
            post,
            (
                "function_inference",
                ("variant_inference", ("model_inference!", FAILED), CALL),
                write,
            ),
        ),
        (
            f"{post}!",
            ("function_inference!", ("variant_inference!", ("model_inference!", FAILED)), write),
        ),
        (
            post,
            ("function_inference", ("variant_inference", VARIANT, VARIANT, VARIANT), write),
        ),
        ("POST /feedback", "feedback"),
        ("POST /openai/v1/embeddings", *LIMITS),
        f"{post}!",
    ]
    roots = [span for span in collected.spans if span.kind == "SERVER"]
    assert {span.message for span in roots} == {"", failed.json()["error"], bad.json()["error"]}
    assert {span.scope for span in collected.spans} == {"tensorzero"}
    assert {span.resource["service.name"] for span in collected.spans} == {"tensorzero-gateway"}
    assert {span.metadata["x-team"] for span in collected.spans} == {"blue"}
    # Nothing that was asked or answered is in them.
    shown = json.dumps([[span.attributes, span.message, span.events] for span in collected.spans])
    assert CANARY not in shown
    assert "Megumin" not in shown


def test_a_span_says_what_it_is_about(serve: Serve) -> None:
    with grpc_collector() as collected:
        with serve(TOML, **told(collected)) as served, httpx.Client(base_url=served.url) as http:
            answer = http.post("/inference", json=asked("plain", variant_name="v", tags={"user": "me"})).json()
            assert served.stop() == 0
    root = collected.one("POST /inference").attributes
    address = served.url.removeprefix("http://")
    assert root.pop("user_agent.original").startswith("python-httpx")
    assert root == {
        "http.request.method": "POST",
        "http.route": "/inference",
        "url.path": "/inference",
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "server.address": address,
        "span.type": "web",
        "http.response.status_code": 200,
    }
    assert collected.one("function_inference").attributes == {
        "tags.user": "me",
        "function_name": "plain",
        "variant_name": "v",
        "inference_id": answer["inference_id"],
        "episode_id": answer["episode_id"],
    }
    assert collected.one("variant_inference").attributes == {
        "function_name": "plain",
        "variant_name": "v",
        "stream": False,
    }
    assert collected.one("model_inference").attributes == {"model_name": "good", "stream": False}
    assert collected.one("model_provider_inference").attributes == {
        "provider_name": "dummy",
        "stream": False,
        "gen_ai.operation.name": "chat",
        "gen_ai.system": "dummy",
        "gen_ai.provider.name": "dummy",
        "gen_ai.request.model": "good",
        "gen_ai.agent.name": "plain",
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 1,
        "gen_ai.usage.total_tokens": 11,
    }
    assert collected.one("write_inference").attributes == {
        "stream": False,
        "inference_id": answer["inference_id"],
        "async_writes": True,
    }


def test_a_request_has_a_say_in_its_own_trace(serve: Serve, collected: Collected) -> None:
    prefix = "tensorzero-otlp-traces-extra-"
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    headers = {
        f"{prefix}header-x-user": "me",
        f"{prefix}header-x-both": "mine",
        f"{prefix}resource-room": "12",
        f"{prefix}attribute-shift": '"night"',
        f"{prefix}attribute-paid": "true",
        "traceparent": f"00-{trace}-{parent}-01",
        "tracestate": "a=1",
    }
    with serve(TOML, **told(collected)) as served, httpx.Client(base_url=served.url) as http:
        assert http.post("/inference", json=asked("plain"), headers=headers).status_code == 200
        assert http.post("/inference", json=asked("plain")).status_code == 200
        assert served.stop() == 0
    mine = [span for span in collected.spans if span.trace == trace]
    others = [span for span in collected.spans if span.trace != trace]
    assert [span.parent for span in mine if span.kind == "SERVER"] == [parent]
    assert len(mine) == len(others) == 8
    for span in mine:
        assert (span.attributes["shift"], span.attributes["paid"]) == ("night", True)
        assert span.resource["room"] == "12"
        assert {key: span.metadata[key] for key in ("x-user", "x-both", "x-team")} == {
            "x-user": "me",
            "x-both": "mine",
            "x-team": "blue",
        }
    for span in others:
        assert "shift" not in span.attributes
        assert "room" not in span.resource
        assert ("x-user" in span.metadata, span.metadata["x-both"]) == (False, "static")


def test_a_collector_that_is_away_harms_nobody(serve: Serve, tmp_path: Path) -> None:
    away = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "1"}
    with serve(TOML, **away) as served, httpx.Client(base_url=served.url) as http:
        for _ in range(20):
            assert http.post("/inference", json=asked("plain")).status_code == 200
        assert served.stop() == 0
