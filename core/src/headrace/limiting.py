"""Takes from the buckets of rate limits before a provider is called, and settles with what the call really used."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from decimal import ROUND_CEILING, Decimal
from typing import Any

import anyio
import msgspec
from anyio.abc import TaskGroup

from .errors import MissingMaxTokens, RateLimitExceeded
from .limits import SINGULAR, Active, Resource, Rules
from .media import File
from .refills import MOST, suffices
from .storage import Bucket, Buckets
from .types import (
    Block,
    CheckedToolCall,
    EmbeddingRequest,
    ModelRequest,
    Text,
    Thought,
    ToolCall,
    ToolResult,
    Usage,
)

log = logging.getLogger(__name__)

_NANO = Decimal(10**9)
_FILE_TOKENS = 10_000


class Limiter:
    """Holds the rules of one gateway. Open it where reservations are to be settled."""

    def __init__(self, rules: Rules, buckets: Buckets, *, default_cost: float) -> None:
        """``default_cost`` is in dollars: what is taken for a call, since nobody can know its cost before."""
        self._rules = rules
        self._buckets = buckets
        self._default_cost = nano(Decimal(str(default_cost)))
        self._open = AsyncExitStack()
        self._tasks: TaskGroup | None = None
        self._unsettled: dict[str, tuple[Bucket, int]] = {}
        self._is_settling = False

    async def __aenter__(self) -> Limiter:
        """Begin to settle."""
        self._tasks = await self._open.enter_async_context(anyio.create_task_group())
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Settle what is left."""
        self._tasks = None
        await self._open.aclose()

    async def reserve(self, request: ModelRequest | EmbeddingRequest) -> Reservation | None:
        """Take what the call will use by our estimate; None if no limit concerns it.

        Raise RateLimitExceeded where there is not enough of something, and then take nothing; MissingMaxTokens;
        StoreError where the buckets cannot be reached: nobody passes a limit unseen.
        """
        active = self._rules.active(request.caller)
        if not active:
            return None
        estimates = {resource: self._estimate(resource, request) for resource in {each.resource for each in active}}
        wanted = [(each.bucket, estimates[each.resource]) for each in active]
        had = await self._buckets.take(wanted)
        failed = [
            (each, units, has)
            for each, (_, units), has in zip(active, wanted, had, strict=True)
            if not suffices(has, units)
        ]
        if failed:
            raise _exceeded(failed)
        return Reservation(self, active, estimates, has_output=isinstance(request, ModelRequest))

    def _estimate(self, resource: Resource, request: ModelRequest | EmbeddingRequest) -> int:
        if resource == "tokens":
            return estimated_tokens(request)
        return self._default_cost if resource == "cost" else 1

    def settle(self, changes: Sequence[tuple[Bucket, int]]) -> None:
        """Give back or charge soon; what comes meanwhile is summed up by bucket and goes together."""
        for bucket, change in changes:
            _, before = self._unsettled.get(bucket.key, (bucket, 0))
            self._unsettled[bucket.key] = bucket, max(-MOST, min(before + change, MOST))
        if self._unsettled and not self._is_settling and self._tasks is not None:
            self._is_settling = True
            self._tasks.start_soon(self._settle_all)

    async def _settle_all(self) -> None:
        try:
            # To the end even where the gateway is cancelled: what was reserved too much would be lost to its users.
            with anyio.CancelScope(shield=True):
                while self._unsettled:
                    changes, self._unsettled = list(self._unsettled.values()), {}
                    await self._settle(changes)
        finally:
            self._is_settling = False

    async def _settle(self, changes: Sequence[tuple[Bucket, int]]) -> None:
        try:
            await self._buckets.settle(changes)
        except Exception as error:  # nobody waits for this who could be told
            log.warning("rate limits: the real use of some calls is not settled, their estimates stand: %s", error)


