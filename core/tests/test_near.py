"""Near copies are found among many others, and boilerplate makes none."""

from __future__ import annotations

import random

import pytest
from headrace.media import File
from headrace.near import SIMILAR, Near, Sketch, candidates, similarity, sketch_of, verified
from headrace.types import Input, InputMessage, Template, Text, ToolResult

WORDS = [f"w{number}" for number in range(2000)]


KEYS = tuple(
    "fb823f4560eb 432ef148eaed 321ad6e9efdd a4d9b942b1ee 6b8d835bbd49 3dc3ace4082d 497ff2636cd3 46161eee7c7e "
    "641d7ac1f8b4 ec7148fc5098 d301776e4ba0 f9b64991470c 631fbe8a8388 f2d60d49427b ed36f0210f42 fbb6bb092db4".split()
)


def said(text: str, *, system: str | None = None, file: str | None = None) -> Input:
    files = (File(mime_type="image/png", source_url=file),) if file is not None else ()
    return Input((InputMessage("user", (Text(text), *files)),), system)


def words(count: int, seed: int) -> list[str]:
    return random.Random(seed).choices(WORDS, k=count)


def text(count: int, seed: int) -> str:
    return " ".join(words(count, seed))


def pairs(sketches: list[Sketch], known: int = 0) -> list[Near]:
    return verified(sketches, candidates(sketches, known))


def test_the_keys_are_fixed_for_ever() -> None:
    """Stored datapoints are found by them: changing the hash would lose their near copies."""
    assert sketch_of(said("Where is my parcel? I have been waiting for it.")).keys == KEYS


def test_a_copy_with_some_words_changed_is_found_among_thousands() -> None:
    changed = words(100, 7)
    changed[50] = "other"
    others = [sketch_of(said(text(100, seed))) for seed in range(100, 2100)]
    sketches = [sketch_of(said(text(100, 7))), *others, sketch_of(said(" ".join(changed)))]
    [near] = pairs(sketches)
    assert (near.one, near.other) == (2001, 0)
    assert near.similarity == pytest.approx(95 / 101)


def test_nearly_all_pairs_at_the_threshold_become_candidates() -> None:
    found = 0
    for seed in range(300):
        one, other = words(200, seed), words(200, seed)
        for place in range(7):  # each takes three shingles from either
            other[place * 25 + 3] = "other"
        sketches = [sketch_of(said(" ".join(each))) for each in (one, other)]
        assert SIMILAR <= similarity(*(sketch.shingles for sketch in sketches)) < 0.82
        found += candidates(sketches, 0) == [(1, 0)]
    assert found >= 298


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Where is my parcel", "where is my parcel?!"),
        ("an answer to a question that somebody has asked", "An answer, to a question that somebody has asked."),
        ("お荷物はどこにありますか教えてください", "お荷物はどこにありますか、教えてください"),
    ],
    ids=["punctuation", "case", "no-spaces"],
)
def test_what_normalisation_makes_equal_is_equal(one: str, other: str) -> None:
    assert similarity(sketch_of(said(one)).shingles, sketch_of(said(other)).shingles) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (said("order 17"), said("order 18")),
        (said("hi"), said("ho")),
        (said(""), said("")),
        (said("what is in this picture, and where was it taken", file="https://example.com/1.png"),
         said("what is in this picture, and where was it taken", file="https://example.com/2.png")),
        (said("status of order 17", system=text(300, 1)), said("status of order 18", system=text(300, 1))),
    ],
    ids=["digits", "short", "empty", "files", "system-prompt"],
)  # fmt: skip
def test_what_differs_is_no_near_copy(one: Input, other: Input) -> None:
    assert pairs([sketch_of(one), sketch_of(other)]) == []


def test_arguments_and_results_of_tools_count() -> None:
    long = text(50, 3)
    one = Input((InputMessage("user", (Template("user", {"a": long, "b": 1}),)),), {"company": "A"})
    other = Input((InputMessage("user", (ToolResult("1", "search", long + " 1"),)),))
    assert len(sketch_of(one).shingles) > 50
    assert similarity(sketch_of(one).shingles, sketch_of(other).shingles) > 0.8


def test_boilerplate_makes_no_near_copies() -> None:
    boilerplate = text(300, 1)
    sketches = [sketch_of(said(f"{boilerplate} {text(20, seed)}")) for seed in range(2, 200)]
    assert similarity(sketches[0].shingles, sketches[1].shingles) > SIMILAR
    assert pairs(sketches) == []


def test_copies_are_found_in_spite_of_boilerplate() -> None:
    boilerplate = text(300, 1)
    sketches = [sketch_of(said(f"{boilerplate} {text(20, seed)}")) for seed in range(2, 200)]
    copy = sketch_of(said(f"{boilerplate} {text(20, 50)} please"))
    [near] = pairs([*sketches, copy], len(sketches))
    assert (near.one, near.other) == (198, 48)


def test_a_single_newcomer_learns_from_others_what_boilerplate_is() -> None:
    boilerplate = text(300, 1)
    one, other, *rest = [sketch_of(said(f"{boilerplate} {text(20, seed)}")) for seed in range(2, 60)]
    compared = candidates([one, other], 1)
    assert verified([one, other], compared), "two texts alone say nothing about boilerplate"
    assert verified([one, other], compared, rest) == []


def test_a_very_long_text_is_sampled_and_its_copy_found() -> None:
    long = words(30_000, 5)
    changed = list(long)
    for place in range(0, 30_000, 300):
        changed[place] = "other"
    sketches = [sketch_of(said(" ".join(each))) for each in (long, changed, words(30_000, 6))]
    assert max(len(sketch.shingles) for sketch in sketches) == 4096
    [near] = pairs(sketches)
    assert near.similarity > 0.9
