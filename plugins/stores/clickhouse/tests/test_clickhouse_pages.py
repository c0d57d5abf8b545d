"""Pages by what feedback says, from more inferences than are looked through for the first of them."""

from __future__ import annotations

import pytest
from headrace.conformance.rows import boolean, inference, uid
from headrace.filters import And, BooleanMetric, Filter, Not
from headrace.queries import InferenceQuery
from headrace_clickhouse import ClickHouse, Settings

pytestmark = [pytest.mark.anyio, pytest.mark.clickhouse, pytest.mark.trio_cases(0)]

MANY = 12_000
LATER = range(100, MANY, 400)  # of these it was said at first that they are bad, and later that they are good
BAD = range(0, MANY, 400)
IS_BAD = BooleanMetric("good", "inference", False)
IS_GOOD = BooleanMetric("good", "inference", True)


async def test_finds_the_newest_of_many_and_all_of_few(clickhouse_database: str) -> None:
    first = [boolean(MANY + n, uid(n), metric_name="good", value=n not in BAD and n not in LATER) for n in range(MANY)]
    second = [boolean(2 * MANY + n, uid(n), metric_name="good", value=True) for n in LATER]
    names = [f"f{n % 2}" for n in range(MANY)]
    async with ClickHouse(Settings(url=clickhouse_database)) as store:
        await store.write([inference(n, function_name=name) for n, name in enumerate(names)])
        await store.write(first)
        await store.write(second)

        async def page(condition: Filter, function_name: str | None = None, limit: int | None = 50) -> list[int]:
            query = InferenceQuery(filters=condition, function_name=function_name, limit=limit)
            return [row.id.int - uid(0).int for row in await store.inferences(query)]

        bad = [uid(n).int - uid(0).int for n in reversed(BAD)]
        good = [uid(n).int - uid(0).int for n in reversed(range(MANY)) if n not in BAD]
        assert await page(IS_BAD) == bad
        assert await page(Not(IS_GOOD)) == bad
        assert await page(IS_BAD, limit=7) == bad[:7]
        assert await page(IS_BAD, "f0") == bad
        assert await page(IS_BAD, "f1") == []
        assert await page(And((IS_GOOD, Not(IS_BAD)))) == good[:50]
        assert await page(IS_GOOD, limit=None) == good
