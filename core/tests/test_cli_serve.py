"""What ``headrace serve`` and ``headrace validate`` say of their flags and of a configuration."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from headrace.cli import main; main()", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("flags", "status", "said"),
    [
        ((), 1, "You must specify either --config-file or --default-config."),
        (
            ("--config-file", "x", "--default-config"),
            1,
            "You must not specify both --config-file and --default-config.",
        ),
        (("--run-migrations",), 1, "--run-clickhouse-migrations is not available in this version: `headrace migrate`"),
        (("--run-postgres-migrations",), 1, "--run-postgres-migrations is not available in this version"),
        (("--migrate-config", "*.toml"), 1, "`headrace config store` will do it"),
        (("--create-api-key", "--run-migrations"), 2, "cannot be used together"),
        (("--expiration", "x"), 2, "--expiration needs --create-api-key"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) and value else None,
)
def test_flags_are_answered_in_one_clear_line(flags: tuple[str, ...], status: int, said: str) -> None:
    done = run("serve", *flags)
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_both_bind_addresses_are_a_contradiction(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text('[gateway]\nbind_address = "127.0.0.1:0"\nobservability.enabled = false\n')
    done = run("serve", "--config-file", str(tmp_path / "x.toml"), HEADRACE_GATEWAY_BIND_ADDRESS="127.0.0.1:1")
    assert done.returncode == 1
    assert "gateway.bind_address: `127.0.0.1:0` is configured and `127.0.0.1:1` is given" in done.stderr


def test_validate_and_exit_starts_up_and_stops(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text('[sqlite]\npath = "records.db"\n')
    command = "import os; os.chdir(os.environ['HERE']); from headrace.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", command, "serve", "--config-file", "x.toml", "--validate-and-exit", "--log-format=json"],
        env={**os.environ, "HERE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert (tmp_path / "records.db").exists()
    assert all("message" in json.loads(line) for line in done.stderr.splitlines())


def test_validate_tells_every_problem(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text('[gateway]\ndebug = 1\nnope = 1\n[metrics.comment]\ntype = "x"\n')
    done = run("validate", "--config", str(tmp_path / "x.toml"))
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith("headrace: error: ")]
    assert [line.split(": ")[2] for line in lines] == [
        "gateway.debug",
        "gateway.nope",
        "metrics.comment",
        "metrics.comment.type",
        "metrics.comment.optimize",
        "metrics.comment.level",
    ]


def test_an_empty_configuration_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text("")
    done = run("validate", "--config", str(tmp_path / "x.toml"))
    assert "Config file is empty, so only default functions will be available" in done.stderr


@pytest.mark.parametrize(
    ("filter_", "debug", "level"),
    [("", False, "INFO"), ("", True, "DEBUG"), ("warn", True, "WARNING"), ("x=debug,error", False, "ERROR")],
    ids=["default", "debug", "filter-wins", "modules"],
)
def test_a_log_filter_in_the_environment_wins(filter_: str, debug: bool, level: str) -> None:
    script = (
        "import logging\nfrom headrace.cli.setting import set_level\n"
        f"set_level(debug={debug}, environ={{'RUST_LOG': {filter_!r}}})\n"
        "print(logging.getLevelName(logging.getLogger('headrace.gateway').getEffectiveLevel()))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == level
