"""Whoever reads test data is written down first, and an optimizer does not get at it at all."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import httpx
import pytest
from headrace.contracts import DatapointQuery, Workbench
from headrace.errors import ConfigError, SealedSplit, StoreError
from headrace.evaluation import choose
from headrace.holdout import Holdout, Reader
from headrace.http.app import create_app
from headrace.http.readers import API_KEY
from headrace.optimization import Bench
from headrace.records import HoldoutAccess, Record
from headrace_memory import Memory, Settings

pytestmark = pytest.mark.anyio

TOML = """
[models.m]
routing = ["p"]
[models.m.providers.p]
type = "scripted"
[functions.f]
type = "chat"
[functions.f.variants.v]
type = "chat_completion"
model = "m"
"""
COUNT = 30


class Reading:
    """A dataset ``d`` over HTTP, of which ``test`` are the ids of test data."""

    def __init__(self, http: httpx.AsyncClient, host: Any) -> None:
        self.http = http
        self.host = host
        self.test: list[UUID] = []

    async def fill(self) -> None:
        points = [
            {"type": "chat", "function_name": "f", "input": {"messages": [{"role": "user", "content": f"text {n}"}]}}
            for n in range(COUNT)
        ]
        await self.post("datapoints", {"datapoints": points})
        query = DatapointQuery(dataset_name="d", splits=("test",), limit=None)
        self.test = [each.id for each in await self.host.store.datapoints(query)]
        assert 0 < len(self.test) < COUNT

    async def post(self, path: str, body: Any, **headers: str) -> Any:
        said = {name.replace("_", "-"): value for name, value in headers.items()}
        reply = await self.http.post(f"/v1/datasets/d/{path}", content=json.dumps(body), headers=said)
        assert reply.status_code == 200, reply.text
        return reply.json()

    async def log(self) -> list[tuple[str, str, int]]:
        """The accesses so far, oldest first."""
        found = (await self.http.get("/v1/datasets/d/holdout")).json()
        assert found["access_count"] == len(found["accesses"])
        assert (found["dataset_name"], found["datapoint_count"]) == ("d", len(self.test))
        return [(each["reader"], each["purpose"], each["datapoint_count"]) for each in reversed(found["accesses"])]


@pytest.fixture
def reading(opened: Any) -> Callable[..., Any]:
    """``async with reading() as it``."""

    @asynccontextmanager
    async def open_(**stand_ins: Any) -> AsyncGenerator[Reading, None]:
        async with opened(TOML, **stand_ins) as host:
            app = create_app(host.gateway, owns_gateway=False)

            async def keyed(scope: Any, receive: Any, send: Any) -> None:
                """What a check of API keys leaves behind."""
                key = dict(scope["headers"]).get(b"authorization")
                await app(scope if key is None else scope | {API_KEY: key.decode()}, receive, send)

            transport = httpx.ASGITransport(keyed)
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
                it = Reading(http, host)
                await it.fill()
                yield it

    return open_


async def test_every_read_over_http_is_written_down(reading: Any) -> None:
    async with reading() as it:
        assert await it.log() == [], "making datapoints is not reading them"
        await it.post("list_datapoints", {"limit": 1000})
        await it.post("list_datapoints", {"splits": ["test"], "limit": 2}, x_headrace_reader="ada")
        await it.post("get_datapoints", {"ids": [str(it.test[0])]}, x_headrace_reader="ada", x_headrace_purpose="paper")
        everywhere = json.dumps({"ids": [str(id_) for id_ in it.test]})
        await it.http.post("/v1/datasets/get_datapoints", content=everywhere, headers={"authorization": "k123"})
        assert await it.log() == [
            ("unknown", "POST /v1/datasets/d/list_datapoints", len(it.test)),
            ("ada", "POST /v1/datasets/d/list_datapoints", 2),
            ("ada", "paper", 1),
            ("k123", "POST /v1/datasets/get_datapoints", len(it.test)),
        ]


async def test_a_key_counts_for_more_than_what_a_caller_says(reading: Any) -> None:
    async with reading() as it:
        await it.post("list_datapoints", {"splits": ["test"]}, authorization="k123", x_headrace_reader="ada")
        assert [reader for reader, _, _ in await it.log()] == ["k123"]


async def test_reading_open_data_is_not_written_down(reading: Any) -> None:
    async with reading() as it:
        await it.post("list_datapoints", {"splits": ["train", "validation"], "limit": 1000})
        await it.post("list_datapoints", {"filter": {"type": "or", "children": []}, "limit": 1000})
        await it.http.get("/internal/datasets/d/datapoints/count")
        await it.http.get("/internal/datasets")
        assert await it.log() == []


async def test_retired_test_data_is_still_test_data(reading: Any) -> None:
    async with reading() as it:
        ids = [str(id_) for id_ in it.test]
        await it.http.delete("/v1/datasets/d")
        it.test = []
        await it.post("get_datapoints", {"ids": ids})
        assert [count for _, _, count in await it.log()] == [len(ids)]


async def test_accesses_are_shown_newest_first_in_pages(reading: Any) -> None:
    async with reading() as it:
        for name in ("a", "b", "c"):
            await it.post("list_datapoints", {"splits": ["test"]}, x_headrace_reader=name)
        found = (await it.http.get("/v1/datasets/d/holdout?limit=2")).json()
        bad = await it.http.get("/v1/datasets/d/holdout?limit=x")
    assert found["access_count"] == 3
    assert [each["reader"] for each in found["accesses"]] == ["c", "b"]
    assert set(found["accesses"][0]) == {"id", "at", "reader", "purpose", "datapoint_count"}
    assert found["accesses"][0]["at"] >= found["accesses"][1]["at"]
    assert bad.status_code == 400


async def test_an_evaluation_of_test_data_is_written_down(reading: Any) -> None:
    async with reading() as it:
        chosen: dict[str, Any] = {"dataset_name": "d", "function_name": "f", "at_most": None, "seed": 0}
        await choose(it.host.gateway, split="train", **chosen)
        await choose(it.host.gateway, split="test", **chosen)
        await choose(it.host.gateway, split="test", evaluation_name="haikus", **chosen)
        with pytest.raises(ConfigError):
            await choose(it.host.gateway, split="test", **chosen | {"function_name": "g"})
        readers = [("evaluation:f", "evaluation", len(it.test)), ("evaluation:haikus", "evaluation", len(it.test))]
        assert await it.log() == readers


class Forgetful(Memory):
    """Cannot write accesses."""

    async def write(self, records: Sequence[Record]) -> None:
        if any(isinstance(record, HoldoutAccess) for record in records):
            raise StoreError("the disk is full")
        await super().write(records)


async def test_what_cannot_be_written_down_is_not_given(reading: Any) -> None:
    async with reading(store=Forgetful(Settings())) as it:
        reply = await it.http.post("/v1/datasets/d/list_datapoints", content=json.dumps({"splits": ["test"]}))
        assert (reply.status_code, reply.json()) == (503, {"error": "the disk is full"})
        with pytest.raises(StoreError):
            await it.host.gateway.datasets.find(DatapointQuery(ids=tuple(it.test), limit=None))
        await it.post("list_datapoints", {"splits": ["train"]})


async def test_a_read_of_two_datasets_is_two_accesses(reading: Any) -> None:
    async with reading() as it:
        clone = json.dumps({"datapoint_ids": [str(it.test[0])]})
        await it.http.post("/internal/datasets/e/datapoints/clone", content=clone)
        holdout = Holdout(it.host.store, "1")
        await holdout.read(DatapointQuery(splits=("test",), limit=None), Reader("export", "a backup"))
        [d], [e] = [await it.host.store.holdout_accesses(name) for name in "de"]
    assert (d.reader, d.purpose, d.datapoint_count, d.snapshot_hash) == ("export", "a backup", len(it.test), "1")
    assert e.datapoint_count == 1


# -- the seal ---------------------------------------------------------------------------------------------


async def test_no_words_of_an_optimizer_open_the_test_split(reading: Any) -> None:
    async with reading() as it:
        bench: Any = Bench(it.host.gateway, it.host.gateway.functions["f"].spec, "d")
        for wanted in ("test", "TEST", "", None, tuple(it.test), it.test[0], ("train", "test")):
            with pytest.raises(SealedSplit):
                await bench.datapoints(wanted)
        seen = {each.id for split in ("train", "validation") for each in await bench.datapoints(split)}
        assert len(seen) == COUNT - len(it.test)
        assert not seen & set(it.test)
        assert await it.log() == [], "an optimization reads no test data, so there is nothing to write down"


def test_a_workbench_offers_no_other_way_to_data() -> None:
    public = {name for name in dir(Bench) if not name.startswith("_")}
    assert public == {name for name in dir(Workbench) if not name.startswith("_")}
    assert public == {"function", "datapoints", "embed", "count_examples", "add_examples", "advance"}


async def test_copies_of_test_data_stay_sealed_whichever_way_they_come(reading: Any) -> None:
    """Cloned, sent again, or made of the inference anew in another dataset: they are test data there too."""
    async with reading() as it:
        inferences = []
        for n in range(COUNT):
            said = {"messages": [{"role": "user", "content": f"text {n}"}]}
            body = json.dumps({"function_name": "f", "input": said})
            inferences.append((await it.http.post("/inference", content=body)).json()["inference_id"])
        await it.host.settled()
        made = json.dumps({"type": "inference_ids", "inference_ids": inferences})
        await it.http.post("/v1/datasets/other/from_inferences", content=made)
        every = await it.host.store.datapoints(DatapointQuery(dataset_name="d", limit=None))
        await it.http.post(
            "/internal/datasets/other/datapoints/clone",
            content=json.dumps({"datapoint_ids": [str(each.id) for each in every]}),
        )
        sealed = {each.content_key for each in every if each.split == "test"}
        bench = Bench(it.host.gateway, it.host.gateway.functions["f"].spec, "other")
        seen = {each.content_key for split in ("train", "validation") for each in await bench.datapoints(split)}
        assert len(seen) == COUNT - len(sealed)
        assert not seen & sealed
