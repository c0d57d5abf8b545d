"""What the parts of ``StoreConformance`` share: the store under test, and how to compare what it gives back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import pytest

from ..contracts import Store
from .rows import uid
from .suite import Suite

A = TypeVar("A")
Q = TypeVar("Q")
T = TypeVar("T")


class StorePromises(Suite):
    """Base of the parts: says where the store comes from."""

    def build(self, tmp_path: Path) -> Store:
        """A store that is not yet open; built again with the same folder, it is the same store again."""
        raise NotImplementedError(f"{type(self).__name__}.build: return the store under test")

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[Store]:
        """A fresh store, open."""
        async with self.build(tmp_path) as store:
            yield store


def ids_of(records: Iterable[Any]) -> list[UUID]:
    """The ids, in the order of the records."""
    return [record.id for record in records]


def numbers_of(records: Iterable[Any]) -> list[int]:
    """The numbers that the ids were made from, in the order of the records."""
    return [(id_.int >> 80) - (uid(0).int >> 80) for id_ in ids_of(records)]


async def answers(cases: Mapping[str, Q], ask: Callable[[Q], Awaitable[A]]) -> dict[str, A | str]:
    """What is answered in each case, by its name. An error is an answer too: one must not hide the others."""
    found: dict[str, A | str] = {}
    for name, case in cases.items():
        try:
            found[name] = await ask(case)
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"
    return found


def shuffled(records: Sequence[T]) -> list[T]:
    """In another order, the same one each time."""
    return [*records[1::2], *records[::2]]
