"""Where records, cached answers and files go: the contracts of stores. Plugins import them from ``contracts``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable
from uuid import UUID

from msgspec import Struct

from .records import (
    BatchInference,
    BatchRequest,
    ConfigSnapshot,
    Datapoint,
    DemonstrationFeedback,
    Example,
    Feedback,
    InferenceRecord,
    ModelInferenceRecord,
    Record,
)
from .types import Split


class InferenceQuery(Struct, frozen=True, kw_only=True):
    """Which stored inferences; newest first. ``limit`` None is all of them; ``before`` is an exclusive cursor."""

    ids: tuple[UUID, ...] | None = None
    function_name: str | None = None
    variant_name: str | None = None
    episode_ids: tuple[UUID, ...] | None = None
    tags: Mapping[str, str] = {}
    before: UUID | None = None
    limit: int | None = 20
    offset: int = 0


class DatapointQuery(Struct, frozen=True, kw_only=True):
    """Which datapoints; last updated first, then by id. Retired ones only when asked for by ``ids``."""

    ids: tuple[UUID, ...] | None = None
    dataset_name: str | None = None
    function_name: str | None = None
    splits: tuple[Split, ...] | None = None
    content_keys: tuple[str, ...] | None = None
    episode_ids: tuple[UUID, ...] | None = None
    limit: int | None = 20
    offset: int = 0


class DatasetSummary(Struct, frozen=True, kw_only=True):
    """One dataset, by its datapoints that are not retired; ``last_updated`` in RFC 3339."""

    dataset_name: str
    datapoint_count: int
    last_updated: str


class Store(Protocol):
    """Where records go and come from. An async context manager: it opens its file or pool there.

    Raises ``StoreError`` when it cannot. Reads see every write that has returned.
    """

    async def write(self, records: Sequence[Record]) -> None:
        """Write all or none. When this returns they are durable, whatever happens to the process.

        Writing an id again changes nothing, except that a datapoint replaces the one before. Raise RecordRefused
        for a record that no later attempt could write, StoreError for a trouble that may pass.
        """

    async def inferences(self, query: InferenceQuery) -> list[InferenceRecord]:
        """Stored inferences, newest id first."""

    async def model_inferences(self, inference_id: UUID) -> list[ModelInferenceRecord]:
        """Every attempt of one inference, in the order they were made."""

    async def feedback(self, target_id: UUID, *, limit: int | None = 100) -> list[Feedback]:
        """All feedback on one inference or episode, newest id first."""

    async def demonstrations(self, inference_ids: Sequence[UUID]) -> dict[UUID, DemonstrationFeedback]:
        """The latest demonstration of each inference that has one."""

    async def datapoints(self, query: DatapointQuery) -> list[Datapoint]:
        """Datapoints, last updated first."""

    async def datasets(self, *, function_name: str | None = None) -> list[DatasetSummary]:
        """Datasets that have datapoints, last updated first."""

    async def examples(
        self, function_name: str, variant_name: str, embedding: Sequence[float], k: int
    ) -> list[tuple[Example, float]]:
        """The k nearest examples of a variant with their cosine distance (0 to 2), nearest first."""

    async def count_examples(self, function_name: str, variant_name: str) -> int:
        """How many examples a variant has."""

    async def config_snapshot(self, hash_: str) -> ConfigSnapshot | None:
        """The configuration that ran under this hash, or None if it never ran on this store."""

    async def batch_request(self, batch_id: UUID) -> BatchRequest | None:
        """How a batch stands: its newest row that is not pending, or else its newest; None if there is none.

        What has ended stays so, even if somebody who saw it pending writes that down later.
        """

    async def batch_inferences(self, batch_id: UUID) -> list[BatchInference]:
        """The inferences of one batch, smallest id first."""

    async def ping(self) -> None:
        """Return if the store answers; raise StoreError otherwise."""

    async def __aenter__(self) -> Store:
        """Open, and bring the schema up to date."""

    async def __aexit__(self, *exc: object) -> None:
        """Close; what ``write`` returned for is safe."""


@runtime_checkable
class Cache(Protocol):
    """Answers of model calls by key. A store that also is one is where answers go unless configured otherwise.

    Losing an entry is no harm, so a trouble here is logged and the model is asked. Raises ``StoreError``.
    """

    async def cached(self, key: str, *, max_age_s: float | None = None) -> bytes | None:
        """The entry kept last under this key, or None; ``max_age_s`` None takes one of any age."""

    async def cache(self, key: str, entry: bytes) -> None:
        """Keep the entry, in place of one that is there."""


class ObjectStore(Protocol):
    """Where the bytes of files go; records hold only the path. Raises ``ObjectStoreError``."""

    @property
    def kind(self) -> Mapping[str, Any]:
        """The settings that find an object again, without secrets: what stored paths say (http-api 6.2)."""

    async def put(self, path: str, data: bytes, mime_type: str | None = None) -> None:
        """Write an object whole; the same path again replaces it."""

    async def get(self, path: str) -> bytes:
        """The object. Raise ObjectStoreError if there is none."""
