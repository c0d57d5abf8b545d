"""What a provider call cost, in decimal dollars: configured prices applied to its raw answer, or those of a list."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
from msgspec import Struct, structs

from .contracts import ListedPrice
from .types import Chunk, EmbeddingResponse, ModelResponse, Usage

log = logging.getLogger(__name__)

# No answer costs more, or less, than so many digits of dollars: beyond them numbers are an attack, or a mistake.
_MOST_DIGITS = 40
_INDEX = re.compile(r"0|[1-9][0-9]{0,17}")

CONFIGURED = "config"
"""The ``price_version`` of a cost by the configuration's own prices."""


class Price(Struct, frozen=True):
    """One JSON pointer times a rate in dollars per unit; a ``required`` value that is missing voids the whole cost."""

    pointer: str
    streaming_pointer: str
    rate: Decimal
    required: bool = False


class Rates(Struct, frozen=True):
    """What a provider asks for a call: by the configuration if it says anything of it, else by a list of prices."""

    prices: Sequence[Price] = ()
    listed: ListedPrice | None = None

    def priced(
        self, response: ModelResponse | EmbeddingResponse, at: float, *, is_batch: bool = False
    ) -> tuple[Usage, str | None]:
        """The usage of a whole answer with its cost, and by whose prices. ``at`` is in seconds since the epoch."""
        if self.prices:
            return _with(response.usage, cost_of(self.prices, response.raw_response), CONFIGURED)
        return self._listed(response.usage, response.raw_usage, response.raw_response, at, is_batch=is_batch)

    def streamed(
        self, chunks: Sequence[Chunk], usage: Usage, raw_usage: Any, at: float, *, is_whole: bool
    ) -> tuple[Usage, str | None]:
        """The same for a streamed answer. Of one that broke off no list can tell the cost: the rest is unknown."""
        if self.prices:
            return _with(usage, streamed_cost_of(self.prices, [chunk.raw for chunk in chunks]), CONFIGURED)
        if self.listed is None or not is_whole:
            return _without(usage), None
        told = next((chunk.raw for chunk in reversed(chunks) if chunk.usage is not None), "")
        return self._listed(usage, raw_usage, told, at)

    def _listed(
        self, usage: Usage, raw_usage: Any, raw: str, at: float, *, is_batch: bool = False
    ) -> tuple[Usage, str | None]:
        if self.listed is None:
            return _without(usage), None
        try:
            cost = self.listed.cost(usage, raw_usage=raw_usage, raw=raw, at=at, is_batch=is_batch)
        except Exception:  # a plugin's bug; the answer is there, and is worth more than its price
            log.exception("no cost: the list %s failed", self.listed.version)
            return _without(usage), None
        return _with(usage, cost, self.listed.version)


NO_RATES = Rates()


def _without(usage: Usage) -> Usage:
    return usage if usage.cost is None else structs.replace(usage, cost=None)


def _with(usage: Usage, cost: Decimal | None, version: str) -> tuple[Usage, str | None]:
    return structs.replace(usage, cost=cost), None if cost is None else version


def cost_of(prices: Sequence[Price], raw: str) -> Decimal | None:
    """The cost of a whole answer, or None if it cannot be known."""
    return _total(prices, [(price.pointer, price) for price in prices], [raw])


def streamed_cost_of(prices: Sequence[Price], raws: Sequence[str]) -> Decimal | None:
    """The cost of a streamed answer: the largest value at each pointer over all chunks (they may be running totals)."""
    return _total(prices, [(price.streaming_pointer, price) for price in prices], raws)


def _total(prices: Sequence[Price], lookups: Sequence[tuple[str, Price]], raws: Sequence[str]) -> Decimal | None:
    if not prices:
        return None
    documents = [document for raw in raws if (document := _decode(raw)) is not None]
    total = Decimal(0)
    for pointer, price in lookups:
        try:
            found = [value for document in documents if (value := _number(document, pointer)) is not None]
            total += max(found, default=Decimal(0)) * price.rate
        except ArithmeticError:
            log.warning("no cost: the value at %s is not a number", pointer)
            return None
        if not found and price.required:
            log.warning("no cost: required value at %s is missing", pointer)
            return None
    if total < 0:
        log.warning("no cost: the total is negative, %s", total)
        return None
    if abs(total.adjusted()) <= _MOST_DIGITS:
        return total
    if not total:
        return Decimal(0)
    log.warning("no cost: the total is beyond reason, %s", total)
    return None


def _decode(raw: str) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (ValueError, RecursionError):  # not JSON, or nested beyond reason
        return None


def _number(document: Any, pointer: str) -> Decimal | None:
    """The number (or numeric text) at a JSON pointer (RFC 6901), None where nothing is. Raise InvalidOperation."""
    node = document
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(node, dict) and key in node:
            node = node[key]
        elif isinstance(node, list) and _INDEX.fullmatch(key) and int(key) < len(node):
            node = node[int(key)]
        else:
            return None
    if node is None:
        return None
    if isinstance(node, bool) or not isinstance(node, (int, float, str)):
        raise InvalidOperation
    number = Decimal(str(node))
    if not number.is_finite():  # "NaN" and "Infinity" are decimals too
        raise InvalidOperation
    return number
