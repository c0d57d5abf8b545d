"""Near copies: texts that differ in a few words, found by MinHash and held against each other by their shingles.

Broder, "On the resemblance and containment of documents" (1997). The keys are stored with datapoints, so nothing here
that goes into them may change. No library: ``datasketch`` needs NumPy and SciPy, and what it would do is ten lines.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b, shake_128
from heapq import nsmallest
from itertools import pairwise
from struct import Struct as Packing
from typing import TypeAlias

from msgspec import Struct

from .media import File
from .splits import file_key, normalised, words_of
from .types import Input

SIMILAR = 0.8  # Jaccard's index of two sets of shingles from which on their texts are near copies

_WORDS = 3
_BANDS, _ROWS = 16, 4  # two sets of which 4 in 5 shingles are common share a band with a probability of 0.9998
_MOST = 4096  # more shingles than these are sampled, by their hash: the same ones in every text that has them
_MINIMA = Packing(f">{_BANDS * _ROWS}I")
_BAND = Packing(f">{_ROWS}I")

# Scripts that put no spaces between words: there each character counts as one.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(f"[{_UNSPACED}]|[^\\s{_UNSPACED}]+")

# From so many texts on, what more than half of them have in common is their boilerplate.
_MANY = 20
# Whose keys agree in most places is compared first, and no more than these.
_COMPARISONS, _BUCKET = 64, 256

Shingles: TypeAlias = frozenset[bytes]


class Sketch(Struct, frozen=True):
    """What is known of an input: digests of its shingles, the keys of which near copies share some, and its files."""

    shingles: Shingles
    keys: tuple[str, ...]
    files: frozenset[str] = frozenset()


class Near(Struct, frozen=True):
    """Two texts that are near copies, by their positions, and Jaccard's index of their shingles."""

    one: int
    other: int
    similarity: float


def sketch_of(input_: Input) -> Sketch:
    """The sketch of an input: some 10 µs of work per word, 3 from the 4,096th on.

    What counts is what messages say. A system prompt does not: it is the same for whole datasets, and would make near
    copies of all that is asked under it. Its arguments, where it is a template, are data, and count.
    """
    shingles: set[bytes] = set()
    for text in _texts(input_):
        words = _WORD.findall(text)
        last = max(len(words) - _WORDS, 0)
        parts = (" ".join(words[start : start + _WORDS]) for start in range(last + 1)) if words else ()
        shingles.update(blake2b(part.encode(), digest_size=8).digest() for part in parts)
    sampled = frozenset(nsmallest(_MOST, shingles) if len(shingles) > _MOST else shingles)
    return Sketch(sampled, _keys(sampled), frozenset(_files(input_)))


def similarity(one: Shingles, other: Shingles) -> float:
    """Jaccard's index: how much of what either has both have. Two empty sets have nothing in common."""
    common = len(one & other)
    return common / (len(one) + len(other) - common) if common else 0.0


def candidates(sketches: Sequence[Sketch], known: int) -> list[tuple[int, int]]:
    """Whom to compare: each input from position ``known`` on with those before it that share most keys with it.

    The same question about another file is another one.
    """
    return [(one, other) for one, other in _sharing(sketches, known) if sketches[one].files == sketches[other].files]


def verified(
    sketches: Sequence[Sketch], candidates: Iterable[tuple[int, int]], others: Iterable[Sketch] = ()
) -> list[Near]:
    """Those of the candidates that are near copies, best ones first. ``others`` are more inputs of the same kind.

    Shingles that more than half of many inputs have are boilerplate, and do not make two of them alike.
    """
    boilerplate = _boilerplate([*sketches, *others])
    own = [sketch.shingles - boilerplate if boilerplate else sketch.shingles for sketch in sketches]
    found = [Near(one, other, similarity(own[one], own[other])) for one, other in candidates]
    return sorted((each for each in found if each.similarity >= SIMILAR), key=lambda each: -each.similarity)


def _sharing(sketches: Sequence[Sketch], known: int) -> Iterator[tuple[int, int]]:
    buckets: dict[tuple[int, str], deque[int]] = defaultdict(lambda: deque(maxlen=_BUCKET))
    for position, sketch in enumerate(sketches):
        bands = list(enumerate(sketch.keys))
        if position >= known:
            shared = Counter(other for band in bands for other in buckets.get(band, ()))
            yield from ((position, other) for other, _ in shared.most_common(_COMPARISONS))
        for band in bands:
            buckets[band].append(position)


def _boilerplate(sketches: Sequence[Sketch]) -> Shingles:
    distinct = {sketch.shingles for sketch in sketches}  # copies say nothing about what is common to all
    if len(distinct) < _MANY:
        return frozenset()
    counts = Counter(shingle for shingles in distinct for shingle in shingles)
    return frozenset(shingle for shingle, count in counts.items() if count > len(distinct) / 2)


def _keys(shingles: Shingles) -> tuple[str, ...]:
    if not shingles:
        return ()
    # One long digest per shingle stands for as many permutations as it has numbers.
    minima: Iterable[int] = (2**32 - 1,) * (_BANDS * _ROWS)
    rest = sorted(shingles)
    for start, end in pairwise([*range(0, len(rest), 512), len(rest)]):
        numbers = (_MINIMA.unpack(shake_128(each).digest(_MINIMA.size)) for each in rest[start:end])
        minima = tuple(map(min, zip(minima, *numbers, strict=True)))
    row = tuple(minima)
    bands = (_BAND.pack(*row[band * _ROWS : (band + 1) * _ROWS]) for band in range(_BANDS))
    # The number of the band goes in, so that keys of different bands do not meet in a store that keeps them as a set.
    return tuple(blake2b(bytes([band]) + numbers, digest_size=6).hexdigest() for band, numbers in enumerate(bands))


def _files(input_: Input) -> Iterator[str]:
    for message in input_.messages:
        yield from (file_key(block) for block in message.content if isinstance(block, File))


def _texts(input_: Input) -> Iterator[str]:
    if isinstance(input_.system, dict):
        yield normalised(words_of(input_.system))
    for message in input_.messages:
        yield normalised(words_of([block for block in message.content if not isinstance(block, File)]))
