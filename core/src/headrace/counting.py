"""Numbers that only this process changes, and that other processes may read while it counts.

Several workers share one file (see ``Board``). Each counts in a lane of it that is mapped into its memory, so counting
costs what it costs in a list: no call, no lock, nothing is sent. Whoever is asked for the page adds up all lanes. A
lane outlives its process, also one that was killed, and the next process that gets it counts on from there.
"""

from __future__ import annotations

import json
import logging
import mmap
import os
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

log = logging.getLogger(__name__)

Labels = tuple[tuple[str, str], ...]

# A lane: is its process alive, how many series it has, how long their names are; then the numbers, then the names as
# lines of JSON. Files have holes: what is not used takes no room.
_HEAD_BYTES = 24
_MAX_SERIES = 32_768
_NAMES_AT = _HEAD_BYTES + 8 * _MAX_SERIES
LANE_BYTES = 8 * 1024 * 1024
_MAX_NAMES_BYTES = LANE_BYTES - _NAMES_AT


class Board:
    """The file that workers count in: in memory where the system offers it, else one without a name."""

    def __init__(self, folder: Path | None = None) -> None:
        """``folder`` is where a file without a name goes, if it has to be one."""
        if hasattr(os, "memfd_create"):
            self.number = os.memfd_create("headrace-metrics")
        else:  # pragma: no cover - not on Linux
            import tempfile

            with tempfile.TemporaryFile(dir=folder) as file:
                self.number = os.dup(file.fileno())

    def open_lane(self, lane: int) -> None:
        """Make room for this lane, and say that its process is alive."""
        os.ftruncate(self.number, max(os.fstat(self.number).st_size, (lane + 1) * LANE_BYTES))
        self._mark(lane, 1)

    def close_lane(self, lane: int) -> None:
        """Say that the process is gone: what it counted stays, how things stood with it does not."""
        self._mark(lane, 0)

    def close(self) -> None:
        """Let go of the file; it is gone with its last process."""
        os.close(self.number)

    def _mark(self, lane: int, is_alive: int) -> None:
        os.pwrite(self.number, is_alive.to_bytes(8, "little"), lane * LANE_BYTES)


class Counts:
    """Series of numbers. ``slot`` finds a series, and ``values[slot] += 1`` counts.

    A series is there from the first time that somebody asks for its slot.
    """

    def __init__(self) -> None:
        self.values: list[float] | memoryview[float] = []
        self._slots: defaultdict[str, dict[Labels, int]] = defaultdict(dict)
        self._lane: tuple[int, int, mmap.mmap] | None = None
        self._is_full = False

    def slot(self, name: str, labels: Labels = ()) -> int:
        """Where the number of this series is in ``values``."""
        slot = self._slots[name].get(labels)
        return self._new(name, labels) if slot is None else slot

    def add(self, name: str, labels: Labels, amount: float) -> None:
        """Count."""
        slot = self._slots[name].get(labels)
        self.values[self._new(name, labels) if slot is None else slot] += amount

    def share(self, board: int, lane: int) -> None:
        """Count in a lane of this file from now on, on top of what an earlier process has counted there."""
        mapped = mmap.mmap(board, LANE_BYTES, offset=lane * LANE_BYTES)
        _, series, length = memoryview(mapped)[:_HEAD_BYTES].cast("q")
        earlier = [(name, labels, self._at(slot)) for name, labels, slot in self._series()]
        self._lane = board, lane, mapped
        self.values = memoryview(mapped)[_HEAD_BYTES:_NAMES_AT].cast("d")
        self._slots.clear()
        for slot, (name, labels) in enumerate(_names(mapped[_NAMES_AT : _NAMES_AT + length], series)):
            self._slots[name][labels] = slot
        for name, labels, value in earlier:
            self.values[self.slot(name, labels)] += value

    def everywhere(self) -> Iterator[tuple[str, Labels, float, bool]]:
        """Each series of all lanes: name, labels, number, and whether its process is alive."""
        for name, labels, slot in self._series():
            yield name, labels, self._at(slot), True
        if self._lane is None:
            return
        board, ours, _ = self._lane
        for lane in range(os.fstat(board).st_size // LANE_BYTES):
            if lane != ours:
                yield from _read(board, lane * LANE_BYTES)

    def _series(self) -> list[tuple[str, Labels, int]]:
        return [(name, labels, slot) for name, slots in self._slots.items() for labels, slot in slots.items()]

    def _at(self, slot: int) -> float:
        return float(self.values[slot])

    def _new(self, name: str, labels: Labels) -> int:
        if self._lane is None:
            assert isinstance(self.values, list)
            self.values.append(0.0)
            slot = len(self.values) - 1
        else:
            mapped = self._lane[2]
            head = memoryview(mapped)[:_HEAD_BYTES].cast("q")
            line = json.dumps([name, labels]).encode() + b"\n"
            slot, length = head[1], head[2]
            # The last number belongs to no series: what has no room of its own goes there and is not shown.
            if slot >= _MAX_SERIES - 1 or length + len(line) > _MAX_NAMES_BYTES:
                if not self._is_full:
                    log.error("there are too many metrics: %s and others are not counted", name)
                self._is_full = True
                return _MAX_SERIES - 1
            mapped[_NAMES_AT + length : _NAMES_AT + length + len(line)] = line
            head[2] = length + len(line)
            head[1] = slot + 1  # last: a reader never finds a number without its name
        self._slots[name][labels] = slot
        return slot


class Histogram:
    """How often a number fell between which two bounds, and the sum of all; one series of a family.

    Each bucket counts for itself, and is there from the first number that falls into it. A page adds them up.
    """

    __slots__ = ("_bounds", "_counts", "_labels", "_name", "_slots", "_sum")

    def __init__(self, counts: Counts, name: str, labels: Labels, bounds: Sequence[float]) -> None:
        self._counts = counts
        self._name = name
        self._labels = labels
        self._bounds = bounds
        self._slots: list[int | None] = [None] * (len(bounds) + 1)
        self._sum = counts.slot(f"{name}_sum", labels)

    def observe(self, number: float) -> None:
        """Count one."""
        at = bisect_left(self._bounds, number)
        slot = self._slots[at]
        if slot is None:
            bound = str(self._bounds[at]) if at < len(self._bounds) else "+Inf"
            slot = self._slots[at] = self._counts.slot(self._name, (*self._labels, ("le", bound)))
        values = self._counts.values
        values[slot] += 1
        values[self._sum] += number


def _read(board: int, at: int) -> Iterator[tuple[str, Labels, float, bool]]:
    is_alive, series, length = memoryview(os.pread(board, _HEAD_BYTES, at)).cast("q")
    values = memoryview(os.pread(board, 8 * series, at + _HEAD_BYTES)).cast("d")
    names = os.pread(board, length, at + _NAMES_AT)
    for (name, labels), value in zip(_names(names, series), values, strict=True):
        yield name, labels, value, bool(is_alive)


def _names(lines: bytes, series: int) -> list[tuple[str, Labels]]:
    pairs = [json.loads(line) for line in lines.splitlines()[:series]]
    return [(name, tuple((key, value) for key, value in labels)) for name, labels in pairs]


def merged(samples: Iterator[tuple[str, Labels, float]]) -> Mapping[str, Mapping[Labels, float]]:
    """The sums, by name and labels."""
    sums: defaultdict[str, defaultdict[Labels, float]] = defaultdict(lambda: defaultdict(float))
    for name, labels, value in samples:
        sums[name][labels] += value
    return sums
