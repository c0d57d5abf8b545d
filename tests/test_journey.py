"""Journeys through a real server process, mostly with the official OpenAI SDK."""

from __future__ import annotations

import json
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import openai
import pytest

ECHO = """
[gateway.observability]
backend = "sqlite"

[sqlite]
path = "records.db"

[models.echo]
routing = ["echo"]
[models.echo.providers.echo]
type = "echo"

[models.slow]
routing = ["echo"]
[models.slow.providers.echo]
type = "echo"
delay_ms = 1000

[embedding_models.echo]
routing = ["echo"]
[embedding_models.echo.providers.echo]
type = "echo"

[functions.say]
type = "chat"
[functions.say.variants.plain]
type = "chat_completion"
model = "echo"
"""

SAY = "tensorzero::function_name::say"


def sdk(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/openai/v1", api_key="none needed", max_retries=0)


def post(url: str, path: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(url + path, json.dumps(body).encode(), method="POST")
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.load(reply)


def ask(text: str = "hello", model: str = "echo") -> dict[str, Any]:
    return {"model_name": model, "input": {"messages": [{"role": "user", "content": text}]}}


def stored(path: Path) -> set[UUID]:
    """The ids of the inferences in a database."""
    with closing(sqlite3.connect(path)) as database:
        return {UUID(bytes=row[0]) for row in database.execute("SELECT id FROM inference")}


def eventually(condition: Callable[[], bool], within_s: float = 10) -> bool:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


# -- with the official SDK --------------------------------------------------------------------------------


def test_the_openai_sdk_chats_streams_embeds_and_calls_tools(serve: Any) -> None:
    with serve(ECHO) as served, sdk(served.url) as client:
        hello: Any = [{"role": "user", "content": "hello there"}]
        plain = client.chat.completions.create(model=SAY, messages=hello)
        assert plain.choices[0].message.content == "hello there"
        assert plain.usage is not None
        assert plain.usage.completion_tokens == 2

        with client.chat.completions.create(
            model=SAY, messages=hello, stream=True, stream_options={"include_usage": True}
        ) as stream:
            chunks = list(stream)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "hello there"
        assert chunks[-1].usage is not None
        assert chunks[-1].choices[0].finish_reason == "stop"

        vectors = client.embeddings.create(model="tensorzero::embedding_model_name::echo", input=["a", "b"])
        assert [len(item.embedding) for item in vectors.data] == [16, 16]

        tool: Any = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
        called = client.chat.completions.create(
            model=SAY, messages=[{"role": "user", "content": 'call add {"a": 1}'}], tools=[tool]
        )
        assert called.choices[0].finish_reason == "tool_calls"
        [call] = called.choices[0].message.tool_calls or []
        assert call.type == "function"
        assert (call.function.name, call.function.arguments) == ("add", '{"a": 1}')

        with pytest.raises(openai.NotFoundError, match="Unknown function: nope"):
            client.chat.completions.create(model="tensorzero::function_name::nope", messages=hello)
        with pytest.raises(openai.BadRequestError, match="`model` field must start with"):
            client.chat.completions.create(model="gpt-4o", messages=hello)


def test_a_gateway_is_an_upstream_like_any_other(serve: Any) -> None:
    with serve(ECHO, name="upstream") as upstream:
        front = f"""
[gateway.observability]
enabled = false
[models.chained]
routing = ["gone", "next"]
[models.chained.providers.gone]
type = "openai"
model_name = "x"
api_base = "http://127.0.0.1:9/v1"
api_key_location = "none"
[models.chained.providers.next]
type = "openai"
model_name = "tensorzero::model_name::echo"
api_base = "{upstream.url}/openai/v1"
api_key_location = "dynamic::key"
"""
        with serve(front, name="front") as served, sdk(served.url) as client:
            body: Any = {"tensorzero::credentials": {"key": "sk-test"}}
            name, hello = "tensorzero::model_name::chained", "hello over there"
            plain = client.chat.completions.create(
                model=name, messages=[{"role": "user", "content": hello}], extra_body=body
            )
            assert plain.choices[0].message.content == hello
            with client.chat.completions.create(
                model=name, messages=[{"role": "user", "content": hello}], stream=True, extra_body=body
            ) as stream:
                assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == hello
            with pytest.raises(openai.APIStatusError, match="Dynamic api key `key` is missing") as caught:
                client.chat.completions.create(model=name, messages=[{"role": "user", "content": hello}])
            assert caught.value.status_code == 502


# -- durability -------------------------------------------------------------------------------------------


def test_after_kill_9_every_reported_record_is_there(serve: Any, tmp_path: Path) -> None:
    reported: list[UUID] = []
    synchronous = ECHO.replace('backend = "sqlite"', 'backend = "sqlite"\nasync_writes = false')
    with serve(synchronous) as served:

        def keep_asking() -> None:
            try:
                while True:
                    reported.append(UUID(post(served.url, "/inference", ask())["inference_id"]))
            except (OSError, ValueError):
                return

        threads = [threading.Thread(target=keep_asking) for _ in range(4)]
        for thread in threads:
            thread.start()
        assert eventually(lambda: len(reported) >= 40)
        served.stop(signal.SIGKILL)
        for thread in threads:
            thread.join(10)
    assert set(reported) <= stored(tmp_path / "records.db")
    with serve(synchronous) as again:
        post(again.url, "/feedback", {"metric_name": "comment", "value": "x", "inference_id": str(reported[0])})


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_stop_finishes_what_is_under_way_and_writes_what_is_queued(serve: Any, tmp_path: Path, workers: str) -> None:
    with serve(ECHO, "--workers", workers) as served, ThreadPoolExecutor() as pool:
        assert eventually(lambda: bool(post(served.url, "/inference", {**ask(), "dryrun": True})))
        answer = pool.submit(post, served.url, "/inference", ask(model="slow"))
        time.sleep(0.4)
        assert served.stop() == 0
        id_ = UUID(answer.result()["inference_id"])
        assert not re.search("WARNING|ERROR|Traceback", served.log.read_text())
    assert stored(tmp_path / "records.db") == {id_}


def test_a_client_that_goes_away_does_not_take_the_record_with_it(serve: Any, tmp_path: Path) -> None:
    with serve(ECHO) as served:
        host, port = served.url.removeprefix("http://").split(":")
        body = json.dumps({**ask("a b c", "slow"), "stream": True}).encode()
        with socket.create_connection((host, int(port))) as raw:
            raw.sendall(b"POST /inference HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
            time.sleep(0.3)
        assert eventually(lambda: len(stored(tmp_path / "records.db")) == 1)


# -- servers ----------------------------------------------------------------------------------------------


def children(of: int) -> list[int]:
    """The processes that a process has started."""
    return [int(number) for number in Path(f"/proc/{of}/task/{of}/children").read_text().split()]


def test_several_workers_share_a_port_and_a_database(serve: Any, tmp_path: Path) -> None:
    with serve(ECHO, "--workers", "2") as served:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: post(served.url, "/inference", ask()), range(40)))
        ids = {UUID(answer["inference_id"]) for answer in answers}
        assert eventually(lambda: stored(tmp_path / "records.db") == ids)
        assert len(children(served.process.pid)) == 2
        assert served.stop() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the workers in /proc")
def test_workers_do_not_outlive_their_parent(serve: Any) -> None:
    with serve(ECHO, "--workers", "2") as served:
        assert eventually(lambda: len(children(served.process.pid)) == 2)
        workers = children(served.process.pid)
        post(served.url, "/inference", ask())
        served.stop(signal.SIGKILL)
        assert eventually(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))


