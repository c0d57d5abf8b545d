"""What every store promises of filters: conditions with three values, the same for every store."""
# ruff: noqa: D102 - the name of a test says what it promises

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone

from ..filters import And, BooleanMetric, Comparison, Dated, Demonstrated, Filter, FloatMetric, Not, Or, Tagged
from ..queries import DatapointQuery, EpisodeQuery, InferenceQuery
from ..records import Record
from ..storage import Store
from . import rows
from .rows import TEXT, at, boolean, datapoint, inference, number, uid
from .store_promises import StorePromises, answers, ids_of, numbers_of, shuffled

INJECTED = "x' OR '1'='1"

# 1 and 2 share an episode, 3 and 4 have their own, 5 has an episode's values and none of its own.
WRITTEN: tuple[Record, ...] = (
    inference(1, episode_id=uid(90), tags={"a": "1", TEXT: TEXT}),
    inference(2, episode_id=uid(90), tags={"a": "2"}),
    inference(3, episode_id=uid(91), tags={"a": "", "b": "1"}),
    inference(4, episode_id=uid(92), function_name="g"),
    inference(5, episode_id=uid(93), tags={"A": "1", "a.b": "1", "": ""}),
    # Several values: the greatest id is the latest, whatever the order of writing.
    boolean(13, uid(1), value=False),
    boolean(11, uid(1)),
    boolean(12, uid(2)),
    boolean(10, uid(2), value=False),
    boolean(14, uid(3), value=False),
    boolean(15, uid(4), metric_name="other"),
    number(20, uid(1), 0.1),
    number(22, uid(1), -2.5),
    number(21, uid(2), 4.0),
    number(23, uid(3), 4.0, metric_name=TEXT),
    # Of episodes.
    boolean(30, uid(90)),
    boolean(31, uid(93), value=False),
    number(32, uid(90), 3.0),
    number(33, uid(93), 4.0),
    # A boolean and a float may share a name.
    number(40, uid(3), 1.0, metric_name="good"),
    # Of nobody, and of a feedback.
    boolean(50, uid(99)),
    number(51, uid(20), 4.0),
    rows.demonstration(60, uid(2), "better"),
    rows.demonstration(61, uid(2), "best"),
    rows.demonstration(62, uid(99), "lost"),
    rows.comment(63, uid(1), "good"),
)


def stars(comparison: Comparison, value: float, level: str = "inference") -> Filter:
    """How the float metric compares."""
    return FloatMetric("stars", "episode" if level == "episode" else "inference", comparison, value)


GOOD = BooleanMetric("good", "inference", True)
BAD = BooleanMetric("good", "inference", False)
NOTHING = FloatMetric("unknown", "inference", ">", 0.0)  # never known
A_IS_1 = Tagged("a", "=", "1")
# Instants are those of ids: whole milliseconds, where START has microseconds.
THIRD = datetime.fromtimestamp((uid(3).int >> 80) / 1000, UTC)

