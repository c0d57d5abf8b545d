"""The gateways that are measured beside each other: ours in several forms, a bare app, and peers that are installed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import processes
from load import post
from store_engines import Engine, engine

SERVERS = ("hypercorn", "uvicorn", "granian")
STORES = ("off", "sqlite", "postgres", "clickhouse")
CASES = {"chat": b'"choices"', "stream": b"[DONE]"}  # and what a right answer holds
_HERE = Path(__file__).parent
_HEADRACE = str(Path(sys.executable).with_name("headrace"))
_STARTS_WITHIN_S = 120
CORE, OTHERS = processes.cores()  # of what is measured; of load, upstream and databases

_SCHEMA = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {"topic": {"type": "string"}, "lines": {"type": "integer", "minimum": 1}},
    "required": ["topic", "lines"],
    "additionalProperties": False,
}
_SYSTEM = "You are a helpful assistant."
_USER = "Write {{ lines }} lines about {{ topic }}, please."
_ARGUMENTS = {"topic": "the sea", "lines": 3}
_TEXT = "Write 3 lines about the sea, please."

# The function of ours and of TensorZero's configuration.
FUNCTION = """
[models.mock]
routing = ["mock"]
[models.mock.providers.mock]
type = "openai"
model_name = "mock"
api_base = "{upstream}/"
api_key_location = "none"

[functions.say]
type = "chat"
user_schema = "user_schema.json"
[functions.say.variants.only]
type = "chat_completion"
model = "mock"
system_template = "system.minijinja"
user_template = "user.minijinja"
"""
_OURS = """
[gateway.observability]
enabled = {stores}
{backend}
[gateway.auth]
enabled = {stores}
{table}
"""
_PEER_TENSORZERO = """
import signal, sys
from tensorzero import _start_http_gateway
gateway = _start_http_gateway(
    config_file=sys.argv[1], clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False
)
open(sys.argv[2], "w").write(gateway.base_url)
signal.pause()
"""
_LITELLM = """
model_list:
  - model_name: mock
    litellm_params: {{model: openai/mock, api_base: "{upstream}", api_key: none}}
litellm_settings:
  telemetry: false
  num_retries: 0
"""
# It is asked on this machine alone, tells nobody, and takes its list of prices from its own package.
_LITELLM_ENVIRONMENT = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOG": "ERROR",
    "LITELLM_TELEMETRY": "False",
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
    "NO_DOCS": "True",
}


@dataclass
class Target:
    """Something that answers the load: where, to what, and whose CPU time that takes."""

    name: str
    url: str
    requests: dict[str, bytes]
    pids: tuple[int, ...]
    database: Path | None = None  # the folder that its database's processes name
    version: str = ""

    def helpers(self) -> set[int]:
        """The processes of its database."""
        return processes.naming(self.database) if self.database else set()


def write_function(folder: Path, text: str) -> Path:
    """A configuration with the function's files beside it."""
    (folder / "user_schema.json").write_text(json.dumps(_SCHEMA))
    (folder / "system.minijinja").write_text(_SYSTEM)
    (folder / "user.minijinja").write_text(_USER)
    file = folder / "headrace.toml"
    file.write_text(text)
    return file


