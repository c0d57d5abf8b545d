"""What the answers of a batch cost, whatever has become of the configuration meanwhile."""

from __future__ import annotations

import pytest
from headrace.assembly.batches import batch_prices
from headrace.config import loads

PRICED = """
[models.m]
routing = ["p"]
[models.m.providers.p]
type = "dummy"
model_name = "good"
cost = [{ pointer = "/a", cost_per_unit = 1.0 }]
"""
BATCH = PRICED + 'batch_cost = [{ pointer = "/b", cost_per_unit = 2.0 }]\n'


@pytest.mark.parametrize(
    ("now", "started_under", "pointers"),
    [
        (PRICED, None, ["/a"]),
        (BATCH, None, ["/b"]),
        (BATCH, PRICED, ["/a"]),
        (PRICED, BATCH, ["/b"]),
        (BATCH, "", []),
        (BATCH, "not TOML", ["/b"]),
        (BATCH, "models = 1", ["/b"]),
        (BATCH, "[models.m.providers.p]\ncost = 1", ["/b"]),
    ],
    ids=["ordinary", "of batches", "before", "before, of batches", "no table then", "no TOML", "another", "no prices"],
)
def test_prices_are_those_of_the_configuration_that_started_it(
    now: str, started_under: str | None, pointers: list[str]
) -> None:
    tables = loads(now).tables
    assert [price.pointer for price in batch_prices(tables, "m", "p", started_under)] == pointers
    assert batch_prices(tables, "dummy::good", "dummy", started_under) == ()
