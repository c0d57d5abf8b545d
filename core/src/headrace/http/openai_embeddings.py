"""The bodies of ``POST /openai/v1/embeddings``, in and out (http-api 17)."""

from __future__ import annotations

import base64
import logging
import struct
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from msgspec import Struct, field

from ..errors import BadRequest
from ..exchange import EmbeddingsAnswer
from ..tags import canonical
from ..types import EmbeddingRequest
from .bodies import CacheOptionsBody, to_cache
from .openai_fields import EMBEDDING_MODEL, U32, parse, rest

log = logging.getLogger(__name__)


class EmbeddingsBody(Struct, kw_only=True):
    """What is understood; other keys are ignored."""

    model: str
    input: str | list[str | U32 | list[U32]]
    dimensions: U32 | None = None
    encoding_format: Literal["float", "base64"] | None = None
    credentials: dict[str, str] | None = field(name="tensorzero::credentials", default=None)
    dryrun: bool | None = field(name="tensorzero::dryrun", default=None)
    cache_options: CacheOptionsBody | None = field(name="tensorzero::cache_options", default=None)
    include_raw_response: bool | None = field(name="tensorzero::include_raw_response", default=None)

    @property
    def model_name(self) -> str:
        """The model's own name."""
        return rest(self.model, EMBEDDING_MODEL) or canonical(self.model)


_decoder = msgspec.json.Decoder(EmbeddingsBody)


def read_embeddings(raw: bytes) -> tuple[EmbeddingsBody, EmbeddingRequest]:
    """The body, and the neutral request that it means. Raise BadRequest."""
    body, _ = parse(_decoder, raw)
    if isinstance(body.input, list):
        if not body.input or [] in body.input:
            raise BadRequest("Input cannot be empty")
        if len({type(item) for item in body.input}) > 1:
            raise BadRequest("input: texts and token ids cannot be mixed")
    if rest(body.model, EMBEDDING_MODEL) is None:
        log.warning("embedding model %r without the prefix %r is deprecated", body.model[:200], EMBEDDING_MODEL)
    return body, EmbeddingRequest(
        input=body.input,
        dimensions=body.dimensions,
        credentials=body.credentials or {},
        cache=to_cache(body.cache_options),
    )


def embedding_list(body: EmbeddingsBody, answer: EmbeddingsAnswer) -> dict[str, Any]:
    """The JSON object of the answer."""
    as_base64 = body.encoding_format == "base64"
    shown: dict[str, Any] = {
        "object": "list",
        "data": [
            {"object": "embedding", "embedding": _base64(vector) if as_base64 else vector, "index": index}
            for index, vector in enumerate(answer.embeddings)
        ],
        "model": EMBEDDING_MODEL + body.model_name,
        "usage": {
            "prompt_tokens": answer.usage.input_tokens,
            "total_tokens": answer.usage.input_tokens,
            "tensorzero_cost": answer.usage.cost,
        },
    }
    if answer.raw_response is not None:
        shown["tensorzero::raw_response"] = answer.raw_response  # colons here, an underscore in chat completions
    return shown


def _base64(vector: Sequence[float]) -> str:
    """Little-endian 32-bit floats."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
