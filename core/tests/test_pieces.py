"""Streamed pieces: however an answer is cut, it comes together as it was."""

from __future__ import annotations

from decimal import Decimal
from random import Random

import pytest
from headrace.pieces import Pieces
from headrace.types import (
    Block,
    Chunk,
    Delta,
    Text,
    TextDelta,
    Thought,
    ThoughtDelta,
    ToolCall,
    ToolCallDelta,
    Unknown,
    UnknownDelta,
    Usage,
)


def merged(*deltas: Delta) -> tuple[Block, ...]:
    pieces = Pieces()
    for delta in deltas:
        pieces.add(Chunk(content=(delta,)))
    return pieces.blocks()


def test_nothing_is_nothing() -> None:
    pieces = Pieces()
    pieces.add(Chunk(raw="{}", raw_request="{}"))
    assert (pieces.blocks(), pieces.usage, pieces.finish_reason) == ((), None, None)


@pytest.mark.parametrize(
    ("deltas", "blocks"),
    [
        ([TextDelta("0", "a"), TextDelta("0", ""), TextDelta("0", "b")], (Text("ab"),)),
        ([TextDelta("0", "a"), TextDelta("1", "b"), TextDelta("0", "c")], (Text("ac"), Text("b"))),
        (
            [ToolCallDelta("1", "add", ""), ToolCallDelta("1", None, '{"x"'), ToolCallDelta("1", "", ":1}")],
            (ToolCall("1", "add", '{"x":1}'),),
        ),
        ([ToolCallDelta("1", "ad", ""), ToolCallDelta("1", "d", "{}")], (ToolCall("1", "add", "{}"),)),
        ([ToolCallDelta("1", None, "{}")], (ToolCall("1", "", "{}"),)),
        (
            [TextDelta("0", "a"), ToolCallDelta("0", "t", "{}"), TextDelta("0", "b")],
            (Text("ab"), ToolCall("0", "t", "{}")),
        ),
        ([UnknownDelta("0", {"a": 1}, "m", "p")], (Unknown({"a": 1}, "m", "p"),)),
        ([UnknownDelta("0", 1), UnknownDelta("1", 2)], (Unknown(1), Unknown(2))),
    ],
    ids=["text", "two-texts", "call", "name-in-parts", "no-name", "kinds-have-ids-of-their-own", "unknown", "unknowns"],
)
def test_deltas_merge_by_kind_and_id_in_order_of_appearance(deltas: list[Delta], blocks: tuple[Block, ...]) -> None:
    assert merged(*deltas) == blocks


@pytest.mark.parametrize(
    ("deltas", "thought"),
    [
        ([ThoughtDelta("0", text="a"), ThoughtDelta("0", text="b", signature="s")], Thought("ab", "s")),
        ([ThoughtDelta("0", signature="s"), ThoughtDelta("0", signature="t")], Thought(None, "st")),
        ([ThoughtDelta("0", text="")], Thought("")),
        ([ThoughtDelta("0")], Thought(None)),
        (
            [
                ThoughtDelta("0", summary_id="1", summary_text="x"),
                ThoughtDelta("0", summary_id="2", summary_text="z"),
                ThoughtDelta("0", summary_id="1", summary_text="y"),
            ],
            Thought(None, summary=[{"type": "summary_text", "text": "xy"}, {"type": "summary_text", "text": "z"}]),
        ),
        (
            [ThoughtDelta("0", text="a", provider_type="p", extra_data={"k": 1}), ThoughtDelta("0", text="b")],
            Thought("ab", provider_type="p", extra_data={"k": 1}),
        ),
        (
            [ThoughtDelta("0", extra_data={"k": 1}), ThoughtDelta("0", extra_data={"k": 2}, provider_type="p")],
            Thought(None, provider_type="p", extra_data={"k": 2}),
        ),
    ],
    ids=["text", "signature", "empty-text", "nothing", "summaries", "said-once", "last-data"],
)
def test_a_thought_comes_together(deltas: list[Delta], thought: Thought) -> None:
    assert merged(*deltas) == (thought,)


def cut(rng: Random, text: str) -> list[str]:
    """The text in pieces of any length, empty ones too."""
    marks = sorted(rng.choices(range(len(text) + 1), k=rng.randrange(6)))
    return [text[start:end] for start, end in zip([0, *marks], [*marks, len(text)], strict=True)]


def deltas_of(rng: Random, index: int, block: Block) -> list[Delta]:
    id_ = str(index)
    if isinstance(block, Text):
        return [TextDelta(id_, part) for part in cut(rng, block.text)]
    if isinstance(block, ToolCall):
        parts: list[Delta] = [ToolCallDelta(block.id, None, part) for part in cut(rng, block.arguments)]
        return [ToolCallDelta(block.id, block.name, ""), *parts]
    if isinstance(block, Thought):
        return [ThoughtDelta(id_, text=part) for part in cut(rng, block.text or "")]
    assert isinstance(block, Unknown)
    return [UnknownDelta(id_, block.data)]


@pytest.mark.parametrize("seed", range(30))
def test_any_answer_cut_anyhow_comes_together_again(seed: int) -> None:
    rng = Random(seed)
    choices: list[Block] = [
        Text("Grüße 👋"),
        ToolCall("c", "add", '{"x": [1, 2]}'),
        Thought("hm, so"),
        Unknown({"a": 1}),
    ]
    blocks = tuple(rng.sample(choices, k=rng.randrange(1, 5)))
    queues = [deltas_of(rng, index, block) for index, block in enumerate(blocks)]
    pieces = Pieces()
    for queue in queues:  # every block begins in its turn; what follows is interleaved
        pieces.add(Chunk(content=(queue.pop(0),)))
    while any(queues):
        taken = [queue.pop(0) for queue in queues if queue and rng.random() < 0.5]
        pieces.add(Chunk(content=tuple(taken)))
    assert pieces.blocks() == blocks


def test_usage_is_the_largest_seen_of_each_kind() -> None:
    pieces = Pieces()
    pieces.add(Chunk(usage=Usage(input_tokens=10)))
    pieces.add(Chunk(usage=Usage(input_tokens=0, output_tokens=3, cost=Decimal("0.1"))))
    pieces.add(Chunk())
    pieces.add(Chunk(usage=Usage(output_tokens=2, provider_cache_read_input_tokens=0)))
    assert pieces.usage == Usage(
        input_tokens=10, output_tokens=3, provider_cache_read_input_tokens=0, cost=Decimal("0.1")
    )


def test_the_last_finish_reason_stands() -> None:
    pieces = Pieces()
    for reason in ("stop", "length", None):
        pieces.add(Chunk(finish_reason=reason))
    assert pieces.finish_reason == "length"


def test_blocks_can_be_asked_for_on_the_way() -> None:
    pieces = Pieces()
    pieces.add(Chunk(content=(TextDelta("0", "a"),)))
    assert pieces.blocks() == (Text("a"),)
    pieces.add(Chunk(content=(TextDelta("0", "b"),)))
    assert pieces.blocks() == (Text("ab"),)
