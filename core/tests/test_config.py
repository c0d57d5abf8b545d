"""The tables of the configuration: what is accepted, what each default is, and how a mistake is told."""

from __future__ import annotations

import pytest
from headrace.config import Tables, loads
from headrace.config.problems import Problems
from headrace.config.tables import CostEntry
from headrace.errors import ConfigError
from pydantic import ValidationError

CHAT = '[functions.f]\ntype = "chat"\nvariants = {}\n'
JSON = CHAT.replace("chat", "json")


def model(routing: str, *providers: str, kind: str = "models") -> str:
    tables = "".join(f'[{kind}.m.providers."{name}"]\ntype = "echo"\n' for name in providers)
    return f"[{kind}.m]\nrouting = {routing}\n{tables or 'providers = {}'}\n"


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        loads(text)
    return caught.value.problems


def test_nothing_is_a_configuration() -> None:
    tables = loads("").tables
    assert tables == Tables()
    assert (tables.gateway.base_path, tables.gateway.global_outbound_http_timeout_ms) == ("/", 900_000)
    assert (tables.gateway.observability.async_writes, tables.gateway.observability.backend) == (True, "auto")


def test_text_that_is_not_toml_is_told() -> None:
    assert problems("x =")[0].startswith("not valid TOML: ")


# -- unknown keys -----------------------------------------------------------------------------------------


UNKNOWN = {
    "gateway.x": "[gateway]\nx = 1",
    "gateway.observability.x": "[gateway.observability]\nx = 1",
    "gateway.observability.batch_writes.x": "[gateway.observability.batch_writes]\nenabled = false\nx = 1",
    "models.m.x": model('["p"]', "p") + "[models.m.x]",
    "embedding_models.m.x": model('["p"]', "p", kind="embedding_models") + "[embedding_models.m.x]",
    "functions.f.x": CHAT + "x = 1",
    "functions.f.tool_choice.SpecificTool.x": CHAT + 'tool_choice = { specific = "t", x = 1 }',
    "functions.f.experimentation.x": CHAT + 'experimentation = { type = "static", candidate_variants = [], x = 1 }',
    "metrics.m.x": '[metrics.m]\ntype = "float"\noptimize = "max"\nlevel = "inference"\nx = 1',
    "headrace.x": "[headrace]\nx = 1",
    "headrace.files.x": "[headrace.files]\nx = 1",
    "gateway.auth.x": "[gateway.auth]\nenabled = false\nx = 1",
    "gateway.auth.cache.x": "[gateway.auth]\nenabled = false\ncache.x = 1",
    "gateway.cache.x": "[gateway.cache]\nx = 1",
    "gateway.export.x": "[gateway.export]\nx = 1",
    "gateway.export.otlp.traces.x": "[gateway.export.otlp.traces]\nx = 1",
    "gateway.metrics.x": "[gateway.metrics]\nx = 1",
    "gateway.relay.x": "[gateway.relay]\nx = 1",
    "gateway.template_filesystem_access.x": "[gateway.template_filesystem_access]\nx = 1",
    "clickhouse.x": "[clickhouse]\nx = 1",
    "autopilot.x": "[autopilot]\nx = 1",
    "object_storage.x": '[object_storage]\ntype = "disabled"\nx = 1',
    "provider_types.x": "[provider_types.x]",
    "provider_types.aws_bedrock": "[provider_types.aws_bedrock]",
    "evaluations.e.x": CHAT + '[evaluations.e]\ntype = "inference"\nfunction_name = "f"\nx = 1',
    "models.m.timeouts.x": model('["p"]', "p") + "[models.m.timeouts]\nx = 1",
    "models.m.providers.p.timeouts.streaming.x": model('["p"]', "p") + "timeouts.streaming.x = 1",
    "functions.f.variants.v.timeouts.x": CHAT.replace("{}", '{ v = { type = "y", timeouts = { x = 1 } } }'),
    "headrace.splits.x": "[headrace.splits]\nx = 1",
}


