"""Reading back what happened, while the store is in trouble."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import pytest
from headrace.errors import StoreError
from headrace.queries import InferenceQuery
from headrace.records import InferenceRecord, Record
from headrace_memory import Memory, Settings
from past import FIVE, TOML

pytestmark = pytest.mark.anyio


class Flaky(Memory):
    """Takes no records while it is ``away``; whether it can be read then is another matter."""

    away = False
    readable = True

    async def write(self, records: Sequence[Record]) -> None:
        if self.away:
            raise StoreError("away")
        await super().write(records)

    async def inferences(self, query: InferenceQuery) -> list[InferenceRecord]:
        if self.away and not self.readable:
            raise StoreError("away")
        return await super().inferences(query)


@pytest.mark.trio_cases(1)
@pytest.mark.parametrize("readable", [True, False])
async def test_a_store_that_takes_nothing_keeps_no_reader_waiting(opened: Any, readable: bool) -> None:
    store = Flaky(Settings())
    store.readable = readable
    async with opened(TOML, store=store) as host:
        history = host.gateway.history
        await store.write(FIVE[:2])
        assert len(await history.inferences(InferenceQuery())) == 2
        store.away = True
        await host.gateway._recorder.put([FIVE[2]])
        with anyio.fail_after(10):
            if readable:
                assert len(await history.inferences(InferenceQuery())) == 2
            else:
                with pytest.raises(StoreError):
                    await history.inferences(InferenceQuery())
        store.away = False
    assert len(await store.inferences(InferenceQuery())) == 3
