"""One gateway of dummy models for journeys with the official clients, and the server process that runs it."""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeAlias, cast
from uuid import UUID

import anyio
import httpx
import tensorzero as tz

# `call(method, **arguments)`.
Call: TypeAlias = Callable[..., Any]

READY = "headrace is listening on "
# Literal values of the dummy provider, as clients see them.
SENTENCE = (
    "Megumin gleefully chanted her spell, unleashing a thunderous explosion that lit up the sky "
    "and left a massive crater in its wake."
)
STREAMED = "Wally, the golden retriever, wagged his tail excitedly as he devoured a slice of cheese pizza."
ALTERNATE = "Megumin chanted her spell, but instead of an explosion, a gentle rain began to fall."
WEATHER = {"location": "Brooklyn", "units": "celsius"}

# The smallest picture: one black pixel.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
PNG_BASE64 = base64.b64encode(PNG).decode()

TEMPERATURE = {
    "type": "object",
    "properties": {"location": {"type": "string"}, "units": {"type": "string", "enum": ["fahrenheit", "celsius"]}},
    "required": ["location"],
    "additionalProperties": False,
}
ANSWER = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
    "additionalProperties": False,
}
TOPIC = {
    "type": "object",
    "properties": {"topic": {"type": "string"}},
    "required": ["topic"],
    "additionalProperties": False,
}
FILES = {
    "temperature.json": json.dumps(TEMPERATURE),
    "answer.json": json.dumps(ANSWER),
    "topic.json": json.dumps(TOPIC),
    "topic.minijinja": "Tell me about {{ topic }}.",
}

_TABLES = """
[gateway.observability]
backend = "sqlite"
async_writes = false

[sqlite]
path = "records.db"

[object_storage]
type = "filesystem"
path = "."

[headrace.files]
allow_private_addresses = true

[models.keyed]
routing = ["dummy"]
[models.keyed.providers.dummy]
type = "dummy"
model_name = "test_key"
api_key_location = "dynamic::KEY"

[models.flaky]
routing = ["first", "second"]
[models.flaky.providers.first]
type = "dummy"
model_name = "error"
[models.flaky.providers.second]
type = "dummy"
model_name = "good"

[models.guarded]
routing = ["dummy"]
namespace = "blue"
[models.guarded.providers.dummy]
type = "dummy"
model_name = "good"

[embedding_models.zeros]
routing = ["dummy"]
[embedding_models.zeros.providers.dummy]
type = "dummy"
model_name = "zeros"

[embedding_models.vectors]
routing = ["echo"]
[embedding_models.vectors.providers.echo]
type = "echo"

[models.parrot]
routing = ["echo"]
[models.parrot.providers.echo]
type = "echo"

[metrics.solved]
type = "boolean"
optimize = "max"
level = "inference"

[metrics.grade]
type = "float"
optimize = "max"
level = "episode"

[tools.get_temperature]
description = "Tell the temperature of a place"
parameters = "temperature.json"

[functions.chat]
type = "chat"

[functions.weather]
type = "chat"
tools = ["get_temperature"]

[functions.extract]
type = "json"
output_schema = "answer.json"

[functions.about]
type = "chat"
schemas.topic.path = "topic.json"
[functions.about.variants.templated]
type = "chat_completion"
model = "dummy::echo_request_messages"
templates.topic.path = "topic.minijinja"

[functions.chosen]
type = "chat"
[functions.chosen.variants.plain]
type = "chat_completion"
model = "dummy::good"
[functions.chosen.variants.other]
type = "chat_completion"
model = "dummy::alternate"
[functions.chosen.variants.best]
type = "experimental_best_of_n_sampling"
candidates = ["plain", "other"]
[functions.chosen.variants.best.evaluator]
model = "dummy::best_of_n_1"
[functions.chosen.experimentation]
type = "static"
candidate_variants = ["best"]

[functions.again]
type = "chat"
[functions.again.variants.retried]
type = "chat_completion"
model = "dummy::flaky_again"
retries = { num_retries = 2, max_delay_s = 0.1 }
"""


def _variants(function: str, more: str = "", **models: str) -> str:
    head = f"[functions.{function}.experimentation]\ntype = 'static'\ncandidate_variants = ['{next(iter(models))}']\n"
    return head + "".join(
        f'[functions.{function}.variants.{name}]\ntype = "chat_completion"\nmodel = "{model}"\n{more}'
        for name, model in models.items()
    )


