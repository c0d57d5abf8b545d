"""The real thing: SmolLM2 and MiniLM in llama.cpp. Run ``headrace models pull smollm2-135m minilm`` once for these."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path

import anyio
import pytest
from headrace.conformance.provider import CALL_TOOL, asking
from headrace.conformance.script import services
from headrace.errors import ConfigError, ProviderError
from headrace.http.outgoing import HttpxTransport
from headrace.types import EmbeddingRequest, Params, Text, TextDelta
from headrace_llamacpp import LlamaCpp, Settings, weights

# What the model says is the same on either event loop; on trio, these begin, end, stream and do not hold the loop up.
LOOP_MATTERS = pytest.mark.trio_cases(1)
pytestmark = [
    pytest.mark.anyio,
    pytest.mark.trio_cases(0),
    pytest.mark.model,
    pytest.mark.skipif(
        not all(weights.path(name).exists() for name in weights.KNOWN),
        reason="weights are not pulled: headrace models pull smollm2-135m minilm",
    ),
]
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")

GREEDY = Params(temperature=0, seed=1, max_tokens=16)
CAPITAL = asking("What is the capital of France?", params=GREEDY)
HELLO = EmbeddingRequest(input="hello")
LABELS = ["billing", "bug", "account"]
SCHEMA = {
    "type": "object",
    "properties": {"label": {"type": "string", "enum": LABELS}},
    "required": ["label"],
    "additionalProperties": False,
}


@asynccontextmanager
async def running(model: str, *, startup_timeout_s: float = 60) -> AsyncGenerator[LlamaCpp, None]:
    settings = Settings(model=model, n_ctx=1024, startup_timeout_s=startup_timeout_s)
    async with HttpxTransport() as transport, LlamaCpp(settings, services(transport)) as provider:
        yield provider


@pytest.fixture
async def smollm2() -> AsyncGenerator[LlamaCpp, None]:
    async with running("smollm2-135m") as provider:
        yield provider


def children() -> set[int]:
    """The processes that this one has started, whichever thread did it."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # a thread may end while we look
            found |= {int(pid) for pid in (task / "children").read_text().split()}
    return found


