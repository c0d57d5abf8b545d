"""The header check says what is wrong with a file before llama.cpp gets it; the writer writes the same bytes."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
from headrace_llamacpp import gguf

METADATA = {
    "general.architecture": "bert",
    "general.name": "tiny ✓",
    "n": 7,
    "x": 0.5,
    "flag": True,
    "words": ["a", "bc"],
    "numbers": [1, 2, 3],
    "bert.pooling_type": 1,
}
TENSORS = [
    gguf.Tensor("a", (4,), gguf.FLOAT32, bytes(16)),
    gguf.Tensor("b", (4, 3), gguf.FLOAT16, bytes(24)),
]


def whole() -> bytes:
    file = io.BytesIO()
    gguf.write(file, METADATA, TENSORS)
    return file.getvalue()


def saved(folder: Path, content: bytes) -> Path:
    path = folder / "x.gguf"
    path.write_bytes(content)
    return path


def header(version: int, tensors: int, keys: int, rest: bytes = b"") -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, keys) + rest


def test_reads_what_was_written(tmp_path: Path) -> None:
    found = gguf.check(saved(tmp_path, whole()))
    arrays = ("words", "numbers")
    assert found.metadata == {key: value for key, value in METADATA.items() if key not in arrays}
    assert found.tensors == len(TENSORS)


def test_the_same_arguments_give_the_same_bytes() -> None:
    assert whole() == whole()


def test_every_tensor_begins_on_a_multiple_of_32() -> None:
    assert len(whole()) % 32 == 0


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"general.architecture": "bert"}, True),
        ({"general.architecture": "nomic-bert"}, True),
        ({"general.architecture": "qwen3", "qwen3.pooling_type": 3}, True),
        ({"general.architecture": "qwen3", "qwen3.pooling_type": 0}, False),
        ({"general.architecture": "llama"}, False),
        ({}, False),
    ],
    ids=["bert", "nomic", "pooled-decoder", "not-pooled", "decoder", "unknown"],
)
def test_an_encoder_is_known_by_its_header(metadata: dict[str, str | int], *, expected: bool) -> None:
    assert gguf.Header(metadata, 0).embeds is expected


@pytest.mark.parametrize("kept", [0.05, 0.3, 0.6, 0.95], ids=["in-the-start", "in-the-keys", "in-the-names", "in-data"])
def test_a_truncated_file_is_cut_short(tmp_path: Path, kept: float) -> None:
    content = whole()
    # The padding after the last tensor may go: readers do not need it.
    content = content[: int((len(content) - 8) * kept)]
    with pytest.raises(ValueError, match="cut short"):
        gguf.check(saved(tmp_path, content))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a GGUF file"),
        (b"PK\x03\x04" + bytes(100), "begins with b'PK"),
        (header(1, 0, 0), "version 1; known are 2 and 3"),
        (header(3 << 24, 0, 0), "version 50331648"),
        (header(3, 1 << 60, 0), "counts 1152921504606846976 entries"),
        (header(3, 0, 1, struct.pack("<Q", 1 << 60)), "cut short"),
        (header(3, 0, 1, struct.pack("<Q1sI", 1, b"k", 99)), "no value type 99"),
        (header(3, 0, 1, struct.pack("<Q1sIIQ", 1, b"k", 9, 9, 3)), "no value type 9"),
        (header(3, 1, 0, struct.pack("<Q1sI", 1, b"t", 1000)), "1000 dimensions"),
        (header(3, 0, 1, struct.pack("<Q17sII", 17, b"general.alignment", 4, 0)), "general.alignment is 0"),
    ],
    ids=["empty", "zip", "old", "big-endian", "count", "length", "type", "array-of-arrays", "dimensions", "alignment"],
)
def test_a_corrupt_header_is_told(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gguf.check(saved(tmp_path, content))
