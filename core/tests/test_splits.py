"""Splits that no copy, no conversation and no later arrival can leak through."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from uuid import UUID

import pytest
from headrace.media import File, StoragePath
from headrace.splits import SPLITS, Item, Known, Place, Shares, assign, content_key, split_of
from headrace.types import (
    Input,
    InputBlock,
    InputMessage,
    RawText,
    Role,
    Template,
    Text,
    Thought,
    ToolCall,
    ToolResult,
    Unknown,
)

SHARES = Shares()


def said(*blocks: InputBlock | str, role: Role = "user", system: str | None = None) -> Input:
    content = tuple(Text(block) if isinstance(block, str) else block for block in blocks)
    return Input(messages=(InputMessage(role, content),), system=system)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Where is my parcel?", "where is my  parcel"),
        ("Where is my parcel?", "WHERE IS MY PARCEL?!"),
        ("Where is my parcel?", "Where\nis my parcel...  "),
        ("\ufb01ne, 50\uff05", "fine 50%"),
        ("Straße", "STRASSE"),
        ("cafe\u0301", "café"),
        ("don\u2019t", "don't"),
        ("zero\u200bwidth", "zero width"),
    ],
    ids=["punctuation", "case", "white-space", "ligature", "sharp-s", "accent", "quotes", "zero-width"],
)
def test_near_copies_share_a_key(one: str, other: str) -> None:
    assert content_key(said(one)) == content_key(said(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (said("order 4"), said("order 5")),
        (said("1.5"), said("15")),
        (said("hi"), said("hi", role="assistant")),
        (said("hi"), said("hi", system="be brief")),
        (said("👍"), said("👎")),
        (said("どこ"), said("なに")),
        (said("मैं"), said("मा")),
        (said("a b"), Input(messages=(*said("a").messages, *said("b").messages))),
        (said(Template("user", {"n": 1})), said(Template("user", {"n": 2}))),
        (said(Template("user", {"n": True})), said(Template("user", {"n": False}))),
        (said(ToolResult("1", "add", "3")), said(ToolResult("1", "add", "4"))),
        (said(Unknown({"kind": "a"})), said(Unknown({"kind": "b"}))),
    ],
    ids=[
        "digits", "decimals", "role", "system", "symbols", "kana", "vowel-signs", "turns", "numbers", "booleans",
        "tool-results", "unknown",
    ],
)  # fmt: skip
def test_different_content_has_different_keys(one: Input, other: Input) -> None:
    assert content_key(one) != content_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (said(Template("user", {"a": "x", "b": ["y"]})), said(Template("user", {"b": ["Y!"], "a": "x"}))),
        (said(ToolCall("1", "add", '{"a":1}')), said(ToolCall("2", "add", '{ "a": 1 }'))),
        (said(ToolResult("1", "add", "3")), said(ToolResult("2", "add", "3"))),
        (said(RawText("Hi")), said("hi")),
        (said("hi", Thought(None)), said("hi")),
    ],
    ids=["argument-order", "call-ids", "result-ids", "raw-text", "empty-thought"],
)
def test_what_does_not_change_the_meaning_does_not_change_the_key(one: Input, other: Input) -> None:
    assert content_key(one) == content_key(other)


def test_shares_of_the_data_come_out_as_asked() -> None:
    counts = Counter(split_of(f"group {number}", SHARES, "key") for number in range(20_000))
    assert [counts[split] / 20_000 for split in SPLITS] == pytest.approx([0.6, 0.2, 0.2], abs=0.01)


def test_the_assignment_is_fixed_for_ever() -> None:
    """Changing the hash would move stored datapoints' future copies across splits: this pins it."""
    splits = [split_of(group, SHARES, "") for group in "abcdefgh"]
    assert splits == ["train", "train", "validation", "train", "test", "test", "train", "train"]
    assert content_key(said("Where is my parcel?")) == "af947d28e45bc4dd2e59e63743448a30"


def test_another_key_gives_an_independent_assignment() -> None:
    groups = [f"group {number}" for number in range(5_000)]
    first, second = ([split_of(group, SHARES, key) == "test" for group in groups] for key in ("one", "two"))
    both = sum(a and b for a, b in zip(first, second, strict=True))
    assert both / len(groups) == pytest.approx(0.2 * 0.2, abs=0.015)


@pytest.mark.parametrize("key", ["", "k" * 500, "schlüssel 🗝"], ids=["empty", "long", "unicode"])
def test_any_text_is_a_key(key: str) -> None:
    assert split_of("group", SHARES, key) in SPLITS


@pytest.mark.parametrize(
    ("shares", "never"),
    [(Shares(0.8, 0.2, 0), "test"), (Shares(0.7, 0, 0.3), "validation"), (Shares(0, 0.1, 0.9), "train")],
    ids=["test", "validation", "train"],
)
def test_a_split_without_a_share_gets_nothing(shares: Shares, never: str) -> None:
    assert never not in {split_of(str(number), shares, "key") for number in range(5_000)}


@pytest.mark.parametrize(
    "parts",
    [(0.6, 0.2, 0.3), (0.6, 0.2, 0.1), (1.2, -0.2, 0), (float("nan"), 0.5, 0.5), (0, 0, 0)],
    ids=["more", "less", "negative", "nan", "nothing"],
)
def test_shares_that_are_no_fractions_of_one_are_refused(parts: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="must be fractions that sum to 1"):
        Shares(*parts)


