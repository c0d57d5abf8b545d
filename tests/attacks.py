"""What attacks on a running gateway share: the gateway, what each of them may cost, a port that nobody may reach."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

MIB = 2**20
# An answer takes some ms, and on a busy machine a hundred: more than this is somebody else's work being waited for.
NORMAL_S = 2.0
# No attack's own size is in it: bodies of 100 MiB go back to the system, as they are larger than any arena. What may
# stay is what is made once (caches of compiled schemas, threads' stacks, the interpreter's own arenas in pieces).
KEPT_MIB = 64

TOML = """
[gateway]
fetch_and_encode_input_files_before_inference = true
unstable_disable_feedback_target_validation = true
observability.backend = "sqlite"
[object_storage]
type = "filesystem"
path = "."

[models.echo]
routing = ["echo"]
providers.echo = {{ type = "echo" }}
[models.up]
routing = ["up"]
providers.up = {{ type = "openai", model_name = "m", api_base = "{upstream}", api_key_location = "none" }}

[functions.chat]
type = "chat"
variants.v = {{ type = "chat_completion", model = "echo" }}
[functions.json]
type = "json"
variants.v = {{ type = "chat_completion", model = "echo", json_mode = "on" }}
"""


def said(*content: Any, **more: Any) -> dict[str, Any]:
    """A body of ``POST /inference`` with one message; not recorded, so that nothing of it has to stay."""
    return {
        "function_name": "chat",
        "dryrun": True,
        "input": {"messages": [{"role": "user", "content": list(content)}]},
        **more,
    }


HELLO = {"type": "text", "text": "hello"}


class Target:
    """A gateway, and what each attack on it may cost; what it has been through before does not count."""

    def __init__(self, served: Any) -> None:
        self.url = served.url
        self.http = httpx.Client(base_url=served.url, timeout=30)
        self._process = Path(f"/proc/{served.process.pid}")
        self._log = served.log
        self._logged_before = len(self._log.read_text())
        for _ in range(20):
            self.is_well()
        (self._process / "clear_refs").write_text("5")  # VmHWM begins again
        self._before = self.memory_mib("VmRSS")

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.http.post(path, content=content, headers=headers)

    def is_well(self) -> None:
        """Another caller gets an answer in normal time."""
        begun = time.monotonic()
        reply = self.post("/inference", said(HELLO))
        assert reply.status_code == 200, reply.text
        assert time.monotonic() - begun < NORMAL_S

    @contextmanager
    def attacked(self, name: object) -> Iterator[None]:
        """Do it inside; afterwards all has to be as before."""
        yield
        self.is_well()
        assert self.memory_mib("VmRSS") - self._before < KEPT_MIB, name
        log = self._log.read_text()[self._logged_before :]
        assert "Internal error" not in log, name
        assert "Traceback" not in log, name

    def memory_mib(self, field: str) -> float:
        """``VmRSS`` now, or ``VmHWM`` at its highest."""
        [line] = [line for line in (self._process / "status").read_text().splitlines() if line.startswith(f"{field}:")]
        return int(line.split()[1]) / 1024


@contextmanager
def trap() -> Iterator[int]:
    """A port of this machine that nobody may connect to."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server.getsockname()[1]
        with pytest.raises(BlockingIOError):
            server.accept()


def raw(url: str, *parts: bytes, shut: bool = False, timeout: float = 30) -> bytes:
    """What a server says to these bytes until it closes, or until nothing comes any more."""
    parts_ = urlsplit(url)
    told = b""
    with closing(socket.create_connection((parts_.hostname, parts_.port), timeout=timeout)) as wire:
        try:
            for part in parts:
                wire.sendall(part)
            if shut:
                wire.shutdown(socket.SHUT_WR)
            while chunk := wire.recv(65536):
                told += chunk
                if b"\r\n\r\n" in told and b"}" in told:
                    break
        except OSError:  # it hung up, or has nothing to say
            pass
    return told
