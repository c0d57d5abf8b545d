"""Templates: strict about what is missing, closed to the machine and to Python, bounded in time, brief in error."""

from __future__ import annotations

import time
from typing import Any

import pytest
from headrace.errors import TemplateError
from headrace.prompts import Prompts


def render(source: str, arguments: Any = None, *, name: str = "t.minijinja") -> str:
    prompts = Prompts()
    prompts.add(name, source)
    return prompts.render(name, arguments)


def failure(source: str, arguments: Any = None) -> str:
    with pytest.raises(TemplateError) as caught:
        render(source, arguments)
    return str(caught.value)


# -- undefined --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    ["{{ x }}", "{% if x %}{% endif %}", "{% for y in x %}{% endfor %}", "{{ x.y }}", "{{ x|upper }}", "{{ d.x }}"],
    ids=["print", "if", "for", "attribute", "filter", "member"],
)
def test_what_is_undefined_raises(source: str) -> None:
    assert failure(source, {"d": {}}).startswith("Error rendering template t.minijinja: Could not render template: ")


@pytest.mark.parametrize(
    ("source", "text"),
    [("{{ x is defined }}", "false"), ("{{ x is undefined }}", "true"), ("{{ x|default('-') }}", "-")],
    ids=["defined", "undefined", "default"],
)
def test_asking_whether_it_is_defined_is_safe(source: str, text: str) -> None:
    assert render(source).lower() == text


@pytest.mark.parametrize("arguments", [None, "text", {}], ids=["absent", "text", "empty"])
def test_without_an_object_there_are_no_variables(arguments: Any) -> None:
    assert render("a{% if x is defined %}b{% endif %}", arguments) == "a"


# -- bounds -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}x"
        "{% endfor %}{% endfor %}{% endfor %}",
        "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ 'x' * 100000000000 }}",
    ],
    ids=["loops", "recursion", "repetition"],
)
def test_a_template_without_end_is_stopped_soon(source: str) -> None:
    began = time.perf_counter()
    failure(source)
    assert time.perf_counter() - began < 2


def test_a_long_prompt_is_far_below_the_bound() -> None:
    assert len(render("{% for x in l %}{{ x.a|upper }} {% endfor %}", {"l": [{"a": "word"}] * 10_000})) == 50_000


# -- what templates find ----------------------------------------------------------------------------------

INCLUDES = {
    "part.txt": "[{{ x }}]",
    "base": "<{% block body %}base{% endblock %}>",
    "macros": "{% macro twice(a) %}{{ a }}{{ a }}{% endmacro %}",
    "deep/part.html": "{{ x }}",
    "chain": "{% include 'part.txt' %}!",
}


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{% include 'part.txt' %}", "[<]"),
        ("{% include 'chain' %}", "[<]!"),
        ("{% include ['nope', 'part.txt'] %}", "[<]"),
        ("{% include 'part.txt' if true else 'nope' %}", "[<]"),
        ("{% extends 'base' %}{% block body %}{{ super() }}+{% endblock %}", "<base+>"),
        ("{% import 'macros' as m %}{{ m.twice(x) }}", "<<"),
        ("{% from 'macros' import twice %}{{ twice(x) }}", "<<"),
        ("{{ x }}{% include 'deep/part.html' %}", "<&lt;"),
    ],
    ids=["include", "chain", "list", "if", "extends", "import", "from", "own escaping"],
)
def test_includes_are_found_by_their_names(source: str, text: str) -> None:
    prompts = Prompts(INCLUDES)
    prompts.add("t", source)
    assert prompts.render("t", {"x": "<"}) == text


@pytest.mark.parametrize("name", ["nope", "./part.txt", "deep/../part.txt", "part", "/part.txt", "PART.TXT"])
def test_an_include_that_is_missing_is_an_error_when_it_is_rendered(name: str) -> None:
    prompts = Prompts(INCLUDES)
    prompts.add("t", f"{{% include '{name}' %}}")
    prompts.add("ignoring", f"{{% include '{name}' ignore missing %}}nothing")
    with pytest.raises(
        TemplateError, match=r"^Error rendering template t: Could not render template: template not found"
    ):
        prompts.render("t", {"x": 1})
    assert prompts.render("ignoring", {"x": 1}) == "nothing"


