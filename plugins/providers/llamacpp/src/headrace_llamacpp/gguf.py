"""The GGUF file format, version 3: a look at a file's header before llama.cpp gets it, and a small writer.

The writer is ours, and not the ``gguf`` package's, because the files it makes are held against a digest: the same
weights have to give the same bytes under every version of every dependency.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from msgspec import Struct

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_ALIGNMENT = 32

# Value types of the metadata, by number: struct format for the plain ones.
_FORMATS = dict(enumerate(("B", "b", "H", "h", "I", "i", "f", "?"))) | {10: "Q", 11: "q", 12: "d"}
_UINT32, _INT32, _FLOAT32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9

# Tensor types, by number: values per block and bytes per block. One that is not here is checked by its start alone.
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 30: (1, 2),
}  # fmt: skip
FLOAT32, FLOAT16 = 0, 1

_MAX_DIMENSIONS = 4
_MAX_COUNT = 1 << 24  # far above any model's tensors, keys or vocabulary; a corrupt count must not cost memory


class Header(Struct, frozen=True):
    """What a file says of itself. Of the metadata only what is no array is kept."""

    metadata: dict[str, Any]
    tensors: int

    @property
    def embeds(self) -> bool:
        """Whether this is an encoder, made for embeddings and not for answers."""
        pooling = self.metadata.get(f"{self.architecture}.pooling_type")
        return "bert" in self.architecture or bool(pooling)

    @property
    def architecture(self) -> str:
        """llama.cpp's name of the model's kind, such as ``llama`` or ``bert``."""
        return str(self.metadata.get("general.architecture", ""))


class Tensor(Struct, frozen=True):
    """A named array to write: ``shape`` with the fastest dimension first, as GGUF has it; ``type`` is FLOAT32 or 16."""

    name: str
    shape: tuple[int, ...]
    type: int
    data: bytes


def check(path: Path) -> Header:
    """Read the header, and see that every tensor lies inside the file. Raise ValueError that says what is wrong."""
    with path.open("rb") as file:
        size = path.stat().st_size
        if (magic := file.read(4)) != _MAGIC:
            raise ValueError(f"it is not a GGUF file: it begins with {magic!r}, not {_MAGIC!r}")
        reader = _Reader(file, size)
        if (version := reader.number("I")) not in _VERSIONS:
            raise ValueError(f"it has GGUF version {version}; known are {_VERSIONS[0]} and {_VERSIONS[1]}")
        tensors, keys = reader.count(), reader.count()
        metadata = dict(reader.pair() for _ in range(keys))
        ends = [reader.tensor() for _ in range(tensors)]
        alignment = metadata.get("general.alignment", _ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1:
            raise ValueError(f"its header is corrupt: general.alignment is {alignment!r}")
        data = -(-file.tell() // alignment) * alignment
        needed = data + max(ends, default=0)
        if needed > size:
            raise ValueError(f"it is cut short: {size} bytes, and its tensors need {needed}")
        return Header({key: value for key, value in metadata.items() if value is not None}, tensors)


class _Reader:
    """The primitives of a header. Every length is held against the file before it is believed."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size

    def number(self, form: str) -> Any:
        return struct.unpack(f"<{form}", self._bytes(struct.calcsize(form)))[0]

    def count(self) -> int:
        count: int = self.number("Q")
        if count > _MAX_COUNT:
            raise ValueError(f"its header is corrupt: it counts {count} entries")
        return count

    def text(self) -> str:
        return self._bytes(self.number("Q")).decode(errors="replace")

    def pair(self) -> tuple[str, Any]:
        """A key with its value; the value of an array is None, for nothing here wants a vocabulary."""
        key, kind = self.text(), self.number("I")
        if kind != _ARRAY:
            return key, self._value(kind)
        item, count = self.number("I"), self.count()
        if item in _FORMATS:
            self._skip(count * struct.calcsize(_FORMATS[item]))
        else:
            for _ in range(count):
                self._value(item)
        return key, None

    def tensor(self) -> int:
        """Where this tensor's data ends, counted from where all data begins."""
        name, dimensions = self.text(), self.number("I")
        if dimensions > _MAX_DIMENSIONS:
            raise ValueError(f"its header is corrupt: tensor {name!r} has {dimensions} dimensions")
        values: int = prod(self.number("Q") for _ in range(dimensions))
        per_block, block_bytes = _BLOCKS.get(self.number("I"), (1, 0))
        offset: int = self.number("Q")
        return offset + values // per_block * block_bytes

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.text()
        if kind not in _FORMATS:
            raise ValueError(f"its header is corrupt: there is no value type {kind}")
        return self.number(_FORMATS[kind])

    def _bytes(self, length: int) -> bytes:
        if length > self._size - self._file.tell():
            raise ValueError(f"it is cut short: {self._size} bytes, and its header goes on")
        return self._file.read(length)

    def _skip(self, length: int) -> None:
        if length > self._size - self._file.tell():
            raise ValueError(f"it is cut short: {self._size} bytes, and its header goes on")
        self._file.seek(length, 1)


def write(file: BinaryIO, metadata: Mapping[str, Any], tensors: Sequence[Tensor]) -> None:
    """Write a whole file; the same arguments give the same bytes."""
    file.write(_MAGIC + struct.pack("<IQQ", 3, len(tensors), len(metadata)))
    for key, value in metadata.items():
        file.write(_text(key) + _typed(value))
    offset = 0
    for tensor in tensors:
        shape = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
        file.write(_text(tensor.name) + shape + struct.pack("<IQ", tensor.type, offset))
        offset += len(tensor.data) + -len(tensor.data) % _ALIGNMENT
    for data in (b"", *(tensor.data for tensor in tensors)):  # the empty one pads the header
        file.write(data)
        file.write(bytes(-file.tell() % _ALIGNMENT))


def _typed(value: Any) -> bytes:
    if isinstance(value, list):
        return struct.pack("<I", _ARRAY) + _items(value)
    if isinstance(value, bool):
        return struct.pack("<I?", _BOOL, value)
    if isinstance(value, int):
        return struct.pack("<II", _UINT32, value)
    if isinstance(value, float):
        return struct.pack("<If", _FLOAT32, value)
    return struct.pack("<I", _STRING) + _text(value)


def _items(values: list[str] | list[int]) -> bytes:
    """llama.cpp wants the numbers of an array signed."""
    kind = _STRING if isinstance(values[0], str) else _INT32
    items = (_text(value) if isinstance(value, str) else struct.pack("<i", value) for value in values)
    return struct.pack("<IQ", kind, len(values)) + b"".join(items)


def _text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data
