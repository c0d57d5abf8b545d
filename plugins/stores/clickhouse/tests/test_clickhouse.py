"""The promises of every store and cache, on a real ClickHouse."""

from __future__ import annotations

from pathlib import Path

import pytest
from headrace import Services
from headrace.conformance.cache import CacheConformance
from headrace.conformance.store import StoreConformance
from headrace_clickhouse import ClickHouse, Settings

# The server answers the same on either event loop: on trio, one case of each promise shows that the client does, too.
pytestmark = [pytest.mark.anyio, pytest.mark.clickhouse, pytest.mark.trio_cases(1)]


class TestClickHouse(StoreConformance):
    @pytest.fixture(autouse=True)
    def _database(self, emptied_database: str) -> None:
        self.url = emptied_database

    def build(self, tmp_path: Path) -> ClickHouse:
        return ClickHouse(Settings(url=self.url))


class TestClickHouseAsCache(CacheConformance):
    @pytest.fixture(autouse=True)
    def _database(self, emptied_database: str) -> None:
        self.url = emptied_database

    def build(self, tmp_path: Path, services: Services) -> ClickHouse:
        return ClickHouse(Settings(url=self.url), services)
