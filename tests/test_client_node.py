"""Journeys with OpenAI's own Node SDK, through a real server process. The scripts are in `node/`; each prints JSON."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from clients import PNG_BASE64, SENTENCE, STREAMED, TOML, WEATHER, Gateway, serving
from upstreams import CALLING, upstream

pytestmark = pytest.mark.node

SCRIPTS = Path(__file__).with_name("node")
Run = Callable[[str], Any]
PARALLEL = [["call_1", {"location": "Basel"}], ["call_2", {"location": "Bern"}]]


def installed() -> Path:
    """`node_modules` as package.json asks for them, in a cache beside pip's own; skips where that cannot be."""
    if not shutil.which("npm") or not shutil.which("node"):
        pytest.skip("node and npm are not installed")
    wanted = (SCRIPTS / "package.json").read_bytes()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "headrace-tests"
    found = cache / f"node-{hashlib.sha256(wanted).hexdigest()[:16]}"
    if not found.exists():
        cache.mkdir(parents=True, exist_ok=True)
        # Under another name until it is whole: runs at the same time, or broken off, leave nothing half done.
        with tempfile.TemporaryDirectory(dir=cache) as name:
            new = Path(name) / "new"
            new.mkdir()
            (new / "package.json").write_bytes(wanted)
            install = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
            try:
                done = subprocess.run(install, cwd=new, capture_output=True, text=True, timeout=60, check=False)
            except subprocess.TimeoutExpired:
                pytest.skip("npm install takes more than a minute")
            if done.returncode:
                pytest.skip(f"npm install failed: {done.stderr[-300:]}")
            if not found.exists():
                new.rename(found)
    return found / "node_modules"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with upstream() as url, serving(tmp_path_factory.mktemp("node"), TOML + CALLING.format(url=url)) as running:
        yield running


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the scripts: Node looks for packages beside who imports them."""
    modules = installed()
    folder = tmp_path_factory.mktemp("scripts")
    for script in SCRIPTS.iterdir():
        shutil.copy(script, folder)
    (folder / "node_modules").symlink_to(modules)
    return folder


@pytest.fixture(scope="module")
def run(scripts: Path, gateway: Gateway) -> Run:
    """What a script prints."""

    def run(name: str) -> Any:
        command = ["node", f"{name}.mjs", gateway.url, PNG_BASE64]
        done = subprocess.run(command, cwd=scripts, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_chats_streams_and_shows_pictures(run: Run, gateway: Gateway) -> None:
    found = run("chat")
    assert found["model"] == "tensorzero::function_name::chat::variant_name::plain"
    assert (found["content"], found["usage"]) == (SENTENCE, 11)
    assert (found["streamed"], found["put_together"]) == (STREAMED, STREAMED)
    assert found["last"] == {"finish_reason": "stop", "usage": 26}
    assert found["structured"] == {"answer": "Hello"}
    assert [(file["mime_type"], file["data"]) for file in found["files"]] == [("image/png", PNG_BASE64)]
    tags, input_ = gateway.row(found["id"], "tags", "input")
    assert json.loads(tags) == {"team": "support"}
    assert json.loads(input_)["system"] == "be kind"


def test_calls_tools(run: Run) -> None:
    found = run("tools")
    assert found["finish_reason"] == "tool_calls"
    assert (found["call"], found["heard"], found["chosen"]) == (WEATHER, '"70F"', {"a": 1})
    assert found["plain"] == found["streamed"] == PARALLEL


def test_embeds_and_lists_models(run: Run) -> None:
    found = run("lists")
    assert len(found["usual"]) == 16
    assert found["usual"] == pytest.approx(found["packed"])
    assert found["usual"] == pytest.approx(found["floats"][0])
    assert len(found["floats"]) == 2
    assert {"tensorzero::function_name::chat", "tensorzero::model_name::parrot"} <= set(found["models"])
    assert found["retrieved"] == "tensorzero::function_name::chat"


def test_responses(run: Run) -> None:
    found = run("responses")
    assert (found["text"], found["status"]) == (SENTENCE, "completed")
    assert (found["first"], found["last"], found["streamed"]) == ("response.created", "response.completed", STREAMED)
    assert (found["call"], found["heard"]) == (WEATHER, "70F")
    assert found["parallel"] == PARALLEL


@pytest.fixture(scope="module")
def errors(run: Run) -> Any:
    return run("errors")


@pytest.mark.parametrize(
    ("case", "name", "status", "message"),
    [
        ("not_ours", "BadRequestError", 400, "`model` field must start with"),
        ("unknown", "NotFoundError", 404, "Unknown function: nope"),
        ("failed", "InternalServerError", 502, "All variants failed"),
        ("failed_stream", "InternalServerError", 502, "All variants failed"),
        ("within", "APIError", None, "Dummy error in stream"),
        ("embeddings", "NotFoundError", 404, "Model not found: nope"),
        ("responses", "NotFoundError", 404, "Unknown function: nope"),
    ],
)
def test_errors_are_the_sdks_own_classes(
    errors: dict[str, Any], case: str, name: str, status: int | None, message: str
) -> None:
    assert (errors[case]["name"], errors[case]["status"]) == (name, status)
    assert message in errors[case]["message"]
