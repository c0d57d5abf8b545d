"""What becomes of a message's files: known before any variant runs, fetched where a provider needs it, kept once."""

from __future__ import annotations

import base64
import binascii
import logging
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from functools import partial
from typing import Any

import anyio
from blake3 import blake3
from msgspec import structs

from .contracts import ObjectStore
from .errors import BadRequest, ConfigError, FetchError, HeadraceError, ObjectStoreError
from .fetching import Fetcher, check_url, sniff
from .media import File, StoragePath, essence, extension_of, is_key
from .types import Input, has_block

log = logging.getLogger(__name__)

FOLDER = "observability/files/"
PROBE = ".tensorzero-validate"

# One request must not make us open hundreds of connections, or a few do so for a very long time.
_AT_ONCE = 8
_MAX_URLS = 50

_MIME_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}(;[\x20-\x7e]{0,200})?")
_KEY = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*")


class Attachments:
    """The files of inferences. An async context manager: opens fetcher and store, and sees that the store can write.

    ``kind`` is what stored paths say of where they are: the store's own ``kind``, ``{"type": "disabled"}`` where paths
    are recorded and bytes not kept, or None without an ``[object_storage]`` table, where files are refused.
    ``prefetch``: files are downloaded before any variant runs, never handed to an upstream as a URL.
    """

    def __init__(
        self, *, store: ObjectStore | None, kind: Mapping[str, Any] | None, fetcher: Fetcher, prefetch: bool
    ) -> None:
        self._store = store
        self._kind = None if kind is None else dict(kind)
        self._fetcher = fetcher
        self._prefetch = prefetch
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Attachments:
        async with AsyncExitStack() as stack:
            for thing in (self._fetcher, self._store):
                if isinstance(thing, AbstractAsyncContextManager):
                    await stack.enter_async_context(thing)
            await self.verify()
            self._open = stack.pop_all()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._open.aclose()

    async def verify(self) -> None:
        """Write an empty object. Raise ConfigError if the store does not take it."""
        if self._store is None:
            return
        try:
            await self._store.put(PROBE, b"")
        except ObjectStoreError as error:
            raise ConfigError(f"[object_storage]: cannot write `{PROBE}`, so no file could be kept: {error}") from None

    def has_files(self, input_: Input) -> bool:
        """Whether there is anything to do for this input."""
        return has_block(input_.messages, File)

    @contextmanager
    def held(self, input_: Input) -> Iterator[None]:
        """Inside, a URL of this input is downloaded at most once, whoever needs it: providers, variants, the record."""
        with self._fetcher.held(_urls(input_)):
            yield

    async def resolved(self, input_: Input) -> Input:
        """What variants are given: files with bytes have MIME type and path, pointers have their bytes.

        Files named by URL are downloaded only with ``prefetch``. Raise BadRequest for what cannot be a file,
        HeadraceError without object storage, FetchError, ObjectStoreError.
        """
        if not self.has_files(input_):
            return input_
        self._known_kind()
        if len(_urls(input_)) > _MAX_URLS:
            raise BadRequest(f"more than {_MAX_URLS} different file URLs in one input")
        return await _each(input_, self._resolve)

    async def _resolve(self, file: File) -> File:
        if file.mime_type is not None and not _MIME_TYPE.fullmatch(file.mime_type):
            raise BadRequest(f"Invalid `mime_type` of a file: {file.mime_type[:200]!r} (such as image/png)")
        if file.data is not None:
            return self._known(file, _decoded(file.data))
        if file.storage_path is not None:
            body = await self.read(file.storage_path)
            known = self._known(file, body, base64.b64encode(body).decode())
            return structs.replace(known, storage_path=file.storage_path)
        if file.source_url is None:
            raise BadRequest("a file has neither `url` nor `data` nor `storage_path`")
        try:
            check_url(file.source_url)
        except FetchError as error:
            raise BadRequest(str(error)) from None
        return await self.with_data(file) if self._prefetch else file

    def _known(self, file: File, body: bytes, data: str | None = None) -> File:
        """With MIME type and path. A path that came along with bytes is the caller's word only: it is made anew."""
        mime_type = file.mime_type or sniff(body)
        if mime_type is None:
            raise BadRequest("Cannot tell the MIME type of a file from its first bytes: give `mime_type`")
        data = file.data or "" if data is None else data
        return structs.replace(file, data=data, mime_type=mime_type, storage_path=self._path(data, mime_type))

    async def with_data(self, file: File) -> File:
        """The file with its bytes, for an upstream that cannot fetch. Raise FetchError."""
        if file.data is not None or file.source_url is None:
            return file
        body, content_type = await self._fetcher.fetch(file.source_url)
        mime_type = file.mime_type or sniff(body) or _of_header(content_type)
        if mime_type is None:
            url = file.source_url[:200].partition("?")[0]
            raise FetchError(f"Error fetching file from URL: {url}: cannot tell its MIME type: give `mime_type`")
        data = base64.b64encode(body).decode()
        return structs.replace(file, data=data, mime_type=mime_type, storage_path=self._path(data, mime_type))

    async def stored(self, input_: Input, *, dryrun: bool) -> Input:
        """What the record holds: files without ``data``, which is in the store when this returns.

        A trouble with a file is logged and costs the record that file alone: the inference has its answer already.
        """
        if not self.has_files(input_):
            return input_
        return await _each(input_, partial(self._keep, dryrun=dryrun))

    async def _keep(self, file: File, *, dryrun: bool) -> File:
        if file.data is None and file.storage_path is None and not dryrun:
            try:
                file = await self.with_data(file)
            except FetchError as error:
                log.warning("a file is recorded by its URL alone: %s", error)
        elif file.data is not None and file.storage_path is None:
            file = self._known(file, _decoded(file.data))
        if file.data is not None and file.storage_path is not None and self._store is not None and not dryrun:
            try:
                await self._store.put(file.storage_path.path, _decoded(file.data), file.mime_type)
            except ObjectStoreError as error:
                log.error("file %s was not kept, its record names it all the same: %s", file.storage_path.path, error)
        return structs.replace(file, data=None)

    async def read(self, path: StoragePath) -> bytes:
        """A stored file's bytes. Raise BadRequest for a path that is none of ours, ObjectStoreError if it is gone.

        Only from the configured store: following a caller's words would take our credentials to any host.
        """
        kind = self._known_kind()
        if _said(path.kind) != _said(kind):
            raise BadRequest("`storage_path.kind` is not the object storage of this gateway")
        if not is_file_key(path.path):
            raise BadRequest(f"`storage_path.path` must name a file below {FOLDER}, found {path.path[:200]!r}")
        if self._store is None:
            raise BadRequest("object storage is disabled, so the bytes of this file were not kept: send them again")
        return await self._store.get(path.path)

    def _known_kind(self) -> dict[str, Any]:
        if self._kind is None:
            raise HeadraceError(
                "Object storage is not configured: a request with files needs an `[object_storage]` table in the "
                'configuration (`type = "disabled"` answers without keeping the bytes)'
            )
        return self._kind

    def _path(self, data: str, mime_type: str) -> StoragePath:
        extension = extension_of(mime_type)
        key = f"{FOLDER}{blake3(data.encode()).hexdigest()}{'.' + extension if extension else ''}"
        return StoragePath(self._known_kind(), key)


