"""Sharp edges, by the numbers of http-api 24, of what this version does not have: it says so, and pretends nothing.

Each of these tests gives way to one of the edge itself when its feature comes.
"""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from headrace.assembly import Assembly
from headrace.config import loads
from headrace.errors import ConfigError
from headrace.http.app import create_app
from headrace.plugins import Registry
from recipes import function, model

INPUT = {"messages": [{"role": "user", "content": "hello"}]}
ASK = {"function_name": "f", "input": INPUT}


def refused(registry: Registry, toml: str) -> tuple[str, ...]:
    """What a start-up with this configuration ends with."""
    with pytest.raises(ConfigError) as caught:
        Assembly(loads('[gateway.observability]\nbackend = "memory"\n' + toml), registry, environ={}).gateway()
    return caught.value.problems


async def asked(opened: Any, toml: str, method: str, path: str, **request: Any) -> httpx.Response:
    """The answer of a gateway with this configuration."""
    async with opened(toml) as host:
        transport = httpx.ASGITransport(create_app(host.gateway, owns_gateway=False))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
            return await http.request(method, path, **request)


# -- adaptive experiments -------------------------------------------------------------------------------------


def test_http_edge_10_an_adaptive_experiment_is_refused_at_start_up(registry: Registry) -> None:
    toml = model() + function() + '[metrics.good]\ntype = "boolean"\noptimize = "max"\nlevel = "inference"\n'
    toml += '[functions.f.experimentation]\ntype = "adaptive"\nmetric = "good"\ncandidate_variants = ["v"]\n'
    [problem] = refused(registry, toml)
    assert problem.startswith('functions.f.experimentation.type: "adaptive" is not available in this version')


# -- rate limits ----------------------------------------------------------------------------------------------


def limits_are_refused(registry: Registry, limit: str) -> None:
    [problem] = refused(registry, model() + function() + f"[[rate_limiting.rules]]\nalways = true\n{limit}\n")
    assert problem.startswith("rate_limiting.rules: rate limiting is not available in this version")
    switched_off = f"[rate_limiting]\nenabled = false\nrules = [{{ always = true, {limit} }}]\n"
    Assembly(loads("[gateway]\nobservability.enabled = false\n" + switched_off), registry, environ={}).gateway()


def test_http_edge_19_limits_on_calls_are_refused_at_start_up(registry: Registry) -> None:
    limits_are_refused(registry, "model_inferences_per_minute = 5")


def test_http_edge_20_limits_on_tokens_are_refused_at_start_up(registry: Registry) -> None:
    limits_are_refused(registry, "tokens_per_minute = 5")


def test_http_edge_21_limits_on_cost_are_refused_at_start_up(registry: Registry) -> None:
    limits_are_refused(registry, "cost_per_day = 0.5")


def test_http_edge_26_no_limit_is_there_for_a_dry_run_to_use_up(registry: Registry) -> None:
    limits_are_refused(registry, "model_inferences_per_day = { capacity = 5, refill_rate = 1 }")


# -- authentication -------------------------------------------------------------------------------------------


def test_http_edge_30_authentication_is_refused_at_start_up(registry: Registry) -> None:
    [problem] = refused(registry, "[gateway.auth]\nenabled = true\n")
    assert problem.startswith("gateway.auth.enabled: authentication is not available in this version")


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/metrics", "/status", "/health"])
@pytest.mark.parametrize("header", [None, "Bearer sk-t0-nobody", "nonsense"], ids=["none", "key", "nonsense"])
async def test_http_edge_30_without_authentication_its_header_is_ignored(
    opened: Any, path: str, header: str | None
) -> None:
    headers = {} if header is None else {"authorization": header}
    assert (await asked(opened, "", "GET", path, headers=headers)).status_code == 200


# -- traces ---------------------------------------------------------------------------------------------------


def test_http_edge_31_the_export_of_traces_is_refused_at_start_up(registry: Registry) -> None:
    [problem] = refused(registry, "[gateway.export.otlp.traces]\nenabled = true\n")
    assert problem.startswith("gateway.export.otlp.traces.enabled: the export of traces is not available")


@pytest.mark.anyio
@pytest.mark.parametrize(
    "header",
    [
        {"tensorzero-otlp-traces-extra-header-x": "\x80"},
        {"tensorzero-otlp-traces-extra-attribute-x": "no JSON"},
        {"tensorzero-otlp-traces-extra-resource-x": "[1]"},
        {"traceparent": "nonsense"},
    ],
    ids=lambda header: next(iter(header)),
)
async def test_http_edge_31_without_an_export_its_headers_are_ignored(opened: Any, header: dict[str, str]) -> None:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in header.items()]
    assert (await asked(opened, "", "GET", "/status", headers=raw)).status_code == 200
    reply = await asked(opened, model() + function(), "POST", "/inference", json=ASK, headers=raw)
    assert reply.status_code == 200
