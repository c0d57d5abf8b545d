"""Which split a datapoint belongs to: by a keyed hash of its group, where near copies and episodes stay together."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from math import isclose
from typing import Any, TypeAlias, cast
from uuid import UUID

from msgspec import Struct, json

from .media import File
from .types import Input, InputBlock, RawText, Split, Template, Text, Thought, ToolCall, ToolResult

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
_MERGE_ORDER: tuple[Split, ...] = ("test", "validation", "train")


class Shares(Struct, frozen=True):
    """How much of the data each split gets. Raises ValueError unless these are fractions that sum to 1."""

    train: float = 0.6
    validation: float = 0.2
    test: float = 0.2

    def __post_init__(self) -> None:
        parts = (self.train, self.validation, self.test)
        if not (all(part >= 0 for part in parts) and isclose(sum(parts), 1.0, abs_tol=1e-9)):
            raise ValueError(f"shares {parts} of train, validation and test must be fractions that sum to 1")


class Item(Struct, frozen=True):
    """A datapoint to be, as far as its split is concerned. ``near`` are content keys of what it is a near copy of."""

    content_key: str
    episode_id: UUID | None = None
    near: tuple[str, ...] = ()


class Place(Struct, frozen=True):
    """Where a datapoint belongs; never changes once it is stored."""

    group: str
    split: Split


class Known(Struct, frozen=True):
    """A stored datapoint, as far as the places of others are concerned."""

    content_key: str
    episode_id: UUID | None
    place: Place


def content_key(input_: Input) -> str:
    """A digest that near copies share: 32 hex digits.

    All text counts, with its role, after Unicode NFKC and case folding; runs of punctuation, white space and
    control characters count as one space. Digits and symbols stay; the random ids of tool calls do not. The output
    does not count: the same question with another answer must not be learnt from in one split and judged in another.
    """
    turns = [("system", normalised(words_of(input_.system)))]
    turns += [(message.role, normalised(words_of(message.content))) for message in input_.messages]
    return blake2b(json.encode(turns), digest_size=16).hexdigest()


def split_of(group: str, shares: Shares, key: str) -> Split:
    """The split of a group. It depends on nothing else; another ``key`` gives another, independent assignment."""
    secret = blake2b(key.encode()).digest()  # BLAKE2b takes keys of at most 64 bytes; this makes one of any text
    digest = blake2b(group.encode(), digest_size=8, key=secret).digest()
    point = (int.from_bytes(digest, "big") >> 11) / 2**53  # uniform in [0, 1): all that a float can hold exactly
    parts = [(split, getattr(shares, split)) for split in SPLITS if getattr(shares, split) > 0]
    end = 0.0
    for split, part in parts[:-1]:
        end += part
        if point < end:
            return split
    return parts[-1][0]  # not by a sum: 0.1 + 0.2 + 0.7 is a little less than 1


def assign(items: Sequence[Item], known: Iterable[Known], shares: Shares, key: str) -> list[Place]:
    """The place of every item, in order. The outcome does not depend on the order of ``items`` or ``known``.

    Items that share a content key or an episode, or are near copies, directly or through other items, form one group.
    A group that is so tied to a stored datapoint goes to its place; one that could go to several goes where the least
    is learnt from it: test before validation before train. ``known`` has to hold every stored datapoint that shares a
    content key or an episode with an item, or is a near copy of one.
    """
    links = _Links()
    for item in items:
        links.join(item.content_key, item.episode_id)
        for near in item.near:
            links.join(item.content_key, near)
    places: dict[_Node, Place] = {}
    for each in known:
        # The datapoint that gave its group the name may be retired; its near copies still belong there.
        for node in (each.content_key, each.episode_id, each.place.group):
            if node is not None and node in links:
                root = links.root(node)
                places[root] = min(each.place, places.get(root, each.place), key=_merge_rank)
    names: dict[_Node, str] = {}
    for item in items:
        root = links.root(item.content_key)
        names[root] = min(item.content_key, names.get(root, item.content_key))
    for root, name in names.items():
        if root not in places:
            places[root] = Place(name, split_of(name, shares, key))
    return [places[links.root(item.content_key)] for item in items]


_Node: TypeAlias = str | UUID


def _merge_rank(place: Place) -> tuple[int, str]:
    return _MERGE_ORDER.index(place.split), place.group


class _Links:
    """Union-find over content keys and episodes, with path halving."""

    def __init__(self) -> None:
        self._parent: dict[_Node, _Node] = {}

    def __contains__(self, node: _Node) -> bool:
        return node in self._parent

    def root(self, node: _Node) -> _Node:
        while (parent := self._parent[node]) != node:
            self._parent[node] = node = self._parent[parent]
        return node

    def join(self, one: _Node, other: _Node | None) -> None:
        self._parent.setdefault(one, one)
        if other is not None:
            self._parent.setdefault(other, other)
            self._parent[self.root(one)] = self.root(other)


def normalised(words: Iterable[str]) -> str:
    """The text of these words, in which near copies are equal: see ``content_key``."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", " ".join(words)).casefold())
    return " ".join("".join(" " if unicodedata.category(char)[0] in "PZC" else char for char in folded).split())


def words_of(content: str | dict[str, Any] | Sequence[InputBlock] | None) -> Iterator[str]:
    """All text of a message's blocks, or of a system prompt; the members of an object in the order of their keys."""
    return _words(content) if content is None or isinstance(content, (str, dict)) else _block_words(content)


def file_key(file: File) -> str:
    """What tells a file from others: its path, which is made of its bytes, or else where it is, or the bytes."""
    return file.storage_path.path if file.storage_path is not None else file.source_url or file.data or ""


def _block_words(blocks: Iterable[InputBlock]) -> Iterator[str]:
    for block in blocks:
        match block:
            case Text(text=text) | RawText(value=text):
                yield text
            case Template(arguments=arguments):
                yield from _words(arguments)
            case ToolCall(name=name, arguments=text) | ToolResult(name=name, result=text):
                yield from (name, text)
            case Thought(text=thought):
                yield thought or ""
            case File():
                yield file_key(block)
            case unknown:
                yield from _words(unknown.data)


def _words(value: Any) -> Iterator[str]:
    """All text in a JSON value; the members of an object in the order of their keys."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name in sorted(cast("dict[str, Any]", value)):
            yield name
            yield from _words(value[name])
    elif isinstance(value, list):
        for each in value:
            yield from _words(each)
    elif value is not None:
        yield json.encode(value).decode()
