"""Every store gives the same answers of the same records: those of the memory store, which is the plainest."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from headrace import Store
from headrace.conformance.rows import START
from headrace.conformance.rows_history import History
from headrace.queries import DatasetSummary
from headrace.records import KINDS, Record
from headrace_memory import Memory
from headrace_memory import Settings as MemorySettings
from questions import Asked, Questions

pytest_plugins = ["backends"]
pytestmark = pytest.mark.anyio

SHOWN, LONGEST = 5, 2000
PART = 250
QUESTIONS = 400


@pytest.fixture
def anyio_backend() -> str:
    """One event loop is enough: what a store does on the other one, its conformance suite shows."""
    return "asyncio"


# -- comparing --------------------------------------------------------------------------------------------


async def answer(store: Store, asked: Asked) -> Any:
    """What the store says, in a form that compares; an error is an answer too."""
    try:
        found = await getattr(store, asked.method)(*asked.arguments, **asked.named)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if asked.method == "find":  # in no order
        return sorted(found, key=lambda record: type(record).__name__)
    if asked.method == "examples":  # nearly equal distances may come in either order
        return {str(example.id): distance for example, distance in found}
    return found


def agree(one: Any, other: Any) -> bool:
    """Equal, but for the last digits of sums."""
    if isinstance(one, Record):  # to the letter
        return type(one) is type(other) and msgspec.json.encode(one) == msgspec.json.encode(other)
    if isinstance(one, DatasetSummary) and isinstance(other, DatasetSummary):
        (*these, this), (*those, that) = msgspec.structs.astuple(one), msgspec.structs.astuple(other)
        return these == those and datetime.fromisoformat(this) == datetime.fromisoformat(that)
    if isinstance(one, msgspec.Struct):
        return type(one) is type(other) and agree(msgspec.structs.astuple(one), msgspec.structs.astuple(other))
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(agree, one, other))
    if isinstance(one, dict):
        return (
            isinstance(other, dict) and one.keys() == other.keys() and all(agree(one[key], other[key]) for key in one)
        )
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-5 if one <= 2 else 1e-9)
    return bool(one == other)


async def compare(memory: Store, store: Store, questions: Iterator[Asked]) -> list[str]:
    """Where the store differs from memory: the question and both answers."""
    differences: list[str] = []
    for asked in questions:
        expected, found = await answer(memory, asked), await answer(store, asked)
        if not agree(expected, found):
            differences.append(f"{shown(asked)}\n  memory: {shown(expected)}\n  store:  {shown(found)}")
    return differences


def told(differences: list[str]) -> str:
    """The first of them."""
    return "\n".join([f"{len(differences)} differences, of which the first:", *differences[:SHOWN]])


def shown(found: Any) -> str:
    """Short enough to read: rows by their ids."""
    if isinstance(found, list) and found and hasattr(found[0], "id"):
        found = f"{len(found)} rows: {[str(record.id) for record in found]}"
    return str(found)[:LONGEST]


async def write(history: History, *stores: Store) -> None:
    """In several parts: what one write brings, a later one may bring again or replace."""
    for store in stores:
        for first in range(0, len(history.records), PART):
            await store.write(history.records[first : first + PART])


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.soak)])
async def test_answers_as_memory_does(store: Store, seed: int) -> None:
    history = History(seed)
    async with Memory(MemorySettings()) as memory, store:
        await write(history, memory, store)
        differences = await compare(memory, store, Questions(history).ask(QUESTIONS))
    assert not differences, told(differences)


async def test_keeps_every_record_as_memory_does(store: Store) -> None:
    history = History(3)
    async with Memory(MemorySettings()) as memory, store:
        await write(history, memory, store)
        everything = (Asked("scan", (kind,), {"limit": 5000}) for kind in KINDS)
        differences = await compare(memory, store, everything)
    assert not differences, told(differences)


async def test_ends_what_is_old_as_memory_does(store: Store) -> None:
    history = History(4, size=200)
    differences: list[str] = []
    async with Memory(MemorySettings()) as memory, store:
        await write(history, memory, store)
        for days, what in enumerate(("data", "feedback", "data", "model_inferences", "batches", "inferences"), 6):
            cut = START + timedelta(days=days)
            differences += await compare(memory, store, iter([Asked("expire", (what, cut), {})] * 2))
            differences += await compare(memory, store, Questions(history).ask(40))
    assert not differences, told(differences)


async def test_questions_are_not_all_answered_with_nothing() -> None:
    """Else agreement would say little."""
    history = History(1)
    said: dict[str, int] = {}
    async with Memory(MemorySettings()) as memory:
        await write(history, memory)
        for asked in Questions(history).ask(750):
            found = await answer(memory, asked)
            assert not isinstance(found, str), found
            said[asked.method] = said.get(asked.method, 0) + bool(found)
    assert min(said.values()) >= 3, said
