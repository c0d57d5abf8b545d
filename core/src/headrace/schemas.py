"""JSON Schema validators (jsonschema-rs), compiled once. The only module that imports jsonschema_rs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, TypeAlias
from urllib.parse import unquote

import jsonschema_rs
import msgspec

from .errors import BadRequest

# A caller may send a schema of its own. These bounds keep compilation in microseconds.
MAX_SCHEMA_BYTES = 256 * 1024
MAX_SCHEMA_DEPTH = 64
# How often one value may be looked at, by all the branches that end at it. Each look takes some 80 ns.
MAX_LOOKS = 10_000

_CACHED_SCHEMAS = 256
_CACHED_BYTES = 16 * 1024

# Formats are asserted by the drafts that did so; from 2019-09 on they are annotations.
_ASSERTING_DRAFTS = ("draft-04", "draft-06", "draft-07")


def _refuse(uri: str) -> Any:
    raise ValueError(f"remote references are not followed: {uri}")


class Schema:
    """A compiled JSON Schema; ``value`` is the document it came from."""

    def __init__(self, value: Any) -> None:
        """Raise ValueError when ``value`` is not a JSON Schema, or is larger, deeper or more branched than allowed."""
        if isinstance(value, str):  # the validator would read it as JSON, past our bounds
            raise ValueError("a JSON Schema is an object or a boolean, not a string")
        if _depth(value) > MAX_SCHEMA_DEPTH:  # first, as encoding is recursive
            raise ValueError(f"schema nested deeper than {MAX_SCHEMA_DEPTH} levels")
        size = len(_encoded(value))
        if size > MAX_SCHEMA_BYTES:
            raise ValueError(f"schema of {size} bytes; at most {MAX_SCHEMA_BYTES} are accepted")
        draft = str(value.get("$schema", "")) if isinstance(value, dict) else ""
        self.value = value
        try:
            self._validator = jsonschema_rs.validator_for(
                value,
                validate_formats=any(name in draft for name in _ASSERTING_DRAFTS),
                retriever=_refuse,
                # Linear-time expressions only: a pattern may come from a request.
                pattern_options=jsonschema_rs.RegexOptions(),
            )
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError, TypeError) as error:
            raise ValueError(str(error).partition("\n")[0]) from None
        self._is_ambiguous = _Branches(value).are_ambiguous()

    def fits(self, instance: Any) -> bool:
        """Whether ``instance`` satisfies the schema."""
        return self._validator.is_valid(instance)

    def check(self, instance: Any) -> None:
        """Raise BadRequest with the first violation and the schema, the way existing clients know it."""
        if self.fits(instance):
            return
        schema = msgspec.json.encode(self.value).decode()
        raise BadRequest(f"JSON Schema validation failed:\n{self._violation(instance)}\n\nSchema:\n{schema}")

    def _violation(self, instance: Any) -> str:
        if self._is_ambiguous:
            # Finding out takes every branch again at every level: 18 s, where `fits` took 10 µs.
            return "the value does not fit, on any branch of this recursive schema"
        try:
            self._validator.validate(instance)
        except jsonschema_rs.ValidationError as error:
            return error.message
        return "the value does not fit"


def compiled(value: Any) -> Schema:
    """``Schema(value)``, made once for schemas of the same JSON while they are in use. Raise ValueError.

    Two that differ in the order of their keys are two: a violation is told with the schema as it was written.
    """
    if isinstance(value, str) or _depth(value) > MAX_SCHEMA_DEPTH:
        return Schema(value)  # which refuses it
    text = _encoded(value)
    return _compiled(text) if len(text) <= _CACHED_BYTES else Schema(value)


@lru_cache(maxsize=_CACHED_SCHEMAS)
def _compiled(text: bytes) -> Schema:
    return Schema(msgspec.json.decode(text))


def _encoded(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"a JSON Schema has to be JSON: {error}") from None


def _depth(value: Any) -> int:
    """Nesting depth, counted without recursion so that a hostile document cannot exhaust the stack."""
    deepest, waiting = 0, [(value, 1)]
    while waiting:
        node, depth = waiting.pop()
        deepest = max(deepest, depth)
        children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        waiting.extend((child, depth + 1) for child in children)
    return deepest


# -- branches ---------------------------------------------------------------------------------------------

_Node: TypeAlias = dict[str, Any]

# Keywords whose schemas look at the same value, and those whose schemas look at parts of it: each at other parts than
# the rest, or at any. Some take a map of schemas.
_HERE = frozenset({"allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependencies"})
_APART = frozenset({"properties", "additionalProperties", "items", "prefixItems", "additionalItems"})
_ACROSS = frozenset({"patternProperties", "propertyNames", "contains", "unevaluatedProperties", "unevaluatedItems"})
_MAPS = frozenset({"properties", "patternProperties", "dependentSchemas", "dependencies"})
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")


class _Branches:
    """How often one value is looked at, found without a value: a validator follows every branch each time.

    Twice two references in each of twenty definitions are a million looks at one value, from a kilobyte of schema. Not
    bounded is what unions that come back to themselves lower down cost with a deep value that fits none: to refuse
    them would be to refuse every grammar, and a validator is quick with them where kinds are told apart by a constant.
    """

    def __init__(self, root: Any) -> None:
        """Raise ValueError for a schema with too many looks, or that comes back to the same value by two branches."""
        self._root = root
        self._here: dict[int, list[_Node]] = {}
        self._below: dict[int, list[tuple[str, _Node]]] = {}
        self._nodes: dict[int, _Node] = {}
        self._groups: dict[int, int] = {}
        dicts = [*_dicts(root)]
        if not any(key in each for each in dicts for key in _REFERENCES):
            return  # as many looks as there are schemas, at most
        self._anchors = _anchors(dicts)
        if any(each is not root and _is_document(each, root) for each in dicts):
            raise ValueError("a schema with references cannot have an `$id` inside: use `$anchor`, or name the path")
        self._collect()
        self._bound()

    def are_ambiguous(self) -> bool:
        """Whether one value can be reached from another by several ways that come back to the same schemas."""
        return any(self._comes_back_twice(node) for node in self._nodes.values())

    def _collect(self) -> None:
        waiting = [self._root]
        while waiting:
            node = waiting.pop()
            if id(node) in self._nodes:
                continue
            self._nodes[id(node)] = node
            here, below = _branches(node)
            here += self._referred(node)
            self._here[id(node)], self._below[id(node)] = here, below
            waiting += [*here, *(each for _, each in below)]

    def _bound(self) -> None:
        here_groups = _groups(self._nodes, lambda key: [id(each) for each in self._here[key]])
        for key, here in self._here.items():
            if sum(here_groups[id(each)] == here_groups[key] for each in here) > 1:
                raise ValueError("the schema applies itself to the same value by more than one branch")
        self._groups = _groups(
            self._nodes, lambda key: [id(each) for each in (*self._here[key], *(each for _, each in self._below[key]))]
        )
        looks: dict[int, int] = {}
        # A group's number is greater than those of all groups that it leads to.
        for key in sorted(self._nodes, key=lambda key: (self._groups[key], here_groups[key])):
            here_looks = sum(looks.get(id(each), 0) for each in self._here[key])
            apart: dict[str, int] = {}
            for slot, each in self._below[key]:
                # A validator remembers what it found at values that it comes back to.
                is_back = self._groups[id(each)] == self._groups[key]
                apart[slot] = apart.get(slot, 0) + (1 if is_back else looks[id(each)])
            across = apart.pop("", 0)
            looks[key] = 1 + here_looks + across + max(apart.values(), default=0)
            if looks[key] > MAX_LOOKS:
                raise ValueError(f"the branches of the schema look at one value more than {MAX_LOOKS} times")

    def _comes_back_twice(self, node: _Node) -> bool:
        group = self._groups[id(node)]
        here = sum(self._groups[id(each)] == group for each in self._here[id(node)])
        slots = [slot for slot, each in self._below[id(node)] if self._groups[id(each)] == group]
        return here + ("" in slots) + bool([slot for slot in slots if slot]) > 1 or len(slots) > len(set(slots))

    def _referred(self, node: _Node) -> Iterator[_Node]:
        for keyword in _REFERENCES:
            if isinstance(reference := node.get(keyword), str):
                # Whatever stands before it, as that is this document or a draft's own: all else did not compile.
                fragment = unquote(reference.partition("#")[2])
                yield from self._anchors.get(fragment, [])
                if isinstance(found := _at(self._root, fragment), dict):
                    yield found


def _dicts(root: Any) -> Iterator[_Node]:
    waiting = [root]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting += value.values()
        elif isinstance(value, list | tuple):
            waiting += value


def _is_document(node: _Node, root: _Node) -> bool:
    """Whether paths inside the node do not start at the root."""
    keyword = "id" if "draft-04" in str(root.get("$schema")) else "$id"
    found = node.get(keyword)
    return isinstance(found, str) and not found.startswith("#")


def _anchors(dicts: list[_Node]) -> dict[str, list[_Node]]:
    anchors: dict[str, list[_Node]] = {}
    for node in dicts:
        for keyword in ("$anchor", "$dynamicAnchor", "$id", "id"):
            if isinstance(name := node.get(keyword), str) and name.strip("#"):
                anchors.setdefault(name.removeprefix("#"), []).append(node)
    return anchors


def _at(root: Any, pointer: str) -> Any:
    start, *steps = pointer.split("/")
    value = None if start else root
    for step in steps:
        step = step.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list | tuple) and step.isdecimal() and len(step) < 9 and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def _branches(node: _Node) -> tuple[list[_Node], list[tuple[str, _Node]]]:
    """The schemas that look at the same value, and those that look at parts of it, with a name for the parts.

    Two of different names never look at the same part; those without a name may look at any.
    """
    here: list[_Node] = []
    below: list[tuple[str, _Node]] = []
    for keyword, value in node.items():
        named: Iterable[tuple[Any, Any]]
        if isinstance(value, dict):
            named = value.items() if keyword in _MAPS else [("", value)]
        else:
            named = enumerate(value) if isinstance(value, list | tuple) else ()
        if keyword in _HERE:
            here += [each for _, each in named if isinstance(each, dict)]
        elif keyword in _APART:
            below += [(f"{keyword} {name}", each) for name, each in named if isinstance(each, dict)]
        elif keyword in _ACROSS:
            below += [("", each) for _, each in named if isinstance(each, dict)]
    return here, below


def _groups(nodes: dict[int, _Node], following: Callable[[int], list[int]]) -> dict[int, int]:
    """Tarjan's algorithm, without recursion: nodes that lead to each other have one number.

    A group's number is greater than the numbers of all groups that it leads to.
    """
    groups: dict[int, int] = {}
    lows: dict[int, int] = {}
    stack: list[int] = []
    count = 0
    for start in nodes:
        if start in lows:
            continue
        lows[start] = len(lows)
        stack.append(start)
        order = {start: lows[start]}
        walks = [(start, iter(following(start)))]
        while walks:
            key, rest = walks[-1]
            for each in rest:
                if each not in lows:
                    order[each] = lows[each] = len(lows)
                    stack.append(each)
                    walks.append((each, iter(following(each))))
                    break
                if each not in groups:
                    lows[key] = min(lows[key], lows[each])
            else:
                walks.pop()
                if walks:
                    lows[walks[-1][0]] = min(lows[walks[-1][0]], lows[key])
                if lows[key] == order[key]:
                    while key not in groups:
                        groups[stack.pop()] = count
                    count += 1
    return groups
