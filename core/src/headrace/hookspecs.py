"""The hooks, one per kind. A plugin implements those it needs with ``hookimpl``; each is called once, at start-up."""

from __future__ import annotations

from typing import cast

import pluggy

from .contracts import (
    Buckets,
    Cache,
    Evaluator,
    Factory,
    ObjectStore,
    Optimizer,
    PriceList,
    Provider,
    Store,
    Tracer,
    Variant,
    Weights,
)
from .transport import Transport

hookspec = pluggy.HookspecMarker("headrace")
hookimpl = pluggy.HookimplMarker("headrace")


@hookspec
def headrace_providers() -> list[Factory[Provider]]:
    """Types for ``[models.M.providers.P]`` and ``[embedding_models.M.providers.P]``."""
    return cast("list[Factory[Provider]]", [])


@hookspec
def headrace_stores() -> list[Factory[Store]]:
    """Types for ``gateway.observability.backend``; the table of the same name configures it."""
    return cast("list[Factory[Store]]", [])


@hookspec
def headrace_variants() -> list[Factory[Variant]]:
    """Types for ``[functions.F.variants.V]``."""
    return cast("list[Factory[Variant]]", [])


@hookspec
def headrace_optimizers() -> list[Factory[Optimizer]]:
    """Types for ``[optimizers.O]``."""
    return cast("list[Factory[Optimizer]]", [])


@hookspec
def headrace_evaluators() -> list[Factory[Evaluator]]:
    """Types for ``[functions.F.evaluators.E]``."""
    return cast("list[Factory[Evaluator]]", [])


@hookspec
def headrace_transports() -> list[Factory[Transport]]:
    """Types for ``[headrace.transport]``."""
    return cast("list[Factory[Transport]]", [])


@hookspec
def headrace_caches() -> list[Factory[Cache]]:
    """Types for ``gateway.cache.backend``; the table ``gateway.cache.TYPE`` configures it."""
    return cast("list[Factory[Cache]]", [])


@hookspec
def headrace_buckets() -> list[Factory[Buckets]]:
    """Types for ``rate_limiting.backend`` beside the stores that hold buckets themselves."""
    return cast("list[Factory[Buckets]]", [])


@hookspec
def headrace_object_stores() -> list[Factory[ObjectStore]]:
    """Types for ``[object_storage]``."""
    return cast("list[Factory[ObjectStore]]", [])


@hookspec
def headrace_tracers() -> list[Factory[Tracer]]:
    """Where traces go; ``[gateway.export.otlp.traces]`` takes the type ``otlp``."""
    return cast("list[Factory[Tracer]]", [])


@hookspec
def headrace_prices() -> list[Factory[PriceList]]:
    """Types for ``[headrace.prices]``: what models cost whose providers have no ``cost`` of their own."""
    return cast("list[Factory[PriceList]]", [])


@hookspec
def headrace_weights() -> list[Weights]:
    """Model weights that ``headrace models pull`` can bring."""
    return []
