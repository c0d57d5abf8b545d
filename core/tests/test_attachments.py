"""What becomes of the files of an inference: for its variants, for a provider that needs bytes, for the record."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import SocketStream
from blake3 import blake3
from headrace.attachments import Attachments, is_file_key
from headrace.conformance.server import Request, Server, serving
from headrace.errors import BadRequest, ConfigError, FetchError, HeadraceError, ObjectStoreError
from headrace.fetching import Fetcher
from headrace.media import File, StoragePath, essence, extension_of
from headrace.types import Input, InputMessage, Text

pytestmark = pytest.mark.anyio

PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)
DATA = base64.b64encode(PNG).decode()
KEY = f"observability/files/{blake3(DATA.encode()).hexdigest()}.png"


class Shelf:
    """An object store in a dict. ``broken`` refuses every write."""

    kind: Mapping[str, Any] = {"type": "shelf", "room": "1", "row": None}

    def __init__(self, *, broken: bool = False) -> None:
        self.objects: dict[str, tuple[bytes, str | None]] = {}
        self.is_open = False
        self._broken = broken

    async def __aenter__(self) -> Shelf:
        self.is_open = True
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.is_open = False

    async def put(self, path: str, data: bytes, mime_type: str | None = None) -> None:
        await anyio.lowlevel.checkpoint()
        if self._broken:
            raise ObjectStoreError("the shelf is full")
        self.objects[path] = (data, mime_type)

    async def get(self, path: str) -> bytes:
        await anyio.lowlevel.checkpoint()
        if path not in self.objects:
            raise ObjectStoreError(f"nothing at {path}")
        return self.objects[path][0]

    def break_down(self) -> None:
        """From now on."""
        self._broken = True


PATH = StoragePath(dict(Shelf.kind), KEY)


def attachments(shelf: Shelf | None, kind: Any = Shelf.kind, *, prefetch: bool = False) -> Attachments:
    fetcher = Fetcher(max_bytes=10_000, timeout_s=5, allow_private_addresses=True)
    return Attachments(store=shelf, kind=kind, fetcher=fetcher, prefetch=prefetch)


def asking(*files: File) -> Input:
    return Input(messages=(InputMessage("user", (Text("look"), *files)), InputMessage("assistant", (Text("well"),))))


def files(input_: Input) -> list[File]:
    return [block for message in input_.messages for block in message.content if isinstance(block, File)]


async def one(desk: Attachments, file: File) -> File:
    (found,) = files(await desk.resolved(asking(file)))
    return found


async def say(request: Request, stream: SocketStream) -> None:
    """/png is an image, /words is text, anything else is missing."""
    await anyio.sleep(0.01)
    bodies = {
        "/png": (PNG, b"application/wrong"),
        "/words": (b"words", b"Text/Plain; charset=utf-8"),
        "/raw": (b"?", b""),
    }
    body, kind = bodies.get(request.target.partition("?")[0], (b"", b""))
    status = b"200 OK" if body else b"404 Not Found"
    head = b"content-type: " + kind + b"\r\n" if kind else b""
    await stream.send(b"HTTP/1.1 " + status + b"\r\n" + head + b"content-length: %d\r\n\r\n" % len(body) + body)


@asynccontextmanager
async def desk_and_server(*, prefetch: bool = False) -> AsyncGenerator[tuple[Attachments, Shelf, Server], None]:
    shelf = Shelf()
    async with serving(say) as server, attachments(shelf, prefetch=prefetch) as desk:
        yield desk, shelf, server


# -- opening ----------------------------------------------------------------------------------------------


async def test_opens_the_store_and_sees_that_it_can_write() -> None:
    shelf = Shelf()
    async with attachments(shelf):
        assert shelf.is_open and shelf.objects == {".tensorzero-validate": (b"", None)}
    assert not shelf.is_open


async def test_a_store_that_cannot_write_is_a_configuration_error() -> None:
    shelf = Shelf(broken=True)
    with pytest.raises(ConfigError, match=r"\[object_storage\].*\.tensorzero-validate.*the shelf is full"):
        async with attachments(shelf):
            pass
    assert not shelf.is_open


# -- files with bytes -------------------------------------------------------------------------------------


async def test_bytes_get_a_type_and_a_path() -> None:
    assert await one(attachments(Shelf()), File(data=DATA)) == File("image/png", DATA, storage_path=PATH)


async def test_what_the_caller_says_of_the_type_counts() -> None:
    found = await one(attachments(Shelf()), File("text/plain; charset=utf-8", DATA, detail="low", filename="a.txt"))
    assert (found.mime_type, found.detail, found.filename) == ("text/plain; charset=utf-8", "low", "a.txt")
    assert found.storage_path == StoragePath(PATH.kind, KEY.replace(".png", ".txt"))


async def test_a_type_without_an_extension_gives_a_key_without_one() -> None:
    found = await one(attachments(Shelf()), File("application/x-mine", DATA))
    assert found.storage_path == StoragePath(PATH.kind, KEY.removesuffix(".png"))


async def test_a_path_that_comes_with_bytes_is_made_anew() -> None:
    claimed = StoragePath({"type": "other"}, "observability/files/somebody-elses.png")
    assert (await one(attachments(Shelf()), File("image/png", DATA, storage_path=claimed))).storage_path == PATH


BAD_FILES = {
    "no type": (File(data=base64.b64encode(b"words").decode()), "give `mime_type`"),
    "empty": (File(data=""), "give `mime_type`"),
    "not base64": (File("image/png", "!!!!"), "not base64"),
    "unpadded": (File("image/png", DATA.rstrip("=") + "A"), "not base64"),
    "data URI": (File("image/png", f"data:image/png;base64,{DATA}"), "prefix"),
    "not ASCII": (File("image/png", "\xe4\xf6\xfc\ud800"), "not base64"),
    "header in type": (File("image/png\r\nx-evil: 1", DATA), "mime_type"),
    "no slash in type": (File("png", DATA), "mime_type"),
    "type without end": (File("a/" + "b" * 10_000, DATA), "mime_type"),
    "nothing": (File("image/png"), "neither"),
    "file URL": (File(source_url="file:///etc/passwd"), "only http:// and https://"),
    "credentials": (File(source_url="http://u:p@example.com/"), "credentials"),
}


@pytest.mark.parametrize(("file", "says"), BAD_FILES.values(), ids=BAD_FILES)
async def test_what_cannot_be_a_file_is_a_bad_request(file: File, says: str) -> None:
    with pytest.raises(BadRequest, match=says) as caught:
        await one(attachments(Shelf()), file)
    assert len(str(caught.value)) < 500


async def test_bounds_the_urls_of_one_request() -> None:
    many = [File(source_url=f"http://example.com/{number}") for number in range(51)]
    assert len(files(await attachments(Shelf()).resolved(asking(*many[:-1])))) == 50
    with pytest.raises(BadRequest, match="more than 50"):
        await attachments(Shelf()).resolved(asking(*many))


async def test_an_input_without_files_needs_no_object_storage() -> None:
    desk, plain = attachments(None, None), asking()
    assert not desk.has_files(plain) and desk.has_files(asking(File()))
    assert await desk.resolved(plain) is plain
    assert await desk.stored(plain, dryrun=False) is plain


async def test_files_need_object_storage() -> None:
    with pytest.raises(HeadraceError, match=r"^Object storage is not configured") as caught:
        await one(attachments(None, None), File(data=DATA))
    assert caught.value.http_status == 500


# -- pointers ---------------------------------------------------------------------------------------------


async def test_a_pointer_gets_its_bytes() -> None:
    shelf = Shelf()
    shelf.objects[KEY] = (PNG, None)
    pointer = File("image/png", storage_path=StoragePath({"type": "shelf", "room": "1"}, KEY), source_url="http://x/")
    desk = attachments(shelf)
    found = await one(desk, pointer)
    assert (found.data, found.storage_path, found.source_url) == (DATA, pointer.storage_path, "http://x/")
    assert files(await desk.stored(asking(found), dryrun=False)) == [pointer]


async def test_a_pointer_to_nothing_says_so() -> None:
    with pytest.raises(ObjectStoreError, match="nothing at"):
        await one(attachments(Shelf()), File("image/png", storage_path=PATH))


@pytest.mark.parametrize("kind", [{"type": "shelf", "room": "2"}, {"type": "s3_compatible"}, {}, {"room": ["1"]}])
async def test_reads_from_the_configured_store_only(kind: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match=r"storage_path\.kind"):
        await attachments(Shelf()).read(StoragePath(kind, KEY))


async def test_what_was_not_kept_cannot_be_read() -> None:
    kind = {"type": "disabled"}
    with pytest.raises(BadRequest, match="disabled"):
        await attachments(None, kind).read(StoragePath(kind, KEY))


WAYS_OUT = {
    "elsewhere": ".tensorzero-validate",
    "folder": "observability/files/",
    "up": "observability/files/../../secret",
    "dot": "observability/files/./x",
    "double": "observability/files//x",
    "absolute": "/observability/files/x",
    "backslash": "observability/files/..\\x",
    "nul": "observability/files/x\0.png",
    "newline": "observability/files/x\n",
    "percent": "observability/files/%2e%2e/x",
    "long": "observability/files/" + "x" * 2000,
    "empty": "",
    "prefix": "observability/files2/x",
}


@pytest.mark.parametrize("path", WAYS_OUT.values(), ids=WAYS_OUT)
async def test_reads_only_below_its_own_folder(path: str) -> None:
    assert not is_file_key(path) and is_file_key(KEY)
    with pytest.raises(BadRequest, match=r"storage_path\.path"):
        await attachments(Shelf()).read(StoragePath(dict(Shelf.kind), path))


# -- files by URL -----------------------------------------------------------------------------------------


async def test_a_url_stays_one_until_somebody_needs_the_bytes() -> None:
    async with desk_and_server() as (desk, _, server):
        file = File(source_url=f"{server.url}/png", detail="high")
        assert await one(desk, file) == file
        assert server.requests == []
        found = await desk.with_data(file)
    assert found == File("image/png", DATA, file.source_url, PATH, "high")


async def test_prefetching_downloads_before_any_variant_runs() -> None:
    async with desk_and_server(prefetch=True) as (desk, _, server):
        urls = [f"{server.url}/png?{number}" for number in range(20)]
        found = files(await desk.resolved(asking(*(File(source_url=url) for url in urls))))
        assert found == [File("image/png", DATA, url, PATH) for url in urls]
        with pytest.raises(FetchError, match="404"):
            await desk.resolved(
                asking(File(data=DATA), File(source_url=f"{server.url}/missing"), File(source_url=urls[0]))
            )


TYPES = {
    "said": ("/png", "image/mine", "image/mine"),
    "bytes": ("/png", None, "image/png"),
    "header": ("/words", None, "text/plain"),
}


@pytest.mark.parametrize(("target", "said", "known"), TYPES.values(), ids=TYPES)
async def test_the_type_is_the_callers_then_the_bytes_then_the_headers(target: str, said: str, known: str) -> None:
    async with desk_and_server() as (desk, _, server):
        assert (await desk.with_data(File(said, source_url=server.url + target))).mime_type == known


async def test_bytes_of_no_known_type_are_a_fetch_error() -> None:
    async with desk_and_server() as (desk, _, server):
        with pytest.raises(FetchError, match=r"^Error fetching file from URL: .*cannot tell its MIME type"):
            await desk.with_data(File(source_url=f"{server.url}/raw?token=SECRET"))


async def test_a_held_input_is_downloaded_once_for_answer_and_record() -> None:
    async with desk_and_server() as (desk, shelf, server):
        asked = asking(File(source_url=f"{server.url}/png"))
        with desk.held(asked):
            async with anyio.create_task_group() as tasks:
                for file in files(asked) * 3:
                    tasks.start_soon(desk.with_data, file)
            await desk.stored(asked, dryrun=False)
        assert len(server.requests) == 1
    assert shelf.objects[KEY] == (PNG, "image/png")


async def test_bytes_that_are_there_are_not_fetched() -> None:
    file = File("image/png", DATA, "http://nobody.invalid/", PATH)
    assert await attachments(Shelf()).with_data(file) is file


# -- the record -------------------------------------------------------------------------------------------


async def test_the_record_has_paths_and_the_store_has_bytes() -> None:
    async with desk_and_server() as (desk, shelf, server):
        asked = await desk.resolved(asking(File(data=DATA, filename="a.png"), File(source_url=f"{server.url}/words")))
        recorded = await desk.stored(asked, dryrun=False)
    first, second = files(recorded)
    assert first == File("image/png", storage_path=PATH, filename="a.png")
    assert second.storage_path and (second.mime_type, second.data) == ("text/plain", None)
    assert second.source_url == f"{server.url}/words"
    assert shelf.objects[KEY] == (PNG, "image/png")
    assert shelf.objects[second.storage_path.path] == (b"words", "text/plain")
    assert recorded.messages[0].content[0] == Text("look") and recorded.messages[1] == asked.messages[1]


async def test_a_dry_run_writes_and_fetches_nothing() -> None:
    async with desk_and_server() as (desk, shelf, server):
        by_url = File(source_url=f"{server.url}/png")
        recorded = await desk.stored(await desk.resolved(asking(File(data=DATA), by_url)), dryrun=True)
        assert files(recorded) == [File("image/png", storage_path=PATH), by_url]
        assert (list(shelf.objects), server.requests) == ([".tensorzero-validate"], [])


async def test_disabled_records_paths_without_bytes() -> None:
    kind = {"type": "disabled"}
    async with attachments(None, kind) as desk:
        recorded = await desk.stored(await desk.resolved(asking(File(data=DATA))), dryrun=False)
    assert files(recorded) == [File("image/png", storage_path=StoragePath(kind, KEY))]


async def test_a_url_that_cannot_be_fetched_is_recorded_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    async with desk_and_server() as (desk, _, server):
        lost = File(source_url=f"{server.url}/missing", detail="low")
        recorded = await desk.stored(asking(lost, File(source_url=f"{server.url}/png")), dryrun=False)
    first, second = files(recorded)
    assert first == lost and second.storage_path == PATH
    assert "recorded by its URL alone" in caplog.text


async def test_a_store_that_breaks_down_costs_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    shelf = Shelf()
    async with attachments(shelf) as desk:
        asked = await desk.resolved(asking(File(data=DATA)))
        shelf.break_down()
        assert files(await desk.stored(asked, dryrun=False)) == [File("image/png", storage_path=PATH)]
    assert "the shelf is full" in caplog.text


# -- types and their extensions ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mime_type", "extension"),
    [
        ("image/jpeg", "jpg"),
        ("IMAGE/PNG", "png"),
        ("text/plain; charset=utf-8", "txt"),
        ("audio/wav", "wav"),
        ("x/y", None),
    ],
)
def test_a_type_has_a_usual_extension(mime_type: str, extension: str | None) -> None:
    assert extension_of(mime_type) == extension
    assert essence(mime_type) == mime_type.split(";")[0].lower()
