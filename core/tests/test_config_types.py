"""Tables of types whose plugin is absent, deprecated keys, what is not offered, and variables of the environment."""

from __future__ import annotations

import logging

import pytest
from headrace.config import Tables, check_evaluator, check_optimizer, environment, loads, unavailable
from headrace.errors import ConfigError

FILE = '{ __tensorzero_remapped_path = "s", __data = "{}" }'
FUNCTION = '[functions.f]\ntype = "chat"\nvariants = { a = { type = "x" }, b = { type = "x" }, c = { type = "x" } }\n'
METRIC = '[metrics.m]\ntype = "float"\noptimize = "max"\nlevel = "episode"\n'


def tables(text: str) -> Tables:
    return loads(text).tables


def experiment(lines: str) -> str:
    return f"{METRIC}{FUNCTION}[functions.f.experimentation]\n{lines}"


ADAPTIVE = 'type = "adaptive"\nmetric = "m"\n'


def rule(*lines: str) -> str:
    return "".join(f"[[rate_limiting.rules]]\n{line}\n" for line in lines)


# -- tables of types whose plugin is not installed --------------------------------------------------------

JUDGE = {"type": "chat_completion", "model": "m", "json_mode": "strict"}
INSTRUCTIONS = {"system_instructions": {"__tensorzero_remapped_path": "s", "__data": "Judge."}}
LLM = {"type": "llm_judge", "output_type": "float", "optimize": "max"}
COMPOSED = {
    "type": "experimental_mixture_of_n",
    "candidates": ["a"],
    "fuser": {"model": "m", "json_mode": "on", **INSTRUCTIONS},
}


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ({"type": "exact_match", "cutoff": 0.5}, None),
        ({"type": "exact_match", "x": 1}, "e.x: unknown key"),
        ({"type": "tool_use", "behavior": "any"}, None),
        ({"type": "tool_use", "behavior": "any_of"}, 'e: `behavior = "any_of"` needs a non-empty `tools`'),
        ({"type": "tool_use", "behavior": "none", "tools": ["t"]}, 'e: `behavior = "none"` takes no `tools`'),
        ({"type": "regex", "must_match": "("}, "e.must_match: not a valid regular expression"),
        ({"type": "regex"}, "e: give `must_match`, `must_not_match` or both"),
        ({"type": "typescript", "output_type": "float", "optimize": "max"}, "e.typescript_file: Field required"),
        (LLM, "e.variants: Field required"),
        ({**LLM, "variants": {"v": {**JUDGE, **INSTRUCTIONS, "stop_sequences": ["x"]}}}, None),
        ({**LLM, "variants": {"v": JUDGE}}, "e.variants.v.system_instructions: Field required"),
        ({**LLM, "variants": {"v": {**JUDGE, **INSTRUCTIONS, "user_template": "x"}}}, "e.variants.v.user_template: "),
        ({**LLM, "variants": {"v": {**JUDGE, **INSTRUCTIONS, "active": False}}}, "e: the only variant has `active"),
        (
            {**LLM, "variants": {"v": {**JUDGE, **INSTRUCTIONS}, "w": {**JUDGE, **INSTRUCTIONS}}},
            "e: exactly one variant must have `active = true`, found none",
        ),
        ({**LLM, "variants": {"v": {**JUDGE, **INSTRUCTIONS, "active": True}, "w": COMPOSED}}, None),
        ({"type": "vibes"}, "e.type: must be one of exact_match, tool_use"),
        ({}, "e.type: Field required"),
    ],
)
def test_an_evaluators_table_is_checked_without_its_plugin(table: dict[str, object], complaint: str | None) -> None:
    found = check_evaluator(table, "e")
    assert found[0].startswith(complaint) if complaint else found == []


