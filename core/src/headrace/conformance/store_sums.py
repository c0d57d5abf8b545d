"""What every store promises of counts, sums and quantiles."""
# ruff: noqa: D102 - the name of a test says what it promises

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import pytest
from msgspec import structs

from ..queries import (
    CountQuery,
    InferenceCount,
    LatencyQuery,
    MetricCount,
    Period,
    ScoreQuery,
    UsageQuery,
    UsageSum,
    Window,
)
from ..records import InferenceRecord, ModelInferenceRecord, Record
from ..storage import Store
from . import rows
from .rows import boolean, inference, model_inference, number, uid
from .store_promises import StorePromises, answers, shuffled

# A Sunday; the week began on Monday, February 23, the month on a Sunday.
SUNDAY = datetime(2026, 3, 1, 23, 59, 59, 999000, tzinfo=UTC)
EDGES: Mapping[Window, tuple[datetime, datetime]] = {
    "minute": (datetime(2026, 3, 1, 23, 59, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)),
    "hour": (datetime(2026, 3, 1, 23, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)),
    "day": (datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)),
    "week": (datetime(2026, 2, 23, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)),
    "month": (datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)),
}


def id_at(instant: datetime, low: int = 0) -> UUID:
    """The UUIDv7 of an instant."""
    ms = (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    return UUID(int=ms << 80 | 7 << 76 | 0b10 << 62 | low)


def inference_at(instant: datetime, **changes: Any) -> InferenceRecord:
    """An inference of that instant, in an episode of its own."""
    return structs.replace(inference(0), id=id_at(instant), episode_id=id_at(instant), **changes)


def used(n: int, of: int, **changes: Any) -> ModelInferenceRecord:
    """A model inference of the inference ``of``."""
    return model_inference(n, uid(of), **changes)


USED: tuple[Record, ...] = (
    used(1, 1, input_tokens=10, output_tokens=1, cost=Decimal("0.1")),
    used(2, 1, input_tokens=20, cost=Decimal("0.2"), model_provider_name="q", cached=True),
    used(3, 2, input_tokens=2**53 + 1, output_tokens=5, provider_cache_read_input_tokens=7),
    used(4, 3, variant_name="w", model_name="n", provider_cache_write_input_tokens=0, cost=Decimal("1E-9")),
    used(5, 4, function_name="g", output_tokens=3, cost=Decimal("123456789.123456789")),
    used(6, 5, input_tokens=1000, cost=Decimal(1000), error="away"),
    used(7, 6, model_name="only failed", error=""),
)


def usage(owner: str, name: str, count: int, with_cost: int, *sums: Any) -> UsageSum:
    """All in one period."""
    known = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_write_input_tokens", "cost")
    return UsageSum(
        owner=owner,
        name=name,
        period_start=None,
        count=count,
        count_with_cost=with_cost,
        **dict(zip(known, sums, strict=True)),
    )


V, W = ("f", "v"), ("f", "w")
USAGES: Mapping[str, tuple[UsageQuery, list[UsageSum]]] = {
    "by variant": (
        UsageQuery(by="variant"),
        [
            usage(*V, 2, 2, 2**53 + 31, 6, 7, None, Decimal("0.3")),
            usage(*W, 1, 1, None, None, None, 0, Decimal("1E-9")),
            usage("g", "v", 1, 1, None, 3, None, None, Decimal("123456789.123456789")),
        ],
    ),
    "by model": (
        UsageQuery(by="model"),
        [
            usage("", "m", 4, 3, 2**53 + 31, 9, 7, None, Decimal("123456789.423456789")),
            usage("", "n", 1, 1, None, None, None, 0, Decimal("1E-9")),
        ],
    ),
    "by provider": (
        UsageQuery(by="provider"),
        [
            usage("p", "m", 3, 2, 2**53 + 11, 9, 7, None, Decimal("123456789.223456789")),
            usage("p", "n", 1, 1, None, None, None, 0, Decimal("1E-9")),
            usage("q", "m", 1, 1, 20, None, None, None, Decimal("0.2")),
        ],
    ),
    "of a function": (
        UsageQuery(by="variant", function_name="g"),
        [usage("g", "v", 1, 1, None, 3, None, None, Decimal("123456789.123456789"))],
    ),
    "of variants": (
        UsageQuery(by="variant", function_name="f", variant_names=("w", "x")),
        [usage(*W, 1, 1, None, None, None, 0, Decimal("1E-9"))],
    ),
    "of no variants": (UsageQuery(by="variant", variant_names=()), []),
    "of a model of a provider": (
        UsageQuery(by="provider", model_name="m", model_provider_name="q"),
        [usage("q", "m", 1, 1, 20, None, None, None, Decimal("0.2"))],
    ),
    "of a model that only failed": (UsageQuery(by="model", model_name="only failed"), []),
    "of a name that is a statement": (UsageQuery(by="model", model_name="m' OR '1'='1"), []),
}

SCORED: tuple[Record, ...] = (
    inference(1, episode_id=uid(90)),
    inference(2, episode_id=uid(90), variant_name="w"),
    inference(3, episode_id=uid(90)),
    inference(4, episode_id=uid(91)),
    inference(5, episode_id=uid(92), function_name="g"),
    inference(6, episode_id=uid(93)),
    number(10, uid(1), 100.0),
    number(11, uid(1), 1.0),
    number(12, uid(2), 5.0),
    number(13, uid(3), 2.0),
    number(14, uid(4), 6.0),
    number(15, uid(5), 7.0),
    number(16, uid(99), 8.0),
    boolean(20, uid(1)),
    boolean(21, uid(3), value=False),
    boolean(22, uid(4)),
    number(30, uid(90), 0.0),
    number(31, uid(90), 3.0),
    number(32, uid(91), 5.0),
    number(33, uid(92), 9.0),
    boolean(34, uid(91), value=False),
)
SCORES: Mapping[str, tuple[ScoreQuery, list[tuple[str, int, float, float]]]] = {
    "numbers": (
        ScoreQuery(function_name="f", metric_name="stars", metric_type="float", level="inference"),
        [("v", 3, 3.0, 14.0), ("w", 1, 5.0, 0.0)],
    ),
    "yes and no": (
        ScoreQuery(function_name="f", metric_name="good", metric_type="boolean", level="inference"),
        [("v", 3, 2 / 3, 2 / 3)],
    ),
    "numbers of episodes, once for each variant": (
        ScoreQuery(function_name="f", metric_name="stars", metric_type="float", level="episode"),
        [("v", 2, 4.0, 2.0), ("w", 1, 3.0, 0.0)],
    ),
    "yes and no of episodes": (
        ScoreQuery(function_name="f", metric_name="good", metric_type="boolean", level="episode"),
        [("v", 1, 0.0, 0.0)],
    ),
    "of some variants": (
        ScoreQuery(
            function_name="f", metric_name="stars", metric_type="float", level="inference", variant_names=("w", "x")
        ),
        [("w", 1, 5.0, 0.0)],
    ),
    "of no variants": (
        ScoreQuery(function_name="f", metric_name="stars", metric_type="float", level="inference", variant_names=()),
        [],
    ),
    "of another function": (
        ScoreQuery(function_name="g", metric_name="stars", metric_type="float", level="episode"),
        [("v", 1, 9.0, 0.0)],
    ),
    "of a metric of another type": (
        ScoreQuery(function_name="f", metric_name="stars", metric_type="boolean", level="inference"),
        [],
    ),
    "of nobody": (
        ScoreQuery(function_name="f' OR '1'='1", metric_name="stars", metric_type="float", level="inference"),
        [],
    ),
}


class SumPromises(StorePromises):
    """Counts, sums and quantiles, by names and periods."""

    # -- counts -------------------------------------------------------------------------------------------

    async def test_counts_inferences_by_function_and_variant(self, store: Store) -> None:
        await store.write(
            shuffled([inference(n, function_name="gffB"[n % 4], variant_name="vw"[n % 2]) for n in range(9)])
        )
        assert [
            (each.function_name, each.variant_name, each.period_start, each.count)
            for each in await store.inference_counts(CountQuery())
        ] == [("B", "w", None, 2), ("f", "v", None, 2), ("f", "w", None, 2), ("g", "v", None, 3)]
        counts = await store.inference_counts(CountQuery(function_name="g", variant_name="v"))
        assert [each.last_at for each in counts] == [datetime.fromtimestamp((uid(8).int >> 80) / 1000, UTC)]
        assert await store.inference_counts(CountQuery(function_name="g", variant_name="w")) == []
        assert [each.function_name for each in await store.inference_counts(CountQuery(variant_name="v"))] == ["f", "g"]

    @pytest.mark.parametrize("window", EDGES)
    async def test_cuts_time_into_periods(self, store: Store, window: Window) -> None:
        start, end = EDGES[window]
        ms = timedelta(milliseconds=1)
        written = [inference_at(at) for at in (start - ms, start, SUNDAY, end - ms, end)]
        await store.write(shuffled(written))
        found = await store.inference_counts(CountQuery(period=Period(window=window)))
        within = [each for each in found if each.period_start == start]
        assert [each.last_at for each in within] == [end - ms]
        assert within[0].count == len({start, SUNDAY, end - ms})
        assert found[0].last_at == start - ms
        assert found[-1] == InferenceCount(function_name="f", variant_name="v", period_start=end, count=1, last_at=end)
        assert [each.period_start for each in found] == sorted(each.period_start or end for each in found)

    async def test_counts_from_a_bound_until_before_another(self, store: Store) -> None:
        start, ms = datetime(2026, 3, 1, tzinfo=UTC), timedelta(milliseconds=1)
        await store.write([inference_at(start + n * ms) for n in range(10)])

        async def count(since: datetime | None, until: datetime | None) -> int:
            found = await store.inference_counts(CountQuery(period=Period(since=since, until=until)))
            return sum(each.count for each in found)

        assert await count(None, None) == 10
        assert await count(start + 2 * ms, None) == 8
        assert await count(start + 2 * ms, start + 5 * ms) == 3
        assert await count(None, start + 5 * ms) == 5
        assert await count(start + 2 * ms, start + 2 * ms) == 0
        assert await count(start + ms / 2, start + 3 * ms / 2) == 1
        elsewhere = (start + 2 * ms).astimezone(timezone(timedelta(hours=5, minutes=30)))
        assert await count(elsewhere, start + 5 * ms) == 3

    async def test_counts_the_feedback_of_a_function(self, store: Store) -> None:
        await store.write(SCORED)
        await store.write(
            [rows.comment(50, uid(1), "a"), rows.comment(51, uid(90), "b"), rows.comment(52, uid(5), "c")]
        )
        await store.write([rows.demonstration(60, uid(4), "d"), number(61, uid(1), 1.0, metric_name="good")])
        await store.write([rows.demonstration(62, uid(5), "e"), boolean(63, uid(2), metric_name="Good")])

        def counts(*of: tuple[str, Literal["boolean", "float", "comment", "demonstration"], int]) -> list[MetricCount]:
            return [MetricCount(metric_name=name, type=type_, count=count) for name, type_, count in of]

        assert await store.metric_counts("f") == counts(
            ("Good", "boolean", 1),
            ("comment", "comment", 2),
            ("demonstration", "demonstration", 1),
            ("good", "boolean", 4),
            ("good", "float", 1),
            ("stars", "float", 8),
        )
        assert await store.metric_counts("f", "w") == counts(
            ("Good", "boolean", 1), ("comment", "comment", 1), ("stars", "float", 3)
        )
        assert await store.metric_counts("g") == counts(
            ("comment", "comment", 1), ("demonstration", "demonstration", 1), ("stars", "float", 2)
        )
        assert await store.metric_counts("f", "x") == await store.metric_counts("f' OR '1'='1") == []

    async def test_counts_feedback_once_where_inference_and_episode_have_one_id(self, store: Store) -> None:
        await store.write([inference(1), boolean(2, uid(1)), boolean(3, uid(1)), rows.comment(4, uid(1), "")])
        assert [(each.metric_name, each.count) for each in await store.metric_counts("f")] == [
            ("comment", 1),
            ("good", 2),
        ]

    # -- usage --------------------------------------------------------------------------------------------

    async def test_sums_usage_up(self, store: Store) -> None:
        async def used_up(case: tuple[UsageQuery, list[UsageSum]]) -> list[UsageSum]:
            return await store.usage(case[0])

        await store.write(shuffled(USED))
        assert await answers(USAGES, used_up) == {name: expected for name, (_, expected) in USAGES.items()}

    async def test_sums_usage_up_by_periods(self, store: Store) -> None:
        start, end = EDGES["day"]
        ids = [id_at(start - timedelta(milliseconds=1)), id_at(start), id_at(start, 1), id_at(end)]
        await store.write([structs.replace(used(0, 1), id=id_, input_tokens=10**n) for n, id_ in enumerate(ids)])
        found = await store.usage(UsageQuery(by="variant", period=Period(window="day")))
        # One inference that went on beyond midnight counts on both days.
        assert [(each.period_start, each.count, each.input_tokens) for each in found] == [
            (start - timedelta(days=1), 1, 1),
            (start, 1, 110),
            (end, 1, 1000),
        ]
        found = await store.usage(UsageQuery(by="model", period=Period(window="week", since=start, until=end)))
        assert [(each.count, each.input_tokens) for each in found] == [(2, 110)]

    async def test_sums_costs_up_exactly(self, store: Store) -> None:
        costs = [Decimal(n).scaleb(-9) for n in range(1, 200)] + [Decimal("99999999.999999999")]
        await store.write([used(n, n, cost=cost) for n, cost in enumerate(costs)])
        found = await store.usage(UsageQuery(by="model"))
        assert [each.cost for each in found] == [Decimal("100000000.000019899")]

    # -- latencies ----------------------------------------------------------------------------------------

    async def test_sums_latencies_of_inferences_up(self, store: Store) -> None:
        times = (100, 200, 400, 800, None)
        await store.write([inference(n, processing_time_ms=ms) for n, ms in enumerate(times)])
        await store.write([inference(10, variant_name="w", ttft_ms=7), inference(11, function_name="g")])
        found = await store.latencies(LatencyQuery(by="variant", quantiles=(0.0, 0.25, 0.5, 0.9, 1.0)))
        assert [(each.owner, each.name, each.count) for each in found] == [("f", "v", 5), ("f", "w", 1), ("g", "v", 1)]
        assert found[0].total == pytest.approx((100, 175, 300, 680, 800), rel=1e-9)
        assert [each.ttft for each in found] == [(), (7.0, 7.0, 7.0, 7.0, 7.0), ()]
        assert [each.total for each in found[1:]] == [(), ()]
        query = LatencyQuery(by="variant", quantiles=(0.5,), function_name="f", variant_names=("v",))
        assert [(each.name, each.total) for each in await store.latencies(query)] == [("v", (300.0,))]
        assert await store.latencies(structs.replace(query, variant_names=())) == []

    async def test_sums_latencies_of_models_up(self, store: Store) -> None:
        await store.write([used(n, n, response_time_ms=10 * n, ttft_ms=n) for n in range(1, 5)])
        await store.write([used(10, 10, response_time_ms=9999, cached=True), used(11, 11, ttft_ms=9999, error="x")])
        await store.write([used(12, 12, model_name="n", model_provider_name="q"), used(13, 13, model_name="n")])
        found = await store.latencies(LatencyQuery(by="model", quantiles=(0.5, 0.99)))
        assert [(each.owner, each.name, each.count) for each in found] == [("", "m", 4), ("", "n", 2)]
        assert found[0].total == pytest.approx((25, 39.7), rel=1e-9)
        assert found[0].ttft == pytest.approx((2.5, 3.97), rel=1e-9)
        assert (found[1].total, found[1].ttft) == ((), ())

    async def test_sums_latencies_of_a_span_up(self, store: Store) -> None:
        start, end = EDGES["day"]
        await store.write([inference_at(at, processing_time_ms=n) for n, at in enumerate((start, SUNDAY, end))])
        query = LatencyQuery(by="variant", quantiles=(1.0,), period=Period(since=start, until=end))
        assert [(each.count, each.total) for each in await store.latencies(query)] == [(2, (1.0,))]
        query = LatencyQuery(by="variant", quantiles=())
        assert [(each.count, each.total) for each in await store.latencies(query)] == [(3, ())]

    # -- scores -------------------------------------------------------------------------------------------

    async def test_sums_scores_up(self, store: Store) -> None:
        async def scored(case: tuple[ScoreQuery, list[tuple[str, int, float, float]]]) -> list[Any]:
            found = await store.scores(case[0])
            assert all(each.period_start is None for each in found)
            return [(each.variant_name, each.count, round(each.mean, 9), round(each.squares, 9)) for each in found]

        await store.write(shuffled(SCORED))
        assert await answers(SCORES, scored) == {
            name: [(*names, round(mean, 9), round(squares, 9)) for *names, mean, squares in expected]
            for name, (_, expected) in SCORES.items()
        }

    async def test_sums_squares_of_small_deviations_from_a_great_mean_up(self, store: Store) -> None:
        # The sum of squares less the square of the sum would leave no digit here.
        await store.write([inference(n) for n in range(10)])
        await store.write([number(100 + n, uid(n), 1e9 + n % 2) for n in range(10)])
        found = await store.scores(
            ScoreQuery(function_name="f", metric_name="stars", metric_type="float", level="inference")
        )
        assert [each.mean for each in found] == pytest.approx([1e9 + 0.5], rel=1e-12)
        assert [each.squares for each in found] == pytest.approx([2.5], rel=1e-9)

    async def test_dates_scores_by_what_they_are_about(self, store: Store) -> None:
        day, hour = EDGES["day"][0], timedelta(hours=1)
        one, other, later = day - hour, day + hour, day + 25 * hour
        episode = id_at(one)
        await store.write(
            [
                inference_at(one),
                structs.replace(inference_at(other), episode_id=episode),
                structs.replace(inference_at(later, variant_name="w"), episode_id=episode),
                structs.replace(inference_at(one - hour, function_name="g"), episode_id=episode),
                structs.replace(number(0, id_at(other), 2.0), id=id_at(later + 48 * hour)),
                structs.replace(number(0, episode, 3.0), id=id_at(later + 48 * hour, 1), metric_name="whole"),
            ]
        )
        by_day = Period(window="day")
        of_inferences = ScoreQuery(
            function_name="f", metric_name="stars", metric_type="float", level="inference", period=by_day
        )
        found = [(each.variant_name, each.period_start, each.mean) for each in await store.scores(of_inferences)]
        assert found == [("v", day, 2.0)]
        of_episodes = structs.replace(of_inferences, metric_name="whole", level="episode")
        found = [(each.variant_name, each.period_start, each.mean) for each in await store.scores(of_episodes)]
        assert found == [("v", day - timedelta(days=1), 3.0), ("w", day + timedelta(days=1), 3.0)]
        # Dated by the variant's first inference, even if it has a later one within the span.
        since = structs.replace(of_episodes, period=Period(since=day))
        assert [(each.variant_name, each.count) for each in await store.scores(since)] == [("w", 1)]

    async def test_has_no_sums_when_it_is_empty(self, store: Store) -> None:
        assert await store.inference_counts(CountQuery(period=Period(window="week"))) == []
        assert await store.usage(UsageQuery(by="provider")) == []
        assert await store.latencies(LatencyQuery(by="model", quantiles=(0.5,))) == []
        assert await store.metric_counts("f") == []
