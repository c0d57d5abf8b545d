"""Rules of the larger tables: gateway, time limits, experiments, rate limits."""

from __future__ import annotations

import pytest
from headrace.config import Tables, loads
from headrace.errors import ConfigError

FILE = '{ __tensorzero_remapped_path = "s", __data = "{}" }'
FUNCTION = '[functions.f]\ntype = "chat"\nvariants = { a = { type = "x" }, b = { type = "x" }, c = { type = "x" } }\n'
METRIC = '[metrics.m]\ntype = "float"\noptimize = "max"\nlevel = "episode"\n'


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        loads(text)
    return caught.value.problems


def tables(text: str) -> Tables:
    return loads(text).tables


# -- gateway (config spec 4) ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("metrics.tensorzero_inference_latency_overhead_seconds_buckets = [0.1, 0.1]", "strictly ascending"),
        ("metrics.tensorzero_inference_latency_overhead_seconds_buckets = [-1.0]", "must be >= 0"),
        ("metrics.tensorzero_inference_latency_overhead_seconds_buckets = [nan]", "finite"),
        ('relay.gateway_url = "nowhere"', "must be a URL"),
        ('relay.gateway_url = "http://[x"', "must be a URL"),
        ('export.otlp.traces.format = "zipkin"', "'opentelemetry' or 'openinference'"),
        ("export.otlp.traces.extra_headers.x = 1", "valid string"),
        ("auth = { enabled = true, cache = { ttl_ms = -1 } }", "greater than or equal to 0"),
    ],
)
def test_a_gateway_key_is_checked(text: str, problem: str) -> None:
    assert problem in problems(f"[gateway]\n{text}")[0]


def test_defaults_of_the_gateway_are_the_specifications() -> None:
    gateway = tables("[gateway]\nauth.enabled = true\ncache.valkey.ttl_s = 5").gateway
    assert gateway.auth is not None
    assert (gateway.auth.cache.enabled, gateway.auth.cache.ttl_ms) == (True, 1000)
    assert (gateway.cache.enabled, gateway.cache.backend, gateway.cache.table("valkey")) == (None, "auto", {"ttl_s": 5})
    assert gateway.cache.table("memory") == {}
    assert gateway.metrics.tensorzero_inference_latency_overhead_seconds_buckets == [0.001, 0.01, 0.1]
    assert gateway.relay.api_key_location == "none"
    assert gateway.export.otlp.traces.format == "opentelemetry"


def test_no_buckets_are_fine() -> None:
    metrics = tables("[gateway.metrics]\ntensorzero_inference_latency_overhead_seconds_buckets = []").gateway.metrics
    assert metrics.tensorzero_inference_latency_overhead_seconds_buckets == []


def test_both_names_of_manual_migrations_are_a_contradiction() -> None:
    both = "[clickhouse]\ndisable_automatic_migrations = true\n[gateway.observability]\n"
    assert problems(both + "disable_automatic_migrations = true")[0].startswith("clickhouse.disable_automatic_mig")


def test_lax_tables_let_unknown_keys_stand() -> None:
    text = (
        "[postgres]\nx = 1\ninference_retention_days = 3\n[rate_limiting]\nx = 1\n"
        '[provider_types.openai]\nx = 1\ndefaults = { api_key_location = "env::K", y = 2 }\n'
    )
    found = tables(text)
    assert found.postgres.inference_data_retention_days == 3
    assert found.store("postgres")["x"] == 1
    openai = found.provider_types.get("openai")
    assert openai is not None
    assert openai.location == "env::K"
    assert found.provider_types.get("groq") is None


@pytest.mark.parametrize("text", ['type = "disabled"', 'type = "filesystem"\npath = "x"', 'type = "s3_compatible"'])
def test_object_storage_stays_raw_for_its_plugin(text: str) -> None:
    assert tables(f"[object_storage]\n{text}").object_storage is not None
    assert tables("").object_storage is None


def test_files_are_fetched_within_bounds() -> None:
    files = tables("").headrace.files
    assert (files.max_bytes, files.timeout_s, files.max_redirects, files.allow_private_addresses) == (
        20 * 1024 * 1024,
        30.0,
        3,
        False,
    )