def test_thirds_are_shares() -> None:
    Shares(1 / 3, 1 / 3, 1 / 3)


def episode(number: int) -> UUID:
    return UUID(int=number)


def test_an_episode_stays_together_and_so_do_its_copies_elsewhere() -> None:
    items = [Item("c", episode(1)), Item("b", episode(1)), Item("b", episode(2)), Item("a", episode(2)), Item("z")]
    places = assign(items, [], SHARES, "key")
    assert places[:4] == [Place("a", split_of("a", SHARES, "key"))] * 4
    assert places[4] == Place("z", split_of("z", SHARES, "key"))


@pytest.mark.parametrize(
    "item",
    [Item("new", episode(1)), Item("old", episode(9)), Item("old"), Item("named-it")],
    ids=["by-episode", "by-content", "without-episode", "by-a-retired-copy"],
)
def test_an_item_follows_what_is_stored(item: Item) -> None:
    stored = Place("named-it", "validation")
    assert assign([item], [Known("old", episode(1), stored)], SHARES, "key") == [stored]


def test_one_that_ties_two_places_together_goes_where_least_is_learnt_from_it() -> None:
    known = [
        Known("a", episode(1), Place("a", "train")),
        Known("b", episode(2), Place("b", "test")),
        Known("c", episode(3), Place("c", "validation")),
    ]
    items = [Item("a", episode(3)), Item("b", episode(3))]
    assert assign(items, known, SHARES, "key") == [Place("b", "test")] * 2
    assert assign(items[:1], known, SHARES, "key") == [Place("c", "validation")]


def some_items(dice: random.Random, count: int) -> list[Item]:
    """Few keys and episodes, so that they meet often."""
    return [
        Item(f"{dice.randrange(count):03}", episode(dice.randrange(count)) if dice.random() < 0.5 else None)
        for _ in range(count)
    ]


@pytest.mark.parametrize("seed", range(20))
def test_order_does_not_matter(seed: int) -> None:
    dice = random.Random(seed)
    items = some_items(dice, 60)
    known = [
        Known(item.content_key, item.episode_id, Place(item.content_key, split_of(item.content_key, SHARES, "key")))
        for item in some_items(dice, 20)
    ]
    places = dict(zip(items, assign(items, known, SHARES, "key"), strict=True))
    for _ in range(3):
        dice.shuffle(items)
        dice.shuffle(known)
        assert assign(items, known, SHARES, "key") == [places[item] for item in items]


@pytest.mark.parametrize("seed", range(20))
def test_nothing_leaks_within_a_batch_and_places_survive_being_stored(seed: int) -> None:
    dice = random.Random(seed)
    items = some_items(dice, 60)
    places = assign(items, [], SHARES, "key")
    by_content, by_episode = dict[str, set[Place]](), dict[UUID, set[Place]]()
    for item, place in zip(items, places, strict=True):
        by_content.setdefault(item.content_key, set()).add(place)
        if item.episode_id is not None:
            by_episode.setdefault(item.episode_id, set()).add(place)
    assert all(len(found) == 1 for found in (*by_content.values(), *by_episode.values()))
    known = [Known(i.content_key, i.episode_id, place) for i, place in zip(items, places, strict=True)]
    assert assign(items, known, SHARES, "another key") == places


@pytest.mark.parametrize("seed", range(20))
def test_a_later_item_goes_where_something_it_is_tied_to_is(seed: int) -> None:
    dice = random.Random(seed)
    known: list[Known] = []
    for item in (item for _ in range(8) for item in some_items(dice, 15)):
        [place] = assign([item], known, SHARES, "key")
        tied = {
            each.place
            for each in known
            if each.content_key == item.content_key or (item.episode_id and each.episode_id == item.episode_id)
        }
        assert not tied or place in tied
        known.append(Known(item.content_key, item.episode_id, place))


def test_the_demos_phrases_are_balanced_and_no_two_are_copies() -> None:
    lines = (Path(__file__).parents[2] / "demo" / "support.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert set(Counter(row["intent"] for row in rows).values()) == {30}
    assert len({content_key(said(row["text"])) for row in rows}) == len(rows) == 240
    assert all(5 <= len(row["text"].split()) <= 20 for row in rows)


def test_a_long_chain_is_one_group() -> None:
    items = [Item(f"{n:05}", episode(n // 2)) for n in range(3_000)]
    items += [Item(f"{n:05}", episode((n + 1) // 2 + 10_000)) for n in range(3_000)]
    assert {place.group for place in assign(items, [], SHARES, "key")} == {"00000"}


def test_the_same_question_about_another_file_has_another_key() -> None:
    def about(path: str) -> Input:
        return said("what is this?", File(mime_type="image/png", storage_path=StoragePath({"type": "s3"}, path)))

    assert content_key(about("observability/files/a.png")) == content_key(about("observability/files/a.png"))
    assert content_key(about("observability/files/a.png")) != content_key(about("observability/files/b.png"))


def test_near_copies_form_one_group_with_what_is_stored() -> None:
    place = Place("stored", "test")
    items = [Item("a", near=("stored",)), Item("b", near=("a",)), Item("c")]
    found = assign(items, [Known("stored", None, place)], SHARES, "")
    assert found[:2] == [place, place]
    assert found[2].group == "c"
