"""Time limits of a variant, and the means by which models and providers keep to theirs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing

import anyio
import pytest
from headrace import Answer, Task
from headrace.conformance.models import ScriptedModel
from headrace.conformance.script import SetClock
from headrace.conformance.variant import Plain, streamed, task
from headrace.contracts import SystemClock, Templated
from headrace.errors import ProviderError, TimedOut
from headrace.timeouts import Timeouts, bounded, shown, within
from headrace.types import Chunk, Text, TextDelta
from headrace.variants import Timed

pytestmark = pytest.mark.anyio

ASKED = Chunk(raw_request="{}")
SOON = 0.05


class Slow:
    """A variant that waits before it answers, and before each piece; ``given_up`` says that it was stopped."""

    templates: Collection[str] = ("greet",)

    def __init__(self, *waits_s: float) -> None:
        self.given_up = False
        self._waits_s = waits_s

    async def run(self, task: Task) -> Answer:
        with self._watched():
            await anyio.sleep(sum(self._waits_s))
        return Answer((Text("done"),), "stop")

    async def stream(self, task: Task) -> AsyncGenerator[Chunk, None]:
        with self._watched():
            yield ASKED
            for wait_s in self._waits_s:
                await anyio.sleep(wait_s)
                yield Chunk(content=(TextDelta("0", "x"),))

    def _watched(self) -> _Watched:
        return _Watched(self)


class _Watched:
    def __init__(self, slow: Slow) -> None:
        self._slow = slow

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._slow.given_up = kind is not None


def timed(
    variant: Slow | Plain, total_s: float | None = None, ttft_s: float | None = None, all_s: float | None = None
) -> Timed:
    return Timed(variant, Timeouts(total_s, ttft_s, all_s), name="v", clock=SystemClock())


async def test_a_variant_that_takes_too_long_is_stopped() -> None:
    slow = Slow(60)
    with pytest.raises(TimedOut) as caught:
        await timed(slow, SOON, 60, 60).run(task())
    assert str(caught.value) == "Variant `v` timed out due to configured `non_streaming.total_ms` timeout (50ms)"
    assert (slow.given_up, caught.value.http_status) == (True, 408)


async def test_a_variant_within_its_limits_says_what_it_says() -> None:
    variant = timed(Plain(ScriptedModel("hello")), 60, 60, 60)
    assert (await variant.run(task())).output == (Text("hello"),)
    assert (await streamed(variant, task())).blocks() == (Text("hello"),)
    assert (await timed(Slow(0)).run(task())).output == (Text("done"),)


async def test_a_variants_own_failure_is_not_dressed_up() -> None:
    error = ProviderError("down")
    with pytest.raises(ProviderError) as caught:
        await timed(Plain(ScriptedModel(error)), 60, 60, 60).run(task())
    assert caught.value is error
    with pytest.raises(ProviderError) as caught:
        await streamed(timed(Plain(ScriptedModel(error)), 60, 60, 60), task())
    assert caught.value is error


@pytest.mark.parametrize(
    ("waits_s", "ttft_s", "total_s", "key", "pieces"),
    [
        ((60,), SOON, None, "streaming.ttft_ms", 1),
        ((60,), SOON, 60, "streaming.ttft_ms", 1),
        ((60,), SOON, SOON, "streaming.ttft_ms", 1),
        ((60,), 60, SOON, "streaming.total_ms", 1),
        ((60,), None, SOON, "streaming.total_ms", 1),
        ((0, 0, 60), SOON, SOON, "streaming.total_ms", 3),
        ((0, 60), 60, SOON, "streaming.total_ms", 2),
    ],
    ids=["ttft", "ttft-first", "tie", "total-first", "total", "midway-tie", "midway"],
)
async def test_a_stream_ends_at_the_limit_that_passes_first(
    waits_s: tuple[float, ...], ttft_s: float | None, total_s: float | None, key: str, pieces: int
) -> None:
    slow, seen = Slow(*waits_s), 0
    with pytest.raises(TimedOut) as caught:
        async with aclosing(timed(slow, None, ttft_s, total_s).stream(task())) as chunks:
            async for _ in chunks:
                seen += 1
    assert str(caught.value) == f"Variant `v` timed out due to configured `{key}` timeout (50ms)"
    assert (seen, slow.given_up) == (pieces, True)


async def test_the_limit_of_the_first_piece_is_over_with_it() -> None:
    assert (await streamed(timed(Slow(0, SOON, SOON), None, SOON, None), task())).blocks() == (Text("xxx"),)


async def test_a_slow_consumer_uses_up_the_time_of_a_stream() -> None:
    clock, slow = SetClock(), Slow(0, 0, 0)
    with pytest.raises(TimedOut, match=r"\(3s\)"):
        async with aclosing(bounded(slow.stream(task()), Timeouts(stream_total_s=3), "Model m", clock)) as chunks:
            async for _ in chunks:
                clock.advance(2)
    assert slow.given_up


async def test_a_stream_given_up_is_closed_within() -> None:
    slow = Slow(0, 60)
    async with aclosing(timed(slow, None, 60, 60).stream(task())) as chunks:
        async for chunk in chunks:
            if chunk.content:
                break
    assert slow.given_up


async def test_who_cancels_from_outside_is_not_told_of_a_limit() -> None:
    slow = Slow(60)
    with anyio.move_on_after(SOON) as scope:
        await timed(slow, 60).run(task())
    assert scope.cancelled_caught
    assert slow.given_up


def test_the_templates_within_are_known() -> None:
    variant = timed(Slow(0))
    assert isinstance(variant, Templated)
    assert list(variant.templates) == ["greet"]
    assert list(timed(Plain(ScriptedModel("x"))).templates) == []


async def test_a_limit_says_by_which_key_it_was_set() -> None:
    with pytest.raises(TimedOut, match="Embedding model e timed out due to configured `timeout_ms` timeout"):
        await within(anyio.sleep_forever, 0.001, "Embedding model e", key="timeout_ms")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (3, "3s"),
        (1.5, "1.5s"),
        (0.2, "200ms"),
        (1, "1s"),
        (60, "60s"),
        (1.05, "1.05s"),
        (100.001, "100.001s"),
        (0.001, "1ms"),
        (0.9999, "1s"),
        (86_400_000, "86400000s"),
        (0, "0ns"),
    ],
)
def test_durations_are_shown_as_operators_know_them(seconds: float, text: str) -> None:
    assert shown(seconds) == text


def test_without_any_limit_there_is_nothing_to_keep_to() -> None:
    assert not Timeouts()
    assert Timeouts(total_s=0)
