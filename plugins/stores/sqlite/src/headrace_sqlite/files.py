"""Opens the file, the same way for the writer and for every reader."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal

from headrace.errors import StoreError
from headrace.storage import SchemaStatus
from pydantic import BaseModel, Field, field_validator

from . import schema
from .functions import add_functions

# A write-ahead log that grew while a reader held on to an old state is cut back to this.
_LOG_BYTES = 64 * 1024 * 1024


class Settings(BaseModel, extra="forbid", frozen=True):
    """The ``[sqlite]`` table."""

    path: Path = Path("headrace.db")
    synchronous: Literal["full", "normal"] = "full"
    busy_timeout_ms: int = Field(default=5000, ge=0)
    disable_automatic_migrations: bool = False

    @field_validator("path")
    @classmethod
    def _is_a_file(cls, path: Path) -> Path:
        if str(path) in (":memory:", "."):
            raise ValueError(f'"{path}" is not a file; for records that end with the process use backend = "memory"')
        return path


class File:
    """Where the records are. Every error of SQLite leaves as a StoreError that names it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.path = settings.path.absolute()  # readers open it later, perhaps from another working folder

    def open_writer(self) -> sqlite3.Connection:
        """Create the file if there is none, and bring its schema up to date, unless the settings forbid it."""
        with self.errors("open"):
            self._check_folder()
            if self._settings.disable_automatic_migrations:
                schema.check(self._version(), is_migrated=False)
            connection = self.connect()
            try:
                self._keep_log(connection)
                connection.execute(f"PRAGMA synchronous = {self._settings.synchronous}")
                connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
                schema.migrate(connection)
            except BaseException:
                connection.close()
                raise
            return connection

    def open_reader(self) -> sqlite3.Connection:
        """Open what ``open_writer`` has prepared. Any thread may use it, one at a time."""
        with self.errors("open"):
            connection = self.connect()
            connection.execute("PRAGMA query_only = ON")
            add_functions(connection)
            return connection

    def schema(self) -> SchemaStatus:
        """How the schema stands; creates and changes nothing."""
        with self.errors("read the schema"):
            return schema.status(self._version())

    def migrate(self, to: int | None) -> SchemaStatus:
        """Bring the schema to a version, and create the file if there is none."""
        with self.errors("migrate"):
            self._check_folder()
            with closing(self.connect()) as connection:
                self._keep_log(connection)
                connection.execute("PRAGMA synchronous = full")
                schema.migrate(connection, to)
            return schema.status(self._version())

    @contextmanager
    def errors(self, what: str) -> Iterator[None]:
        """Raise StoreError, with the file's name, where SQLite fails to ``what``."""
        try:
            yield
        # A lone surrogate in a name that is looked for has no UTF-8; an instant or a sum may be beyond all bounds.
        except (sqlite3.Error, StoreError, OSError, UnicodeEncodeError, OverflowError) as error:
            raise StoreError(f"sqlite store {self.path}: cannot {what}: {error}") from error

    def connect(self) -> sqlite3.Connection:
        """A plain connection, which creates the file if there is none."""
        return sqlite3.connect(
            self.path,
            timeout=self._settings.busy_timeout_ms / 1000,
            isolation_level=None,
            check_same_thread=False,
        )

    def _version(self) -> int:
        if not self.path.exists():
            return 0
        with closing(self.connect()) as connection:
            return schema.version(connection)

    def _check_folder(self) -> None:
        if not self.path.parent.is_dir():
            raise StoreError(f"no folder {self.path.parent}: create it, or set sqlite.path")

    def _keep_log(self, connection: sqlite3.Connection) -> None:
        """Turn the write-ahead log on. Unlike all else, this fails at once where another process does the same."""
        deadline = time.monotonic() + self._settings.busy_timeout_ms / 1000
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
