"""Compressed request bodies made plain, and never larger than a bound: a small body can stand for gigabytes."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import brotli  # type: ignore[import-untyped]  # it brings no types

from ..errors import BadRequest

if sys.version_info >= (3, 14):
    from compression import zstd
else:  # the same module, for Pythons that do not bring it
    from backports import zstd

_Unpack = Callable[[bytes, int], tuple[bytes, bool]]


def plain(encoding: str, body: bytes, bound: int) -> bytes:
    """What the body stands for. Raise BadRequest for a coding we do not know, broken data, or more than ``bound``.

    It can take a tenth of a second for a large body, so call it in a thread.
    """
    coding = encoding.strip().lower()
    if coding in ("", "identity"):
        return body
    unpack = _CODINGS.get(coding)
    if unpack is None:
        raise BadRequest(
            f"415 Unsupported Media Type: Content-Encoding `{coding[:100]}` is not supported "
            f"(supported, one at a time: {', '.join(_CODINGS)})"
        )
    try:
        # One byte more than allowed is enough to know.
        found, complete = unpack(body, bound + 1)
    except (zlib.error, brotli.error, zstd.ZstdError, EOFError) as error:
        raise BadRequest(f"Failed to decompress the request body as {coding}: {error}") from None
    if len(found) > bound:
        raise BadRequest(f"413 Payload Too Large: the decompressed request body exceeds {bound} bytes")
    if not complete:
        raise BadRequest(f"Failed to decompress the request body as {coding}: it ends early, or something follows it")
    return found


def _zlib(body: bytes, limit: int, wbits: int) -> tuple[bytes, bool]:
    machine = zlib.decompressobj(wbits)
    return machine.decompress(body, limit), machine.eof and not machine.unused_data


def _gzip(body: bytes, limit: int) -> tuple[bytes, bool]:
    return _zlib(body, limit, 16 + zlib.MAX_WBITS)


def _deflate(body: bytes, limit: int) -> tuple[bytes, bool]:
    # RFC 9110 means zlib's format; some clients have always sent the bare one. The first two bytes tell.
    has_header = len(body) >= 2 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
    return _zlib(body, limit, zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS)


def _brotli(body: bytes, limit: int) -> tuple[bytes, bool]:
    machine: Any = brotli.Decompressor()
    return machine.process(body, output_buffer_limit=limit), machine.is_finished()


def _zstd(body: bytes, limit: int) -> tuple[bytes, bool]:
    # A frame says how large a window its reader must set aside. RFC 9659 ends that at 8 MiB; zstd itself, far later.
    machine = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: 23})
    return machine.decompress(body, limit), machine.eof and not machine.unused_data


_CODINGS: Mapping[str, _Unpack] = {"gzip": _gzip, "deflate": _deflate, "br": _brotli, "zstd": _zstd}