def test_a_configured_template_wins_over_an_include_of_its_name() -> None:
    prompts = Prompts(INCLUDES)
    prompts.add("part.txt", "configured")
    prompts.add("t", "{% include 'chain' %}")
    assert prompts.render("t") == "configured!"
    assert prompts.sources == {**INCLUDES, "part.txt": "configured", "t": "{% include 'chain' %}"}


def test_includes_are_what_they_were_at_the_start() -> None:
    includes = {"a": "1"}
    prompts = Prompts(includes)
    includes["a"] = "2"
    prompts.add("t", "{% include 'a' %}")
    assert prompts.render("t") == "1"
    assert prompts.sources == {"a": "1", "t": "{% include 'a' %}"}


def test_an_include_that_does_not_compile_says_so() -> None:
    with pytest.raises(TemplateError, match=r"^Error compiling template b: syntax error: "):
        Prompts({"a": "", "b": "{{ x"})


# -- the machine and Python -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        "{% include '/etc/hostname' %}",
        "{% extends '/etc/hostname' %}",
        "{% import '/etc/hostname' as x %}{{ x }}",
        "{% from 'x' import y %}",
    ],
    ids=["include", "extends", "import", "from"],
)
def test_no_file_is_read(source: str) -> None:
    assert "template not found" in failure(source)


def test_another_template_of_the_configuration_can_be_included() -> None:
    prompts = Prompts()
    prompts.add("parts/a", "[{{ x }}]")
    prompts.add("b", "{% include 'parts/a' %}!")
    assert prompts.render("b", {"x": 1}) == "[1]!"


ARGUMENTS = {"s": "text", "n": 1, "f": 1.5, "l": [3, 1], "d": {"a": 1, "l": [1]}}


@pytest.mark.parametrize(
    "expression",
    [
        "s.upper()", "s.format(1)", "s.encode()", "n.bit_length()", "f.hex()", "l.append(1)", "l.sort()", "l.pop(9)",
        "d.items()", "d.keys()", "d.get('a')", "d.clear()", "d.pop('z')", "d.update({})", "d.l.append(1)",
        "d.nothing()", "s.__class__", "d.__class__", "l.__init__", "d.keys", "l.count", "d['__class__']",
        "d|attr('__class__')", "d.__getitem__('a')", "d._value",
    ],
)  # fmt: skip
def test_python_is_out_of_reach(expression: str) -> None:
    assert failure(f"{{{{ {expression} }}}}", ARGUMENTS)
    assert ARGUMENTS == {"s": "text", "n": 1, "f": 1.5, "l": [3, 1], "d": {"a": 1, "l": [1]}}


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("s|upper", "TEXT"),
        ("l|sort|join(',')", "1,3"),
        ("l|length + d|length", "4"),
        ("d.l[0] + l[-1]", "2"),
        ("d['a']", "1"),
        ("l[1:]|join", "1"),
        ("3 in l and 'a' in d and l == [3, 1] and d == {'a': 1, 'l': [1]} and l != d.l", "true"),
        ("d is mapping and l is sequence", "true"),
        ("d|dictsort|first|first", "a"),
        ("[]|default('x') or 'empty'", "empty"),
        ("e or 'empty'", "empty"),
    ],
)
def test_what_templates_do_with_values_works(expression: str, text: str) -> None:
    assert render(f"{{{{ {expression} }}}}", {**ARGUMENTS, "e": {}}).lower() == text.lower()


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{% for k in d %}{{ k }},{% endfor %}", "a,l,"),
        ("{% for k, v in d|items %}{{ k }}={{ v }};{% endfor %}", "a=1;l=[1];"),
        ("{% for x in l %}{{ x }}{{ ',' if not loop.last }}{% endfor %}", "3,1"),
        ("{% for x in l %}{{ x }}{% break %}{% endfor %}", "3"),
        ("{% set n = namespace(x=0) %}{% for i in l %}{% set n.x = n.x + i %}{% endfor %}{{ n.x }}", "4"),
    ],
    ids=["keys", "items", "loop", "break", "namespace"],
)
def test_values_can_be_walked(source: str, text: str) -> None:
    assert render(source, ARGUMENTS) == text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{% if n > 0 %}a{% elif n %}b{% else %}c{% endif %}", "a"),
        ("{% for x in l if x > 1 %}{{ x }}{% else %}none{% endfor %}", "3"),
        ("{% for x in l %}{% if x == 3 %}{% continue %}{% endif %}{{ x }}{% endfor %}", "1"),
        ("{% set x = 2 %}{{ x }}{% set y %}z{% endset %}{{ y }}", "2z"),
        ("{% macro m(a) %}[{{ a }}{{ caller() }}]{% endmacro %}{% call m(1) %}x{% endcall %}", "[1x]"),
        ("{% macro m() %}m{% endmacro %}{% do m() %}", ""),
        ("{% filter upper %}a{% endfilter %}", "A"),
        ("{% with a = 1 %}{{ a }}{% endwith %}", "1"),
        ("{% block b %}c{% endblock %}", "c"),
        ("{% raw %}{{ x }}{% endraw %}", "{{ x }}"),
    ],
    ids=["if", "for", "continue", "set", "call", "do", "filter", "with", "block", "raw"],
)
def test_the_standard_tags_work(source: str, text: str) -> None:
    assert render(source, ARGUMENTS) == text