@pytest.mark.parametrize("key", UNKNOWN)
def test_an_unknown_key_is_an_error_that_names_it(key: str) -> None:
    assert f"{key}: unknown key (extra inputs are not permitted)" in problems(UNKNOWN[key])


def test_tables_of_plugins_wait_for_their_plugins() -> None:
    tables = loads('[sqlite]\npath = "x"\n[optimizers.o]\ntype = "x"\nany = 1\n' + model('["p"]', "p")).tables
    assert tables.stores == {"sqlite": {"path": "x"}}
    assert tables.optimizers == {"o": {"type": "x", "any": 1}}
    assert tables.models["m"].providers == {"p": {"type": "echo"}}


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[gateway]\ndebug = "true"', "gateway.debug"),
        ("[gateway]\ndebug = 1", "gateway.debug"),
        ('[gateway]\nglobal_outbound_http_timeout_ms = "5"', "gateway.global_outbound_http_timeout_ms"),
        ("[gateway]\nglobal_outbound_http_timeout_ms = 0", "gateway.global_outbound_http_timeout_ms"),
        ("gateway = 1", "gateway"),
        ('[functions.f]\ntype = "agent"\nvariants = {}', "functions.f.type"),
        ('[metrics.m]\ntype = "boolean"\noptimize = "up"\nlevel = "inference"', "metrics.m.optimize"),
        ('[headrace.splits]\ntrain = "half"', "headrace.splits.train"),
    ],
    ids=["text-for-bool", "number-for-bool", "text-for-number", "zero", "no-table", "type", "optimize", "share"],
)
def test_a_wrong_value_names_its_key_and_what_was_found(text: str, key: str) -> None:
    [problem] = problems(text)
    assert problem.startswith(f"{key}: ")
    assert ", found " in problem


MISSING = {
    "functions.f.type": "[functions.f]\nvariants = {}",
    "functions.f.variants": '[functions.f]\ntype = "chat"',
    "models.m.routing": "[models.m]\nproviders = {}",
    "models.m.providers": '[models.m]\nrouting = ["p"]',
    "gateway.observability.batch_writes.enabled": "[gateway.observability]\nbatch_writes = {}",
    "gateway.auth.enabled": "[gateway]\nauth = {}",
    "object_storage.type": "[object_storage]",
    "provider_types.openai.defaults.api_key_location": "[provider_types.openai.defaults]",
    "provider_types.gcp_vertex_gemini.defaults.credential_location": (
        '[provider_types.gcp_vertex_gemini.defaults]\napi_key_location = "sdk"'
    ),
    "provider_types.fireworks.sft.account_id": "[provider_types.fireworks.sft]",
    "provider_types.gcp_vertex_gemini.batch.output_uri_prefix": (
        '[provider_types.gcp_vertex_gemini.batch]\nstorage_type = "cloud_storage"\ninput_uri_prefix = "gs://x"'
    ),
    "evaluations.e.function_name": '[evaluations.e]\ntype = "inference"',
}


@pytest.mark.parametrize("key", MISSING)
def test_a_missing_key_is_named(key: str) -> None:
    assert problems(MISSING[key]) == (f"{key}: Field required",)


def test_everything_wrong_is_told_at_once() -> None:
    text = (
        '[gateway]\nbase_path = "x"\n[gateway.observability.batch_writes]\nenabled = true\n[metrics.comment]\n'
        + '[functions."tensorzero::f"]\ntype = "chat"\n'
        + JSON
        + "description = 1\n"
    )
    keys = {problem.partition(": ")[0] for problem in problems(text)}
    assert {
        "gateway.base_path",
        "gateway.observability",
        "metrics.comment",
        "metrics.comment.type",
        "functions.tensorzero::f",
        "functions.tensorzero::f.variants",
        "functions.f.description",
    } <= keys


