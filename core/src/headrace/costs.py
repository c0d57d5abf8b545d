"""What a provider call cost: prices applied to the upstream's own raw answer, in decimal dollars."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
from msgspec import Struct

log = logging.getLogger(__name__)


class Price(Struct, frozen=True):
    """One JSON pointer times a rate in dollars per unit; a ``required`` value that is missing voids the whole cost."""

    pointer: str
    streaming_pointer: str
    rate: Decimal
    required: bool = False


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
    return total


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
        elif isinstance(node, list) and key.isdecimal() and int(key) < len(node):
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
