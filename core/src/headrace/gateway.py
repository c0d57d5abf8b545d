"""From a function's name to answer and record: ``infer``, ``stream``, ``embed``."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, aclosing
from datetime import UTC, datetime
from typing import Any

import anyio
import anyio.abc
from msgspec import structs

from .admission import Admission
from .attachments import Attachments
from .authentication import Authenticator
from .batches import Batches
from .cache import options_of
from .contracts import Answer, Attempt, Clock, EmbeddingModel, Store
from .datasets import Datasets
from .errors import AllVariantsFailed, ConfigError, HeadraceError, NotFound, ProviderError, StoreError
from .exchange import EmbeddingsAnswer, InferenceChunk, InferenceRequest, InferenceResponse
from .feedback import FeedbackDesk
from .functions import Function
from .history import History
from .incoming import current
from .inference import Inference, Trial, raw_responses, total, without_bytes
from .recorder import Recorder
from .records import ConfigSnapshot, Record
from .relaying import Relay
from .relays import RELAY
from .reports import Reports
from .retention import Retention
from .tags import canonical
from .telemetry import Telemetry
from .tracing import Tracing
from .types import Chunk, EmbeddingRequest, Tool
from .workflows import Workflows

log = logging.getLogger(__name__)

# Inferences whose files are still on their way into the object store; beyond this many, requests wait for theirs.
MAX_STORING = 100


class Gateway:
    """Plain objects calling plain objects. Two of them can live in one process.

    An async context manager: it opens transport, store and providers, and on leaving writes what is queued.
    """

    tracing: Tracing | None = None
    # Set by whoever is about to stop: health turns, and HTTP/1.1 clients are told to open another connection.
    draining = False

    def __init__(
        self,
        *,
        admission: Admission,
        functions: Mapping[str, Function],
        tools: Mapping[str, Tool],
        models: Sequence[str],
        embedding_model: Callable[[str], EmbeddingModel],
        embedding_models: Sequence[str],
        attachments: Attachments,
        snapshot: ConfigSnapshot,
        resources: Sequence[AbstractAsyncContextManager[object]],
        store: Store | None,
        recorder: Recorder | None,
        retention: Retention | None,
        feedback: FeedbackDesk,
        datasets: Datasets,
        batches: Batches,
        workflows: Workflows,
        history: History,
        reports: Reports,
        telemetry: Telemetry,
        clock: Clock,
        authenticator: Authenticator | None = None,
        pings: Mapping[str, Callable[[], Awaitable[None]]] | None = None,
    ) -> None:
        self.functions = functions
        self.tools = tools
        self.models = models
        self.embedding_models = embedding_models
        self.store = store
        self.attachments = attachments
        self.feedback = feedback
        self.datasets = datasets
        self.batches = batches
        self.workflows = workflows
        self.history = history
        self.reports = reports
        self.telemetry = telemetry
        self.snapshot = snapshot
        self.pings = pings or {}  # what is healthy if this returns, beside the store
        self.authenticator = authenticator  # for whoever lets callers in: nothing here asks it
        self._admission = admission
        self._embedding_model = embedding_model
        self._resources = resources
        self._recorder = recorder
        self._retention = retention
        self._clock = clock
        self._open = AsyncExitStack()
        self._background: anyio.abc.TaskGroup | None = None
        self._attendants: anyio.abc.TaskGroup | None = None
        self._storing = 0

    async def __aenter__(self) -> Gateway:
        async with AsyncExitStack() as stack:
            for resource in self._resources:
                await stack.enter_async_context(resource)
            if self._recorder is not None:
                tasks = await stack.enter_async_context(anyio.create_task_group())
                await self._recorder.start(tasks)
                stack.push_async_callback(self._recorder.stop)
                self.snapshot = await self._known(self.snapshot)
                await self._recorder.put([self.snapshot])
            self._attendants = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(self._attendants.cancel_scope.cancel)
            if self._retention is not None:
                self.attend(self._retention.run)
            self._background = await stack.enter_async_context(anyio.create_task_group())
            self._open = stack.pop_all()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._open.aclose()

    @property
    def is_open(self) -> bool:
        """Whether something can be run beside everything else."""
        return self._attendants is not None and not self._attendants.cancel_scope.cancel_called

    def attend(self, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run this beside everything else until the gateway closes, which cancels it. It must be open."""
        assert self._attendants is not None
        self._attendants.start_soon(run)

    @property
    def keeps_records(self) -> bool:
        """Whether records reach the store; False while they wait on the disk, or are dropped."""
        return self._recorder is None or self._recorder.is_well

    async def _known(self, snapshot: ConfigSnapshot) -> ConfigSnapshot:
        """The snapshot with what the store knows of an earlier start: when it was first seen, and its tags."""
        assert self.store is not None
        try:
            earlier = await self.store.config_snapshot(snapshot.hash)
        except StoreError as error:  # the recorder waits for a store that is away; so must not we
            log.warning("could not look for an earlier start of this configuration: %s", error)
            return snapshot
        if earlier is None:
            return snapshot
        return structs.replace(snapshot, created_at=earlier.created_at, tags=earlier.tags)

    # -- inference ----------------------------------------------------------------------------------------

    async def infer(self, request: InferenceRequest) -> InferenceResponse:
        """Answer once. A variant that fails makes way for the next draw, unless it was pinned."""
        inference = await self._begin(request)
        errors: dict[str, Exception] = {}
        try:
            for trial in inference.turns():
                try:
                    answer = await trial.variant.run(trial.task)
                except Exception as error:
                    errors[trial.variant_name] = self._lost(trial, error)
                    continue
                response, record = inference.finish(trial, answer)
                break
            else:
                raise _outcome(inference, errors)
        except BaseException:
            await self._record_anyway(inference, [])
            raise
        await self._record(inference, [record])
        return response

    async def stream(self, request: InferenceRequest) -> AsyncGenerator[InferenceChunk, None]:
        """Answer piece by piece. Returns when the first piece is there: until then variants can still change.

        The caller must iterate the result, and close it.
        """
        inference = await self._begin(request)
        errors: dict[str, Exception] = {}
        try:
            for trial in inference.turns():
                chunks = trial.variant.stream(trial.task)
                try:
                    first = await _first(chunks)
                except Exception as error:
                    await chunks.aclose()
                    errors[trial.variant_name] = self._lost(trial, error)
                    continue
                return self._relay(inference, trial, first, chunks)
            raise _outcome(inference, errors)
        except BaseException:  # once there is a first piece, it is for `_relay` to record
            await self._record_anyway(inference, [])
            raise

    async def _relay(
        self, inference: Inference, trial: Trial, first: Chunk, chunks: AsyncGenerator[Chunk, None]
    ) -> AsyncGenerator[InferenceChunk, None]:
        """Pass content on, hold usage and finish reason back for exactly one last chunk, then record."""
        relay, ttft_ms = Relay(inference, trial), inference.milliseconds()
        records: list[Record] = []
        try:
            async with aclosing(chunks):
                for piece in relay.opening():
                    yield piece
                if (said := relay.piece(first)) is not None:
                    yield said
                async for chunk in chunks:
                    if (said := relay.piece(chunk)) is not None:
                        yield said
            pieces = relay.pieces
            response, record = inference.finish(trial, Answer(pieces.blocks(), pieces.finish_reason), ttft_ms)
            records.append(record)
            yield relay.closing(response, pieces.finish_reason)
        finally:
            await self._record_anyway(inference, records)

    async def _begin(self, request: InferenceRequest) -> Inference:
        inference = self._admission.admit(request, await self.workflows.of(request))
        if (incoming := current()) is not None:
            incoming.function_name, incoming.trials = inference.function.name, inference.trials
        if self.attachments.has_files(request.input):
            with ExitStack() as held:
                held.enter_context(self.attachments.held(request.input))
                inference.input = await self.attachments.resolved(request.input)
                inference.held = held.pop_all()
        return inference

    def _lost(self, trial: Trial, error: Exception) -> HeadraceError:
        """A plugin's own bug counts as its variant's failure, so that the next one is drawn."""
        if isinstance(error, HeadraceError):
            log.warning("variant %s failed: %s", trial.variant_name, error)
            return error
        log.error("variant %s broke its contract", trial.variant_name, exc_info=error)
        return HeadraceError(f"{type(error).__name__}: {error}")

    # -- records ------------------------------------------------------------------------------------------

    async def _record(self, inference: Inference, records: Sequence[Record]) -> None:
        """Hand over these and every attempt; with files in them, once the object store has those."""
        for trial in inference.trials:
            self._count(trial.task.attempts)
        if not self.attachments.has_files(inference.input):
            await self._put(inference, records)
        elif self._background is None or self._storing >= MAX_STORING:
            await self._store_files(inference, records)
        else:
            self._background.start_soon(self._store_files, inference, records)

    async def _record_anyway(self, inference: Inference, records: Sequence[Record]) -> None:
        """The same for an inference that did not end well, even while our own task is being cancelled."""
        if self._records_at_once(inference):
            await self._record(inference, records)
            return
        with anyio.CancelScope(shield=True):
            await self._record(inference, records)

    def _records_at_once(self, inference: Inference) -> bool:
        """Whether nothing in there waits, so that nothing can be cancelled; a scope costs more than all the rest."""
        return (self._recorder is None or self._recorder.takes_at_once) and inference.held is None

    async def _store_files(self, inference: Inference, records: Sequence[Record]) -> None:
        self._storing += 1
        stored = without_bytes(inference.input)
        try:
            stored = await self.attachments.stored(inference.input, dryrun=inference.request.dryrun)
        except Exception:  # nobody waits for this; the record is worth having without the files too
            log.exception("the files of inference %s could not be stored", inference.id)
        finally:
            with anyio.CancelScope(shield=True):
                await self._put(inference, inference.remember(stored, records))
            if inference.held is not None:
                inference.held.close()
            self._storing -= 1

    async def _put(self, inference: Inference, records: Sequence[Record]) -> None:
        if self._recorder is not None and not inference.request.dryrun:
            await self._recorder.put([*records, *inference.attempts()])

    def _count(self, attempts: Sequence[Attempt]) -> None:
        for attempt in attempts:
            self.telemetry.attempt(attempt, relayed=attempt.provider_type == RELAY)

    # -- embeddings ---------------------------------------------------------------------------------------

    async def embed(
        self, model_name: str, request: EmbeddingRequest, *, dryrun: bool = False, include_raw_response: bool = False
    ) -> EmbeddingsAnswer:
        """One vector per input, and what they cost. No record is made. Raise NotFound for an unknown model."""
        try:
            model = self._embedding_model(canonical(model_name))
        except ConfigError:
            raise NotFound(f"Model not found: {model_name}") from None
        self.telemetry.embeddings(model_name, 1 if isinstance(request.input, str) else len(request.input))
        attempts: list[Attempt] = []
        try:
            request = structs.replace(request, cache=options_of(request.cache, dryrun=dryrun))
            response = await model.embed(request, attempts)
        except HeadraceError as error:
            error.raw_responses = raw_responses(attempts) if include_raw_response else ()
            raise
        finally:
            self._count(attempts)
        return EmbeddingsAnswer(
            embeddings=response.embeddings,
            usage=total([attempt for attempt in attempts if attempt.error is None]),
            raw_response=raw_responses(attempts) if include_raw_response else None,
        )


def snapshot_of(hash_: str, config: str, files: Mapping[str, str], version: str, now: float) -> ConfigSnapshot:
    """The row that says what the hash on every record stands for."""
    return ConfigSnapshot(
        hash=hash_,
        config=config,
        extra_templates=dict(files),
        headrace_version=version,
        created_at=datetime.fromtimestamp(now, UTC),
        last_used=datetime.fromtimestamp(now, UTC),
    )


async def _first(chunks: AsyncGenerator[Chunk, None]) -> Chunk:
    """The first chunk that says something."""
    async for chunk in chunks:
        if chunk.content or chunk.usage or chunk.finish_reason:
            return chunk
    raise ProviderError("the stream ended before the first piece")


def _outcome(inference: Inference, errors: Mapping[str, Exception]) -> Exception:
    """The own error of a variant that was chosen by hand, or all of them (http-api 4.3)."""
    request = inference.request
    chosen = request.variant_name is not None or request.inline_variant is not None
    error = next(iter(errors.values())) if chosen and len(errors) == 1 else AllVariantsFailed(errors)
    if isinstance(error, HeadraceError) and request.include_raw_response:
        error.raw_responses = inference.raw_responses()
    return error