def body(case: str, *, model: str, content: Any) -> bytes:
    """A request in OpenAI's dialect."""
    said: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": content}]}
    if case == "stream":
        said |= {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(said).encode()


def function_body(case: str) -> bytes:
    """The same for a function, with arguments for its template."""
    block = {"type": "tensorzero::template", "name": "user", "arguments": _ARGUMENTS}
    return body(case, model="tensorzero::function_name::say", content=[block])


@contextmanager
def process(
    command: list[str],
    folder: Path,
    name: str,
    *,
    cores: set[int] = CORE,
    is_read: bool = False,
    env: dict[str, str] | None = None,
) -> Iterator[subprocess.Popen[str]]:
    """A process on some cores; killed in the end, with its children. What it prints is read, or goes to its log."""
    with (folder / f"{name}.log").open("w") as log:
        started = subprocess.Popen(
            command,
            cwd=folder,
            stdout=subprocess.PIPE if is_read else log,
            stderr=log,
            text=True,
            env=os.environ | (env or {}),
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
    try:
        yield started
    except RuntimeError as error:
        raise RuntimeError(f"{error}; its log ends with: {(folder / f'{name}.log').read_text()[-500:]}") from None
    finally:
        for pid in processes.families([started.pid]):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        started.communicate(timeout=30)


def line_with(started: subprocess.Popen[str], words: str) -> str:
    """What a process prints after these words. Raise RuntimeError if it ends without."""
    assert started.stdout is not None
    for line in started.stdout:
        if words in line:
            return line.split(words)[1].strip()
    raise RuntimeError(f"{started.args!r:.200} ended with {started.wait(10)}")


@contextmanager
def upstream(folder: Path) -> Iterator[tuple[str, int]]:
    """The upstream of all: its URL, and its process."""
    command = [sys.executable, str(_HERE / "upstream.py")]
    with process(command, folder, "upstream", cores=OTHERS, is_read=True) as started:
        yield f"http://127.0.0.1:{line_with(started, 'listening on ')}", started.pid


def direct(url: str, pid: int) -> Target:
    """No gateway at all."""
    asked = {case: post(f"{url}/v1/chat/completions", body(case, model="mock", content=_TEXT)) for case in CASES}
    return Target("direct", url, asked, (pid,))


@contextmanager
def bare(folder: Path) -> Iterator[Target]:
    """A Starlette app under uvicorn that calls nobody: the unit that CPU time is compared in from run to run."""
    options = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "bare:app", "--app-dir", str(_HERE), "--port", str(port), *options]
    with process(command, folder, "bare") as started:
        url = f"http://127.0.0.1:{port}"
        wait_for(started, lambda: _answers(f"{url}/"))
        asked = {case: post(f"{url}/", body(case, model="mock", content=_TEXT)) for case in CASES}
        yield Target("bare", url, asked, (started.pid,))


@contextmanager
def ours(name: str, upstream_url: str, folder: Path) -> Iterator[Target]:
    """``SERVER-STORE``. With a store there are keys as well: they are kept in it."""
    server, _, store = name.partition("-")
    with ExitStack() as stack:
        made: Engine | None = None if store == "off" else stack.enter_context(engine(store))
        backend = f'backend = "{store}"' if made else ""
        gateway = _OURS.format(stores=str(bool(made)).lower(), backend=backend, table=made.table if made else "")
        toml = write_function(folder, gateway + FUNCTION.format(upstream=f"{upstream_url}/v1"))
        headers = {}
        if made:
            headers["authorization"] = f"Bearer {key(toml)}"
        command = [*serve_command(toml), "--server", server]
        started = stack.enter_context(process(command, folder, "headrace", is_read=True))
        url = line_with(started, "listening on ")
        endpoint = f"{url}/openai/v1/chat/completions"
        asked = {case: post(endpoint, function_body(case), headers) for case in CASES}
        version = made.version if made else ""
        database = made.folder if made and store != "sqlite" else None
        yield Target(name, url, asked, (started.pid,), database, version)


def serve_command(toml: Path) -> list[str]:
    """A gateway of ours on a free port."""
    return [_HEADRACE, "serve", "--config", str(toml), "--bind-address", "127.0.0.1:0"]


def key(toml: Path) -> str:
    """A new API key."""
    command = [_HEADRACE, "keys", "create", "--config", str(toml)]
    done = subprocess.run(command, cwd=toml.parent, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"no key could be made: {done.stderr[-500:]}")
    return done.stdout.split()[0]


@contextmanager
def tensorzero(environment: Path, upstream_url: str, folder: Path) -> Iterator[Target]:
    """TensorZero's own HTTP server out of its wheel, with the same function; it stores nothing and asks for no key."""
    observability = "[gateway.observability]\nenabled = false\n"
    toml = write_function(folder, observability + FUNCTION.format(upstream=f"{upstream_url}/v1"))
    ready, python = folder / "ready", str(environment / "bin" / "python")
    command = [python, "-c", _PEER_TENSORZERO, str(toml), str(ready)]
    with process(command, folder, "tensorzero") as started:
        wait_for(started, lambda: ready.exists() and ready.read_text().startswith("http"))
        url = ready.read_text()
        asked = {case: post(f"{url}/chat/completions", function_body(case)) for case in CASES}
        yield Target("tensorzero", url, asked, (started.pid,), version=installed(environment, "tensorzero"))


@contextmanager
def litellm(environment: Path, upstream_url: str, folder: Path) -> Iterator[Target]:
    """LiteLLM's proxy, one worker, without a database; it has no functions and gets the rendered text."""
    config, port = folder / "config.yaml", free_port()
    config.write_text(_LITELLM.format(upstream=f"{upstream_url}/v1"))
    program = str(environment / "bin" / "litellm")
    command = [program, "--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    path = f"{environment / 'bin'}:{os.environ.get('PATH', '')}"
    with process(command, folder, "litellm", env=_LITELLM_ENVIRONMENT | {"PATH": path}) as started:
        url = f"http://127.0.0.1:{port}"
        wait_for(started, lambda: _answers(f"{url}/health/liveliness"))
        asked = {case: post(f"{url}/v1/chat/completions", body(case, model="mock", content=_TEXT)) for case in CASES}
        yield Target("litellm", url, asked, (started.pid,), version=installed(environment, "litellm"))


PEERS: dict[str, tuple[str, Any]] = {"tensorzero": ("tz", tensorzero), "litellm": ("ll", litellm)}


def installed(environment: Path, distribution: str) -> str:
    """The version of a distribution in an environment."""
    ask = f"import importlib.metadata as m; print(m.version({distribution!r}))"
    command = [str(environment / "bin" / "python"), "-c", ask]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        port: int = made.getsockname()[1]
        return port


def wait_for(started: subprocess.Popen[str], is_ready: Callable[[], bool]) -> None:
    """Return when a process is ready. Raise RuntimeError if it ends or takes too long."""
    until = time.monotonic() + _STARTS_WITHIN_S
    while not is_ready():
        if started.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"{started.args!r:.100} did not start ({started.poll()})")
        time.sleep(0.1)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
