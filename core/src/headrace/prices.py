"""What a list of prices promises: the contract of plugins that know what models cost."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Protocol

from msgspec import UNSET

from .types import Usage


class ListedPrice(Protocol):
    """What one model of one upstream costs, as some list has it."""

    @property
    def version(self) -> str:
        """Which list, and which version of it: what records say of where a cost is from."""

    def cost(
        self, usage: Usage, *, raw_usage: Any = UNSET, raw: str = "", at: float, is_batch: bool = False
    ) -> Decimal | None:
        """Dollars for a call that used so much at ``at`` (seconds since the epoch); None where the list cannot say.

        ``raw_usage`` is the upstream's own account, ``raw`` the answer, or the chunk, that it came in: they may tell
        of what has a price of its own. Called for every answer, so it must take microseconds.
        """


class PriceList(Protocol):
    """Prices of models, for providers whose tables have none."""

    def price(self, provider_type: str, model_name: str, api_base: str | None) -> ListedPrice | None:
        """That of a model as its upstream names it; None for one that is not in the list, rather than a guess.

        ``api_base`` is where the provider sends its calls, as far as its settings tell. Called once per provider.
        """
