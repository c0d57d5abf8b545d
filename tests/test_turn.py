"""One turn of the wheel by command, on the echo provider: serve, feedback, dataset, optimize, evaluate."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

HEADRACE = str(Path(sys.executable).with_name("headrace"))

TOML = """
[gateway.observability]
backend = "sqlite"

[models.echo]
routing = ["echo"]
[models.echo.providers.echo]
type = "echo"

[embedding_models.echo]
routing = ["echo"]
[embedding_models.echo.providers.echo]
type = "echo"

[functions.f]
type = "json"
[functions.f.variants.plain]
type = "chat_completion"
model = "echo"
json_mode = "off"
[functions.f.experimentation]
type = "static"
candidate_variants = ["plain"]
[functions.f.evaluators.correct]
type = "exact_match"

[optimizers.examples]
type = "dicl"
function_name = "f"
variant_name = "dicl"
embedding_model = "echo"
model = "echo"
k = 2
"""


def post(url: str, path: str, body: dict[str, Any]) -> Any:
    with urllib.request.urlopen(url + path, json.dumps(body).encode(), timeout=30) as reply:
        return json.load(reply)


def run(folder: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([HEADRACE, *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture(scope="module")
def recorded(serve_in: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration, and a database with a dataset of 40 demonstrated inferences, every fourth answered wrongly."""
    folder = tmp_path_factory.mktemp("recorded")
    with serve_in(folder)(TOML) as served:
        for index in range(40):
            text = json.dumps({"n": index})
            message = {"role": "user", "content": text}
            answer = post(served.url, "/inference", {"function_name": "f", "input": {"messages": [message]}})
            value = {"n": index if index % 4 else -1}
            target = answer["inference_id"]
            post(served.url, "/feedback", {"metric_name": "demonstration", "inference_id": target, "value": value})
        wanted = {"type": "inference_query", "function_name": "f", "output_source": "demonstration"}
        assert len(post(served.url, "/v1/datasets/d/from_inferences", wanted)["ids"]) == 40
        assert served.stop() == 0
    return folder


@pytest.fixture
def folder(recorded: Path, tmp_path: Path) -> Path:
    """A copy of both."""
    return shutil.copytree(recorded, tmp_path, dirs_exist_ok=True)


def test_the_loop_turns_by_command(folder: Path) -> None:
    base = ("--config", "{headrace,new}.toml", "--dataset-name", "d")
    run(folder, "optimize", *base, "--optimizer", "examples", "--out", "new.toml")
    assert (folder / "new.toml").read_text().startswith("[functions.f.variants.dicl]")

    lines = run(folder, "evaluate", *base, "--function-name", "f", "-v", "plain", "--format", "jsonl").stdout
    head, *points = [json.loads(line) for line in lines.splitlines()]
    assert (head["split"], head["variant_name"], head["num_datapoints"]) == ("test", "plain", len(points))
    scores = [point["evaluations"]["correct"] for point in points]
    expected = [point["datapoint"]["output"]["parsed"]["n"] != -1 for point in points]
    assert scores == expected

    shown = run(folder, "evaluate", *base, "--function-name", "f", "-v", "plain", "-v", "dicl", "-c", "4").stdout
    assert f"split test, n = {len(points)}" in shown
    assert f"dicl - plain, correct: -{sum(scores) / len(scores):.3f}" in shown
    assert f"n = {len(points)} pairs: 0 better, {sum(scores)} worse" in shown


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (("evaluate", "-d", "d", "--function-name", "nope", "-v", "plain"), "Unknown function: nope (known: f)"),
        (("evaluate", "-d", "d", "--function-name", "f", "-v", "nope"), "Unknown variant: nope"),
        (("evaluate", "-d", "nope", "--function-name", "f", "-v", "plain"), "dataset 'nope' has no datapoints of 'f'"),
        (
            ("evaluate", "-d", "d", "--function-name", "f", "-v", "plain", "--evaluator-names", "x"),
            "functions.f.evaluators: no 'x' (known: correct)",
        ),
        (("optimize", "-d", "d", "--optimizer", "nope"), "optimizers: no optimizer 'nope' (known: examples)"),
        (("optimize", "-d", "d", "--optimizer", "examples", "--out", "headrace.toml"), "there is a file already"),
        (("optimize", "-d", "nope", "--optimizer", "examples"), "there is nothing to learn from"),
    ],
    ids=["function", "variant", "dataset", "evaluator", "optimizer", "out", "empty"],
)
def test_what_is_wrong_is_one_line(folder: Path, arguments: tuple[str, ...], fragment: str) -> None:
    errors = run(folder, *arguments, "--config", "headrace.toml", code=1).stderr.strip().splitlines()
    assert len(errors) == 1
    assert fragment in errors[0]
