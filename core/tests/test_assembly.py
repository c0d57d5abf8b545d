"""What assembly notices: every problem at once, by its TOML key, whoever made it."""

from __future__ import annotations

from typing import Any

import pytest
from headrace.assembly import Assembly, assemble
from headrace.config import loads
from headrace.conformance.script import Script
from headrace.errors import ConfigError
from headrace.outbound import Outbound
from headrace.plugins import Registry

MEMORY = '[gateway.observability]\nbackend = "memory"\n'
MODEL = '[models.m]\nrouting = ["p"]\n[models.m.providers.p]\ntype = "echo"\n'
FUNCTION = '[functions.f]\ntype = "chat"\n'
VARIANT = '[functions.f.variants.v]\ntype = "chat_completion"\nmodel = "m"\n'


def problems(toml: str, registry: Registry) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        assemble(loads(toml), registry, transport=Script())
    return list(caught.value.problems)


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        (MODEL + "nope = 1", "models.m.providers.p.nope: unknown key (extra inputs are not permitted)"),
        ('[models.m]\nrouting = ["p"]\n[models.m.providers.p]\nx = 1', "models.m.providers.p: `type` is missing"),
        (
            FUNCTION + '[functions.f.variants.v]\ntype = "nope"',
            'functions.f.variants.v.type = "nope" is not an installed',
        ),
        (FUNCTION + VARIANT, "functions.f.variants.v: Model name 'm' not found in model table (known: none)"),
        (MODEL + FUNCTION + VARIANT + "weight = -1", "functions.f.variants.v.weight: Input should be greater than or"),
        (
            MODEL + FUNCTION + VARIANT + 'json_mode = "on"',
            "functions.f.variants.v: JSON mode is not supported for variant",
        ),
        (
            MODEL + '[functions.f]\ntype = "json"\n' + VARIANT,
            "functions.f.variants.v: `json_mode` is required in a json function",
        ),
        (
            FUNCTION + 'tools = ["t"]\nvariants = {}',
            "`functions.f.tools`: tool `t` is not present in the config",
        ),
        (
            MODEL + FUNCTION + VARIANT + '[functions.f.evaluators.e]\ntype = "regex"',
            "functions.f.evaluators.e: ",
        ),
        (
            MODEL + FUNCTION + VARIANT + '[functions.f.experimentation]\ntype = "static"\ncandidate_variants = ["x"]',
            "functions.f.experimentation: unknown variant `x` (known: v)",
        ),
        ('[optimizers.o]\ntype = "nope"', 'optimizers.o.type = "nope" is not an installed type (optimizers: dicl)'),
        ('[headrace.transport]\ntype = "nope"', 'headrace.transport.type = "nope" is not an installed type'),
        (
            '[gateway.observability]\nbackend = "nope"',
            'gateway.observability.backend = "nope" is not an installed type',
        ),
        ("[nope]\nx = 1", "nope: unknown table (stores installed: "),
        ("[sqlite]\nnope = 1", "sqlite.nope: unknown key"),
        (
            FUNCTION + '[functions.f.variants.v]\ntype = "buggy"\nat_build = true',
            "functions.f.variants.v: the plugin of type 'buggy' failed: ZeroDivisionError: oops",
        ),
        (
            '[functions.f]\ntype = "json"\nvariants = {}\n'
            'output_schema = { __tensorzero_remapped_path = "s", __data = "{" }',
            "functions.f.output_schema: Failed to parse JSON Schema `s`",
        ),
        (
            '[functions.f]\ntype = "json"\nvariants = {}\n'
            "output_schema = { __tensorzero_remapped_path = 's', __data = '{\"type\": 1}' }",
            "functions.f.output_schema: Failed to compile JSON Schema `s`",
        ),
    ],
    ids=lambda value: value[:50].replace("\n", " "),
)
def test_a_problem_is_named_by_its_key(registry: Registry, toml: str, problem: str) -> None:
    if problem.startswith("headrace.transport"):
        with pytest.raises(ConfigError) as caught:
            assemble(loads(toml), registry)
        assert caught.value.problems[0].startswith(problem)
        return
    [line] = problems(toml, registry)
    assert line.startswith(problem)


def test_all_problems_are_told_at_once(registry: Registry) -> None:
    toml = "[nope]\nx = 1\n" + MODEL + "nope = 1\n" + FUNCTION + VARIANT + "nope = 1\n"
    assert [line.partition(":")[0] for line in problems(toml, registry)] == [
        "nope",
        "models.m.providers.p.nope",
        "functions.f.variants.v.nope",
    ]


def test_without_a_configured_store_sqlite_is_taken(registry: Registry) -> None:
    assert type(Assembly(loads(), registry, transport=Script()).store).__name__ == "Sqlite"


def test_switched_off_means_no_store(registry: Registry) -> None:
    assert Assembly(loads("[gateway.observability]\nenabled = false"), registry, transport=Script()).store is None


def test_enabled_without_any_store_installed_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no store is installed"):
        assemble(loads("[gateway.observability]\nenabled = true"), Registry(), transport=Script())


@pytest.mark.parametrize(
    ("toml", "type_"), [("", "AiohttpTransport"), ('[headrace.transport]\ntype = "httpx"', "HttpxTransport")]
)
def test_the_quicker_transport_is_taken_where_it_is_installed(registry: Registry, toml: str, type_: str) -> None:
    assembly = Assembly(loads(MEMORY + toml), registry)
    outbound = assembly.parts.services.transport
    assert isinstance(outbound, Outbound)
    assert type(outbound.transport).__name__ == type_


def test_plugins_are_lent_the_bound_on_outgoing_calls(registry: Registry) -> None:
    assembly = Assembly(loads("[gateway]\nglobal_outbound_http_timeout_ms = 1500\n" + MEMORY), registry)
    assert assembly.parts.services.outbound_timeout_s == 1.5


@pytest.mark.parametrize(
    ("lines", "weights", "fallbacks"),
    [
        (("", "", ""), {"a": 1, "b": 1, "c": 1}, ()),
        (("weight = 3", "", "weight = 0"), {"a": 3}, ("b",)),
    ],
    ids=["uniform", "weights"],
)
def test_weights_make_the_experiment(
    registry: Registry, lines: tuple[str, ...], weights: dict[str, float], fallbacks: tuple[str, ...]
) -> None:
    toml = MEMORY + MODEL + FUNCTION
    for name, line in zip("abc", lines, strict=True):
        toml += VARIANT.replace("variants.v", f"variants.{name}") + line + "\n"
    experiment = Assembly(loads(toml), registry, transport=Script()).functions.functions["f"].experiment
    assert (experiment.weights, experiment.fallbacks) == (weights, fallbacks)


@pytest.mark.anyio
async def test_everything_that_can_be_opened_is_opened_and_closed_once(opened: Any) -> None:
    async with opened(MODEL) as host:
        assert host.store in host.assembly.parts.resources
        assert len({id(resource) for resource in host.assembly.parts.resources}) == len(host.assembly.parts.resources)
