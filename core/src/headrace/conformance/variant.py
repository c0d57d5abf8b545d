"""What every variant promises: what the request says reaches the model, and what the model says comes back.

The suite lends a chat model ``m``, an embedding model ``e`` and a variant ``c`` that asks ``m``; any other name is
unknown. Features for ``lacks``: stream, json, tools, params (it has sampling parameters of its own), extra-body (it
takes that of a request), failure (a model's error is the variant's), retries.
"""

# ruff: noqa: D102 - the name of a test is its promise

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import TypeVar

import anyio
import pytest
from anyio.lowlevel import checkpoint

from ..contracts import Answer, FunctionSpec, Task, Variant, VariantServices
from ..credentials import load
from ..errors import AllProvidersFailed, AllRetriesFailed, ConfigError, ProviderError, RateLimited
from ..extras import Extra, ExtraBody, ExtraHeader
from ..ids import new_id
from ..jsonmode import ask
from ..pieces import Pieces
from ..prompts import Prompts
from ..records import Example
from ..sampling import Sampling
from ..schemas import Schema
from ..types import (
    Block,
    CacheOptions,
    Chunk,
    FunctionType,
    Input,
    InputMessage,
    Message,
    ModelRequest,
    Params,
    Text,
    Tool,
    ToolCall,
    ToolConfig,
)
from .models import Breaking, ScriptedModel, WordVectors
from .script import Script, SetClock
from .suite import Suite, needs

M = TypeVar("M")

