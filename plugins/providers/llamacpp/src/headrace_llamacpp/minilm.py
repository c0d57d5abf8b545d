"""all-MiniLM-L6-v2 from its safetensors to a GGUF of 16-bit floats, the same bytes every time."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from . import gguf

_LAYERS = 6
_HEADERS: dict[str, Any] = {
    "general.architecture": "bert",
    "general.name": "all-MiniLM-L6-v2",
    "general.license": "apache-2.0",
    "general.file_type": 1,  # most tensors are 16-bit floats
    "bert.block_count": _LAYERS,
    "bert.context_length": 512,
    "bert.embedding_length": 384,
    "bert.feed_forward_length": 1536,
    "bert.attention.head_count": 12,
    "bert.attention.layer_norm_epsilon": 1e-12,
    "bert.attention.causal": False,
    "bert.pooling_type": 1,  # the mean over all tokens
    "tokenizer.ggml.model": "bert",
    "tokenizer.ggml.token_type_count": 2,
    "tokenizer.ggml.padding_token_id": 0,
    "tokenizer.ggml.unknown_token_id": 100,
    "tokenizer.ggml.bos_token_id": 101,  # [CLS]
    "tokenizer.ggml.eos_token_id": 102,  # [SEP]
    "tokenizer.ggml.cls_token_id": 101,
    "tokenizer.ggml.seperator_token_id": 102,  # llama.cpp's own spelling
    "tokenizer.ggml.mask_token_id": 103,
}

# Ours by theirs; every one has a weight and a bias but the first three, which are tables.
_TABLES = {
    "token_embd": "embeddings.word_embeddings",
    "position_embd": "embeddings.position_embeddings",
    "token_types": "embeddings.token_type_embeddings",
}
_LAYER = {
    "attn_q": "attention.self.query",
    "attn_k": "attention.self.key",
    "attn_v": "attention.self.value",
    "attn_output": "attention.output.dense",
    "attn_output_norm": "attention.output.LayerNorm",
    "ffn_up": "intermediate.dense",
    "ffn_down": "output.dense",
    "layer_output_norm": "output.LayerNorm",
}
# llama.cpp wants these small tables whole.
_KEPT_WHOLE = ("position_embd.weight", "token_types.weight")

_NORMAL, _UNKNOWN, _CONTROL = 1, 2, 3


def convert(source: Path, target: BinaryIO) -> None:
    """Write the GGUF of the model in the folder ``source`` (``model.safetensors`` and ``vocab.txt``)."""
    words = (source / "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1]
    vocabulary = {
        "tokenizer.ggml.tokens": [_token(word) for word in words],
        "tokenizer.ggml.token_type": [_kind(word) for word in words],
    }
    gguf.write(target, _HEADERS | vocabulary, list(_tensors((source / "model.safetensors").read_bytes())))


def _token(word: str) -> str:
    """llama.cpp marks where a word begins, and BERT where it goes on."""
    if word.startswith("[") and word.endswith("]"):
        return word
    return word[2:] if word.startswith("##") else f"\u2581{word}"


def _kind(word: str) -> int:
    if word == "[UNK]":
        return _UNKNOWN
    return _CONTROL if word in ("[PAD]", "[CLS]", "[SEP]", "[MASK]") else _NORMAL


def _names() -> Iterator[tuple[str, str]]:
    for ours, theirs in _TABLES.items():
        yield f"{ours}.weight", f"{theirs}.weight"
    pairs = {"token_embd_norm": "embeddings.LayerNorm"}
    for layer in range(_LAYERS):
        pairs |= {f"blk.{layer}.{ours}": f"encoder.layer.{layer}.{theirs}" for ours, theirs in _LAYER.items()}
    for ours, theirs in pairs.items():
        yield f"{ours}.weight", f"{theirs}.weight"
        yield f"{ours}.bias", f"{theirs}.bias"


def _tensors(source: bytes) -> Iterator[gguf.Tensor]:
    import numpy as np

    (length,) = struct.unpack_from("<Q", source)
    layout = json.loads(source[8 : 8 + length])
    for ours, theirs in _names():
        start, end = layout[theirs]["data_offsets"]
        shape = tuple(layout[theirs]["shape"][::-1])
        data = source[8 + length + start : 8 + length + end]
        if len(shape) == 1 or ours in _KEPT_WHOLE:
            yield gguf.Tensor(ours, shape, gguf.FLOAT32, data)
        else:
            halves = np.frombuffer(data, "<f4").astype("<f2").tobytes()
            yield gguf.Tensor(ours, shape, gguf.FLOAT16, halves)
