"""Rate limits as they are configured: which rules concern a caller, and which buckets these are (http-api 20)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import Struct

from .storage import Bucket, Window
from .types import Caller

EACH: Final = "tensorzero::each"
TOTAL: Final = "tensorzero::total"

Resource: TypeAlias = Literal["model_inferences", "tokens", "cost"]

_REMEMBERED = 1000

# As keys and errors say it.
SINGULAR: Final = {"model_inferences": "model_inference", "tokens": "token", "cost": "cost"}


class Limit(NamedTuple):
    """One bucket: whole units, of ``cost`` nano-dollars. ``refill_rate`` is added once a ``window``."""

    resource: Resource
    window: Window
    capacity: int
    refill_rate: int


class Part(NamedTuple):
    """One entry of a rule's scope: a tag, or an API key if ``tag`` is None; ``value`` may be EACH, of a tag TOTAL."""

    tag: str | None
    value: str


class Rule(Struct, frozen=True):
    """Limits, and whom they concern: who meets every part. ``priority`` None means always."""

    limits: tuple[Limit, ...]
    scope: tuple[Part, ...] = ()
    priority: int | None = None


# -- what a rule found in a caller: the names are those of the keys, which have to stay as they are -----------------


class TagConcrete(Struct, frozen=True, tag=True):
    """The tag has the value that the rule names."""

    key: str
    value: str

    def __str__(self) -> str:
        """As in the configuration."""
        return f'tag_key="{self.key}", tag_value="{self.value}"'


class TagEach(Struct, frozen=True, tag=True):
    """Each value of the tag has a bucket of its own."""

    key: str
    value: str

    def __str__(self) -> str:
        """As in the configuration, with what was found."""
        return f'tag_key="{self.key}", tag_value="{EACH}" (matched: "{self.value}")'


class TagTotal(Struct, frozen=True, tag=True):
    """All values of the tag share a bucket."""

    key: str

    def __str__(self) -> str:
        """As in the configuration."""
        return f'tag_key="{self.key}", tag_value="{TOTAL}"'


class ApiKeyPublicIdEach(Struct, frozen=True, tag=True):
    """Each API key has a bucket of its own."""

    api_key_public_id: str

    def __str__(self) -> str:
        """As in the configuration, with what was found."""
        return f'api_key_public_id="{EACH}" (matched: "{self.api_key_public_id}")'


class ApiKeyPublicIdConcrete(Struct, frozen=True, tag=True):
    """The API key is the one that the rule names."""

    api_key_public_id: str

    def __str__(self) -> str:
        """As in the configuration."""
        return f'api_key_public_id="{self.api_key_public_id}"'


Found: TypeAlias = TagConcrete | TagEach | TagTotal | ApiKeyPublicIdEach | ApiKeyPublicIdConcrete


class Active(NamedTuple):
    """A limit that concerns a call, its bucket, and what of the caller its rule looked at."""

    resource: Resource
    bucket: Bucket
    scope: tuple[Found, ...]


class Rules:
    """All rules of a configuration."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = [_Known(rule) for rule in rules if rule.limits]

    def active(self, caller: Caller) -> list[Active]:
        """The limits of rules that always hold, and of those with the highest priority among all that match."""
        matching = [(rule, values) for rule in self._rules if (values := rule.match(caller)) is not None]
        highest = max((rule.priority for rule, _ in matching if rule.priority is not None), default=None)
        return [
            active
            for rule, values in matching
            if rule.priority is None or rule.priority == highest
            for active in rule.active(values)
        ]


class _Known:
    """A rule that remembers the limits of those it has met: to make their keys costs more than all else here."""

    def __init__(self, rule: Rule) -> None:
        self.priority = rule.priority
        self._rule = rule
        self._scope = sorted(rule.scope, key=_position)
        self._met: dict[tuple[str, ...], tuple[Active, ...]] = {}

    def match(self, caller: Caller) -> tuple[str, ...] | None:
        """What the caller has for each part of the scope; None if it does not meet one."""
        values: list[str] = []
        for part in self._scope:
            has = caller.api_key_public_id if part.tag is None else caller.tags.get(part.tag)
            if has is None or (part.value not in (EACH, TOTAL) and has != part.value):
                return None
            values.append("" if part.value == TOTAL else has)
        return tuple(values)

    def active(self, values: tuple[str, ...]) -> tuple[Active, ...]:
        """The limits of who has these values."""
        found = self._met.get(values)
        if found is None:
            if len(self._met) >= _REMEMBERED:  # users come and go
                self._met.clear()
            scope = tuple(_found(part, has) for part, has in zip(self._scope, values, strict=True))
            found = self._met[values] = tuple(_limits(self._rule, scope))
        return found


def _position(part: Part) -> tuple[bool, str, int, str]:
    """Tags by name, then API keys; of one tag a value before each before total."""
    kind = {EACH: 1, TOTAL: 2}.get(part.value, 0)
    return part.tag is None, part.tag or "", kind, part.value


def _found(part: Part, has: str) -> Found:
    if part.tag is None:
        return ApiKeyPublicIdEach(has) if part.value == EACH else ApiKeyPublicIdConcrete(has)
    if part.value == TOTAL:
        return TagTotal(part.tag)
    return TagEach(part.tag, has) if part.value == EACH else TagConcrete(part.tag, has)


def _limits(rule: Rule, scope: tuple[Found, ...]) -> Iterable[Active]:
    """With their buckets. Only where a rule limits a resource twice does the key say the window as well.

    In TensorZero it never does, and two windows share a bucket (config 22.20).
    """
    counts = Counter(limit.resource for limit in rule.limits)
    for limit in rule.limits:
        key: dict[str, Any] = {"resource": SINGULAR[limit.resource], "scope_key": scope}
        if counts[limit.resource] > 1:
            key["window"] = limit.window
        bucket = Bucket(
            key=msgspec.json.encode(key).decode(),
            capacity=limit.capacity,
            refill_rate=limit.refill_rate,
            window=limit.window,
        )
        yield Active(limit.resource, bucket, scope)
