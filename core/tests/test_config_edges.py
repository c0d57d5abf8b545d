"""Sharp edges of the configuration, by the numbers of config 22: files, names, keys, credentials, limits."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from headrace.assembly import Assembly
from headrace.config import load, loads
from headrace.conformance.script import Script
from headrace.contracts import InferenceQuery
from headrace.errors import BadRequest, ConfigError, HeadraceError
from headrace.feedback import FeedbackRequest
from headrace.files import File as FileText
from headrace.limits import Rule, Rules
from headrace.media import File
from headrace.plugins import Registry
from headrace.types import Caller, EmbeddingRequest, Input, InputMessage, Specific, Text
from headrace_memory import Memory, Settings
from recipes import ask, function, model

FILE = '{ __tensorzero_remapped_path = "s", __data = "{}" }'
OFF = "[gateway.observability]\nenabled = false\n"


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        loads(text)
    return caught.value.problems


def refused(registry: Registry, text: str, environ: dict[str, str] | None = None) -> tuple[str, ...]:
    """What a start-up with this configuration ends with."""
    with pytest.raises(ConfigError) as caught:
        Assembly(loads(OFF + text), registry, transport=Script(), environ=environ or {}).gateway()
    return caught.value.problems


def metric(name: str) -> str:
    return f'[metrics.{name}]\ntype = "boolean"\noptimize = "max"\nlevel = "inference"\n'


# -- files --------------------------------------------------------------------------------------------------


def test_config_edge_01_one_star_stays_in_its_folder_and_two_descend(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.toml").write_text(metric("here"))
    (tmp_path / "sub/b.toml").write_text(metric("below"))
    assert set(load(f"{tmp_path}/*.toml").tables.metrics) == {"here"}
    assert set(load(f"{tmp_path}/**/*.toml").tables.metrics) == {"here", "below"}


@pytest.mark.parametrize(
    ("key", "array"),
    [
        ("rate_limiting.rules", "[[rate_limiting.rules]]\nalways = true\ntokens_per_day = 1\n"),
        ("models.m.routing", '[models.m]\nrouting = ["p"]\n'),
    ],
    ids=["of-tables", "of-values"],
)
def test_config_edge_01_an_array_is_in_one_file_only(tmp_path: Path, key: str, array: str) -> None:
    for name in ("a.toml", "b.toml"):
        (tmp_path / name).write_text(array)
    with pytest.raises(ConfigError) as caught:
        load(f"{tmp_path}/*.toml")
    assert f"`{key}`: Found duplicate values in globbed TOML config files" in str(caught.value)


def test_config_edge_02_a_path_is_relative_to_the_file_it_is_written_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "team").mkdir()
    (tmp_path / "team/schema.json").write_text('{"title": "beside its file"}')
    (tmp_path / "schema.json").write_text('{"title": "where the process is"}')
    (tmp_path / "team/f.toml").write_text('[functions.f]\ntype = "chat"\nvariants = {}\nuser_schema = "schema.json"\n')
    monkeypatch.chdir(tmp_path)
    schema = load("team/f.toml").tables.functions["f"].user_schema
    assert isinstance(schema, FileText)
    assert "beside its file" in schema.text


@pytest.mark.parametrize(
    "table",
    [
        '[object_storage]\ntype = "filesystem"\npath = "kept"\n',
        '[models.m]\nrouting = ["o"]\n[models.m.providers.o]\ntype = "openai"\nmodel_name = "x"\n'
        'api_key_location = "path::kept/key"\n',
    ],
    ids=["object-storage", "credential"],
)
def test_config_edge_02_a_folder_of_files_and_a_credential_are_relative_to_the_process(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    (tmp_path / "team").mkdir()
    (tmp_path / "team/x.toml").write_text(OFF + table)
    (tmp_path / "process/kept").mkdir(parents=True)
    (tmp_path / "process/kept/key").write_text("sk")
    config = load(f"{tmp_path}/team/x.toml")
    monkeypatch.chdir(tmp_path / "process")
    Assembly(config, registry, transport=Script()).gateway()
    monkeypatch.chdir(tmp_path / "team")
    with pytest.raises(ConfigError, match="kept"):
        Assembly(config, registry, transport=Script()).gateway()


PICTURE = base64.b64encode(b"\x89PNG\r\n\x1a\n and more").decode()


@pytest.mark.anyio
async def test_config_edge_09_without_object_storage_a_file_is_a_500_and_disabled_it_is_not(opened: Any) -> None:
    input_ = Input((InputMessage("user", (Text("see"), File(mime_type="image/png", data=PICTURE))),))
    async with opened(model() + function()) as host:
        with pytest.raises(HeadraceError, match="Object storage is not configured") as caught:
            await host.gateway.infer(ask(input=input_))
    assert caught.value.http_status == 500
    async with opened(model() + function() + '[object_storage]\ntype = "disabled"\n') as host:
        answer = await host.gateway.infer(ask(input=input_))
        await host.settled()
        [row] = await host.store.inferences(InferenceQuery(ids=(answer.inference_id,), limit=1))
        file = row.input.messages[0].content[1]
        assert (file.data, file.storage_path.kind) == (None, {"type": "disabled"})
        with pytest.raises(HeadraceError):
            await host.gateway.attachments.read(file.storage_path)


# -- tools --------------------------------------------------------------------------------------------------

SEARCH = f'[tools.search]\ndescription = "Look up."\nname = "web_search"\nparameters = {FILE}\n'


def with_tools(names: Sequence[str]) -> str:
    return SEARCH + function().replace('"chat"\n', f'"chat"\ntools = {json.dumps(names)}\n', 1)


def test_config_edge_10_a_function_lists_tools_by_key(registry: Registry) -> None:
    [problem] = refused(registry, model() + with_tools(["web_search"]))
    assert problem == "`functions.f.tools`: tool `web_search` is not present in the config"


@pytest.mark.anyio
async def test_config_edge_10_a_model_knows_a_tool_by_name_and_so_does_the_choice_of_one(opened: Any) -> None:
    async with opened(model() + with_tools(["search"])) as host:
        await host.gateway.infer(ask(tool_choice=Specific("web_search"), allowed_tools=("search",)))
        [request] = host.asked()
        assert [tool.name for tool in request.tools.offered] == ["web_search"]
        for wrong in ({"tool_choice": Specific("search")}, {"allowed_tools": ("web_search",)}):
            with pytest.raises(BadRequest, match="Tool not found"):
                await host.gateway.infer(ask(**wrong))


# -- credentials --------------------------------------------------------------------------------------------


def openai(location: str) -> str:
    return f'[models.m]\nrouting = ["o"]\n[models.m.providers.o]\ntype = "openai"\nmodel_name = "x"\n{location}\n'


def test_config_edge_12_both_credentials_of_a_pair_are_loaded_at_start_up(registry: Registry) -> None:
    pair = 'api_key_location = { default = "dynamic::mine", fallback = "env::NOPE" }'
    [problem] = refused(registry, openai(pair))
    assert problem.startswith("models.m.providers.o: ")
    assert "Environment variable `NOPE` is missing" in problem
    Assembly(loads(OFF + openai(pair)), registry, transport=Script(), environ={"NOPE": "sk"}).gateway()


@pytest.mark.anyio
async def test_config_edge_13_a_default_credential_that_is_missing_stays_so_for_the_life_of_the_gateway(
    opened: Any,
) -> None:
    environ: dict[str, str] = {}
    async with opened("", environ=environ) as host:
        for _ in range(2):
            with pytest.raises(BadRequest, match="Environment variable `OPENAI_API_KEY` is missing"):
                await host.gateway.infer(ask(model_name="openai::any"))
            environ["OPENAI_API_KEY"] = "sk"
    async with opened("", environ=environ) as host:
        assert host.assembly.models.knows("openai::any", None), "a new gateway reads it anew"


# -- models and metrics -------------------------------------------------------------------------------------


MISROUTED = '[embedding_models.e]\nrouting = ["nobody"]\nproviders = {}\n'


@pytest.mark.anyio
async def test_config_edge_17_an_embedding_models_routing_is_found_out_by_its_first_request(opened: Any) -> None:
    async with opened(MISROUTED) as host:
        with pytest.raises(HeadraceError, match="Provider not found: nobody"):
            await host.gateway.embed("e", EmbeddingRequest(input="a"))


@pytest.mark.anyio
async def test_config_edge_17_that_request_is_a_404(opened: Any) -> None:
    async with opened(MISROUTED) as host:
        with pytest.raises(HeadraceError) as caught:
            await host.gateway.embed("e", EmbeddingRequest(input="a"))
    assert caught.value.http_status == 404


@pytest.mark.parametrize("kind", ["models", "embedding_models"])
@pytest.mark.parametrize("prefix", ["openai::", "vllm::", "azure::", "aws_bedrock::", "sglang::", "tensorzero::"])
def test_config_edge_19_prefixes_are_reserved_with_and_without_a_short_form(kind: str, prefix: str) -> None:
    [problem] = problems(f'[{kind}."{prefix}x"]\nrouting = ["p"]\nproviders.p.type = "x"\n')
    assert problem.endswith(f"Failed to load models: Model name '{prefix}x' contains a reserved prefix")


GENERATED = "tensorzero::evaluation_name::my évaluation::evaluator_name::it fits!"


@pytest.mark.anyio
async def test_config_edge_22_a_generated_metric_may_have_a_name_that_no_user_may_give(opened: Any) -> None:
    assert "is not allowed" in problems(metric(f'"{GENERATED}"'))[0]
    toml = model() + function()
    toml += '[evaluations."my évaluation"]\ntype = "inference"\nfunction_name = "f"\n'
    toml += '[evaluations."my évaluation".evaluators."it fits!"]\ntype = "exact_match"\n'
    async with opened(toml) as host:
        answer = await host.gateway.infer(ask())
        await host.gateway.feedback.give(
            FeedbackRequest(metric_name=GENERATED, value=True, inference_id=answer.inference_id)
        )
        await host.settled()
        [row] = await host.store.feedback(answer.inference_id)
    assert (row.metric_name, row.value) == (GENERATED, True)


# -- the gateway's table ------------------------------------------------------------------------------------


def test_config_edge_08_writing_behind_is_the_default_and_excludes_writing_in_batches() -> None:
    batches = "[gateway.observability]\nbatch_writes.enabled = true\n"
    assert "Batch writes and async writes cannot be enabled at the same time" in problems(batches)[0]
    loads(batches + "async_writes = false\n")


@pytest.mark.parametrize("table", ["auth", "observability.batch_writes"])
def test_config_edge_18_a_table_to_switch_something_must_say_whether(table: str) -> None:
    assert problems(f"[gateway]\n{table} = {{}}\n") == (f"gateway.{table}.enabled: Field required",)


def test_config_edge_23_the_address_is_0_0_0_0_3000_unless_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):  # somebody else has it: as good
            taken.bind(("0.0.0.0", 3000))
            taken.listen()
        done = subprocess.run(
            [sys.executable, "-c", "from headrace.cli import main; main()", "serve", "--default-config"],
            cwd=tmp_path,
            env={name: value for name, value in os.environ.items() if not name.endswith("_GATEWAY_BIND_ADDRESS")},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert "cannot listen on 0.0.0.0:3000: Address already in use" in done.stderr


# -- rate limits ---------------------------------------------------------------------------------------------


def rules(limits: str) -> Rules:
    """The one rule of a configuration, for everybody."""
    [table] = loads(f"[[rate_limiting.rules]]\nalways = true\n{limits}\n").tables.rate_limiting.rules
    return Rules([Rule(table.limits)])


@pytest.mark.anyio
async def test_config_edge_21_an_edited_limit_keeps_its_bucket() -> None:
    buckets = Memory(Settings())
    for capacity, used, had in ((10, 4, 10), (5, 0, 5), (20, 0, 5)):
        [limit] = rules(f"tokens_per_day = {capacity}").active(Caller())
        assert await buckets.take([(limit.bucket, used)]) == [had]


def test_config_edge_20_two_windows_of_a_resource_are_two_limits_with_a_bucket_each() -> None:
    active = rules("tokens_per_minute = 1\ntokens_per_day = 100").active(Caller())
    assert {(limit.bucket.window, limit.bucket.capacity) for limit in active} == {("minute", 1), ("day", 100)}
    assert len({limit.bucket.key for limit in active}) == 2
