"""What a call cost: decimal, by pointer into the raw answer, and unknown rather than wrong."""

from __future__ import annotations

import json
import logging
from decimal import Decimal
from typing import Any

import pytest
from headrace.config.tables import CostEntry
from headrace.costs import Price, cost_of, streamed_cost_of
from pydantic import ValidationError

INPUT = Price("/usage/input", "/usage/input", Decimal("1.5") / 1_000_000)
OUTPUT = Price("/usage/output", "/usage/output", Decimal("6") / 1_000_000)
REQUIRED = Price("/usage/input", "/usage/input", Decimal(1), required=True)
UNIT = Price("/n", "/n", Decimal(1))


def raw(**usage: Any) -> str:
    return json.dumps({"usage": usage})


def test_a_cost_is_the_sum_of_values_times_rates() -> None:
    assert cost_of([INPUT, OUTPUT], raw(input=1000, output=10)) == Decimal("0.00156")


def test_a_cost_is_exact() -> None:
    price = Price("/n", "/n", Decimal("0.1"))
    assert cost_of([price, price, price], '{"n": 1}') == Decimal("0.3")
    assert cost_of([UNIT], '{"n": 0.1}') == Decimal("0.1")


def test_without_prices_the_cost_is_unknown() -> None:
    assert cost_of([], raw(input=1)) is None
    assert streamed_cost_of([], [raw(input=1)]) is None


@pytest.mark.parametrize(
    ("value", "cost"), [(7, 7), ("7", 7), ("0.5", Decimal("0.5")), (0, 0), (10**30, 10**30), (None, 0)], ids=repr
)
def test_a_value_is_a_number_or_the_text_of_one(value: Any, cost: Any) -> None:
    assert cost_of([UNIT], json.dumps({"n": value})) == cost


@pytest.mark.parametrize(
    "value", [True, "many", "", [1], {"a": 1}, "NaN", "Infinity", "-Infinity", "sNaN", "1e999999999"], ids=repr
)
def test_a_value_that_is_no_number_voids_the_cost(value: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert cost_of([INPUT, UNIT], json.dumps({"n": value, "usage": {"input": 1}})) is None
    assert "no cost: the value at /n is not a number" in caplog.text


@pytest.mark.parametrize("value", ["1e41", "1e-41", "1e999000", "1e-999000", 1e300], ids=repr)
def test_a_cost_beyond_reason_is_none(value: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert cost_of([UNIT], json.dumps({"n": value})) is None
    assert "beyond reason" in caplog.text


@pytest.mark.parametrize("value", ["0e-999000", "0e999000"], ids=repr)
def test_nothing_is_written_short(value: str) -> None:
    assert str(cost_of([UNIT], json.dumps({"n": value}))) == "0"


@pytest.mark.parametrize(
    "answer", ["{}", '{"usage": null}', '{"usage": 3}', '{"usage": []}', "not json", "", "[" * 5000]
)
def test_what_is_missing_counts_nothing_unless_it_is_required(answer: str, caplog: pytest.LogCaptureFixture) -> None:
    assert cost_of([INPUT], answer) == 0
    with caplog.at_level(logging.WARNING):
        assert cost_of([INPUT, REQUIRED], answer) is None
    assert "no cost: required value at /usage/input is missing" in caplog.text


def test_a_rate_may_be_negative_but_a_total_not(caplog: pytest.LogCaptureFixture) -> None:
    rebate = Price("/usage/cached", "/usage/cached", Decimal(-1) / 1_000_000)
    assert cost_of([INPUT, rebate], raw(input=10, cached=5)) == Decimal("0.00001")
    with caplog.at_level(logging.WARNING):
        assert cost_of([INPUT, rebate], raw(input=1, cached=5)) is None
    assert "the total is negative" in caplog.text


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("/a~1b", 1), ("/m~0n", 2), ("/~01", 3), ("/", 4), ("/list/1", 6), ("/list/2", 0), ("/list/-1", 0),
        ("/list/01", 0), ("/list/\u0661", 0), ("/list/" + "1" * 5000, 0), ("/list/x", 0),
        ("/list/-", 0), ("/deep/0/x", 7), ("/n/0", 0),
    ],
)  # fmt: skip
def test_pointers_follow_rfc_6901(pointer: str, value: int) -> None:
    document = {"a/b": 1, "m~n": 2, "~1": 3, "": 4, "list": [5, 6], "deep": [{"x": 7}], "n": 8}
    assert cost_of([Price(pointer, pointer, Decimal(1))], json.dumps(document)) == value


