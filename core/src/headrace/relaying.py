"""What of a provider's chunks the caller of a stream sees, and what comes before and after them (http-api 13.2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import UNSET

from .exchange import InferenceChunk, InferenceResponse, RawUsage
from .inference import Inference, Trial, raw_responses
from .pieces import Pieces
from .types import Chunk, FinishReason, TextDelta, ToolCallDelta

_NOTHING: Mapping[str, Any] = {}


class Relay:
    """The caller's side of one stream: chunks without usage and finish reason, then exactly one with them."""

    def __init__(self, inference: Inference, trial: Trial) -> None:
        self._inference = inference
        self._trial = trial
        self._is_json = inference.function.spec.type == "json"
        request = inference.request
        self._with_raws = request.include_raw_response or request.include_original_response or request.include_raw_usage
        self.pieces = Pieces()

    def opening(self) -> Iterator[InferenceChunk]:
        """What went before the stream that the caller is about to see, as far as it was asked for."""
        request, attempts = self._inference.request, self._trial.task.attempts
        earlier = [
            attempt for trial in self._inference.trials if trial is not self._trial for attempt in trial.task.attempts
        ]
        failed = [attempt for attempt in attempts[:-1] if attempt.error is not None]
        done = [attempt for attempt in attempts[:-1] if attempt.error is None]
        if request.include_raw_response and (raw := raw_responses(earlier)):
            yield self._chunk(raw_response=raw)
        if request.include_raw_usage and (usage := self._inference.raw_usage(done)):
            yield self._chunk(raw_usage=usage)
        if request.include_raw_response:
            for group in (failed, done):
                if raw := raw_responses(group):
                    yield self._chunk(raw_response=raw)

    def piece(self, chunk: Chunk) -> InferenceChunk | None:
        """What the caller sees of a chunk; None when nothing is left of it."""
        self.pieces.add(chunk)
        raws = self._raws(chunk) if self._with_raws else _NOTHING
        if chunk.error is not None:
            return self._chunk(error=chunk.error, **raws)
        if not self._is_json:
            if not (chunk.content or raws):
                return None
            return InferenceChunk(
                inference_id=self._inference.id,
                episode_id=self._inference.episode_id,
                variant_name=self._trial.variant_name,
                content=chunk.content,
                **raws,
            )
        texts = [
            delta.text if isinstance(delta, TextDelta) else delta.raw_arguments
            for delta in chunk.content
            if isinstance(delta, (TextDelta, ToolCallDelta))
        ]
        raw = texts[-1] if texts else ""
        return self._chunk(raw=raw, **raws) if raw or raws else None

    def closing(self, response: InferenceResponse, finish_reason: FinishReason | None) -> InferenceChunk:
        """The last one."""
        aggregated = response.output if self._inference.request.include_aggregated_response else None
        return self._chunk(usage=response.usage, finish_reason=finish_reason, aggregated=aggregated)

    def _raws(self, chunk: Chunk) -> dict[str, Any]:
        """The upstream's own words, for callers who asked for them."""
        request, raws = self._inference.request, dict[str, Any]()
        if request.include_raw_response and chunk.raw:
            raws["raw_chunk"] = chunk.raw
        if request.include_original_response and chunk.raw:
            raws["original_chunk"] = chunk.raw
        if request.include_raw_usage and chunk.raw_usage is not UNSET:
            attempt = self._trial.task.attempts[-1]
            raws["raw_usage"] = (RawUsage(attempt.id, attempt.provider_type, attempt.api_type, chunk.raw_usage),)
        return raws

    def _chunk(self, **fields: Any) -> InferenceChunk:
        if self._is_json:
            fields.setdefault("raw", "")
        return InferenceChunk(
            inference_id=self._inference.id,
            episode_id=self._inference.episode_id,
            variant_name=self._trial.variant_name,
            **fields,
        )
