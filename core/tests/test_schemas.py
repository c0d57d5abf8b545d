"""JSON Schema: which draft, what the first violation says, and that a hostile schema costs nothing."""

from __future__ import annotations

import time
from typing import Any

import pytest
from headrace.errors import BadRequest
from headrace.schemas import MAX_SCHEMA_BYTES, MAX_SCHEMA_DEPTH, Schema


def nested(levels: int) -> Any:
    value: Any = {}
    for _ in range(levels - 1):
        value = {"not": value}
    return value


@pytest.mark.parametrize(
    ("schema", "instance", "violation"),
    [
        ({"type": "object", "required": ["a"]}, {}, '"a" is a required property'),
        ({"type": "string"}, 3, '3 is not of type "string"'),
        ({"maximum": 2}, 3, "3 is greater than the maximum of 2"),
        (False, 3, "False schema does not allow 3"),
    ],
    ids=["required", "type", "maximum", "false"],
)
def test_a_violation_is_told_with_the_schema(schema: Any, instance: Any, violation: str) -> None:
    with pytest.raises(BadRequest) as caught:
        Schema(schema).check(instance)
    said = str(caught.value)
    assert said.startswith(f"JSON Schema validation failed:\n{violation}\n\nSchema:\n")
    assert not Schema(schema).fits(instance)


def test_only_the_first_violation_is_told_and_the_schema_as_compact_json() -> None:
    schema = {"properties": {"a": {"type": "string"}, "b": {"type": "string"}}}
    with pytest.raises(BadRequest) as caught:
        Schema(schema).check({"a": 1, "b": 2})
    assert str(caught.value) == (
        'JSON Schema validation failed:\n1 is not of type "string"\n\n'
        'Schema:\n{"properties":{"a":{"type":"string"},"b":{"type":"string"}}}'
    )


@pytest.mark.parametrize("schema", [{}, True, {"type": ["null", "object"]}], ids=["empty", "true", "object"])
@pytest.mark.parametrize("instance", [{}, None, {"a": 1}], ids=str)
def test_what_fits_passes(schema: Any, instance: Any) -> None:
    Schema(schema).check(instance)
    assert Schema(schema).fits(instance)


@pytest.mark.parametrize(
    ("draft", "asserts"),
    [
        ("http://json-schema.org/draft-04/schema#", True),
        ("http://json-schema.org/draft-06/schema#", True),
        ("http://json-schema.org/draft-07/schema#", True),
        ("https://json-schema.org/draft/2019-09/schema", False),
        ("https://json-schema.org/draft/2020-12/schema", False),
        (None, False),
    ],
    ids=["4", "6", "7", "2019-09", "2020-12", "default"],
)
def test_format_is_asserted_up_to_draft_7(draft: str | None, asserts: bool) -> None:
    schema = {"type": "string", "format": "email"} | ({"$schema": draft} if draft else {})
    assert Schema(schema).fits("nobody") is not asserts
    assert Schema(schema).fits("a@example.com")


@pytest.mark.parametrize(
    ("draft", "fits"),
    [
        ("http://json-schema.org/draft-07/schema#", True),
        ("https://json-schema.org/draft/2020-12/schema", False),
        (None, False),
    ],
    ids=["7", "2020-12", "default"],
)
def test_the_draft_decides_what_a_keyword_means(draft: str | None, fits: bool) -> None:
    # `prefixItems` came with 2020-12.
    schema = {"prefixItems": [{"type": "string"}]} | ({"$schema": draft} if draft else {})
    assert Schema(schema).fits([1]) is fits


@pytest.mark.parametrize(
    "value",
    [
        {"$ref": "http://127.0.0.1:1/schema"},
        {"$ref": "file:///etc/hostname"},
        {"properties": {"a": {"$ref": "other.json"}}},
        {"$schema": "http://127.0.0.1:1/schema"},
        {"$id": "file:///etc/", "$ref": "hostname"},
    ],
    ids=["http", "file", "relative", "draft", "id"],
)
def test_nothing_is_fetched(value: Any) -> None:
    with pytest.raises(ValueError, match=r"retrieving it failed|Unknown meta-schema"):
        Schema(value)


def test_references_within_a_schema_work() -> None:
    schema = Schema({"$defs": {"n": {"type": "integer"}}, "items": {"$ref": "#/$defs/n"}})
    assert schema.fits([1, 2])
    assert not schema.fits(["x"])


@pytest.mark.parametrize(
    "value",
    [{"type": "nope"}, {"required": "a"}, {"pattern": "("}, {"pattern": "(?=a)"}, [], 1, None, "{}", "not json"],
    ids=["type", "required", "pattern", "look-ahead", "array", "number", "null", "text-of-json", "text"],
)
def test_what_is_no_schema_is_refused_in_one_line(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+\Z"):
        Schema(value)


# -- hostile ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(a|aa)+$", "^(a|a?)+$", "(.*)*x"])
def test_a_hostile_pattern_is_quick(pattern: str) -> None:
    schema = Schema({"pattern": pattern})
    began = time.perf_counter()
    assert not schema.fits("a" * 20_000 + "!")
    assert time.perf_counter() - began < 1


def test_an_exploding_pattern_is_refused_soon() -> None:
    began = time.perf_counter()
    with pytest.raises(ValueError, match="regex"):
        Schema({"pattern": "((a{1000}){1000}){1000}"})
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize("levels", [MAX_SCHEMA_DEPTH + 1, 5_000, 200_000])
def test_a_schema_too_deep_is_refused(levels: int) -> None:
    with pytest.raises(ValueError, match=f"schema nested deeper than {MAX_SCHEMA_DEPTH} levels"):
        Schema(nested(levels))


def test_a_schema_too_large_is_refused() -> None:
    with pytest.raises(ValueError, match=f"schema of {MAX_SCHEMA_BYTES + 1} bytes; at most {MAX_SCHEMA_BYTES} are"):
        Schema({"const": "x" * (MAX_SCHEMA_BYTES - 11)})


def test_schemas_up_to_the_bounds_are_taken() -> None:
    Schema(nested(MAX_SCHEMA_DEPTH))
    Schema({"const": "x" * (MAX_SCHEMA_BYTES - 12)})


@pytest.mark.parametrize(
    "value",
    [{"$ref": "#"}, {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}],
    ids=["itself", "each-other"],
)
def test_a_schema_that_goes_in_circles_ends(value: Any) -> None:
    assert Schema(value).fits(1)
