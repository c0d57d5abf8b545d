"""What every store promises of inferences: the selection asked for, in the order asked for, page by page."""
# ruff: noqa: D102 - the name of a test says what it promises

from __future__ import annotations

from uuid import UUID

from msgspec import structs

from ..filters import ByRelevance, ByTime
from ..queries import EpisodeQuery, InferenceQuery
from ..records import InferenceRecord
from ..storage import Store
from . import rows
from .rows import inference, uid
from .store_promises import StorePromises, answers, ids_of, numbers_of, shuffled

INFERENCES = (
    inference(1, variant_name="v", tags={"a": "1", "b": "2"}),
    inference(2, variant_name="w", episode_id=uid(1), tags={"a": "1"}),
    inference(3, function_name="g", tags={"a": "2"}),
    inference(4, function_name="g", variant_name="w", episode_id=uid(3), function_type="json"),
    inference(5, episode_id=uid(3)),
)
INFERENCE_QUERIES = {
    "all": (InferenceQuery(), [5, 4, 3, 2, 1]),
    "limit": (InferenceQuery(limit=2), [5, 4]),
    "limit of none": (InferenceQuery(limit=0), []),
    "offset": (InferenceQuery(limit=2, offset=3), [2, 1]),
    "offset without limit": (InferenceQuery(limit=None, offset=4), [1]),
    "offset past the end": (InferenceQuery(offset=5), []),
    "cursor": (InferenceQuery(before=uid(3)), [2, 1]),
    "cursor and limit": (InferenceQuery(before=uid(3), limit=1), [2]),
    "cursor of nobody": (InferenceQuery(before=uid(99)), [5, 4, 3, 2, 1]),
    "cursor and no limit": (InferenceQuery(before=uid(3), limit=None), [2, 1]),
    "cursor and limit of none": (InferenceQuery(before=uid(3), limit=0), []),
    "the page after a cursor": (InferenceQuery(after=uid(1), limit=2), [3, 2]),
    "all after a cursor": (InferenceQuery(after=uid(2), limit=None), [5, 4, 3]),
    "after a cursor, limit of none": (InferenceQuery(after=uid(1), limit=0), []),
    "after the last": (InferenceQuery(after=uid(5)), []),
    "after a cursor of nobody": (InferenceQuery(after=uid(-9), limit=1), [1]),
    "after a cursor, of a function": (InferenceQuery(function_name="f", after=uid(1), limit=1), [2]),
    "before a cursor, of a function": (InferenceQuery(function_name="f", before=uid(5), limit=1), [2]),
    "ids": (InferenceQuery(ids=(uid(1), uid(4), uid(99), uid(1))), [4, 1]),
    "no ids": (InferenceQuery(ids=()), []),
    "function": (InferenceQuery(function_name="g"), [4, 3]),
    "variant": (InferenceQuery(variant_name="v"), [5, 3, 1]),
    "function and variant": (InferenceQuery(function_name="f", variant_name="v"), [5, 1]),
    "names are told apart by case": (InferenceQuery(function_name="F"), []),
    "names are not patterns": (InferenceQuery(function_name="%"), []),
    "episodes": (InferenceQuery(episode_ids=(uid(3), uid(1), uid(99))), [5, 4, 3, 2, 1]),
    "one episode": (InferenceQuery(episode_ids=(uid(3),)), [5, 4, 3]),
    "no episodes": (InferenceQuery(episode_ids=()), []),
    "tag": (InferenceQuery(tags={"a": "1"}), [2, 1]),
    "all of several tags": (InferenceQuery(tags={"a": "1", "b": "2"}), [1]),
    "tag that nobody has": (InferenceQuery(tags={"c": "1"}), []),
    "tag with another value": (InferenceQuery(tags={"a": "3"}), []),
    "tag of a function": (InferenceQuery(function_name="f", tags={"a": "1"}, limit=1), [2]),
    "oldest first": (InferenceQuery(order_by=(ByTime("ascending"),), limit=2), [1, 2]),
    "oldest first, from an offset": (InferenceQuery(order_by=(ByTime("ascending"),), limit=2, offset=3), [4, 5]),
    "newest first, said": (InferenceQuery(order_by=(ByTime(),), limit=2), [5, 4]),
    "a name that is a statement": (InferenceQuery(function_name="f' OR '1'='1"), []),
    "a tag that is a statement": (InferenceQuery(tags={"a' OR '1'='1": "1' OR '1'='1"}), []),
    "everything at once": (
        InferenceQuery(ids=(uid(1), uid(2)), function_name="f", tags={"a": "1"}, before=uid(2), limit=5),
        [1],
    ),
}


