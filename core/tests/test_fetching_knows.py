"""What fetching knows without asking anybody: which addresses are public, what a URL is, what bytes are."""

from __future__ import annotations

import struct

import pytest
from headrace.fetching import check_url, is_public, sniff

REFUSED = """0.0.0.0 10.1.2.3 100.64.0.1 127.0.0.1 169.254.169.254 172.16.0.1 192.0.0.1 192.0.2.1 192.168.1.1 198.18.0.1
224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255 :: ::1 ::ffff:8.8.8.8 ::ffff:10.0.0.1 ::7f00:1 64:ff9b::7f00:1
64:ff9b:1::1 100::1 2001::1 2001:db8::1 2002:7f00:1::1 2002:a00:1::1 fc00::1 fd12::1 fe80::1 fe80::1%eth0 fec0::1
ff02::1 ff0e::1 nonsense""".split()


@pytest.mark.parametrize("address", REFUSED)
def test_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "64:ff9b::808:808", "2002:808:808::1"])
def test_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url", ["http://b\xfccher.example/", "HTTPS://EXAMPLE.com:8443/x?y#z", "http://[2606:4700::1]/"]
)
def test_takes_ordinary_urls(url: str) -> None:
    check_url(url)


# -- what bytes are ---------------------------------------------------------------------------------------


def box(brand: bytes) -> bytes:
    return struct.pack(">I", 24) + b"ftyp" + brand + bytes(4) + brand + b"isom"


KNOWN = {
    "png": (b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR", "image/png"),
    "jpeg": (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00", "image/jpeg"),
    "jpeg exif": (b"\xff\xd8\xff\xe1\x00\x10Exif\x00", "image/jpeg"),
    "gif": (b"GIF89a\x01\x00\x01\x00", "image/gif"),
    "webp": (b"RIFF\x24\x00\x00\x00WEBPVP8 ", "image/webp"),
    "pdf": (b"%PDF-1.7\n", "application/pdf"),
    "wav": (b"RIFF\x24\x00\x00\x00WAVEfmt ", "audio/wav"),
    "mp3 tagged": (b"ID3\x04\x00\x00\x00\x00\x00\x23TSSE", "audio/mpeg"),
    "mp3 bare": (b"\xff\xfb\x90\x64" + bytes(100), "audio/mpeg"),
    "mp4": (box(b"isom"), "video/mp4"),
    "m4a": (box(b"M4A "), "audio/mp4"),
    "webm": (b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\xf7\x81\x01B\xf2\x81\x04B\xf3\x81\x08B\x82\x84webm", "video/webm"),
    "ogg": (b"OggS\x00\x02" + bytes(20) + b"\x01\x1e\x01vorbis", "audio/ogg"),
    "flac": (b"fLaC\x00\x00\x00\x22", "audio/flac"),
}


@pytest.mark.parametrize(("data", "mime_type"), KNOWN.values(), ids=KNOWN)
def test_tells_a_file_by_its_first_bytes(data: bytes, mime_type: str) -> None:
    assert sniff(data) == mime_type
    assert sniff(data + bytes(100_000)) == mime_type


@pytest.mark.parametrize(
    "data", [b"", b"B", b"hello", b"<svg/>", b'{"a": 1}', b"\x8a\x12\x99\x31" * 9, b"RIFF", b"\xff"]
)
def test_does_not_guess(data: bytes) -> None:
    assert sniff(data) is None


@pytest.mark.parametrize("data", [known[0] for known in KNOWN.values()], ids=KNOWN)
def test_no_torn_file_breaks_it(data: bytes) -> None:
    for length in range(len(data)):
        sniff(data[:length])
