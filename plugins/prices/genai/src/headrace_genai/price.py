"""What calls of one model cost: the package's arithmetic, boiled down to a few rates that are good for a while.

The package takes 150 µs for a price. A price is a sum of counts times rates, though, so its own answers for a few tiny
counts tell what the rates are; what only few calls have, such as audio, is left to the package.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

import genai_prices
import msgspec
from genai_prices.types import ModelInfo, ModelPrice, Provider, TieredPrices, TimeOfDateConstraint
from headrace.types import Usage

from .details import DETAILS, Path, count_at

log = logging.getLogger(__name__)

VERSION: Final = f"genai-prices/{genai_prices.__version__}"

_BATCH: Final = ("processing", "batch")
# What an upstream tells of how it served a call, at the top of its answer or in its account.
_TOLD: Final = ("service_tier", "speed")


class _Answer(msgspec.Struct):
    service_tier: Any = None


_answer: Final = msgspec.json.Decoder(_Answer)


class _Tier(NamedTuple):
    """Dollars for each token, beyond ``above`` input tokens; cached ones are counted as input first."""

    above: int
    request: Decimal
    input: Decimal
    read: Decimal
    written: Decimal
    output: Decimal


class _Rates(NamedTuple):
    """Of a time and a way to be served; ``details`` are counts with prices of their own, ``heads`` where they are."""

    price: ModelPrice
    tiers: tuple[_Tier, ...]
    details: tuple[tuple[str, Sequence[Path]], ...]
    heads: frozenset[str]
    has_output: bool


class Price:
    """One model of one upstream."""

    version = VERSION

    def __init__(self, provider: Provider, model: ModelInfo, *, adds_reasoning: bool = False) -> None:
        """``adds_reasoning`` where the upstream does not count reasoning as output, but charges it so."""
        self._model = model
        self._adds_reasoning = adds_reasoning
        # A model that one provider sells for another has this one's ordinary prices only.
        own = any(model is each for each in provider.models)
        self._variants = (model.price_variants or []) if own else []
        self._known = {pair for variant in self._variants for pair in variant.when.items()}
        self._told = [name for name in _TOLD if any(name == key for key, _ in self._known)]
        # Prices begin on some day, in UTC, or at some minute of each day.
        limits = [each.constraint for each in self._variants]
        limits += [each.constraint for each in model.prices] if isinstance(model.prices, list) else []
        has_times = any(isinstance(limit, TimeOfDateConstraint) for limit in limits)
        self._period_s = 60 if has_times else 24 * 60 * 60
        self._rates: dict[tuple[tuple[str, str], ...], tuple[int, _Rates | None]] = {}

    def cost(
        self, usage: Usage, *, raw_usage: Any = None, raw: str = "", at: float, is_batch: bool = False
    ) -> Decimal | None:
        """Dollars; None where the list cannot say."""
        context = self._context(raw_usage, raw, is_batch=is_batch) if is_batch or self._told else ()
        rates = self._of(context, at)
        into, out = usage.input_tokens, usage.output_tokens
        if rates is None or into is None or (rates.has_output and out is None) or (out and not rates.has_output):
            return None
        out = out or 0
        if self._adds_reasoning:
            out += count_at(raw_usage, DETAILS["output_reasoning_mtok"][1])
        read, written = usage.provider_cache_read_input_tokens or 0, usage.provider_cache_write_input_tokens or 0
        if isinstance(raw_usage, dict) and not rates.heads.isdisjoint(raw_usage):
            counts = {name: count for name, paths in rates.details if (count := count_at(raw_usage, paths))}
            if counts:
                return _exactly(rates.price, into, read, written, out, counts)
        return _sum(rates.tiers, into, read, written, out)

    def _context(self, raw_usage: Any, raw: str, *, is_batch: bool) -> tuple[tuple[str, str], ...]:
        """How the call was served, as far as that makes a difference to the price."""
        context = [_BATCH] if is_batch else []
        for name in self._told:
            value = raw_usage.get(name) if isinstance(raw_usage, dict) else None
            if value is None and name == "service_tier" and raw:
                try:
                    value = _answer.decode(raw).service_tier
                except msgspec.MsgspecError:
                    continue
            if isinstance(value, str) and (name, value) in self._known:
                context.append((name, value))
        return tuple(context)

    def _of(self, context: tuple[tuple[str, str], ...], at: float) -> _Rates | None:
        period = int(at // self._period_s)
        kept = self._rates.get(context)
        if kept is None or kept[0] != period:
            kept = self._rates[context] = (period, self._read(dict(context), datetime.fromtimestamp(at, UTC)))
        return kept[1]

    def _read(self, context: Mapping[str, str], at: datetime) -> _Rates | None:
        """The rates then; None for a model that is not paid by tokens, or whose price in batches is not listed."""
        if _BATCH in context.items() and not any(
            variant.when == dict([_BATCH]) and (variant.constraint is None or variant.constraint.active(at))
            for variant in self._variants
        ):
            return None
        price = self._model.get_prices(at, context)
        priced = {name: value for name, value in vars(price).items() if value is not None}
        if "input_mtok" not in priced:
            return None
        starts = {tier.start for value in priced.values() if isinstance(value, TieredPrices) for tier in value.tiers}
        details = tuple(DETAILS[name] for name in priced if name in DETAILS)
        return _Rates(
            price,
            tuple(_tier(price, start) for start in [-1, *sorted(starts)]),
            details,
            frozenset(path[0] for _, paths in details for path in paths),
            "output_mtok" in priced,
        )


def _sum(tiers: Sequence[_Tier], into: int, read: int, written: int, out: int) -> Decimal | None:
    if read + written > into or read < 0 or written < 0 or out < 0:
        log.warning("no cost: of %d input tokens %d are cached and %d written", into, read, written)
        return None
    tier = tiers[0]
    for each in tiers[1:]:
        if into > each.above:
            tier = each
    cost = into * tier.input + out * tier.output
    if tier.request:
        cost += tier.request
    if read:
        cost += read * tier.read
    if written:
        cost += written * tier.written
    return cost


def _tier(price: ModelPrice, above: int) -> _Tier:
    """By the package's own answers, just beyond a limit."""
    some = above + 2
    base = _total(price, input_tokens=some)
    each = _total(price, input_tokens=some + 1) - base
    return _Tier(
        above,
        base - some * each,
        each,
        _total(price, input_tokens=some, cache_read_tokens=1) - base,
        _total(price, input_tokens=some, cache_write_tokens=1) - base,
        _total(price, input_tokens=some, output_tokens=1) - base,
    )


def _exactly(price: ModelPrice, into: int, read: int, written: int, out: int, counts: dict[str, int]) -> Decimal | None:
    """What the package says, for all that the upstream told."""
    try:
        return _total(
            price,
            input_tokens=into,
            cache_read_tokens=read,
            cache_write_tokens=written,
            output_tokens=out,
            **counts,
        )
    except ValueError as error:  # such as audio and cached tokens, and nothing of cached audio
        log.warning("no cost: %s", error)
        return None


def _total(price: ModelPrice, **counts: int) -> Decimal:
    return price.calc_price(genai_prices.Usage(**counts))["total_price"]
