"""The command itself: quick where nothing is to be done, and no traceback for what we raise on purpose."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import headrace
from headrace.cli import COMMANDS

HEAVY = {"msgspec", "pydantic", "pluggy", "httpx", "starlette", "hypercorn", "minijinja", "jsonschema_rs", "rich"}


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from headrace.cli import main; main()", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_lists_every_command_and_imports_nothing_heavy() -> None:
    script = (
        "import atexit, json, sys\n"
        "atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))\n"
        "from headrace.cli import main\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", script, "--help"], capture_output=True, text=True, check=True)
    assert all(f"  {name} " in done.stdout for name in COMMANDS)
    imported = set(json.loads(done.stderr))
    assert not imported & HEAVY
    assert {name for name in imported if name.startswith("headrace")} == {
        "headrace",
        "headrace.cli",
        "headrace.errors",
    }


def test_version_is_the_packages() -> None:
    assert run("--version").stdout == f"headrace, version {headrace.__version__}\n"


def test_an_unknown_command_is_a_usage_error() -> None:
    done = run("sreve")
    assert done.returncode == 2
    assert "No such command" in done.stderr


def test_an_error_of_ours_is_a_line_and_not_a_traceback() -> None:
    done = run("plugins", "info", "nobody")
    assert done.returncode == 1
    assert [line for line in done.stderr.splitlines() if not line.startswith("headrace: error: ")] == []


def test_debug_shows_the_traceback() -> None:
    done = run("plugins", "info", "nobody", HEADRACE_DEBUG="1")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_every_public_name_is_there_when_asked_for() -> None:
    assert all(getattr(headrace, name) is not None for name in headrace.__all__)
    assert not hasattr(headrace, "frovider")
