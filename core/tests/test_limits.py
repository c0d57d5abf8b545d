"""Which limits concern a caller, how their buckets are called, and how buckets fill up."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import pytest
from headrace.contracts import Bucket
from headrace.errors import RateLimitExceeded
from headrace.limiting import Limiter, Reservation, estimated_tokens
from headrace.limits import EACH, TOTAL, Active, Limit, Part, Rule, Rules
from headrace.media import File
from headrace.refills import MOST, changed, refilled, suffices
from headrace.types import (
    Caller,
    EmbeddingRequest,
    Message,
    ModelRequest,
    Params,
    Text,
    Thought,
    ToolCall,
    ToolResult,
    Unknown,
    Usage,
)
from hypothesis import given
from hypothesis import strategies as st

CALLS = (Limit("model_inferences", "minute", 5, 5),)
TOKENS = (Limit("tokens", "minute", 5, 5),)
USER, APP, KEY = Part("user", EACH), Part("app", "web"), Part(None, EACH)


def active(caller: Caller, *rules: Rule) -> list[Active]:
    return Rules(rules).active(caller)


def keys(caller: Caller, *rules: Rule) -> list[str]:
    return [each.bucket.key for each in active(caller, *rules)]


# -- who is concerned -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "caller", "matches"),
    [
        ((), Caller(), True),
        ((USER,), Caller({"user": "ann"}), True),
        ((USER,), Caller({"app": "web"}), False),
        ((Part("user", TOTAL),), Caller({"user": ""}), True),
        ((Part("user", TOTAL),), Caller(), False),
        ((APP,), Caller({"app": "web"}), True),
        ((APP,), Caller({"app": "Web"}), False),
        ((KEY,), Caller(api_key_public_id="abcdefghijkl"), True),
        ((KEY,), Caller({"user": "ann"}), False),
        ((Part(None, "abcdefghijkl"),), Caller(api_key_public_id="abcdefghijkl"), True),
        ((Part(None, "abcdefghijkl"),), Caller(api_key_public_id="mnopqrstuvwx"), False),
        ((USER, APP, KEY), Caller({"user": "ann", "app": "web"}, "abcdefghijkl"), True),
        ((USER, APP, KEY), Caller({"user": "ann", "app": "web"}), False),
    ],
    ids=str,
)
def test_a_rule_concerns_who_meets_every_part_of_its_scope(
    scope: tuple[Part, ...], caller: Caller, matches: bool
) -> None:
    assert bool(active(caller, Rule(CALLS, scope))) is matches


def test_of_the_rules_that_match_those_with_the_highest_priority_hold_and_those_that_always_do() -> None:
    rules = [
        Rule(CALLS, priority=0),
        Rule(CALLS, (Part("user", "ann"),), priority=5),
        Rule(TOKENS, (Part("user", TOTAL),), priority=5),
        Rule(CALLS, (Part("app", "web"),), priority=9),
        Rule(CALLS, (USER,)),
    ]
    assert [each.scope for each in active(Caller({"user": "ann"}), *rules)] == [
        each.scope for index in (1, 2, 4) for each in active(Caller({"user": "ann"}), rules[index])
    ]
    assert [len(each.scope) for each in active(Caller(), *rules)] == [0]
    assert active(Caller({"user": "bob"}), *rules[:2])[0].scope == ()


# -- keys: others may read and reset them, so they stay as they are -----------------------------------------


@pytest.mark.parametrize(
    ("scope", "caller", "key"),
    [
        ((), Caller(), "[]"),
        ((USER,), Caller({"user": "ann"}), '[{"type":"TagEach","key":"user","value":"ann"}]'),
        ((APP,), Caller({"app": "web"}), '[{"type":"TagConcrete","key":"app","value":"web"}]'),
        ((Part("user", TOTAL),), Caller({"user": "ann"}), '[{"type":"TagTotal","key":"user"}]'),
        (
            (KEY, USER, Part(None, "abcdefghijkl"), APP),
            Caller({"user": 'Zoë "😀"\n', "app": "web"}, "abcdefghijkl"),
            '[{"type":"TagConcrete","key":"app","value":"web"},'
            '{"type":"TagEach","key":"user","value":"Zoë \\"😀\\"\\n"},'
            '{"type":"ApiKeyPublicIdConcrete","api_key_public_id":"abcdefghijkl"},'
            '{"type":"ApiKeyPublicIdEach","api_key_public_id":"abcdefghijkl"}]',
        ),
    ],
    ids=["all", "each", "value", "total", "sorted"],
)
def test_a_key_is_compact_json_of_resource_and_scope(scope: tuple[Part, ...], caller: Caller, key: str) -> None:
    limits = (*CALLS, *TOKENS, Limit("cost", "day", 1, 1))
    assert keys(caller, Rule(limits, scope)) == [
        f'{{"resource":"{resource}","scope_key":{key}}}' for resource in ("model_inference", "token", "cost")
    ]


def test_two_windows_of_one_resource_have_a_bucket_each() -> None:
    limits = (*TOKENS, Limit("tokens", "day", 100, 100), *CALLS)
    assert keys(Caller(), Rule(limits)) == [
        '{"resource":"token","scope_key":[],"window":"minute"}',
        '{"resource":"token","scope_key":[],"window":"day"}',
        '{"resource":"model_inference","scope_key":[]}',
    ]


# -- estimates --------------------------------------------------------------------------------------------


def test_tokens_are_taken_to_be_half_the_bytes_of_each_text_and_all_that_may_be_answered() -> None:
    blocks = (
        Text("Zoë"),  # 4 bytes
        ToolCall("id that does not count", "abc", '{"a":1}'),
        ToolResult("id", "abc", "12345"),
        Thought("12345", signature="123"),
        File(mime_type="image/png", data="eA=="),
        Unknown({"any": "thing"}),
    )
    request = ModelRequest(
        messages=(Message("user", blocks), Message("user", (Text("1"),))), system="12345", params=Params(max_tokens=7)
    )
    assert estimated_tokens(request) == 2 + (2 + (1 + 3) + (1 + 2) + (2 + 1) + 10_000) + 0 + 7


@pytest.mark.parametrize(
    ("input_", "tokens"),
    [("12345", 2), (["12345", "12"], 3), ([1, 2, 3], 3), ([[1, 2], [3]], 3), ("", 0)],
    ids=["text", "texts", "ids", "lists", "empty"],
)
def test_of_embeddings_only_the_input_counts(input_: str | list[str | int | list[int]], tokens: int) -> None:
    assert estimated_tokens(EmbeddingRequest(input=input_)) == tokens


# -- buckets ----------------------------------------------------------------------------------------------


@given(
    st.integers(-(10**6), 10**6),
    st.integers(0, 10**6),
    st.integers(0, 10**4),
    st.lists(st.integers(0, 10**9), max_size=9),
)
def test_looking_often_fills_a_bucket_no_faster(balance: int, capacity: int, rate: int, steps: list[int]) -> None:
    bucket = Bucket(key="", capacity=capacity, refill_rate=rate, window="minute")
    at_once = refilled(bucket, min(balance, capacity), 0, sum(steps))
    state, at_us = (min(balance, capacity), 0), 0
    for step in steps:
        at_us += step
        state = refilled(bucket, *state, at_us)
    assert state == at_once


@given(st.integers(-MOST, MOST), st.integers(0, MOST), st.integers(-MOST, MOST))
def test_a_balance_stays_within_capacity_and_64_bits(balance: int, capacity: int, change: int) -> None:
    bucket = Bucket(key="", capacity=capacity, refill_rate=MOST, window="second")
    now, _ = refilled(bucket, balance, 0, 10**15)
    assert -MOST <= changed(bucket, now, change) <= capacity


def test_a_clock_that_goes_back_refills_nothing() -> None:
    bucket = Bucket(key="", capacity=5, refill_rate=5, window="month")
    assert refilled(bucket, 1, 10**15, 0) == (1, 10**15)


# -- the limiter: whatever happens in whatever order, what was granted is covered --------------------------------


class Counting:
    """Buckets that check themselves: nothing is granted beyond what there was, and all settling arrives."""

    def __init__(self, capacity: int) -> None:
        self.balance = capacity
        self.granted = 0

    async def take(self, wanted: Sequence[tuple[Bucket, int]]) -> list[int]:
        had = [self.balance for _ in wanted]
        if all(suffices(has, units) for has, (_, units) in zip(had, wanted, strict=True)):
            self.granted += sum(units for _, units in wanted)
            self.balance -= sum(units for _, units in wanted)
        return had

    async def settle(self, changes: Sequence[tuple[Bucket, int]]) -> None:
        for bucket, change in changes:
            self.balance = changed(bucket, self.balance, change)


@given(
    st.integers(0, 60),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 12), st.booleans(), st.booleans()), max_size=30),
)
def test_any_interleaving_overspends_by_no_more_than_what_was_in_flight_and_underestimated(
    capacity: int, calls: list[tuple[int, int, bool, bool]]
) -> None:
    """Each call has an estimate, its real use, whether it fails, and whether it ends before the next one begins."""
    spent = 0
    worst = 0
    in_flight: list[tuple[Reservation, int, bool]] = []

    async def main() -> None:
        nonlocal spent, worst
        buckets = Counting(capacity)
        rules = Rules([Rule((Limit("tokens", "month", capacity, 0),))])
        async with Limiter(rules, buckets, default_cost=1) as limiter:
            for estimate, real, failed, ends_at_once in calls:
                request = ModelRequest(messages=(), params=Params(max_tokens=estimate))
                try:
                    reserved = await limiter.reserve(request)
                except RateLimitExceeded:
                    continue
                assert reserved is not None
                in_flight.append((reserved, real, failed))
                worst += max(real - estimate, 0)
                if ends_at_once:
                    while in_flight:
                        spent += end(*in_flight.pop())
                    await anyio.lowlevel.checkpoint()
            while in_flight:
                spent += end(*in_flight.pop())
        assert capacity - buckets.balance >= spent  # all use is charged, that of failed calls by the estimate
        assert spent <= capacity + worst

    def end(reserved: Reservation, real: int, failed: bool) -> int:
        reserved.settle(Usage(input_tokens=real, output_tokens=0), failed=failed)
        return real

    anyio.run(main)