# -- time limits (config spec 9) --------------------------------------------------------------------------

CEILING = "[gateway]\nglobal_outbound_http_timeout_ms = 1000\n"
OVER = "is greater than `gateway.global_outbound_http_timeout_ms`: `1000`"
MODEL = '[models.m]\nrouting = ["p"]\n[models.m.providers.p]\ntype = "x"\n'


@pytest.mark.parametrize("key", ["non_streaming.total_ms", "streaming.ttft_ms", "streaming.total_ms"])
def test_no_limit_is_above_the_gateways(key: str) -> None:
    said = f"The `timeouts.{key}` value `1001` {OVER}"
    inside = f"{CEILING}{MODEL}timeouts.{key} = 1001"
    assert problems(inside) == (f"models.m.providers.p: {said}",)
    assert problems(f"{CEILING}{MODEL}[models.m.timeouts]\n{key} = 1001") == (f"models.m: {said}",)
    loads(inside.replace("1001", "1000"))


def test_a_total_below_the_first_chunks_only_warns(caplog: pytest.LogCaptureFixture) -> None:
    loads(f"{MODEL}timeouts = {{ streaming = {{ ttft_ms = 5, total_ms = 4 }} }}")
    assert "is below `timeouts.streaming.ttft_ms`" in caplog.text


def test_an_embedding_models_limit_counts_where_examples_use_it() -> None:
    model = CEILING + '[embedding_models.e]\nrouting = ["p"]\nproviders = {}\ntimeout_ms = 1001\n'
    loads(model)
    variant = '{ type = "experimental_dynamic_in_context_learning", embedding_model = "e" }'
    [problem] = problems(f'{model}[functions.f]\ntype = "chat"\nvariants.v = {variant}')
    assert problem.startswith(f"embedding_models.e: The `timeout_ms` value `1001` {OVER}")


@pytest.mark.parametrize(
    ("key", "complaint"),
    [
        ("cost = [{ pointer = '/x' }]", "cost.0: must specify exactly one of"),
        ("cost = [{ cost_per_unit = 1 }]", "cost.0: invalid pointer configuration: "),
        ("cost = [{ pointer = 'x', cost_per_unit = 1 }]", "cost.0: invalid JSON pointer `x`"),
        (
            "batch_cost = [{ pointer_streaming = '/x', pointer_nonstreaming = '/x', cost_per_unit = 1 }]",
            "batch_cost.0: invalid pointer configuration: only `pointer`",
        ),
        ("extra_body = [{ pointer = '/x' }]", "extra_body: [0]: give `pointer` and `value`"),
        ("extra_headers = [{ name = 'x', delete = false }]", "extra_headers: [0]: give `name` and `value`"),
        ("discard_unknown_chunks = 1", "discard_unknown_chunks: "),
    ],
)
def test_the_keys_of_every_provider_are_checked_at_load(key: str, complaint: str) -> None:
    assert problems(MODEL + key)[0].startswith(f"models.m.providers.p.{complaint}")


@pytest.mark.parametrize("weight", ["-1", "inf", '"1"'])
def test_a_weight_is_a_number_that_is_not_negative(weight: str) -> None:
    text = f'[functions.f]\ntype = "chat"\nvariants.v = {{ type = "x", weight = {weight} }}'
    assert problems(text)[0].startswith("functions.f.variants.v.weight: ")


def test_a_wrapper_and_a_schema_contradict_each_other() -> None:
    variant = f'variants.v = {{ type = "x", fuser = {{ input_wrappers = {{ user = {FILE} }} }} }}'
    [problem] = problems(f'[functions.f]\ntype = "chat"\nuser_schema = {FILE}\n{variant}')
    assert problem == "functions.f.variants.v.fuser: Cannot specify both input_wrappers.user and a schema of `user`"


# -- experimentation (config spec 16) ---------------------------------------------------------------------


def experiment(lines: str) -> str:
    return f"{METRIC}{FUNCTION}[functions.f.experimentation]\n{lines}"


ADAPTIVE = 'type = "adaptive"\nmetric = "m"\n'


