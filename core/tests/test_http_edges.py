"""Sharp edges of the HTTP API, by the numbers of http-api 24: statuses, shapes, episodes, feedback."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import anyio
import httpx
import pytest
from headrace.assembly import Assembly
from headrace.config import loads
from headrace.conformance.script import Script, SetClock
from headrace.contracts import InferenceQuery
from headrace.http.app import create_app
from headrace.ids import new_id
from headrace.plugins import Registry
from headrace.transport import Reply
from msgspec.json import encode
from recipes import function, model

pytestmark = pytest.mark.anyio

INPUT = {"messages": [{"role": "user", "content": "hello"}]}
ASK = {"function_name": "f", "input": INPUT}
FAILS = model(fails='"broken"')


@pytest.fixture
def serving(opened: Any) -> Callable[..., Any]:
    """``async with serving(toml) as (http, host)``."""

    @asynccontextmanager
    async def open_(toml: str, **stand_ins: Any) -> AsyncGenerator[tuple[httpx.AsyncClient, Any], None]:
        async with opened(toml, **stand_ins) as host:
            transport = httpx.ASGITransport(create_app(host.gateway, owns_gateway=False))
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
                yield http, host

    return open_


def dummy(**providers: str) -> str:
    """Model ``m``, its providers of type dummy in this order, each with the name that says what it does."""
    text = f"[models.m]\nrouting = {json.dumps(list(providers))}\n"
    for name, model_name in providers.items():
        text += f'[models.m.providers.{name}]\ntype = "dummy"\nmodel_name = "{model_name}"\n'
    return text


# -- requests -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "status"), [({}, 400), ({"chat_completion": {}}, 200), (None, 200)], ids=["empty", "of-nothing", "null"]
)
async def test_http_edge_02_empty_params_are_refused_and_empty_parameters_are_not(
    serving: Any, params: Any, status: int
) -> None:
    async with serving(model() + function()) as (http, _):
        reply = await http.post("/inference", json={**ASK, "params": params})
    assert reply.status_code == status
    assert status == 200 or "`chat_completion`" in reply.json()["error"]


async def test_http_edge_05_a_body_is_json_whatever_its_type_says(serving: Any) -> None:
    async with serving(model() + function()) as (http, _):
        for type_ in ("text/plain", "application/x-www-form-urlencoded", "nonsense"):
            reply = await http.post("/inference", content=json.dumps(ASK), headers={"content-type": type_})
            assert reply.status_code == 200


@pytest.mark.parametrize(
    ("path", "says"),
    [("/batch_inference/7", "Cannot parse `batch_id`"), ("/internal/object_storage", "missing field `storage_path`")],
    ids=["path", "query"],
)
async def test_http_edge_05_a_parameter_that_cannot_be_read_is_told_as_plain_text(
    serving: Any, path: str, says: str
) -> None:
    async with serving(model() + function()) as (http, _):
        reply = await http.get(path)
    assert (reply.status_code, reply.headers["content-type"]) == (400, "text/plain; charset=utf-8")
    assert says in reply.text


async def test_http_edge_34_the_default_function_has_no_variants(serving: Any) -> None:
    async with serving(model()) as (http, _):
        refused = await http.post("/inference", json={"function_name": "tensorzero::default", "input": INPUT})
        answered = await http.post("/inference", json={"model_name": "m", "input": INPUT})
    assert refused.status_code == 500
    assert refused.json()["error"].startswith("Function tensorzero::default has no variants")
    assert (answered.status_code, answered.json()["variant_name"]) == (200, "m")


# -- failures -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "status", "says"),
    [
        ({}, 502, "All variants failed with errors: v: All model providers failed"),
        ({"variant_name": "v"}, 500, "All model providers failed"),
    ],
    ids=["drawn", "pinned"],
)
async def test_http_edge_03_one_variant_that_fails_is_a_502_and_pinned_a_500(
    serving: Any, fields: dict[str, Any], status: int, says: str
) -> None:
    async with serving(FAILS + function()) as (http, _):
        reply = await http.post("/inference", json={**ASK, **fields})
    assert reply.status_code == status
    assert reply.json()["error"].startswith(says)


@pytest.mark.parametrize("status", [401, 429])
async def test_http_edge_04_an_upstreams_status_is_told_and_not_passed_on(registry: Registry, status: int) -> None:
    toml = '[gateway.observability]\nenabled = false\n[models.m]\nrouting = ["o"]\n[models.m.providers.o]\n'
    toml += 'type = "openai"\nmodel_name = "x"\napi_key_location = "none"\n' + function()
    upstream = Script(Reply(status, {}, b'{"error": {"message": "said upstream"}}'))
    async with Assembly(loads(toml), registry, transport=upstream).gateway() as gateway:
        transport = httpx.ASGITransport(create_app(gateway, owns_gateway=False))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
            reply = await http.post("/inference", json=ASK)
    assert reply.status_code == 502
    assert f"Error {status} " in reply.json()["error"]
    assert "said upstream" in reply.json()["error"]


@pytest.mark.parametrize(
    ("providers", "status"),
    [({"bad": "error", "own": "flaky_rate_limit"}, 429), ({"own": "flaky_rate_limit", "bad": "error"}, 502)],
    ids=["last", "not-last"],
)
async def test_http_edge_04_an_own_rate_limit_is_a_429_if_it_is_the_last_error(
    serving: Any, providers: dict[str, str], status: int
) -> None:
    # The dummy's second call is refused as a rate limit of the gateway's own would refuse it.
    async with serving(dummy(**providers) + function()) as (http, _):
        assert (await http.post("/inference", json=ASK)).status_code == 200
        assert (await http.post("/inference", json=ASK)).status_code == status


# -- answers ------------------------------------------------------------------------------------------------


async def test_http_edge_06_raw_usage_stands_beside_usage(serving: Any) -> None:
    async with serving(model() + function()) as (http, _):
        body = (await http.post("/inference", json={**ASK, "include_raw_usage": True})).json()
    [entry] = body["raw_usage"]
    assert (entry["provider_type"], entry["data"]) == ("scripted", {"said": 1})
    assert not [key for key in body["usage"] if "raw" in key]


@pytest.mark.parametrize("says", ['{"x": 1}', "no JSON at all"], ids=["another-type", "no-json"])
async def test_http_edge_27_output_that_violates_the_schema_is_a_200_with_parsed_null(serving: Any, says: str) -> None:
    schema = '{ __tensorzero_remapped_path = "s", __data = \'{"properties": {"x": {"type": "string"}}}\' }'
    toml = function(type_="json").replace('type = "json"\n', f'type = "json"\noutput_schema = {schema}\n', 1)
    async with serving(model(says=json.dumps([says])) + toml) as (http, _):
        reply = await http.post("/inference", json=ASK)
    assert (reply.status_code, reply.json()["output"]) == (200, {"raw": says, "parsed": None})


async def test_http_edge_28_the_original_response_of_best_of_n_is_the_evaluators(serving: Any) -> None:
    toml = model("m", says='["first"]') + model("n", says='["second"]') + function("a=m", "b=n")
    toml += '[functions.f.variants.best]\ntype = "experimental_best_of_n_sampling"\ncandidates = ["a", "b"]\n'
    toml += '[functions.f.variants.best.evaluator]\nmodel = "dummy::best_of_n_1"\n'
    asked = {**ASK, "variant_name": "best", "include_original_response": True, "include_raw_response": True}
    async with serving(toml) as (http, _):
        body = (await http.post("/inference", json=asked)).json()
    assert body["content"] == [{"type": "text", "text": "second"}]
    *candidates, evaluator = [entry["data"] for entry in body["raw_response"]]
    assert candidates == ["said", "said"]
    assert body["original_response"] == evaluator != "said"


async def test_http_edge_32_thoughts_have_explicit_nulls_in_streams_and_only_there(serving: Any) -> None:
    asked = {"model_name": "dummy::reasoner", "input": INPUT}
    async with serving("") as (http, _):
        whole = (await http.post("/inference", json=asked)).json()
        streamed = (await http.post("/inference", json={**asked, "stream": True})).text
    chunks = [json.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data: {")]
    [thought, *_] = [item for chunk in chunks for item in chunk["content"] if item["type"] == "thought"]
    for key in ("signature", "summary_id", "summary_text"):
        assert thought[key] is None
    [block, _] = whole["content"]
    assert (block["type"], set(block) & {"signature", "summary"}) == ("thought", set())


# -- embeddings ---------------------------------------------------------------------------------------------


async def test_http_edge_18_embeddings_have_colons_drop_what_they_do_not_know_and_leave_no_row(serving: Any) -> None:
    toml = '[embedding_models.e]\nrouting = ["echo"]\n[embedding_models.e.providers.echo]\ntype = "echo"\n'
    asked = {"model": "e", "input": "a", "unheard_of": 1, "tensorzero::include_raw_response": True}
    async with serving(toml) as (http, host):
        reply = await http.post("/openai/v1/embeddings", json=asked)
        await host.settled()
        assert await host.store.inferences(InferenceQuery(limit=10)) == []
    assert reply.status_code == 200
    assert "tensorzero::raw_response" in reply.json()
    assert "tensorzero_raw_response" not in reply.json()


# -- episodes -----------------------------------------------------------------------------------------------


def at(seconds: float) -> str:
    """A UUIDv7 of that time."""
    return str(UUID(int=(round(seconds * 1000) << 80) | (new_id().int & ((1 << 80) - 1))))


@pytest.mark.parametrize(("later_s", "status"), [(0.999, 200), (1, 400)], ids=["this-second", "the-next"])
async def test_http_edge_09_an_episode_need_not_exist_and_must_not_be_a_second_ahead(
    serving: Any, later_s: float, status: int
) -> None:
    clock = SetClock()
    async with serving(model() + function(), clock=clock) as (http, _):
        reply = await http.post("/inference", json={**ASK, "episode_id": at(clock.time() + later_s)})
    assert reply.status_code == status
    assert status == 200 or reply.json() == {"error": "Invalid Episode ID: Timestamp is in the future"}


async def test_http_edge_10_an_episode_falls_back_in_the_same_order_each_time(serving: Any) -> None:
    async with serving(FAILS + function("a=m", "b=m", "c=m")) as (http, _):

        async def order(episode: str) -> list[str]:
            error = (await http.post("/inference", json={**ASK, "episode_id": episode})).json()["error"]
            return [line.partition(":")[0] for line in error.partition("errors: ")[2].splitlines()]

        episodes = [str(new_id()) for _ in range(20)]
        first = [await order(episode) for episode in episodes]
        assert first == [await order(episode) for episode in episodes]
    assert all(sorted(names) == ["a", "b", "c"] for names in first)
    assert len({names[0] for names in first}) > 1, "episodes differ"


# -- feedback -----------------------------------------------------------------------------------------------

METRICS = "".join(
    f'[metrics.{name}]\ntype = "{type_}"\noptimize = "max"\nlevel = "inference"\n'
    for name, type_ in {"good": "boolean", "stars": "float"}.items()
)


@pytest.mark.parametrize("dryrun", [False, True], ids=["kept", "dry"])
async def test_http_edge_23_feedback_waits_for_a_target_that_is_missing(serving: Any, dryrun: bool) -> None:
    said = {"metric_name": "good", "value": True, "inference_id": str(new_id()), "dryrun": dryrun}
    async with serving(METRICS) as (http, _):
        with anyio.move_on_after(0.1) as patience:
            await http.post("/feedback", json=said)
        assert patience.cancelled_caught, "it has not answered yet"
    async with serving("[gateway]\nunstable_disable_feedback_target_validation = true\n" + METRICS) as (http, _):
        with anyio.fail_after(5):
            assert (await http.post("/feedback", json=said)).status_code == 200


@pytest.mark.parametrize(
    ("metric", "value", "status"),
    [
        ("good", True, 200),
        ("good", 1, 400),
        ("good", "true", 400),
        ("stars", 4, 200),
        ("stars", 0.5, 200),
        ("stars", "0.5", 400),
        ("stars", True, 400),
    ],
)
async def test_http_edge_24_values_have_exactly_the_metrics_type(
    serving: Any, metric: str, value: Any, status: int
) -> None:
    async with serving(METRICS + model() + function()) as (http, _):
        id_ = (await http.post("/inference", json=ASK)).json()["inference_id"]
        said = {"metric_name": metric, "value": value, "inference_id": id_}
        reply = await http.post("/feedback", json=said)
    assert reply.status_code == status
    assert status == 200 or f"Feedback value for metric `{metric}` must be a " in reply.json()["error"]


# -- batches ------------------------------------------------------------------------------------------------


async def test_http_edge_22_tags_of_a_batch_are_taken_as_they_are_and_its_credentials_are_not_kept(
    serving: Any,
) -> None:
    tags = [{"tensorzero::mine": "x"}, None, {"one": "too many"}]
    asked = {"function_name": "f", "inputs": [INPUT, INPUT], "tags": tags, "credentials": {"key": "sk-secret"}}
    async with serving(dummy(d="good") + function()) as (http, host):
        reply = await http.post("/batch_inference", json=asked, headers={"authorization": "Bearer sk-t0-x"})
        assert reply.status_code == 200
        id_ = UUID(reply.json()["batch_id"])
        rows = await host.store.batch_inferences(id_)
        kept = encode([await host.store.batch_request(id_), *rows])
    assert [row.tags for row in rows] == [{"tensorzero::mine": "x"}, {}], "and none of an API key"
    assert b"sk-" not in kept, "so that no poll could use it"