@pytest.mark.parametrize("worker_class", ["asyncio", "trio"])
def test_hypercorn_serves_the_app_factory(tmp_path: Path, worker_class: str) -> None:
    (tmp_path / "headrace.toml").write_text(ECHO + '\n[headrace.transport]\ntype = "httpx"\n')
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "hypercorn", "headrace.asgi:create_app()", "--bind", f"127.0.0.1:{port}"]
    with subprocess.Popen(
        [*command, "--worker-class", worker_class],
        cwd=tmp_path,
        env={"HEADRACE_CONFIG_FILE": "headrace.toml", "PATH": ""},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:

            def answers() -> bool:
                try:
                    return bool(post(f"http://127.0.0.1:{port}", "/inference", ask())["content"])
                except OSError:
                    return False

            assert eventually(answers, within_s=20)
        finally:
            process.terminate()
            _, errors = process.communicate(timeout=20)
    assert "Traceback" not in errors


# -- bad starts -------------------------------------------------------------------------------------------


def start(folder: Path, toml: str | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    if toml is not None:
        (folder / "headrace.toml").write_text(toml)
    command = [str(Path(sys.executable).with_name("headrace")), "serve", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


MODEL = '[models.m]\nrouting = ["p"]\n[models.m.providers.p]\n'


@pytest.mark.parametrize(
    ("toml", "fragment"),
    [
        ("[gateway]\nnope = 1", "gateway.nope: unknown key"),
        ("[nope]\nx = 1", "nope: unknown table (stores installed: "),
        ("x = ", "headrace.toml: not valid TOML"),
        (MODEL + 'type = "nope"', 'models.m.providers.p.type = "nope" is not an installed type (providers: '),
        (MODEL + 'type = "echo"\nnope = 1', "models.m.providers.p.nope: unknown key"),
        (
            MODEL + 'type = "openai"\nmodel_name = "x"\napi_key_location = "env::NO_SUCH_KEY"',
            "models.m.providers.p: API key missing for provider OpenAI: Environment variable `NO_SUCH_KEY` is missing",
        ),
        (
            '[functions.f]\ntype = "chat"\nuser_schema = "nope.json"\n[functions.f.variants.v]\ntype = "x"',
            "`functions.f.user_schema`: Failed to resolve path `nope.json`",
        ),
        (
            '[functions.f]\ntype = "chat"\n[functions.f.variants.v]\ntype = "chat_completion"\nmodel = "nope"',
            "functions.f.variants.v: Model name 'nope' not found in model table",
        ),
        (MODEL + 'type = "llamacpp"\npath = "corrupt.gguf"', "corrupt.gguf"),
        ('[sqlite]\npath = "no/such/folder/x.db"', "no/such/folder"),
        ('[sqlite]\npath = "corrupt.gguf"', "corrupt.gguf"),
    ],
    ids=lambda value: value[:40].replace("\n", " "),
)
def test_a_bad_configuration_is_one_line_to_act_on(tmp_path: Path, toml: str, fragment: str) -> None:
    (tmp_path / "corrupt.gguf").write_bytes(b"GGUF" + bytes(range(256)) * 8)
    done = start(tmp_path, toml, "--config", "headrace.toml", "--bind-address", "127.0.0.1:0")
    [line] = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (1, "")
    assert line.startswith("headrace: error: ")
    assert fragment in line


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    toml = MODEL + 'type = "nope"\n[functions.f]\ntype = "chat"\n[functions.f.variants.v]\ntype = "what"\n'
    done = start(tmp_path, toml, "--config", "headrace.toml")
    assert len(done.stderr.splitlines()) == 2


def told(stderr: str) -> str:
    """The one line that is not a warning, which the default configuration may bring."""
    [line] = [line for line in stderr.splitlines() if " WARNING " not in line]
    return line


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        ((), "You must specify either --config-file or --default-config."),
        (("--config", "x", "--default-config"), "You must not specify both"),
        (("--config", "nope.toml"), "No files matched the glob pattern."),
        (("--default-config", "--bind-address", "nonsense"), "is not of the form IP:PORT"),
    ],
    ids=["nothing", "both", "missing", "address"],
)
def test_bad_arguments_are_one_line_to_act_on(tmp_path: Path, arguments: tuple[str, ...], fragment: str) -> None:
    done = start(tmp_path, None, *arguments)
    assert done.returncode == 1
    assert fragment in told(done.stderr)


def test_a_port_in_use_is_told(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = start(tmp_path, None, "--default-config", "--bind-address", address)
    assert done.returncode == 1
    assert f"cannot listen on {address}: Address already in use" in told(done.stderr)


def test_errors_at_run_time_leave_the_server_serving(serve: Any) -> None:
    with serve(ECHO.replace('path = "records.db"', 'path = "records.db"\n[headrace]\nmax_body_bytes = 2000')) as served:
        for body, status in ((b"{", 400), (b"[1]", 400), (b" " * 3000, 400), (b'{"function_name": "nope"}', 400)):
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(f"{served.url}/inference", body, timeout=10)
            with caught.value as reply:
                assert reply.status == status
                assert list(json.load(reply)) == ["error"]
        assert post(served.url, "/inference", ask())["content"][0]["text"] == "hello"
        assert "Traceback" not in served.log.read_text()
