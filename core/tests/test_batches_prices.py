"""What the answers of a batch cost, whatever has become of the configuration meanwhile."""

from __future__ import annotations

import pytest
from headrace.assembly import Assembly
from headrace.assembly.batches import batch_rates
from headrace.config import loads
from headrace.plugins import load

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
    config = loads(now)
    models = Assembly(config, load(disabled=[]), environ={}).models

    def pointers_of(model_name: str, provider_name: str) -> list[str]:
        rates = batch_rates(
            config.tables, models.pricing, models.table_of_short, model_name, provider_name, started_under
        )
        assert rates.listed is None  # nobody asks for money for a dummy
        return [price.pointer for price in rates.prices]

    assert pointers_of("m", "p") == pointers
    assert pointers_of("dummy::good", "dummy") == []