@pytest.mark.parametrize(
    ("lines", "weights", "fallbacks"),
    [
        ('type = "static"\ncandidate_variants = ["a", "b"]', {"a": 1, "b": 1}, []),
        ('type = "static"\ncandidate_variants = { a = 0.9, b = 0 }', {"a": 0.9, "b": 0}, []),
        ('type = "static"\ncandidate_variants = []\nfallback_variants = ["b"]', {}, ["b"]),
        ('type = "static_weights"\ncandidate_variants = { a = 2 }', {"a": 2}, []),
        ('type = "uniform"', {"a": 1, "b": 1, "c": 1}, []),
        ('type = "uniform"\nfallback_variants = ["c"]', {}, ["c"]),
        ('type = "uniform"\ncandidate_variants = ["b"]', {"b": 1}, []),
        (ADAPTIVE + 'candidate_variants = ["a", "b"]\nfallback_variants = ["c"]', {"a": 1, "b": 1}, ["c"]),
        ('type = "track_and_stop"\nmetric = "m"\ncandidate_variants = ["a"]', {"a": 1}, []),
    ],
)
def test_an_experiment_is_taken(lines: str, weights: dict[str, float], fallbacks: list[str]) -> None:
    found = tables(experiment(lines)).functions["f"].experimentation
    assert found is not None
    assert found.weights(["a", "b", "c"]) == weights
    assert found.fallback_variants == fallbacks


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ('candidate_variants = ["a"]', ".type: Field required"),
        ('type = "x"', ".type: must be one of static, static_weights, uniform, adaptive, track_and_stop, found 'x'"),
        ('type = "static"', ".candidate_variants: Field required"),
        ('type = "static"\ncandidate_variants = ["a"]\nx = 1', ".x: unknown key"),
        ('type = "static"\ncandidate_variants = { a = nan }', ".candidate_variants"),
        ('type = "static"\ncandidate_variants = ["z"]', ": unknown variant `z` (known: a, b, c)"),
        ('type = "static"\ncandidate_variants = ["a", "a"]', ": a variant is named twice"),
        ('type = "static"\ncandidate_variants = ["a"]\nfallback_variants = ["b", "b"]', ": a variant is named twice"),
        ('type = "static"\ncandidate_variants = ["a"]\nfallback_variants = ["a"]', ": `a` is both candidate and fall"),
        ('type = "static"\ncandidate_variants = { a = -1, b = 1 }', ": the weight of `a` is negative"),
        ('type = "static"\ncandidate_variants = { a = 0 }', ": no candidate has a positive weight"),
        ('type = "static_weights"\ncandidate_variants = ["a"]', ".candidate_variants: "),
        ('type = "adaptive"\ncandidate_variants = ["a"]', ".metric: Field required"),
        ('type = "adaptive"\nmetric = "x"\ncandidate_variants = ["a"]', ": unknown metric `x` (known: m)"),
        (ADAPTIVE + "candidate_variants = []", ".candidate_variants: "),
        (ADAPTIVE + "candidate_variants = { a = 1 }", ".candidate_variants: "),
        *(
            (ADAPTIVE + f'candidate_variants = ["a", "b"]\n{line}', f".{line.partition(' ')[0]}: ")
            for line in (
                "min_samples_per_variant = 0",
                "delta = 0.0",
                "delta = 1.0",
                "epsilon = -0.1",
                "min_prob = -0.1",
                "min_prob = inf",
                "update_period_s = -1",
                'algorithm = "thompson"',
            )
        ),
        (ADAPTIVE + 'candidate_variants = ["a", "b"]\nmin_prob = 0.6', ": `min_prob` (0.6) times the number"),
        (ADAPTIVE + 'candidate_variants = ["a"]\nmax_samples_per_variant = 9', ": `max_samples_per_variant` (9)"),
        ('type = "uniform"\nnamespaces.n = {}', ".namespaces.n.type: Field required"),
        (
            'type = "uniform"\nnamespaces.n = { type = "static", candidate_variants = ["z"] }',
            ".namespaces.n: unknown variant `z`",
        ),
        (
            'type = "uniform"\nnamespaces.n = { type = "uniform", namespaces = { o = { type = "uniform" } } }',
            ".namespaces.n.namespaces: a namespace has no namespaces of its own",
        ),
    ],
)
def test_an_experiment_that_cannot_be_is_refused(lines: str, complaint: str) -> None:
    assert problems(experiment(lines))[0].startswith(f"functions.f.experimentation{complaint}")


