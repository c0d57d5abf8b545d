"""The gateway's parts with spans around what they do; assembled in place of the plain ones where traces are on.

Outside of a traced request (an evaluation, a route that is not traced) each of them is the plain one.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from msgspec import structs

from .attempts import Watch
from .authentication import Authenticator
from .contracts import Answer, Attempt, Clock, Model, Provider, Task, Variant
from .exchange import InferenceChunk, InferenceRequest, InferenceResponse
from .feedback import FeedbackDesk, FeedbackRequest
from .gateway import Gateway
from .inference import Inference
from .limiting import Limiter, Reservation
from .models import RoutedModel
from .records import ApiKey, Record
from .relays import RELAY, RelayedModel
from .routes import Route
from .timeouts import Timeouts
from .tracing import Attribute, Attributes, Node, Tracing, current, during, enter, through, told, within
from .transport import Call, Reply, StreamedReply, Transport
from .types import Chunk, EmbeddingRequest, ModelRequest, ModelResponse, Usage
from .variants import Timed
from .vocabularies import Vocabulary

log = logging.getLogger(__name__)

_FUNCTION, _MODEL = "function_inference", "model_inference"


class TracedGateway(Gateway):
    """A gateway whose inferences are spans; a streamed one ends with its last piece."""

    vocabulary: Vocabulary
    async_writes: bool

    @classmethod
    def of(cls, tracing: Tracing, vocabulary: Vocabulary, *, async_writes: bool, **parts: Any) -> TracedGateway:
        """A gateway of these parts."""
        gateway = cls(**parts)
        gateway.tracing, gateway.vocabulary, gateway.async_writes = tracing, vocabulary, async_writes
        return gateway

    async def infer(self, request: InferenceRequest) -> InferenceResponse:
        """Answer once."""
        parent = current()
        if parent is None:
            return await super().infer(request)
        with during(parent.child(_FUNCTION, self._asked(request), False)):
            return await super().infer(request)

    async def stream(self, request: InferenceRequest) -> AsyncGenerator[InferenceChunk, None]:
        """Answer piece by piece."""
        parent = current()
        if parent is None:
            return await super().stream(request)
        node = parent.child(_FUNCTION, self._asked(request), True)
        try:
            with within(node):
                chunks = await super().stream(request)
        except BaseException as error:
            node.end(told(error))
            raise
        return through(node, lambda: chunks)

    def _asked(self, request: InferenceRequest) -> Attributes:
        # Tags first: where there are too many attributes, those that came first are the ones to go.
        said: dict[str, Attribute] = {f"tags.{key}": value for key, value in request.tags.items()}
        if request.internal:
            said["tags.tensorzero::internal"] = "true"
        names = {
            "function_name": request.function_name,
            "model_name": request.model_name,
            "variant_name": request.variant_name,
        }
        return {**said, **self.vocabulary.chain, **{name: value for name, value in names.items() if value is not None}}

    async def _begin(self, request: InferenceRequest) -> Inference:
        inference = await super()._begin(request)
        if (node := current()) is not None:
            node.function_name = inference.function.name
            node.set({"inference_id": str(inference.id), "episode_id": str(inference.episode_id)})
        return inference

    async def _put(self, inference: Inference, records: Sequence[Record]) -> None:
        node = current()
        is_written = self._recorder is not None and not inference.request.dryrun
        if node is None or not is_written or not (records or any(trial.task.attempts for trial in inference.trials)):
            await super()._put(inference, records)
            return
        said: Attributes = {
            "stream": bool(node.detail),
            "inference_id": str(inference.id),
            "async_writes": self.async_writes,
        }
        with during(node.child("write_inference", said)):
            await super()._put(inference, records)


class TracedFeedbackDesk(FeedbackDesk):
    """Takes feedback in, each in a span."""

    async def give(self, request: FeedbackRequest) -> UUID:
        """Check and record."""
        parent = current()
        if parent is None:
            return await super().give(request)
        said: dict[str, Attribute] = {f"tags.{key}": value for key, value in request.tags.items()}
        ids = {"inference_id": request.inference_id, "episode_id": request.episode_id}
        said |= {name: str(id_) for name, id_ in ids.items() if id_ is not None}
        with during(parent.child("feedback", said | {"metric_name": request.metric_name})):
            return await super().give(request)


class TracedAuthenticator(Authenticator):
    """Tells good keys from others, each in a span."""

    async def check(self, header: bytes | None) -> ApiKey:
        """The key that a header shows."""
        parent = current()
        if parent is None:
            return await super().check(header)
        with during(parent.child("tensorzero_auth", {})) as node:
            key = await super().check(header)
            said = {"public_id": key.public_id, "organization": key.organization, "workspace": key.workspace}
            node.set({f"key.{name}": value for name, value in said.items()})
            return key


class TracedVariant(Timed):
    """A variant in a span, its time limits inside of that."""

    def __init__(self, variant: Variant, name: str, function_name: str, chain: Attributes, clock: Clock) -> None:
        super().__init__(variant, Timeouts(), name=name, clock=clock)
        self._said: Attributes = {"function_name": function_name, "variant_name": name, **chain}

    @property
    def inner(self) -> Variant:
        """The variant without its limits."""
        return self._variant.inner if isinstance(self._variant, Timed) else self._variant

    async def run(self, task: Task) -> Answer:
        """Perform once."""
        parent = current()
        if parent is None:
            return await self._variant.run(task)
        with during(parent.child("variant_inference", {**self._said, "stream": False})):
            return await self._variant.run(task)

    def stream(self, task: Task) -> AsyncGenerator[Chunk, None]:
        """Perform piece by piece."""
        parent = current()
        if parent is None:
            return self._variant.stream(task)
        node = parent.child("variant_inference", {**self._said, "stream": True})
        return through(node, lambda: self._variant.stream(task))


class TracedPart:
    """The model of an evaluator or a fuser: what it does is shown as a variant's work (observability 2.5)."""

    def __init__(self, model: Model, part: str, name: str, function_name: str, chain: Attributes) -> None:
        self._model = model
        said = {"function_name": function_name, "variant_name": name, "headrace.part": part}
        self._said: Attributes = {**said, **chain}

    async def complete(self, request: ModelRequest, attempts: list[Attempt]) -> ModelResponse:
        """The first provider that answers."""
        parent = current()
        if parent is None:
            return await self._model.complete(request, attempts)
        with during(parent.child("variant_inference", {**self._said, "stream": False})):
            return await self._model.complete(request, attempts)

    def stream(self, request: ModelRequest, attempts: list[Attempt]) -> AsyncGenerator[Chunk, None]:
        """Piece by piece."""
        parent = current()
        if parent is None:
            return self._model.stream(request, attempts)
        node = parent.child("variant_inference", {**self._said, "stream": True})
        return through(node, lambda: self._model.stream(request, attempts))