FILTERS: Mapping[str, tuple[Filter, list[int]]] = {
    "the latest value is true": (GOOD, [2]),
    "the latest value is false": (BAD, [3, 1]),
    "not true is false, where it is known": (Not(GOOD), [3, 1]),
    "not false is true, where it is known": (Not(BAD), [2]),
    "not not": (Not(Not(GOOD)), [2]),
    "true or false is known": (Or((GOOD, BAD)), [3, 2, 1]),
    "neither true nor false is nobody": (Not(Or((GOOD, BAD))), []),
    "of the episode": (BooleanMetric("good", "episode", True), [2, 1]),
    "of the episode, false": (BooleanMetric("good", "episode", False), [5]),
    "not of the episode": (Not(BooleanMetric("good", "episode", True)), [5]),
    "a metric that nobody has": (BooleanMetric("unknown", "inference", True), []),
    "not a metric that nobody has": (Not(BooleanMetric("unknown", "inference", True)), []),
    "names with case": (BooleanMetric("Good", "inference", True), []),
    "names are not patterns": (BooleanMetric("g%", "inference", True), []),
    "names are not statements": (BooleanMetric(INJECTED, "inference", True), []),
    "greater": (stars(">", -2.5), [2]),
    "greater or equal": (stars(">=", -2.5), [2, 1]),
    "less": (stars("<", 4.0), [1]),
    "less or equal": (stars("<=", 4.0), [2, 1]),
    "equal": (stars("=", -2.5), [1]),
    "equal to what was replaced": (stars("=", 0.1), []),
    "unequal": (stars("!=", 4.0), [1]),
    "not unequal": (Not(stars("!=", 4.0)), [2]),
    "not greater": (Not(stars(">", 0.0)), [1]),
    "the episode's number": (stars(">=", 3.0, "episode"), [5, 2, 1]),
    "the episode's other number": (stars("=", 4.0, "episode"), [5]),
    "a number by a name with case and quotes": (FloatMetric(TEXT, "inference", "=", 4.0), [3]),
    "a number of a name that is a boolean's too": (FloatMetric("good", "inference", "=", 1.0), [3]),
    "a boolean metric is not a number": (FloatMetric("other", "inference", "=", 1.0), []),
    "a great number": (stars("<", 1.7976931348623157e308), [2, 1]),
    "a small number": (stars(">", 5e-324), [2]),
    "demonstrated": (Demonstrated(True), [2]),
    "not demonstrated": (Demonstrated(False), [5, 4, 3, 1]),
    "not not demonstrated": (Not(Demonstrated(False)), [2]),
    "a tag": (A_IS_1, [1]),
    "an empty tag": (Tagged("a", "=", ""), [3]),
    "an empty key": (Tagged("", "=", ""), [5]),
    "another tag": (Tagged("a", "!=", "1"), [3, 2]),
    "not a tag": (Not(A_IS_1), [3, 2]),
    "not another tag": (Not(Tagged("a", "!=", "1")), [1]),
    "a tag that nobody has": (Tagged("c", "!=", "1"), []),
    "a key with case": (Tagged("A", "=", "1"), [5]),
    "a key with a dot": (Tagged("a.b", "=", "1"), [5]),
    "a key with everything": (Tagged(TEXT, "=", TEXT), [1]),
    "a key that is a statement": (Tagged(INJECTED, "=", INJECTED), []),
    "a value that is a statement": (Tagged("a", "!=", INJECTED), [3, 2, 1]),
    "after": (Dated(">", THIRD), [5, 4]),
    "from": (Dated(">=", THIRD), [5, 4, 3]),
    "before": (Dated("<", THIRD), [2, 1]),
    "until": (Dated("<=", THIRD), [3, 2, 1]),
    "at": (Dated("=", THIRD), [3]),
    "not at": (Dated("!=", THIRD), [5, 4, 2, 1]),
    "not after": (Not(Dated(">", THIRD)), [3, 2, 1]),
    "within a millisecond": (Dated("=", THIRD + timedelta(microseconds=1)), []),
    "after a part of a millisecond": (Dated(">", THIRD - timedelta(microseconds=1)), [5, 4, 3]),
    "in another zone": (Dated(">=", THIRD.astimezone(timezone(timedelta(hours=-9)))), [5, 4, 3]),
    "all of none": (And(()), [5, 4, 3, 2, 1]),
    "one of none": (Or(()), []),
    "not all of none": (Not(And(())), []),
    "not one of none": (Not(Or(())), [5, 4, 3, 2, 1]),
    "both": (And((GOOD, stars(">", 0.0))), [2]),
    "either": (Or((GOOD, stars("<", 0.0))), [2, 1]),
    "unknown and true is unknown": (And((NOTHING, Demonstrated(False))), []),
    "not (unknown and true) is unknown": (Not(And((NOTHING, Demonstrated(False)))), [2]),
    "unknown and false is false": (Not(And((NOTHING, Demonstrated(True)))), [5, 4, 3, 1]),
    "unknown or true is true": (Or((NOTHING, Demonstrated(True))), [2]),
    "unknown or false is unknown": (Or((NOTHING, Or(()))), []),
    "not (unknown or false) is unknown": (Not(Or((NOTHING, Or(())))), []),
    "not (unknown or true) is false": (Not(Or((NOTHING, And(())))), []),
    "unknown and unknown": (Not(And((NOTHING, NOTHING))), []),
    "a mixture": (
        And((Or((GOOD, A_IS_1, Not(stars("<", 0.0)))), Not(And((Tagged("a", "=", "2"), Demonstrated(False)))))),
        [2, 1],
    ),
    "both levels": (And((Not(GOOD), BooleanMetric("good", "episode", True))), [1]),
}

