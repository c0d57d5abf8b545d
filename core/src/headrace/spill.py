"""Records on the local disk while the store is away: files of JSON lines, written to the disk before they count.

A folder may serve many processes. Each writes files of its own, called after the instant (nanoseconds) and the process
that began them, and holds a lock on them for as long as it lives: a file without one is a dead process's, and for the
next that starts to adopt. Everything here blocks, so that an event loop calls it in a thread, one call at a time.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from .records import Record

log = logging.getLogger(__name__)

MAX_BYTES = 1024**3
"""What the files of one process may come to, those it adopted with them."""

REFUSED = "refused.jsonl"
"""Beside the files: what no store will have, for somebody to look at."""

# Files change at this size: one that has been written is deleted while the next is still filled.
_SEGMENT_BYTES = 64 * 1024**2
# What is read, or encoded, at once; a line that is longer makes an exception.
_BLOCK_BYTES = 4 * 1024**2

_NAME = re.compile(r"\d{20}-\d+\.jsonl")

_ENCODER = msgspec.json.Encoder()
_DECODER: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Record)


class Spill:
    """A queue of records in files: they join at the end, are looked at from the head, and leave there."""

    def __init__(self, folder: Path, *, max_bytes: int = MAX_BYTES, segment_bytes: int = _SEGMENT_BYTES) -> None:
        """``folder`` is made when the first record comes, not before."""
        self.folder = folder.absolute()  # a program may change its working folder
        self._max_bytes = max_bytes
        self._segment_bytes = segment_bytes
        self._segments: deque[_Segment] = deque()

    def adopt(self) -> int:
        """Take over the files that dead processes left, oldest first; return how many records they have.

        A last line that a crash cut short was never acknowledged, and is cut off. Call it before anything else.
        """
        records = 0
        try:
            names = sorted(os.listdir(self.folder))
        except FileNotFoundError:
            return 0
        except OSError as error:
            log.error("cannot look for records in %s: %s", self.folder, error)
            return 0
        for name in filter(_NAME.fullmatch, names):
            try:
                segment = _Segment.adopt(self.folder / name)
            except OSError as error:
                log.error("cannot adopt the records in %s: %s", self.folder / name, error)
                continue
            if segment is not None:
                self._segments.append(segment)
                records += segment.rows
        return records

    def append(self, records: Sequence[Record]) -> int:
        """Write as many as there is room for, from the first on; return how many. These are on the disk then.

        Raise OSError where the disk does not take them; then none is.
        """
        room = self._max_bytes - self.size
        lines: list[bytes] = []
        size = 0
        for record in records:
            line = _line(record)
            if size + len(line) > room:
                break
            lines.append(line)
            size += len(line)
            if size >= _BLOCK_BYTES:
                break
        if lines:
            self._write(lines)
        return len(lines)

    @property
    def size(self) -> int:
        """Bytes in all files."""
        return sum(segment.size for segment in self._segments)

    @property
    def rows(self) -> int:
        """Records in all files."""
        return sum(segment.rows for segment in self._segments)

    def head(self, max_rows: int) -> list[Record] | bytes:
        """The first records, ``max_rows`` at most, but not nothing; or else the first line, which is not a record.

        Raise OSError where the file cannot be read; ``abandon`` it then.
        """
        records: list[Record] = []
        for line in self._segments[0].lines(max_rows):
            try:
                records.append(_DECODER.decode(line))
            # msgspec's own errors, a UUID or an instant that is none, a depth that is too much
            except (ValueError, RecursionError):
                return records or line
        return records

    def advance(self, records: int) -> None:
        """Let the first ones go. A file that is empty then is deleted. Raise OSError like ``head``."""
        while records:
            records -= self._segments[0].skip(records)
            if self._segments[0].is_done:
                self._segments.popleft().delete()

    def abandon(self) -> int:
        """Give the first file up, and return how many records it has left. It stays, for the next start to adopt."""
        segment = self._segments.popleft()
        segment.close()
        return segment.rows

    def refuse(self, what: Record | bytes) -> None:
        """Keep what no store will have, a record or a line, in ``REFUSED``; it is logged if that cannot be."""
        line = what + b"\n" if isinstance(what, bytes) else _line(what)
        path = self.folder / REFUSED
        try:
            _make(self.folder)
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
            try:
                if os.fstat(file).st_size + len(line) > self._max_bytes:
                    raise OSError(f"there are {self._max_bytes} bytes in it")
                os.write(file, line)
                os.fsync(file)
            finally:
                os.close(file)
        except OSError as error:
            log.error("could not keep a refused record in %s: %s", path, error)

    def close(self) -> None:
        """Let go of the files, for another process to adopt."""
        while self._segments:
            self._segments.popleft().close()

    def _write(self, lines: Sequence[bytes]) -> None:
        last = self._segments[-1] if self._segments else None
        if last is None or last.is_sealed or last.size >= self._segment_bytes:
            last = _Segment.begin(self.folder)
            self._segments.append(last)
        try:
            last.write(lines)
        except OSError:
            if last.is_done:  # an empty file has no place among those to be read
                self._segments.pop().delete()
            raise


class _Segment:
    """One open and locked file. ``size`` are the bytes that count, ``rows`` the lines that have not left."""

    def __init__(self, path: Path, file: int, size: int = 0, *, is_sealed: bool = False) -> None:
        self.path = path
        self.size = size
        self.is_sealed = is_sealed
        self._file = file
        self._offset = 0
        blocks = range(0, size, _BLOCK_BYTES)
        self.rows = sum(self._read(at, min(_BLOCK_BYTES, size - at)).count(b"\n") for at in blocks)

    @classmethod
    def begin(cls, folder: Path) -> _Segment:
        """Make a file that no other process will take for its own."""
        _make(folder)
        while True:
            path = folder / f"{time.time_ns():020d}-{os.getpid()}.jsonl"
            try:
                file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            except FileExistsError:
                continue
            # Somebody who starts just now may hold the empty file for a dead process's, and delete it.
            if _locked(file):
                _sync_folder(folder)
                return cls(path, file)
            os.close(file)

    @classmethod
    def adopt(cls, path: Path) -> _Segment | None:
        """Take a dead process's file; None where it is not one, or is empty. Raise OSError."""
        file = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        if not _locked(file):
            os.close(file)
            return None
        size = os.fstat(file).st_size
        whole = _end_of_lines(file, size)
        if whole < size:
            log.warning("%s ends in the middle of a line: cut off %d bytes that a crash left", path, size - whole)
            os.ftruncate(file, whole)
        segment = cls(path, file, whole, is_sealed=True)
        if segment.is_done:
            segment.delete()
            return None
        return segment

    @property
    def is_done(self) -> bool:
        """Whether all lines have left."""
        return self._offset >= self.size

    def write(self, lines: Sequence[bytes]) -> None:
        """Write all, to the disk; or nothing, and raise OSError."""
        data = b"".join(lines)
        try:
            written = 0
            while written < len(data):
                written += os.pwrite(self._file, data[written:], self.size + written)
            self.is_sealed = True  # after a sync that fails nobody knows what is on the disk: no more goes in then
            os.fdatasync(self._file)
            self.is_sealed = False
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._file, self.size)
            raise
        self.size += len(data)
        self.rows += len(lines)

    def lines(self, most: int) -> list[bytes]:
        """The first lines, as many as fit into a block."""
        return self._block().split(b"\n", most)[:-1]

    def skip(self, most: int) -> int:
        """Let the first lines go; return how many there were of these."""
        skipped = 0
        while skipped < most and not self.is_done:
            lines = self.lines(most - skipped)
            skipped += len(lines)
            self.rows -= len(lines)
            self._offset += sum(map(len, lines)) + len(lines)
        return skipped

    def delete(self) -> None:
        """Delete the file before its lock goes: nobody can adopt what has no name."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            log.error("cannot delete %s (%s): the next start will write its records once more", self.path, error)
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)

    def _block(self) -> bytes:
        """From the first line on, at least one line, and perhaps a piece of a last one."""
        wanted = _BLOCK_BYTES
        while True:
            block = self._read(self._offset, min(wanted, self.size - self._offset))
            if b"\n" in block:
                return block
            wanted *= 2

    def _read(self, at: int, count: int) -> bytes:
        parts: list[bytes] = []
        while count:
            part = os.pread(self._file, count, at)
            if not part:
                raise OSError(f"{self.path} has been cut short: there is nothing at byte {at}")
            parts.append(part)
            at += len(part)
            count -= len(part)
        return b"".join(parts)


def _line(record: Record) -> bytes:
    try:
        return _ENCODER.encode(record) + b"\n"
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        # No JSON can say it, half of a surrogate pair for one. It keeps its place, so that it is told at its turn.
        log.warning("a %s has no JSON: %s", type(record).__name__, error)
        said = {"type": "not JSON", "kind": type(record).__name__, "id": str(getattr(record, "id", ""))}
        return _ENCODER.encode(said) + b"\n"


def _make(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sync_folder(folder.parent)


def _locked(file: int) -> bool:
    """Lock the file, and say whether it is ours now: not another's, and still with a name."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(file).st_nlink > 0


def _end_of_lines(file: int, size: int) -> int:
    """Where the last whole line ends."""
    at = size
    while at > 0:
        start = max(0, at - _BLOCK_BYTES)
        found = os.pread(file, at - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        at = start
    return 0


def _sync_folder(folder: Path) -> None:
    """A file's name is on the disk only when its folder is."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
