"""Which backend holds the buckets, and what a start-up is refused for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from headrace.assembly import Assembly
from headrace.config import loads
from headrace.conformance.script import Script
from headrace.errors import ConfigError
from headrace.plugins import Registry
from headrace_memory import Memory
from headrace_memory import Settings as MemorySettings
from recipes import function, model

RULE = "[[rate_limiting.rules]]\nalways = true\n"


def assembly(registry: Registry, toml: str, **environ: str) -> Assembly:
    return Assembly(loads(toml), registry, transport=Script(), environ=environ)


def problems(registry: Registry, toml: str, **environ: str) -> Sequence[str]:
    with pytest.raises(ConfigError) as caught:
        assembly(registry, toml, **environ).gateway()
    return caught.value.problems


LIMITS = RULE + "tokens_per_day = 5\n"
NO_STORE = "[gateway.observability]\nenabled = false\n"


def test_rules_without_a_backend_are_refused(registry: Registry) -> None:
    [problem] = problems(registry, NO_STORE + LIMITS)
    assert problem.startswith("rate_limiting.rules: no backend is available that can hold their buckets")


@pytest.mark.parametrize(
    ("backend", "complaint"),
    [
        ("valkey", "Missing environment variable TENSORZERO_VALKEY_URL."),
        ("postgres", "Missing environment variable TENSORZERO_POSTGRES_URL."),
        ("redis", '"redis" is not installed: `pip install headrace-redis`'),
    ],
)
@pytest.mark.parametrize("rules", ["", "[[rate_limiting.rules]]\nalways = true\n"], ids=["no-rules", "rules"])
def test_a_backend_that_is_named_and_not_there_is_refused(
    registry: Registry, backend: str, complaint: str, rules: str
) -> None:
    [problem] = problems(registry, NO_STORE + f'[rate_limiting]\nbackend = "{backend}"\n' + rules)
    assert problem.startswith("rate_limiting.backend: ")
    assert complaint in problem


def test_a_store_that_cannot_hold_buckets_is_refused_as_a_backend(registry: Registry) -> None:
    toml = NO_STORE + '[rate_limiting]\nbackend = "clickhouse"\n' + LIMITS
    [problem] = problems(registry, toml, TENSORZERO_CLICKHOUSE_URL="http://localhost:8123/x")
    assert problem == 'rate_limiting.backend: "clickhouse" cannot hold buckets; use Valkey, Postgres or SQLite'


@pytest.mark.parametrize(
    "toml",
    ["", "[rate_limiting]\ndefault_cost = 2\n", "[rate_limiting]\nenabled = false\n" + LIMITS, RULE],
    ids=["nothing", "no-rules", "off", "no-limits"],
)
def test_without_limits_there_is_no_limiter(registry: Registry, toml: str) -> None:
    made = assembly(registry, '[gateway.observability]\nbackend = "memory"\n' + toml)
    assert made._around.limiter is None


@pytest.mark.parametrize("backend", ["auto", "memory"])
def test_the_store_holds_the_buckets_if_it_can(registry: Registry, backend: str) -> None:
    toml = f'[gateway.observability]\nbackend = "memory"\n[rate_limiting]\nbackend = "{backend}"\n' + LIMITS
    made = assembly(registry, toml)
    assert made._around.limiter is not None
    buckets: object = made._around.limiter._buckets
    assert buckets is made.store


def test_another_store_may_hold_the_buckets_than_the_records(registry: Registry, tmp_path: Any) -> None:
    path = json.dumps(str(tmp_path / "limits.db"))
    toml = NO_STORE + f'[sqlite]\npath = {path}\n[rate_limiting]\nbackend = "sqlite"\n' + LIMITS
    made = assembly(registry, toml)
    assert type(made._around.limiter._buckets).__name__ == "Sqlite"  # type: ignore[union-attr]


def test_what_another_gateway_runs_is_not_limited_here(registry: Registry) -> None:
    toml = '[gateway.relay]\ngateway_url = "http://other:3000"\n' + model() + function() + LIMITS
    made = assembly(registry, '[gateway.observability]\nbackend = "memory"\n' + toml)
    assert made.models.models["m"]._around.limiter is None


def test_a_store_that_is_lent_holds_the_buckets_whatever_it_is_called(registry: Registry) -> None:
    lent = Memory(MemorySettings())
    made = Assembly(loads(NO_STORE + LIMITS), registry, transport=Script(), environ={}, store=lent)
    assert made._around.limiter is not None
    buckets: object = made._around.limiter._buckets
    assert buckets is lent


def test_valkey_comes_first_where_its_address_is_known(registry: Registry) -> None:
    if "valkey" not in registry.types("buckets"):
        pytest.skip("headrace-valkey is not installed")
    made = assembly(
        registry, '[gateway.observability]\nbackend = "memory"\n' + LIMITS, HEADRACE_VALKEY_URL="valkey://nowhere"
    )
    assert type(made._around.limiter._buckets).__name__ == "ValkeyBuckets"  # type: ignore[union-attr]


def test_two_addresses_of_valkey_are_refused(registry: Registry) -> None:
    both = {"HEADRACE_VALKEY_URL": "valkey://a", "TENSORZERO_VALKEY_URL": "valkey://b"}
    assert any("are both set and differ" in line for line in problems(registry, NO_STORE + LIMITS, **both))