POINTS = (
    datapoint(1, updated_at=at(9), tags={"a": "1"}),
    datapoint(2, tags={"a": "2"}),
    datapoint(3, tags={TEXT: TEXT}),
    datapoint(4, updated_at=at(3), dataset_name="e"),
    datapoint(5, staled_at=at(6), tags={"a": "1"}),
)
POINT_FILTERS: Mapping[str, tuple[Filter, list[int]]] = {
    "a tag": (A_IS_1, [1]),
    "not a tag": (Not(A_IS_1), [2]),
    "another tag": (Tagged("a", "!=", "1"), [2]),
    "a key with everything": (Tagged(TEXT, "=", TEXT), [3]),
    "updated at": (Dated("=", at(3)), [4, 3]),
    "updated after": (Dated(">", at(3)), [1]),
    "updated not after": (Not(Dated(">", at(3))), [4, 3, 2]),
    "updated within a millisecond": (Dated(">", at(3) - timedelta(microseconds=1)), [1, 4, 3]),
    "updated just before": (Dated("<", at(3) + timedelta(microseconds=1)), [4, 3, 2]),
    "in another zone": (Dated(">", at(3).astimezone(timezone(timedelta(hours=5, minutes=45)))), [1]),
    "both": (And((A_IS_1, Dated(">", at(0)))), [1]),
    "either": (Or((A_IS_1, Dated("<", at(3)))), [1, 2]),
    "all of none": (And(()), [1, 4, 3, 2]),
    "one of none": (Or(()), []),
    "neither": (Not(Or((A_IS_1, Dated("<", at(3))))), []),
}


class FilterPromises(StorePromises):
    """Filters of inferences, episodes and datapoints."""

    async def test_selects_inferences_for_which_a_filter_is_true(self, store: Store) -> None:
        async def selected(case: tuple[Filter, list[int]]) -> tuple[list[int], int]:
            query = InferenceQuery(filters=case[0])
            return numbers_of(await store.inferences(query)), await store.count_inferences(query)

        await store.write(shuffled(WRITTEN))
        expected = {name: (numbers, len(numbers)) for name, (_, numbers) in FILTERS.items()}
        assert await answers(FILTERS, selected) == expected

    async def test_selects_datapoints_for_which_a_filter_is_true(self, store: Store) -> None:
        async def selected(case: tuple[Filter, list[int]]) -> tuple[list[int], int]:
            query = DatapointQuery(filters=case[0])
            return numbers_of(await store.datapoints(query)), await store.count_datapoints(query)

        await store.write(shuffled(POINTS))
        expected = {name: (numbers, len(numbers)) for name, (_, numbers) in POINT_FILTERS.items()}
        assert await answers(POINT_FILTERS, selected) == expected

    async def test_selects_by_everything_at_once(self, store: Store) -> None:
        await store.write(WRITTEN)
        query = InferenceQuery(
            function_name="f",
            variant_name="v",
            episode_ids=(uid(90), uid(91)),
            filters=Or((GOOD, BAD)),
            before=uid(3),
            limit=1,
        )
        assert ids_of(await store.inferences(query)) == [uid(2)]
        assert await store.count_inferences(query) == 3

    async def test_selects_episodes_with_an_inference_for_which_a_filter_is_true(self, store: Store) -> None:
        await store.write(WRITTEN)
        found = await store.episodes(EpisodeQuery(filters=GOOD))
        assert [(each.episode_id, each.count) for each in found] == [(uid(90), 2)]
        assert await store.episodes(EpisodeQuery(filters=NOTHING)) == []
        found = await store.episodes(EpisodeQuery(filters=Demonstrated(False), function_name="g"))
        assert [each.episode_id for each in found] == [uid(92)]

    async def test_takes_a_later_value_into_account_at_once(self, store: Store) -> None:
        await store.write([inference(1), boolean(2, uid(1))])
        assert await store.count_inferences(InferenceQuery(filters=GOOD)) == 1
        await store.write([boolean(4, uid(1), value=False)])
        await store.write([boolean(3, uid(1))])  # arrives late, and is older
        assert await store.count_inferences(InferenceQuery(filters=GOOD)) == 0
        await store.write([boolean(5, uid(1))])
        assert await store.count_inferences(InferenceQuery(filters=GOOD)) == 1

    async def test_bears_a_filter_of_many_levels_and_many_conditions(self, store: Store) -> None:
        await store.write(WRITTEN)
        deep: Filter = GOOD
        for _ in range(31):
            deep = Not(And((deep, And(()))))
        assert numbers_of(await store.inferences(InferenceQuery(filters=deep))) == [3, 1]
        wide = Or((*(Tagged("a", "=", str(n)) for n in range(2, 100)), *(stars("=", n / 8) for n in range(100))))
        assert ids_of(await store.inferences(InferenceQuery(filters=wide))) == [uid(2)]
