"""The promises of every store and every cache, kept by a real PostgreSQL: with pgvector, and without."""

from __future__ import annotations

from pathlib import Path

import pytest
from headrace.conformance.cache import CacheConformance
from headrace.conformance.store import StoreConformance
from headrace.contracts import Cache, Services, Store
from headrace_postgres import Postgres, Settings


class TestPostgres(StoreConformance):
    @pytest.fixture(autouse=True)
    def _in_an_empty_database(self, emptied_database: str) -> None:
        self.url = emptied_database

    def build(self, tmp_path: Path) -> Store:
        return Postgres(Settings(url=self.url))


class TestPostgresAsCache(CacheConformance):
    @pytest.fixture(autouse=True)
    def _in_an_empty_database(self, emptied_database: str) -> None:
        self.url = emptied_database

    def build(self, tmp_path: Path, services: Services) -> Cache:
        return Postgres(Settings(url=self.url), services)
