"""Many inferences handed to one provider at once and answered hours later: started, polled, finished exactly once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from uuid import UUID
from weakref import WeakValueDictionary

import anyio
from anyio.lowlevel import checkpoint
from msgspec import Struct, structs

from ..attachments import Attachments
from ..contracts import Attempt, Clock, InferenceQuery, Store
from ..costs import Rates
from ..errors import AllVariantsFailed, BadRequest, HeadraceError, NotFound, StoreError
from ..exchange import InferenceRequest, InferenceResponse
from ..functions import Function, requested_schema
from ..ids import check_episode_id, new_id
from ..inference import Inference
from ..models import RoutedModel
from ..recorder import Recorder
from ..records import BatchInference, BatchRequest, BatchStatus, Record
from ..tags import API_KEY, canonical
from ..telemetry import Telemetry
from ..tools import configure
from ..types import CacheOptions, Tool
from .finishing import answer_of, finished
from .starting import asked_of, draws, row_of, trial_of

log = logging.getLogger(__name__)


class BatchAccepted(Struct, frozen=True, kw_only=True):
    """A batch that a provider has taken; ids in the order of the requests."""

    batch_id: UUID
    inference_ids: tuple[UUID, ...]
    episode_ids: tuple[UUID, ...]


class BatchState(Struct, frozen=True, kw_only=True):
    """How a batch stands; once it is completed, with the answers that there are, in the order of the requests."""

    batch_id: UUID
    status: BatchStatus
    inferences: tuple[InferenceResponse, ...] = ()


class Batches:
    """The batches of one store. Every method raises BadRequest where no store is configured.

    ``rates(model, provider, toml)`` are those of a provider under another configuration, or None for this one. With
    ``relays`` another gateway runs the models, which takes no batches.
    """

    def __init__(
        self,
        *,
        functions: Mapping[str, Function],
        tools: Mapping[str, Tool],
        model: Callable[[str], RoutedModel],
        rates: Callable[[str, str, str | None], Rates],
        attachments: Attachments,
        store: Store | None,
        recorder: Recorder | None,
        telemetry: Telemetry,
        clock: Clock,
        snapshot_hash: str,
        relays: bool = False,
    ) -> None:
        self._functions = functions
        self._tools = tools
        self._model = model
        self._rates = rates
        self._attachments = attachments
        self._store_or_none = store
        self._recorder_or_none = recorder
        self._telemetry = telemetry
        self._clock = clock
        self._snapshot_hash = snapshot_hash
        self._relays = relays
        # Of the batches that are being polled, so that two pollers do not finish one twice.
        self._locks: WeakValueDictionary[UUID, anyio.Lock] = WeakValueDictionary()

    # -- start --------------------------------------------------------------------------------------------

    async def start(self, requests: Sequence[InferenceRequest]) -> BatchAccepted:
        """Hand over inferences of one function, which share ``variant_name`` and ``credentials``; durable on return.

        One variant performs all of them: the one that the first one's episode draws, or the next if that fails.
        Raise BadRequest, NotFound, AllVariantsFailed; the own error of a variant that was chosen by hand.
        """
        store = self._store
        if self._relays:
            raise BadRequest("Batch inference is not available in relay mode: unset `gateway.relay.gateway_url`")
        if not requests:
            raise BadRequest("No inputs provided")
        function = self._function(requests[0])
        inferences: list[Inference] = []
        try:
            for index, request in enumerate(requests):
                inferences.append(self._admit(index, request, function))
                await self._resolve(index, inferences[-1])
                await checkpoint()  # there may be thousands, and others wait for answers
            self._telemetry.batch(function.name, len(inferences))
            batch = await self._submit(function, inferences)
        finally:
            for inference in inferences:
                if inference.held is not None:
                    inference.held.close()
        await self._recorder.flush()
        kept = {row.id for row in await store.batch_inferences(batch.batch_id)}
        if await store.batch_request(batch.batch_id) is None or len(kept) < len(inferences):
            raise StoreError(
                f"batch {batch.batch_id} was started at model {batch.model_name}, provider "
                f"{batch.model_provider_name}, but the store did not take all of its records (see the log)"
            )
        return BatchAccepted(
            batch_id=batch.batch_id,
            inference_ids=tuple(inference.id for inference in inferences),
            episode_ids=tuple(inference.episode_id for inference in inferences),
        )

    def _function(self, request: InferenceRequest) -> Function:
        name = canonical(request.function_name or "")
        function = self._functions.get(name)
        if function is None:
            raise NotFound(f"Unknown function: {name}")
        if not function.variants:
            raise HeadraceError(f"Function {name} has no variants")
        if request.variant_name is not None:
            function.pinned(request.variant_name)
            function.check_namespace(request.variant_name, None)
        return function

    def _admit(self, index: int, request: InferenceRequest, function: Function) -> Inference:
        try:
            function.check(request.input)
        except BadRequest as error:
            raise _invalid(index, error) from error
        try:
            if request.episode_id is not None:
                check_episode_id(request.episode_id, self._clock.time())
            tools = configure(request, function.spec, self._tools)
        except BadRequest as error:
            raise BadRequest(f"Inference at index {index}: {error}") from error
        pinned = {"tensorzero::variant_pinned": request.variant_name} if request.variant_name is not None else {}
        tags = {canonical(key): value for key, value in request.tags.items()} | pinned
        if request.api_key_public_id is not None:
            tags[API_KEY] = request.api_key_public_id
        return Inference(
            request=request,
            function=function,
            inline=None,
            episode_id=request.episode_id or new_id(),
            tools=tools,
            output_schema=requested_schema(request, function),
            cache=CacheOptions(),
            tags=tags,
            snapshot_hash=self._snapshot_hash,
            clock=self._clock,
        )

    async def _resolve(self, index: int, inference: Inference) -> None:
        if not self._attachments.has_files(inference.input):
            return
        inference.held = ExitStack()
        inference.held.enter_context(self._attachments.held(inference.input))
        try:
            inference.input = await self._attachments.resolved(inference.input)
        except BadRequest as error:
            raise _invalid(index, error) from error

    async def _submit(self, function: Function, inferences: Sequence[Inference]) -> BatchRequest:
        """Try one variant after another; hand the rows of the first that is taken to the recorder."""
        errors: dict[str, Exception] = {}
        for name, probability in draws(function, inferences[0]):
            try:
                variant = function.variants[name]
                trials = [trial_of(name, variant, probability, inference) for inference in inferences]
                asked, model_name = asked_of(name, variant, [trial.task for trial in trials])
                requests = [(trial.task.inference_id, request) for trial, request in zip(trials, asked, strict=True)]
                model = self._model(model_name)
                route, started = await model.start_batch(requests)
            except Exception as error:
                errors[name] = _lost(name, error)
                continue
            batch = BatchRequest(
                id=new_id(),
                batch_id=new_id(),
                status="pending",
                batch_params=started.params,
                function_name=function.name,
                variant_name=name,
                model_name=model.name,
                model_provider_name=route.name,
                snapshot_hash=self._snapshot_hash,
                raw_request=started.raw_request,
                raw_response=started.raw_response,
            )
            # The provider is at work, and will be paid: even if nobody waits any longer, this must be known.
            with anyio.CancelScope(shield=True):
                rows: list[Record] = []
                for inference, trial, (id_, request) in zip(inferences, trials, requests, strict=True):
                    attempt = Attempt(new_id(), model.name, route.name, route.type, request)
                    attempt.raw_request = started.raw_requests.get(id_, "")
                    trial.task.attempts.append(attempt)
                    stored = await self._attachments.stored(inference.input, dryrun=False)
                    rows.append(row_of(batch, inference, trial, stored))
                await self._recorder.put([*rows, batch])
            return batch
        if inferences[0].request.variant_name is not None:
            raise next(iter(errors.values()))
        raise AllVariantsFailed(errors)

    # -- poll ---------------------------------------------------------------------------------------------

    async def poll(self, batch_id: UUID, inference_id: UUID | None = None) -> BatchState:
        """How a batch stands, with all answers or that of one inference. Its provider is asked while it is pending.

        Raise NotFound for an id that is none, ProviderError if the provider cannot say.
        """
        store = self._store
        batch = await store.batch_request(batch_id)
        if batch is None:
            raise NotFound(f"Batch request not found for id: {batch_id}")
        rows = await store.batch_inferences(batch_id)
        wanted = [row for row in rows if inference_id in (None, row.id)]
        if inference_id is not None and not wanted:
            raise NotFound(f"Batch request not found for id: {inference_id}")
        if batch.status == "pending":
            async with self._locks.setdefault(batch_id, anyio.Lock()):
                batch = await store.batch_request(batch_id) or batch  # others may have finished it meanwhile
                if batch.status == "pending":
                    batch = await self._ask(batch, rows)
        answers = await self._answers(store, wanted) if batch.status == "completed" else ()
        return BatchState(batch_id=batch_id, status=batch.status, inferences=tuple(answers))

    async def _ask(self, batch: BatchRequest, rows: Sequence[BatchInference]) -> BatchRequest:
        """Ask the provider, and write down what it says: the records of all answers first, then that it ended."""
        model_name, provider_name = batch.model_name, batch.model_provider_name
        polled = await self._model(model_name).poll_batch(provider_name, batch.batch_params)
        records: list[Record] = []
        if polled.status == "completed":
            rates = self._rates(model_name, provider_name, await self._started_under(batch))
            for row in rows:
                if (response := polled.responses.get(row.id)) is not None:
                    records += finished(row, response, rates)
        batch = structs.replace(
            batch,
            id=new_id(),
            status=polled.status,
            raw_request=polled.raw_request,
            raw_response=polled.raw_response,
            errors=polled.errors,
        )
        with anyio.CancelScope(shield=True):
            await self._recorder.put([*records, batch])
        await self._recorder.flush()
        return batch

    async def _started_under(self, batch: BatchRequest) -> str | None:
        if batch.snapshot_hash == self._snapshot_hash:
            return None
        snapshot = await self._store.config_snapshot(batch.snapshot_hash)
        return snapshot.config if snapshot else None

    async def _answers(self, store: Store, rows: Sequence[BatchInference]) -> list[InferenceResponse]:
        ids = tuple(row.id for row in rows)
        found = {record.id: record for record in await store.inferences(InferenceQuery(ids=ids, limit=None))}
        return [answer_of(found[id_], await store.model_inferences(id_)) for id_ in ids if id_ in found]

    @property
    def _store(self) -> Store:
        if self._store_or_none is None:
            raise BadRequest("Batch inference needs a store: `gateway.observability.enabled` is false")
        return self._store_or_none

    @property
    def _recorder(self) -> Recorder:
        assert self._recorder_or_none is not None  # there is one wherever there is a store
        return self._recorder_or_none


def _invalid(index: int, error: BadRequest) -> BadRequest:
    return BadRequest(f"Input at index {index} failed validation: {error}")


def _lost(variant_name: str, error: Exception) -> HeadraceError:
    if isinstance(error, HeadraceError):
        log.warning("variant %s could not start a batch: %s", variant_name, error)
        return error
    log.error("variant %s broke its contract", variant_name, exc_info=error)
    return HeadraceError(f"{type(error).__name__}: {error}")
