"""What is written into a request by hand: where it lands, whom it concerns, and what cannot be written."""

from __future__ import annotations

from typing import Any

import pytest
from headrace.errors import InvalidExtra
from headrace.extras import Extra, ExtraBody, ExtraHeader, apply_body, apply_headers
from msgspec import UNSET


def put(pointer: str, value: Any) -> ExtraBody:
    return ExtraBody(pointer=pointer, value=value)


def drop(pointer: str) -> ExtraBody:
    return ExtraBody(pointer=pointer, delete=True)


@pytest.mark.parametrize(
    ("body", "entry", "after"),
    [
        ({}, put("/a", 1), {"a": 1}),
        ({"a": 1}, put("/a", None), {"a": None}),
        ({}, put("/a/b/c", True), {"a": {"b": {"c": True}}}),
        ({"a": {"b": 1}}, put("/a/c", 2), {"a": {"b": 1, "c": 2}}),
        ({"a": [1, 2]}, put("/a/1", 3), {"a": [1, 3]}),
        ({"a": [1]}, put("/a/-", 2), {"a": [1, 2]}),
        ({"a": [{}]}, put("/a/0/b", 1), {"a": [{"b": 1}]}),
        ({"0": 1}, put("/0", 2), {"0": 2}),
        ({}, put("/a~1b", 1), {"a/b": 1}),
        ({}, put("/a~0b", 1), {"a~b": 1}),
        ({}, put("/~01", 1), {"~1": 1}),
        ({}, put("//a", 1), {"": {"a": 1}}),
        ({}, put("/01", 1), {"01": 1}),
        ({"a": 1, "b": 2}, drop("/a"), {"b": 2}),
        ({"a": [1, 2]}, drop("/a/0"), {"a": [2]}),
        ({"a": 1}, drop("/b/c"), {"a": 1}),
        ({"a": [1]}, drop("/a/7"), {"a": [1]}),
        ({"a": 1}, drop("/a/b"), {"a": 1}),
    ],
)
def test_a_pointer_leads_to_its_place(body: dict[str, Any], entry: ExtraBody, after: dict[str, Any]) -> None:
    assert apply_body(body, [entry]) == after


@pytest.mark.parametrize(
    "entry",
    [
        put("", 1),
        put("a", 1),
        put("/", 1),
        put("/a/", 1),
        put("/0", 1),
        put("/new/0", 1),
        put("/list/5", 1),
        put("/list/99999999999999999999", 1),
        put("/list/name", 1),
        put("/list/-/a", 1),
        put("/list/-1", 1),
        put("/list/٣", 1),
        put("/text/a", 1),
        put("/none/a", 1),
        drop("/list/-"),
        drop("a"),
    ],
    ids=lambda entry: entry.pointer,
)
def test_a_pointer_to_nowhere_is_the_callers_mistake(entry: ExtraBody) -> None:
    with pytest.raises(InvalidExtra, match="Error replacing extra body: ") as caught:
        apply_body({"list": [1], "text": "x", "none": None}, [entry])
    assert caught.value.http_status == 400


def test_later_entries_win_and_the_original_stays_as_it_was() -> None:
    inner = {"b": 1}
    body = {"a": inner}
    after = apply_body(body, [put("/a/b", 2), put("/a/b", 3), drop("/a/c"), put("/d", inner), put("/d/b", 4)])
    assert after == {"a": {"b": 3}, "d": {"b": 4}}
    assert body == {"a": {"b": 1}}


def test_headers_are_set_over_ours_and_only_theirs_are_taken_back() -> None:
    ours = {"Authorization": "Bearer ours", "accept": "x"}
    entries = [
        ExtraHeader(name="authorization", value="Bearer theirs"),
        ExtraHeader(name="X-One", value="1"),
        ExtraHeader(name="x-one", delete=True),
        ExtraHeader(name="ACCEPT", delete=True),
    ]
    assert apply_headers(ours, entries) == {"authorization": "Bearer theirs", "accept": "x"}
    assert apply_headers(ours, []) == ours


@pytest.mark.parametrize(
    ("name", "value"),
    [("", "x"), ("a b", "x"), ("a\n", "x"), ("ü", "x"), ("a:", "x"), ("a", "x\r\nb: c"), ("a", "\0"), ("a", "ü")],
    ids=["empty", "space", "newline", "letter", "colon", "second-header", "nul", "value-letter"],
)
def test_what_could_not_be_one_header_is_refused(name: str, value: str) -> None:
    with pytest.raises(InvalidExtra, match="Invalid"):
        apply_headers({}, [ExtraHeader(name=name, value=value)])


def test_entries_concern_whom_they_name() -> None:
    everyone, variant = put("/a", 1), ExtraBody(pointer="/b", value=2, variant_name="v")
    model = ExtraHeader(name="c", value="3", model_name="m")
    provider = ExtraHeader(name="d", value="4", model_name="m", provider_name="p")
    extra = Extra((everyone, variant), (model, provider))
    assert extra.of_variant("v") == extra
    assert extra.of_variant("other").body == (everyone,)
    assert extra.of_provider("m", "p").headers == (model, provider)
    assert extra.of_provider("m", "other").headers == (model,)
    assert extra.of_provider("other", "p").headers == ()


def test_entries_add_up_in_order() -> None:
    one, other, none = Extra((put("/a", 1),)), Extra((put("/b", UNSET),)), Extra()
    assert (one + other).body == one.body + other.body
    assert (one + none, none + one, bool(none), bool(one)) == (one, one, False, True)
