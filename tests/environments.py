"""Clean environments with our wheels, and a gateway that runs from one: what tests of installation share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.request import Request, urlopen

# A function `repeat` on a provider that says what it is told; format with its ``type``.
CONFIG = """
[gateway.observability]
enabled = true
backend = "memory"

[functions.repeat]
type = "chat"

[functions.repeat.variants.echo]
type = "chat_completion"
model = "echo"

[models.echo]
routing = ["echo"]

[models.echo.providers.echo]
type = "{type}"
"""


def clean(environment: Path, wheels: Path, *distributions: str | Path) -> Path:
    """Make an environment with these distributions, ours from ``wheels``; return its ``headrace`` command."""
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, str(environment)], check=True)
    python = environment / "bin" / "python"
    install = [*uv, "pip", "install", "--quiet", "--python", str(python), "--find-links", str(wheels)]
    subprocess.run([*install, *map(str, distributions)], check=True)
    return python.with_name("headrace")


@contextmanager
def serving(headrace: Path, config: Path) -> Generator[str, None, None]:
    """Run the gateway on a free port until the block ends; its address."""
    command = [str(headrace), "serve", "--config", str(config), "--bind-address", "127.0.0.1:0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    ) as process:
        assert process.stdout
        try:
            yield address(process.stdout)
        finally:
            process.terminate()


def address(output: IO[str]) -> str:
    said = []
    for line in output:
        said.append(line)
        if line.startswith("headrace is listening on "):
            return line.split()[-1]
    raise AssertionError(f"the gateway ended without listening: {said}")


def ask(url: str, text: str) -> object:
    body = {"function_name": "repeat", "input": {"messages": [{"role": "user", "content": text}]}}
    request = Request(f"{url}/inference", json.dumps(body).encode(), {"content-type": "application/json"})
    with urlopen(request, timeout=30) as response:
        assert response.status == 200
        return json.load(response)["content"]