@pytest.mark.parametrize(
    "expression",
    [
        *("s|urlencode", "n|filesizeformat", "n|pluralize", "s|striptags", "s|truncate", "s|wordwrap"),
        *("s|wordcount", "l|random", "cycler([1])", "joiner()", "lipsum()", "now()", "randrange(3)"),
    ],
)
def test_nothing_is_added_to_the_engine(expression: str) -> None:
    assert "unknown" in failure(f"{{{{ {expression} }}}}", ARGUMENTS)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ yes }} {{ yes == no }}", "true false"),
        ("{{ d|tojson }}", '{"a":1,"l":[1]}'),
        ("{{ d|tojson(indent=2) }}", '{\n  "a": 1,\n  "l": [\n    1\n  ]\n}'),
        ("{{ [yes, none, \"<&'>\", 'é']|tojson }}", '[true,null,"\\u003c\\u0026\\u0027\\u003e","é"]'),
    ],
    ids=["booleans", "object", "indented", "safe"],
)
def test_what_is_printed_reads_as_in_minijinja_2(source: str, text: str) -> None:
    assert render(source, {**ARGUMENTS, "yes": True, "no": False}) == text


def test_json_templates_keep_json_booleans() -> None:
    prompts = Prompts()
    prompts.add("x.json", '{"a": {{ yes }}, "b": {{ d }}}')
    assert prompts.render("x.json", {**ARGUMENTS, "yes": True}) == '{"a": true, "b": {"a":1,"l":[1]}}'


def test_objects_and_arrays_print_as_minijinja_prints_them() -> None:
    value = {"a": [True, None, 1.5, 'say "ü"'], "b": {}}
    assert render("{{ x }}", {"x": value}) == '{"a": [true, none, 1.5, "say \\"ü\\""], "b": {}}'


def test_a_key_named_like_a_method_is_a_key() -> None:
    assert render("{{ o.items|join }}{{ o.keys }}{{ o.get }}", {"o": {"items": [1, 2], "keys": 3, "get": 4}}) == "1234"


# -- names ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["name", "template_name", "self", "source", "kwargs", "loop", "context", "none_"])
def test_an_argument_may_be_named_like_a_parameter_of_the_binding(name: str) -> None:
    assert render(f"{{{{ {name} }}}}", {name: "x"}) == "x"


@pytest.mark.parametrize("key", ["a-b", "", "1", "class", "a b"])
def test_a_key_that_is_no_identifier_does_no_harm(key: str) -> None:
    assert render("{{ x }}", {"x": 1, key: 2}) == "1"


def test_two_texts_cannot_have_one_name() -> None:
    prompts = Prompts()
    prompts.add("a", "1")
    prompts.add("a", "1")
    with pytest.raises(TemplateError, match="two different templates are named 'a'"):
        prompts.add("a", "2")
    assert prompts.sources == {"a": "1"}