@dataclass(frozen=True, slots=True)
class _Call:
    """One provider being tried, in a span of its own."""

    attempt: Attempt
    vocabulary: Vocabulary
    stream: bool

    def end(self, node: Node) -> None:
        """End as the attempt did. A cached answer turns out to be no call at all."""
        if self.attempt.cached:
            node.discard()
            return
        try:
            node.set(self.vocabulary.answered(self.attempt, stream=self.stream))
        except Exception:  # an answer that cannot be shown is an answer all the same
            log.exception("a provider's answer could not be put into its span")
        node.end(self.attempt.error)


def _end_call(node: Node | None) -> None:
    if node is not None and isinstance(node.detail, _Call):
        node.detail.end(node)


class _Spans(RoutedModel):
    """What a model does, in a span; each provider that it tries in one of its own.

    ``upstreams`` are the names that the providers themselves have for the model.
    """

    vocabulary: Vocabulary
    upstreams: Mapping[str, str | None]

    async def complete(self, request: ModelRequest, attempts: list[Attempt]) -> ModelResponse:
        """The first provider that answers."""
        node = self._node(stream=False)
        if node is None:
            return await super().complete(request, attempts)
        with during(node):
            try:
                return await super().complete(request, attempts)
            finally:
                _end_call(current())

    def stream(self, request: ModelRequest, attempts: list[Attempt]) -> AsyncGenerator[Chunk, None]:
        """Piece by piece."""
        chunks, node = super().stream(request, attempts), self._node(stream=True)
        if node is None:
            return chunks
        return through(node, lambda: _replayed(node, chunks) if request.cache.reads else chunks, _end_call)

    def _node(self, *, stream: bool) -> Node | None:
        parent = current()
        if parent is None:
            return None
        return parent.child(_MODEL, {"model_name": self.name, "stream": stream, **self.vocabulary.chain}, stream)

    def _watch(
        self, route: Route[Provider], request: ModelRequest | EmbeddingRequest, attempts: list[Attempt]
    ) -> Watch:
        watch = super()._watch(route, request, attempts)
        node = current()
        if node is not None and isinstance(node.detail, _Call):  # the provider before this one
            node.detail.end(node)
            node = node.parent
        # Batches ask providers too, outside of any model's span; and of relayed calls, the other gateway tells.
        if node is not None and node.name == _MODEL and route.type != RELAY:
            call = _Call(watch.attempt, self.vocabulary, bool(node.detail))
            said = self.vocabulary.asked(route.type, self.upstreams.get(route.name), node.function_name or "")
            said = {"provider_name": route.name, "stream": call.stream, **said}
            enter(node.child("model_provider_inference", said, call))
        return watch


