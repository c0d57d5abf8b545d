"""What a traced gateway tells of each kind of request, with a tracer that only takes notes."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import anyio
import pytest
from headrace.authentication import make_key
from headrace.conformance.script import Script
from headrace.tracing import current
from headrace.transport import Reply
from notebook import (
    ASK,
    CALL,
    FAILED_CALL,
    FAILED_PROVIDER,
    INPUT,
    LIMITS,
    POST,
    PROVIDER,
    WRITE,
    Open,
)
from notebook import traced as traced
from notebook import tracers as tracers
from recipes import THEN, ask, function, model

pytestmark = pytest.mark.anyio

# -- trees ------------------------------------------------------------------------------------------------


async def test_an_inference_is_one_tree(traced: Open) -> None:
    async with traced(model() + function()) as host:
        answer = (await host.ask()).json()
        assert host.book.trees == [(POST, ("function_inference", ("variant_inference", CALL), WRITE))]
        assert host.book.one(WRITE).attributes["inference_id"] == answer["inference_id"]
        assert current() is None


async def test_the_spans_of_a_stream_end_with_it_and_its_root_with_the_head(traced: Open) -> None:
    async with traced(model(says='["a", "b"]') + function()) as host:
        assert "[DONE]" in (await host.ask(stream=True)).text
        assert host.book.trees == [(POST, ("function_inference", ("variant_inference", CALL), WRITE))]
        ends = ["model_provider_inference", "model_inference", "variant_inference", WRITE, "function_inference"]
        assert host.book.ended == [LIMITS[0], POST, LIMITS[1], *ends]
        call = host.book.one("model_provider_inference").attributes
        assert (call["stream"], call["gen_ai.usage.output_tokens"]) == (True, 2)
        assert host.book.one(WRITE).attributes["stream"] is True


async def test_a_provider_that_fails_is_an_error_and_the_next_one_is_not(traced: Open) -> None:
    toml = '[models.m]\nrouting = ["p", "q"]\n[models.m.providers.p]\ntype = "scripted"\nfails = "no"\n'
    toml += '[models.m.providers.q]\ntype = "scripted"\n'
    for stream in (False, True):
        async with traced(toml + function()) as host:
            await host.ask(stream=stream)
            tried = ("model_inference", FAILED_PROVIDER, PROVIDER)
            assert host.book.trees == [(POST, ("function_inference", ("variant_inference", tried), WRITE))]
            first, second = host.book.named("model_provider_inference")
            assert first.error == "Error from scripted server: no"
            assert (first.attributes["provider_name"], second.attributes["provider_name"]) == ("p", "q")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_variant_that_fails_makes_way_in_the_tree_too(traced: Open, stream: bool) -> None:
    toml = model(fails='"no"') + model("n") + function("a=m", "b=n") + THEN
    async with traced(toml) as host:
        await host.ask(stream=stream)
        assert host.book.trees == [
            (POST, ("function_inference", ("variant_inference!", FAILED_CALL), ("variant_inference", CALL), WRITE))
        ]


async def test_what_is_answered_with_an_error_is_an_error_with_its_text(traced: Open) -> None:
    async with traced(model(fails='"no"') + function()) as host:
        text = (await host.ask()).json()["error"]
        function_ = ("function_inference!", ("variant_inference!", FAILED_CALL), WRITE)
        assert host.book.trees == [(f"{POST}!", function_)]
        assert host.book.roots[0].error == host.book.one("function_inference").error == text
        assert host.book.roots[0].attributes["http.response.status_code"] == 502


async def test_a_stream_that_is_torn_is_an_error_below_a_root_that_is_none(traced: Open) -> None:
    async with traced(model(says='["a", "b"]', fail_after=1) + function()) as host:
        assert (await host.ask(stream=True)).status_code == 200
        call = host.book.one("model_provider_inference")
        assert call.error == "Error from scripted server: torn"
        assert host.book.trees == [(POST, ("function_inference!", ("variant_inference!", FAILED_CALL), WRITE))]


async def test_a_request_that_is_refused_has_no_spans_below_its_function(traced: Open) -> None:
    async with traced(model() + function()) as host:
        await host.http.post("/inference", content=b"{")
        await host.ask(variant_name="nobody")
        assert host.book.trees == [f"{POST}!", (f"{POST}!", "function_inference!")]
        assert host.book.one("function_inference").error == "Unknown variant: nobody"


async def test_an_answer_from_the_cache_has_no_provider(traced: Open) -> None:
    async with traced(model() + function()) as host:
        for stream in (False, False, True, True):
            await host.ask(stream=stream, cache_options={"enabled": "on"})
            await anyio.wait_all_tasks_blocked()
        first, second, third, fourth = (root.tree[1][1] for root in host.book.roots)
        assert first == third == ("variant_inference", CALL)
        assert second == ("variant_inference", "model_inference")
        assert fourth == ("variant_inference", ("model_inference", "stream_from_cache"))


async def test_a_retry_is_a_model_inference_of_its_own(traced: Open) -> None:
    toml = model(fails='"no"') + function(more="retries = { num_retries = 1, max_delay_s = 0.0 }\n")
    async with traced(toml) as host:
        await host.ask()
        assert host.book.one("variant_inference").tree == ("variant_inference!", FAILED_CALL, FAILED_CALL)


async def test_candidates_evaluator_and_fuser_are_variants_inside(traced: Open) -> None:
    toml = model() + model("judge", says='[\'{"thinking": "", "answer_choice": 1}\']') + function()
    best = '[functions.f.variants.best]\ntype = "experimental_best_of_n_sampling"\ncandidates = ["v", "v"]\n'
    best += 'timeout_s = 5\n[functions.f.variants.best.evaluator]\nmodel = "judge"\n'
    mix = '[functions.f.variants.mix]\ntype = "experimental_mixture_of_n"\ncandidates = ["v", "v"]\n'
    mix += '[functions.f.variants.mix.fuser]\nmodel = "m"\n'
    async with traced(toml + best + mix) as host:
        one = ("variant_inference", CALL)
        await host.ask(variant_name="best")
        await host.ask(variant_name="mix")
        await host.ask(variant_name="mix", stream=True)
        assert [root.tree[1][1] for root in host.book.roots] == [("variant_inference", one, one, one)] * 3
        names = [span.attributes.get("headrace.part") for span in host.book.named("variant_inference")]
        assert sorted(filter(None, map(str, names))).count("evaluator") == 1
        assert names.count("fuser") == 2


async def test_a_time_limit_is_told_at_the_level_that_has_it(traced: Open) -> None:
    limit = "{ non_streaming = { total_ms = 20 } }"
    toml = model(slow_s=5) + function(more=f"timeouts = {limit}\n")
    async with traced(toml) as host:
        await host.ask()
        assert "Variant `v` timed out" in str(host.book.one("variant_inference").error)
        assert host.book.one("model_provider_inference").error == "cancelled before its end"
    async with traced(model(slow_s=5, timeouts=limit) + function()) as host:
        await host.ask()
        assert "Model provider p timed out" in str(host.book.one("model_provider_inference").error)


async def test_a_dry_run_writes_nothing(traced: Open) -> None:
    async with traced(model() + function()) as host:
        await host.ask(dryrun=True)
        assert host.book.named(WRITE) == []


async def test_models_feedback_embeddings_and_batches_have_their_own_trees(traced: Open) -> None:
    dummy = (
        '[embedding_models.z]\nrouting = ["d"]\n[embedding_models.z.providers.d]\ntype = "dummy"\nmodel_name = "z"\n'
    )
    metric = '[metrics.good]\ntype = "boolean"\nlevel = "inference"\noptimize = "max"\n'
    async with traced(model("m") + function() + dummy + metric) as host:
        asked = {"model_name": "scripted::hi", "input": INPUT, "tags": {"a": "b"}, "internal": True}
        id_ = (await host.http.post("/inference", json=asked)).json()["inference_id"]
        said = host.book.one("function_inference").attributes
        assert "function_name" not in said
        assert (said["model_name"], said["tags.a"], said["tags.tensorzero::internal"]) == ("scripted::hi", "b", "true")
        assert host.book.one("model_provider_inference").attributes["gen_ai.agent.name"] == "tensorzero::default"
        given = {"metric_name": "good", "value": True, "inference_id": id_, "tags": {"c": "d"}}
        assert (await host.http.post("/feedback", json=given)).status_code == 200
        assert host.book.one("feedback").attributes == {"inference_id": id_, "metric_name": "good", "tags.c": "d"}
        await host.http.post("/feedback", json=given | {"metric_name": "nobody"})
        await host.http.post("/openai/v1/embeddings", json={"model": "z", "input": "x"})
        await host.http.get(f"/batch_inference/{id_}")
        await host.http.get(f"/batch_inference/{id_}/inference/{id_}")
        assert host.book.trees[1:] == [
            ("POST /feedback", "feedback"),
            ("POST /feedback!", "feedback!"),
            ("POST /openai/v1/embeddings", *LIMITS),
            "GET /batch_inference/{batch_id}!",
            "GET /batch_inference/{batch_id}/inference/{inference_id}!",
        ]


async def test_nothing_else_is_traced(traced: Open) -> None:
    async with traced(model() + function()) as host:
        for path in ("/status", "/health", "/metrics", "/inference", "/nowhere", "/batch_inference"):
            await host.http.get(path)
        await host.gateway.infer(ask())
        assert host.book.roots == []


async def test_a_base_path_is_left_out_of_the_route(traced: Open) -> None:
    async with traced(model() + function(), base_path="/base") as host:
        assert (await host.ask("/base/inference?a=1")).status_code == 200
        said = host.book.roots[0].attributes
        assert (host.book.roots[0].name, said["http.route"]) == (POST, "/inference")
        assert (said["url.path"], said["url.query"]) == ("/base/inference", "a=1")


async def test_limits_tell_what_they_take_and_what_was_used(traced: Open) -> None:
    rule = "[[rate_limiting.rules]]\nalways = true\ntokens_per_hour = 60\ncost_per_hour = 100\n"
    cost = '[{ pointer = "/used", cost_per_million = 1.0 }]'
    async with traced(rule + model(cost=cost) + function()) as host:
        params = {"chat_completion": {"max_tokens": 50}}
        await host.ask(params=params, tags={"a": "b"})
        await host.ask(params=params, stream=True)
        taken, refused = host.book.named(LIMITS[0])
        assert taken.attributes["scope_info.tags.a"] == "b"
        assert taken.attributes["estimated_usage.tokens"] == 52
        assert isinstance(taken.attributes["estimated_usage.cost"], float)
        assert host.book.one(LIMITS[1]).attributes == {
            "actual_usage.tokens": 4,
            "actual_usage.model_inferences": 1,
            "actual_usage.cost": 0.0,
            "underestimate": False,
        }
        assert host.book.named("model_provider_inference")[0].attributes["tensorzero.cost_usd"] == "0.000000"
        assert "rate limit exceeded for `token`" in str(refused.error)
        assert host.book.roots[1].tree[1][1] == (
            "variant_inference!",
            ("model_inference!", ("model_provider_inference!", f"{LIMITS[0]}!")),
        )


async def test_the_check_of_a_key_comes_first(traced: Open) -> None:
    async with traced("[gateway.auth]\nenabled = true\n" + model() + function()) as host:
        text, key = make_key(datetime.now(UTC), organization="o", workspace="w")
        await host.gateway.store.write([key])
        await host.http.post("/inference", json=ASK, headers={"authorization": f"Bearer {text}"})
        await host.http.post("/inference", json=ASK, headers={"authorization": "Bearer sk-t0-no"})
        good, bad = host.book.named("tensorzero_auth")
        assert good.attributes == {
            "key.public_id": key.public_id,
            "key.organization": "o",
            "key.workspace": "w",
        }
        assert host.book.roots[0].tree[1] == "tensorzero_auth"
        assert host.book.roots[1].tree == (f"{POST}!", "tensorzero_auth!")
        assert host.book.roots[1].error == bad.error


async def test_a_relayed_call_has_no_provider_here(traced: Open) -> None:
    relay = '[gateway.relay]\ngateway_url = "http://other"\n'
    async with traced(relay + model() + function(), transport=Script(Reply(500, {}, b"no"))) as host:
        await host.ask()
        assert host.book.trees[0][1][1] == ("variant_inference!", "model_inference!")


async def test_errors_that_are_logged_are_events_of_their_span(traced: Open) -> None:
    async with traced(model(bug="true") + function()) as host:
        await host.ask()
        assert host.book.one("model_provider_inference").events == [
            "provider p of type scripted broke its contract",
        ]
    assert not [handler for handler in logging.getLogger().handlers if type(handler).__module__ == "headrace.tracing"]
