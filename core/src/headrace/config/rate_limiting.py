"""``[rate_limiting]``: which requests may use how much of what, and in which time (config spec 20)."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal
from typing import Any

from pydantic import Field, PrivateAttr, model_validator

from ..limits import EACH, TOTAL
from ..limits import Limit as Limit
from ..tags import canonical, is_reserved
from .base import U64, LaxTable, NotNegative, Table, refuse

log = logging.getLogger(__name__)

_LIMIT = re.compile(r"(model_inferences|tokens|cost)_per_(second|minute|hour|day|week|month)")
_PUBLIC_ID = re.compile(r"[A-Za-z0-9]{12}")
_NANO = Decimal(10**9)


class Scope(Table):
    """One entry of ``scope``: a tag and its value, or an API key."""

    tag_key: str | None = None
    tag_value: str | None = None
    api_key_public_id: str | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Scope:
        tag = (self.tag_key is not None, self.tag_value is not None)
        key = self.api_key_public_id
        if (key is not None and any(tag)) or (key is None and not all(tag)):
            raise ValueError("give `tag_key` and `tag_value`, or `api_key_public_id` alone")
        value = self.tag_value or ""
        if is_reserved(value) and canonical(value) not in (EACH, TOTAL):
            raise ValueError(
                f".tag_value: `{value}` is not known: use `{EACH}`, `{TOTAL}`, or a value without `tensorzero::`"
            )
        if key is not None and canonical(key) != EACH and not _PUBLIC_ID.fullmatch(key):
            raise ValueError(
                f".api_key_public_id: must be `tensorzero::each` or the 12 characters of a public id, found {key!r}"
            )
        return self


class Rule(LaxTable):
    """One of ``[[rate_limiting.rules]]``; its limits are the keys ``<resource>_per_<window>``."""

    priority: U64 | None = None
    always: bool = False
    scope: list[Scope] = Field(default=[])
    _limits: tuple[Limit, ...] = PrivateAttr(default=())

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The buckets of this rule."""
        return self._limits

    @model_validator(mode="after")
    def _whole(self) -> Rule:
        wrong, limits = [], []
        for key, value in (self.model_extra or {}).items():
            if found := _LIMIT.fullmatch(key):
                try:
                    limits.append(_limit(found[1], found[2], value))
                except ValueError as error:
                    wrong.append(f".{key}: {error}")
            else:
                log.warning("rate_limiting.rules: the key `%s` is not known and means nothing", key)
        if self.always and self.priority is not None:
            wrong.append("cannot specify both `always` and `priority`")
        if not self.always and self.priority is None:
            wrong.append("the priority field is required when always is not true")
        if len({_identity(scope) for scope in self.scope}) != len(self.scope):
            wrong.append(".scope: an entry stands there twice")
        refuse(wrong)
        self._limits = tuple(limits)
        return self


def _identity(scope: Scope) -> tuple[str | None, ...]:
    return scope.tag_key, *(each and canonical(each) for each in (scope.tag_value, scope.api_key_public_id))


def _limit(resource: Any, window: Any, value: object) -> Limit:
    if isinstance(value, Mapping):
        if set(value) != {"capacity", "refill_rate"}:
            raise ValueError(f"give a number, or `capacity` and `refill_rate`, found {dict(value)}")
        return Limit(resource, window, *(_units(resource, value[key]) for key in ("capacity", "refill_rate")))
    units = _units(resource, value)
    return Limit(resource, window, units, units)


def _units(resource: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"must be a number, found {value!r}")
    if not 0 <= value < 2**63:  # neither infinity nor NaN
        raise ValueError(f"must be a finite number >= 0, found {value!r}")
    if resource == "cost":
        return int((Decimal(str(value)) * _NANO).to_integral_value(ROUND_CEILING))
    if not isinstance(value, int):
        raise ValueError(f"must be a whole number, found {value!r}")
    return value


class RateLimitingTable(LaxTable):
    """``[rate_limiting]``. ``default_cost`` is in dollars, and what each call is taken to cost until it is known.

    ``backend`` is "auto", a type of buckets that is installed ("valkey"), or the store by its name ("postgres").
    """

    enabled: bool = True
    backend: str = "auto"
    default_cost: NotNegative = 1.0
    rules: list[Rule] = Field(default=[])

    @model_validator(mode="after")
    def _different(self) -> RateLimitingTable:
        seen: set[frozenset[tuple[str | None, ...]]] = set()
        for index, rule in enumerate(self.rules):
            scope = frozenset(map(_identity, rule.scope))
            if scope in seen:
                raise ValueError(f"Duplicate rate limiting config scope: rule {index} has the scope of an earlier one")
            seen.add(scope)
        if self.rules and not self.enabled:
            log.warning("rate_limiting: there are rules, but `enabled = false`: they are not applied")
        return self
