"""What plugins promise and what core lends them. Protocols only: a plugin inherits from nothing of ours.

An object that a factory built may also be an async context manager: core enters it before the first request
and leaves it after the last, so whoever owns a process, a pool or a file opens and closes it there.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeAlias, TypeVar, runtime_checkable
from uuid import UUID

from msgspec import UNSET, Struct, UnsetType

from .credentials import Location, Secret
from .extras import Extra
from .jobs import JobStatus
from .media import File
from .prices import ListedPrice as ListedPrice
from .prices import PriceList as PriceList
from .prompts import Prompts
from .queries import DatapointQuery as DatapointQuery
from .queries import DatasetSummary as DatasetSummary
from .queries import InferenceQuery as InferenceQuery
from .records import BatchStatus, Datapoint, Example
from .schemas import Schema
from .storage import Bucket as Bucket
from .storage import Buckets as Buckets
from .storage import Cache as Cache
from .storage import KeyStore as KeyStore
from .storage import ObjectStore as ObjectStore
from .storage import Store as Store
from .tracing import Tracer as Tracer
from .transport import Transport
from .types import (
    ApiType,
    Block,
    CacheOptions,
    Caller,
    Chunk,
    EmbeddingRequest,
    EmbeddingResponse,
    FinishReason,
    FunctionType,
    Input,
    ModelRequest,
    ModelResponse,
    Output,
    Params,
    Split,
    Tool,
    ToolChoice,
    ToolConfig,
    Usage,
)

if TYPE_CHECKING:  # pydantic costs 60 ms to import, and `headrace --help` needs none of it
    from pydantic import BaseModel

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Factory(Generic[T]):
    """One type a plugin offers: ``name`` is the TOML ``type``, ``config`` checks its table, ``build`` makes it.

    ``build(settings, services)`` gets an instance of ``config`` and what core lends to that kind. A provider whose
    models need no table of their own has ``shorthand``: what the table of a model called ``name::REST`` would say,
    given REST.
    """

    name: str
    config: type[BaseModel]
    build: Callable[[Any, Any], T]
    shorthand: Callable[[str], dict[str, Any]] | None = None


class Clock(Protocol):
    """Time, so that tests can set it."""

    def time(self) -> float:
        """Seconds since the epoch."""

    def perf(self) -> float:
        """Seconds on a clock that never goes back."""


class SystemClock:
    """The machine's clocks."""

    def time(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def perf(self) -> float:
        """Seconds on a clock that never goes back."""
        return time.perf_counter()


@dataclass(frozen=True)
class Services:
    """What core lends every plugin: the way out, secrets, and the time.

    No outgoing call may wait longer than ``outbound_timeout_s`` for bytes; transports see to that.
    """

    transport: Transport
    secret: Callable[[Location], Secret]
    clock: Clock = field(default_factory=SystemClock)
    outbound_timeout_s: float = 900.0


# -- providers --------------------------------------------------------------------------------------------


class Provider(Protocol):
    """One upstream that can run one model. Raises only ``ProviderError`` and its kin.

    It may have an attribute ``api_type`` (a ``types.ApiType``) if its upstream's API is not chat completions. A file
    that has a ``source_url`` and no ``data`` comes only to a ``UrlTaker`` that takes it.
    """

    async def complete(self, request: ModelRequest) -> ModelResponse:
        """Run to the end."""

    def stream(self, request: ModelRequest) -> AsyncGenerator[Chunk, None]:
        """Run piece by piece; the first chunk carries ``raw_request``. The caller closes the generator."""


@runtime_checkable
class Embedder(Protocol):
    """A provider, or a part of one, that turns texts into vectors."""

    async def embed(self, request: EmbeddingRequest) -> EmbeddingResponse:
        """One vector per input, in order."""


@runtime_checkable
class UrlTaker(Protocol):
    """A provider whose upstream can fetch files itself."""

    def takes_url(self, file: File) -> bool:
        """Whether this file may be passed on by its URL alone."""


class BatchStarted(Struct, frozen=True, kw_only=True):
    """What an upstream said to a new batch. ``params`` is JSON and all that ``poll_batch`` needs, in any process.

    ``raw_requests`` are what went out for each inference, where that can be told apart.
    """

    params: dict[str, Any]
    raw_requests: Mapping[UUID, str] = {}
    raw_request: str = ""
    raw_response: str = ""


class BatchPolled(Struct, frozen=True, kw_only=True):
    """How an upstream's batch stands. Once it is completed, ``responses`` has the answers there are, by inference.

    An inference that failed, or whose answer cannot be read, is not among them; ``errors`` may say why.
    """

    status: BatchStatus
    responses: Mapping[UUID, ModelResponse] = {}
    raw_request: str = ""
    raw_response: str = ""
    errors: tuple[str, ...] = ()


@runtime_checkable
class Batcher(Protocol):
    """A provider that takes many requests at once and answers hours later. Raises only ``ProviderError`` and its kin.

    Of a ``ModelRequest`` in a batch, ``extra`` is empty: it has no place there (http-api 19).
    """

    async def start_batch(self, requests: Sequence[tuple[UUID, ModelRequest]]) -> BatchStarted:
        """Hand over at least one request, each under the id of its inference. Raise if they are not taken."""

    async def poll_batch(self, params: Mapping[str, Any]) -> BatchPolled:
        """How it stands. There is no request whose credentials could be used: only static ones are there.

        Raise for a trouble that may pass; a batch that is lost for good has the status ``failed``.
        """


# -- variants ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FunctionSpec:
    """A function as its variants see it. ``schemas`` are by template name (``system``, ``user``, ...)."""

    name: str
    type: FunctionType
    schemas: Mapping[str, Schema] = field(default_factory=dict)
    output_schema: Schema | None = None
    tools: Mapping[str, Tool] = field(default_factory=dict)
    tool_choice: ToolChoice = "auto"
    parallel_tool_calls: bool | None = None
    description: str | None = None


class Attempt(Struct):
    """One try at one provider, as ``models`` saw it; becomes a ``ModelInferenceRecord``."""

    id: UUID
    model_name: str
    provider_name: str
    provider_type: str
    request: ModelRequest | EmbeddingRequest
    api_type: ApiType = "chat_completions"
    cached: bool = False
    raw_usage: Any = UNSET
    raw_request: str = ""
    raw_response: str = ""
    output: tuple[Block, ...] = ()
    usage: Usage = Usage()
    finish_reason: FinishReason | None = None
    response_time_ms: int | None = None
    ttft_ms: int | None = None
    error: str | None = None
    price_version: str | None = None
    failure: str | None = None  # what kind of error, in a word that metrics can count by


class Task(Struct, frozen=True):
    """One inference as a variant gets it: validated, not rendered. Models append to ``attempts``.

    What comes after ``attempts`` goes into every ``ModelRequest`` as it is; ``jsonmode.ask`` does so.
    """

    inference_id: UUID
    episode_id: UUID
    input: Input
    params: Params
    tools: ToolConfig | None
    output_schema: Schema | None
    credentials: Mapping[str, str]
    attempts: list[Attempt]
    extra: Extra = Extra()
    cache: CacheOptions = CacheOptions()
    discriminator: str = ""
    caller: Caller = Caller()


class Answer(Struct, frozen=True):
    """What a variant answers. Tokens and cost are summed from the task's attempts by the gateway.

    ``original_response`` is the raw response that decided; unset, it is that of the last attempt that succeeded.
    """

    output: tuple[Block, ...]
    finish_reason: FinishReason | None = None
    original_response: str | UnsetType | None = UNSET


class Model(Protocol):
    """A name that variants use: providers in order, with time limits and fallback."""

    async def complete(self, request: ModelRequest, attempts: list[Attempt]) -> ModelResponse:
        """The first provider that answers. Raise AllProvidersFailed or TimedOut."""

    def stream(self, request: ModelRequest, attempts: list[Attempt]) -> AsyncGenerator[Chunk, None]:
        """Piece by piece; falls back only until the first piece. The caller closes the generator."""


class EmbeddingModel(Protocol):
    """The same for embeddings."""

    async def embed(self, request: EmbeddingRequest, attempts: list[Attempt]) -> EmbeddingResponse:
        """The first provider that answers. Raise AllProvidersFailed or TimedOut."""


Nearest: TypeAlias = Callable[[str, str, Sequence[float], int], Awaitable[list[tuple[Example, float]]]]


@dataclass(frozen=True, kw_only=True)
class VariantServices(Services):
    """What core lends a variant. ``model``, ``embedding_model`` and ``variant`` raise ConfigError for a name they
    do not know.

    ``nearest(function, variant, embedding, k)`` looks examples up in the store. ``variant(name, timeout_s)`` is
    another variant of the same function, for those that are made of others; it refuses a circle, and a time limit
    for one that has limits of its own.
    """

    name: str
    function: FunctionSpec
    model: Callable[[str], Model]
    embedding_model: Callable[[str], EmbeddingModel]
    prompts: Prompts
    nearest: Nearest
    variant: Callable[[str, float | None], Variant]


class Variant(Protocol):
    """One way to perform a function."""

    async def run(self, task: Task) -> Answer:
        """Perform once."""

    def stream(self, task: Task) -> AsyncGenerator[Chunk, None]:
        """Perform piece by piece. The caller closes the generator."""


@runtime_checkable
class Templated(Protocol):
    """A variant that renders templates."""

    @property
    def templates(self) -> Collection[str]:
        """The names that a ``template`` block (or an object as system) may call."""


@runtime_checkable
class Batchable(Protocol):
    """A variant that performs with one call of one model, and can tell that call without making it."""

    def request_of(self, task: Task) -> tuple[ModelRequest, str]:
        """What it would ask, and the name of the model. Raise what ``run`` would raise before it asks."""


# -- optimizers -------------------------------------------------------------------------------------------


class Workbench(Protocol):
    """What core lends one optimization: open data, embeddings, a place for examples. Never the test split."""

    @property
    def function(self) -> FunctionSpec:
        """The function to be made better."""

    async def datapoints(self, split: Split) -> list[Datapoint]:
        """The dataset's ``train`` or ``validation`` part. Raise SealedSplit for ``test``."""

    async def embed(self, model_name: str, texts: Sequence[str]) -> list[tuple[float, ...]]:
        """One vector per text, in order."""

    async def count_examples(self, variant_name: str) -> int:
        """How many examples the variant has already."""

    async def add_examples(self, examples: Sequence[Example]) -> None:
        """Store examples; durable when it returns."""

    def advance(self, done: int, total: int) -> None:
        """Say how far the work has come."""


class Optimizer(Protocol):
    """Makes a better variant, here or at an upstream that takes hours."""

    async def launch(self, workbench: Workbench) -> dict[str, Any]:
        """Start (or do) the work; the handle is JSON and all that ``poll`` needs, even in another process."""

    async def poll(self, handle: Mapping[str, Any]) -> JobStatus:
        """How far it is."""


# -- evaluators -------------------------------------------------------------------------------------------


class Evaluator(Protocol):
    """Judges one output."""

    @property
    def output_type(self) -> Literal["boolean", "float"]:
        """What the score is."""

    @property
    def optimize(self) -> Literal["max", "min"]:
        """Which direction is better."""

    async def evaluate(self, datapoint: Datapoint, output: Output) -> bool | float | None:
        """The score, or None when this datapoint cannot be judged (no reference). Raise EvaluatorError."""


# -- weights ----------------------------------------------------------------------------------------------


class Weights(Struct, frozen=True):
    """Model weights that ``headrace models pull NAME`` can bring; ``pull(folder, say)`` returns the file.

    ``folder`` is the cache; ``say`` takes one line of progress. Pulling what is there verifies it and returns.
    """

    name: str
    summary: str
    pull: Callable[[Path, Callable[[str], None]], Path]
