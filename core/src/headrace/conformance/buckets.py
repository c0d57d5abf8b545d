"""What every backend of rate limits promises: buckets that many share, and that are never overspent.

Features for ``lacks``: big (whole numbers beyond 2**53 are exact), calendar (a month is the calendar's, and ``clock``
is what it goes by), clock (its buckets can be made older, see ``later``), persistence, sharing.
"""
# ruff: noqa: D102 - the name of a test says what it promises

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import anyio
import pytest

from ..contracts import Bucket, Buckets, Services
from ..refills import MOST, suffices
from ..storage import Window
from .script import Script, SetClock, services
from .suite import Suite, needs

DAY_S = 86_400
KEYS = {
    "empty": "",
    "as limits make them": '{"resource":"token","scope_key":[{"type":"TagEach","key":"user_id","value":"Zoë 😀"}]}',
    "a statement": "'; DROP TABLE resource_bucket; --",
    "wildcards": "%_*?[a-z]",
    "slots": "{a}{b}",
    "lines": "a\r\nb\tc",
    "trailing space": "a ",
    "other case": "A ",
    "an escape": "\\x00\\u0000\\",
    "long": "k" * 100_000,
    "long, another end": "k" * 99_999 + "l",
}


def bucket(capacity: int, *, key: str = "a", refill_rate: int | None = None, window: Window = "minute") -> Bucket:
    """A bucket that is filled up by each window, unless ``refill_rate`` says otherwise."""
    rate = capacity if refill_rate is None else refill_rate
    return Bucket(key=key, capacity=capacity, refill_rate=rate, window=window)


async def took(buckets: Buckets, *wanted: tuple[Bucket, int]) -> bool:
    """Take, and say whether there was enough."""
    had = await buckets.take(wanted)
    return all(suffices(has, units) for has, (_, units) in zip(had, wanted, strict=True))


async def left(buckets: Buckets, *of: Bucket) -> list[int]:
    """What is in the buckets."""
    return await buckets.take([(each, 0) for each in of])


