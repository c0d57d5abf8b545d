"""A real TensorZero gateway out of its wheel: it makes its tables, answers, and is told what was good."""

from __future__ import annotations

import importlib.util
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import tensorzero

HELPER = Path(__file__).parents[2] / "shared" / "bench" / "peer_tensorzero.py"

CONFIG = """
[gateway]
observability.enabled = true
observability.backend = "{backend}"
observability.async_writes = false
[models.m]
routing = ["p"]
[models.m.providers.p]
type = "openai"
model_name = "m"
api_base = "{url}/v1/"
api_key_location = "none"
cost = [{{ pointer = "/usage/prompt_tokens", cost_per_million = 0.15 }}]
[tools.weather]
description = "The weather"
parameters = "weather.json"
[functions.chat]
type = "chat"
tools = ["weather"]
[functions.chat.variants.v]
type = "chat_completion"
model = "m"
[functions.extract]
type = "json"
output_schema = "answer.json"
[functions.extract.variants.v]
type = "chat_completion"
model = "m"
json_mode = "on"
[metrics.liked]
type = "boolean"
optimize = "max"
level = "inference"
[metrics.grade]
type = "float"
optimize = "max"
level = "episode"
"""
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
ANSWER = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
OWN = {"name": "own", "description": "Mine", "parameters": {"type": "object"}, "strict": True}
ASKED = {
    "system": "be brief",
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "Ça va?\u2028\n"}, {"type": "raw_text", "value": "raw"}]},
        {
            "role": "assistant",
            "content": [{"type": "tool_call", "id": "1", "name": "weather", "arguments": {"city": "X"}}],
        },
        {"role": "user", "content": [{"type": "tool_result", "id": "1", "name": "weather", "result": "sun"}]},
    ],
}


