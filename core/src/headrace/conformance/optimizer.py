"""What every optimizer promises: it learns from open data only, and its handle is all that a poll needs.

Features for ``lacks``: data (it works without a single datapoint), poll (only the object that launched can poll).
"""

# ruff: noqa: D102 - the name of a test is its promise

from __future__ import annotations

from collections.abc import Sequence

import pytest
from anyio import sleep
from anyio.lowlevel import checkpoint
from msgspec import json

from ..contracts import FunctionSpec, Optimizer, Services
from ..errors import HeadraceError, SealedSplit
from ..jobs import Completed, JobStatus, Pending
from ..records import Datapoint, Example
from ..types import FunctionType, JsonOutput, Split
from .evaluator import chat, datapoint
from .models import word_vector
from .script import Script, services
from .suite import Suite, needs
from .variant import function_spec

SECRET = "xyzzy"  # the test split says it in every datapoint; whatever repeats it has looked there
POLLS = 1_000


class BenchFake:
    """A Workbench in memory that notes everything: which splits were ``asked`` for, ``embedded`` texts, ``progress``.

    Give it an ``error`` and every embedding call fails with it.
    """

    def __init__(
        self,
        datapoints: Sequence[Datapoint] = (),
        *,
        function: FunctionSpec | None = None,
        examples: Sequence[Example] = (),
        error: Exception | None = None,
    ) -> None:
        self.function = function or function_spec()
        self.asked: list[Split] = []
        self.embedded: list[tuple[str, Sequence[str]]] = []
        self.embedding_now = 0
        self.most_at_once = 0
        self.examples = list(examples)
        self.progress: list[tuple[int, int]] = []
        self._datapoints = list(datapoints)
        self._error = error

    async def datapoints(self, split: Split) -> list[Datapoint]:
        """The datapoints of an open split. Raise SealedSplit."""
        self.asked.append(split)
        await checkpoint()
        if split == "test":
            raise SealedSplit("an optimization cannot read the test split")
        return [each for each in self._datapoints if each.split == split]

    async def embed(self, model_name: str, texts: Sequence[str]) -> list[tuple[float, ...]]:
        """One vector per text; texts that share words are near."""
        self.embedded.append((model_name, list(texts)))
        self.embedding_now += 1
        self.most_at_once = max(self.most_at_once, self.embedding_now)
        try:
            await sleep(0.001)
            if self._error is not None:
                raise self._error
        finally:
            self.embedding_now -= 1
        return [word_vector(text) for text in texts]

    async def count_examples(self, variant_name: str) -> int:
        """How many examples the variant has."""
        await checkpoint()
        return sum(each.variant_name == variant_name for each in self.examples)

    async def add_examples(self, examples: Sequence[Example]) -> None:
        """Keep them."""
        await checkpoint()
        self.examples += examples

    def advance(self, done: int, total: int) -> None:
        """Note it."""
        self.progress.append((done, total))


def some_datapoints(type_: FunctionType = "chat") -> list[Datapoint]:
    """Ten for training, five each to validate and to test; the latter hold ``SECRET``."""
    shares: tuple[tuple[Split, int], ...] = (("train", 10), ("validation", 5), ("test", 5))
    found = []
    for split, count in shares:
        for number in range(count):
            said = SECRET if split == "test" else f"{split} {number}"
            output = (
                chat(f"answer to {said}") if type_ == "chat" else JsonOutput(f'{{"answer":"{said}"}}', {"answer": said})
            )
            found.append(datapoint(f"question about {said}", output, split=split))
    return found


class OptimizerConformance(Suite):
    """Subclass with ``build``, and with ``bench`` where the optimizer wants other data than questions and answers."""

    def build(self, services: Services) -> Optimizer:
        """The optimizer under test, for the function ``f``."""
        raise NotImplementedError(f"{type(self).__name__}.build: return the optimizer under test")

    def bench(self) -> BenchFake:
        """What it works on."""
        return BenchFake(some_datapoints())

    def optimizer(self) -> Optimizer:
        """The optimizer with an outside world that answers nothing."""
        return self.build(services(Script()))

    async def finished(self, optimizer: Optimizer, handle: object) -> JobStatus:
        """Poll, with a handle that went through JSON, until it is no longer pending."""
        for _ in range(POLLS):
            status = await optimizer.poll(json.decode(json.encode(handle), type=dict))
            if not isinstance(status, Pending):
                return status
            await sleep(0.01)
        raise AssertionError(f"still pending after {POLLS} polls")

    async def test_yields_something(self) -> None:
        optimizer = self.optimizer()
        status = await self.finished(optimizer, await optimizer.launch(self.bench()))
        assert isinstance(status, Completed), status
        assert json.decode(json.encode(status))["status"] == "completed"
        assert status.output.content

    async def test_never_asks_for_the_test_split(self) -> None:
        bench = self.bench()
        await self.optimizer().launch(bench)
        assert "test" not in bench.asked
        assert bench.asked

    async def test_nothing_of_the_test_split_is_in_what_it_makes(self) -> None:
        optimizer, bench = self.optimizer(), self.bench()
        handle = await optimizer.launch(bench)
        made = str((handle, await self.finished(optimizer, handle), bench.examples, bench.embedded))
        assert SECRET not in made

    @needs("poll")
    async def test_a_fresh_object_can_poll(self) -> None:
        optimizer = self.optimizer()
        handle = await optimizer.launch(self.bench())
        assert await self.finished(self.optimizer(), handle) == await self.finished(optimizer, handle)

    async def test_progress_goes_forward_and_ends(self) -> None:
        bench = self.bench()
        await self.optimizer().launch(bench)
        done = [each for each, _ in bench.progress]
        assert done == sorted(done)
        assert all(0 <= each <= total for each, total in bench.progress)

    @needs("data")
    async def test_without_data_it_says_so(self) -> None:
        with pytest.raises(HeadraceError):
            await self.optimizer().launch(BenchFake(function=self.bench().function))

    async def test_a_handle_of_another_optimizer_is_refused(self) -> None:
        with pytest.raises(HeadraceError):
            await self.optimizer().poll({"type": "somebody else's"})