def test_the_empty_pointer_is_the_whole_document() -> None:
    assert cost_of([Price("", "", Decimal(2))], "21") == 42


# -- streams ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chunks", "cost"),
    [
        (['{"n": 1}', '{"n": 3}', '{"n": 2}'], 3),
        (["[DONE]", "", '{"n": 3}', "half a {"], 3),
        (['{"n": null}', "{}", '{"n": 3}'], 3),
        (['{"n": "3"}', '{"n": 2}'], 3),
        ([], 0),
        (["[DONE]"], 0),
    ],
    ids=["largest", "not-json", "null", "text", "none", "only-done"],
)
def test_a_stream_costs_the_largest_value_of_all_chunks(chunks: list[str], cost: int) -> None:
    assert streamed_cost_of([UNIT], chunks) == cost


def test_every_price_has_its_own_largest_value() -> None:
    chunks = [raw(input=10, output=1), raw(output=7)]
    assert streamed_cost_of([INPUT, OUTPUT], chunks) == 10 * INPUT.rate + 7 * OUTPUT.rate


def test_a_stream_has_a_pointer_of_its_own() -> None:
    price = Price("/whole", "/piece", Decimal(1))
    assert cost_of([price], '{"whole": 1, "piece": 2}') == 1
    assert streamed_cost_of([price], ['{"whole": 1, "piece": 2}']) == 2


def test_a_required_value_that_no_chunk_has_voids_the_cost() -> None:
    assert streamed_cost_of([REQUIRED], ["{}", raw(output=1)]) is None
    assert streamed_cost_of([REQUIRED], ["{}", raw(input=1)]) == 1


# -- the table of a price ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "entry",
    [
        {"pointer": "/usage/input", "cost_per_million": 1.5},
        {"pointer": "", "cost_per_unit": -1},
        {"pointer": "/a~1b/~0/0", "cost_per_unit": 0, "required": True},
        {"pointer_nonstreaming": "/a", "pointer_streaming": "/b", "cost_per_unit": 1},
    ],
    ids=["pointer", "whole-document", "escapes", "split"],
)
def test_a_price_is_taken(entry: dict[str, Any]) -> None:
    CostEntry.model_validate(entry)


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ({}, "invalid pointer configuration"),
        ({"pointer": "/a", "pointer_streaming": "/b"}, "invalid pointer configuration"),
        ({"pointer_nonstreaming": "/a"}, "invalid pointer configuration"),
        ({"pointer_streaming": "/a"}, "invalid pointer configuration"),
        ({"pointer": "/a"}, "must specify exactly one of"),
        ({"pointer": "/a", "cost_per_unit": 1, "cost_per_million": 1}, "must specify exactly one of"),
        ({"pointer": "a", "cost_per_unit": 1}, "invalid JSON pointer `a`"),
        ({"pointer": "/a~2", "cost_per_unit": 1}, "invalid JSON pointer `/a~2`"),
        ({"pointer_nonstreaming": "/a", "pointer_streaming": "b", "cost_per_unit": 1}, "invalid JSON pointer `b`"),
        ({"pointer": "/a", "cost_per_unit": float("inf")}, "finite"),
        ({"pointer": "/a", "cost_per_unit": "1"}, "number"),
        ({"pointer": "/a", "cost_per_unit": 1, "x": 1}, "x"),
    ],
    ids=[
        "nothing", "both-kinds", "no-streaming", "only-streaming", "no-rate", "two-rates", "no-slash", "tilde",
        "second-pointer", "infinite", "text", "unknown-key",
    ],
)  # fmt: skip
def test_a_price_that_says_too_much_or_too_little_is_refused(entry: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        CostEntry.model_validate({"cost_per_unit": 1, **entry} if complaint.endswith("configuration") else entry)