# Of each function the first variant is drawn; the others have to be pinned.
TOML = "\n".join(
    [
        _TABLES,
        _variants(
            "chat",
            plain="dummy::good",
            asked="dummy::echo_request_messages",
            extra="dummy::echo_injected_data",
            thinker="dummy::reasoner",
            signer="dummy::reasoner_with_signature",
            files="dummy::extract_images",
            keyed="keyed",
            fallen="flaky",
            broken="dummy::error",
            late="dummy::err_in_stream",
            repeats="dummy::echo",
            json="dummy::json",
        ),
        _variants("weather", calls="dummy::tool", wrong="dummy::bad_tool", broken="dummy::invalid_tool_arguments"),
        _variants("extract", 'json_mode = "on"\n', right="dummy::json", off="dummy::json_diff_schema"),
    ]
)


@dataclass
class Gateway:
    """A running ``headrace serve`` and the folder it keeps its records in."""

    url: str
    folder: Path

    def get(self, path: str, **query: Any) -> Any:
        """What a GET of this path says, decoded."""
        reply = httpx.get(f"{self.url}{path}", params=query, timeout=30)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def has_inference(self, id_: UUID | str) -> bool:
        """Whether this inference is recorded."""
        return "inference" in self._kinds(id_)

    def has_feedback(self, id_: UUID | str) -> bool:
        """Whether this feedback is recorded, of whatever kind."""
        return any(kind.endswith("_feedback") for kind in self._kinds(id_))

    def _kinds(self, id_: UUID | str) -> list[str]:
        return [one["type"] for one in self.get(f"/internal/resolve_uuid/{id_}")["object_types"]]

    def row(self, id_: UUID | str, *columns: str) -> Any:
        """These columns of the record of an inference in SQLite, past the gateway; one alone comes without a tuple."""
        wanted = ", ".join(columns) or "id"
        with closing(sqlite3.connect(self.folder / "records.db")) as database:
            found = database.execute(f"SELECT {wanted} FROM inference WHERE id = ?", (UUID(str(id_)).bytes,)).fetchone()
        return found if found is None or len(columns) > 1 else found[0]


@contextmanager
def serving(
    folder: Path, toml: str = TOML, files: Mapping[str, str] = FILES, *, backend: str = "sqlite", **environment: str
) -> Iterator[Gateway]:
    """``headrace serve`` in a folder of its own, until the end of the block. A database's URL is in ``environment``."""
    toml = toml.replace('backend = "sqlite"', f'backend = "{backend}"')
    for name, text in {**files, "headrace.toml": toml}.items():
        (folder / name).write_text(text)
    headrace = str(Path(sys.executable).with_name("headrace"))
    log = folder / "headrace.log"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [headrace, "serve", "--config", "headrace.toml", "--bind-address", "127.0.0.1:0"],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=os.environ | environment,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            line = next((line for line in process.stdout if line.startswith(READY)), "")
            assert line, log.read_text()
            yield Gateway(line.removeprefix(READY).strip(), folder)
        finally:
            process.terminate()
            process.wait(30)


def calling(url: str, kind: str) -> Call:
    """The `sync` or the `async` client of TensorZero behind one way to call it; what streams comes as a list.

    One client serves all calls, since to build one takes longer than most calls do; closing one does nothing.
    """

    async def build() -> Any:
        return await cast(Any, tz.AsyncTensorZeroGateway.build_http(gateway_url=url, timeout=30))

    is_sync = kind == "sync"
    client = tz.TensorZeroGateway.build_http(gateway_url=url, timeout=30) if is_sync else anyio.run(build)

    def sync(method: str, **arguments: Any) -> Any:
        found = attrgetter(method)(client)(**arguments)
        return list(found) if arguments.get("stream") else found

    async def async_(method: str, arguments: dict[str, Any]) -> Any:
        found = await attrgetter(method)(client)(**arguments)
        return [chunk async for chunk in found] if arguments.get("stream") else found

    return sync if is_sync else lambda method, **arguments: anyio.run(async_, method, arguments)


def eventually(condition: Callable[[], bool], within_s: float = 10) -> bool:
    """Whether this becomes true in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
