"""``docs/explanation/request-path.md`` names functions that exist, in the order in which a real request meets them."""

from __future__ import annotations

import re
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from pkgutil import resolve_name
from types import FrameType
from typing import Any

import anyio
import httpx
import pytest
from headrace import plugins
from headrace.assembly import assemble
from headrace.config import loads
from headrace.conformance.script import Script
from headrace.http.app import create_app

PAGE = (Path(__file__).parent.parent / "docs/explanation/request-path.md").read_text(encoding="utf-8")
NAMES = re.findall(r"`([a-z]\w*(?:\.\w+)+)`", re.sub(r"^```.*?^```$", "", PAGE, flags=re.MULTILINE | re.DOTALL))
STEPS = re.findall(r"^\| \d+ \| `([\w.]+)` \|", PAGE, re.MULTILINE)
ELSEWHERE = re.compile(r"headrace_\w+\.")

TOML = """
[gateway.observability]
backend = "memory"

[models.parrot]
routing = ["echo"]
providers.echo = { type = "echo" }

[functions.repeat]
type = "chat"
variants.parrot = { type = "chat_completion", model = "parrot" }
variants.cockatoo = { type = "chat_completion", model = "parrot" }
"""


def whole(name: str) -> str:
    """The name with its package: those of plugins are written out, the others are of ``headrace``."""
    return name if ELSEWHERE.match(name) else f"headrace.{name}"


@contextmanager
def calls() -> Generator[list[str], None, None]:
    """Every function that is entered in the block, in the order of its first entry."""
    seen: dict[str, None] = {}

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            seen.setdefault(f"{frame.f_globals.get('__name__')}.{frame.f_code.co_qualname}")

    found: list[str] = []
    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(before)
        found.extend(seen)


@pytest.mark.parametrize("name", sorted(set(NAMES)))
def test_every_function_the_page_names_exists(name: str) -> None:
    resolve_name(whole(name))


@pytest.mark.anyio
async def test_a_real_request_meets_them_in_that_order() -> None:
    gateway = assemble(loads(TOML), plugins.load(), transport=Script())
    transport = httpx.ASGITransport(create_app(gateway, owns_gateway=False))
    body = {"function_name": "repeat", "input": {"messages": [{"role": "user", "content": "hello"}]}}
    async with gateway, httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
        await anyio.wait_all_tasks_blocked()  # the snapshot is written
        with calls() as met:
            reply = await http.post("/inference", json=body)
            await anyio.wait_all_tasks_blocked()
    assert reply.status_code == 200
    steps = [whole(name) for name in STEPS]
    assert len(steps) == 21
    assert [name for name in met if name in steps] == steps
