"""What every store promises of feedback."""
# ruff: noqa: D102 - the name of a test says what it promises

from __future__ import annotations

from ..records import Feedback, Record
from ..storage import Store
from . import rows
from .rows import uid
from .store_promises import StorePromises, shuffled


class FeedbackPromises(StorePromises):
    """Feedback of all kinds on one target, demonstrations, judgements by humans."""

    async def test_lists_feedback_of_all_kinds_newest_first(self, store: Store) -> None:
        given: list[Record] = [
            rows.boolean(1, uid(50)),
            rows.demonstration(2, uid(50), "better"),
            rows.number(3, uid(50), 4.5),
            rows.comment(4, uid(50), "thanks"),
            rows.boolean(5, uid(50), value=False),
        ]
        await store.write([*shuffled(given), rows.boolean(6, uid(51))])
        assert await store.feedback(uid(50)) == given[::-1]
        assert await store.feedback(uid(50), limit=2) == given[:2:-1]
        assert await store.feedback(uid(50), limit=None) == given[::-1]
        assert await store.feedback(uid(50), limit=0) == []
        assert await store.feedback(uid(99)) == []

    async def test_pages_through_feedback_of_all_kinds(self, store: Store) -> None:
        given: list[Feedback] = [
            rows.boolean(1, uid(50)),
            rows.comment(2, uid(50), "a"),
            rows.number(3, uid(50), 1.0),
            rows.boolean(4, uid(50)),
            rows.demonstration(5, uid(50), "b"),
            rows.comment(6, uid(50), "c"),
        ]
        await store.write([*shuffled(given), rows.boolean(7, uid(51))])
        assert await store.feedback(uid(50), before=uid(4)) == given[2::-1]
        assert await store.feedback(uid(50), before=uid(4), limit=2) == given[2:0:-1]
        assert await store.feedback(uid(50), before=uid(1)) == []
        assert await store.feedback(uid(50), after=uid(3)) == given[:2:-1]
        assert await store.feedback(uid(50), after=uid(1), limit=2) == [given[2], given[1]]
        assert await store.feedback(uid(50), after=uid(1), limit=None) == given[:0:-1]
        assert await store.feedback(uid(50), after=uid(6)) == []
        assert await store.feedback(uid(50), after=uid(0), limit=0) == []

    async def test_gives_a_hundred_rows_of_feedback_unless_told_otherwise(self, store: Store) -> None:
        given = [rows.boolean(n, uid(500)) for n in range(120)]
        await store.write(given)
        assert await store.feedback(uid(500)) == given[:19:-1]
        assert await store.feedback(uid(500), limit=None) == given[::-1]

    async def test_takes_the_latest_demonstration(self, store: Store) -> None:
        first, second, other = (
            rows.demonstration(1, uid(50), "first"),
            rows.demonstration(2, uid(50), "second"),
            rows.demonstration(3, uid(51), "other"),
        )
        await store.write([second, other, first])
        assert await store.demonstrations([uid(50), uid(51), uid(99)]) == {uid(50): second, uid(51): other}
        assert await store.demonstrations([]) == {}

    async def test_takes_the_latest_judgement_of_exactly_this_output(self, store: Store) -> None:
        judged = [
            rows.human_feedback(1, uid(7)),
            rows.human_feedback(3, uid(7), value=0.5),
            rows.human_feedback(2, uid(7), value=False),
            rows.human_feedback(4, uid(7), output="[] "),
            rows.human_feedback(5, uid(7), metric_name="Good"),
            rows.human_feedback(6, uid(8)),
        ]
        await store.write(judged)
        assert await store.human_feedback("good", uid(7), "[]") == judged[1]
        assert await store.human_feedback("good", uid(7), "[] ") == judged[3]
        assert await store.human_feedback("Good", uid(7), "[]") == judged[4]
        assert await store.human_feedback("good", uid(8), "[]") == judged[5]
        for metric_name, datapoint_id, output in (("GOOD", uid(7), "[]"), ("good", uid(9), "[]"), ("good", uid(7), "")):
            assert await store.human_feedback(metric_name, datapoint_id, output) is None

    async def test_judgements_of_humans_are_not_feedback_on_an_inference(self, store: Store) -> None:
        await store.write([rows.human_feedback(1, uid(7), evaluator_inference_id=uid(8))])
        assert await store.feedback(uid(7)) == await store.feedback(uid(8)) == []
