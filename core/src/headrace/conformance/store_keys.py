"""What every store promises of API keys: found by their public id, as they were written last.

Features for ``lacks``: keys.
"""
# ruff: noqa: D102 - the name of a test says what it promises

from __future__ import annotations

from pathlib import Path

import pytest

from ..storage import KeyStore, Store
from .rows import api_key, at, uid
from .rows_every import HOSTILE
from .store_promises import StorePromises
from .suite import needs


class KeyPromises(StorePromises):
    """Who calls. A store that cannot be asked says ``lacks = {"keys": why}``; authentication needs one that can."""

    @needs("keys")
    async def test_finds_a_key_by_its_whole_public_id(self, store: Store) -> None:
        assert isinstance(store, KeyStore)
        assert await store.api_key("abcdefghijk1") is None
        one, other = api_key(1, public_id="abcdefghijk1"), api_key(2, public_id="ABCDEFGHIJK1", description="other")
        await store.write([one, other])
        assert await store.api_key(one.public_id) == one
        assert await store.api_key(other.public_id) == other
        for unknown in ("", "%", "abcdefghijk", "abcdefghijk1 ", "abcdefghijk_", "x" * 100_000):
            assert await store.api_key(unknown) is None

    @needs("keys")
    async def test_finds_a_key_as_it_was_written_last(self, store: Store) -> None:
        assert isinstance(store, KeyStore)
        key = api_key(1)
        disabled = api_key(1, disabled_at=at(2), updated_at=at(2))
        await store.write([key])
        await store.write([api_key(3), disabled])
        assert await store.api_key(key.public_id) == disabled
        await store.write([key])  # by hand, say: what was written last is what holds
        assert await store.api_key(key.public_id) == key

    @needs("keys")
    async def test_finds_the_last_updated_of_keys_that_share_a_public_id(self, store: Store) -> None:
        assert isinstance(store, KeyStore)
        older, newer = api_key(2, public_id="shared"), api_key(1, public_id="shared", updated_at=at(1))
        await store.write([newer, older])
        assert await store.api_key("shared") == newer
        same = api_key(3, public_id="shared", updated_at=at(1))
        await store.write([same])
        assert await store.api_key("shared") == same

    @needs("keys")
    @pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
    async def test_finds_a_key_with_a_hostile_public_id(self, store: Store, text: str) -> None:
        assert isinstance(store, KeyStore)
        hostile = api_key(1, public_id=text, description=text, organization=text, workspace=text)
        await store.write([hostile, *(api_key(n) for n in range(2, 50))])
        assert await store.api_key(text) == hostile

    @needs("keys", "persistence")
    async def test_finds_a_key_when_opened_again(self, tmp_path: Path) -> None:
        async with self.build(tmp_path) as store:
            await store.write([api_key(1)])
        async with self.build(tmp_path) as store:
            assert isinstance(store, KeyStore)
            assert await store.api_key(api_key(1).public_id) == api_key(1)
            assert await store.find(uid(1)) == [api_key(1)]
