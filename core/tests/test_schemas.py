"""JSON Schema: which draft, what the first violation says, and that a hostile schema costs nothing."""

from __future__ import annotations

import time
from typing import Any

import pytest
from headrace.errors import BadRequest
from headrace.schemas import MAX_SCHEMA_BYTES, MAX_SCHEMA_DEPTH, Schema, compiled
from hypothesis import given, settings
from hypothesis import strategies as st


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


def doubling(levels: int, keyword: str = "allOf", **more: Any) -> Any:
    """A kilobyte that has one value looked at 2 ** levels times."""
    twice = {str(n): {keyword: [{"$ref": f"#/$defs/{n + 1}"}] * 2} for n in range(levels)}
    return {"$defs": {**twice, str(levels): {}}, "$ref": "#/$defs/0", **more}


def below(levels: int) -> Any:
    """The same, each level at a deeper value."""
    twice = {str(n): {"properties": {"a": {"allOf": [{"$ref": f"#/$defs/{n + 1}"}] * 2}}} for n in range(levels)}
    return {"$defs": {**twice, str(levels): {}}, "$ref": "#/$defs/0"}


BOTH = {str(n): {"not": {"$ref": f"#/$defs/{n + 1}"}, "if": {"$ref": f"#/$defs/{n + 1}"}} for n in range(30)}
ANCHORED = {str(n): {"$anchor": f"a{n}", "allOf": [{"$ref": f"#a{n + 1}"}] * 2} for n in range(30)}


@pytest.mark.parametrize(
    "value",
    [
        doubling(30),
        doubling(30, "anyOf"),
        doubling(30, "oneOf"),
        doubling(30, **{"$id": "urn:a:b"}),
        doubling(30, **{"$id": "http://x.example/a"}) | {"$ref": "http://x.example/b/../a#/$defs/0"},
        {"$schema": "http://json-schema.org/draft-07/schema#"} | doubling(30),
        {"properties": {"x": doubling(30)["$defs"]["0"]}, "$defs": doubling(30)["$defs"]},
        {"$defs": {**BOTH, "30": {}}, "$ref": "#/$defs/0"},
        {"$defs": {**ANCHORED, "30": {"$anchor": "a30"}}, "$ref": "#a0"},
        below(30),
        below(200),
    ],
    ids=["allOf", "anyOf", "oneOf", "urn", "url", "draft 7", "property", "if", "anchors", "below", "far below"],
)
def test_a_schema_that_branches_without_end_is_refused_soon(value: Any) -> None:
    began = time.perf_counter()
    with pytest.raises(ValueError, match="look at one value more than 10000 times"):
        Schema(value)
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize(
    "value",
    [
        {"allOf": [{"$ref": "#"}, {"$ref": "#"}]},
        {"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}] * 2}, "b": {"$ref": "#/$defs/a"}}},
        {"$dynamicAnchor": "n", "allOf": [{"$dynamicRef": "#n"}, {"$dynamicRef": "#n"}]},
    ],
    ids=["itself", "each other", "dynamic"],
)
def test_a_schema_that_applies_itself_by_two_branches_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="applies itself to the same value by more than one branch"):
        Schema(value)


def test_a_document_inside_a_schema_with_references_is_refused() -> None:
    # Paths would have to be followed from there, and a bound that does not follow them is none.
    with pytest.raises(ValueError, match=r"cannot have an `\$id` inside: use `\$anchor`"):
        Schema({"$defs": {"a": {"$id": "http://x.example/a", "type": "string"}}, "$ref": "http://x.example/a"})


