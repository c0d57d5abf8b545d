"""What is asked of a store and what it answers, but for the records themselves."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Literal, TypeAlias
from uuid import UUID

from msgspec import Struct

from .filters import Filter, Level, Order
from .types import Split

# -- rows ---------------------------------------------------------------------------------------------------


class InferenceQuery(Struct, frozen=True, kw_only=True):
    """Which stored inferences, and in which order.

    An empty ``order_by`` is newest first; ties are broken by id, in the direction of the last order. ``before`` and
    ``after`` are exclusive cursors on the id: at most one is set, and then ``order_by`` is empty and ``offset`` 0;
    with ``after`` it is the page nearest to the cursor, newest first all the same. ``limit`` None is all of them.
    ``search`` is a text that occurs in the JSON of input or output, as it would stand inside a JSON string there;
    upper and lower case (as ``str.lower`` makes it) do not differ. An empty one is no condition; by none is a row found
    whose payload has expired.
    """

    ids: tuple[UUID, ...] | None = None
    function_name: str | None = None
    variant_name: str | None = None
    episode_ids: tuple[UUID, ...] | None = None
    tags: Mapping[str, str] = {}
    filters: Filter | None = None
    search: str | None = None
    order_by: tuple[Order, ...] = ()
    before: UUID | None = None
    after: UUID | None = None
    limit: int | None = 20
    offset: int = 0


class DatapointQuery(Struct, frozen=True, kw_only=True):
    """Which datapoints; last updated first, then by id, unless ``order_by`` (time or relevance) says otherwise.

    Retired ones only when asked for by ``ids``. ``near_keys`` selects those that share at least one. ``search`` and
    ties are as of inferences.
    """

    ids: tuple[UUID, ...] | None = None
    dataset_name: str | None = None
    function_name: str | None = None
    splits: tuple[Split, ...] | None = None
    content_keys: tuple[str, ...] | None = None
    near_keys: tuple[str, ...] | None = None
    episode_ids: tuple[UUID, ...] | None = None
    filters: Filter | None = None
    search: str | None = None
    order_by: tuple[Order, ...] = ()
    limit: int | None = 20
    offset: int = 0


class DatasetSummary(Struct, frozen=True, kw_only=True):
    """One dataset, by its datapoints that are not retired; ``last_updated`` in RFC 3339."""

    dataset_name: str
    datapoint_count: int
    last_updated: str


class EpisodeQuery(Struct, frozen=True, kw_only=True):
    """Which episodes: those of the inferences that meet ``function_name`` and ``filters``; greatest id first.

    ``before`` and ``after`` are exclusive cursors on the id of the episode, as of inferences.
    """

    function_name: str | None = None
    filters: Filter | None = None
    before: UUID | None = None
    after: UUID | None = None
    limit: int | None = 20


class EpisodeSummary(Struct, frozen=True, kw_only=True):
    """One episode: how many inferences it has in all, when the first and the last began, and the last one's id."""

    episode_id: UUID
    count: int
    start_time: datetime
    end_time: datetime
    last_inference_id: UUID


# -- sums ---------------------------------------------------------------------------------------------------

Window: TypeAlias = Literal["minute", "hour", "day", "week", "month", "cumulative"]


class Period(Struct, frozen=True, kw_only=True):
    """How time is cut into periods, in UTC, weeks from Monday on; "cumulative" is one period.

    What counts begins at ``since`` and ends before ``until``; None is no bound.
    """

    window: Window = "cumulative"
    since: datetime | None = None
    until: datetime | None = None


class CountQuery(Struct, frozen=True, kw_only=True):
    """Which inferences to count, by variant and period."""

    period: Period = Period()
    function_name: str | None = None
    variant_name: str | None = None


class InferenceCount(Struct, frozen=True, kw_only=True):
    """How many inferences of a variant; ``period_start`` None if "cumulative". ``last_at`` is when the last began."""

    function_name: str
    variant_name: str
    period_start: datetime | None
    count: int
    last_at: datetime


class UsageQuery(Struct, frozen=True, kw_only=True):
    """Whose model inferences to sum up: ``by`` variant of a function, by model, or by model and its provider.

    Those with an ``error`` do not count. Names that are None select nothing.
    """

    by: Literal["variant", "model", "provider"]
    period: Period = Period()
    function_name: str | None = None
    variant_names: tuple[str, ...] | None = None
    model_name: str | None = None
    model_provider_name: str | None = None


class UsageSum(Struct, frozen=True, kw_only=True):
    """Sums of one group in one period, each over the rows that know it and None if none does.

    ``name`` is the variant's or the model's, ``owner`` the function's or the provider's ("" by model). ``count`` is of
    model inferences; by variant it is of inferences, that is of distinct ``inference_id``.
    """

    owner: str
    name: str
    period_start: datetime | None
    count: int
    count_with_cost: int
    input_tokens: int | None
    output_tokens: int | None
    cache_read_input_tokens: int | None
    cache_write_input_tokens: int | None
    cost: Decimal | None


class LatencyQuery(Struct, frozen=True, kw_only=True):
    """Whose latencies: of inferences by variant, or of model inferences without ``error`` and not cached by model.

    Quantiles are those of the known values, interpolated linearly (Hyndman and Fan 1996, type 7).
    """

    by: Literal["variant", "model"]
    quantiles: tuple[float, ...]
    period: Period = Period()  # its window is "cumulative"
    function_name: str | None = None
    variant_names: tuple[str, ...] | None = None


class LatencySummary(Struct, frozen=True, kw_only=True):
    """Milliseconds at the quantiles asked for, or () where no value is known: the whole and the first token.

    ``name`` and ``owner`` as in ``UsageSum``; ``total`` is ``processing_time_ms`` or ``response_time_ms``. ``count`` is
    of all rows of the group, also those without a known latency.
    """

    owner: str
    name: str
    count: int
    total: tuple[float, ...]
    ttft: tuple[float, ...]


class MetricCount(Struct, frozen=True, kw_only=True):
    """How many rows of feedback of one metric the inferences of a function (or their episodes) got.

    ``metric_name`` may be ``comment`` or ``demonstration``, and ``type`` is the kind of row. An episode's feedback
    counts for every function that took part in it.
    """

    metric_name: str
    type: Literal["boolean", "float", "comment", "demonstration"]
    count: int


class ScoreQuery(Struct, frozen=True, kw_only=True):
    """Which scores to sum up: the latest value per target of a metric (yes is 1), by variant and period.

    At level "inference" a target is dated by its inference; at level "episode" it counts once for each variant of the
    function that took part, dated by that variant's first inference in it.
    """

    function_name: str
    metric_name: str
    metric_type: Literal["boolean", "float"]
    level: Level
    period: Period = Period()
    variant_names: tuple[str, ...] | None = None


class ScoreSum(Struct, frozen=True, kw_only=True):
    """Scores of one variant in one period: their number, mean, and sum of squared deviations from the mean.

    Periods can be merged from these (Chan, Golub and LeVeque 1979).
    """

    variant_name: str
    period_start: datetime | None
    count: int
    mean: float
    squares: float


# -- retention ----------------------------------------------------------------------------------------------

Expiring: TypeAlias = Literal["data", "inferences", "model_inferences", "feedback", "batches", "cache"]
"""What can end by age. ``data`` empties inputs, outputs and raw texts of rows that stay; the others delete rows."""