def is_running(pid: int) -> bool:
    """Whether there is such a process that has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def kill(pid: int) -> None:
    """Kill a child of ours, and return when it has ended but nobody has been told."""
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


async def test_answers_the_same_to_the_same_question(smollm2: LlamaCpp) -> None:
    first, again = await smollm2.complete(CAPITAL), await smollm2.complete(CAPITAL)
    (text,) = first.output
    assert isinstance(text, Text)
    assert text.text
    assert again.output == first.output
    assert first.usage.input_tokens
    assert first.usage.output_tokens
    assert again.usage.provider_cache_read_input_tokens  # the prompt was still in a slot
    assert json.loads(first.raw_request)["messages"]
    assert json.loads(first.raw_response)["choices"]


@LOOP_MATTERS
async def test_streams_the_same_text_with_its_usage(smollm2: LlamaCpp) -> None:
    whole = await smollm2.complete(CAPITAL)
    async with aclosing(smollm2.stream(CAPITAL)) as stream:
        chunks = [chunk async for chunk in stream]
    deltas = [delta for chunk in chunks for delta in chunk.content if isinstance(delta, TextDelta)]
    assert (Text("".join(delta.text for delta in deltas)),) == whole.output
    assert len(deltas) > 1
    usage = chunks[-1].usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (whole.usage.input_tokens, whole.usage.output_tokens)


async def test_a_schema_constrains_the_answer(smollm2: LlamaCpp) -> None:
    """Nothing asks for JSON or for these labels, and at this temperature the model would say anything."""
    wild = Params(temperature=2.0, seed=1, max_tokens=60)
    request = asking("Tell me a story.", params=wild, json_mode="strict", output_schema=SCHEMA, function_type="json")
    (text,) = (await smollm2.complete(request)).output
    assert isinstance(text, Text)
    answer = json.loads(text.text)
    assert list(answer) == ["label"]
    assert answer["label"] in LABELS


async def test_tools_that_the_model_would_never_see_are_refused() -> None:
    async with running("minilm") as provider:
        with pytest.raises(ProviderError, match="chat template knows no tools") as caught:
            await provider.complete(CALL_TOOL)
    assert caught.value.at_fault == "client"


async def test_embeds_what_means_the_same_close_together() -> None:
    texts = EmbeddingRequest(input=["reset my password", "forgot my login", "weather in paris"])
    async with running("minilm") as minilm:
        response = await minilm.embed(texts)
        with pytest.raises(ProviderError):
            await minilm.complete(CAPITAL)
    password, login, weather = response.embeddings
    assert [len(vector) for vector in response.embeddings] == [384] * 3
    assert math.isclose(math.hypot(*password), 1, abs_tol=1e-4)
    assert _dot(password, login) > 0.6 > 0.2 > _dot(password, weather)
    assert response.usage.input_tokens == 16


@LOOP_MATTERS
async def test_the_loop_goes_on_while_the_model_thinks(smollm2: LlamaCpp) -> None:
    gaps: list[float] = []

    async def tick() -> None:
        last = time.perf_counter()
        while True:
            await anyio.sleep(0.005)
            now = time.perf_counter()
            gaps.append(now - last)
            last = now

    async with anyio.create_task_group() as group:
        group.start_soon(tick)
        began = time.perf_counter()
        await smollm2.complete(asking("Tell me a story.", params=Params(max_tokens=40, temperature=0)))
        took = time.perf_counter() - began
        group.cancel_scope.cancel()
    assert len(gaps) > 5
    assert max(gaps) < took / 2


@on_linux
@LOOP_MATTERS
async def test_leaving_ends_the_child() -> None:
    before = children()
    async with running("minilm") as provider:
        (pid,) = children() - before
        assert is_running(pid)
    assert not is_running(pid)
    assert children() == before
    with pytest.raises(ProviderError, match="has been left"):
        await provider.embed(HELLO)


@on_linux
@LOOP_MATTERS
async def test_a_killed_child_is_started_again_by_the_next_request() -> None:
    before = children()
    async with running("minilm") as provider:
        (pid,) = children() - before
        kill(pid)
        assert (await provider.embed(HELLO)).embeddings
        (other,) = children() - before
        assert other != pid
    assert children() == before


@on_linux
async def test_a_child_that_dies_at_work_is_told_as_the_reason() -> None:
    before = children()
    async with running("smollm2-135m") as provider:
        (pid,) = children() - before
        with pytest.raises(ProviderError, match=r"llama\.cpp died: ") as caught:
            async with aclosing(provider.stream(asking("Tell me a story.", params=Params(max_tokens=400)))) as stream:
                async for _ in stream:
                    os.kill(pid, signal.SIGKILL)
        assert caught.value.raw_request


@on_linux
async def test_a_start_that_takes_too_long_leaves_no_child() -> None:
    before = children()
    with pytest.raises(ConfigError, match=r"no answer after 0\.001 s; raise startup_timeout_s"):
        async with running("minilm", startup_timeout_s=0.001):
            raise AssertionError("it was entered")
    assert children() == before


@on_linux
@LOOP_MATTERS
async def test_a_cancelled_start_leaves_no_child() -> None:
    before = children()
    with anyio.move_on_after(0.05) as scope:
        async with running("minilm"):
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert children() == before


GATEWAY = """
import anyio
from headrace.conformance.script import Script, services
from headrace_llamacpp import LlamaCpp, Settings

async def main():
    async with LlamaCpp(Settings(model="minilm"), services(Script())):
        print("up", flush=True)
        await anyio.sleep_forever()

anyio.run(main)
"""


@on_linux
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["kill", "term"])
def test_the_child_dies_with_a_gateway_that_is_killed(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", GATEWAY], stdout=subprocess.PIPE) as gateway:
        assert gateway.stdout
        assert gateway.stdout.readline() == b"up\n"
        (pid,) = (int(word) for word in Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children").read_text().split())
        assert is_running(pid)
        gateway.send_signal(number)
        gateway.wait()
    deadline = time.monotonic() + 10
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_running(pid)


def _dot(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))
