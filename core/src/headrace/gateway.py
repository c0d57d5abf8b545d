"""From a function's name to answer and record: ``infer``, ``stream``, ``embed``."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from datetime import UTC, datetime

import anyio

from .contracts import Answer, Attempt, Clock, EmbeddingModel, Store
from .datasets import Datasets
from .errors import AllVariantsFailed, BadRequest, ConfigError, HeadraceError, NotFound, ProviderError
from .exchange import InferenceChunk, InferenceRequest, InferenceResponse
from .feedback import FeedbackDesk
from .functions import Function
from .ids import check_episode_id, new_id
from .inference import Inference, Trial, total
from .pieces import Pieces
from .recorder import Recorder
from .records import ConfigSnapshot, Record
from .schemas import Schema
from .tags import check_tags
from .telemetry import Telemetry
from .tools import configure
from .types import Chunk, EmbeddingRequest, EmbeddingResponse, TextDelta, Tool, ToolCallDelta, Usage

log = logging.getLogger(__name__)

DEFAULT_FUNCTION = "tensorzero::default"


class Gateway:
    """Plain objects calling plain objects. Two of them can live in one process.

    An async context manager: it opens transport, store and providers, and on leaving writes what is queued.
    ``direct`` gives the function that runs a model called by its own name.
    """

    def __init__(
        self,
        *,
        functions: Mapping[str, Function],
        direct: Callable[[str], Function],
        embedding_models: Mapping[str, EmbeddingModel],
        tools: Mapping[str, Tool],
        snapshot: ConfigSnapshot,
        resources: Sequence[AbstractAsyncContextManager[object]],
        store: Store | None,
        recorder: Recorder | None,
        feedback: FeedbackDesk,
        datasets: Datasets,
        telemetry: Telemetry,
        clock: Clock,
    ) -> None:
        self.functions = functions
        self.embedding_models = embedding_models
        self.store = store
        self.feedback = feedback
        self.datasets = datasets
        self.telemetry = telemetry
        self.snapshot = snapshot
        self._direct = direct
        self._tools = tools
        self._resources = resources
        self._recorder = recorder
        self._clock = clock
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Gateway:
        async with AsyncExitStack() as stack:
            for resource in self._resources:
                await stack.enter_async_context(resource)
            if self._recorder is not None:
                tasks = await stack.enter_async_context(anyio.create_task_group())
                await self._recorder.start(tasks)
                stack.push_async_callback(self._recorder.stop)
                await self._recorder.put([self.snapshot])
            self._open = stack.pop_all()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._open.aclose()

    # -- inference ----------------------------------------------------------------------------------------

    async def infer(self, request: InferenceRequest) -> InferenceResponse:
        """Answer once. A variant that fails makes way for the next draw, unless it was pinned."""
        inference = self._begin(request)
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
                raise _outcome(request, errors)
        except BaseException:
            await self._record_anyway(inference, [])
            raise
        await self._record(inference, [record])
        return response

    async def stream(self, request: InferenceRequest) -> AsyncGenerator[InferenceChunk, None]:
        """Answer piece by piece. Returns when the first piece is there: until then variants can still change.

        The caller must iterate the result, and close it.
        """
        inference = self._begin(request)
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
            raise _outcome(request, errors)
        except BaseException:  # once there is a first piece, it is for `_relay` to record
            await self._record_anyway(inference, [])
            raise

    async def _relay(
        self, inference: Inference, trial: Trial, first: Chunk, chunks: AsyncGenerator[Chunk, None]
    ) -> AsyncGenerator[InferenceChunk, None]:
        """Pass content on, hold usage and finish reason back for exactly one last chunk, then record."""
        pieces, ttft_ms = Pieces(), inference.milliseconds()
        is_json = inference.function.spec.type == "json"
        records: list[Record] = []
        try:
            async with aclosing(chunks):
                pieces.add(first)
                if (piece := _piece(inference, trial, first, is_json)) is not None:
                    yield piece
                async for chunk in chunks:
                    pieces.add(chunk)
                    if (piece := _piece(inference, trial, chunk, is_json)) is not None:
                        yield piece
            response, record = inference.finish(trial, Answer(pieces.blocks(), pieces.finish_reason), ttft_ms)
            records.append(record)
            yield InferenceChunk(
                inference_id=inference.id,
                episode_id=inference.episode_id,
                variant_name=trial.variant_name,
                raw="" if is_json else None,
                usage=response.usage,
                finish_reason=pieces.finish_reason,
            )
        finally:
            await self._record_anyway(inference, records)

    def _begin(self, request: InferenceRequest) -> Inference:
        """Check everything that can be checked before any variant runs (http-api 5), and count the request."""
        now = self._clock.time()
        tags = dict(request.tags)
        if request.internal:
            tags["tensorzero::internal"] = "true"
        else:
            check_tags(tags)
        if request.episode_id is not None:
            check_episode_id(request.episode_id, now)
        function = self._function(request)
        if not function.variants:
            raise HeadraceError(f"Function {function.name} has no variants")
        function.check(request.input)
        tools = configure(request, function.spec, self._tools)
        if request.variant_name is not None:
            function.pinned(request.variant_name)
            tags["tensorzero::variant_pinned"] = request.variant_name
        output_schema = _schema(request, function)
        if not request.dryrun:
            self.telemetry.inference(function.name, request.model_name)
        return Inference(
            request=request,
            function=function,
            episode_id=request.episode_id or new_id(),
            tools=tools,
            output_schema=output_schema,
            tags=tags,
            snapshot_hash=self.snapshot.hash,
            clock=self._clock,
        )

    def _function(self, request: InferenceRequest) -> Function:
        if (request.function_name is None) == (request.model_name is None):
            what = "either" if request.function_name is None else "only one of"
            raise BadRequest(f"Invalid inference target: provide {what} `function_name` or `model_name`")
        if request.model_name is not None:
            if request.variant_name is not None:
                raise BadRequest("Invalid inference target: `variant_name` cannot be combined with `model_name`")
            try:
                return self._direct(request.model_name)
            except ConfigError as error:
                raise BadRequest(f"Invalid inference target: {error}") from None
        name = request.function_name or ""
        if name == DEFAULT_FUNCTION:
            raise HeadraceError(f"Function {name} has no variants; call a model by `model_name`")
        try:
            return self.functions[name]
        except KeyError:
            raise NotFound(f"Unknown function: {name}") from None

    def _lost(self, trial: Trial, error: Exception) -> HeadraceError:
        """A plugin's own bug counts as its variant's failure, so that the next one is drawn."""
        if isinstance(error, HeadraceError):
            log.warning("variant %s failed: %s", trial.variant_name, error)
            return error
        log.error("variant %s broke its contract", trial.variant_name, exc_info=error)
        return HeadraceError(f"{type(error).__name__}: {error}")

    async def _record(self, inference: Inference, records: Sequence[Record]) -> None:
        """Hand over these and every attempt."""
        for trial in inference.trials:
            self._count_tokens(trial.task.attempts)
        if self._recorder is not None and not inference.request.dryrun:
            await self._recorder.put([*records, *inference.attempts()])

    async def _record_anyway(self, inference: Inference, records: Sequence[Record]) -> None:
        """The same for an inference that did not end well, even while our own task is being cancelled."""
        with anyio.CancelScope(shield=True):
            await self._record(inference, records)

    def _count_tokens(self, attempts: Sequence[Attempt]) -> None:
        for attempt in attempts:
            if attempt.error is None:
                self.telemetry.tokens(attempt.usage.input_tokens, attempt.usage.output_tokens)

    # -- embeddings ---------------------------------------------------------------------------------------

    async def embed(self, model_name: str, request: EmbeddingRequest) -> tuple[EmbeddingResponse, Usage]:
        """One vector per input, and what they cost. Nothing is stored. Raise NotFound for an unknown model."""
        model = self.embedding_models.get(model_name)
        if model is None:
            raise NotFound(f"Model not found: {model_name}")
        self.telemetry.embeddings(model_name, 1 if isinstance(request.input, str) else len(request.input))
        attempts: list[Attempt] = []
        response = await model.embed(request, attempts)
        self._count_tokens(attempts)
        return response, total([attempt for attempt in attempts if attempt.error is None])


def snapshot_of(hash_: str, config: str, files: Mapping[str, str], version: str, now: float) -> ConfigSnapshot:
    """The row that says what the hash on every record stands for."""
    return ConfigSnapshot(
        hash=hash_,
        config=config,
        extra_templates=dict(files),
        headrace_version=version,
        created_at=datetime.fromtimestamp(now, UTC),
    )


async def _first(chunks: AsyncGenerator[Chunk, None]) -> Chunk:
    """The first chunk that says something."""
    async for chunk in chunks:
        if chunk.content or chunk.usage or chunk.finish_reason:
            return chunk
    raise ProviderError("the stream ended before the first piece")


def _piece(inference: Inference, trial: Trial, chunk: Chunk, is_json: bool) -> InferenceChunk | None:
    """What of a provider's chunk the caller sees; None when nothing is left of it."""
    if chunk.error is not None:
        return InferenceChunk(
            inference_id=inference.id,
            episode_id=inference.episode_id,
            variant_name=trial.variant_name,
            error=chunk.error,
        )
    raw: str | None = None
    content = chunk.content
    if is_json:
        texts = [
            delta.text if isinstance(delta, TextDelta) else delta.raw_arguments
            for delta in content
            if isinstance(delta, (TextDelta, ToolCallDelta))
        ]
        raw, content = (texts[-1] if texts else ""), ()
    if not content and not raw:
        return None
    return InferenceChunk(
        inference_id=inference.id,
        episode_id=inference.episode_id,
        variant_name=trial.variant_name,
        content=content,
        raw=raw,
    )


def _schema(request: InferenceRequest, function: Function) -> Schema | None:
    if request.output_schema is None:
        return function.spec.output_schema
    try:
        return Schema(request.output_schema)
    except ValueError as error:
        raise BadRequest(f"`output_schema` is not a JSON Schema: {error}") from None


def _outcome(request: InferenceRequest, errors: Mapping[str, Exception]) -> Exception:
    """A pinned variant's own error, or all of them (http-api 4.3)."""
    if request.variant_name is not None and len(errors) == 1:
        return next(iter(errors.values()))
    return AllVariantsFailed(errors)