def test_one_table_may_have_several_faults() -> None:
    assert problems(model('["a", "a", "tensorzero::b"]', "c")) == (
        "models.m: `routing` names a provider twice: ['a', 'a', 'tensorzero::b']",
        "models.m: Provider name cannot start with 'tensorzero::': tensorzero::b",
        "models.m: `routing` contains provider `a` that does not exist in `providers`",
        "models.m: `routing` contains provider `tensorzero::b` that does not exist in `providers`",
        "models.m: Provider c is not listed in routing",
    )


def test_problems_gather_at_their_keys_and_keep_texts_that_name_their_own() -> None:
    gathered = Problems()
    with gathered.at("a.b"):
        raise ConfigError("one", "`a.d`: two")
    with gathered.at("e"):
        CostEntry.model_validate({"pointer": "/x"})
    assert gathered.lines[:2] == ["a.b: one", "`a.d`: two"]
    assert gathered.lines[2].startswith("e: must specify exactly one of ")
    with pytest.raises(ConfigError) as caught:
        gathered.check()
    assert caught.value.problems == tuple(gathered.lines)


# -- names (config spec 3) --------------------------------------------------------------------------------


def named(kind: str, name: str) -> str:
    return {
        "function": f'[functions."{name}"]\ntype = "chat"\nvariants = {{}}',
        "namespace": f'{CHAT}[functions.f.experimentation]\ntype = "uniform"\n'
        f'[functions.f.experimentation.namespaces."{name}"]\ntype = "uniform"',
        "variant namespace": f'[functions.f]\ntype = "chat"\nvariants.v = {{ type = "x", namespace = "{name}" }}',
        "model namespace": model('["p"]', "p").replace("[models.m.p", f'namespace = "{name}"\n[models.m.p', 1),
        "embedding provider": f'[embedding_models.m]\nrouting = ["{name}"]\nproviders = {{}}',
        "evaluation": f'{CHAT}[evaluations."{name}"]\ntype = "inference"\nfunction_name = "f"',
        "variant": f'[functions.f]\ntype = "chat"\n[functions.f.variants."{name}"]\ntype = "x"',
        "evaluator": f'{CHAT}[functions.f.evaluators."{name}"]\ntype = "x"',
        "model": f'[models."{name}"]\nrouting = ["p"]\nproviders.p.type = "echo"',
        "embedding model": f'[embedding_models."{name}"]\nrouting = ["p"]\nproviders.p.type = "echo"',
        "provider": f'[models.m]\nrouting = ["{name}"]\n[models.m.providers."{name}"]\ntype = "echo"',
        "metric": f'[metrics."{name}"]\ntype = "float"\noptimize = "min"\nlevel = "episode"',
    }[kind]


@pytest.mark.parametrize(
    ("kind", "name", "complaint"),
    [
        ("function", "tensorzero::f", "User-defined function name cannot start with 'tensorzero::': tensorzero::f"),
        ("function", "headrace::f", "User-defined function name cannot start with 'headrace::': headrace::f"),
        ("variant", "tensorzero::v", "Variant name cannot start with 'tensorzero::'"),
        ("model", "headrace::m", "Model name 'headrace::m' contains a reserved prefix"),
        ("metric", "headrace::m", "Metric name 'headrace::m' is not allowed"),
        ("embedding provider", "tensorzero::p", "Provider name cannot start with 'tensorzero::'"),
        ("evaluation", "a::b", "Evaluation name cannot contain '::': a::b"),
        ("namespace", "tensorzero::n", "Namespace name cannot start with 'tensorzero::'"),
        ("namespace", "", "Namespace name cannot be empty"),
        ("variant namespace", "headrace::n", "Namespace name cannot start with 'headrace::'"),
        ("model namespace", "tensorzero::n", "Namespace name cannot start with 'tensorzero::'"),
        ("evaluator", "a::b", "Evaluator name cannot contain '::': a::b"),
        ("model", "tensorzero::m", "Failed to load models: Model name 'tensorzero::m' contains a reserved prefix"),
        ("model", "openai::gpt", "Model name 'openai::gpt' contains a reserved prefix"),
        ("model", "vllm::x", "Model name 'vllm::x' contains a reserved prefix"),
        ("embedding model", "azure::x", "Model name 'azure::x' contains a reserved prefix"),
        ("provider", "tensorzero::p", "Provider name cannot start with 'tensorzero::'"),
        ("metric", "comment", "Metric name 'comment' is reserved and cannot be used"),
        ("metric", "demonstration", "Metric name 'demonstration' is reserved and cannot be used"),
        ("metric", "tensorzero::x", "Metric name 'tensorzero::x' is not allowed"),
        ("metric", "a b", "Metric name 'a b' is not allowed"),
        ("metric", "ä", "Metric name 'ä' is not allowed"),
        ("metric", "", "Metric name '' is not allowed"),
    ],
    ids=lambda value: value if len(value) < 20 else "told",
)
def test_reserved_names_are_refused(kind: str, name: str, complaint: str) -> None:
    assert complaint in "\n".join(problems(named(kind, name)))


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("function", "my::f"),
        ("variant", "openai::v"),
        ("model", "openai"),
        ("model", "my::openai::x"),
        ("model", "openaiish::x"),
        ("provider", "openai::p"),
        ("evaluator", "a:b"),
        ("namespace", "mine::n"),
        ("variant namespace", "n"),
        ("model namespace", "n"),
        ("evaluation", "a:b"),
        ("metric", "a-B_9.c:d/e"),
        ("metric", "comments"),
    ],
    ids=str,
)
def test_names_that_only_resemble_reserved_ones_are_fine(kind: str, name: str) -> None:
    loads(named(kind, name))


