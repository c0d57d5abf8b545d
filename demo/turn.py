"""One turn of the wheel on this machine alone: requests, feedback, dataset, evaluation, optimization, evaluation.

A local model classifies short texts. Real requests go through the official OpenAI SDK to a gateway on SQLite;
the true labels come back as demonstrations; their train part becomes examples for a DICL variant; baseline and
new variant are judged on the same test rows, beside a 1-nearest-neighbour classifier that needs no LLM at all.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import report
import tomlkit
from gateway import Gateway
from openai import OpenAI
from rich.console import Console
from rich.progress import track
from task import LABEL, Row, read_rows, sample, write_config

HERE = Path(__file__).parent
HEADRACE = str(Path(sys.executable).with_name("headrace"))
MODELS = ("smollm2-135m", "minilm")
DATASET = "labelled"
FUNCTION = "classify"
CONCURRENCY = 2
CONFIG = "{headrace,optimized}.toml"

console = Console(width=max(Console().width, 110))


def main() -> None:
    """Run the demo; exits with 1 if a step fails."""
    options = _options()
    began = time.perf_counter()
    rows = sample(read_rows(options.data, options.text_key, options.label_key), options.rows, options.seed)
    labels = sorted({row.label for row in rows})
    console.rule(f"{len(rows)} texts, {len(labels)} labels, from {options.data.name}")
    _headrace("models", "pull", *MODELS)
    pulled = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="headrace-demo-") as scratch:
        folder = Path(scratch) if options.folder is None else options.folder
        write_config(folder, labels, k=options.k)
        with Gateway(HEADRACE, folder) as gateway:
            _send_requests(gateway, rows)
            _make_dataset(gateway)
            neighbour = _nearest_neighbour(gateway)
        baseline = _evaluate(folder, "baseline", options)
        _optimize(folder)
        dicl = _evaluate(folder, "dicl", options)
        wanted = [line["datapoint"]["id"] if "datapoint" in line else line["datapoint_id"] for line in baseline]
        results = [
            report.Result.of("baseline (zero-shot)", baseline),
            report.Result.of(f"dicl (k = {options.k})", dicl),
            report.Result("1-nearest-neighbour, no LLM", [neighbour[id_] for id_ in wanted]),
        ]
        report.show(console, results)
        report.draw(results, options.chart)
    console.print(f"chart: {options.chart}")
    console.print(f"{time.perf_counter() - pulled:.0f} s, and {pulled - began:.0f} s for the models")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=HERE / "support.jsonl", help="JSON lines with text and label")
    parser.add_argument("--text-key", default="text")
    parser.add_argument("--label-key", default="intent")
    parser.add_argument("--rows", type=int, help="a balanced random sample of this many rows (default: all)")
    parser.add_argument("--test-rows", type=int, help="judge on a random sample of the test split (default: all of it)")
    parser.add_argument("--k", type=int, default=8, help="examples shown by the DICL variant")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="fewer rows: for a first look, and for CI")
    parser.add_argument("--chart", type=Path, default=Path("headrace-demo.png"))
    parser.add_argument("--folder", type=Path, help="keep configuration and database in this existing folder")
    options = parser.parse_args()
    if options.quick:
        options.rows = options.rows or 96
        options.k = min(options.k, 4)
    return options


def _headrace(*arguments: str, cwd: Path | None = None) -> str:
    """Run the command; its progress is shown, its output returned."""
    done = subprocess.run([HEADRACE, *arguments], cwd=cwd, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.stdout.write(done.stdout)
        raise SystemExit(f"headrace {arguments[0]} failed")
    return done.stdout


def _send_requests(gateway: Gateway, rows: Sequence[Row]) -> None:
    """Ask, and say what would have been right: the way an application meets its users. Two at a time."""
    client = OpenAI(base_url=f"{gateway.url}/openai/v1", api_key="none needed")

    def ask(row: Row) -> bool:
        answer = client.chat.completions.create(
            model=f"tensorzero::function_name::{FUNCTION}", messages=[{"role": "user", "content": row.text}]
        )
        gateway.post(
            "/feedback", {"metric_name": "demonstration", "inference_id": answer.id, "value": {LABEL: row.label}}
        )
        said = json.loads(answer.choices[0].message.content or "{}")
        return bool(said.get(LABEL) == row.label)

    with ThreadPoolExecutor(CONCURRENCY) as pool:
        answers = track(pool.map(ask, rows), "requests and feedback", len(rows), console=console, transient=True)
        hits = sum(answers)
    console.print(
        f"sent {len(rows)} requests with the OpenAI SDK; {hits} answers were right; {len(rows)} demonstrations"
    )


def _make_dataset(gateway: Gateway) -> None:
    wanted = {"type": "inference_query", "function_name": FUNCTION, "output_source": "demonstration"}
    made = gateway.post(f"/v1/datasets/{DATASET}/from_inferences", wanted)
    counts = {split: len(_datapoints(gateway, [split])) for split in ("train", "validation", "test")}
    shown = ", ".join(f"{count} {split}" for split, count in counts.items())
    console.print(f"dataset {DATASET!r}: {len(made['ids'])} datapoints ({shown}); test is sealed from optimizers")


def _datapoints(gateway: Gateway, splits: Sequence[str]) -> list[dict[str, Any]]:
    body = {"splits": list(splits), "limit": 1_000_000}
    found: list[dict[str, Any]] = gateway.post(f"/v1/datasets/{DATASET}/list_datapoints", body)["datapoints"]
    return found


def _nearest_neighbour(gateway: Gateway) -> dict[str, bool]:
    """Whether the label of the nearest train text is right, for each test datapoint. No LLM takes part."""
    train, test = _datapoints(gateway, ["train"]), _datapoints(gateway, ["test"])
    client = OpenAI(base_url=f"{gateway.url}/openai/v1", api_key="none needed")

    def embed(datapoints: Sequence[dict[str, Any]]) -> list[list[float]]:
        texts = [point["input"]["messages"][0]["content"][0]["text"] for point in datapoints]
        vectors: list[list[float]] = []
        for start in range(0, len(texts), 32):
            answer = client.embeddings.create(
                model="tensorzero::embedding_model_name::minilm", input=texts[start : start + 32]
            )
            vectors += [item.embedding for item in answer.data]
        return vectors

    labels = [point["output"]["parsed"][LABEL] for point in train]
    known = embed(train)
    right = {}
    for point, vector in zip(test, embed(test), strict=True):
        nearest = max(range(len(known)), key=lambda at: sum(a * b for a, b in zip(vector, known[at], strict=True)))
        right[point["id"]] = labels[nearest] == point["output"]["parsed"][LABEL]
    return right


def _evaluate(folder: Path, variant: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """One line per datapoint of the test split, in the order of ids."""
    sampled = ["--max-datapoints", str(options.test_rows), "--seed", str(options.seed)] if options.test_rows else []
    out = _headrace(
        *("evaluate", "--config", CONFIG, "--function-name", FUNCTION, "--dataset-name", DATASET),
        *(
            "--variant-name",
            variant,
            "--split",
            "test",
            "--concurrency",
            str(CONCURRENCY),
            "--format",
            "jsonl",
            *sampled,
        ),
        cwd=folder,
    )
    head, *lines = [json.loads(line) for line in out.splitlines()]
    console.print(f"evaluated {variant!r} on {head['num_datapoints']} datapoints of split {head['split']!r}")
    return lines


def _optimize(folder: Path) -> None:
    """Run the optimizer; its variant goes beside the configuration, greedy like the baseline."""
    _headrace(
        *("optimize", "--config", CONFIG, "--optimizer", "examples", "--dataset-name", DATASET),
        *("--out", "optimized.toml"),
        cwd=folder,
    )
    path = folder / "optimized.toml"
    tree = tomlkit.parse(path.read_text(encoding="utf-8"))
    for variant in tree["functions"][FUNCTION]["variants"].values():
        variant["temperature"] = 0.0
    path.write_text(tomlkit.dumps(tree), encoding="utf-8")
    console.print(f"optimized: wrote {path.name}")


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    main()
