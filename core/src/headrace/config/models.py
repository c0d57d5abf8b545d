"""``[models]`` and ``[embedding_models]``: routing, time limits, prices (config spec 7 to 10)."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import FiniteFloat, model_validator

from ..sampling import ExtraKeys
from .base import U64, CheckedBy, Table, refuse
from .names import NamespaceName, reserved_name

log = logging.getLogger(__name__)

_POINTER = re.compile(r"(/([^~/]|~[01])*)*")


class NonStreamingTimeouts(Table):
    """``timeouts.non_streaming``, in milliseconds."""

    total_ms: U64 | None = None


class StreamingTimeouts(Table):
    """``timeouts.streaming``, in milliseconds: until the first chunk, and until the last."""

    ttft_ms: U64 | None = None
    total_ms: U64 | None = None


class Timeouts(Table):
    """``timeouts`` of a variant, a model or a model's provider (config spec 9)."""

    non_streaming: NonStreamingTimeouts = NonStreamingTimeouts()
    streaming: StreamingTimeouts = StreamingTimeouts()


def check_timeouts(timeouts: Timeouts, where: str, ceiling_ms: int) -> list[str]:
    """What is wrong with time limits at the key ``where``, each a line; a limit that cannot matter only warns."""
    limits = {
        "non_streaming.total_ms": timeouts.non_streaming.total_ms,
        "streaming.ttft_ms": timeouts.streaming.ttft_ms,
        "streaming.total_ms": timeouts.streaming.total_ms,
    }
    first, last = timeouts.streaming.ttft_ms, timeouts.streaming.total_ms
    if first is not None and last is not None and last < first:
        log.warning(
            "%s: `timeouts.streaming.total_ms` (%d) is below `timeouts.streaming.ttft_ms` (%d), which it makes useless",
            where,
            last,
            first,
        )
    return [
        f"{where}: {over_the_ceiling(f'timeouts.{key}', value, ceiling_ms)}"
        for key, value in limits.items()
        if value is not None and value > ceiling_ms
    ]


def over_the_ceiling(key: str, value: int, ceiling_ms: int) -> str:
    """What to say of a limit beyond the gateway's own."""
    return f"The `{key}` value `{value}` is greater than `gateway.global_outbound_http_timeout_ms`: `{ceiling_ms}`"


class _Cost(Table):
    """What both kinds of price have: a rate in dollars, and whether the value must be there."""

    cost_per_million: FiniteFloat | None = None
    cost_per_unit: FiniteFloat | None = None
    required: bool = False

    @model_validator(mode="after")
    def _one_rate(self) -> _Cost:
        if (self.cost_per_million is None) == (self.cost_per_unit is None):
            raise ValueError("must specify exactly one of `cost_per_million` and `cost_per_unit`")
        return self


class CostEntry(_Cost):
    """One price: a JSON pointer into the provider's raw answer, times a rate in dollars."""

    pointer: str | None = None
    pointer_nonstreaming: str | None = None
    pointer_streaming: str | None = None

    @model_validator(mode="after")
    def _one_way_to_point(self) -> CostEntry:
        split = (self.pointer_nonstreaming is not None, self.pointer_streaming is not None)
        if (self.pointer is not None and any(split)) or (self.pointer is None and not all(split)):
            raise ValueError(
                "invalid pointer configuration: give `pointer`, or both `pointer_nonstreaming` and `pointer_streaming`"
            )
        for pointer in (self.pointer, self.pointer_nonstreaming, self.pointer_streaming):
            _check_pointer(pointer)
        return self


class UnifiedCostEntry(CostEntry):
    """A price of batches or embeddings, which never stream: ``pointer`` alone."""

    @model_validator(mode="after")
    def _pointer_alone(self) -> UnifiedCostEntry:
        if self.pointer is None:
            raise ValueError("invalid pointer configuration: only `pointer` is taken here")
        return self


def _check_pointer(pointer: str | None) -> None:
    if pointer is not None and not _POINTER.fullmatch(pointer):
        raise ValueError(f"invalid JSON pointer `{pointer}`: it starts with `/`, and has `~` only in ~0 and ~1")


class ProviderKeys(ExtraKeys, extra="forbid", frozen=True, strict=True):
    """The keys of any ``[models.M.providers.P]`` table that core reads; ``type`` and the rest are the plugin's."""

    timeouts: Timeouts = Timeouts()
    discard_unknown_chunks: bool = False
    cost: list[CostEntry] | None = None
    batch_cost: list[UnifiedCostEntry] | None = None


class EmbeddingProviderKeys(ExtraKeys, extra="forbid", frozen=True, strict=True):
    """The same for ``[embedding_models.M.providers.P]``; ``timeout_ms`` bounds one call."""

    timeout_ms: U64 | None = None
    cost: list[UnifiedCostEntry] | None = None


class ModelTable(Table):
    """``[models.M]``: providers in the order they are tried. Each provider's table is its plugin's."""

    routing: list[str]
    providers: dict[str, Annotated[dict[str, Any], CheckedBy(ProviderKeys)]]
    timeouts: Timeouts = Timeouts()
    skip_relay: bool = False
    namespace: NamespaceName | None = None

    @model_validator(mode="after")
    def _routes(self) -> ModelTable:
        wrong = [] if self.routing else ["`routing` is empty: name at least one provider"]
        if len(set(self.routing)) != len(self.routing):
            wrong.append(f"`routing` names a provider twice: {self.routing}")
        wrong += _reserved(self.routing)
        wrong += [
            f"`routing` contains provider `{name}` that does not exist in `providers`"
            for name in dict.fromkeys(self.routing)
            if name not in self.providers
        ]
        wrong += [f"Provider {name} is not listed in routing" for name in self.providers if name not in self.routing]
        refuse(wrong)
        return self


def _reserved(routing: list[str]) -> list[str]:
    return [problem for name in dict.fromkeys(routing) if (problem := reserved_name("Provider", name))]


class EmbeddingModelTable(Table):
    """``[embedding_models.M]``. A route to nowhere is found out by the request that takes it (config spec 10)."""

    routing: list[str]
    providers: dict[str, Annotated[dict[str, Any], CheckedBy(EmbeddingProviderKeys)]]
    timeout_ms: U64 | None = None

    @model_validator(mode="after")
    def _routes(self) -> EmbeddingModelTable:
        refuse(_reserved(self.routing))
        return self


def check_models(models: Mapping[str, ModelTable], ceiling_ms: int) -> list[str]:
    """Time limits of models and their providers that are beyond the gateway's, each a line."""
    wrong = []
    for name, model in models.items():
        wrong += check_timeouts(model.timeouts, f"models.{name}", ceiling_ms)
        for provider, table in model.providers.items():
            timeouts = Timeouts.model_validate(table.get("timeouts", {}))
            wrong += check_timeouts(timeouts, f"models.{name}.providers.{provider}", ceiling_ms)
    return wrong