TREE = {"type": "object", "properties": {"v": {"type": "integer"}, "kids": {"type": "array", "items": {"$ref": "#"}}}}
LIST = {
    "$defs": {"n": {"properties": {"v": {}, "next": {"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]}}}},
    "$ref": "#/$defs/n",
}
BINARY = {"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}, "additionalProperties": {"type": "integer"}}


def expression(kinds: int) -> Any:
    def kind(n: int) -> Any:
        return {
            "type": "object",
            "properties": {"op": {"const": n}, "a": {"$ref": "#/$defs/e"}, "b": {"$ref": "#/$defs/e"}},
            "required": ["op", "a"],
        }

    return {
        "$defs": {"e": {"anyOf": [*map(kind, range(kinds)), {"type": "number"}]}},
        "$ref": "#/$defs/e",
    }


@pytest.mark.parametrize(
    ("schema", "good", "bad", "said"),
    [
        (TREE, {"v": 1, "kids": [{"v": 2, "kids": [{}]}]}, {"kids": [{"v": "x"}]}, '"x" is not of type "integer"'),
        (LIST, {"next": {"next": None}}, {"next": {"next": 1, "v": 1}}, None),
        (BINARY, {"left": {"right": {"x": 1}}}, {"left": {"x": "y"}}, '"y" is not of type "integer"'),
        (
            expression(20),
            {"op": 3, "a": {"op": 19, "a": 1}, "b": 2},
            {"op": 20, "a": 1},
            "the value does not fit",
        ),
    ],
    ids=["tree", "linked list", "binary tree", "union"],
)
def test_a_schema_that_comes_back_to_itself_lower_down_is_taken(schema: Any, good: Any, bad: Any, said: Any) -> None:
    Schema(schema).check(good)
    if said is None:
        assert Schema(schema).fits(bad)
        return
    with pytest.raises(BadRequest, match=f"^JSON Schema validation failed:\n{said}"):
        Schema(schema).check(bad)


def test_a_violation_deep_in_a_union_is_found_soon() -> None:
    value: Any = "no number"
    for n in range(40):
        value = {"op": n % 20, "a": value}
    began = time.perf_counter()
    with pytest.raises(BadRequest, match="JSON Schema validation failed"):
        Schema(expression(20)).check(value)
    assert time.perf_counter() - began < 1


def test_many_references_to_many_definitions_are_taken_soon() -> None:
    both = {f"d{n}": {"properties": {k: {"$ref": f"#/$defs/d{n + 1}"} for k in "ab"}} for n in range(1000)}
    began = time.perf_counter()
    assert Schema({"$defs": {**both, "d1000": {}}, "$ref": "#/$defs/d0"}).fits({"a": {"b": 1}})
    assert time.perf_counter() - began < 2


@pytest.mark.parametrize(
    "value",
    [
        {"multipleOf": 1e-300}, {"multipleOf": 0}, {"minLength": 1e400}, {"minLength": 10**400}, {"minItems": -1},
        {"const": float("nan")}, {"const": 10**400}, {"const": "\ud800"}, {"\ud800": 1}, {"const": {1}}, {1: 2},
        {"$ref": 3}, {"$ref": "::::"}, {"$ref": "#/%"}, {"$ref": "#/a~2"}, {"$ref": "#nope"}, {"$ref": "http://["},
        {"$ref": "#/enum", "enum": [1]}, {"$ref": "#/enum/0", "enum": [{"$ref": "#"}]}, {"$id": "::::"}, {"$id": 3},
        {"$schema": 3}, {"$anchor": ""}, {"allOf": {}}, {"items": 3}, {"properties": []}, {"dependencies": {"a": 1}},
    ],
    ids=repr,
)  # fmt: skip
def test_a_strange_schema_is_taken_or_refused(value: Any) -> None:
    try:
        Schema(value).fits({"a": ["x", 1e300]})
    except ValueError as error:
        assert "\n" not in str(error)


KEYWORDS = st.sampled_from(
    "$ref $dynamicRef $id $schema $anchor $dynamicAnchor $defs type const enum allOf anyOf oneOf not if then else"
    " properties patternProperties additionalProperties dependentSchemas dependencies items prefixItems contains"
    " minLength multipleOf pattern format required unevaluatedProperties propertyNames a".split()
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["#", "#/$defs/a", "#/allOf/0", "#a", "a", "object", "string", "[a-z]+", "(", "urn:x:y#"])
)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(KEYWORDS | st.text(max_size=3), inner, max_size=4)
        | st.dictionaries(KEYWORDS, inner, max_size=4)
    ),
    max_leaves=20,
)


@settings(max_examples=500, deadline=None)
@given(value=DOCUMENTS, instance=DOCUMENTS)
def test_no_document_does_more_than_be_refused(value: Any, instance: Any) -> None:
    try:
        schema = Schema(value)
    except ValueError:
        return
    assert isinstance(schema.fits(1), bool)


# -- compiling again --------------------------------------------------------------------------------------


def test_a_schema_compiled_again_is_the_one_that_is_there() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    first = compiled(schema)
    assert compiled({**schema}) is first
    assert first.value == schema
    schema["type"] = "array"
    assert compiled(schema) is not first
    assert first.fits({})


def test_schemas_that_differ_in_the_order_of_keys_tell_violations_each_in_its_own() -> None:
    one, other = {"type": "string", "minLength": 1}, {"minLength": 1, "type": "string"}
    for schema, said in ((one, '{"type":"string","minLength":1}'), (other, '{"minLength":1,"type":"string"}')):
        with pytest.raises(BadRequest, match=rf"Schema:\n{said}$"):
            compiled(schema).check(1)


@pytest.mark.parametrize("value", ["{}", nested(MAX_SCHEMA_DEPTH + 1), {"type": "nope"}], ids=["text", "deep", "type"])
def test_what_is_refused_is_refused_every_time(value: Any) -> None:
    for _ in range(2):
        with pytest.raises(ValueError):
            compiled(value)


def test_a_large_schema_is_compiled_but_not_kept() -> None:
    large = {"const": "x" * 20_000}
    assert compiled(large).fits("x" * 20_000)
    assert compiled(large) is not compiled(large)
