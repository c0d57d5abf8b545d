"""Server-sent events, however they are written and wherever they are cut."""

from __future__ import annotations

import pytest
from headrace.transport import EventDecoder

STREAM = (
    ": hello, this is a comment\n\n"
    "event: message\nid: 7\nretry: 10\ndata: {}\n\n"
    'data:{"no": "space"}\n\n'
    "data:  two spaces\n\n"
    "data: one\ndata: two\ndata\ndata: four\n\n"
    "data\n\n"
    "data: grüß dich 👋\n\n"
    "\n\n"
    "event: nothing to say\n\n"
    "database: not data\n\n"
    "data: [DONE]"
)
EVENTS = ["{}", '{"no": "space"}', " two spaces", "one\ntwo\n\nfour", "", "grüß dich 👋", "[DONE]"]


def decode(stream: bytes, size: int) -> list[str]:
    decoder = EventDecoder()
    parts = [stream[start : start + size] for start in range(0, len(stream), size)]
    return [data.decode() for part in parts for data in decoder.feed(part)] + [data.decode() for data in decoder.end()]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_reads_the_same_events_however_lines_end_and_wherever_they_are_cut(line_end: str, size: int) -> None:
    assert decode(STREAM.replace("\n", line_end).encode(), size) == EVENTS


def test_gives_an_event_as_soon_as_its_blank_line_is_there() -> None:
    decoder = EventDecoder()
    assert decoder.feed(b"data: a\n") == []
    assert decoder.feed(b"\ndata: b\n\ndata: c") == [b"a", b"b"]
    assert decoder.feed(b"c\n\n") == [b"cc"]
    assert decoder.end() == []


def test_a_cut_between_cr_and_lf_is_one_line_end() -> None:
    decoder = EventDecoder()
    parts = (b"data: a\r", b"\n", b"data: b\r", b"\n\r", b"\n")
    assert [data for part in parts for data in decoder.feed(part)] == [b"a\nb"]


@pytest.mark.parametrize("tail", ["", "\n", "\r", "\r\n", "\n\n"])
def test_a_last_event_counts_without_its_blank_line(tail: str) -> None:
    assert decode(f"data: last{tail}".encode(), 3) == ["last"]


def test_nothing_is_no_event() -> None:
    decoder = EventDecoder()
    assert (decoder.feed(b""), decoder.feed(b"\n\n\n"), decoder.end()) == ([], [], [])
