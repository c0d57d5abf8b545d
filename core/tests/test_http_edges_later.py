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
