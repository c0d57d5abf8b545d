"""Finds the place of new datapoints: what stored ones they are tied to, by content, by episode or as near copies."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from itertools import chain
from typing import TypeVar
from uuid import UUID

from anyio import to_thread
from msgspec import Struct

from .contracts import DatapointQuery, Store
from .near import Sketch, candidates, sketch_of, verified
from .records import Datapoint
from .splits import Item, Known, Place, Shares, assign, content_key
from .types import Input

T = TypeVar("T")

_PAGE = 500
_CANDIDATES = 1000  # per page of keys: where boilerplate gives everything the same keys, the latest have to do
_CLOSEST = 16  # stored datapoints that are held against each newcomer: those that share most keys with it
_BACKGROUND = 40  # inputs of a function from which to learn what they all have in common
_REMEMBERED = 128  # sketches of stored datapoints; of a megabyte of text one takes a second


class Newcomer(Struct, frozen=True):
    """A datapoint to be."""

    function_name: str
    input: Input
    episode_id: UUID | None = None


class Copied(Struct, frozen=True):
    """What a newcomer is a (near) copy of: a stored datapoint, or an earlier newcomer by its position."""

    of: Datapoint | int
    similarity: float


class Placed(Struct, frozen=True):
    """Where a newcomer belongs, the keys that say so, and the closest of its copies, if there are any."""

    place: Place
    content_key: str
    near_keys: tuple[str, ...]
    copied: Copied | None


class Placing:
    """Places newcomers by the datapoints of all datasets, one call at a time: copies have one split everywhere."""

    def __init__(self, shares: Shares, key: str) -> None:
        self._shares = shares
        self._key = key
        self._remembered: dict[UUID, Sketch] = {}

    async def place(
        self, store: Store, newcomers: Sequence[Newcomer], *, without: Collection[UUID] = ()
    ) -> list[Placed]:
        """Where each belongs, in order. Stored datapoints ``without`` play no part."""
        if not newcomers:
            return []
        keys, sketches = await to_thread.run_sync(_read, [each.input for each in newcomers])
        episodes = {each.episode_id for each in newcomers if each.episode_id is not None}
        tied = await _tied(store, keys, episodes)
        alike = await _alike(store, sketches)
        stored = [each for each in (tied | alike).values() if each.id not in without]
        nears = await self._nears(store, newcomers, sketches, [each for each in stored if each.id in alike])
        items = [
            Item(key, each.episode_id, tuple(_key_of(near.of, keys) for near in nears[index]))
            for index, (key, each) in enumerate(zip(keys, newcomers, strict=True))
        ]
        known = [Known(each.content_key, each.episode_id, Place(each.group, each.split)) for each in stored]
        places = assign(items, known, self._shares, self._key)
        copies = _copies(keys, stored)
        return [
            Placed(place, key, sketch.keys, next(iter([*copies[index], *nears[index]]), None))
            for index, (place, key, sketch) in enumerate(zip(places, keys, sketches, strict=True))
        ]

    async def _nears(
        self, store: Store, newcomers: Sequence[Newcomer], sketches: Sequence[Sketch], alike: Sequence[Datapoint]
    ) -> dict[int, list[Copied]]:
        """The near copies of each newcomer, by its position; closest first."""
        every, known = [*await to_thread.run_sync(self._sketches, alike), *sketches], len(alike)
        compared = await to_thread.run_sync(candidates, every, known)
        found: dict[int, list[Copied]] = defaultdict(list)
        if not compared:
            return found
        names = {newcomers[one - known].function_name for one, _ in compared}
        others = await to_thread.run_sync(
            self._sketches, [each for name in names for each in await _latest(store, name)]
        )
        for near in await to_thread.run_sync(verified, every, compared, others):
            of: Datapoint | int = alike[near.other] if near.other < known else near.other - known
            found[near.one - known].append(Copied(of, round(near.similarity, 4)))
        return found

    def _sketches(self, datapoints: Sequence[Datapoint]) -> list[Sketch]:
        found = []
        for each in datapoints:
            sketch = self._remembered.pop(each.id, None) or sketch_of(each.input)
            self._remembered[each.id] = sketch
            found.append(sketch)
            if len(self._remembered) > _REMEMBERED:
                del self._remembered[next(iter(self._remembered))]  # the one that was of use least lately
        return found


def _read(inputs: Sequence[Input]) -> tuple[list[str], list[Sketch]]:
    return [content_key(input_) for input_ in inputs], [sketch_of(input_) for input_ in inputs]


def _copies(keys: Sequence[str], stored: Iterable[Datapoint]) -> list[list[Copied]]:
    """What has the very same content as each newcomer: at most one."""
    first: dict[str, Datapoint | int] = {}
    for each in stored:
        first.setdefault(each.content_key, each)
    found: list[list[Copied]] = []
    for index, key in enumerate(keys):
        of = first.setdefault(key, index)
        found.append([] if of == index else [Copied(of, 1.0)])
    return found


async def _tied(store: Store, keys: Iterable[str], episodes: Iterable[UUID]) -> dict[UUID, Datapoint]:
    found: dict[UUID, Datapoint] = {}
    for page in _pages(sorted(set(keys))):
        query = DatapointQuery(content_keys=tuple(page), limit=None)
        found |= {each.id: each for each in await store.datapoints(query)}
    for some in _pages(sorted(episodes)):
        query = DatapointQuery(episode_ids=tuple(some), limit=None)
        found |= {each.id: each for each in await store.datapoints(query)}
    return found


async def _alike(store: Store, sketches: Sequence[Sketch]) -> dict[UUID, Datapoint]:
    """Of each newcomer the stored datapoints that share most keys with it."""
    every: dict[UUID, Datapoint] = {}
    for page in _pages(sorted(set(chain.from_iterable(sketch.keys for sketch in sketches)))):
        query = DatapointQuery(near_keys=tuple(page), limit=_CANDIDATES)
        every |= {each.id: each for each in await store.datapoints(query)}
    by_key: dict[str, list[UUID]] = defaultdict(list)
    for each in every.values():
        for key in each.near_keys:
            by_key[key].append(each.id)
    closest: set[UUID] = set()
    for sketch in sketches:
        shared = Counter(id_ for key in sketch.keys for id_ in by_key.get(key, ()))
        closest |= {id_ for id_, _ in shared.most_common(_CLOSEST)}
    return {id_: each for id_, each in every.items() if id_ in closest}


async def _latest(store: Store, function_name: str) -> list[Datapoint]:
    return await store.datapoints(DatapointQuery(function_name=function_name, limit=_BACKGROUND))


def _key_of(of: Datapoint | int, keys: Sequence[str]) -> str:
    return of.content_key if isinstance(of, Datapoint) else keys[of]


def _pages(values: Sequence[T]) -> list[Sequence[T]]:
    return [values[start : start + _PAGE] for start in range(0, len(values), _PAGE)]
