"""Sharp edges of the configuration, by the numbers of config 22: functions, templates, variants."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from headrace.assembly import Assembly
from headrace.config import load, loads
from headrace.conformance.script import Script
from headrace.errors import ConfigError, HeadraceError, TemplateError
from headrace.extras import Extra, ExtraBody
from headrace.ids import new_id
from headrace.plugins import Registry
from headrace.records import Example
from headrace.types import EmbeddingRequest, Input, InputMessage, Params, Template, Text
from recipes import ask, function, model


def text_file(name: str, text: str) -> str:
    """A file as a path key holds it once it has been read."""
    return f"{{ __tensorzero_remapped_path = {json.dumps(name)}, __data = {json.dumps(text)} }}"


def refused(registry: Registry, text: str) -> str:
    """What a start-up with this configuration ends with."""
    with pytest.raises(ConfigError) as caught:
        Assembly(loads("[gateway.observability]\nenabled = false\n" + text), registry, transport=Script()).gateway()
    return str(caught.value)


def starts(registry: Registry, text: str) -> Assembly:
    """The assembly of a configuration in which nothing is wrong."""
    assembly = Assembly(
        loads("[gateway.observability]\nenabled = false\n" + text), registry, transport=Script(), environ={}
    )
    assembly.gateway()
    return assembly


async def rendered(opened: Any, source: str, arguments: dict[str, Any], name: str = "greet.minijinja") -> str:
    """What a model is asked when a template block with these arguments is rendered."""
    toml = model() + function(more=f"templates.greet.path = {text_file(name, source)}\n")
    input_ = Input((InputMessage("user", (Template("greet", arguments),)),))
    async with opened(toml) as host:
        await host.gateway.infer(ask(input=input_, variant_name="v"))
        [request] = host.asked()
    [block] = request.messages[0].content
    assert isinstance(block, Text)
    return block.text


# -- templates ----------------------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("user.minijinja", "a <b>"),
        ("user.txt", "a <b>"),
        ("user.html", "a &lt;b&gt;"),
        ("user.html.j2", "a &lt;b&gt;"),
        ("user.json", '"a <b>"'),
        ("user.yaml", '"a <b>"'),
    ],
)
async def test_config_edge_03_the_extension_of_a_templates_file_decides_on_escaping(
    opened: Any, tmp_path: Path, name: str, seen: str
) -> None:
    (tmp_path / name).write_text("{{ x }}")
    (tmp_path / "a.toml").write_text(model() + function(more=f'templates.greet.path = "{name}"\n'))
    source = load(f"{tmp_path}/a.toml").tables.functions["f"].variants["v"]["templates"]["greet"]["path"]
    text = await rendered(opened, source["__data"], {"x": "a <b>"}, name=source["__tensorzero_remapped_path"])
    assert text == seen


@pytest.mark.anyio
async def test_config_edge_04_even_asking_if_a_missing_variable_is_true_fails(opened: Any) -> None:
    with pytest.raises(TemplateError, match="Error rendering template greet") as caught:
        await rendered(opened, "{% if missing %}a{% else %}b{% endif %}", {})
    assert caught.value.http_status == 500
    assert await rendered(opened, "{% if missing is defined %}a{% else %}b{% endif %}", {}) == "b"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("key", "source", "heard"),
    [("user_template", "Say: {{ user_text }}", "Say: hi"), ("templates.user.path", "Say: {{ x }}", "hi")],
    ids=["legacy", "modern"],
)
async def test_config_edge_05_a_legacy_template_wraps_text_and_a_modern_one_leaves_it_alone(
    opened: Any, key: str, source: str, heard: str
) -> None:
    async with opened(model() + function(more=f"{key} = {text_file('t', source)}\n")) as host:
        await host.gateway.infer(ask())
        [request] = host.asked()
    assert request.messages[0].content == (Text(heard),)


@pytest.mark.anyio
@pytest.mark.parametrize("source", ["{{ d.items() }}", "{{ s.strip() }}", "{{ '{}'.format(s) }}", "{{ s.upper() }}"])
async def test_config_edge_24_values_have_no_methods_of_python(opened: Any, source: str) -> None:
    with pytest.raises(TemplateError, match="Could not render template"):
        await rendered(opened, source, {"d": {"a": 1}, "s": " x "})


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{% for k, v in d|items %}{{ k }}={{ v }}{% endfor %}", "a=1"),
        ("{{ s|trim }}", "x"),
        ("{{ '<&>' | tojson }}", '"\\u003c\\u0026\\u003e"'),
        ("{{ whole }} {{ large }} {{ small }}", "1.0 100000000000000000000.0 0.0000001"),
    ],
    ids=["items", "trim", "tojson", "numbers"],
)
async def test_config_edge_24_filters_do_it_and_json_and_numbers_are_minijinjas(
    opened: Any, source: str, text: str
) -> None:
    arguments = {"d": {"a": 1}, "s": " x ", "whole": 1.0, "large": 1e20, "small": 1e-7}
    assert await rendered(opened, source, arguments) == text


# -- variants made of others ----------------------------------------------------------------------------------


def made_of(type_: str, part: str, keys: str = "", *, of: str = "chat", more: str = "") -> str:
    """Function f with candidates a and b, and a variant v made of them, which has model j decide."""
    toml = model(says='["{}"]') + model("j", says='["{\\"thinking\\": \\"\\", \\"answer_choice\\": 1}"]')
    toml += function("a=m", "b=m", type_=of, more=more)
    toml += f'[functions.f.variants.v]\ntype = "experimental_{type_}"\ncandidates = ["a", "b"]\n'
    return toml + f'[functions.f.variants.v.{part}]\nmodel = "j"\n{keys}'


COMPOSITES = pytest.mark.parametrize(
    ("type_", "part"),
    [("best_of_n_sampling", "evaluator"), ("mixture_of_n", "fuser")],
    ids=["best-of-n", "mixture-of-n"],
)


@COMPOSITES
def test_config_edge_06_a_schema_needs_its_template_in_an_evaluator_and_a_fuser_too(
    registry: Registry, type_: str, part: str
) -> None:
    template = f"templates.greet.path = {text_file('t', 'x')}\n"

    def text(keys: str) -> str:
        schema = f'type = "chat"\nschemas.greet.path = {text_file("s", "{}")}\n'
        return made_of(type_, part, keys, more=template).replace('type = "chat"\n', schema, 1)

    needed = f"`functions.f.variants.v.{part}.templates.greet` is required when `functions.f.schemas.greet` is"
    assert needed in refused(registry, text(""))
    starts(registry, text(template))


def test_config_edge_07_a_json_mode_is_forbidden_in_chat_and_required_in_json_functions(registry: Registry) -> None:
    assert "JSON mode is not supported for variant v" in refused(
        registry, model() + function(more='json_mode = "strict"\n')
    )
    json_function = model() + function(type_="json")
    assert "`json_mode` is required in a json function" in refused(
        registry, json_function.replace('json_mode = "on"\n', "")
    )
    starts(registry, json_function)


@pytest.mark.anyio
@pytest.mark.parametrize("of", ["chat", "json"])
async def test_config_edge_07_an_evaluator_of_best_of_n_asks_strictly_unless_said(opened: Any, of: str) -> None:
    async with opened(made_of("best_of_n_sampling", "evaluator", of=of)) as host:
        await host.gateway.infer(ask(variant_name="v"))
        [request] = host.asked("j")
    assert request.json_mode == "strict"


def test_config_edge_07_a_fuser_in_a_json_function_must_say(registry: Registry) -> None:
    said = refused(registry, made_of("mixture_of_n", "fuser", of="json"))
    assert "v.fuser" in said
    assert "json_mode" in said
    starts(registry, made_of("mixture_of_n", "fuser", 'json_mode = "on"\n', of="json"))


@pytest.mark.anyio
@COMPOSITES
async def test_config_edge_15_candidates_ignore_a_requests_params(opened: Any, type_: str, part: str) -> None:
    async with opened(made_of(type_, part)) as host:
        await host.gateway.infer(ask(variant_name="v", params=Params(temperature=0.5)))
        assert [request.params.temperature for request in host.asked()] == [None, None]


@pytest.mark.anyio
@COMPOSITES
async def test_config_edge_15_extra_body_of_a_request_reaches_candidates_and_leaves_the_choice_to_chance(
    opened: Any, type_: str, part: str, caplog: pytest.LogCaptureFixture
) -> None:
    extra = Extra(body=(ExtraBody(pointer="/x", value=1),))
    async with opened(made_of(type_, part)) as host:
        answer = await host.gateway.infer(ask(variant_name="v", extra=extra))
        assert [request.extra for request in host.asked()] == [extra, extra]
        assert host.asked("j") == []
    assert answer.output == (Text("{}"),)
    assert f"functions.f.variants.v.{part} failed" in caplog.text, "it is told in the log"


# -- in-context learning --------------------------------------------------------------------------------------

DICL = """[embedding_models.e]
routing = ["echo"]
[embedding_models.e.providers.echo]
type = "echo"
[functions.f]
type = "chat"
schemas.greet.path = { __tensorzero_remapped_path = "s", __data = "{}" }
[functions.f.variants.v]
type = "experimental_dynamic_in_context_learning"
embedding_model = "e"
model = "m"
k = 1
"""


@pytest.mark.anyio
async def test_config_edge_16_examples_come_from_the_gateways_own_store(opened: Any) -> None:
    async with opened(model() + DICL) as host:
        output = json.dumps([{"type": "text", "text": "the example's answer"}])
        vector = (await host.gateway.embed("e", EmbeddingRequest(input="x"))).embeddings[0]
        example = Example(id=new_id(), function_name="f", variant_name="v", input="{}", output=output, embedding=vector)
        await host.store.write([example])
        await host.gateway.infer(ask())
        [request] = host.asked()
    assert [message.role for message in request.messages] == ["user", "assistant", "user"]
    assert request.messages[1].content == (Text("the example's answer"),)


@pytest.mark.anyio
async def test_config_edge_16_in_context_learning_has_no_templates(opened: Any, registry: Registry) -> None:
    assert "functions.f.variants.v" in refused(
        registry, model() + DICL + f"templates.greet.path = {text_file('t', 'x')}\n"
    )
    async with opened(model() + DICL) as host:
        await host.gateway.infer(ask(input=Input((InputMessage("user", (Template("greet", {"name": "Ada"}),)),))))
        [request] = host.asked()
    [block] = request.messages[-1].content
    assert isinstance(block, Text)
    assert '"Ada"' in block.text, "the block as JSON"


# -- weights --------------------------------------------------------------------------------------------------


def weighted(**weights: float | None) -> str:
    toml = model() + '[functions.f]\ntype = "chat"\n'
    for name, weight in weights.items():
        toml += f'[functions.f.variants.{name}]\ntype = "chat_completion"\nmodel = "m"\n'
        toml += "" if weight is None else f"weight = {weight}\n"
    return toml


def test_config_edge_11_weight_and_experimentation_exclude_each_other(registry: Registry) -> None:
    experiment = '[functions.f.experimentation]\ntype = "static"\ncandidate_variants = ["a"]\n'
    said = "`experimentation` and a variant's `weight` cannot be combined"
    assert said in refused(registry, weighted(a=1) + experiment)
    starts(registry, weighted(a=None) + experiment)


@pytest.mark.parametrize(
    ("weights", "shares"),
    [
        ({"a": 1, "b": 3}, {"a": 0.25, "b": 0.75}),
        ({"a": 1, "b": 0}, {"a": 1.0, "b": 0.0}),
        ({"a": 1, "b": None}, {"a": 1.0, "b": 0.0}),
        ({"a": None, "b": None}, {"a": 0.5, "b": 0.5}),
    ],
    ids=["weights", "zero", "missing", "none-at-all"],
)
def test_config_edge_11_weights_make_the_shares(
    registry: Registry, weights: dict[str, Any], shares: dict[str, float]
) -> None:
    functions = starts(registry, weighted(**weights)).functions.functions
    assert dict.fromkeys(weights, 0.0) | functions["f"].experiment.probabilities() == shares


@pytest.mark.anyio
@pytest.mark.parametrize(("weight", "tried"), [(None, ["a", "b"]), (0, ["a"])], ids=["missing", "zero"])
async def test_config_edge_11_without_a_weight_it_is_a_fallback_and_with_zero_it_never_runs(
    opened: Any, weight: float | None, tried: list[str]
) -> None:
    toml = weighted(a=1, b=weight).replace("[functions.f]", 'fails = "no"\n[functions.f]', 1)
    async with opened(toml) as host:
        with pytest.raises(HeadraceError) as caught:
            await host.gateway.infer(ask())
    assert list(caught.value.errors) == tried  # type: ignore[attr-defined]


# -- sampling -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["reasoning_effort", "verbosity"])
def test_config_edge_26_effort_and_verbosity_are_any_text(registry: Registry, key: str) -> None:
    starts(registry, model() + function(more=f'{key} = "as much as it takes"\n'))


@pytest.mark.parametrize("key", ["service_tier", "json_mode"])
def test_config_edge_26_tier_and_json_mode_are_one_of_a_few(registry: Registry, key: str) -> None:
    said = refused(registry, model() + function(more=f'{key} = "as much as it takes"\n'))
    assert said.startswith(f"functions.f.variants.v.{key}: ")
