"""A made-up history: about 1,500 records of all kinds that belong together, the same ones for the same seed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from random import Random
from typing import Any, Final
from uuid import UUID

from msgspec import structs

from ..records import BooleanFeedback, ConfigSnapshot, Datapoint, InferenceRecord, Record
from ..types import Input, InputMessage, JsonOutput, Text
from . import rows
from .batches import batch_inference, batch_request
from .rows import START, TEXT

FUNCTIONS: Final = ("write", "Write", "gr\u00f6\u00dfe", TEXT)
VARIANTS: Final = ("a", "b", "\U0001f600")
MODELS: Final = ("m1", "m2", "M1")
PROVIDERS: Final = ("p1", "p2")
METRICS: Final = ("good", "stars", "Good", TEXT)
TAGS: Final = ("env", "Env", "a.b", TEXT, "")
VALUES: Final = ("1", "2", "", "x' OR '1'='1")
DATASETS: Final = ("d", "D", TEXT)
NEAR: Final = ("n1", "n2", "n3", "N1")
WORDS: Final = (
    "apple",
    "APPLE",
    "Apple pie",
    "100%",
    "it_s",
    "\\",
    '"',
    "\n",
    "\u00df\U0001f600",
    "null",
    "\x00",
    TEXT,
)
_SPAN_MS: Final = 25 * 86_400_000


class History:
    """Records in an order in which they may be written; some ids come twice, some points of time are shared."""

    def __init__(self, seed: int, size: int = 400) -> None:
        self.random = Random(seed)
        self._ids: set[int] = set()
        self.episodes = [self.id() for _ in range(size // 5)]
        self.records: list[Record] = []
        inferences = [self._inference() for _ in range(size)]
        self.inferences = [record.id for record in inferences]
        self.records += inferences
        for _ in range(size):
            self.records.append(self._attempt())
        for _ in range(size):
            self.records.append(self._feedback())
        self._data(size // 5)
        self._platform()
        self.random.shuffle(self.records)
        # Somebody sends a part again, which may be what a failed write had left.
        self.records += self.random.sample(self.records, size // 10)
        self._replacements()

    def id(self) -> UUID:
        """A new one, of some instant of the span; a few instants have several."""
        ms = int(START.timestamp() * 1000) + self.random.randrange(_SPAN_MS) // 1000 * self.random.choice((1, 1000))
        while (value := ms << 80 | 7 << 76 | 0b10 << 62 | self.random.getrandbits(62)) in self._ids:
            pass
        self._ids.add(value)
        return UUID(int=value)

    def one_of(self, *values: Any) -> Any:
        """Any of them."""
        return self.random.choice(values)

    def some(self, values: Sequence[Any], most: int = 3) -> tuple[Any, ...]:
        """Up to so many of them."""
        return tuple(self.random.sample(list(values), min(self.random.randint(0, most), len(values))))

    def tags(self) -> dict[str, str]:
        """A few."""
        return {key: self.one_of(*VALUES) for key in self.some(TAGS)}

    def words(self) -> str:
        """A text."""
        return " ".join(self.random.choices(WORDS, k=self.random.randint(0, 4)))

    def target(self) -> UUID:
        """An inference, an episode, or nobody."""
        # Few, so that many have several values.
        few: list[UUID] = [*self.inferences[:60], *self.episodes[:30], self.id()]
        return self.random.choice(few)

    def _input(self) -> Input:
        return Input((InputMessage("user", (Text(self.words()), Text(self.words()))),), self.one_of(None, self.words()))

    def _inference(self) -> Any:
        json = self.random.random() < 0.3
        return rows.inference(
            0,
            id=self.id(),
            function_name=self.one_of(*FUNCTIONS),
            variant_name=self.one_of(*VARIANTS),
            function_type="json" if json else "chat",
            episode_id=self.one_of(*self.episodes),
            input=self._input(),
            output=JsonOutput(self.words(), self.one_of(None, {"a": self.words()})) if json else (Text(self.words()),),
            variant_probability=self.random.random(),
            processing_time_ms=self.one_of(None, self.random.randrange(5000)),
            ttft_ms=self.one_of(None, self.random.randrange(500)),
            tags=self.tags(),
        )

    def _attempt(self) -> Record:
        return structs.replace(
            rows.model_inference(0, self.one_of(*self.inferences)),
            id=self.id(),
            function_name=self.one_of(*FUNCTIONS),
            variant_name=self.one_of(*VARIANTS),
            model_name=self.one_of(*MODELS),
            model_provider_name=self.one_of(*PROVIDERS),
            raw_request=self.words(),
            raw_response=self.words(),
            input_tokens=self.one_of(None, self.random.randrange(10_000), 2**40),
            output_tokens=self.one_of(None, self.random.randrange(1000)),
            provider_cache_read_input_tokens=self.one_of(None, 0, 7),
            cost=self.one_of(None, Decimal(self.random.randrange(10**9)).scaleb(-9), Decimal("1.50")),
            response_time_ms=self.one_of(None, self.random.randrange(5000)),
            ttft_ms=self.one_of(None, self.random.randrange(500)),
            cached=self.random.random() < 0.2,
            error=self.one_of(None, None, None, "away"),
        )

    def _feedback(self) -> Record:
        name, target = self.one_of(*METRICS), self.target()
        of: dict[str, Any] = {"id": self.id(), "tags": self.tags()}
        match self.random.randrange(8):
            case 0:
                return structs.replace(rows.comment(0, target, self.words()), **of)
            case 1:
                return structs.replace(rows.demonstration(0, self.one_of(*self.inferences), self.words()), **of)
            case 2 | 3 | 4:
                value = self.one_of(0.0, 1.0, -2.5, self.random.gauss(0, 100), 1e100)
                return structs.replace(rows.number(0, target, value, metric_name=name), **of)
            case _:
                value = self.one_of(True, False)
                return structs.replace(rows.boolean(0, target, value=value, metric_name=name), **of)

    def _data(self, size: int) -> None:
        self.datapoints = [self.id() for _ in range(size)]
        for id_ in self.datapoints:
            point = rows.datapoint(
                0,
                id=id_,
                dataset_name=self.one_of(*DATASETS),
                function_name=self.one_of(*FUNCTIONS),
                input=self._input(),
                output=self.one_of(None, (Text(self.words()),)),
                split=self.one_of("train", "validation", "test"),
                content_key=self.one_of("k1", "k2", "k3"),
                near_keys=self.some(NEAR),
                episode_id=self.one_of(None, *self.episodes[:3]),
                updated_at=START + timedelta(seconds=self.random.randrange(20), microseconds=self.one_of(0, 0, 1)),
                staled_at=self.one_of(None, None, START),
                tags=self.tags(),
            )
            self.records.append(point)
            judged = rows.human_feedback(0, id_, metric_name=self.one_of(*METRICS), value=self.one_of(True, False, 0.5))
            self.records.append(structs.replace(judged, id=self.id(), output=self.one_of("[]", "{}")))
            self.records.append(rows.holdout_access(0, id=self.id(), dataset_name=self.one_of(*DATASETS)))
            of = {"function_name": self.one_of(*FUNCTIONS[:2]), "variant_name": self.one_of(*VARIANTS)}
            # Quarters are exact in 32 bits.
            embedding = tuple(self.random.randrange(-8, 9) / 4 for _ in range(self.one_of(2, 3, 3, 3)))
            self.records.append(rows.example(0, embedding, id=self.id(), input=self.words(), **of))

    def _platform(self) -> None:
        self.hashes = [str(self.random.getrandbits(256)) for _ in range(5)] + ["7", "a", "\u00e4"]
        self.records += [rows.snapshot(hash=hash_, tags=self.tags()) for hash_ in self.hashes]
        self.batches = [self.id() for _ in range(6)]
        for batch_id in self.batches * 5:
            of: dict[str, Any] = {"batch_id": batch_id}
            status = self.one_of("pending", "pending", "pending", "completed", "failed")
            self.records.append(batch_request(0, id=self.id(), status=status, raw_response=self.words(), **of))
            self.records.append(batch_inference(0, id=self.id(), input=self._input(), tags=self.tags(), **of))
        for n in range(10):
            # Ids that other kinds have too: an episode of a workflow, a run under an inference's id.
            self.records.append(rows.workflow_episode(0, id=self.episodes[n], run_id=self.inferences[n]))
            self.records.append(rows.workflow_run(0, id=self.inferences[n], tags=self.tags()))
            self.records.append(rows.api_key(n, description=self.words()))
            self.records.append(rows.evaluation_run(n))

    def _replacements(self) -> None:
        """Later words of the kinds that replace, and late ones of those that do not."""
        for record in self.random.sample(self.records, len(self.records) // 4):
            match record:
                case Datapoint():
                    at = START + timedelta(seconds=self.random.randrange(30))
                    self.records.append(
                        structs.replace(record, updated_at=at, near_keys=self.some(NEAR), tags=self.tags())
                    )
                case ConfigSnapshot():
                    self.records.append(structs.replace(record, last_used=START))
                case InferenceRecord():
                    self.records.append(structs.replace(record, tags={"late": "1"}))
                case BooleanFeedback():
                    self.records.append(structs.replace(record, value=not record.value))
                case _:
                    pass