def is_file_key(path: str) -> bool:
    """Whether this is the key of a kept file: below its folder, with nothing that a store could take for a way out."""
    inner = path.removeprefix(FOLDER)
    return inner != path and is_key(path) and _KEY.fullmatch(inner) is not None


async def _each(input_: Input, change: Callable[[File], Awaitable[File]]) -> Input:
    """The input with every file changed, a few at once. The first failure ends the others and is raised as it is."""
    changed: dict[tuple[int, int], File] = {}
    failures: list[Exception] = []
    turns = anyio.Semaphore(_AT_ONCE)

    async def one(at: tuple[int, int], file: File) -> None:
        try:
            async with turns:
                changed[at] = await change(file)
        except Exception as error:
            failures.append(error)
            tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        for row, message in enumerate(input_.messages):
            for column, block in enumerate(message.content):
                if isinstance(block, File):
                    tasks.start_soon(one, (row, column), block)
    if failures:
        raise failures[0]
    return structs.replace(
        input_,
        messages=tuple(
            structs.replace(
                message,
                content=tuple(changed.get((row, column), block) for column, block in enumerate(message.content)),
            )
            for row, message in enumerate(input_.messages)
        ),
    )


def _urls(input_: Input) -> set[str]:
    """Of the files whose bytes would have to come from there."""
    return {
        block.source_url
        for message in input_.messages
        for block in message.content
        if isinstance(block, File) and block.source_url and block.data is None and block.storage_path is None
    }


def _decoded(data: str) -> bytes:
    try:
        return binascii.a2b_base64(data, strict_mode=True)
    except ValueError as error:
        hint = ": leave out the `data:...,` prefix" if data.startswith("data:") else f": {error}"
        raise BadRequest(f"`data` of a file is not base64{hint}") from None


def _of_header(content_type: str | None) -> str | None:
    if content_type is None or not _MIME_TYPE.fullmatch(content_type.strip()):
        return None
    return essence(content_type)


def _said(kind: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is null: leaving a setting out is the same."""
    return {key: value for key, value in kind.items() if value is not None}
