"""A ``tensorzero.toml`` tree as a team would bring it: several files, every section, every type there is."""

from __future__ import annotations

from pathlib import Path

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
[functions.draft.variants.best.evaluator]
model = "openai-model"
system_template = "system.minijinja"
user_template = "user.minijinja"
templates.note.path = "user.minijinja"
[functions.draft.variants.mixture]
type = "experimental_mixture_of_n"
candidates = ["chat"]
[functions.draft.variants.mixture.fuser]
model = "openai-model"
json_mode = "on"
user_template = "user.minijinja"
templates.note.path = "user.minijinja"
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
user_template = "user.minijinja"
templates.note.path = "user.minijinja"
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

TREE = {
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
}


def plant(folder: Path, files: dict[str, str] = TREE) -> str:
    """Write the files; returns the glob that finds the configuration among them."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return f"{folder}/{{config,functions}}/**/*.toml"