class Reservation:
    """What one call took."""

    def __init__(
        self, limiter: Limiter, active: Sequence[Active], estimates: dict[Resource, int], *, has_output: bool
    ) -> None:
        self._limiter = limiter
        self._active = active
        self.estimates = estimates
        self._has_output = has_output

    def settle(self, usage: Usage, *, failed: bool = False) -> None:
        """Give back what was not used, and charge what was used beyond; a call that failed gets nothing back.

        Where the upstream did not say all of its tokens, what it said is the least it can have been.
        """
        changes = []
        for active in self._active:
            used, is_exact = self._used(active.resource, usage)
            change = self.estimates[active.resource] - used
            if change < 0 or (change > 0 and is_exact and not failed):
                changes.append((active.bucket, change))
        if changes:
            self._limiter.settle(changes)

    def _used(self, resource: Resource, usage: Usage) -> tuple[int, bool]:
        """How much it was, at least; and whether it was exactly that."""
        if resource == "model_inferences":
            return 1, True
        if resource == "cost":
            return (0, False) if usage.cost is None else (nano(usage.cost), True)
        tokens = [usage.input_tokens, usage.output_tokens if self._has_output else usage.output_tokens or 0]
        return sum(count or 0 for count in tokens), None not in tokens


def nano(dollars: Decimal) -> int:
    """Nano-dollars, rounded up: budgets are not overspent by rounding."""
    return int((dollars * _NANO).to_integral_value(ROUND_CEILING))


def estimated_tokens(request: ModelRequest | EmbeddingRequest) -> int:
    """Half the bytes of all text, a flat sum for files, and as many as may be answered. Raise MissingMaxTokens."""
    if isinstance(request, EmbeddingRequest):
        pieces = [request.input] if isinstance(request.input, str) else request.input
        return sum(_half(piece) if isinstance(piece, str) else _count(piece) for piece in pieces)
    if request.params.max_tokens is None:
        raise MissingMaxTokens("Missing max_tokens for request subject to rate limiting rules.")
    blocks = sum(_of_block(block) for message in request.messages for block in message.content)
    return _half(request.system) + blocks + request.params.max_tokens


def _of_block(block: Block) -> int:
    match block:
        case Text():
            return _half(block.text)
        case ToolCall():
            return _half(block.name) + _half(block.arguments)
        case CheckedToolCall():
            return _half(block.raw_name) + _half(block.raw_arguments)
        case ToolResult():
            return _half(block.name) + _half(block.result)
        case Thought():
            return _half(block.text) + _half(block.signature)
        case File():
            return _FILE_TOKENS
    return 0


def _half(text: str | None) -> int:
    return len(text.encode(errors="surrogatepass")) // 2 if text else 0


def _count(tokens: int | Sequence[int]) -> int:
    return 1 if isinstance(tokens, int) else len(tokens)


def _exceeded(failed: Sequence[tuple[Active, int, int]]) -> RateLimitExceeded:
    """What the caller is told. What is owed counts as nothing left."""
    shown = [
        (SINGULAR[active.resource], ", ".join(map(str, active.scope)), units, max(has, 0))
        for active, units, has in failed
    ]
    if len(shown) == 1:
        [(resource, scope, units, has)] = shown
        message = (
            f"TensorZero rate limit exceeded for `{resource}` resource.\n"
            f"Scope: {scope}\nRequested: {units}\nAvailable: {has}"
        )
    else:
        message = f"TensorZero rate limits exceeded for {len(shown)} rules:\n" + "\n".join(
            f"- Resource: `{resource}`\n    ├ Scope: {scope}\n    ├ Requested: {units}\n    └ Available: {has}"
            for resource, scope, units, has in shown
        )
    return RateLimitExceeded(message, limits=[_detail(*each) for each in failed])


def _detail(active: Active, units: int, has: int) -> dict[str, Any]:
    """The same for programs, with dollars where the text has nano-dollars (http-api 24.21)."""
    requested, available = units, max(has, 0)
    is_cost = active.resource == "cost"
    return {
        "key": active.bucket.key,
        "requested": float(requested / _NANO) if is_cost else requested,
        "available": float(available / _NANO) if is_cost else available,
        "resource": SINGULAR[active.resource],
        "scope_key": msgspec.to_builtins([*active.scope]),
    }
