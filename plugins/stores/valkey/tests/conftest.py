"""Every test here talks to a real Valkey, and on asyncio only: valkey-py knows no other event loop."""

from __future__ import annotations

from pathlib import Path

import pytest
from engines.valkey import valkey_database, valkey_server

__all__ = ["valkey_database", "valkey_server"]

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is below this folder; the hook is shown everything."""
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.valkey)


@pytest.fixture
def anyio_backend() -> str:
    """asyncio only."""
    return "asyncio"
