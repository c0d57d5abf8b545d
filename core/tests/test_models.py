"""A model: the first provider that answers, and an honest record of every attempt, whole or streamed."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from decimal import Decimal
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from headrace.conformance.script import SetClock
from headrace.contracts import Attempt
from headrace.costs import Price, Rates
from headrace.errors import AllProvidersFailed, ProviderError, RateLimited, Unreachable
from headrace.models import RoutedEmbeddingModel, RoutedModel
from headrace.routes import Around, Route
from headrace.types import (
    Block,
    Chunk,
    EmbeddingRequest,
    EmbeddingResponse,
    Message,
    ModelRequest,
    ModelResponse,
    Text,
    TextDelta,
    Thought,
    Unknown,
    Usage,
)

pytestmark = pytest.mark.anyio

HELLO = ModelRequest(messages=(Message("user", (Text("hello"),)),))
USAGE = Usage(input_tokens=3, output_tokens=2)
PRICE = Price("/n", "/n", Decimal(2))


class Scripted:
    """A provider and embedder that takes ``seconds`` and then answers, raises or waits for ever (None)."""

    def __init__(self, *script: Chunk | Exception | None, clock: SetClock | None = None, seconds: float = 0) -> None:
        self.requests: list[ModelRequest] = []
        self.open_streams = 0
        self._script = script
        self._clock = clock or SetClock()
        self._seconds = seconds

    async def complete(self, request: ModelRequest) -> ModelResponse:
        """The whole script as one answer."""
        self.requests.append(request)
        await self._pass_time()
        texts = [delta.text async for chunk in self._play() for delta in chunk.content if isinstance(delta, TextDelta)]
        return ModelResponse(
            output=(Text("".join(texts)),),
            usage=USAGE,
            finish_reason="stop",
            raw_request="asked",
            raw_response='{"n": 0.5}',
        )

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Chunk, None]:
        """The script piece by piece."""
        self.requests.append(request)
        self.open_streams += 1
        try:
            async with aclosing(self._play()) as chunks:
                async for chunk in chunks:
                    await self._pass_time()
                    yield chunk
        finally:
            self.open_streams -= 1

    async def embed(self, request: EmbeddingRequest) -> EmbeddingResponse:
        """A vector, if the script does not say otherwise."""
        await self._pass_time()
        async for _ in self._play():
            pass
        return EmbeddingResponse(
            embeddings=((1.0, 0.0),), usage=Usage(input_tokens=3), raw_request="asked", raw_response='{"n": 0.5}'
        )

    async def _play(self) -> AsyncGenerator[Chunk, None]:
        for step in self._script:
            if step is None:
                await anyio.sleep_forever()
            elif isinstance(step, Exception):
                raise step
            else:
                yield step

    async def _pass_time(self) -> None:
        self._clock.advance(self._seconds)
        await checkpoint()


def say(text: str, raw: str = "") -> Chunk:
    return Chunk(content=(TextDelta("0", text),), raw=raw or f"<{text}>")


ASKED = Chunk(raw_request="asked")
END = Chunk(usage=USAGE, finish_reason="stop", raw='{"n": 0.5}')
DOWN = ProviderError("down", status=500, raw_request="q", raw_response="a")


def routed(*providers: Scripted, clock: SetClock | None = None, prices: tuple[Price, ...] = ()) -> RoutedModel:
    """The model ``m`` whose providers are called ``p0``, ``p1``, ... with types ``t0``, ``t1``, ..."""
    routes = [Route(f"p{index}", f"t{index}", provider, Rates(prices)) for index, provider in enumerate(providers)]
    return RoutedModel("m", routes, Around(clock or SetClock()))


async def streamed(
    model: RoutedModel, attempts: list[Attempt], seen: list[str] | None = None, *, request: ModelRequest = HELLO
) -> list[str]:
    """The texts as they come; ``seen`` keeps those before an error."""
    texts = [] if seen is None else seen
    async with aclosing(model.stream(request, attempts)) as chunks:
        async for chunk in chunks:
            texts += [delta.text for delta in chunk.content if isinstance(delta, TextDelta)]
    return texts


# -- whole ------------------------------------------------------------------------------------------------


async def test_the_first_provider_that_answers_answers() -> None:
    first, second, third = Scripted(DOWN), Scripted(say("hi")), Scripted(say("never"))
    attempts: list[Attempt] = []
    response = await routed(first, second, third).complete(HELLO, attempts)
    assert response.output == (Text("hi"),)
    assert [(each.provider_name, each.provider_type) for each in attempts] == [("p0", "t0"), ("p1", "t1")]
    assert third.requests == []


async def test_an_answer_is_written_down() -> None:
    clock, attempts = SetClock(), list[Attempt]()
    await routed(Scripted(say("hi"), clock=clock, seconds=1.25), clock=clock, prices=(PRICE,)).complete(HELLO, attempts)
    [attempt] = attempts
    assert attempt.id.version == 7
    assert (attempt.model_name, attempt.request) == ("m", HELLO)
    assert (attempt.raw_request, attempt.raw_response) == ("asked", '{"n": 0.5}')
    assert (attempt.output, attempt.finish_reason, attempt.error) == ((Text("hi"),), "stop", None)
    assert attempt.usage == Usage(input_tokens=3, output_tokens=2, cost=Decimal(1))
    assert (attempt.response_time_ms, attempt.ttft_ms) == (1250, None)


async def test_a_failure_is_written_down_with_its_raw_texts() -> None:
    clock, attempts = SetClock(), list[Attempt]()
    model = routed(Scripted(DOWN, clock=clock, seconds=0.5), Scripted(say("hi"), clock=clock, seconds=2), clock=clock)
    await model.complete(HELLO, attempts)
    failed, answered = attempts
    assert failed.error == "Error from t0 server: down"
    assert (failed.raw_request, failed.raw_response, failed.output, failed.usage) == ("q", "a", (), Usage())
    assert (failed.response_time_ms, answered.response_time_ms) == (500, 2000)


async def test_when_all_fail_the_error_names_each_in_order() -> None:
    attempts: list[Attempt] = []
    limited = RateLimited("slow down", status=429, at_fault="client")
    with pytest.raises(AllProvidersFailed) as caught:
        await routed(Scripted(DOWN), Scripted(limited)).complete(HELLO, attempts)
    assert str(caught.value) == (
        "All model providers failed to infer with errors: p0: Error from t0 server: down, "
        "p1: Error 429 Too Many Requests from t1 client: slow down"
    )
    assert list(caught.value.errors.values()) == [DOWN, limited]
    assert [each.error for each in attempts] == [str(error) for error in caught.value.errors.values()]


BUG = KeyError("choices")


async def test_a_plugins_bug_is_a_failure_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    attempts: list[Attempt] = []
    with caplog.at_level(logging.ERROR):
        response = await routed(Scripted(BUG), Scripted(say("hi"))).complete(HELLO, attempts)
    assert response.output == (Text("hi"),)
    assert attempts[0].error == "Error from t0 server: KeyError: 'choices'"
    [record] = caplog.records
    assert record.getMessage() == "provider p0 of type t0 broke its contract"
    assert record.exc_info
    assert record.exc_info[1] is BUG


async def test_cancellation_is_no_failure_but_a_fact() -> None:
    attempts: list[Attempt] = []
    second = Scripted(say("never"))
    with anyio.move_on_after(0.01) as scope:
        await routed(Scripted(None), second).complete(HELLO, attempts)
    assert scope.cancelled_caught
    assert second.requests == []
    assert [each.error for each in attempts] == ["cancelled before its end"]


async def test_requests_at_the_same_time_do_not_meet() -> None:
    model = routed(Scripted(DOWN), Scripted(say("hi")))
    lists: list[list[Attempt]] = [[] for _ in range(5)]
    async with anyio.create_task_group() as group:
        for attempts in lists:
            group.start_soon(model.complete, HELLO, attempts)
    assert [len(attempts) for attempts in lists] == [2] * 5


# -- streamed ---------------------------------------------------------------------------------------------


async def test_a_stream_is_passed_on_and_written_down() -> None:
    clock, attempts = SetClock(), list[Attempt]()
    provider = Scripted(ASKED, say("a"), say("b"), END, clock=clock, seconds=0.1)
    assert await streamed(routed(provider, clock=clock, prices=(PRICE,)), attempts) == ["a", "b"]
    [attempt] = attempts
    assert (attempt.raw_request, attempt.raw_response) == ("asked", '<a>\n<b>\n{"n": 0.5}')
    assert (attempt.output, attempt.finish_reason, attempt.error) == ((Text("ab"),), "stop", None)
    assert attempt.usage == Usage(input_tokens=3, output_tokens=2, cost=Decimal(1))
    # The first piece is the second chunk: what was asked is not yet an answer.
    assert (attempt.ttft_ms, attempt.response_time_ms) == (200, 400)
    assert provider.open_streams == 0


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ((DOWN,), "Error from t0 server: down"),
        ((ASKED, DOWN), "Error from t0 server: down"),
        ((BUG,), "Error from t0 server: KeyError: 'choices'"),
        ((ASKED,), "Error from t0 server: the stream ended before the first piece"),
        ((), "Error from t0 server: the stream ended before the first piece"),
    ],
    ids=["at-once", "after-the-request", "bug", "only-the-request", "nothing"],
)
async def test_a_stream_falls_back_until_the_first_piece(script: tuple[Any, ...], error: str) -> None:
    attempts: list[Attempt] = []
    first = Scripted(*script)
    assert await streamed(routed(first, Scripted(say("b"), END)), attempts) == ["b"]
    assert [each.error for each in attempts] == [error, None]
    assert attempts[0].ttft_ms is None
    assert first.open_streams == 0


@pytest.mark.parametrize(
    "piece",
    [say("a"), Chunk(usage=USAGE), Chunk(finish_reason="stop")],
    ids=["text", "usage", "finish-reason"],
)
async def test_after_the_first_piece_there_is_no_way_back(piece: Chunk) -> None:
    attempts: list[Attempt] = []
    second = Scripted(say("b"))
    with pytest.raises(ProviderError) as caught:
        await streamed(routed(Scripted(piece, DOWN), second), attempts)
    assert caught.value is DOWN
    assert second.requests == []


async def test_a_torn_stream_is_written_down_as_far_as_it_came() -> None:
    clock, attempts, seen = SetClock(), list[Attempt](), list[str]()
    torn = Unreachable("torn", raw_response="last words")
    provider = Scripted(ASKED, say("a"), Chunk(usage=USAGE, raw='{"n": 1}'), torn, clock=clock, seconds=0.1)
    with pytest.raises(Unreachable):
        await streamed(routed(provider, clock=clock, prices=(PRICE,)), attempts, seen)
    assert seen == ["a"]
    [attempt] = attempts
    assert (attempt.error, attempt.output) == ("Error from t0 server: torn", (Text("a"),))
    assert (attempt.raw_request, attempt.raw_response) == ("asked", '<a>\n{"n": 1}\nlast words')
    assert attempt.usage == Usage(input_tokens=3, output_tokens=2, cost=Decimal(2))
    assert (attempt.ttft_ms, attempt.response_time_ms) == (200, 300)
    assert provider.open_streams == 0


async def test_a_bug_midway_rises_as_the_providers_failure() -> None:
    attempts: list[Attempt] = []
    with pytest.raises(ProviderError, match=r"Error from t0 server: KeyError: 'choices'") as caught:
        await streamed(routed(Scripted(say("a"), BUG)), attempts)
    assert caught.value.__cause__ is BUG


async def test_a_stream_given_up_is_closed_at_its_provider_and_written_down() -> None:
    attempts: list[Attempt] = []
    provider = Scripted(ASKED, say("a"), say("b"), END)
    async with aclosing(routed(provider).stream(HELLO, attempts)) as chunks:
        async for chunk in chunks:
            if chunk.content:
                break
        assert provider.open_streams == 1
    assert provider.open_streams == 0
    [attempt] = attempts
    assert (attempt.error, attempt.output) == ("the stream was closed before its end", (Text("a"),))
    assert attempt.raw_response == "<a>"


async def test_a_stream_cancelled_before_its_first_piece_is_closed_and_written_down() -> None:
    attempts: list[Attempt] = []
    provider, second = Scripted(ASKED, None), Scripted(say("never"))
    with anyio.move_on_after(0.01):
        await streamed(routed(provider, second), attempts)
    assert (provider.open_streams, second.requests) == (0, [])
    [attempt] = attempts
    assert (attempt.error, attempt.output, attempt.raw_request) == (
        "the stream was closed before its end",
        (),
        "asked",
    )


async def test_when_no_stream_begins_the_error_names_each() -> None:
    attempts: list[Attempt] = []
    with pytest.raises(AllProvidersFailed) as caught:
        await streamed(routed(Scripted(DOWN), Scripted()), attempts)
    assert list(caught.value.errors) == ["p0", "p1"]
    assert len(attempts) == 2


# -- what a provider is shown (config spec 7.4) -----------------------------------------------------------

SEEN_BY = {
    "text": (Text("x"), "01"),
    "thought": (Thought("t"), "01"),
    "thought-of-the-first": (Thought("t", provider_type="t0"), "0"),
    "thought-of-the-second": (Thought("t", provider_type="t1"), "1"),
    "unknown": (Unknown(1), "01"),
    "unknown-of-the-model": (Unknown(1, model_name="m"), "01"),
    "unknown-of-another-model": (Unknown(1, model_name="n"), ""),
    "unknown-of-the-first": (Unknown(1, provider_name="p0"), "0"),
    "unknown-of-the-model's-second": (Unknown(1, model_name="m", provider_name="p1"), "1"),
    "unknown-of-another-model's-first": (Unknown(1, model_name="n", provider_name="p0"), ""),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(("block", "seen_by"), SEEN_BY.values(), ids=SEEN_BY)
async def test_a_provider_sees_only_blocks_that_concern_it(block: Block, seen_by: str, stream: bool) -> None:
    first, second = Scripted(DOWN), Scripted(say("hi"))
    request = ModelRequest(messages=(Message("assistant", (Text("a"), block, Text("b"))),), system="s")
    attempts: list[Attempt] = []
    if stream:
        await streamed(routed(first, second), attempts, request=request)
    else:
        await routed(first, second).complete(request, attempts)
    for index, provider in enumerate((first, second)):
        [seen] = provider.requests
        expected = (Text("a"), block, Text("b")) if str(index) in seen_by else (Text("a"), Text("b"))
        assert (seen.messages[0].content, seen.system) == (expected, "s")
    assert [each.request for each in attempts] == [request, request]  # the record has what was asked of the model


# -- embeddings -------------------------------------------------------------------------------------------

EMBED = EmbeddingRequest(input="x")


def embedding(*providers: Scripted, clock: SetClock | None = None) -> RoutedEmbeddingModel:
    routes = [Route(f"p{index}", f"t{index}", each, Rates((PRICE,))) for index, each in enumerate(providers)]
    return RoutedEmbeddingModel("e", routes, Around(clock or SetClock()))


@pytest.mark.parametrize("error", [DOWN, BUG], ids=["failure", "bug"])
async def test_embeddings_fall_back_and_are_written_down(error: Exception) -> None:
    clock, attempts = SetClock(), list[Attempt]()
    model = embedding(Scripted(error, clock=clock, seconds=1), Scripted(clock=clock, seconds=2), clock=clock)
    assert (await model.embed(EMBED, attempts)).embeddings == ((1.0, 0.0),)
    failed, answered = attempts
    assert failed.error is not None
    assert answered.error is None
    assert (failed.response_time_ms, answered.response_time_ms) == (1000, 2000)
    assert (answered.raw_request, answered.usage) == ("asked", Usage(input_tokens=3, cost=Decimal(1)))
    assert (answered.model_name, answered.request) == ("e", EMBED)


async def test_when_all_embedders_fail_the_error_names_each() -> None:
    attempts: list[Attempt] = []
    with pytest.raises(AllProvidersFailed, match="p0: Error from t0 server: down, p1: Error from t1 server: KeyError"):
        await embedding(Scripted(DOWN), Scripted(BUG)).embed(EMBED, attempts)
    assert len(attempts) == 2
