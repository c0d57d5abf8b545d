"""The gateway as its users run it: a process of its own, reached over HTTP."""

from __future__ import annotations

import json
import signal
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

_READY = "headrace is listening on "


class Gateway:
    """``headrace serve`` on a free port, from ``__enter__`` to ``__exit__``."""

    def __init__(self, command: str, folder: Path) -> None:
        self._command = command
        self._folder = folder
        self.url = ""

    def __enter__(self) -> Gateway:
        self._process = subprocess.Popen(
            [self._command, "serve", "--config", "headrace.toml", "--bind-address", "127.0.0.1:0"],
            cwd=self._folder,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(_READY):
                self.url = line.removeprefix(_READY).strip()
                return self
        raise SystemExit("the gateway did not start")

    def __exit__(self, *exc: object) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait(30)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """The JSON answer."""
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.load(reply)
