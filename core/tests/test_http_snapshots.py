"""``POST /internal/config``: a configuration that somebody brings is checked, kept, and not run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from headrace.assembly import Assembly
from headrace.config import load
from headrace.conformance.script import Script
from headrace.http.app import create_app
from headrace.plugins import Registry
from past import TOML, asking

pytestmark = pytest.mark.anyio

PATH = "/internal/config"
OTHER = """
[metrics.other]
type = "float"
level = "inference"
optimize = "min"
"""


@pytest.fixture
def client(opened: Any) -> Callable[..., Any]:
    """``async with client(*records) as asks``."""
    return partial(asking, opened)


async def test_a_configuration_is_kept_beside_the_one_that_runs(client: Any) -> None:
    async with client() as asks:
        running = await asks.get(PATH)
        hash_ = (await asks.post(PATH, {"config": OTHER, "extra_templates": None, "tags": {"who": "me"}}))["hash"]
        found = await asks.get(f"{PATH}/{hash_}")
        assert await asks.get(PATH) == running
        assert hash_ != running["hash"]
        assert await asks.post(PATH, found | {"tags": {"why": "so"}}) == {"hash": hash_}
        tags = (await asks.get(f"{PATH}/{hash_}"))["tags"]
        kept = await asks.host.store.config_snapshot(hash_)
    assert (found["hash"], found["tags"], found["extra_templates"]) == (hash_, {"who": "me"}, {})
    assert "other" in found["config"]
    assert tags == {"who": "me", "why": "so"}
    assert kept.last_used is None


async def test_what_runs_gets_tags_and_keeps_its_hash(client: Any) -> None:
    async with client() as asks:
        running = await asks.get(PATH)
        assert await asks.post(PATH, running | {"tags": {"a": "b"}}) == {"hash": running["hash"]}
        again = await asks.get(PATH)
        kept = await asks.host.store.config_snapshot(running["hash"])
    assert again == running | {"tags": {"a": "b"}}
    assert (kept.tags, kept.last_used is not None) == ({"a": "b"}, True)


async def test_toml_and_the_tree_that_it_stands_for_are_the_same(client: Any) -> None:
    tree = {"metrics": {"other": {"type": "float", "level": "inference", "optimize": "min", "description": None}}}
    async with client() as asks:
        assert await asks.post(PATH, {"config": OTHER}) == await asks.post(PATH, {"config": tree})


async def test_files_come_with_the_configuration_and_make_the_same_hash(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "system.minijinja").write_text('{% include "part.minijinja" %} be brief')
    (tmp_path / "part.minijinja").write_text("please")
    (tmp_path / "schema.json").write_text('{"type": "object"}')
    toml = TOML + (
        '[functions.chat.variants.w]\ntype = "chat_completion"\nmodel = "m"\nsystem_template = "system.minijinja"\n'
        '[tools.t]\ndescription = "d"\nparameters = "schema.json"\n'
        "[gateway.template_filesystem_access]\nenabled = true\nbase_path = '.'\n"
        '[gateway.observability]\nbackend = "memory"\n'
    )
    (tmp_path / "headrace.toml").write_text(toml)
    host = Assembly(load(str(tmp_path / "headrace.toml")), registry, transport=Script())
    gateway = host.gateway()
    async with gateway:
        transport = httpx.ASGITransport(create_app(gateway, owns_gateway=False))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
            running = (await http.get(PATH)).json()
            written = await http.post(PATH, json=running)
            changed = running["extra_templates"] | {"part.minijinja": "now"}
            other = (await http.post(PATH, json=running | {"extra_templates": changed})).json()["hash"]
            found = (await http.get(f"{PATH}/{other}")).json()
            lost = await http.post(PATH, json=running | {"extra_templates": {}})
    assert "part.minijinja" in running["extra_templates"]
    assert written.json() == {"hash": running["hash"]}
    assert other != running["hash"]
    assert found["extra_templates"] == changed
    assert lost.status_code == 400
    assert lost.json()["error"].count("no text of this file is there") == 2


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "Object missing required field `config`"),
        ({"config": 1}, "config: "),
        ({"config": "="}, "config: not valid TOML"),
        ({"config": "x = " + "[" * 50_000}, "config: "),
        ({"config": {"gateway": {"nope": 1}}}, "config: gateway.nope: unknown key"),
        ({"config": {"gateway": 1}}, "config: gateway"),
        ({"config": {"gateway": {"template_filesystem_access": {"base_path": "/etc"}}}}, "config: `gateway.template"),
        (
            {"config": {"tools": {"t": {"parameters": "/etc/passwd", "description": "d"}}}},
            "config: `tools.t.parameters`",
        ),
        ({"config": {"tools": {"t": {"parameters": 7, "description": "d"}}}}, "config: `tools.t.parameters`"),
        ({"config": OTHER, "tags": {"a": 1}}, "tags[...]: "),
        ({"config": OTHER, "extra_templates": {"a": None}}, "extra_templates[...]: "),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_what_is_no_configuration_is_refused(client: Any, body: Any, message: str) -> None:
    async with client() as asks:
        reply = await asks.http.post(PATH, json=body)
    assert (reply.status_code, set(reply.json())) == (400, {"error"})
    assert reply.json()["error"].startswith(message)
    assert "root:" not in reply.text
