"""The examples in deploy/ say what they mean: checked against the schemas and with the tools of those who read them."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner
from headrace import config
from headrace.cli.serve import serve

DEPLOY = Path(__file__).parent.parent / "deploy"
MANIFESTS = sorted(path for path in (DEPLOY / "kubernetes").glob("*.yaml") if path.name != "kustomization.yaml")
UNIT = (DEPLOY / "headrace.service").read_text()


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def kill_after_s(flags: list[str]) -> float:
    """The longest that `headrace serve` with these flags may take to end: drain, requests, the server, records."""
    delay = float(flags[flags.index("--drain-delay") + 1]) if "--drain-delay" in flags else 0.0
    return delay + 30 + 5 + 30


def check_flags(flags: list[str]) -> None:
    """Every flag is one that `headrace serve` knows; the configuration is where others have tests of it."""
    done = CliRunner().invoke(serve, [*flags, "--default-config", "--validate-and-exit"])
    assert done.exit_code == 1, done.output
    assert "You must not specify both --config-file and --default-config." in str(done.exception)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_manifests_are_what_kubernetes_expects(path: Path) -> None:
    kubernetes_validate.validate(load(path), "1.33", strict=True)


def test_the_kustomization_names_what_is_there() -> None:
    kustomization = load(DEPLOY / "kubernetes" / "kustomization.yaml")
    (maps,) = kustomization["configMapGenerator"]
    assert sorted(kustomization["resources"]) == [path.name for path in MANIFESTS]
    assert all((DEPLOY / "kubernetes" / name).exists() for name in maps["files"])


def test_a_pod_is_given_the_time_that_an_end_takes() -> None:
    pod = load(DEPLOY / "kubernetes" / "deployment.yaml")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    check_flags(container["args"])
    assert pod["terminationGracePeriodSeconds"] >= kill_after_s(container["args"])


def test_the_service_finds_the_pods() -> None:
    labels = load(DEPLOY / "kubernetes" / "deployment.yaml")["spec"]["template"]["metadata"]["labels"]
    assert load(DEPLOY / "kubernetes" / "service.yaml")["spec"]["selector"].items() <= labels.items()


def test_compose_waits_for_what_the_gateway_needs_and_gives_it_time() -> None:
    services = load(DEPLOY / "compose.yaml")["services"]
    gateway = services["gateway"]
    check_flags(gateway["command"])
    assert set(gateway["depends_on"]) == set(services) - {"gateway"}
    assert all("healthcheck" in services[name] for name in gateway["depends_on"])
    assert int(gateway["stop_grace_period"].removesuffix("s")) >= kill_after_s(gateway["command"])
    for source in (volume.split(":")[0] for volume in gateway["volumes"]):
        assert not source.startswith(".") or (DEPLOY / source).exists()


def test_the_configuration_of_the_examples_works() -> None:
    assert config.load(str(DEPLOY / "kubernetes" / "headrace.toml")).tables.models


def test_the_unit_runs_and_reloads_the_command() -> None:
    (command,) = re.findall(r"^ExecStart=\S+/headrace serve (.*)$", UNIT, re.MULTILINE)
    check_flags(shlex.split(command))
    assert "ExecReload=/bin/kill -HUP $MAINPID" in UNIT
    (limit,) = re.findall(r"^TimeoutStopSec=(\d+)$", UNIT, re.MULTILINE)
    assert int(limit) >= kill_after_s(shlex.split(command))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "headrace.service"
    unit.write_text(UNIT.replace("/opt/headrace/bin/headrace", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if "headrace.service" in line] == []


def test_the_container_file_copies_what_is_there_and_runs_as_nobody() -> None:
    lines = (DEPLOY / "Containerfile").read_text().replace("\\\n", " ").splitlines()
    steps = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    known = {"ARG", "FROM", "WORKDIR", "COPY", "RUN", "USER", "ENV", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK"}
    assert {step for step, _ in steps} <= known | {"ENTRYPOINT", "CMD"}
    for folder in re.findall(r"\./[a-z0-9/-]+", " ".join(text for step, text in steps if step == "RUN")):
        assert (DEPLOY.parent / folder / "pyproject.toml").exists(), folder
    assert ["USER", "10001"] in steps