def test_a_tools_name_is_its_key_and_must_not_be_ours() -> None:
    tool = (
        '[tools."tensorzero::t"]\ndescription = "d"\nparameters = { __tensorzero_remapped_path = "s", __data = "{}" }'
    )
    assert problems(tool) == ("tools.tensorzero::t: Tool name cannot start with 'tensorzero::': tensorzero::t",)
    assert loads(tool.replace("tensorzero::t", "t")).tables.tools["t"].name is None


# -- gateway (config spec 4) ------------------------------------------------------------------------------


@pytest.mark.parametrize(("given", "kept"), [("/", "/"), ("/x", "/x"), ("/x/y//", "/x/y"), ("//", "/")])
def test_a_base_path_loses_its_last_slashes(given: str, kept: str) -> None:
    assert loads(f'[gateway]\nbase_path = "{given}"').tables.gateway.base_path == kept


@pytest.mark.parametrize("given", ["x", "", "x/"])
def test_a_base_path_starts_with_a_slash(given: str) -> None:
    assert (
        f"[gateway.base_path] must start with a / : found '{given}'" in problems(f'[gateway]\nbase_path = "{given}"')[0]
    )


@pytest.mark.parametrize("given", ["127.0.0.1:3000", "0.0.0.0:0", "[::]:3000", "[::1]:65535"])
def test_a_bind_address_is_taken(given: str) -> None:
    assert loads(f'[gateway]\nbind_address = "{given}"').tables.gateway.bind_address == given


@pytest.mark.parametrize("given", ["localhost:3000", "127.0.0.1", ":3000", "127.0.0.1:", "127.0.0.1:65536", "1.2.3:4"])
def test_a_bind_address_is_literal(given: str) -> None:
    assert problems(f'[gateway]\nbind_address = "{given}"') == (
        f"gateway.bind_address: must be IP:PORT with a literal address, such as 127.0.0.1:3000, found '{given}'",
    )


def observability(lines: str) -> str:
    return f"[gateway.observability]\n{lines}\n"


@pytest.mark.parametrize("async_writes", ["", "async_writes = true\n"], ids=["default", "said"])
def test_async_and_batch_writes_exclude_each_other(async_writes: str) -> None:
    [problem] = problems(observability(f"{async_writes}batch_writes = {{ enabled = true }}"))
    assert problem.startswith("gateway.observability: Batch writes and async writes cannot be enabled at the same time")


