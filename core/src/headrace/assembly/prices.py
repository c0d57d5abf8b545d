"""What a provider's calls cost: the prices of its table, or those of a list, if a plugin for one is installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from pydantic import ValidationError

from ..config import CostEntry, PricesTable
from ..contracts import ListedPrice, PriceList
from ..costs import Price, Rates
from .parts import Parts
from .tracing import upstream_of


class Pricing:
    """The rates of one provider after another."""

    def __init__(self, parts: Parts, table: PricesTable) -> None:
        self._registry = parts.registry
        self._list = _list(parts, table)
        parts.own(self._list)

    def rates(self, table: Mapping[str, Any], cost: Sequence[CostEntry] | None = None) -> Rates:
        """Those of a provider with this table: ``cost`` alone if it is set, be it empty, else what is listed."""
        if cost is not None:
            return Rates(tuple(map(price_of, cost)))
        return Rates(listed=self._listed(table)) if self._list is not None else Rates()

    def _listed(self, table: Mapping[str, Any]) -> ListedPrice | None:
        type_ = str(table.get("type"))
        name = upstream_of(type_, table)
        if self._list is None or name is None or type_ not in self._registry.types("provider"):
            return None
        config = self._registry.get("provider", type_, where="type").config
        try:  # for the defaults: where calls go decides whose prices they have
            settings = config.model_validate({key: table[key] for key in table if key in config.model_fields})
        except ValidationError:
            return None
        return self._list.price(type_, name, getattr(settings, "api_base", None))


def _list(parts: Parts, table: PricesTable) -> PriceList | None:
    if not table.enabled:
        return None
    if table.type not in parts.registry.types("prices") and not table.model_fields_set:
        return None
    found: PriceList | None = parts.build("prices", "headrace.prices", {"type": table.type})
    return found


def price_of(entry: CostEntry) -> Price:
    """What an entry of the configuration says a value costs."""
    per_unit = entry.cost_per_unit
    rate = Decimal(str(per_unit)) if per_unit is not None else Decimal(str(entry.cost_per_million)) / 1_000_000
    return Price(
        pointer=entry.pointer or entry.pointer_nonstreaming or "",
        streaming_pointer=entry.pointer or entry.pointer_streaming or "",
        rate=rate,
        required=entry.required,
    )
