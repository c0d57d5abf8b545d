"""Records for the bench of stores: cheap to make, the same at every run, and as large as those of a chat."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from uuid import UUID

from headrace.filters import BooleanMetric
from headrace.queries import InferenceQuery
from headrace.records import BooleanFeedback, InferenceRecord, ModelInferenceRecord
from headrace.types import Input, InputMessage, Message, Text

FUNCTIONS = 10
ONE_IN = 10_000
PAGE = 100
_SNAPSHOT = str(2**255 + 7)
_TEXTS = 500
_SPREAD_MS = 24 * 3600 * 1000


def text_of(dice: random.Random, characters: int) -> str:
    """Words that do not compress better than prose does."""
    words = ["".join(dice.choices("etaoinshrdlucmfw", k=dice.randint(2, 9))) for _ in range(characters // 6)]
    return " ".join(words)[:characters]


def request_body(characters: int = 700) -> bytes:
    """A request to ``/inference``, of which the echo makes raw texts of 1 to 2 kB in all."""
    text = text_of(random.Random(1), characters)
    return json.dumps({"function_name": "f0", "input": {"messages": [{"role": "user", "content": text}]}}).encode()


class Rows:
    """``count`` inferences of the day before, a verdict on each, and model inferences to measure with.

    Every second inference is ``liked`` or not, by chance. Of every other it is said that it is ``solved``, but for one
    in 10,000 of all: these are what the rare query looks for.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        dice = random.Random(7)
        self._began_ms = int(time.time() * 1000) - _SPREAD_MS
        self._texts = [text_of(dice, dice.randint(150, 450)) for _ in range(_TEXTS)]
        self._inputs = [Input(messages=(InputMessage("user", (Text(text),)),)) for text in self._texts]
        self._outputs = [(Text(text),) for text in reversed(self._texts)]
        self._messages = [(Message("user", (Text(text),)),) for text in self._texts]
        self._raw = [json.dumps({"id": n, "content": text_of(dice, dice.randint(950, 1950))}) for n in range(_TEXTS)]
        self._coins = [dice.random() < 0.5 for _ in range(997)]

    def inference(self, n: int) -> InferenceRecord:
        """The n-th, in an episode of its own."""
        return InferenceRecord(
            id=self._id(n, 1),
            function_name=f"f{n // 2 % FUNCTIONS}",
            variant_name="plain",
            function_type="chat",
            episode_id=self._id(n, 2),
            input=self._inputs[n % _TEXTS],
            output=self._outputs[n % _TEXTS],
            variant_probability=1.0,
            snapshot_hash=_SNAPSHOT,
            processing_time_ms=n % 900,
        )

    def verdict(self, n: int) -> BooleanFeedback:
        """What is said of the n-th."""
        name, value = ("liked", self._coins[n % len(self._coins)]) if n % 2 else ("solved", not _is_rare(n // 2))
        return BooleanFeedback(
            id=self._id(n, 3), target_id=self._id(n, 1), metric_name=name, value=value, snapshot_hash=_SNAPSHOT
        )

    def model_inference(self, n: int) -> ModelInferenceRecord:
        """One call of a provider, with 2 to 4 kB of raw texts in all."""
        return ModelInferenceRecord(
            id=self._id(n, 4),
            inference_id=self._id(n, 1),
            function_name=f"f{n // 2 % FUNCTIONS}",
            variant_name="plain",
            model_name="echo",
            model_provider_name="echo",
            snapshot_hash=_SNAPSHOT,
            raw_request=self._raw[n % _TEXTS],
            raw_response=self._raw[-n % _TEXTS],
            input_messages=self._messages[n % _TEXTS],
            output=self._outputs[n % _TEXTS],
            finish_reason="stop",
            input_tokens=60,
            output_tokens=60,
            response_time_ms=n % 900,
        )

    def _id(self, n: int, kind: int) -> UUID:
        ms = self._began_ms + n * _SPREAD_MS // max(self.count, 1)
        return UUID(int=ms << 80 | 7 << 76 | 0b10 << 62 | n << 3 | kind)


def queries(count: int) -> Iterator[tuple[str, list[InferenceQuery], int]]:
    """What is asked of ``count`` rows: its name, the query for each function or for all, and how many it must find."""
    for rarity, metric, value in (("half", "liked", True), ("1 in 10,000", "solved", False)):
        chosen = BooleanMetric(metric, "inference", value)
        rare = count // ONE_IN
        every = InferenceQuery(filters=chosen, limit=PAGE)
        each = [InferenceQuery(function_name=f"f{n}", filters=chosen, limit=PAGE) for n in range(FUNCTIONS)]
        yield f"{rarity}, all functions", [every], min(PAGE, rare if metric == "solved" else count // 5)
        yield f"{rarity}, one function", each, min(PAGE, rare // FUNCTIONS if metric == "solved" else count // 50)


def _is_rare(n: int) -> bool:
    """One of every 5,000, at a place that differs from one block to the next, and so does the function."""
    block, place = divmod(n, ONE_IN // 2)
    return place == (block * 1237 + 617) % (ONE_IN // 2)
