"""Async tests run on both event loops; whatever cannot (aiohttp) says so by overriding ``anyio_backend``."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The event loop of an async test."""
    backend: str = request.param
    return backend
