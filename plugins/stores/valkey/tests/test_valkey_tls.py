"""A server behind TLS is trusted only if its certificate is, and bears its name."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from headrace.conformance.cache import KEY
from headrace.conformance.script import Script, services
from headrace.errors import StoreError
from headrace_valkey import CacheSettings, ValkeyCache

pytestmark = pytest.mark.anyio


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate that vouches for itself, for one host, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


@asynccontextmanager
async def tunnel(url: str, certificate: Path, key: Path) -> AsyncIterator[int]:
    """A port of ``localhost`` that takes TLS, and passes what is in it on to the server."""
    to = urlsplit(url)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass  # the other side has gone, as it may
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(to.hostname, to.port)
        await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer))

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1]


def cache_behind(url: str, scheme: str, port: int, trusted: str) -> ValkeyCache:
    login, database = urlsplit(url).netloc.rpartition("@")[0], urlsplit(url).path
    settings = CacheSettings(url=f"{scheme}://{login}@localhost:{port}{database}{trusted}")
    return ValkeyCache(settings, services(Script()))


@pytest.mark.parametrize("scheme", ["valkeys", "rediss", "REDISS"])
async def test_speaks_tls_with_a_server_it_trusts(valkey_database: str, tmp_path: Path, scheme: str) -> None:
    paths = certificate(tmp_path, "localhost")
    async with (
        tunnel(valkey_database, *paths) as port,
        cache_behind(valkey_database, scheme, port, f"?ssl_ca_certs={paths[0]}") as cache,
    ):
        await cache.cache(KEY, b"1" * 1_000_000)
        assert await cache.cached(KEY) == b"1" * 1_000_000


@pytest.mark.parametrize(
    ("name", "trusts"), [("localhost", False), ("elsewhere.example", True)], ids=["unknown", "another-host"]
)
@pytest.mark.parametrize("scheme", ["valkeys", "REDISS"])
async def test_says_nothing_to_a_server_it_cannot_trust(
    valkey_database: str, tmp_path: Path, name: str, trusts: bool, scheme: str
) -> None:
    paths = certificate(tmp_path, name)
    trusted = f"?ssl_ca_certs={paths[0]}" if trusts else ""
    async with (
        tunnel(valkey_database, *paths) as port,
        cache_behind(valkey_database, scheme, port, trusted) as cache,
    ):
        with pytest.raises(StoreError, match="certificate"):
            await cache.ping()
