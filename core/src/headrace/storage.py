"""Where records, cached answers and files go: the contracts of stores. Plugins import them from ``contracts``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, TypeVar, runtime_checkable
from uuid import UUID

from msgspec import Struct

from .queries import (
    CountQuery,
    DatapointQuery,
    DatasetSummary,
    EpisodeQuery,
    EpisodeSummary,
    Expiring,
    InferenceCount,
    InferenceQuery,
    LatencyQuery,
    LatencySummary,
    MetricCount,
    ScoreQuery,
    ScoreSum,
    UsageQuery,
    UsageSum,
)
from .records import (
    ApiKey,
    BatchInference,
    BatchRequest,
    ConfigSnapshot,
    Datapoint,
    DemonstrationFeedback,
    Example,
    Feedback,
    HoldoutAccess,
    HumanFeedback,
    InferenceRecord,
    ModelInferenceRecord,
    Record,
)

R = TypeVar("R", bound=Record)


class Store(Protocol):
    """Where records go and come from. An async context manager: it opens its file or pool there.

    Raises ``StoreError`` when it cannot. Reads see every write that has returned. The instant of a row is that of its
    id, in whole milliseconds. Every store gives the same answers of the same records.
    """

    async def write(self, records: Sequence[Record]) -> None:
        """Write all. When this returns they are durable, whatever happens to the process.

        Writing an id again changes nothing, but for the kinds that replace (see ``records``). Raise RecordRefused for
        a record that no later attempt could write, and then write none; StoreError for a trouble that may pass: a store
        without transactions may then have some of them, and writing all again completes and doubles nothing.
        """

    # -- inferences -------------------------------------------------------------------------------------------

    async def inferences(self, query: InferenceQuery) -> list[InferenceRecord]:
        """Stored inferences, newest id first unless the query says otherwise."""

    async def count_inferences(self, query: InferenceQuery) -> int:
        """How many the query selects; its order, cursors, limit and offset play no part."""

    async def model_inferences(self, inference_id: UUID) -> list[ModelInferenceRecord]:
        """Every attempt of one inference, in the order they were made."""

    async def episodes(self, query: EpisodeQuery) -> list[EpisodeSummary]:
        """Episodes, greatest id first."""

    async def count_episodes(self) -> int:
        """How many episodes there are."""

    # -- feedback ---------------------------------------------------------------------------------------------

    async def feedback(
        self, target_id: UUID, *, before: UUID | None = None, after: UUID | None = None, limit: int | None = 100
    ) -> list[Feedback]:
        """Feedback on one inference or episode, newest id first; the cursors, at most one, are those of inferences."""

    async def demonstrations(self, inference_ids: Sequence[UUID]) -> dict[UUID, DemonstrationFeedback]:
        """The latest demonstration of each inference that has one."""

    async def human_feedback(self, metric_name: str, datapoint_id: UUID, output: str) -> HumanFeedback | None:
        """The latest judgement of exactly this output for this datapoint."""

    # -- datasets ---------------------------------------------------------------------------------------------

    async def datapoints(self, query: DatapointQuery) -> list[Datapoint]:
        """Datapoints, last updated first unless the query says otherwise."""

    async def count_datapoints(self, query: DatapointQuery) -> int:
        """How many the query selects; its order, limit and offset play no part."""

    async def datasets(self, *, function_name: str | None = None) -> list[DatasetSummary]:
        """Datasets that have datapoints, last updated first."""

    async def holdout_accesses(self, dataset_name: str, *, limit: int | None = 100) -> list[HoldoutAccess]:
        """Who has read the test split of a dataset, newest first."""

    async def count_holdout_accesses(self, dataset_name: str) -> int:
        """How often somebody has."""

    # -- examples, configurations, batches ----------------------------------------------------------------------

    async def examples(
        self, function_name: str, variant_name: str, embedding: Sequence[float], k: int
    ) -> list[tuple[Example, float]]:
        """The k nearest examples of a variant with their cosine distance (0 to 2), nearest first."""

    async def count_examples(self, function_name: str, variant_name: str) -> int:
        """How many examples a variant has."""

    async def config_snapshot(self, hash_: str) -> ConfigSnapshot | None:
        """The configuration of this hash, or None if this store has not seen it."""

    async def batch_request(self, batch_id: UUID) -> BatchRequest | None:
        """How a batch stands: its newest row that is not pending, or else its newest; None if there is none.

        What has ended stays so, even if somebody who saw it pending writes that down later.
        """

    async def batch_inferences(self, batch_id: UUID) -> list[BatchInference]:
        """The inferences of one batch, smallest id first."""

    # -- sums -------------------------------------------------------------------------------------------------

    async def inference_counts(self, query: CountQuery) -> list[InferenceCount]:
        """By function, variant and period, in the order of these."""

    async def usage(self, query: UsageQuery) -> list[UsageSum]:
        """By owner, name and period, in the order of these."""

    async def latencies(self, query: LatencyQuery) -> list[LatencySummary]:
        """By owner and name, in the order of these."""

    async def metric_counts(self, function_name: str, variant_name: str | None = None) -> list[MetricCount]:
        """By name of the metric and type, in the order of these."""

    async def scores(self, query: ScoreQuery) -> list[ScoreSum]:
        """By variant and period, in the order of these."""

    # -- everything -------------------------------------------------------------------------------------------

    async def find(self, id_: UUID) -> list[Record]:
        """Every record whose ``id`` this is, of whatever kind."""

    async def scan(self, kind: type[R], *, after: str = "", limit: int = 1000) -> list[R]:
        """Records of one kind, of all that there are, in the order of their keys, from the first beyond ``after`` on.

        The key of a record is its id as text, that of a ``ConfigSnapshot`` its hash; they sort by code points.
        """

    async def expire(self, what: Expiring, before: datetime) -> int:
        """End what is older than ``before`` by the instant of its id (of the cache: when it was kept).

        Says how many rows that changed, so that a second time none does. ``feedback`` includes ``HumanFeedback``.
        """

    async def ping(self) -> None:
        """Return if the store answers; raise StoreError otherwise."""

    async def __aenter__(self) -> Store:
        """Open, and bring the schema up to date, unless its settings leave that to ``headrace store migrate``."""

    async def __aexit__(self, *exc: object) -> None:
        """Close; what ``write`` returned for is safe."""


class SchemaStatus(Struct, frozen=True, kw_only=True):
    """The version that a database has (0 if it is empty), the newest one known here, and what each step does."""

    found: int
    known: int
    steps: tuple[str, ...]


@runtime_checkable
class Migratable(Protocol):
    """A store whose schema has versions. Its methods are for a store that is not open. Raise StoreError."""

    async def schema(self) -> SchemaStatus:
        """How the schema stands; changes nothing."""

    async def migrate(self, to: int | None = None) -> SchemaStatus:
        """Bring the schema to a version, forward or back; None is the newest. Refuse one from the future.

        A step that was interrupted is done again, and harms nothing. Going back may lose what the older version has no
        place for, and says so in the log.
        """


@runtime_checkable
class BackedUp(Protocol):
    """A store that can be copied while it works. Raise StoreError."""

    async def backup(self, path: Path) -> None:
        """Write a whole, consistent copy to a file that is not there yet; for a store that may be open elsewhere."""

    async def restore(self, path: Path) -> None:
        """Put such a copy in the place of what is there; for a store that nobody has open."""


@runtime_checkable
class Cache(Protocol):
    """Answers of model calls by key. A store that also is one is where answers go unless configured otherwise.

    Losing an entry is no harm, so a trouble here is logged and the model is asked. Raises ``StoreError``.
    """

    async def cached(self, key: str, *, max_age_s: float | None = None) -> bytes | None:
        """The entry kept last under this key, or None; ``max_age_s`` None takes one of any age."""

    async def cache(self, key: str, entry: bytes) -> None:
        """Keep the entry, in place of one that is there."""


@runtime_checkable
class KeyStore(Protocol):
    """Where API keys are looked up. A store that also is one can be asked who calls. Raises ``StoreError``."""

    async def api_key(self, public_id: str) -> ApiKey | None:
        """The key of this public id as it was written last, or None. Of several keys, the one last updated."""


Window: TypeAlias = Literal["second", "minute", "hour", "day", "week", "month"]


class Bucket(Struct, frozen=True, kw_only=True):
    """A token bucket as its limit describes it: one that is not known yet is full.

    ``refill_rate`` units are added for every whole ``window`` since its last refill, up to ``capacity``; the instants
    of refills stay aligned to its first use. Units are whole: of cost, nano-dollars.
    """

    key: str
    capacity: int
    refill_rate: int
    window: Window


@runtime_checkable
class Buckets(Protocol):
    """Token buckets that all gateways of one place share. A store that also is one can hold rate limits.

    Raises ``StoreError``; the request that wanted to take then fails, so that no limit is passed unseen.
    """

    async def take(self, wanted: Sequence[tuple[Bucket, int]]) -> list[int]:
        """What each bucket had, in order. Taken from all of them if each had enough, and else from none: atomically.

        Keys differ. What is wanted is never negative; 0 can be taken from any bucket, even one below 0.
        """

    async def settle(self, changes: Sequence[tuple[Bucket, int]]) -> None:
        """Give back (a positive change, up to the capacity) or charge more (a negative one, below 0 if need be)."""


class ObjectStore(Protocol):
    """Where the bytes of files go; records hold only the path. Raises ``ObjectStoreError``."""

    @property
    def kind(self) -> Mapping[str, Any]:
        """The settings that find an object again, without secrets: what stored paths say (http-api 6.2)."""

    async def put(self, path: str, data: bytes, mime_type: str | None = None) -> None:
        """Write an object whole; the same path again replaces it."""

    async def get(self, path: str) -> bytes:
        """The object. Raise ObjectStoreError if there is none."""
