"""What a file becomes on the wire, and which ones the server is left to fetch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from headrace.conformance.provider import FILE_DATA
from headrace.conformance.script import Script, services
from headrace.errors import NotForThisProvider
from headrace.media import File
from headrace.types import Message, ModelRequest, Text
from headrace_openai import Dialect, OpenAI, Settings
from headrace_openai.files import Part
from headrace_openai.wire import chat

DATA = FILE_DATA
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


def sent(
    file: File, *, dialect: Dialect | None = None, role: Any = "user", overrides: Mapping[str, Part] | None = None
) -> Any:
    """The content of a message of the file alone."""
    request = ModelRequest(messages=(Message(role, (file,)),))
    (message,) = chat("m", request, dialect or Dialect(), stream=False, overrides=overrides)["messages"]
    (part,) = message["content"]
    return part


def image(url: str, **more: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **more}}


def document(mime: str, name: str) -> dict[str, Any]:
    return {"type": "file", "file": {"file_data": f"data:{mime};base64,{DATA}", "filename": name}}


def audio(form: str) -> dict[str, Any]:
    return {"type": "input_audio", "input_audio": {"data": DATA, "format": form}}


@pytest.mark.parametrize(
    ("file", "part"),
    [
        (File("image/png", DATA), image(f"data:image/png;base64,{DATA}")),
        (File("IMAGE/PNG; q=1", DATA), image(f"data:image/png;base64,{DATA}")),
        (File("image/png", DATA, "https://x.example/a.png"), image(f"data:image/png;base64,{DATA}")),
        (File("image/png", DATA, detail="low"), image(f"data:image/png;base64,{DATA}", detail="low")),
        (File(None, None, "https://x.example/a"), image("https://x.example/a")),
        (File("image/webp", None, "https://x.example/a", detail="high"), image("https://x.example/a", detail="high")),
        (File("audio/wav", DATA), audio("wav")),
        (File("audio/x-wav", DATA), audio("wav")),
        (File("audio/mpeg", DATA), audio("mp3")),
        (File("audio/mp4", DATA), audio("m4a")),
        (File("audio/ogg", DATA), audio("ogg")),
        (File("audio/flac", DATA), audio("flac")),
        (File("audio/aac", DATA), audio("aac")),
        (File("audio/aiff", DATA), audio("aiff")),
        (File("application/pdf", DATA), document("application/pdf", "input.pdf")),
        (File("text/plain", DATA), document("text/plain", "input.txt")),
        (File("text/csv", DATA), document("text/csv", "input.csv")),
        (File("application/json", DATA), document("application/json", "input.json")),
        (File("text/markdown", DATA), document("text/markdown", "input.md")),
        (File("text/html", DATA), document("text/html", "input.html")),
        (File(DOCX, DATA), document(DOCX, "input.docx")),
        (File("application/pdf", DATA, filename="my.pdf"), document("application/pdf", "my.pdf")),
        (File("application/x-odd", DATA, filename="a.odd"), document("application/x-odd", "a.odd")),
    ],
    ids=str,
)
def test_a_file_becomes_the_part_of_its_type(file: File, part: dict[str, Any]) -> None:
    assert sent(file) == part
    assert sent(file, role="assistant") == part


@pytest.mark.parametrize(
    ("file", "overrides", "part"),
    [
        (File("audio/wav", DATA), {"audio/wav": "file"}, document("audio/wav", "input.wav")),
        (File("image/png", DATA), {"image/png": "file"}, document("image/png", "input.png")),
        (
            File("application/pdf", DATA),
            {"application/pdf": "image_url"},
            image(f"data:application/pdf;base64,{DATA}"),
        ),
        (File("audio/wav", DATA), {"audio/mpeg": "file"}, audio("wav")),
    ],
    ids=["audio-as-file", "image-as-file", "pdf-as-image", "another-type"],
)
def test_an_override_changes_the_part_of_one_type(file: File, overrides: dict[str, Part], part: dict[str, Any]) -> None:
    assert sent(file, overrides=overrides) == part


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (File("audio/x-odd", DATA), "no audio format for `audio/x-odd`"),
        (File("application/x-odd", DATA), "extension is known for `application/x-odd`; give the file a `filename`"),
        (File("application/pdf", None, "https://x.example/a.pdf"), "`application/pdf` only with its bytes"),
        (File(None, None, "ftp://x.example/a"), "only with its bytes"),
        (File(None, None, None), "only with its bytes"),
        (File(None, DATA), "only with its MIME type"),
    ],
    ids=["audio", "extension", "pdf-by-url", "scheme", "nothing", "no-type"],
)
def test_a_file_without_a_part_is_refused(file: File, message: str) -> None:
    with pytest.raises(NotForThisProvider, match=message):
        sent(file)


def test_a_server_without_files_refuses_and_one_without_detail_warns(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(NotForThisProvider, match="Local does not take files"):
        sent(File("image/png", DATA), dialect=Dialect(name="Local", files=False))
    part = sent(File("image/png", DATA, detail="low"), dialect=Dialect(name="Local", image_detail=False))
    assert part == image(f"data:image/png;base64,{DATA}")
    assert "Local does not support the `detail` of an image" in caplog.text


@pytest.mark.parametrize(
    ("mime", "url", "overrides", "taken"),
    [
        ("image/png", "https://x.example/a", {}, True),
        (None, "HTTP://x.example/a", {}, True),
        ("application/pdf", "https://x.example/a", {}, False),
        ("audio/wav", "https://x.example/a", {}, False),
        ("image/png", "https://x.example/a", {"Image/PNG": "file"}, False),
        ("application/pdf", "https://x.example/a", {"application/pdf": "image_url"}, True),
        ("image/png", "file:///etc/passwd", {}, False),
        ("image/png", None, {}, False),
    ],
    ids=["image", "unknown", "pdf", "audio", "image-as-file", "pdf-as-image", "scheme", "no-url"],
)
def test_images_are_fetched_by_the_server(
    mime: str | None, url: str | None, overrides: Mapping[str, Part], taken: bool
) -> None:
    settings = Settings(model_name="m", api_key_location="none", content_type_overrides=dict(overrides))
    assert OpenAI(settings, services(Script())).takes_url(File(mime, None, url)) is taken


def test_text_and_files_keep_their_order() -> None:
    request = ModelRequest(messages=(Message("user", (Text("a"), File("image/png", DATA), Text("b"))),))
    (message,) = chat("m", request, Dialect(), stream=False)["messages"]
    assert [part["type"] for part in message["content"]] == ["text", "image_url", "text"]