@pytest.mark.parametrize(
    "lines",
    ["async_writes = false\nbatch_writes = { enabled = true }", "batch_writes = { enabled = false }"],
    ids=["batch", "async"],
)
def test_either_way_of_writing_is_fine(lines: str) -> None:
    batch = loads(observability(lines)).tables.gateway.observability.batch_writes
    assert batch is not None
    assert (batch.flush_interval_ms, batch.max_rows, batch.write_queue_capacity) == (100, 1000, None)


@pytest.mark.parametrize("key", ["flush_interval_ms", "max_rows", "max_rows_postgres", "write_queue_capacity"])
def test_a_batch_of_nothing_is_refused(key: str) -> None:
    [problem] = problems(observability(f"async_writes = false\nbatch_writes = {{ enabled = true, {key} = 0 }}"))
    assert problem.startswith(f"gateway.observability.batch_writes.{key}: ")


# -- routing (config spec 7) ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("routing", "providers", "complaint"),
    [
        ("[]", (), "`routing` is empty: name at least one provider"),
        ('["a", "a"]', ("a",), "`routing` names a provider twice: ['a', 'a']"),
        ('["a", "b"]', ("a",), "`routing` contains provider `b` that does not exist in `providers`"),
        ('["a"]', ("a", "b"), "Provider b is not listed in routing"),
    ],
    ids=["empty", "twice", "unknown", "unlisted"],
)
def test_routing_and_providers_must_agree(routing: str, providers: tuple[str, ...], complaint: str) -> None:
    assert problems(model(routing, *providers)) == (f"models.m: {complaint}",)


def test_routing_keeps_its_order() -> None:
    assert loads(model('["b", "a"]', "a", "b")).tables.models["m"].routing == ["b", "a"]


def test_an_embedding_models_routing_is_found_out_by_requests() -> None:
    assert loads(model('["b"]', "a", kind="embedding_models")).tables.embedding_models["m"].routing == ["b"]


# -- functions (config spec 11.1) -------------------------------------------------------------------------

FILE = '{ __tensorzero_remapped_path = "s", __data = "{}" }'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (CHAT + f"output_schema = {FILE}", "`output_schema` belongs to json functions"),
        (JSON + 'tools = ["t"]', "`tools`: for chat functions only"),
        (JSON + "parallel_tool_calls = false", "`parallel_tool_calls`: for chat functions only"),
        (JSON + 'tool_choice = "auto"\ntools = []', "`tools`, `tool_choice`: for chat functions only"),
        *(
            (
                CHAT + f"{role}_schema = {FILE}\nschemas.{role}.path = {FILE}",
                f"Cannot specify both schemas.{role}.path and {role}_schema",
            )
            for role in ("system", "user", "assistant")
        ),
        (
            '[functions.f]\ntype = "chat"\nvariants.v = { type = "x", weight = 1 }\n'
            'experimentation = { type = "static", candidate_variants = ["v"] }',
            "`experimentation` and a variant's `weight` cannot be combined",
        ),
    ],
    ids=["output-schema", "tools", "parallel", "choice", "system", "user", "assistant", "weight"],
)
def test_a_function_cannot_have_both(text: str, complaint: str) -> None:
    [problem] = problems(text)
    assert problem.startswith(f"functions.f: {complaint}")


@pytest.mark.parametrize("choice", ['"none"', '"auto"', '"required"', '{ specific = "t" }'])
def test_a_tool_choice_is_taken(choice: str) -> None:
    assert loads(CHAT + f"tool_choice = {choice}").tables.functions["f"].tool_choice


def test_another_tool_choice_is_refused() -> None:
    assert problems(CHAT + 'tool_choice = "maybe"')[0].startswith("functions.f.tool_choice")


# -- headrace ---------------------------------------------------------------------------------------------


def test_splits_must_be_whole() -> None:
    assert problems("[headrace.splits]\ntrain = 0.9") == (
        "headrace.splits: train + validation + test must be 1, found 1.3",
    )


def test_a_configuration_never_changes() -> None:
    with pytest.raises(ValidationError):
        loads(CHAT).tables.gateway.debug = True
