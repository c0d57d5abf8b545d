"""Templates that include others, and a whole tree of files as people have them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from headrace.config import Config, load
from headrace.config.globbing import find
from headrace.config.templating import Load, loads_of
from headrace.errors import ConfigError


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


# -- which templates a template loads ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("{% include 'a' %}", ("a",)),
        ('{%- include "a.txt" -%}', ("a.txt",)),
        ("{%+ include 'a' ignore missing +%}", ("a",)),
        ("{%\n include ['a', \"b\"] ignore missing with context %}", ("a", "b")),
        ("{% include ('a', 'b',) %}", ("a", "b")),
        ("{% include 'a' if x else 'b' %}", ("a", "b")),
        ("{% include 'a' if x %}", ("a",)),
        ("{% include ('a' if (y if z else q) else 'b') if x['if'] == \"else\" else ['c'] %}", ("a", "b", "c")),
        ("{% include 'a' if x else 'b' if y else 'c' %}", ("a", "b", "c")),
        ("{% import 'a' as b %}", ("a",)),
        ("{% from 'a' import b, c as d %}", ("a",)),
        ("{% extends 'a' %}", ("a",)),
        ("{% include 'a %} b' %}", ("a %} b",)),
        ("{% include x %}", None),
        ("{% include 'a' ~ x %}", None),
        ("{% include ['a', x] %}", None),
        ("{% include 'a' if x else y %}", None),
        ("{% include 'a'|upper %}", None),
        ("{% include f('a') %}", None),
        ("{% include %}", None),
        ("{% include ['a' %}", None),
    ],
)
def test_names_are_read_where_they_are_literal(source: str, names: tuple[str, ...] | None) -> None:
    assert [load.names for load in loads_of(source)] in ([names], [] if names is None else [names])
    if source != "{% include ['a' %}":
        assert [load.names for load in loads_of(source)] == [names]


@pytest.mark.parametrize(
    "source",
    [
        "include 'a'",
        "{# {% include 'a' %} #}",
        "{% raw %}{% include 'a' %}{% endraw %}",
        "{%- raw -%}{% include 'a' %}{%- endraw -%}",
        "{{ \"{% include 'a' %}\" }}",
        "{% set x = \"{% include 'a' %}\" %}",
        "{{ {'x': {'y': \"{% include 'a' %}\"}} }}",
        "{% raw %}{% include 'a' %}",
        "{# {% include 'a' %}",
        "{% include 'a'",
        "{% include 'a",
        "{% included 'a' %}",
    ],
)
def test_what_only_looks_like_a_load_is_none(source: str) -> None:
    assert list(loads_of(source)) == []


def test_scanning_goes_on_after_everything_and_knows_its_line() -> None:
    source = "{# c #}\n{% raw %}{{{% endraw %}\n{{ a }}{% if b %}\n{% include 'x' %}{% endif %}{% extends y %}"
    assert list(loads_of(source)) == [Load(4, "include", ("x",)), Load(4, "extends", None)]


# -- files that templates include (config spec 11.4) ------------------------------------------------------


def loaded(folder: Path, template: str, files: dict[str, str]) -> Config:
    toml = (
        '[gateway.template_filesystem_access]\nbase_path = "../parts"\n'
        '[functions.f]\ntype = "chat"\nvariants.v = { type = "x", system_template = "a.minijinja" }\n'
    )
    write(folder, {"config/x.toml": toml, "config/a.minijinja": template, "parts/here": "", **files})
    return load(str(folder / "config/x.toml"))


def test_everything_that_can_be_reached_is_read(tmp_path: Path) -> None:
    files = {"parts/b": "{% import 'sub/c' as c %}", "parts/sub/c": "{% include 'b' %}", "parts/other": "no"}
    config = loaded(tmp_path, "{% include 'b' %}", files)
    assert config.includes == {"b": files["parts/b"], "sub/c": files["parts/sub/c"]}
    assert list(config.files) == ["a.minijinja"]


def test_a_configured_template_wins_over_a_file_of_its_name(tmp_path: Path) -> None:
    assert loaded(tmp_path, "{% include 'a.minijinja' %}", {"parts/a.minijinja": "other"}).includes == {}


def test_what_is_included_is_part_of_the_hash_and_its_folder_is_not(tmp_path: Path) -> None:
    one, same, other = (
        loaded(tmp_path / name, "{% include 'b' %}", {"parts/b": text})
        for name, text in (("1", "x"), ("2", "x"), ("3", "y"))
    )
    assert one.hash == same.hash
    assert one.text == same.text
    assert one.hash != other.hash


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing", "cannot be read"),
        ("../secret", "is refused"),
        ("sub/.hidden", "is refused"),
        ("sub\\\\x", "is refused"),
        ("link", "is refused: it leads out of"),
        ("latin", "cannot be read"),
        ("sub", "cannot be read"),
    ],
)
def test_a_file_that_is_not_there_or_not_to_be_read_only_warns(
    tmp_path: Path, name: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, {"secret": "s", "parts/sub/.hidden": "s"})
    (tmp_path / "parts/link").symlink_to(tmp_path / "secret")
    (tmp_path / "parts/latin").write_bytes(b"\xe4")
    assert loaded(tmp_path, f"{{% include '{name}' ignore missing %}}", {}).includes == {}
    assert said in caplog.text


def test_names_known_only_at_run_time_are_all_listed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="dynamic paths") as caught:
        loaded(tmp_path, "{% include x %}\n{% include 'b' %}", {"parts/b": "{% extends y %}"})
    assert "`a.minijinja` line 1: include; `b` line 1: extends" in str(caught.value)


@pytest.mark.parametrize(
    ("path", "complaint"),
    [("missing", "Failed to resolve path `missing`"), ("x.toml", "Expected a directory, but")],
)
def test_the_base_path_is_a_folder_beside_its_file(tmp_path: Path, path: str, complaint: str) -> None:
    write(tmp_path, {"x.toml": f'[gateway.template_filesystem_access]\nbase_path = "{path}"\n'})
    with pytest.raises(ConfigError) as caught:
        load(str(tmp_path / "x.toml"))
    assert caught.value.problems[0].startswith(f"`gateway.template_filesystem_access.base_path`: {complaint}")


# -- globs ------------------------------------------------------------------------------------------------


def test_links_are_left_out_with_a_warning_unless_named_in_full(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, {"a.toml": ""})
    (tmp_path / "b.toml").symlink_to(tmp_path / "a.toml")
    assert find(f"{tmp_path}/*.toml") == [tmp_path / "a.toml"]
    assert f"`{tmp_path}/b.toml` is left out: links are not followed" in caplog.text
    assert find(f"{tmp_path}/b.toml") == [tmp_path / "b.toml"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read_is_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, {"a.toml": "", "closed/b.toml": ""})
    (tmp_path / "closed").chmod(0)
    assert find(f"{tmp_path}/**/*.toml") == [tmp_path / "a.toml"]
    (tmp_path / "closed").chmod(0o700)
    assert "is left out" in caplog.text


@pytest.mark.parametrize("pattern", ["*.toml", "./*.toml", "c/../*.toml", "{a,z}.toml"])
def test_a_relative_glob_starts_where_the_process_is(
    tmp_path: Path, pattern: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"a.toml": "", "c/z.txt": ""})
    monkeypatch.chdir(tmp_path)
    assert [path.resolve() for path in find(pattern)] == [tmp_path / "a.toml"]


# -- a whole tree -----------------------------------------------------------------------------------------

PLAIN = "deepseek fireworks google_ai_studio_gemini groq hyperbolic mistral openai openrouter together xai"
PROVIDERS = {
    "anthropic": 'model_name = "x"',
    "aws_bedrock": 'model_id = "x"\nregion = "us-east-1"',
    "aws_sagemaker": 'endpoint_name = "x"\nmodel_name = "x"\nhosted_provider = "openai"\nregion = "sdk"',
    "azure": 'deployment_id = "x"\nendpoint = "https://x.example.com"',
    "gcp_vertex_anthropic": 'model_id = "x"\nlocation = "global"\nproject_id = "p"',
    "gcp_vertex_gemini": 'endpoint_id = "1"\nlocation = "us-central1"\nproject_id = "p"',
    "sglang": 'model_name = "x"\napi_base = "http://x"',
    "tgi": 'api_base = "http://x"',
    "vllm": 'model_name = "x"\napi_base = "http://x"\napi_key_location = "none"',
} | {name: 'model_name = "x"' for name in PLAIN.split()}

MODELS = "".join(
    f'[models.{name}-model]\nrouting = ["{name}"]\ntimeouts.non_streaming.total_ms = 60000\n'
    f'[models.{name}-model.providers.{name}]\ntype = "{name}"\n{keys}\n'
    'cost = [{ pointer = "/usage/prompt_tokens", cost_per_million = 0.15 }]\n'
    'extra_body = [{ pointer = "/x", value = { y = 1 } }]\nextra_headers = [{ name = "H", delete = true }]\n'
    "timeouts = { streaming.ttft_ms = 3000, streaming.total_ms = 60000 }\ndiscard_unknown_chunks = true\n"
    for name, keys in PROVIDERS.items()
)

GATEWAY = """
[gateway]
bind_address = "127.0.0.1:0"
debug = true
unstable_error_json = true
fetch_and_encode_input_files_before_inference = true
[gateway.observability]
enabled = true
async_writes = false
batch_writes = { enabled = true, max_rows_postgres = 5, __force_allow_embedded_batch_writes = true }
[gateway.auth]
enabled = false
[gateway.cache]
enabled = true
valkey.ttl_s = 60
[gateway.export.otlp.traces]
enabled = false
extra_headers = { a = "b" }
[gateway.template_filesystem_access]
base_path = "../prompts"
[clickhouse]
disable_automatic_migrations = true
[postgres]
connection_pool_size = 5
[autopilot]
tool_whitelist = ["a"]
[object_storage]
type = "filesystem"
path = "files"
[provider_types.openai.defaults]
api_key_location = { default = "dynamic::k", fallback = "env::OPENAI_API_KEY" }
[provider_types.gcp_vertex_gemini.batch]
storage_type = "none"
[[rate_limiting.rules]]
tokens_per_minute = { capacity = 1000, refill_rate = 500 }
cost_per_month = 12.5
priority = 1
scope = [{ tag_key = "user", tag_value = "tensorzero::each" }]
[[rate_limiting.rules]]
model_inferences_per_second = 5
always = true
[tools.search]
description = "Look something up."
parameters = "search.json"
name = "web_search"
strict = true
[metrics.liked]
type = "boolean"
optimize = "max"
level = "inference"
[embedding_models.e]
routing = ["openai"]
timeout_ms = 1000
[embedding_models.e.providers.openai]
type = "openai"
model_name = "x"
timeout_ms = 900
cost = [{ pointer = "/usage/prompt_tokens", cost_per_million = 0.02 }]
"""

FUNCTIONS = """
[functions.draft]
type = "json"
user_schema = "user.json"
output_schema = "output.json"
schemas.note.path = "user.json"
description = "Drafts."
[functions.draft.variants.chat]
type = "chat_completion"
model = "openai-model"
system_template = "system.minijinja"
user_template = "user.minijinja"
templates.note.path = "user.minijinja"
json_mode = "strict"
retries = { num_retries = 2, max_delay_s = 5 }
timeouts = { non_streaming.total_ms = 30000 }
[functions.draft.variants.best]
type = "experimental_best_of_n_sampling"
candidates = ["chat", "chat"]
evaluator = { model = "openai-model", system_template = "system.minijinja" }
[functions.draft.variants.mixture]
type = "experimental_mixture_of_n"
candidates = ["chat"]
fuser = { model = "openai-model", json_mode = "on", user_template = "user.minijinja" }
[functions.draft.variants.examples]
type = "experimental_dynamic_in_context_learning"
embedding_model = "e"
model = "openai-model"
k = 5
json_mode = "on"
system_instructions = "system.minijinja"
[functions.draft.variants.thought]
type = "experimental_chain_of_thought"
model = "openai-model"
json_mode = "strict"
namespace = "lab"
[functions.draft.experimentation]
type = "adaptive"
metric = "liked"
candidate_variants = ["chat", "best"]
fallback_variants = ["mixture"]
[functions.draft.experimentation.namespaces.lab]
type = "static"
candidate_variants = { thought = 1.0 }
"""

EVALUATIONS = """
[functions.draft.evaluators.same]
type = "exact_match"
[functions.draft.evaluators.code]
type = "typescript"
typescript_file = "judge.ts"
output_type = "float"
optimize = "min"
[evaluations.quality]
type = "inference"
function_name = "draft"
[evaluations.quality.evaluators.judge]
type = "llm_judge"
output_type = "boolean"
optimize = "max"
[evaluations.quality.evaluators.judge.variants.v]
type = "chat_completion"
model = "openai-model"
json_mode = "strict"
system_instructions = "judge.txt"
[optimizers.tune]
type = "openai_sft"
model = "x"
"""


def test_a_whole_tree_loads(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "config/gateway.toml": GATEWAY,
            "config/search.json": "{}",
            "config/models/all.toml": MODELS,
            "functions/draft/function.toml": FUNCTIONS,
            "functions/draft/user.json": "{}",
            "functions/draft/output.json": "{}",
            "functions/draft/system.minijinja": "{% include 'rules.txt' %}",
            "functions/draft/user.minijinja": "{{ x }}",
            "functions/evaluations.toml": EVALUATIONS,
            "functions/judge.ts": "",
            "functions/judge.txt": "Judge.",
            "prompts/rules.txt": "Be brief.",
        },
    )
    config = load(f"{tmp_path}/{{config,functions}}/**/*.toml")
    tables = config.tables
    assert set(tables.models) == {f"{name}-model" for name in PROVIDERS}
    assert set(tables.functions["draft"].variants) == {"chat", "best", "mixture", "examples", "thought"}
    assert len(tables.rate_limiting.rules) == 2
    judge = tables.evaluations["quality"].evaluators["judge"]
    assert judge["variants"]["v"]["system_instructions"]["__data"] == "Judge."
    assert config.includes == {"rules.txt": "Be brief."}
    assert config.hash == load(f"{tmp_path}/**/*.toml").hash
