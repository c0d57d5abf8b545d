"""Every route of the app, and every field of its own bodies, is in ``docs/reference/http-api.md``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from headrace.http import batch_bodies, bodies
from headrace.http.app import routes_of
from headrace.http.blocks import InputBody
from headrace.types import Params

pytestmark = pytest.mark.anyio

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "http-api.md").read_text(encoding="utf-8")
NAMED = set(re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)))


async def test_every_route_has_its_place_in_the_reference(opened: Any) -> None:
    async with opened("") as host:
        routes = routes_of(host.gateway, 1)
    told = {name for name in NAMED if re.match(r"(GET|POST|PUT|PATCH|DELETE) /", name)}
    there = {
        f"{method} {re.sub(r':[a-z]+}', '}', route.path)}"
        for route in routes
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert there - told == set(), "not in the reference"
    assert told - there == set(), "in the reference, but there is no such route"


@pytest.mark.parametrize(
    "struct",
    [
        bodies.InferenceBody,
        bodies.FeedbackBody,
        InputBody,
        bodies.CacheOptionsBody,
        bodies.ExtraBodyEntry,
        bodies.ExtraHeaderEntry,
        bodies.ProviderToolBody,
        bodies.ToolBody,
        batch_bodies.BatchBody,
        batch_bodies.BatchSamplingBody,
        Params,
    ],
    ids=lambda struct: struct.__name__,
)
def test_every_field_is_in_the_reference(struct: Any) -> None:
    words = set(re.findall(r"[a-z_]+", " ".join(NAMED)))
    assert set(struct.__struct_fields__) - words == set()
