"""Datapoints over HTTP: changed, named, retired and copied; each in a split that it never leaves."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

import anyio
import pytest
from dataset_calls import DATASET, PLACE, POINTS, calling, chat, extract, said
from headrace.contracts import DatapointQuery
from headrace.ids import new_id
from msgspec import structs

pytestmark = pytest.mark.anyio


@pytest.fixture
def client(opened: Any) -> Callable[..., Any]:
    """``async with client() as call``."""
    return partial(calling, opened)


# -- changing ---------------------------------------------------------------------------------------------


async def test_an_update_is_a_new_version_in_the_same_split(client: Any) -> None:
    async with client() as call:
        made = (await call.create(*(chat(f"question {n}") for n in range(12))))["ids"]
        old = await call.get(*made)
        changes = [{"type": "chat", "id": id_, "input": said(f"changed {n}")} for n, id_ in enumerate(made)]
        ids = (await call("PATCH", POINTS, {"datapoints": changes}, headers={"x-headrace-reader": "ada"}))["ids"]
        new, retired = await call.get(*ids), await call.get(*made)
        assert [each["split"] for each in new] == [each["split"] for each in old]
        assert len({each["split"] for each in new}) > 1
        assert [each["replaces"] for each in new] == made
        assert [each["input"]["messages"][0]["content"][0]["text"] for each in new][:2] == ["changed 0", "changed 1"]
        assert all(each["is_custom"] and each["editor"] == "ada" for each in new)
        assert all(each["is_deleted"] and each["staled_at"] for each in retired)
        assert {each["id"] for each in await call.listed()} == set(ids)
        # Whoever asks the first question again comes where it has always been.
        again = await call.get(*(await call.create(*(chat(f"question {n}") for n in range(12))))["ids"])
        assert [each["split"] for each in again] == [each["split"] for each in old]


CHAT: dict[str, Any] = {
    "output": [{"type": "text", "text": "x"}],
    "name": "n",
    "allowed_tools": ["weather"],
    "tool_choice": "required",
    "parallel_tool_calls": True,
    "tags": {"a": "b"},
}
CLEARED = {"output": None, "name": None, "allowed_tools": None, "tool_choice": "auto", "parallel_tool_calls": None}
NULLS = dict.fromkeys(["output", "name", "allowed_tools", "tool_choice", "parallel_tool_calls", "tags", "input"])


@pytest.mark.parametrize(
    ("change", "headers", "expected"),
    [
        ({}, {}, {}),
        (NULLS, {}, CLEARED),
        (NULLS, {"x-headrace-null": "clear"}, CLEARED),
        (NULLS, {"x-headrace-null": "keep"}, {}),
        ({"tags": {}}, {}, {"tags": {}}),
        ({"name": "other"}, {"x-headrace-null": "keep"}, {"name": "other"}),
        ({"output": []}, {}, {"output": []}),
        ({"tool_choice": "none"}, {}, {"tool_choice": "none"}),
    ],
    ids=["nothing", "nulls", "clear", "keep", "no-tags", "name", "no-output", "choice"],
)
async def test_what_is_left_out_stays_and_null_clears(client: Any, change: Any, headers: Any, expected: Any) -> None:
    async with client() as call:
        [id_] = (await call.create(chat(**CHAT)))["ids"]
        body = {"datapoints": [{"type": "chat", "id": id_, **change}]}
        [new] = await call.get(*(await call("PATCH", POINTS, body, headers=headers))["ids"])
    assert {name: new[name] for name in CHAT} == CHAT | expected


async def test_tools_change_one_field_at_a_time(client: Any) -> None:
    tool = {"type": "function", "name": "extra", "description": "x", "parameters": PLACE, "strict": False}
    custom = {"type": "openai_custom", "name": "free"}
    async with client() as call:
        [id_] = (await call.create(chat(allowed_tools=["weather", "spare", "extra"], additional_tools=[tool, custom])))[
            "ids"
        ]

        async def change(**fields: Any) -> Any:
            nonlocal id_
            [id_] = (await call("PATCH", POINTS, {"datapoints": [{"type": "chat", "id": id_, **fields}]}))["ids"]
            return (await call.get(id_))[0]

        first = await change(parallel_tool_calls=False)
        assert sorted(first["allowed_tools"]) == ["extra", "spare_tool", "weather"]
        second = await change(provider_tools=[{"tool": {"type": "search"}}])
        assert (second["allowed_tools"], second["parallel_tool_calls"]) == (first["allowed_tools"], False)
        bad = {"datapoints": [{"type": "chat", "id": id_, "additional_tools": []}]}
        assert "Tool not found: extra" in (await call("PATCH", POINTS, bad, status=400))["error"]
        third = await change(additional_tools=[], allowed_tools=None)
        assert (third["additional_tools"], third["allowed_tools"]) == ([], None)


async def test_a_json_output_is_held_against_the_new_schema(client: Any) -> None:
    schema = {"type": "object", "required": ["town"]}
    async with client() as call:
        [id_] = (await call.create(extract(output={"raw": '{"place": "Basel"}'})))["ids"]
        changes: list[tuple[Any, Any]] = [
            ({"output_schema": schema}, None),
            ({"output": {"raw": '{"town": 1}'}}, {"town": 1}),
        ]
        for change, parsed in changes:
            body = {"datapoints": [{"type": "json", "id": id_, **change}]}
            [id_] = (await call("PATCH", POINTS, body))["ids"]
            [found] = await call.get(id_)
            assert (found["output"]["parsed"], found["output_schema"]) == (parsed, schema)


async def test_names_change_in_place(client: Any) -> None:
    async with client() as call:
        ids = (await call.create(chat("a", name="old"), chat("b", name="old"), chat("c", name="old")))["ids"]
        changes = [{"id": ids[0], "name": "new"}, {"id": ids[1], "name": None}, {"id": ids[2]}]
        assert (await call("PATCH", f"{POINTS}/metadata", {"datapoints": changes}))["ids"] == ids
        assert [each["name"] for each in await call.get(*ids)] == ["new", None, "old"]
        await call(
            "PATCH", f"{POINTS}/metadata", {"datapoints": [{"id": ids[0], "name": None}]},
            headers={"x-headrace-null": "keep"},
        )  # fmt: skip
        assert (await call.get(ids[0]))[0]["name"] == "new"


@pytest.mark.parametrize("path", [POINTS, f"{POINTS}/metadata"], ids=["change", "name"])
async def test_changes_need_a_datapoint_of_this_dataset_that_is_not_retired(client: Any, path: str) -> None:
    async with client() as call:
        one, two = (await call.create(chat("a"), chat("b")))["ids"]
        [elsewhere] = (await call.create(chat("c"), path="/v1/datasets/e/datapoints"))["ids"]
        await call("DELETE", POINTS, {"ids": [two]})
        for id_ in (two, elsewhere, str(new_id())):
            body = {"datapoints": [{"type": "chat", "id": one, "name": "x"}, {"type": "chat", "id": id_, "name": "x"}]}
            answer = await call("PATCH", path, body, status=404)
            assert answer == {"error": f"Datapoint not found for id: {id_}"}
        twice = {"datapoints": [{"type": "chat", "id": one}, {"type": "chat", "id": one}]}
        assert "duplicate id" in (await call("PATCH", path, twice, status=400))["error"]
        assert "at least one" in (await call("PATCH", path, {"datapoints": []}, status=400))["error"]
        assert (await call.get(one))[0]["name"] is None


async def test_a_change_of_the_wrong_type_is_refused(client: Any) -> None:
    async with client() as call:
        [id_] = (await call.create(chat()))["ids"]
        answer = await call("PATCH", POINTS, {"datapoints": [{"type": "json", "id": id_}]}, status=400)
        assert answer == {"error": f"datapoints[0]: type: datapoint {id_} is of a chat function"}
        odd = {"datapoints": [{"type": "chat", "id": id_}]}
        answer = await call("PATCH", POINTS, odd, status=400, headers={"x-headrace-null": "x"})
        assert answer == {"error": "x-headrace-null: expected `keep` or `clear`, found 'x'"}


async def test_of_two_changes_at_once_one_wins(client: Any) -> None:
    async with client() as call:
        [id_] = (await call.create(chat()))["ids"]
        statuses: list[int] = []

        async def change(name: str) -> None:
            body = json.dumps({"datapoints": [{"type": "chat", "id": id_, "name": name}]})
            statuses.append((await call.http.patch(POINTS, content=body)).status_code)

        async with anyio.create_task_group() as tasks:
            for name in "abcd":
                tasks.start_soon(change, name)
        assert sorted(statuses) == [200, 404, 404, 404]
        assert len(await call.listed()) == 1


async def test_retiring_counts_what_was_there(client: Any) -> None:
    async with client() as call:
        ids = (await call.create(*(chat(f"{n}") for n in range(4))))["ids"]
        body = {"ids": [*ids[:2], str(new_id()), ids[0]]}
        assert await call("DELETE", POINTS, body) == {"num_deleted_datapoints": 2}
        assert await call("DELETE", POINTS, body) == {"num_deleted_datapoints": 0}
        assert "at least one" in (await call("DELETE", POINTS, {"ids": []}, status=400))["error"]
        assert len(await call.listed()) == 2
        assert await call("DELETE", DATASET) == {"num_deleted_datapoints": 2}
        assert await call("DELETE", DATASET) == {"num_deleted_datapoints": 0}
        assert await call("GET", "/internal/datasets") == {"datasets": []}
        assert len(await call.get(*ids)) == 4


async def test_a_large_dataset_is_retired_whole(client: Any) -> None:
    async with client() as call:
        [id_] = (await call.create(chat()))["ids"]
        [point] = await call.host.store.datapoints(DatapointQuery(ids=(UUID(id_),)))
        await call.host.store.write([structs.replace(point, id=new_id()) for _ in range(2100)])
        assert await call("DELETE", DATASET) == {"num_deleted_datapoints": 2101}


# -- copies -----------------------------------------------------------------------------------------------

LONG = "the parcel that i have ordered on monday has still not arrived and nobody answers the telephone at all"


async def test_near_copies_share_a_split_and_are_told(client: Any) -> None:
    async with client() as call:
        firsts = [await call.create(chat(f"a{n}b {' '.join(f'{n}x{k}' for k in range(30))}")) for n in range(15)]
        assert all("near_duplicates" not in answer for answer in firsts)
        old = await call.get(*(answer["ids"][0] for answer in firsts))
        for n, before in enumerate(old):
            text = f"a{n}b {' '.join(f'{n}x{k}' for k in range(30))} please"
            answer = await call.create(chat(text), path="/v1/datasets/e/datapoints")
            [near] = answer["near_duplicates"]
            assert near["similarity"] == pytest.approx(29 / 30, abs=0.01)
            assert near | {"similarity": 0} == {
                "id": answer["ids"][0], "of": before["id"], "dataset_name": "d", "split": before["split"],
                "similarity": 0,
            }  # fmt: skip
            assert (await call.get(answer["ids"][0]))[0]["split"] == before["split"]


async def test_copies_within_one_request_are_told_and_go_together(client: Any) -> None:
    async with client() as call:
        answer = await call.create(chat(LONG), chat("other"), chat(LONG.upper() + "!"), chat(f"{LONG} again"))
        found = await call.get(*answer["ids"])
    assert [(near["id"], near["of"]) for near in answer["near_duplicates"]] == [
        (answer["ids"][2], answer["ids"][0]),
        (answer["ids"][3], answer["ids"][0]),
    ]
    assert answer["near_duplicates"][0]["similarity"] == 1
    assert len({each["split"] for each in (found[0], found[2], found[3])}) == 1


async def test_copies_that_arrive_at_once_go_together(client: Any) -> None:
    async with client() as call:
        answers: list[Any] = []

        async def create(n: int) -> None:
            answers.append(await call.create(chat(f"{LONG} {n}")))

        async with anyio.create_task_group() as tasks:
            for n in range(8):
                tasks.start_soon(create, n)
        found = await call.listed()
    assert len(found) == 8
    assert len({each["split"] for each in found}) == 1
    assert sum("near_duplicates" in answer for answer in answers) == 7


async def test_an_update_is_no_copy_of_what_it_replaces(client: Any) -> None:
    async with client() as call:
        one, other = (await call.create(chat(LONG), chat("something else")))["ids"]
        body = {"datapoints": [{"type": "chat", "id": one, "input": said(f"{LONG} again")}]}
        answer = await call("PATCH", POINTS, body)
        assert "near_duplicates" not in answer
        body = {"datapoints": [{"type": "chat", "id": other, "input": said(LONG)}]}
        [near] = (await call("PATCH", POINTS, body))["near_duplicates"]
        assert near["of"] == answer["ids"][0]


async def test_clones_keep_their_split(client: Any) -> None:
    async with client() as call:
        ids = (await call.create(*(chat(f"{n}", name="n", tags={"a": "b"}) for n in range(8))))["ids"]
        [gone] = (await call.create(chat("gone")))["ids"]
        await call("DELETE", POINTS, {"ids": [gone]})
        path = "/internal/datasets/e/datapoints/clone"
        copies = (await call("POST", path, {"datapoint_ids": [*ids, gone, str(new_id())]}))["datapoint_ids"]
        assert copies[8:] == [None, None]
        old, new = await call.get(*ids), await call.get(*copies[:8])
        assert not set(ids) & set(copies)
        ours = {"id", "dataset_name", "updated_at"}
        for before, after in zip(old, new, strict=True):
            assert after["dataset_name"] == "e"
            assert {k: v for k, v in after.items() if k not in ours} == {
                k: v for k, v in before.items() if k not in ours
            }
        assert await call("POST", path, {"datapoint_ids": []}) == {"datapoint_ids": []}