@pytest.mark.parametrize(
    ("source", "variables"),
    [
        ("{{ a }}{{ b.c.d|upper }}", {"a", "b"}),
        ("{% for x in xs %}{{ x }}{{ loop.index }}{% endfor %}", {"xs"}),
        ("{% set x = 1 %}{{ x }}", set()),
        ("{% for i in range(3) %}{{ namespace(i=i).i }}{% endfor %}{{ dict(a=1).a }}", set()),
        ("{% if x is defined %}{% endif %}", {"x"}),
        ("text", set()),
    ],
    ids=["plain", "loop", "set", "functions", "tests", "none"],
)
def test_the_variables_are_what_comes_from_outside(source: str, variables: set[str]) -> None:
    prompts = Prompts()
    prompts.add("t", source)
    assert prompts.variables("t") == variables


# -- text -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.minijinja", "<b> & 'x'"),
        ("a.txt", "<b> & 'x'"),
        ("a", "<b> & 'x'"),
        ("a.html.txt", "<b> & 'x'"),
        ("a.html.minijinja", "<b> & 'x'"),
        ("a.HTML", "<b> & 'x'"),
        ("a.html", "&lt;b&gt; &amp; &#x27;x&#x27;"),
        ("a.htm", "&lt;b&gt; &amp; &#x27;x&#x27;"),
        ("a.xml", "&lt;b&gt; &amp; &#x27;x&#x27;"),
        ("a.html.jinja", "&lt;b&gt; &amp; &#x27;x&#x27;"),
        ("a.html.jinja2", "&lt;b&gt; &amp; &#x27;x&#x27;"),
        ("a.xml.j2", "&lt;b&gt; &amp; &#x27;x&#x27;"),
        ("a.json", "\"<b> & 'x'\""),
        ("a.json5", "\"<b> & 'x'\""),
        ("a.js", "\"<b> & 'x'\""),
        ("a.yaml", "\"<b> & 'x'\""),
        ("a.yml.j2", "\"<b> & 'x'\""),
        ("a.yaml.jinja", "\"<b> & 'x'\""),
        ("dir.html/a.minijinja", "<b> & 'x'"),
    ],
)
def test_escaping_follows_the_extension(name: str, text: str) -> None:
    assert render("{{ x }}", {"x": "<b> & 'x'"}, name=name) == text


def test_json_templates_encode_objects() -> None:
    assert render("{{ x }}", {"x": {"a": [1, "<", None]}}, name="a.json") == '{"a":[1,"<",null]}'


def test_tojson_is_safe_in_html() -> None:
    assert "\\u003c\\u003e\\u0026\\u0027" in render("{{ x|tojson }}", {"x": "<>&'"})


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("a\n", "a"),
        ("a\n\n", "a\n"),
        ("{% if true %}\na\n{% endif %}\n", "\na\n"),
        ("  {% if true %} a{% endif %}", "   a"),
    ],
)
def test_one_newline_is_removed_at_the_end_and_no_other(source: str, text: str) -> None:
    assert render(source) == text


# -- errors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["{{ x", "{% if %}", "{% nonsense %}", "{{ x | }}"])
def test_a_template_that_does_not_compile_says_so(source: str) -> None:
    with pytest.raises(
        TemplateError, match=r"^Error compiling template folder/t\.minijinja: syntax error: .*\(in .*:1\)$"
    ):
        Prompts().add("folder/t.minijinja", source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ secret + 1 }}",
        "{{ secret|int }}",
        "{{ secret.x.y }}",
        "{{ secret() }}",
        "{{ secret|nofilter }}",
        "{{ o.m() }}",
    ],
)
def test_an_error_is_one_line_without_the_variables(source: str) -> None:
    told = failure("line 1\n" + source, {"secret": "hunter2\nhunter3", "o": {"k": "hunter4"}})
    assert "hunter" not in told
    assert "\n" not in told


def test_an_unknown_template_is_told() -> None:
    with pytest.raises(TemplateError, match=r"Error rendering template nope: .*not found"):
        Prompts().render("nope")
