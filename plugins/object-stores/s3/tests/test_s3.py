"""The contract against a real server of the protocol, and what the table and the environment come to."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import boto3  # type: ignore[import-untyped]
import pytest
from headrace import credentials
from headrace.conformance.object_store import ObjectStoreConformance
from headrace.conformance.script import Script
from headrace.contracts import ObjectStore, Services
from headrace.errors import ConfigError, ObjectStoreError
from headrace_s3 import S3, Settings, headrace_object_stores
from headrace_s3.settings import place
from moto.server import ThreadedMotoServer
from pydantic import ValidationError

pytestmark = pytest.mark.anyio

KEYS = {"S3_ACCESS_KEY_ID": "key", "S3_SECRET_ACCESS_KEY": "very-secret"}


def services(environ: dict[str, str]) -> Services:
    return Services(Script(), partial(credentials.load, environ=environ), outbound_timeout_s=5)


def s3(environ: dict[str, str] = KEYS, **table: Any) -> S3:
    return S3(Settings.model_validate(table), services(environ))


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A server with one bucket, ``files``."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    client = boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    client.create_bucket(Bucket="files")
    client.close()
    yield url
    server.stop()


class TestS3(ObjectStoreConformance):
    @pytest.fixture(autouse=True)
    def _server(self, endpoint: str) -> None:
        self.endpoint = endpoint

    def build(self, tmp_path: Path) -> ObjectStore:
        return s3(bucket_name="files", region="us-east-1", endpoint=self.endpoint, allow_http=True)


def test_offers_the_type_s3_compatible() -> None:
    assert [factory.name for factory in headrace_object_stores()] == ["s3_compatible"]


async def test_tells_the_bucket_what_an_object_is(endpoint: str) -> None:
    async with s3(bucket_name="files", endpoint=endpoint, allow_http=True) as store:
        await store.put("typed", b"x", "image/png")
        assert store._client.head_object(Bucket="files", Key="typed")["ContentType"] == "image/png"


async def test_a_bucket_that_is_not_there_is_an_error(endpoint: str) -> None:
    async with s3(bucket_name="missing", endpoint=endpoint, allow_http=True) as store:
        with pytest.raises(ObjectStoreError, match=r"cannot write 'x'.*NoSuchBucket"):
            await store.put("x", b"")


async def test_a_server_that_is_not_there_is_an_error() -> None:
    async with s3(bucket_name="files", endpoint="http://127.0.0.1:1", allow_http=True) as store:
        with pytest.raises(ObjectStoreError, match="cannot read"):
            await store.get("x")


async def test_works_only_while_open() -> None:
    with pytest.raises(ObjectStoreError, match="not open"):
        await s3(bucket_name="files").put("x", b"")


def test_its_kind_holds_no_secret() -> None:
    environ = {**KEYS, "URL": "https://s3.example"}
    store = s3(environ, bucket_name="b", region="r", endpoint="env::URL")
    assert store.kind == {
        "type": "s3_compatible",
        "bucket_name": "b",
        "region": "r",
        "endpoint": "https://s3.example",
        "allow_http": None,
    }
    assert "very-secret" not in repr(place(Settings(bucket_name="b"), services(environ)))


@pytest.mark.parametrize("table", [{"bucket": "x"}, {"allow_http": "yes"}, {"region": 1}])
def test_a_wrong_table_is_an_error(table: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(table)


@pytest.mark.parametrize(
    "endpoint",
    "dynamic::x path::/x path_from_env::X sdk none env::MISSING s3.example ftp://x/ http:// http://[ http://x:y/".split(),
)
def test_an_endpoint_is_a_url_or_a_variable(endpoint: str) -> None:
    with pytest.raises(ConfigError):
        s3(bucket_name="b", endpoint=endpoint, allow_http=True)


def test_an_endpoint_with_credentials_is_refused_without_showing_them() -> None:
    with pytest.raises(ConfigError) as caught:
        s3(bucket_name="b", endpoint="https://user:very-secret@x/")
    assert "very-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "variable", "works"),
    [(None, None, False), (None, "true", True), (False, "true", False), (True, None, True), (None, "no", False)],
)
def test_plain_http_has_to_be_allowed(said: bool | None, variable: str | None, works: bool) -> None:
    environ = {"AWS_ALLOW_HTTP": variable} if variable else {}
    if works:
        s3(environ, bucket_name="b", endpoint="http://x", allow_http=said)
    else:
        with pytest.raises(ConfigError, match="allow_http"):
            s3(environ, bucket_name="b", endpoint="http://x", allow_http=said)


def test_a_bucket_has_to_be_named() -> None:
    with pytest.raises(ConfigError, match="bucket_name"):
        s3()
    assert s3({"AWS_BUCKET_NAME": "b"}).kind["bucket_name"] == "b"


def test_half_a_credential_is_an_error() -> None:
    with pytest.raises(ConfigError, match="S3_SECRET_ACCESS_KEY is not"):
        s3({"S3_ACCESS_KEY_ID": "key", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}, bucket_name="b")


AWS = {"AWS_ACCESS_KEY_ID": "aws", "AWS_SECRET_ACCESS_KEY": "aws-secret"}
ORDER: dict[str, tuple[dict[str, str], dict[str, str | None]]] = {
    "S3 first": ({**KEYS, **AWS}, {"aws_access_key_id": "key", "aws_secret_access_key": "very-secret"}),
    "then AWS": (
        {**AWS, "AWS_SESSION_TOKEN": "t"},
        {"aws_access_key_id": "aws", "aws_secret_access_key": "aws-secret", "aws_session_token": "t"},
    ),
    "then the SDK": ({}, {}),
    "not half of AWS": ({"AWS_ACCESS_KEY_ID": "aws"}, {}),
}


@pytest.mark.parametrize(("environ", "found"), ORDER.values(), ids=ORDER)
def test_credentials_are_looked_for_in_order(environ: dict[str, str], found: dict[str, str | None]) -> None:
    assert place(Settings(bucket_name="b"), services(environ)).credentials == found


def test_the_region_may_come_from_the_environment() -> None:
    assert place(Settings(bucket_name="b"), services({"AWS_REGION": "r"})).region == "r"
    assert place(Settings(bucket_name="b", region="s"), services({"AWS_REGION": "r"})).region == "s"