GEPA = {"type": "gepa", "function_name": "f", "analysis_model": "m", "mutation_model": "m"}


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        *(({"type": f"{name}_sft", "model": "m"}, None) for name in ("openai", "fireworks", "gcp_vertex_gemini")),
        ({"type": "openai_rft", "model": "m"}, "o.grader: Field required"),
        ({"type": "openai_rft", "model": "m", "grader": {"type": "python"}}, None),
        ({"type": "together_sft", "model": "m", "batch_size": "max", "training_type": {"type": "lora"}}, None),
        ({"type": "together_sft", "model": "m", "batch_size": "min"}, "o.batch_size"),
        ({"type": "dicl", "embedding_model": "e", "variant_name": "v", "function_name": "f"}, None),
        (GEPA, "o: give exactly one of `evaluator_names` and `evaluation_name`"),
        ({**GEPA, "evaluator_names": []}, "o.evaluator_names: must name at least one"),
        ({**GEPA, "evaluator_names": ["e"], "retries": {"num_retries": 1}}, None),
        ({"type": "mipro"}, "o.type: must be one of openai_sft"),
    ],
)
def test_an_optimizers_table_is_checked_without_its_plugin(table: dict[str, object], complaint: str | None) -> None:
    found = check_optimizer(table, "o")
    assert found[0].startswith(complaint) if complaint else found == []


# -- deprecated, and not offered --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[functions.f]\ntype = "chat"\nvariants.v = { type = "x", weight = 1 }', "functions.f.variants.v.weight"),
        (
            '[functions.f]\ntype = "chat"\nvariants.v = { type = "x", timeout_s = 1 }',
            "functions.f.variants.v.timeout_s",
        ),
        (
            f'[functions.f]\ntype = "chat"\nvariants.v = {{ type = "x", input_wrappers.user = {FILE} }}',
            "functions.f.variants.v.input_wrappers",
        ),
        (experiment('type = "uniform"'), 'functions.f.experimentation.type: "uniform" is called "static" now'),
        (FUNCTION + '[evaluations.e]\ntype = "static"\nfunction_name = "f"', 'type: "static" is called "inference"'),
        (FUNCTION + 'evaluators.e = { type = "exact_match", cutoff = 1 }', "functions.f.evaluators.e.cutoff"),
        ("[gateway.observability]\ndisable_automatic_migrations = true", "gateway.observability.disable_auto"),
        ("[gateway.template_filesystem_access]\nenabled = true", "gateway.template_filesystem_access.enabled"),
        ("[postgres]\nenabled = false", "postgres.enabled"),
    ],
)
def test_a_deprecated_key_is_told_once_and_works(text: str, said: str, caplog: pytest.LogCaptureFixture) -> None:
    loads(text)
    assert len([line for line in caplog.messages if f"Deprecation: {said}" in line or said in line]) == 1


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (experiment(ADAPTIVE + 'candidate_variants = ["a"]'), "functions.f.experimentation.type"),
        (
            experiment(
                'type = "uniform"\nnamespaces.n = { type = "adaptive", metric = "m", candidate_variants = ["a"] }'
            ),
            "functions.f.experimentation.namespaces.n.type",
        ),
    ],
)
def test_what_is_switched_on_but_not_offered_is_named(text: str, key: str) -> None:
    [line] = unavailable(tables(text))
    assert line.startswith(f"{key}: ")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[gateway]\nauth.enabled = true\nrelay = {}\nexport.otlp.traces.enabled = false",
        "[rate_limiting]\nenabled = false\n" + rule("always = true"),
        "[provider_types.fireworks.sft]\naccount_id = 'x'",
    ],
)
def test_what_is_off_is_no_trouble(text: str) -> None:
    assert unavailable(tables(text)) == []


def test_every_variable_has_two_names() -> None:
    assert environment("TENSORZERO_X", {"TENSORZERO_X": "a"}) == "a"
    assert environment("TENSORZERO_X", {"HEADRACE_X": "a", "TENSORZERO_X": "a"}) == "a"
    assert environment("TENSORZERO_X", {"HEADRACE_X": ""}) is None
    with pytest.raises(ConfigError, match="TENSORZERO_X and HEADRACE_X are both set and differ"):
        environment("TENSORZERO_X", {"HEADRACE_X": "a", "TENSORZERO_X": "b"})


def test_an_empty_configuration_is_legal(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert tables("") == Tables()
