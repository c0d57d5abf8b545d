"""Retries: which errors are worth another try, how long to wait for it, and what is said when all have failed."""

from __future__ import annotations

import random
from contextlib import aclosing
from typing import Any

import pytest
from headrace.conformance.models import Breaking, ScriptedModel
from headrace.contracts import Attempt
from headrace.errors import (
    AllProvidersFailed,
    AllRetriesFailed,
    BadRequest,
    ProviderError,
    RateLimited,
    RateLimitExceeded,
    TimedOut,
)
from headrace.retries import Retries, retrying
from headrace.types import Message, ModelRequest, Text, TextDelta
from pydantic import ValidationError

pytestmark = pytest.mark.anyio

HELLO = ModelRequest(messages=(Message("user", (Text("hello"),)),))
DOWN, LIMITED = ProviderError("down"), RateLimitExceeded("enough")


def at_once(num_retries: int) -> Retries:
    return Retries(num_retries=num_retries, max_delay_s=0)


async def texts_of(model: ScriptedModel, retries: Retries, seen: list[str] | None = None) -> list[str]:
    """What is streamed; ``seen`` keeps what came before an error."""
    texts = [] if seen is None else seen
    async with aclosing(retrying(model, retries).stream(HELLO, [])) as chunks:
        async for chunk in chunks:
            texts += [delta.text for delta in chunk.content if isinstance(delta, TextDelta)]
    return texts


@pytest.mark.parametrize("fails", [0, 1, 2])
async def test_the_first_answer_ends_it(fails: int) -> None:
    model, attempts = ScriptedModel(*[DOWN] * fails, "hi"), list[Attempt]()
    response = await retrying(model, at_once(2)).complete(HELLO, attempts)
    assert response.output == (Text("hi"),)
    assert len(model.requests) == len(attempts) == fails + 1
    model = ScriptedModel(*[DOWN] * fails, "hi")
    assert await texts_of(model, at_once(2)) == ["hi"]
    assert (len(model.requests), model.open_streams) == (fails + 1, 0)


async def test_when_all_have_failed_every_error_is_told() -> None:
    model = ScriptedModel(DOWN, TimedOut("too slow"), BadRequest("no"))
    with pytest.raises(AllRetriesFailed) as caught:
        await retrying(model, at_once(2)).complete(HELLO, [])
    assert str(caught.value).startswith("All retries failed with errors: ")
    assert [type(error) for error in caught.value.errors] == [ProviderError, TimedOut, BadRequest]
    assert caught.value.http_status == 400
    with pytest.raises(AllRetriesFailed):
        await texts_of(ScriptedModel(DOWN), at_once(1))


async def test_without_retries_the_error_is_bare() -> None:
    model = ScriptedModel(DOWN)
    assert retrying(model, Retries()) is model
    with pytest.raises(ProviderError) as caught:
        await retrying(model, Retries()).complete(HELLO, [])
    assert caught.value is DOWN


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (LIMITED, 1),
        (AllProvidersFailed({"a": LIMITED, "b": LIMITED}), 1),
        (AllProvidersFailed({"a": LIMITED, "b": DOWN}), 3),
        (AllProvidersFailed({}), 3),
        (RateLimited("slow down", status=429), 3),
        (ProviderError("bad request", status=400, at_fault="client"), 3),
    ],
    ids=["own-limit", "own-limits", "one-of-two", "no-providers", "upstreams-limit", "client"],
)
async def test_only_our_own_limit_is_not_worth_another_try(error: Exception, asked: int) -> None:
    model = ScriptedModel(error)
    with pytest.raises((ProviderError, AllProvidersFailed, AllRetriesFailed)) as caught:
        await retrying(model, at_once(2)).complete(HELLO, [])
    assert len(model.requests) == asked
    assert (caught.value is error) == (asked == 1)


async def test_a_limit_after_a_failure_ends_it_with_both_told() -> None:
    model = ScriptedModel(DOWN, LIMITED, "hi")
    with pytest.raises(AllRetriesFailed) as caught:
        await retrying(model, at_once(5)).complete(HELLO, [])
    assert caught.value.errors == (DOWN, LIMITED)


async def test_a_stream_that_has_begun_is_not_begun_again() -> None:
    model, seen = ScriptedModel(Breaking("half", DOWN), "whole"), list[str]()
    with pytest.raises(ProviderError) as caught:
        await texts_of(model, at_once(3), seen)
    assert caught.value is DOWN
    assert "".join(seen) == "half"
    assert (len(model.requests), model.open_streams) == (1, 0)


async def test_a_bug_is_not_tried_again() -> None:
    model = ScriptedModel(KeyError("a bug"), "hi")
    with pytest.raises(KeyError):
        await retrying(model, at_once(3)).complete(HELLO, [])
    assert len(model.requests) == 1


@pytest.mark.parametrize(
    ("retry", "max_delay_s", "least_s"),
    [(0, 10, 1), (1, 10, 2), (2, 10, 4), (3, 10, 8), (4, 10, 10), (10**9, 10, 10), (0, 0.5, 0.5), (3, 0, 0)],
)
def test_the_wait_doubles_up_to_its_limit_plus_as_much_by_chance(
    retry: int, max_delay_s: float, least_s: float
) -> None:
    random.seed(1)
    delays = [Retries(max_delay_s=max_delay_s).delay_s(retry) for _ in range(200)]
    assert least_s <= min(delays)
    assert max(delays) <= 2 * least_s
    assert not least_s or max(delays) - min(delays) > 0.8 * least_s


@pytest.mark.parametrize(
    "table",
    [{"num_retries": -1}, {"max_delay_s": -1}, {"max_delay_s": float("inf")}, {"num_retries": "many"}],
    ids=str,
)
def test_a_wrong_table_is_refused(table: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Retries.model_validate(table)


def test_unknown_keys_may_stand() -> None:
    assert Retries.model_validate({"num_retries": 1, "backoff": "linear"}).num_retries == 1
