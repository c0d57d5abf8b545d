"""Copies of the file while it works, and a copy put in its place. Neither is ever there by halves."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import mkstemp

from headrace.errors import StoreError

from . import schema
from .files import File

log = logging.getLogger(__name__)

_BESIDE = ("-wal", "-shm", "-journal")


def backup(file: File, path: Path) -> None:
    """Write a consistent copy to a path where nothing is yet. Raise StoreError."""
    path = path.absolute()
    with file.errors(f"back up to {path}"):
        if not file.path.exists():
            raise StoreError("there is no such file")
        if path.exists():
            raise StoreError("there is a file already: name another one")
        if not path.parent.is_dir():
            raise StoreError(f"no folder {path.parent}: create it")
        with _whole(path) as part:
            with closing(file.connect()) as source:
                _copy(source, part)
            # A link, since a rename would replace a file that somebody else has made in the meantime.
            try:
                os.link(part, path)
            except FileExistsError:
                raise
            except OSError:  # a file system without links
                os.replace(part, path)
            _sync_folder(path.parent)


def restore(file: File, path: Path) -> None:
    """Put a copy in the place of the file, once it is known to be whole. Raise StoreError."""
    path = path.absolute()
    with file.errors(f"restore {path}"):
        if not path.is_file():
            raise StoreError("there is no such file")
        if file.path.exists() and path.samefile(file.path):
            raise StoreError("it is the store's own file")
        if not file.path.parent.is_dir():
            raise StoreError(f"no folder {file.path.parent}: create it, or set sqlite.path")
        with _whole(file.path) as part:
            # A log beside the copy belongs to it, and is read along; without one, not even a folder that can be
            # written to is needed.
            mode = "mode=rw" if path.with_name(f"{path.name}-wal").exists() else "immutable=1"
            with closing(sqlite3.connect(f"{path.as_uri()}?{mode}", uri=True, isolation_level=None)) as source:
                _copy(source, part)
            with closing(sqlite3.connect(part, isolation_level=None)) as copy:
                _check(copy)
            _make_way(file)
            os.replace(part, file.path)
            _sync_folder(file.path.parent)


def _check(connection: sqlite3.Connection) -> None:
    found = [row[0] for row in connection.execute("PRAGMA integrity_check(3)")]
    if found != ["ok"]:
        raise StoreError(f"it is damaged: {'; '.join(found)}")
    version = schema.version(connection)
    schema.check(version)
    tables = connection.execute(
        "SELECT count(*) FROM sqlite_schema WHERE name IN ('inference', 'datapoint')"
    ).fetchone()
    if version < 1 or tables != (2,):
        raise StoreError("it is no copy of a headrace store")


def _copy(source: sqlite3.Connection, part: Path) -> None:
    """All pages in one read transaction, which nobody who writes has to wait for; on disk when this returns."""
    with closing(sqlite3.connect(part, isolation_level=None)) as target:
        source.backup(target, pages=-1)
    with part.open("rb") as copy:
        os.fsync(copy.fileno())


def _make_way(file: File) -> None:
    """Leave no log that SQLite would take for the new file's. Raise where somebody has the old one open."""
    if not file.path.exists():
        _set_aside(file, _BESIDE)
        return
    try:
        with closing(file.connect()) as connection:
            # The log goes into the file and away; that takes the file for itself alone, so nobody else can be at it.
            if connection.execute("PRAGMA journal_mode = DELETE").fetchone() != ("delete",):
                raise StoreError("somebody has the file open: stop every gateway that uses it")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise StoreError("somebody has the file open: stop every gateway that uses it") from error
        raise
    except sqlite3.DatabaseError:
        # Damaged, which may be why there is a restore. What is left of it may still be of use to somebody.
        _set_aside(file, ("", *_BESIDE))


def _set_aside(file: File, suffixes: tuple[str, ...]) -> None:
    for suffix in suffixes:
        old = file.path.with_name(file.path.name + suffix)
        with suppress(FileNotFoundError):
            old.replace(file.path.with_name(f"{file.path.name}.damaged{suffix}"))
            log.warning("sqlite store %s: damaged; set aside as %s.damaged%s", old, file.path.name, suffix)


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A new file beside the path, to be moved there when it is whole; what is left of it goes away."""
    handle, name = mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    part = Path(name)
    try:
        yield part
    finally:
        for suffix in ("", *_BESIDE):
            part.with_name(part.name + suffix).unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a new name durable, where folders can be opened."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