def test_an_evaluation_is_of_a_function_that_is_there() -> None:
    evaluation = '[evaluations.e]\ntype = "static"\nfunction_name = "g"'
    assert problems(FUNCTION + evaluation) == ("evaluations.e.function_name: no function `g` (known: f)",)


# -- rate limits (config spec 20) -------------------------------------------------------------------------


def rule(*lines: str) -> str:
    return "".join(f"[[rate_limiting.rules]]\n{line}\n" for line in lines)


def test_limits_are_whole_units_and_costs_nano_dollars() -> None:
    text = (
        "tokens_per_minute = 5\ncost_per_day = { capacity = 0.0000000011, refill_rate = 2 }\n"
        "model_inferences_per_second = { capacity = 3, refill_rate = 1 }\npriority = 0"
    )
    [found] = tables(rule(text)).rate_limiting.rules
    assert [tuple(limit) for limit in found.limits] == [
        ("tokens", "minute", 5, 5),
        ("cost", "day", 2, 2_000_000_000),
        ("model_inferences", "second", 3, 1),
    ]


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ("", ": the priority field is required when always is not true"),
        ("always = false", ": the priority field is required when always is not true"),
        ("always = true\npriority = 1", ": cannot specify both `always` and `priority`"),
        ("priority = -1", ".priority: "),
        ("always = true\ntokens_per_day = 1.5", ".tokens_per_day: must be a whole number"),
        ("always = true\ntokens_per_day = true", ".tokens_per_day: must be a number"),
        ("always = true\ntokens_per_day = -1", ".tokens_per_day: must be a finite number >= 0"),
        ("always = true\ncost_per_day = nan", ".cost_per_day: must be a finite number >= 0"),
        ("always = true\ncost_per_day = { capacity = 1 }", ".cost_per_day: give a number, or `capacity` and"),
        ("always = true\nscope = [{ tag_key = 'a' }]", ".scope.0: give `tag_key` and `tag_value`"),
        (
            "always = true\nscope = [{ tag_key = 'a', tag_value = 'tensorzero::any' }]",
            ".scope.0.tag_value: `tensorzero::any` is not known",
        ),
        ("always = true\nscope = [{ api_key_public_id = 'short' }]", ".scope.0.api_key_public_id: must be"),
        (
            "always = true\nscope = [{ tag_key = 'a', tag_value = 'b' }, { tag_key = 'a', tag_value = 'b' }]",
            ".scope: an entry stands there twice",
        ),
    ],
)
def test_a_rule_that_cannot_be_is_refused(lines: str, complaint: str) -> None:
    assert problems(rule(lines))[0].startswith(f"rate_limiting.rules.0{complaint}")


def test_two_rules_cannot_have_one_scope() -> None:
    one = "{ tag_key = 'a', tag_value = 'headrace::each' }"
    other = "{ api_key_public_id = 'tensorzero::each' }"
    same = one.replace("headrace", "tensorzero")
    text = rule(f"always = true\nscope = [{one}, {other}]", f"priority = 1\nscope = [{other}, {same}]")
    assert problems(text)[0].startswith("rate_limiting: Duplicate rate limiting config scope: rule 1")


def test_an_unknown_key_of_a_rule_is_told_and_stands(caplog: pytest.LogCaptureFixture) -> None:
    loads(rule("always = true\ntokens_per_fortnight = 3"))
    assert "`tokens_per_fortnight` is not known" in caplog.text


@pytest.mark.parametrize("line", ["default_cost = -1", "default_cost = inf", "backend = 3"])
def test_the_rest_of_rate_limiting_is_checked(line: str) -> None:
    assert problems(f"[rate_limiting]\n{line}")[0].startswith(f"rate_limiting.{line.partition(' ')[0]}: ")