class BucketsConformance(Suite):
    """Subclass it with ``build``. A backend with a clock of its own overrides ``later``, or lacks "clock"."""

    def build(self, tmp_path: Path, services: Services) -> Buckets:
        """The backend under test, not yet open if it is a context manager, on the clock of ``services``.

        Built again with the same folder, it is the same one again.
        """
        raise NotImplementedError(f"{type(self).__name__}.build: return the buckets under test")

    async def later(self, buckets: Buckets, clock: SetClock, seconds: int) -> None:
        """Let time pass. Who goes by a clock of his own makes all buckets so many seconds older instead."""
        clock.advance(seconds)

    @pytest.fixture
    def clock(self) -> SetClock:
        """The time that the buckets go by."""
        return SetClock()

    @pytest.fixture
    async def buckets(self, tmp_path: Path, clock: SetClock) -> AsyncIterator[Buckets]:
        """No bucket yet, open."""
        async with self._opened(tmp_path, clock) as buckets:
            yield buckets

    @asynccontextmanager
    async def _opened(self, tmp_path: Path, clock: SetClock) -> AsyncIterator[Buckets]:
        lent = services(Script())
        buckets = self.build(tmp_path, Services(lent.transport, lent.secret, clock))
        assert isinstance(buckets, Buckets)
        async with AsyncExitStack() as stack:
            if isinstance(buckets, AbstractAsyncContextManager):
                await stack.enter_async_context(buckets)
            yield buckets

    # -- taking -------------------------------------------------------------------------------------------

    async def test_a_new_bucket_is_full(self, buckets: Buckets) -> None:
        assert await buckets.take([(bucket(10), 3)]) == [10]
        assert await buckets.take([(bucket(10), 7)]) == [7]
        assert await buckets.take([(bucket(10), 1)]) == [0]

    async def test_gives_no_more_than_there_is(self, buckets: Buckets) -> None:
        assert await buckets.take([(bucket(10), 11)]) == [10]
        assert await buckets.take([(bucket(10), 8)]) == [10]
        assert await buckets.take([(bucket(10), 3)]) == [2]
        assert await buckets.take([(bucket(10), 2)]) == [2]

    async def test_takes_from_all_or_from_none(self, buckets: Buckets) -> None:
        a, b, c = bucket(5, key="a"), bucket(2, key="b"), bucket(9, key="c")
        assert await buckets.take([(c, 3), (b, 3), (a, 3)]) == [9, 2, 5]
        assert await left(buckets, a, b, c) == [5, 2, 9]
        assert await buckets.take([(c, 3), (b, 2), (a, 3)]) == [9, 2, 5]
        assert await left(buckets, a, b, c) == [2, 0, 6]

    async def test_nothing_can_be_taken_from_nothing(self, buckets: Buckets) -> None:
        assert await buckets.take([]) == []
        await buckets.settle([])

    async def test_a_bucket_without_capacity_gives_nothing_but_0(self, buckets: Buckets) -> None:
        assert await buckets.take([(bucket(0), 1)]) == [0]
        assert await took(buckets, (bucket(0), 0), (bucket(1, key="b"), 1))

    async def test_keeps_hostile_keys_apart(self, buckets: Buckets) -> None:
        for units, key in enumerate(KEYS.values()):
            assert await buckets.take([(bucket(100, key=key), units)]) == [100]
        assert await left(buckets, *(bucket(100, key=key) for key in KEYS.values())) == [
            100 - units for units in range(len(KEYS))
        ]

    # -- settling -----------------------------------------------------------------------------------------

    async def test_gives_back_up_to_the_capacity(self, buckets: Buckets) -> None:
        assert await took(buckets, (bucket(10), 9))
        await buckets.settle([(bucket(10), 4)])
        assert await left(buckets, bucket(10)) == [5]
        await buckets.settle([(bucket(10), 100)])
        assert await left(buckets, bucket(10)) == [10]

    async def test_charges_more_below_0_if_need_be(self, buckets: Buckets) -> None:
        a, b = bucket(10, key="a"), bucket(10, key="b")
        assert await took(buckets, (a, 8), (b, 8))
        await buckets.settle([(b, -1), (a, -12)])
        assert await left(buckets, a, b) == [-10, 1]
        assert not await took(buckets, (a, 1))
        assert await took(buckets, (a, 0), (b, 1))

    async def test_settles_a_bucket_that_is_not_known_as_a_full_one(self, buckets: Buckets) -> None:
        await buckets.settle([(bucket(10, key="a"), -3), (bucket(10, key="b"), 3)])
        assert await left(buckets, bucket(10, key="a"), bucket(10, key="b")) == [7, 10]

    # -- time ---------------------------------------------------------------------------------------------

    @needs("clock")
    async def test_refills_once_a_window_up_to_the_capacity(self, buckets: Buckets, clock: SetClock) -> None:
        one = bucket(10, refill_rate=4)
        assert await took(buckets, (one, 10))
        for seconds, has in ((40, 0), (40, 4), (60, 8), (60, 10), (6000, 10)):
            await self.later(buckets, clock, seconds)
            assert await left(buckets, one) == [has]

    @needs("clock")
    async def test_refills_stay_aligned_to_the_first_use(self, buckets: Buckets, clock: SetClock) -> None:
        one = bucket(10, refill_rate=2)
        assert await took(buckets, (one, 10))
        for seconds, has in ((100, 2), (40, 4), (20, 4), (40, 6)):
            await self.later(buckets, clock, seconds)
            assert await left(buckets, one) == [has]
            await buckets.settle([(one, 0)])

    @needs("clock")
    async def test_pays_debts_first(self, buckets: Buckets, clock: SetClock) -> None:
        one = bucket(10, refill_rate=4)
        await buckets.settle([(one, -22)])
        await self.later(buckets, clock, 60)
        assert await left(buckets, one) == [-8]
        await self.later(buckets, clock, 180)
        assert await left(buckets, one) == [4]

    @needs("clock")
    async def test_refills_before_it_settles(self, buckets: Buckets, clock: SetClock) -> None:
        assert await took(buckets, (bucket(10), 5))
        await self.later(buckets, clock, 70)
        await buckets.settle([(bucket(10), 5)])
        assert await left(buckets, bucket(10)) == [10]

    @needs("clock")
    async def test_what_is_never_refilled_is_a_budget(self, buckets: Buckets, clock: SetClock) -> None:
        assert await took(buckets, (bucket(10, refill_rate=0), 4))
        await self.later(buckets, clock, 400 * DAY_S)
        assert await left(buckets, bucket(10, refill_rate=0)) == [6]

    @needs("clock")
    @pytest.mark.parametrize(
        ("window", "less", "more"),
        [
            ("minute", 40, 20),
            ("hour", 3_560, 40),
            ("day", DAY_S - 40, 40),
            ("week", 7 * DAY_S - 40, 40),
            ("month", 27 * DAY_S, 4 * DAY_S + 40),
        ],
        ids=["minute", "hour", "day", "week", "month"],
    )
    async def test_knows_how_long_each_window_is(
        self, buckets: Buckets, clock: SetClock, window: Window, less: int, more: int
    ) -> None:
        one = bucket(10, window=window)
        assert await took(buckets, (one, 10))
        await self.later(buckets, clock, less)
        assert await left(buckets, one) == [0]
        await self.later(buckets, clock, more)
        assert await left(buckets, one) == [10]

    async def test_a_second_is_short_in_any_case(self, buckets: Buckets, clock: SetClock) -> None:
        one = bucket(3, window="second")
        assert await took(buckets, (one, 3))
        with anyio.fail_after(30):
            while not await took(buckets, (one, 3)):
                clock.advance(0.25)
                await anyio.sleep(0.01)

    @needs("calendar")
    async def test_a_month_is_that_of_the_calendar(self, buckets: Buckets, clock: SetClock) -> None:
        one = bucket(10, refill_rate=1, window="month")
        clock.advance(datetime(2028, 1, 31, 12, tzinfo=UTC).timestamp() - clock.time())
        assert await took(buckets, (one, 10))
        for instant, has in (
            (datetime(2028, 2, 29, 11, 59, 59, tzinfo=UTC), 0),
            (datetime(2028, 2, 29, 12, tzinfo=UTC), 1),  # that month has no 31st
            (datetime(2028, 3, 29, 12, tzinfo=UTC), 2),
            (datetime(2028, 12, 30, tzinfo=UTC), 10),
        ):
            clock.advance(instant.timestamp() - clock.time())
            assert await left(buckets, one) == [has]
            await buckets.settle([(one, 0)])

    # -- other limits of the same key -----------------------------------------------------------------------

    async def test_a_lower_capacity_holds_at_once(self, buckets: Buckets) -> None:
        assert await took(buckets, (bucket(100), 30))
        assert await buckets.take([(bucket(50), 60)]) == [50]
        assert await buckets.take([(bucket(50), 50)]) == [50]
        assert await left(buckets, bucket(50)) == [0]

    @needs("clock")
    async def test_a_higher_capacity_is_filled_with_time(self, buckets: Buckets, clock: SetClock) -> None:
        assert await took(buckets, (bucket(10), 10))
        assert await left(buckets, bucket(100, refill_rate=60)) == [0]
        await self.later(buckets, clock, 60)
        assert await left(buckets, bucket(100, refill_rate=60)) == [60]

    @needs("clock")
    async def test_another_window_holds_from_the_last_refill_on(self, buckets: Buckets, clock: SetClock) -> None:
        assert await took(buckets, (bucket(10, window="hour"), 10))
        await self.later(buckets, clock, 130)
        assert await left(buckets, bucket(10, window="hour")) == [0]
        assert await left(buckets, bucket(10, refill_rate=3, window="minute")) == [6]

    # -- numbers ------------------------------------------------------------------------------------------

    @needs("big")
    async def test_counts_exactly_up_to_the_largest_number(self, buckets: Buckets) -> None:
        largest = bucket(MOST)
        assert await buckets.take([(largest, 1)]) == [MOST]
        assert await buckets.take([(largest, MOST)]) == [MOST - 1]
        assert await buckets.take([(largest, MOST - 1)]) == [MOST - 1]
        await buckets.settle([(largest, -7)])
        await buckets.settle([(largest, MOST)])
        assert await left(buckets, largest) == [MOST - 7]

    @needs("clock")
    async def test_large_numbers_end_at_the_bounds_and_not_beyond(self, buckets: Buckets, clock: SetClock) -> None:
        largest = bucket(MOST)
        for _ in range(4):
            await buckets.settle([(largest, -MOST)])
        [debt] = await left(buckets, largest)
        assert debt <= -(2**62)
        for _ in range(4):
            await self.later(buckets, clock, 3600 * DAY_S)
            await buckets.settle([(largest, MOST)])
        [credit] = await left(buckets, largest)
        assert 2**62 <= credit <= MOST + 1  # + 1: as a double it is 2**63

    # -- many at once -------------------------------------------------------------------------------------

    async def test_a_thousand_at_once_never_overspend(self, buckets: Buckets) -> None:
        one, other = bucket(300, key="a", window="month"), bucket(1000, key="b", window="month")
        outcomes: list[bool] = []

        async def take(*wanted: tuple[Bucket, int]) -> None:
            outcomes.append(await took(buckets, *wanted))

        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                for n in range(1000):
                    # In both orders, so that those who lock one bucket after the other would lock one another out.
                    tasks.start_soon(take, *[(one, 1), (other, 2)][:: 1 if n % 2 else -1])
        assert sum(outcomes) == 300
        assert await left(buckets, one, other) == [0, 400]

    async def test_a_thousand_at_once_settle_to_the_unit(self, buckets: Buckets) -> None:
        one = bucket(5000, window="month")
        assert await took(buckets, (one, 4000))

        async def settle(change: int) -> None:
            await buckets.settle([(one, change)])

        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                for n in range(1000):
                    tasks.start_soon(settle, 3 if n % 2 else -1)
        assert await left(buckets, one) == [2000]

    async def test_stays_of_use_when_a_taker_is_cancelled(self, buckets: Buckets) -> None:
        one = bucket(100, window="month")
        for n in range(20):
            with anyio.move_on_after(n / 10_000):
                await buckets.take([(one, 1)])
        [has] = await left(buckets, one)
        assert 80 <= has <= 100

    @needs("clock")
    @pytest.mark.parametrize("seed", range(3))
    async def test_agrees_with_plain_arithmetic(self, buckets: Buckets, clock: SetClock, seed: int) -> None:
        dice = Random(seed)
        model = [_Plain(bucket(dice.randint(1, 50), key=key, refill_rate=dice.randint(0, 20))) for key in "abc"]
        assert await left(buckets, *(each.bucket for each in model)) == [each.bucket.capacity for each in model]
        for _ in range(60):
            some = dice.sample(model, dice.randint(1, 3))
            units = [dice.randint(0, 20) for _ in some]
            if dice.random() < 0.3:
                seconds = 20 * dice.randint(1, 9)  # so that time on the way makes no difference
                await self.later(buckets, clock, seconds)
                for each in model:
                    each.later(seconds)
            elif dice.random() < 0.4:
                changes = [count * dice.choice([-1, 1]) for count in units]
                await buckets.settle([(each.bucket, change) for each, change in zip(some, changes, strict=True)])
                for each, change in zip(some, changes, strict=True):
                    each.balance = min(each.balance + change, each.bucket.capacity)
            else:
                had = await buckets.take([(each.bucket, count) for each, count in zip(some, units, strict=True)])
                assert had == _taken(some, units)

    # -- several processes --------------------------------------------------------------------------------

    @needs("sharing")
    async def test_those_who_open_it_share_its_buckets(self, tmp_path: Path, clock: SetClock) -> None:
        one = bucket(150, window="month")
        outcomes: list[bool] = []

        async def take(buckets: Buckets) -> None:
            outcomes.append(await took(buckets, (one, 1)))

        async with AsyncExitStack() as stack:
            opened = [await stack.enter_async_context(self._opened(tmp_path, clock)) for _ in range(3)]
            with anyio.fail_after(60):
                async with anyio.create_task_group() as tasks:
                    for n in range(300):
                        tasks.start_soon(take, opened[n % 3])
            assert sum(outcomes) == 150
            assert [await left(each, one) for each in opened] == [[0]] * 3

    @needs("persistence")
    async def test_has_its_buckets_when_opened_again(self, tmp_path: Path, clock: SetClock) -> None:
        one = bucket(10, window="day")
        async with self._opened(tmp_path, clock) as buckets:
            assert await took(buckets, (one, 4))
            await buckets.settle([(one, -1)])
        async with self._opened(tmp_path, clock) as buckets:
            assert await left(buckets, one) == [5]


class _Plain:
    """A bucket of whole minutes, as one would reckon on paper."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.balance = bucket.capacity
        self._age_s = 0

    def later(self, seconds: int) -> None:
        self._age_s += seconds
        while self._age_s >= 60:
            self._age_s -= 60
            self.balance = min(self.balance + self.bucket.refill_rate, self.bucket.capacity)


def _taken(some: Sequence[_Plain], units: Sequence[int]) -> list[int]:
    had = [each.balance for each in some]
    if all(suffices(has, count) for has, count in zip(had, units, strict=True)):
        for each, count in zip(some, units, strict=True):
            each.balance -= count
    return had
