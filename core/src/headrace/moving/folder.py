"""A folder that holds everything of a store: a file for each kind of record, and a manifest with their checksums."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from .. import __version__
from ..errors import HeadraceError
from ..records import Record
from .files import ExportDamaged, Format, read
from .rows import NAMES, Digest, canonical, key_of, name_of

MANIFEST: Final = "manifest.json"
_LAYOUT: Final = 1


class Part(Struct, frozen=True, kw_only=True):
    """One kind: how many rows, the SHA-256 of their canonical lines in the order of keys, and that of the file."""

    rows: int
    sha256: str
    file_sha256: str


class Manifest(Struct, frozen=True, kw_only=True):
    """What a folder holds, by kind. ``layout`` changes when older readers would misunderstand."""

    format: Format
    headrace_version: str
    created_at: datetime
    kinds: Mapping[str, Part]
    layout: int = _LAYOUT

    @property
    def rows(self) -> int:
        """Of all kinds together."""
        return sum(part.rows for part in self.kinds.values())


@contextmanager
def fresh(folder: Path) -> Iterator[Path]:
    """A folder beside it to write into, which becomes ``folder`` in one step at the end, or else goes.

    Only its owner may look into it. Raise HeadraceError where either is there already.
    """
    partial = folder.with_name(f"{folder.name}.partial")
    for path in (folder, partial):
        if path.exists():
            raise HeadraceError(f"{path}: is there already; remove it or choose another name")
    try:
        partial.mkdir(mode=0o700)
    except OSError as error:
        raise HeadraceError(f"{partial}: cannot be made: {error.strerror}") from error
    try:
        yield partial
        _sync(partial)
        partial.rename(folder)
        _sync(folder.parent)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, OSError):
            raise HeadraceError(f"{partial}: {error.strerror or error}; nothing was exported") from error
        raise


def file_name(kind: type[Record], format_: Format) -> str:
    """The file of a kind; what a manifest may say of names is not asked."""
    return f"{name_of(kind)}.{format_}"


def finish(path: Path) -> str:
    """Make what was written survive a loss of power; the file's SHA-256."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Last of all, so that a folder without one is no export."""
    path = folder / MANIFEST
    path.write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
    finish(path)


def read_manifest(folder: Path) -> Manifest:
    """What a folder says it holds. Raise ExportDamaged."""
    path = folder / MANIFEST
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ExportDamaged(f"{path}: {error.strerror}: {folder} is not a whole export of headrace") from error
    try:
        layout = msgspec.json.decode(text, type=dict[str, msgspec.Raw]).get("layout")
        if layout is not None and msgspec.json.decode(layout, type=int) > _LAYOUT:
            raise ExportDamaged(f"{path}: is of a newer headrace (layout {bytes(layout).decode()}); upgrade this one")
        manifest = msgspec.json.decode(text, type=Manifest)
    except msgspec.MsgspecError as error:
        raise ExportDamaged(f"{path}: {error}; export again") from error
    if unknown := [name for name in manifest.kinds if name not in NAMES]:
        raise ExportDamaged(
            f"{path}: headrace {manifest.headrace_version} wrote kinds of records that {__version__} does not know: "
            f"{', '.join(unknown)}; upgrade this one"
        )
    return manifest


def rows_of(folder: Path, manifest: Manifest, kind: type[Record]) -> Iterator[Record]:
    """The rows of a kind, in the order of their keys; none of a kind that the manifest does not name."""
    if name_of(kind) not in manifest.kinds:
        return iter(())
    return read(folder / file_name(kind, manifest.format), kind, manifest.format)


def check(folder: Path) -> Manifest:
    """Read all that a folder holds and see that it is as it was written. Raise ExportDamaged with every damage."""
    manifest = read_manifest(folder)
    damage = [
        problem
        for name, part in manifest.kinds.items()
        if (problem := _damage(folder / file_name(NAMES[name], manifest.format), part))
    ]
    if damage:
        raise ExportDamaged("\n".join(damage))
    for name, part in manifest.kinds.items():
        _check_rows(folder, manifest, NAMES[name], part)
    return manifest


def _damage(path: Path, part: Part) -> str:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"{path}: {error.strerror}"
    return "" if found == part.file_sha256 else f"{path}: SHA-256 is {found}, the manifest says {part.file_sha256}"


def _check_rows(folder: Path, manifest: Manifest, kind: type[Record], part: Part) -> None:
    where, digest, before = folder / file_name(kind, manifest.format), Digest(), ""
    for row in rows_of(folder, manifest, kind):
        if key_of(row) <= before:
            raise ExportDamaged(f"{where}, row {digest.rows + 1}: {key_of(row)} does not come after {before}")
        before = key_of(row)
        digest.add(canonical(row))
    if digest.rows != part.rows:
        raise ExportDamaged(f"{where}: has {digest.rows} rows, the manifest says {part.rows}")
    # Another version may write a row of the same content differently, for instance with a field more.
    if digest.sha256 != part.sha256 and manifest.headrace_version == __version__:
        raise ExportDamaged(f"{where}: SHA-256 of its rows is {digest.sha256}, the manifest says {part.sha256}")


def _sync(folder: Path) -> None:
    with suppress(OSError):  # Windows opens no folders
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
