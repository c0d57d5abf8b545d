"""The task: labelled texts in, a configuration for the gateway out."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LABEL = "label"

_CONFIG = """\
[gateway.observability]
backend = "sqlite"

[sqlite]
path = "headrace.db"

[models.smollm]
routing = ["local"]

[models.smollm.providers.local]
type = "llamacpp"
model = "smollm2-135m"
n_ctx = 8192
# The models are free; the prices are examples, so that the table can show what costs would look like.
cost = [
    { pointer = "/usage/prompt_tokens", cost_per_million = 0.05 },
    { pointer = "/usage/completion_tokens", cost_per_million = 0.20 },
]

[embedding_models.minilm]
routing = ["local"]

[embedding_models.minilm.providers.local]
type = "llamacpp"
model = "minilm"
cost = [{ pointer = "/usage/prompt_tokens", cost_per_million = 0.01 }]

[functions.classify]
type = "json"
output_schema = "label.json"

[functions.classify.variants.baseline]
type = "chat_completion"
model = "smollm"
templates.system.path = "classify.minijinja"
json_mode = "strict"
temperature = 0.0
max_tokens = 48

# Who else is added gets no callers: somebody decides that on the numbers.
[functions.classify.experimentation]
type = "static"
candidate_variants = ["baseline"]

[functions.classify.evaluators.correct]
type = "exact_match"

[optimizers.examples]
type = "dicl"
function_name = "classify"
variant_name = "dicl"
embedding_model = "minilm"
model = "smollm"
k = {k}
"""

_SYSTEM = """\
Classify the user's text. The labels are:
{labels}
Answer with JSON: {{"label": "..."}}, where the label is the one that fits best.
"""


@dataclass(frozen=True)
class Row:
    """One text and its true label."""

    text: str
    label: str


def read_rows(path: Path, text_key: str, label_key: str) -> list[Row]:
    """Every line of a JSON-lines file. Exits with a line that says what is wrong."""
    try:
        lines = path.read_text(encoding="utf-8").strip().split("\n")  # a text may hold other line ends, like U+2028
    except OSError as error:
        raise SystemExit(f"{path}: {error.strerror}") from None
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            value = json.loads(line)
            rows.append(Row(str(value[text_key]), str(value[label_key])))
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise SystemExit(f"{path}:{number}: not an object with {text_key!r} and {label_key!r}: {error!r}") from None
    return rows


def sample(rows: Sequence[Row], count: int | None, seed: int) -> list[Row]:
    """A balanced random sample: label by label in turn, in random order."""
    rng = random.Random(seed)
    by_label: dict[str, list[Row]] = defaultdict(list)
    for row in rng.sample(list(rows), len(rows)):
        by_label[row.label].append(row)
    queues = [by_label[label] for label in sorted(by_label)]
    chosen = [queue[turn] for turn in range(max(map(len, queues))) for queue in queues if turn < len(queue)]
    chosen = chosen[:count]
    rng.shuffle(chosen)
    return chosen


def write_config(folder: Path, labels: Sequence[str], *, k: int) -> None:
    """The whole configuration: one TOML file, one template, one schema."""
    schema = {
        "type": "object",
        "properties": {LABEL: {"type": "string", "enum": list(labels)}},
        "required": [LABEL],
        "additionalProperties": False,
    }
    listed = "\n".join(f"- {label}" for label in labels)
    (folder / "headrace.toml").write_text(_CONFIG.replace("{k}", str(k)), encoding="utf-8")
    (folder / "classify.minijinja").write_text(_SYSTEM.format(labels=listed), encoding="utf-8")
    (folder / "label.json").write_text(json.dumps(schema, indent=2), encoding="utf-8")
