"""Templates from requests: they render as any other, and what one of them takes is bounded in time and memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from headrace.errors import TemplateError
from headrace.prompts import Prompts
from headrace.sandbox import MAX_MESSAGE_BYTES, Sandbox, SandboxedPrompts

TEMPLATES = {
    "plain": "Hello {{ name }}!",
    "text": "{{ 'Zoë 😀' }} {{ name|upper }}\n\n",
    "loop": "{% for x in list %}{{ x }}{{ ',' if not loop.last }}{% endfor %}",
    "values": "{{ yes }} {{ none_ }} {{ 0.1 }} {{ whole }} {{ big }} {{ object }}",
    "object": "{{ object.a[0].b }} {{ object|tojson(indent=2) }} {{ object|items|list }}",
    "include": "{% include 'plain' %}",
    "escaped.html": "{{ html }}",
    "escaped.json": "{{ object }}",
    "missing": "{{ nobody }}",
    "missing if": "{% if nobody %}{% endif %}",
    "method": "{{ name.upper() }}",
    "no filter": "{{ name|nope }}",
    "no template": "{% include 'nope' %}",
}
ARGUMENTS: dict[str, Any] = {
    "name": "Zoë 😀 'x' \"y\" \\ \u2028",
    "list": [1, "2", 3.5],
    "yes": True,
    "none_": None,
    "whole": 1.0,
    "big": 2**80,
    "object": {"a": [{"b": None}], "é": "<&>"},
    "html": "<b>",
    "a-b": 1,
}

BOMBS = {
    "doubling": "{% set n = namespace(s='x') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s }}",
    "repetition": "{{ 'x' * 1000000000 }}",
    "repeated list": "{{ ([1] * 1000000000)|length }}",
    "indent": "{{ 'x\ny'|indent(1000000000000) }}",
    "width": "{{ '%1000000000d'|format(1) }}",
    "precision": "{{ '%.1000000000f'|format(1) }}",
    "indented JSON": "{{ [1]|tojson(indent=1000000000) }}",
    "replacement": "{% set a = 'a' * 1000000 %}{{ a|replace('a', a)|length }}",
    "batch": "{{ [1]|batch(1000000000, 'x')|list|length }}",
    "joined": "{{ range(100000)|map('string')|join('x' * 10000) }}",
    "loops": "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}",
    "recursion": "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
    "itself": "{% include 'bomb' %}",
    "parentheses": "{{ " + "(" * 50_000 + "1" + ")" * 50_000 + " }}",
    "blocks": "{% if true %}" * 50_000,
    "long answer": "{{ 'x' * 9000000 }}",
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    # On a machine that others use as well, an innocent template may have to wait for its turn.
    with Sandbox(timeout_s=1) as sandbox:
        yield sandbox


def result(prompts: Prompts, name: str, arguments: Any = ARGUMENTS) -> str:
    try:
        return prompts.render(name, arguments)
    except TemplateError as error:
        return f"error: {error}"


def is_alive(pid: int) -> bool:
    with suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def is_gone_soon(pid: int) -> bool:
    until = time.monotonic() + 10
    while is_alive(pid) and time.monotonic() < until:
        time.sleep(0.01)
    return not is_alive(pid)


# -- as any other -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_renders_or_fails_as_it_would_here(sandbox: Sandbox, name: str) -> None:
    here, there = Prompts(), SandboxedPrompts(sandbox)
    for each, source in TEMPLATES.items():
        here.add(each, source)
        there.add(each, source)
    assert result(there, name) == result(here, name)
    assert there.variables(name) == here.variables(name)


@pytest.mark.parametrize("arguments", [None, "text", {}], ids=["absent", "text", "empty"])
def test_without_an_object_there_are_no_variables(sandbox: Sandbox, arguments: Any) -> None:
    prompts = SandboxedPrompts(sandbox)
    prompts.add("t", "a{% if x is defined %}b{% endif %}")
    assert prompts.render("t", arguments) == "a"


@pytest.mark.parametrize("source", ["{{ x", "{% if %}", "{% nonsense %}"])
def test_a_template_that_does_not_compile_says_what_it_would_here(sandbox: Sandbox, source: str) -> None:
    with pytest.raises(TemplateError) as here:
        Prompts().add("a/t.minijinja", source)
    with pytest.raises(TemplateError) as there:
        SandboxedPrompts(sandbox).add("a/t.minijinja", source)
    assert str(there.value) == str(here.value)


def test_includes_and_names_are_those_of_one_request(sandbox: Sandbox) -> None:
    one = SandboxedPrompts(sandbox, {"part": "[{{ x }}]"})
    other = SandboxedPrompts(sandbox)
    one.add("t", "{% include 'part' %}")
    other.add("t", "{% include 'part' ignore missing %}nothing")
    assert one.render("t", {"x": 1}) == "[1]"
    assert other.render("t", {"x": 1}) == "nothing"
    assert (dict(one.sources), dict(other.sources)) == (
        {"part": "[{{ x }}]", "t": "{% include 'part' %}"},
        {"t": "{% include 'part' ignore missing %}nothing"},
    )
    with pytest.raises(TemplateError, match="two different templates are named 't'"):
        one.add("t", "2")


def test_an_unknown_template_is_told(sandbox: Sandbox) -> None:
    with pytest.raises(TemplateError, match=r"^Error rendering template nope: Could not render template: .*not found"):
        SandboxedPrompts(sandbox).render("nope")
    with pytest.raises(TemplateError, match=r"^Error reading template nope: .*not found"):
        SandboxedPrompts(sandbox).variables("nope")


# -- bounds -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_an_error_soon_and_the_next_template_renders(bomb: str) -> None:
    with Sandbox() as sandbox:
        SandboxedPrompts(sandbox).add("warm", "")
        prompts = SandboxedPrompts(sandbox)
        began = time.perf_counter()
        with pytest.raises(TemplateError, match=r"^Error (compiling|rendering) template bomb: .*\w") as caught:
            prompts.add("bomb", BOMBS[bomb])
            prompts.render("bomb")
        assert time.perf_counter() - began < 2
        assert len(str(caught.value)) < 2000
    with Sandbox(timeout_s=5) as sandbox:
        prompts = SandboxedPrompts(sandbox)
        with suppress(TemplateError):
            prompts.add("bomb", BOMBS[bomb])
        assert result(prompts, "bomb").startswith("error: ")
        prompts = SandboxedPrompts(sandbox)
        prompts.add("t", "{{ 1 + 1 }}")
        assert prompts.render("t") == "2"


def test_what_takes_too_long_is_stopped_and_another_child_takes_over() -> None:
    with Sandbox(timeout_s=1) as sandbox:
        prompts = SandboxedPrompts(sandbox)
        prompts.add("t", "x")
        first = sandbox.pid
        assert first is not None
        os.kill(first, signal.SIGSTOP)  # so that it answers too late, however slow this process is
        with pytest.raises(TemplateError, match=r"^Error compiling template u: stopped after 1 s$"):
            prompts.add("u", "x")
        assert sandbox.pid != first
        assert prompts.render("t") == "x"


def test_variables_beyond_the_bound_are_refused(sandbox: Sandbox) -> None:
    prompts = SandboxedPrompts(sandbox)
    prompts.add("t", "{{ x|length }}")
    assert prompts.render("t", {"x": "x" * 1_000_000}) == "1000000"
    with pytest.raises(TemplateError, match=rf"template t: .*at most {MAX_MESSAGE_BYTES} are taken$"):
        prompts.render("t", {"x": "x" * MAX_MESSAGE_BYTES})


def test_variables_without_a_json_form_are_refused(sandbox: Sandbox) -> None:
    prompts = SandboxedPrompts(sandbox)
    prompts.add("t", "x")
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    for value in (object(), deep):
        with pytest.raises(TemplateError, match="the variables have no JSON form"):
            prompts.render("t", {"x": value})
    while isinstance(deep, list):  # freeing it all at once is deep as well
        deep = deep.pop()


def test_a_child_that_was_killed_is_replaced() -> None:
    with Sandbox(timeout_s=5) as sandbox:
        prompts = SandboxedPrompts(sandbox)
        prompts.add("t", "x")
        assert sandbox.pid
        os.kill(sandbox.pid, signal.SIGKILL)
        with pytest.raises(TemplateError, match="the process that renders ended"):
            prompts.render("t")
        assert prompts.render("t") == "x"


# -- the child --------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_child_has_no_environment_no_files_and_little_memory(sandbox: Sandbox) -> None:
    SandboxedPrompts(sandbox).add("t", "x")
    process = Path(f"/proc/{sandbox.pid}")
    assert set(process.joinpath("environ").read_bytes().split(b"\0")) <= {b""} | {
        f"LD_LIBRARY_PATH={os.environ.get('LD_LIBRARY_PATH')}".encode()
    }
    assert sorted(path.name for path in process.joinpath("fd").iterdir()) == ["0", "1", "2"]
    limits = process.joinpath("limits").read_text()
    assert [line.split()[3:5] for line in limits.splitlines() if line.startswith("Max open files")] == [["3", "3"]]
    assert [line.split()[3] for line in limits.splitlines() if line.startswith("Max address")] == [str(512 * 2**20)]


def test_closing_ends_the_child_and_it_stays_closed() -> None:
    with Sandbox() as sandbox:
        assert sandbox.pid is None
        SandboxedPrompts(sandbox).add("t", "x")
        pid = sandbox.pid
        assert pid and is_alive(pid)
    assert sandbox.pid is None
    assert not is_alive(pid)
    sandbox.close()
    with pytest.raises(TemplateError, match="the sandbox is closed"):
        SandboxedPrompts(sandbox).add("t", "x")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_child_does_not_outlive_its_parent() -> None:
    program = (
        "import time\n"
        "from headrace.sandbox import Sandbox, SandboxedPrompts\n"
        "sandbox = Sandbox()\n"
        "SandboxedPrompts(sandbox).add('t', 'x')\n"
        "print(sandbox.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        assert is_alive(pid)
        parent.kill()
    assert is_gone_soon(pid)
