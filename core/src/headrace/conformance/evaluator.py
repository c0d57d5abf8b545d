"""What every evaluator promises: the same score for the same output, None where it cannot judge, errors of one kind.

Features for ``lacks``: reference (it judges without one), failure (there is no output it cannot judge).
"""

# ruff: noqa: D102 - the name of a test is its promise

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import ClassVar

import pytest
from msgspec import Struct, structs

from ..contracts import Evaluator, Services
from ..errors import EvaluatorError
from ..ids import new_id
from ..records import Datapoint
from ..types import Input, InputMessage, JsonOutput, Output, Split, Text
from .script import Script, services
from .suite import Suite, needs


class Judged(Struct, frozen=True):
    """One judgement that an evaluator has to make. ``reference`` is the datapoint's output."""

    reference: Output | None
    output: Output
    score: bool | float | None


def chat(text: str) -> Output:
    """A chat function's output of one text."""
    return (Text(text),)


def datapoint(text: str = "2 + 2?", output: Output | None = None, *, split: Split = "validation") -> Datapoint:
    """A datapoint of the function ``f`` in the dataset ``d``, of the type that fits its output."""
    return Datapoint(
        id=new_id(),
        dataset_name="d",
        function_name="f",
        function_type="json" if isinstance(output, JsonOutput) else "chat",
        input=Input(messages=(InputMessage("user", (Text(text),)),)),
        output=output,
        split=split,
        group=text,
        content_key=text,
        updated_at=datetime(2026, 1, 2, tzinfo=UTC),
        snapshot_hash="1",
    )


class EvaluatorConformance(Suite):
    """Subclass with ``build`` and judgements; ``worse_then_better`` are two outputs for one ``reference``."""

    judged: ClassVar[Sequence[Judged]] = ()
    worse_then_better: ClassVar[tuple[Judged, Judged]]
    broken: ClassVar[Judged]

    def build(self, services: Services) -> Evaluator:
        """The evaluator under test."""
        raise NotImplementedError(f"{type(self).__name__}.build: return the evaluator under test")

    def evaluator(self) -> Evaluator:
        """The evaluator with an outside world that answers nothing."""
        return self.build(services(Script()))

    def cases(self) -> list[Judged]:
        """All judgements that have a score."""
        return [each for each in (*self.judged, *self.worse_then_better) if each.score is not None]

    async def test_scores_as_it_says(self) -> None:
        evaluator = self.evaluator()
        for case in (*self.judged, *self.worse_then_better):
            found = await evaluator.evaluate(datapoint(output=case.reference), case.output)
            assert found == case.score, case

    async def test_scores_are_of_the_declared_type(self) -> None:
        evaluator = self.evaluator()
        kind = {"boolean": bool, "float": float}[evaluator.output_type]
        for case in self.cases():
            assert type(await evaluator.evaluate(datapoint(output=case.reference), case.output)) is kind

    async def test_better_is_the_declared_direction(self) -> None:
        evaluator = self.evaluator()
        worse, better = [
            await evaluator.evaluate(datapoint(output=case.reference), case.output) for case in self.worse_then_better
        ]
        assert worse is not None and better is not None
        assert better > worse if evaluator.optimize == "max" else better < worse

    async def test_says_the_same_twice_and_from_a_fresh_object(self) -> None:
        evaluator, fresh = self.evaluator(), self.evaluator()
        for case in self.cases():
            given = datapoint(output=case.reference)
            first = await evaluator.evaluate(given, case.output)
            assert await evaluator.evaluate(given, case.output) == first
            assert await fresh.evaluate(given, case.output) == first

    async def test_what_surrounds_a_datapoint_does_not_change_its_score(self) -> None:
        evaluator = self.evaluator()
        for case in self.cases():
            given = datapoint(output=case.reference)
            moved = structs.replace(given, id=new_id(), dataset_name="other", split="test", tags={"a": "b"})
            assert await evaluator.evaluate(moved, case.output) == await evaluator.evaluate(given, case.output)

    @needs("reference")
    async def test_without_a_reference_there_is_no_score(self) -> None:
        evaluator = self.evaluator()
        for case in self.cases():
            assert await evaluator.evaluate(datapoint(output=None), case.output) is None

    @needs("failure")
    async def test_failing_to_judge_is_an_evaluator_error(self) -> None:
        with pytest.raises(EvaluatorError):
            await self.evaluator().evaluate(datapoint(output=self.broken.reference), self.broken.output)