@contextmanager
def model() -> Iterator[str]:
    """An OpenAI-compatible server: calls a tool where there is one, or else answers with JSON."""

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            message: dict[str, Any] = {"role": "assistant", "content": '{"a":"b"}'}
            if "tools" in body:
                call = {"name": "weather", "arguments": '{"city":"Rome"}'}
                message["tool_calls"] = [{"id": "c", "type": "function", "function": call}]
            reply = {
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
            }
            text = json.dumps({"id": "x", "object": "chat.completion", "created": 1, "model": "m", **reply}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        server.daemon_threads = True  # the gateway keeps its connections open
        server.block_on_close = False
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def lived(folder: Path, backend: str, **urls: str) -> dict[str, UUID]:
    """A gateway that migrates, answers and is told what was good; gives the ids that matter."""
    (folder / "weather.json").write_text(json.dumps(WEATHER))
    (folder / "answer.json").write_text(json.dumps(ANSWER))
    with model() as url:
        config = folder / "tensorzero.toml"
        config.write_text(CONFIG.format(backend=backend, url=url))
        with tensorzero.TensorZeroGateway.build_embedded(config_file=str(config), **urls) as gateway:  # type: ignore[arg-type]
            return used(gateway)


def used(gateway: Any) -> dict[str, UUID]:
    chat = gateway.inference(
        function_name="chat",
        input=ASKED,
        tags={"k": "v"},
        params={"chat_completion": {"temperature": 0.5}},
        additional_tools=[OWN],
        extra_body=[{"variant_name": "v", "pointer": "/x", "value": 1}],
    )
    plain = {"messages": [{"role": "user", "content": "plain"}]}
    gateway.inference(
        function_name="chat", input=plain, tool_choice="required", allowed_tools=["weather"], parallel_tool_calls=True
    )
    extracted = gateway.inference(function_name="extract", input=plain)
    gateway.inference(model_name="m", input=plain)
    gateway.feedback(metric_name="liked", value=True, inference_id=chat.inference_id, tags={"a": "b"})
    gateway.feedback(metric_name="grade", value=0.1, episode_id=chat.episode_id)
    gateway.feedback(metric_name="comment", value="nice", inference_id=chat.inference_id)
    gateway.feedback(metric_name="demonstration", value="better", inference_id=chat.inference_id)
    gateway.feedback(metric_name="demonstration", value={"a": "c"}, inference_id=extracted.inference_id)
    of_human = {"datapoint_id": str(chat.episode_id), "human_feedback": "true"}
    of_human["evaluator_inference_id"] = str(extracted.inference_id)
    tags = {f"tensorzero::{key}": value for key, value in of_human.items()}
    gateway.feedback(metric_name="liked", value=False, inference_id=chat.inference_id, tags=tags, internal=True)
    request: Any = tensorzero.CreateDatapointRequestChat
    wanted = request(
        function_name="chat", input=plain, output=[{"type": "text", "text": "o"}], tags={"x": "y"}, name="n"
    )
    made = gateway.create_datapoints(dataset_name="d", requests=[wanted]).ids
    ids = [str(chat.inference_id), str(extracted.inference_id)]
    of = tensorzero.CreateDatapointsFromInferenceRequestParamsInferenceIds(inference_ids=ids)
    made += gateway.create_datapoints_from_inferences(dataset_name="d", params=of).ids
    gateway.delete_datapoints(dataset_name="d", ids=[made[1]])
    run = gateway.workflow_evaluation_run(variants={"chat": "v"}, tags={"w": "1"}, project_name="p", display_name="dn")
    episode = gateway.workflow_evaluation_run_episode(run_id=run.run_id, task_name="task", tags={"e": "2"})
    gateway.inference(function_name="chat", episode_id=episode.episode_id, input=plain)
    return {
        "chat": chat.inference_id,
        "json": extracted.inference_id,
        "run": run.run_id,
        "episode": episode.episode_id,
        **{f"datapoint{number}": UUID(id_) for number, id_ in enumerate(made)},
    }


# What no gateway here comes to do is written into its tables by hand.
AT = "01900000-0000-7000-8000-00000000000"
BATCH = {"batch_id": f"{AT}1", "function_name": "extract", "variant_name": "v"}
BATCH |= {"model_name": "m", "model_provider_name": "p"}
HAND: dict[str, dict[str, Any]] = {
    "BatchRequest": {
        **BATCH,
        "id": f"{AT}2",
        "batch_params": '{"id": "b"}',
        "status": "completed",
        "errors": ["e"],
        "raw_request": "q",
        "raw_response": "r",
    },
    "BatchModelInference": {
        **BATCH,
        "inference_id": f"{AT}3",
        "episode_id": f"{AT}4",
        "input": '{"messages":[{"role":"user","content":[{"type":"text","value":"old"}]}]}',
        "input_messages": '[{"role":"user","content":[{"type":"text","text":"old"}]}]',
        "inference_params": '{"chat_completion":{"max_tokens":3}}',
        "raw_request": "q",
        "output_schema": '{"type":"object"}',
    },
    "DynamicInContextLearningExample": {
        "id": f"{AT}5",
        "function_name": "chat",
        "variant_name": "v",
        "namespace": "",
        "input": "{}",
        "output": "[]",
        "embedding": [1, 0.5],
    },
    "InferenceEvaluationRuns": {
        "run_id_uint": str(UUID(f"{AT}6").int),
        "evaluation_name": "e",
        "function_name": "chat",
        "function_type": "chat",
        "dataset_name": "d",
        "variant_names": ["v"],
        "metrics": '[{"name":"tensorzero::evaluation_name::e::evaluator_name::x","value_type":"float"}]',
        "source": "dataset_name",
        "snapshot_hash": "00ff",
        "created_at": "2026-01-02 03:04:05.678",
        "updated_at": "2026-01-02 03:04:05.678",
    },
}
BY_HAND = {"batch_request": 1, "batch_inference": 1, "example": 1, "evaluation_run": 1}


async def migrated(url: str) -> None:
    """The migrations out of the wheel, as the helper finds them; what its gateway would do, were it one on its own."""
    specification = importlib.util.spec_from_file_location("peer_tensorzero", HELPER)
    assert specification is not None and specification.loader is not None
    helper = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(helper)
    found = helper.migrations_in(next(Path(tensorzero.__file__).parent.glob("tensorzero*.so")))
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(helper.DURABLE_STUB)
        for extension in ("pg_trgm", "vector"):
            await connection.execute(f"CREATE EXTENSION IF NOT EXISTS {extension}")
        stored = [description for _, description, _, _ in found].index("function variant prompt config")
        names: dict[str, list[Any]] = {"_sqlx_migrations": [], "tensorzero_auth__sqlx_migrations": []}
        names["tensorzero_stored_config__sqlx_migrations"] = []
        for number, migration in enumerate(found):
            auth = "tensorzero_auth" in migration[2] or "api key" in migration[1]
            later = number >= stored and not auth
            name = "tensorzero_auth_" if auth else "tensorzero_stored_config_" if later else ""
            names[f"{name}_sqlx_migrations"].append(migration)
        for table, migrations in names.items():
            await connection.execute(helper.TABLE.format(table))
            for version, description, sql, checksum in sorted(migrations):
                parts = sql.split(";") if "-- no-transaction" in sql[:100] else [sql]
                for part in parts:
                    await connection.execute(part)
                await connection.execute(
                    f"INSERT INTO {table} (version, description, success, checksum, execution_time) "
                    "VALUES ($1, $2, true, $3, 0)",
                    version,
                    description,
                    checksum,
                )
    finally:
        await connection.close()


# Where pgvector is, TensorZero adds this table with a migration of its own.
_EXAMPLES = """CREATE TABLE tensorzero.dicl_examples (id UUID PRIMARY KEY, function_name TEXT NOT NULL,
variant_name TEXT NOT NULL, namespace TEXT NOT NULL DEFAULT '', input TEXT NOT NULL, output TEXT NOT NULL,
embedding vector NOT NULL, created_at TIMESTAMPTZ NOT NULL DEFAULT NOW())"""
_KEY = """INSERT INTO tensorzero_auth_api_key (organization, workspace, public_id, hash)
VALUES ('default', 'default', 'abcdefghijkl', 'ff')"""


async def by_hand(url: str) -> None:
    """The same rows as in ClickHouse, in the columns that Postgres has for them, and a key."""
    names = {
        "BatchRequest": ("batch_requests", "batch_request_data"),
        "BatchModelInference": ("batch_model_inferences", "batch_model_inference_data"),
        "DynamicInContextLearningExample": ("dicl_examples",),
        "InferenceEvaluationRuns": ("inference_evaluation_runs",),
    }
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_EXAMPLES)
        await connection.execute(_KEY)
        for name, row in HAND.items():
            values = {**row, "created_at": row.get("created_at", "2026-01-01 00:00:00+00")}
            values["run_id"] = f"{AT}6"
            if name == "InferenceEvaluationRuns":
                values |= {"snapshot_hash": "\\xff", "created_at": f"{values['created_at']}+00"}
            for table in names[name]:
                known = await connection.fetch(
                    "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = $1", table
                )
                types = {column: type_ for column, type_ in known if column in values}
                given = {
                    column: value if isinstance(value := values[column], str) else json.dumps(value) for column in types
                }
                casts = [
                    f"${number}::text::{'vector' if types[column] == 'USER-DEFINED' else types[column]}"
                    for number, column in enumerate(types, start=1)
                ]
                await connection.execute(
                    f"INSERT INTO tensorzero.{table} ({', '.join(types)}) VALUES ({', '.join(casts)})", *given.values()
                )
    finally:
        await connection.close()
