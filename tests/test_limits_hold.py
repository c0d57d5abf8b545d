"""A budget of real money, a thousand requests at once, and stores that several gateways share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import anyio
import pytest
from engines.postgres import postgres_database, postgres_server
from headrace.assembly import assemble
from headrace.config import loads
from headrace.errors import HeadraceError
from headrace.exchange import InferenceRequest
from headrace.gateway import Gateway
from headrace.plugins import Registry, load
from headrace.types import Input, InputMessage, Text

__all__ = ["postgres_database", "postgres_server"]

HELLO = InferenceRequest(model_name="m", input=Input((InputMessage("user", (Text("hello"),)),)))

# One call uses 10 tokens, and costs ten cents.
MODEL = """
[models.m]
routing = ["p"]
[models.m.providers.p]
type = "dummy"
model_name = "json"
cost = [{ pointer = "/usage/prompt_tokens", cost_per_unit = 0.01 }]
"""
REAL = Decimal("0.1")


@pytest.fixture
def anyio_backend() -> str:
    """asyncio only, for asyncpg's sake."""
    return "asyncio"


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load(disabled=[])


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The store's table, and the environment."""
    if request.param == "sqlite":
        yield f'[sqlite]\npath = "{tmp_path / "headrace.db"}"\n', {}
    else:
        yield "", {"TENSORZERO_POSTGRES_URL": request.getfixturevalue("postgres_database")}


def gateway(registry: Registry, where: tuple[str, dict[str, str]], budget: str, default_cost: str) -> Gateway:
    toml, environ = where
    limit = f"[rate_limiting]\ndefault_cost = {default_cost}\n"
    limit += f"[[rate_limiting.rules]]\nalways = true\ncost_per_month = {budget}\n"
    return assemble(loads(toml + MODEL + limit), registry, environ=environ)


async def ask(gateway: Gateway, outcomes: Counter[str]) -> None:
    try:
        await gateway.infer(HELLO)
        outcomes["answered"] += 1
    except HeadraceError as error:
        assert error.http_status == 429, error
        outcomes["refused"] += 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("default_cost", "overshoot"),
    [("0.10", Decimal(0)), ("1.0", Decimal(0)), ("0.04", Decimal("0.06"))],
    ids=["right", "too-much", "too-little"],
)
async def test_a_thousand_at_once_overspend_a_budget_by_no_more_than_what_was_in_flight_and_underestimated(
    registry: Registry, where: tuple[str, dict[str, str]], default_cost: str, overshoot: Decimal
) -> None:
    budget = Decimal("20.00")
    outcomes: Counter[str] = Counter()
    async with gateway(registry, where, str(budget), default_cost) as one, anyio.create_task_group() as tasks:
        for _ in range(1000):
            tasks.start_soon(ask, one, outcomes)
    assert outcomes["answered"] + outcomes["refused"] == 1000
    assert 0 < outcomes["answered"] * REAL <= budget + outcomes["answered"] * overshoot


@pytest.mark.anyio
async def test_gateways_that_share_a_store_share_a_budget_to_the_cent(
    registry: Registry, where: tuple[str, dict[str, str]]
) -> None:
    outcomes: Counter[str] = Counter()
    async with (
        gateway(registry, where, "20.00", "0.10") as one,
        gateway(registry, where, "20.00", "0.10") as other,
        anyio.create_task_group() as tasks,
    ):
        for _ in range(200):
            tasks.start_soon(ask, one, outcomes)
            tasks.start_soon(ask, other, outcomes)
    assert outcomes == {"answered": 200, "refused": 200}


@pytest.mark.anyio
async def test_a_budget_can_be_spent_to_its_end_though_each_call_reserves_more_than_it_costs(
    registry: Registry, where: tuple[str, dict[str, str]]
) -> None:
    outcomes: Counter[str] = Counter()
    async with gateway(registry, where, "2.00", "1.00") as one:
        with anyio.fail_after(60):
            for _ in range(30):  # one after the other, each when the one before is settled
                before = outcomes["answered"]
                await ask(one, outcomes)
                if outcomes["answered"] == before:
                    break
                await anyio.sleep(0.02)
    # What is left is less than the reservation of one call.
    assert 2 - 1 <= outcomes["answered"] * REAL <= 2
