"""The promises of ``headrace models``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from headrace import Weights
from headrace.cli.models import pull
from headrace.errors import NotFound
from headrace.plugins import Plugin, Registry


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from headrace.cli import main; main()", "models", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def registry(*names: str) -> Registry:
    def weights(name: str) -> Weights:
        def bring(folder: Path, say: Callable[[str], None]) -> Path:
            say(f"{name}: here")
            return folder / name

        return Weights(name, "some weights", bring)

    made = Registry()
    plugin = Plugin(name="p", distribution="p", version="1", state="loaded")
    made.add(plugin, [("weights", weights(name)) for name in names])
    return made


def test_pulls_each_into_the_folder(tmp_path: Path) -> None:
    said: list[str] = []
    assert pull(registry("a", "b", "c"), ["c", "a"], tmp_path, said.append) == [tmp_path / "c", tmp_path / "a"]
    assert said == ["c: here", "a: here"]


@pytest.mark.parametrize(
    ("names", "message"),
    [(("a", "b"), r"named x, y \(known: a, b\)"), ((), r"named x, y \(known: none\)")],
    ids=["some", "none"],
)
def test_unknown_weights_are_told_before_anything_is_pulled(
    names: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    said: list[str] = []
    with pytest.raises(NotFound, match=message):
        pull(registry(*names), [*names, "x", "y"], tmp_path, said.append)
    assert said == []


def test_the_command_says_in_one_line_that_weights_are_unknown() -> None:
    done = run("pull", "nobody-has-these")
    assert (done.returncode, done.stdout) == (1, "")
    assert [line for line in done.stderr.splitlines() if "no weights are named nobody-has-these" in line]
    assert "Traceback" not in done.stderr


def test_list_is_for_programs_too(tmp_path: Path) -> None:
    listed = json.loads(run("list", "--json", HEADRACE_MODELS=str(tmp_path)).stdout)
    assert listed["folder"] == str(tmp_path)
    shown = run("list").stdout
    assert all(weights["name"] in shown and weights["summary"] in shown for weights in listed["weights"])