class InferencePromises(StorePromises):
    """Selections and pages, and what belongs to one inference."""

    async def test_selects_inferences(self, store: Store) -> None:
        async def selected(case: tuple[InferenceQuery, list[int]]) -> list[int]:
            return numbers_of(await store.inferences(case[0]))

        async def counted(case: tuple[InferenceQuery, list[int]]) -> bool:
            everything = structs.replace(case[0], before=None, after=None, limit=None, offset=0, order_by=())
            return await store.count_inferences(case[0]) == len(await store.inferences(everything))

        await store.write(shuffled(INFERENCES))
        expected = {name: numbers for name, (_, numbers) in INFERENCE_QUERIES.items()}
        assert await answers(INFERENCE_QUERIES, selected) == expected
        assert await answers(INFERENCE_QUERIES, counted) == dict.fromkeys(expected, True)

    async def test_pages_through_inferences_without_a_gap(self, store: Store) -> None:
        await store.write([inference(n) for n in range(10)])
        found: list[UUID] = []
        for _ in range(4):
            found += ids_of(await store.inferences(InferenceQuery(limit=3, before=found[-1] if found else None)))
        assert found == [uid(n) for n in reversed(range(10))]

    async def test_pages_back_through_inferences_without_a_gap(self, store: Store) -> None:
        await store.write([inference(n) for n in range(10)])
        found: list[UUID] = []
        for _ in range(4):
            found[:0] = ids_of(await store.inferences(InferenceQuery(limit=3, after=found[0] if found else uid(-1))))
        assert found == [uid(n) for n in reversed(range(10))]

    async def test_counts_what_there_is_whatever_the_page(self, store: Store) -> None:
        await store.write(INFERENCES)
        for page in (InferenceQuery(limit=1), InferenceQuery(offset=4), InferenceQuery(before=uid(2), limit=0)):
            assert await store.count_inferences(page) == 5
        by_relevance = InferenceQuery(search="x", order_by=(ByRelevance(),), after=None)
        assert await store.count_inferences(by_relevance) == 0

    async def test_pages_through_ten_thousand_ids(self, store: Store) -> None:
        await store.write(INFERENCES)
        many = tuple(uid(n) for n in range(10_000))
        assert ids_of(await store.inferences(InferenceQuery(ids=many, limit=2))) == [uid(5), uid(4)]
        assert await store.count_inferences(InferenceQuery(episode_ids=many)) == 5
        assert await store.demonstrations(many) == {}

    async def test_lists_attempts_in_the_order_they_were_made(self, store: Store) -> None:
        attempts = [rows.model_inference(n, uid(1), error=None if n == 4 else "away") for n in range(2, 5)]
        await store.write([*shuffled(attempts), rows.model_inference(9, uid(2))])
        assert await store.model_inferences(uid(1)) == attempts
        assert await store.model_inferences(uid(99)) == []

    async def test_tells_ids_of_one_millisecond_apart(self, store: Store) -> None:
        # Both halves of an id count, and a database may compare them in an order of its own.
        first, same = uid(1), [UUID(int=uid(1).int + step) for step in (1, 2**32, 2**61)]
        every = [first, *same, uid(2)]
        await store.write([inference(0, id=id_, episode_id=id_) for id_ in shuffled(every)])
        assert ids_of(await store.inferences(InferenceQuery())) == every[::-1]
        assert ids_of(await store.inferences(InferenceQuery(before=same[1]))) == [same[0], first]
        assert ids_of(await store.inferences(InferenceQuery(after=same[0], limit=1))) == [same[1]]
        assert [each.episode_id for each in await store.episodes(EpisodeQuery())] == every[::-1]
        assert ids_of(await store.scan(InferenceRecord, after=str(first))) == every[1:]
