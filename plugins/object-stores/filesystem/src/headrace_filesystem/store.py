"""One file per object, written beside its place and then moved there, so that nobody reads half of one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from anyio import to_thread
from headrace import Services
from headrace.errors import ConfigError, ObjectStoreError
from headrace.media import is_key
from pydantic import BaseModel, Field


class Settings(BaseModel, extra="forbid", frozen=True):
    """An ``[object_storage]`` table with ``type = "filesystem"``."""

    path: str = Field(min_length=1)


class Filesystem:
    """A folder that is there already: one that is made by mistake would hide that the real one is not mounted."""

    def __init__(self, settings: Settings, services: Services) -> None:
        """Raise ConfigError if there is no such folder."""
        folder = Path(settings.path)
        if not folder.exists():
            raise ConfigError(f"Failed to create filesystem object store: path does not exist: {settings.path}")
        if not folder.is_dir():
            raise ConfigError(f"Failed to create filesystem object store: path is not a folder: {settings.path}")
        self._folder = folder.absolute()  # wherever the process goes later
        self._said = settings.path

    @property
    def kind(self) -> dict[str, Any]:
        """The table as it was written."""
        return {"type": "filesystem", "path": self._said}

    async def put(self, path: str, data: bytes, mime_type: str | None = None) -> None:
        """Write an object whole; on disk when this returns. A file system keeps no MIME type."""
        with _errors("write", path):
            await to_thread.run_sync(_write, self._place(path), data)

    async def get(self, path: str) -> bytes:
        """The object. Raise ObjectStoreError if there is none."""
        with _errors("read", path):
            return await to_thread.run_sync(self._place(path).read_bytes)

    def _place(self, path: str) -> Path:
        if not is_key(path):
            raise ObjectStoreError(f"filesystem: {path[:200]!r} is not a key")
        return self._folder.joinpath(*path.split("/"))


def _write(place: Path, data: bytes) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    draft = place.parent / f".{uuid4().hex}.part"
    try:
        with draft.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(place)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


@contextmanager
def _errors(what: str, path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ObjectStoreError(f"filesystem: cannot {what} {path[:200]!r}: {error.strerror or error}") from None
