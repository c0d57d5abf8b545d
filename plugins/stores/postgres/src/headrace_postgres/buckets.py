"""Token buckets as rows, on the server's clock: one statement, so one round trip, for all that a call needs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from headrace.contracts import Bucket

from .server import Connection
from .text import stored

# `use_buckets` is in `schema`. It locks the rows in the order they are given in, so that nobody waits in a circle.
_USE = "SELECT use_buckets($1::bytea[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[], $7::boolean)"


async def take(connection: Connection, wanted: Sequence[tuple[Bucket, int]]) -> list[int]:
    """What each bucket had; taken from all or from none."""
    return await _use(connection, wanted, is_take=True)


async def settle(connection: Connection, changes: Sequence[tuple[Bucket, int]]) -> None:
    """Give back, or charge more."""
    await _use(connection, changes, is_take=False)


async def _use(connection: Connection, of: Sequence[tuple[Bucket, int]], *, is_take: bool) -> list[int]:
    ids = [hashlib.sha256(bucket.key.encode()).digest() for bucket, _ in of]
    order = sorted(range(len(of)), key=ids.__getitem__)
    buckets = [of[at][0] for at in order]
    had = await connection.fetchval(
        _USE,
        [ids[at] for at in order],
        [stored(bucket.key) for bucket in buckets],
        [bucket.capacity for bucket in buckets],
        [bucket.refill_rate for bucket in buckets],
        [bucket.window for bucket in buckets],
        [of[at][1] for at in order],
        is_take,
    )
    by_id = dict(zip((ids[at] for at in order), had, strict=True))
    return [by_id[id_] for id_ in ids]
