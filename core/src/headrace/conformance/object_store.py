"""What every object store promises: what was put comes back byte for byte, and no key leads out of it."""

# ruff: noqa: D102 - the name of a test is its promise

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import pytest

from ..contracts import ObjectStore
from ..errors import ObjectStoreError
from .suite import Suite, nothing_left_over

Opened: TypeAlias = Callable[[], AbstractAsyncContextManager[ObjectStore]]

PATH = "observability/files/0123456789abcdef.png"

KEYS = {
    "at the top": ".headrace-probe",
    "deep": "a/b/c/d/e/f",
    "dots inside": "a..b/...c/d.",
    "spaces": "a b/ c .png",
    "percent": "a%2Fb/%2e%2e/100%",
    "query": "a?b=c&d#e+f",
    "accents": "ä/日本語/😀.png",
    "quotes": "a'b\"c<d>e",
    "long": "/".join(["x" * 100] * 9),
}

WAYS_OUT = {
    "empty": "",
    "up": "../out",
    "up later": "observability/../../out",
    "up at the end": "observability/..",
    "here": "./out",
    "absolute": "/out",
    "nothing between": "a//out",
    "folder": "a/",
    "backslash": "..\\out",
    "nul": "a\0b",
    "newline": "a\nb",
    "surrogate": "a\ud800",
    "endless": "x/" * 600 + "x",
}


class ObjectStoreConformance(Suite):
    """Subclass with ``build``; each call builds a store that sees the same objects as the one before."""

    def build(self, tmp_path: Path) -> ObjectStore:
        """The store under test, not yet entered if it is a context manager."""
        raise NotImplementedError(f"{type(self).__name__}.build: return the object store under test")

    @pytest.fixture
    def opened(self, tmp_path: Path) -> Opened:
        """``async with opened() as store``: another store over the same objects."""

        @asynccontextmanager
        async def open_() -> AsyncGenerator[ObjectStore, None]:
            with nothing_left_over():
                async with AsyncExitStack() as stack:
                    store = self.build(tmp_path)
                    if isinstance(store, AbstractAsyncContextManager):
                        await stack.enter_async_context(store)
                    yield store

        return open_

    async def test_gives_back_what_it_was_given(self, opened: Opened) -> None:
        every_byte = bytes(range(256)) * 3
        async with opened() as store:
            await store.put(PATH, every_byte, "image/png")
            assert await store.get(PATH) == every_byte
            await store.put("another", b"other")
            assert await store.get(PATH) == every_byte

    async def test_objects_outlive_the_process(self, opened: Opened) -> None:
        async with opened() as store:
            await store.put(PATH, b"abc")
        async with opened() as store:
            assert await store.get(PATH) == b"abc"

    async def test_the_same_path_again_replaces_the_object(self, opened: Opened) -> None:
        async with opened() as store:
            await store.put(PATH, b"a long first text", "text/plain")
            await store.put(PATH, b"short", "image/png")
            assert await store.get(PATH) == b"short"

    async def test_an_object_may_be_empty(self, opened: Opened) -> None:
        async with opened() as store:
            await store.put(".tensorzero-validate", b"")
            assert await store.get(".tensorzero-validate") == b""

    async def test_an_object_may_be_large(self, opened: Opened) -> None:
        large = bytes(range(251)) * 66_000  # 16.5 MB, in no multiple of anybody's block
        async with opened() as store:
            await store.put(PATH, large, "video/mp4")
            assert await store.get(PATH) == large

    async def test_what_is_not_there_is_an_object_store_error(self, opened: Opened) -> None:
        async with opened() as store:
            await store.put("folder/object", b"")
            for path in ("nothing/is/here.png", "folder", "folder/other", "folder/object/below"):
                with pytest.raises(ObjectStoreError):
                    await store.get(path)

    async def test_takes_every_key_and_mixes_none_up(self, opened: Opened) -> None:
        async with opened() as store:
            for name, key in KEYS.items():
                await store.put(key, name.encode())
            for name, key in KEYS.items():
                assert await store.get(key) == name.encode(), key

    async def test_no_key_leads_out(self, opened: Opened) -> None:
        async with opened() as store:
            for name, key in WAYS_OUT.items():
                with pytest.raises(ObjectStoreError):
                    await store.put(key, b"out")
                    pytest.fail(f"took a key that is no key: {name}")
                with pytest.raises(ObjectStoreError):
                    await store.get(key)

    async def test_many_at_once_do_not_disturb_each_other(self, opened: Opened) -> None:
        async with opened() as store:

            async def write_and_read(number: int) -> None:
                body = bytes([number]) * 10_000
                await store.put(f"many/{number}", body)
                assert await store.get(f"many/{number}") == body

            async with anyio.create_task_group() as tasks:
                for number in range(30):
                    tasks.start_soon(write_and_read, number)

    async def test_who_reads_while_others_write_gets_one_whole_object(self, opened: Opened) -> None:
        bodies = [bytes([number]) * 200_000 for number in range(8)]
        async with opened() as store:
            await store.put(PATH, bodies[0])
            found: list[bytes] = []

            async def read() -> None:
                found.append(await store.get(PATH))

            async with anyio.create_task_group() as tasks:
                for body in bodies:
                    tasks.start_soon(store.put, PATH, body)
                    tasks.start_soon(read)
            assert len(found) == 8 and all(body in bodies for body in found)

    async def test_its_kind_is_json_that_says_the_type(self, opened: Opened) -> None:
        async with opened() as store:
            kind: dict[str, Any] = json.loads(json.dumps(dict(store.kind)))
            assert kind == dict(store.kind) and isinstance(kind["type"], str)
        async with opened() as again:
            assert dict(again.kind) == kind