class TracedModel(_Spans):
    """A model of this gateway's."""


class TracedRelayedModel(_Spans, RelayedModel):
    """A model that another gateway runs."""


async def _replayed(node: Node, chunks: AsyncGenerator[Chunk, None]) -> AsyncGenerator[Chunk, None]:
    """The same chunks, in a span if they are from the cache."""
    replay: Node | None = None
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
                here = current()
                if (
                    replay is None
                    and here is not None
                    and isinstance(here.detail, _Call)
                    and here.detail.attempt.cached
                ):
                    replay = node.child("stream_from_cache", {})
                yield chunk
    finally:
        if replay is not None:
            replay.end()


class TracedLimiter(Limiter):
    """Rate limits, in spans for every call: also for one that no rule concerns (observability 2.5)."""

    def __init__(self, limiter: Limiter | None) -> None:
        self._limiter = limiter

    async def reserve(self, request: ModelRequest | EmbeddingRequest) -> Reservation | None:
        """Take what the call will use."""
        node = current()
        if node is None:
            return None if self._limiter is None else await self._limiter.reserve(request)
        said = {f"scope_info.tags.{key}": value for key, value in request.caller.tags.items()}
        if request.caller.api_key_public_id is not None:
            said["scope_info.api_key_public_id"] = request.caller.api_key_public_id
        with during(node.child("rate_limiting_consume_tickets", said)) as taking:
            reserved = None if self._limiter is None else await self._limiter.reserve(request)
            if reserved is not None:
                taking.set({f"estimated_usage.{key}": _shown(key, units) for key, units in reserved.estimates.items()})
        return _TracedReservation(node, reserved)


def _shown(resource: str, units: int) -> int | float:
    return units / 1e9 if resource == "cost" else units  # nano-dollars to dollars


class _TracedReservation(Reservation):
    """What one call took, perhaps nothing."""

    def __init__(self, node: Node, reservation: Reservation | None) -> None:
        self._node = node
        self._reservation = reservation

    def settle(self, usage: Usage, *, failed: bool = False) -> None:
        """Give back what was not used."""
        if self._reservation is not None:
            self._reservation.settle(usage, failed=failed)
        if failed:
            return
        counts = (usage.input_tokens, usage.output_tokens)
        said: dict[str, Attribute] = {
            "actual_usage.tokens": sum(count or 0 for count in counts),
            "actual_usage.model_inferences": 1,
            "underestimate": None in counts,
        }
        if usage.cost is not None:
            said["actual_usage.cost"] = float(usage.cost)
        self._node.child("rate_limiting_return_tickets", said).end()


class TracedTransport:
    """Calls carry the trace of the request that they are made for, unless they bring one themselves."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def send(self, call: Call) -> Reply:
        """Send, and read the whole answer."""
        return await self._transport.send(_marked(call))

    def stream(self, call: Call) -> AbstractAsyncContextManager[StreamedReply]:
        """Send, and leave the body to be read piece by piece."""
        return self._transport.stream(_marked(call))


def _marked(call: Call) -> Call:
    node = current()
    if node is None or any(name.lower() == "traceparent" for name in call.headers):
        return call
    return structs.replace(call, headers={**call.headers, **node.span.headers()})
