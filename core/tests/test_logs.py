"""Lines of the log: whose are written, what a program finds in them, and what nobody finds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime
from typing import Any

import pytest
from headrace.cli.logs import secrets_in

SCRIPT = """
import logging, sys
from headrace.cli.logs import log_to_stderr, set_level
import headrace.incoming as incoming

log_to_stderr({format!r})
sys.modules["headrace_plugin"] = sys
set_level(debug={debug})
for name in ("headrace.gateway", "headrace_plugin.part", "httpx", "tensorzero"):
    for level in ("debug", "info", "warning", "error"):
        getattr(logging.getLogger(name), level)("%s of %s", level, name)
scope = {{"method": "POST", "path": "/inference", "query_string": b"a=b", "http_version": "1.1"}}
request = incoming.Incoming({{**scope, "headers": [(b"x-amzn-trace-id", b"Root=1")]}})
incoming.enter(request)
logging.getLogger("headrace").error("within sk-environment-1", extra={{"fields": {{"latency": "5 ms"}}}})
try:
    raise ValueError("two\\nlines pass%40word")
except ValueError:
    logging.getLogger("headrace").exception("failed pass@word")
"""


def run(format_: str = "json", *, debug: bool = False, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name not in ("RUST_LOG", "HEADRACE_LOG")}
    secrets = {"SOME_API_KEY": "sk-environment-1", "A_URL": "http://me:pass%40word@host/"}
    return subprocess.run(
        [sys.executable, "-c", SCRIPT.format(format=format_, debug=debug)],
        env=clean | secrets | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def lines(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stderr.splitlines()]


def lowest(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The least that is written of our own code, of a plugin's, of a library's, each as its level."""
    told = [line["message"].split(" of ") for line in lines(done) if " of " in line["message"]]
    names = ("headrace.gateway", "headrace_plugin.part", "httpx")
    return [next((level for level, who in told if who == name), "off") for name in names]


@pytest.mark.parametrize(
    ("debug", "environment", "levels"),
    [
        (False, {}, ["info", "info", "warning"]),
        (True, {}, ["debug", "debug", "warning"]),
        (True, {"RUST_LOG": "error"}, ["error", "error", "error"]),
        (False, {"RUST_LOG": "debug"}, ["debug", "debug", "debug"]),
        (False, {"RUST_LOG": "warn,tensorzero_core::inference=debug"}, ["debug", "debug", "warning"]),
        (False, {"RUST_LOG": "gateway=info"}, ["info", "info", "error"]),
        (False, {"HEADRACE_LOG": "headrace=warn,headrace_plugin=debug,off"}, ["warning", "debug", "off"]),
        (False, {"HEADRACE_LOG": "info", "RUST_LOG": "debug"}, ["info", "info", "info"]),
        (False, {"RUST_LOG": ""}, ["info", "info", "warning"]),
    ],
    ids=["default", "debug", "filter-wins", "all", "module", "binary", "plugin", "ours-first", "empty"],
)
def test_levels_are_those_of_the_filter_or_else_of_debug(
    debug: bool, environment: dict[str, str], levels: list[str]
) -> None:
    assert lowest(run(debug=debug, **environment)) == levels


@pytest.mark.parametrize("text", ["loud", "headrace=loud", "a[span]=info", "=info"])
def test_a_filter_that_cannot_be_read_is_an_error(text: str) -> None:
    done = run(RUST_LOG=text)
    assert done.returncode == 1
    assert f"RUST_LOG: cannot read {text!r}" in done.stderr


def test_a_line_of_json_says_when_how_bad_where_what_and_of_which_request() -> None:
    *_, within, failed = lines(run())
    assert datetime.fromisoformat(within.pop("timestamp")).utcoffset() is not None
    assert failed["request_id"] == within.pop("request_id")
    assert within == {
        "level": "ERROR",
        "target": "headrace",
        "message": "within [redacted]",
        "latency": "5 ms",
        "method": "POST",
        "uri": "/inference?a=b",
        "version": "HTTP/1.1",
        "x_amzn_trace_id": "Root=1",
    }
    assert failed["exception"].startswith("Traceback")
    assert failed["exception"].endswith("ValueError: two\nlines [redacted]")


@pytest.mark.parametrize("format_", ["json", "pretty"])
def test_no_line_shows_what_the_environment_keeps_secret(format_: str) -> None:
    done = run(format_)
    assert done.stderr.count("[redacted]") == 3
    assert "pass@word" not in done.stderr
    assert "pass%40word" not in done.stderr.replace('lines pass%40word")', "")
    assert "sk-environment-1" not in done.stderr


def test_a_line_of_text_says_of_which_request_it_is() -> None:
    line = next(line for line in run("pretty").stderr.splitlines() if "within" in line)
    assert "latency=5 ms method=POST uri=/inference?a=b" in line
    assert "request_id=" in line


def test_short_words_and_other_variables_are_no_secrets() -> None:
    environment = {"API_KEY": "short", "HOME": "/home/somebody", "MY_TOKEN": "longer-word", "BAD": "http://[x"}
    assert secrets_in(environment) == ["longer-word"]
