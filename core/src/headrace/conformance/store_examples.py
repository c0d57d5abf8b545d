"""What every store promises of examples: the nearest ones, by cosine."""
# ruff: noqa: D102 - the name of a test says what it promises

from __future__ import annotations

import pytest

from ..storage import Store
from .rows import example, uid
from .store_promises import StorePromises, ids_of, shuffled


class ExamplePromises(StorePromises):
    """The nearest examples of a variant."""

    async def test_finds_the_nearest_examples_by_cosine(self, store: Store) -> None:
        same, near, across, opposite = (
            example(1, (2.0, 0.0)),
            example(2, (1.0, 1.0)),
            example(3, (0.0, 5.0)),
            example(4, (-1.0, 0.0)),
        )
        await store.write([opposite, near, across, same])
        found = await store.examples("f", "v", (0.5, 0.0), 10)
        assert [each for each, _ in found] == [same, near, across, opposite]
        assert [distance for _, distance in found] == pytest.approx([0, 1 - 0.5**0.5, 1, 2], abs=1e-5)
        assert all(0 <= distance <= 2 for _, distance in found)
        assert await store.examples("f", "v", (0.5, 0.0), 2) == found[:2]
        assert await store.examples("f", "v", (0.5, 0.0), 0) == []

    async def test_puts_the_smaller_id_first_where_distances_are_equal(self, store: Store) -> None:
        written = [example(n, (0.1 * (n + 1), 0.7 * (n + 1))) for n in range(9)]
        await store.write(shuffled(written))
        assert ids_of(each for each, _ in await store.examples("f", "v", (1.0, 0.3), 5)) == ids_of(written[:5])

    async def test_puts_a_vector_without_direction_at_distance_one(self, store: Store) -> None:
        await store.write([example(1, (0.0, 0.0)), example(2, (1.0, 0.0))])
        assert [distance for _, distance in await store.examples("f", "v", (1.0, 0.0), 2)] == [0, 1]
        assert [distance for _, distance in await store.examples("f", "v", (0.0, 0.0), 2)] == [1, 1]

    async def test_leaves_out_examples_of_another_dimension(self, store: Store) -> None:
        # The embedding model of a variant was changed; the old vectors say nothing about the new ones.
        await store.write([example(1, (1.0, 0.0)), example(2, (1.0, 0.0, 0.0))])
        assert ids_of(each for each, _ in await store.examples("f", "v", (1.0, 0.0, 0.0), 5)) == [uid(2)]
        assert await store.count_examples("f", "v") == 2

    async def test_finds_examples_of_that_variant_only(self, store: Store) -> None:
        await store.write(
            [example(1, (1.0,)), example(2, (1.0,), variant_name="w"), example(3, (1.0,), function_name="g")]
        )
        assert ids_of(each for each, _ in await store.examples("f", "w", (1.0,), 5)) == [uid(2)]
        assert [await store.count_examples(*of) for of in (("f", "v"), ("g", "v"), ("g", "w"))] == [1, 1, 0]

    async def test_finds_examples_written_after_the_last_search(self, store: Store) -> None:
        assert await store.examples("f", "v", (1.0, 0.0), 1) == []
        for n, embedding in enumerate([(-1.0, 0.0), (1.0, 1.0), (1.0, 0.0)]):
            await store.write([example(n, embedding)])
            assert ids_of(each for each, _ in await store.examples("f", "v", (1.0, 0.0), 1)) == [uid(n)]
