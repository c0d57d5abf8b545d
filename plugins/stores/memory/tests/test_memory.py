"""What the store in memory promises beyond the contract."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
from headrace import Store
from headrace.conformance.rows import datapoint, evaluation_run, inference, snapshot
from headrace.conformance.store import StoreConformance
from headrace.contracts import InferenceQuery
from headrace_memory import Memory, Settings, headrace_stores
from pydantic import ValidationError

pytestmark = pytest.mark.anyio


class TestMemory(StoreConformance):
    lacks: ClassVar = {"persistence": "records end with the process"}

    def build(self, tmp_path: Path) -> Store:
        return Memory(Settings())


def test_offers_the_type_memory() -> None:
    assert [factory.name for factory in headrace_stores()] == ["memory"]


def test_has_no_settings() -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({"path": "x"})


async def test_shows_everything_it_was_given_even_when_closed() -> None:
    async with Memory(Settings()) as store:
        await store.write([snapshot(), evaluation_run(1), snapshot(config="later"), datapoint(1)])
    assert store.records == [snapshot(), evaluation_run(1), datapoint(1)]


async def test_keeps_what_was_written_when_the_caller_changes_it_later() -> None:
    tags = {"a": "1"}
    async with Memory(Settings()) as store:
        await store.write([inference(1, tags=tags)])
        tags["a"] = "2"
        assert [found.tags for found in await store.inferences(InferenceQuery())] == [{"a": "1"}]
