"""``infer`` and ``stream``: which variant answers, what the caller sees, what is recorded."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any
from uuid import UUID

import anyio
import pytest
from headrace.contracts import InferenceQuery
from headrace.errors import (
    AllProvidersFailed,
    AllVariantsFailed,
    BadRequest,
    HeadraceError,
    NotFound,
    ProviderError,
)
from headrace.exchange import InferenceChunk, InferenceRequest
from headrace.experiments import point
from headrace.ids import new_id
from headrace.records import InferenceRecord, ModelInferenceRecord
from headrace.types import CheckedToolCall, Input, InputMessage, JsonOutput, Text, TextDelta, Tool

pytestmark = pytest.mark.anyio

HELLO = Input((InputMessage("user", (Text("hello"),)),))


def model(name: str, **parts: str) -> str:
    """A model whose providers, in order, play the parts given as TOML lines."""
    toml = f"[models.{name}]\nrouting = {list(parts)}\n".replace("'", '"')
    for provider, lines in parts.items():
        toml += f'[models.{name}.providers.{provider}]\ntype = "scripted"\n{lines}\n'
    return toml


def variant(name: str, model_name: str, lines: str = "", function: str = "f") -> str:
    return f'[functions.{function}.variants.{name}]\ntype = "chat_completion"\nmodel = "{model_name}"\n{lines}\n'


GOOD = model("good", p='says = ["good ", "day"]')
BAD = model("bad", p='fails = "broken"')
CHAT = '[functions.f]\ntype = "chat"\n'
ONE = GOOD + CHAT + variant("a", "good")


def ask(**fields: Any) -> InferenceRequest:
    said: dict[str, Any] = {"input": HELLO, "function_name": "f"}
    return InferenceRequest(**said | fields)


async def rows(host: Any, id_: UUID) -> tuple[list[InferenceRecord], list[ModelInferenceRecord]]:
    """What is recorded of one inference."""
    await anyio.wait_all_tasks_blocked()
    return await host.store.inferences(InferenceQuery(ids=(id_,))), await host.store.model_inferences(id_)


async def collect(host: Any, request: InferenceRequest) -> list[InferenceChunk]:
    async with aclosing(await host.gateway.stream(request)) as chunks:
        return [chunk async for chunk in chunks]


# -- plain ------------------------------------------------------------------------------------------------


async def test_answers_and_records_what_honest_measurement_needs(opened: Any) -> None:
    async with opened(ONE) as host:
        response = await host.gateway.infer(ask(tags={"user": "7"}))
        [record], [attempt] = await rows(host, response.inference_id)
    assert response.output == (Text("good day"),)
    assert (response.usage.input_tokens, response.usage.output_tokens) == (3, 2)
    assert record.snapshot_hash == attempt.snapshot_hash == host.gateway.snapshot.hash
    assert (record.variant_name, record.variant_probability) == ("a", 1.0)
    assert (record.input, record.output, record.tags) == (HELLO, response.output, {"user": "7"})
    assert record.processing_time_ms is not None
    assert (attempt.raw_request, attempt.raw_response) == ("asked", "said")
    assert (attempt.model_name, attempt.model_provider_name) == ("good", "p")
    assert (attempt.input_tokens, attempt.output_tokens, attempt.finish_reason) == (3, 2, "stop")
    assert attempt.response_time_ms is not None
    assert attempt.error is None


async def test_records_the_provider_that_failed_before_the_one_that_answered(opened: Any) -> None:
    toml = model("m", first='fails = "broken"', second="") + CHAT + variant("a", "m")
    async with opened(toml) as host:
        response = await host.gateway.infer(ask())
        _, [failed, answered] = await rows(host, response.inference_id)
    assert failed.model_provider_name == "first"
    assert failed.error == "Error from scripted server: broken"
    assert (failed.raw_request, failed.raw_response) == ("asked", "no")
    assert answered.error is None
    assert response.usage.input_tokens == 3, "a failed attempt is not billed to the answer"


async def test_a_provider_that_breaks_its_contract_makes_way_like_one_that_fails(opened: Any) -> None:
    toml = model("m", first="bug = true", second="") + CHAT + variant("a", "m")
    async with opened(toml) as host:
        assert (await host.gateway.infer(ask())).output == (Text("hi"),)


async def test_falls_back_to_the_next_variant_and_says_how_likely_that_was(opened: Any) -> None:
    toml = GOOD + BAD + CHAT + variant("a", "bad", "weight = 3") + variant("b", "good", "weight = 1")
    async with opened(toml) as host:
        episode = next(id_ for id_ in iter(new_id, None) if point("f", id_) < 0.75)  # draws `a` first
        response = await host.gateway.infer(ask(episode_id=episode))
        [record], attempts = await rows(host, response.inference_id)
    assert response.variant_name == record.variant_name == "b"
    assert record.variant_probability == pytest.approx(0.75), "all episodes that draw `a` end at `b` while `a` fails"
    assert [(attempt.variant_name, attempt.error is None) for attempt in attempts] == [("a", False), ("b", True)]


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
async def test_a_variant_that_breaks_its_contract_makes_way_like_one_that_fails(opened: Any, streamed: bool) -> None:
    buggy = '[functions.f.variants.a]\ntype = "buggy"\nweight = 1\n'
    async with opened(GOOD + CHAT + buggy + variant("b", "good")) as host:
        if streamed:
            assert {chunk.variant_name for chunk in await collect(host, ask())} == {"b"}
        else:
            assert (await host.gateway.infer(ask())).variant_name == "b"


async def test_an_episode_keeps_its_variant(opened: Any) -> None:
    toml = GOOD + CHAT + variant("a", "good") + variant("b", "good") + variant("c", "good")
    async with opened(toml) as host:
        for episode in [new_id() for _ in range(10)]:
            names = {(await host.gateway.infer(ask(episode_id=episode))).variant_name for _ in range(3)}
            assert names == {"abc"[int(point("f", episode) * 3)]}


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
async def test_what_a_cancelled_inference_had_attempted_is_recorded(opened: Any, streamed: bool) -> None:
    toml = model("m", broken='fails = "broken"', slow="slow_s = 30") + CHAT + variant("a", "m")
    async with opened(toml) as host:
        with anyio.move_on_after(0.05):
            await (host.gateway.stream if streamed else host.gateway.infer)(ask())
        await anyio.wait_all_tasks_blocked()
        attempts = [row for row in host.store.records if isinstance(row, ModelInferenceRecord)]
    assert [attempt.model_provider_name for attempt in attempts] == ["broken", "slow"]
    assert all(attempt.error for attempt in attempts)


async def test_when_every_variant_fails_the_error_names_each_and_the_attempts_are_recorded(opened: Any) -> None:
    async with opened(BAD + CHAT + variant("a", "bad") + variant("b", "bad")) as host:
        with pytest.raises(AllVariantsFailed) as caught:
            await host.gateway.infer(ask())
        await anyio.wait_all_tasks_blocked()
        assert await host.store.inferences(InferenceQuery()) == []
    assert set(caught.value.errors) == {"a", "b"}
    assert str(caught.value).startswith("All variants failed with errors: ")
    assert caught.value.http_status == 502


async def test_a_pinned_variants_own_error_is_told_and_nothing_else_is_tried(opened: Any) -> None:
    async with opened(GOOD + BAD + CHAT + variant("a", "bad") + variant("b", "good")) as host:
        with pytest.raises(AllProvidersFailed) as caught:
            await host.gateway.infer(ask(variant_name="a"))
    assert caught.value.http_status == 500


async def test_a_pinned_variant_has_probability_one_and_a_tag(opened: Any) -> None:
    async with opened(GOOD + CHAT + variant("a", "good") + variant("b", "good")) as host:
        response = await host.gateway.infer(ask(variant_name="b"))
        [record], _ = await rows(host, response.inference_id)
    assert record.variant_probability == 1.0
    assert record.tags == {"tensorzero::variant_pinned": "b"}


async def test_a_dry_run_answers_but_leaves_no_trace(opened: Any) -> None:
    async with opened(ONE) as host:
        response = await host.gateway.infer(ask(dryrun=True))
        assert await rows(host, response.inference_id) == ([], [])
        assert b"tensorzero_requests_total" not in host.gateway.telemetry.page()


async def test_runs_a_model_by_its_own_name(opened: Any) -> None:
    async with opened(GOOD) as host:
        response = await host.gateway.infer(ask(function_name=None, model_name="good"))
        [record], _ = await rows(host, response.inference_id)
    assert (record.function_name, record.variant_name) == ("tensorzero::default", "good")


@pytest.mark.parametrize(
    ("fields", "error", "fragment"),
    [
        ({"function_name": "nope"}, NotFound, "Unknown function: nope"),
        ({"function_name": None}, BadRequest, "Invalid inference target: "),
        ({"model_name": "good"}, BadRequest, "Invalid inference target: "),
        ({"function_name": None, "model_name": "nope"}, BadRequest, "Invalid inference target: Model name 'nope'"),
        ({"function_name": None, "model_name": "good", "variant_name": "a"}, BadRequest, "Invalid inference target: "),
        ({"variant_name": "nope"}, NotFound, "Unknown variant: nope"),
        ({"function_name": "tensorzero::default"}, HeadraceError, "has no variants"),
        ({"tags": {"tensorzero::x": "y"}}, BadRequest, "Invalid tag"),
        ({"episode_id": UUID(int=4 << 76 | 2 << 62)}, BadRequest, "Failed to parse UUID as v7"),
        ({"allowed_tools": ("nope",)}, BadRequest, "Tool not found: nope"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_refuses_before_any_variant_runs(
    opened: Any, fields: dict[str, Any], error: type[HeadraceError], fragment: str
) -> None:
    async with opened(ONE) as host:
        with pytest.raises(error) as caught:
            await host.gateway.infer(ask(**fields))
        assert fragment in str(caught.value)
        await anyio.wait_all_tasks_blocked()
        assert await host.store.inferences(InferenceQuery()) == []
        assert b"tensorzero_requests_total" not in host.gateway.telemetry.page()


async def test_internal_requests_may_carry_our_own_tags(opened: Any) -> None:
    async with opened(ONE) as host:
        response = await host.gateway.infer(ask(internal=True, tags={"tensorzero::x": "y"}))
        [record], _ = await rows(host, response.inference_id)
    assert record.tags == {"tensorzero::x": "y", "tensorzero::internal": "true"}


async def test_two_gateways_live_in_one_process(opened: Any) -> None:
    async with opened(ONE) as one, opened(ONE) as other:
        await one.gateway.infer(ask())
        await anyio.wait_all_tasks_blocked()
        assert len(await one.store.inferences(InferenceQuery())) == 1
        assert await other.store.inferences(InferenceQuery()) == []


async def test_answers_without_a_store(registry: Any) -> None:
    from headrace.assembly import assemble
    from headrace.config import loads
    from headrace.conformance.script import Script

    gateway = assemble(loads("[gateway.observability]\nenabled = false\n" + ONE), registry, transport=Script())
    async with gateway:
        assert (await gateway.infer(ask())).output == (Text("good day"),)


# -- json and tools ---------------------------------------------------------------------------------------

SCHEMA = """output_schema.__tensorzero_remapped_path = "s"
output_schema.__data = '{"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}'
"""
JSON = '[functions.f]\ntype = "json"\n' + SCHEMA


@pytest.mark.parametrize(
    ("said", "parsed"),
    [('{"n": 1}', {"n": 1}), ('{"n": "one"}', None), ("not JSON", None)],
    ids=["fits", "violates", "no-json"],
)
async def test_a_json_answer_is_parsed_only_if_it_fits(opened: Any, said: str, parsed: Any) -> None:
    toml = model("m", p=f"says = ['{said}']") + JSON + variant("a", "m", 'json_mode = "strict"')
    async with opened(toml) as host:
        assert (await host.gateway.infer(ask())).output == JsonOutput(said, parsed)


async def test_a_requests_own_schema_replaces_the_functions(opened: Any) -> None:
    toml = model("m", p="says = ['{\"n\": 1}']") + JSON + variant("a", "m", 'json_mode = "strict"')
    async with opened(toml) as host:
        schema = {"type": "object", "properties": {"n": {"type": "string"}}}
        response = await host.gateway.infer(ask(output_schema=schema))
        [record], _ = await rows(host, response.inference_id)
    assert response.output == JsonOutput('{"n": 1}', None)
    assert record.output_schema == schema


ADD = Tool("add", "adds", {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})


@pytest.mark.parametrize(
    ("name", "arguments", "checked"),
    [
        ("add", '{"a": 1}', ("add", {"a": 1})),
        ("add", '{"a": "x"}', ("add", None)),
        ("add", "{", ("add", None)),
        ("sub", '{"a": 1}', (None, None)),
    ],
    ids=["fits", "violates", "no-json", "not-offered"],
)
async def test_a_tool_call_is_held_against_the_tools_on_offer(
    opened: Any, name: str, arguments: str, checked: tuple[Any, Any]
) -> None:
    toml = model("m", p=f"calls = {{ {name} = '{arguments}' }}") + CHAT + variant("a", "m")
    async with opened(toml) as host:
        response = await host.gateway.infer(ask(additional_tools=(ADD,)))
    assert response.output[1] == CheckedToolCall("c1", name, arguments, *checked)


# -- streamed ---------------------------------------------------------------------------------------------


async def test_streams_content_then_exactly_one_chunk_with_usage(opened: Any) -> None:
    async with opened(ONE) as host:
        *pieces, last = await collect(host, ask())
        [record], [attempt] = await rows(host, last.inference_id)
    assert [piece.content for piece in pieces] == [(TextDelta("0", "good "),), (TextDelta("0", "day"),)]
    assert all(piece.usage is None and piece.finish_reason is None for piece in pieces)
    assert (last.content, last.finish_reason) == ((), "stop")
    assert last.usage is not None
    assert (last.usage.input_tokens, last.usage.output_tokens) == (3, 2)
    assert record.output == (Text("good day"),)
    assert record.ttft_ms is not None
    assert attempt.ttft_ms is not None
    assert attempt.raw_request == "asked"


async def test_a_streamed_json_answer_comes_as_raw_text(opened: Any) -> None:
    toml = model("m", p="""says = ['{"n":', ' 1}']""") + JSON + variant("a", "m", 'json_mode = "strict"')
    async with opened(toml) as host:
        chunks = await collect(host, ask())
        [record], _ = await rows(host, chunks[0].inference_id)
    assert [chunk.raw for chunk in chunks] == ['{"n":', " 1}", ""]
    assert record.output == JsonOutput('{"n": 1}', {"n": 1})


async def test_a_stream_falls_back_to_another_variant_before_its_first_piece(opened: Any) -> None:
    toml = GOOD + BAD + CHAT + variant("a", "bad", "weight = 1") + variant("b", "good")
    async with opened(toml) as host:
        chunks = await collect(host, ask())
    assert {chunk.variant_name for chunk in chunks} == {"b"}


async def test_a_stream_that_fails_before_its_first_piece_is_an_ordinary_error(opened: Any) -> None:
    async with opened(BAD + CHAT + variant("a", "bad")) as host:
        with pytest.raises(AllVariantsFailed):
            await host.gateway.stream(ask())


async def test_a_stream_torn_midway_says_so_and_keeps_what_came(opened: Any) -> None:
    toml = model("m", p='says = ["good ", "day"]\nfail_after = 1', q="") + CHAT + variant("a", "m")
    async with opened(toml) as host:
        seen = []
        with pytest.raises(ProviderError, match="torn"):
            async with aclosing(await host.gateway.stream(ask())) as chunks:
                async for chunk in chunks:
                    seen.append(chunk)
        inferences, attempts = await rows(host, seen[0].inference_id)
    assert [chunk.content for chunk in seen] == [(TextDelta("0", "good "),)]
    assert inferences == []
    assert [(attempt.model_provider_name, attempt.output) for attempt in attempts] == [("p", (Text("good "),))]
    assert "torn" in (attempts[0].error or "")


async def test_a_garbled_piece_is_told_and_the_stream_goes_on(opened: Any) -> None:
    toml = model("m", p='says = ["good ", "day"]\ngarbled_at = 1') + CHAT + variant("a", "m")
    async with opened(toml) as host:
        chunks = await collect(host, ask())
        [record], _ = await rows(host, chunks[0].inference_id)
    assert [chunk.error for chunk in chunks] == [None, "Error parsing chunk", None, None]
    assert record.output == (Text("good day"),)


async def test_a_garbled_first_piece_is_a_failure_like_any_other(opened: Any) -> None:
    toml = model("m", p="garbled_at = 0", q='says = ["good"]') + CHAT + variant("a", "m")
    async with opened(toml) as host:
        *_, last = await collect(host, ask())
        [record], attempts = await rows(host, last.inference_id)
    assert record.output == (Text("good"),)
    assert [attempt.model_provider_name for attempt in attempts if attempt.error] == ["p"]


async def test_a_stream_that_the_caller_leaves_is_recorded_as_far_as_it_came(opened: Any) -> None:
    async with opened(ONE) as host:
        async with aclosing(await host.gateway.stream(ask())) as chunks:
            chunk = await anext(chunks)
        inferences, [attempt] = await rows(host, chunk.inference_id)
    assert inferences == []
    assert attempt.output == (Text("good "),)
    assert attempt.error == "the stream was closed before its end"
