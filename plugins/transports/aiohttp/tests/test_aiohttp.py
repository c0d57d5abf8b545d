"""aiohttp's promises: those of every transport, on asyncio."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

import pytest
from headrace.conformance.transport import TransportConformance
from headrace.transport import Transport
from headrace_aiohttp import AiohttpTransport, Settings


@pytest.fixture
def anyio_backend() -> str:
    """aiohttp runs on asyncio only."""
    return "asyncio"


class TestAiohttp(TransportConformance):
    def build(self) -> AbstractAsyncContextManager[Transport]:
        return AiohttpTransport(Settings())