ANSWER = "Hi 👋 there, what can I do?"
JSON_ANSWER = '{"answer":"Zürich"}'
SCHEMA = Schema({"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]})
TOOLS = ToolConfig((Tool("get_weather", "The weather of a city", {"type": "object"}),))
CALL = (ToolCall("call_1", "get_weather", '{"city":"Zürich"}'),)


class Plain:
    """A variant that hands its task to one model as it is; ``tasks`` are those it was given."""

    def __init__(self, model: ScriptedModel, function: FunctionSpec | None = None) -> None:
        self.tasks: list[Task] = []
        self._model = model
        self._function = function or function_spec()

    async def run(self, task: Task) -> Answer:
        """Ask the model."""
        response = await self._model.complete(self._request(task), task.attempts)
        return Answer(response.output, response.finish_reason)

    async def stream(self, task: Task) -> AsyncGenerator[Chunk, None]:
        """Ask the model, piece by piece."""
        async with aclosing(self._model.stream(self._request(task), task.attempts)) as chunks:
            async for chunk in chunks:
                yield chunk

    def _request(self, task: Task) -> ModelRequest:
        self.tasks.append(task)
        turns = [
            Message(turn.role, tuple(block for block in turn.content if isinstance(block, Text)))
            for turn in task.input.messages
        ]
        system = task.input.system if isinstance(task.input.system, str) else None
        return ask(task, self._function, Sampling(), system=system, messages=turns)[0]


def function_spec(type_: FunctionType = "chat") -> FunctionSpec:
    """The function ``f``; a json function has ``SCHEMA``."""
    return FunctionSpec("f", type_, output_schema=SCHEMA if type_ == "json" else None)


def variant_services(
    model: ScriptedModel | None = None,
    *,
    function: FunctionSpec | None = None,
    embedding_model: WordVectors | None = None,
    examples: Sequence[tuple[Example, float]] = (),
    variants: Mapping[str, Variant] | None = None,
) -> VariantServices:
    """What core lends the variant ``v`` of ``function``; ``examples`` are what is nearest, with distances.

    ``variants`` are the function's others by name; unless they are given, there is ``c``, which asks ``model``.
    """
    function = function or function_spec()
    others = variants if variants is not None else {"c": Plain(model, function)} if model else {}

    def variant(name: str, timeout_s: float | None) -> Variant:
        if name not in others:
            raise ConfigError(f"Unknown candidate variant: {name}")
        return others[name]

    async def nearest(
        function_name: str, variant_name: str, embedding: Sequence[float], k: int
    ) -> list[tuple[Example, float]]:
        await checkpoint()
        return [each for each in examples if each[0].function_name == function_name][:k]

    return VariantServices(
        transport=Script(),
        secret=lambda location: load(location, {}),
        clock=SetClock(),
        name="v",
        function=function,
        model=_named({"m": model}),
        embedding_model=_named({"e": embedding_model}),
        prompts=Prompts(),
        nearest=nearest,
        variant=variant,
    )


def task(
    text: str = "Hello",
    *,
    function: FunctionSpec | None = None,
    input_: Input | None = None,
    params: Params | None = None,
    tools: ToolConfig | None = None,
    credentials: Mapping[str, str] | None = None,
    extra: Extra | None = None,
    cache: CacheOptions | None = None,
    discriminator: str = "",
) -> Task:
    """One inference with a single user turn, or with ``input_``."""
    return Task(
        inference_id=new_id(),
        episode_id=new_id(),
        input=input_ or Input(messages=(InputMessage("user", (Text(text),)),)),
        params=params or Params(),
        tools=tools,
        output_schema=function.output_schema if function else None,
        credentials=credentials or {},
        attempts=[],
        extra=extra or Extra(),
        cache=cache or CacheOptions(),
        discriminator=discriminator,
    )


async def streamed(variant: Variant, given: Task) -> Pieces:
    """Everything a variant streams, put together."""
    pieces = Pieces()
    async with aclosing(variant.stream(given)) as chunks:
        async for chunk in chunks:
            pieces.add(chunk)
    return pieces


class VariantConformance(Suite):
    """Subclass with ``build``; ``services.function.type`` says for which type of function the settings have to be."""

    def build(self, services: VariantServices) -> Variant:
        """The variant under test, asking the model ``m`` (and the embedding model ``e``)."""
        raise NotImplementedError(f"{type(self).__name__}.build: return the variant under test")

    def retrying(self, services: VariantServices) -> Variant:
        """The same with ``retries = { num_retries = 2, max_delay_s = 0 }`` for the model ``m``."""
        raise NotImplementedError(f"{type(self).__name__}.retrying: return a variant that asks its model three times")

    def examples(self, type_: FunctionType) -> Sequence[tuple[Example, float]]:
        """What the store finds near any input, with distances; nothing unless a subclass says so."""
        return ()

    def against(
        self, *answers: str | tuple[Block, ...] | Breaking | Exception, type_: FunctionType = "chat"
    ) -> tuple[Variant, ScriptedModel]:
        """The variant, and the model it will ask."""
        model = ScriptedModel(*answers)
        function = function_spec(type_)
        return self.build(
            variant_services(model, function=function, embedding_model=WordVectors(), examples=self.examples(type_))
        ), model

    async def test_answers_what_the_model_answers(self) -> None:
        variant, _ = self.against(ANSWER)
        answer = await variant.run(task())
        assert answer.output == (Text(ANSWER),)
        assert answer.finish_reason == "stop"

    async def test_the_request_reaches_the_model(self) -> None:
        variant, model = self.against(ANSWER)
        await variant.run(task("shibboleth", credentials={"key": "sk-test"}))
        assert "shibboleth" in str(model.requests[0].messages)
        assert model.requests[0].credentials == {"key": "sk-test"}
        assert model.requests[0].function_type == "chat"

    async def test_what_is_said_of_headers_and_of_the_cache_reaches_the_model(self) -> None:
        variant, model = self.against(ANSWER)
        extra = Extra(headers=(ExtraHeader(name="x-team", value="blue"),))
        cache = CacheOptions("read_only", max_age_s=60)
        given = task(extra=extra, cache=cache)
        await variant.run(given)
        assert model.requests
        for attempt in given.attempts:
            assert attempt.request.cache == cache
        for request in model.requests:
            assert request.extra == extra

    async def test_equal_calls_are_told_apart_in_the_cache(self) -> None:
        variant, model = self.against(ANSWER)
        await variant.run(task(discriminator="first"))
        await variant.run(task(discriminator="second"))
        one, other = model.requests[0].discriminator, model.requests[-1].discriminator
        assert one.startswith("first")
        assert other.startswith("second")

    @needs("extra-body")
    async def test_what_a_caller_writes_into_the_body_reaches_the_model(self) -> None:
        variant, model = self.against(ANSWER)
        extra = Extra((ExtraBody(pointer="/user", value="ada"),))
        await variant.run(task(extra=extra))
        assert model.requests[-1].extra == extra

    async def test_every_model_call_is_among_the_attempts(self) -> None:
        variant, model = self.against(ANSWER)
        given = task()
        await variant.run(given)
        recorded = [each.request for each in given.attempts if isinstance(each.request, ModelRequest)]
        assert recorded == model.requests
        assert recorded

    async def test_tasks_at_the_same_time_do_not_meet(self) -> None:
        variant, _ = self.against(ANSWER)
        given = [task(f"number-{number}") for number in range(5)]
        async with anyio.create_task_group() as group:
            for each in given:
                group.start_soon(variant.run, each)
        for number, each in enumerate(given):
            seen = str([attempt.request for attempt in each.attempts])
            assert [f"number-{other}" in seen for other in range(5)] == [other == number for other in range(5)]

    async def test_an_unknown_model_is_found_at_start_up(self) -> None:
        with pytest.raises(ConfigError):
            self.build(variant_services(None))

    @needs("failure")
    async def test_a_models_failure_is_not_dressed_up(self) -> None:
        error = AllProvidersFailed({"p": RateLimited("slow down", status=429)})
        variant, _ = self.against(error)
        with pytest.raises(AllProvidersFailed) as caught:
            await variant.run(task())
        assert caught.value is error

    @needs("retries")
    async def test_a_model_that_fails_is_asked_again(self) -> None:
        error = RateLimited("slow down", status=429)
        model = ScriptedModel(error, error, ANSWER)
        services = variant_services(model, embedding_model=WordVectors(), examples=self.examples("chat"))
        assert (await self.retrying(services).run(task())).output == (Text(ANSWER),)
        assert len(model.requests) == 3

    @needs("retries")
    async def test_a_model_that_goes_on_failing_is_left(self) -> None:
        model = ScriptedModel(RateLimited("slow down", status=429))
        services = variant_services(model, embedding_model=WordVectors(), examples=self.examples("chat"))
        with pytest.raises(AllRetriesFailed):
            await self.retrying(services).run(task())
        assert len(model.requests) == 3

    @needs("params")
    async def test_the_requests_parameters_reach_the_model(self) -> None:
        variant, model = self.against(ANSWER)
        await variant.run(task(params=Params(temperature=0.125, max_tokens=7, stop_sequences=("x",))))
        sent = model.requests[-1].params
        assert (sent.temperature, sent.max_tokens, sent.stop_sequences) == (0.125, 7, ("x",))

    @needs("tools")
    async def test_tools_reach_the_model_and_calls_come_back(self) -> None:
        variant, model = self.against(CALL)
        assert (await variant.run(task(tools=TOOLS))).output == CALL
        assert model.requests[0].tools == TOOLS

    @needs("tools", "stream")
    async def test_calls_are_streamed(self) -> None:
        variant, _ = self.against(CALL)
        assert (await streamed(variant, task(tools=TOOLS))).blocks() == CALL

    @needs("json")
    async def test_the_output_schema_reaches_the_model(self) -> None:
        variant, model = self.against(JSON_ANSWER, type_="json")
        answer = await variant.run(task(function=function_spec("json")))
        assert answer.output == (Text(JSON_ANSWER),)
        assert model.requests[0].output_schema == SCHEMA.value
        assert model.requests[0].function_type == "json"

    @needs("json", "params")
    async def test_the_requests_json_mode_goes_before_the_variants(self) -> None:
        variant, model = self.against(JSON_ANSWER, type_="json")
        for mode in ("off", "on", "strict"):
            await variant.run(task(function=function_spec("json"), params=Params(json_mode=mode)))
            assert model.requests[-1].json_mode == mode

    @needs("json", "params")
    async def test_json_by_tool_offers_the_schema_as_a_tool(self) -> None:
        call = (ToolCall("1", "respond", JSON_ANSWER),)
        variant, model = self.against(call, type_="json")
        answer = await variant.run(task(function=function_spec("json"), params=Params(json_mode="tool")))
        assert answer.output in (call, (Text(JSON_ANSWER),))
        tools = model.requests[-1].tools
        assert tools is not None
        assert [(tool.name, tool.parameters) for tool in tools.tools] == [("respond", SCHEMA.value)]

    @needs("stream")
    async def test_a_stream_says_what_a_whole_answer_says(self) -> None:
        variant, _ = self.against(ANSWER)
        given = task()
        pieces = await streamed(variant, given)
        assert pieces.blocks() == (Text(ANSWER),)
        assert pieces.finish_reason == "stop"
        assert any(isinstance(each.request, ModelRequest) for each in given.attempts)

    @needs("stream")
    async def test_a_stream_given_up_is_closed_at_its_model(self) -> None:
        variant, model = self.against(ANSWER)
        async with aclosing(variant.stream(task())) as chunks:
            async for _ in chunks:
                break
        assert model.open_streams == 0

    @needs("stream", "failure")
    @pytest.mark.parametrize("begins", [False, True], ids=["at-once", "midway"])
    async def test_a_streams_failure_is_not_dressed_up(self, begins: bool) -> None:
        error = ProviderError("the upstream went away")
        variant, model = self.against(Breaking("Hi", error) if begins else error)
        with pytest.raises(ProviderError) as caught:
            await streamed(variant, task())
        assert caught.value is error
        assert model.open_streams == 0


def _named(known: Mapping[str, M | None]) -> Callable[[str], M]:
    def find(name: str) -> M:
        found = known.get(name)
        if found is None:
            raise ConfigError(f"no model {name!r} (known: {sorted(known)})")
        return found

    return find
