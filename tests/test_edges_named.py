"""Every numbered sharp edge of the specifications has a test that names it, and a line on the page of them."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SPEC = ROOT.parent / "shared" / "spec"
PAGE = (ROOT / "docs/explanation/sharp-edges.md").read_text(encoding="utf-8")

# How many there are. The specifications are not a part of this repository, so they are counted again below.
COUNTS = {"http": 34, "config": 26}
SECTIONS = {"http": ("http-api.md", "## 24. Sharp edges"), "config": ("config.md", "## 22. Sharp edges")}
HEADINGS = {"http": "## HTTP API", "config": "## Configuration"}

_TEST = re.compile(r"^(?:async )?def (test_\w+)", re.MULTILINE)
_EDGE = re.compile(r"(http|config)_edge_(\d+)")
_ROW = re.compile(r"^\| (\d+) \| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)

EACH_SPEC = pytest.mark.parametrize("spec", COUNTS)


def named() -> dict[tuple[str, str], set[str]]:
    """The edges that tests name, as (specification, number), with the modules of these tests."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    folders = [ROOT / "tests", ROOT / "core/tests", *ROOT.glob("plugins/*/*/tests")]
    for path in sorted(path for folder in folders for path in folder.rglob("test_*.py")):
        for test in _TEST.findall(path.read_text(encoding="utf-8")):
            for edge in _EDGE.findall(test):
                found[edge].add(path.stem)
    return found


NAMED = named()


def numbers(spec: str) -> list[str]:
    return [f"{number:02}" for number in range(1, COUNTS[spec] + 1)]


def section(text: str, heading: str) -> str:
    """What stands below a heading, up to the next."""
    return text.partition(f"{heading}\n")[2].partition("\n## ")[0]


def rows(spec: str) -> list[tuple[str, ...]]:
    """The lines of the page's table: number, the edge, what headrace does, test modules."""
    return _ROW.findall(section(PAGE, HEADINGS[spec]))


@EACH_SPEC
def test_every_edge_is_named_by_a_test(spec: str) -> None:
    assert sorted(number for of, number in NAMED if of == spec) == numbers(spec)


@EACH_SPEC
def test_every_edge_has_a_line_on_the_page(spec: str) -> None:
    assert [row[0] for row in rows(spec)] == numbers(spec)


@EACH_SPEC
def test_the_page_says_where_an_edge_is_tested(spec: str) -> None:
    said = {number: set(re.findall(r"`(test_\w+)`", modules)) for number, _, _, modules in rows(spec)}
    assert [number for number, modules in said.items() if not modules or modules - NAMED[spec, number]] == []


@pytest.mark.shared
@pytest.mark.skipif(not SPEC.is_dir(), reason=f"no specifications at {SPEC}")
@EACH_SPEC
def test_there_are_as_many_as_the_specification_numbers(spec: str) -> None:
    name, heading = SECTIONS[spec]
    counted = re.findall(r"^(\d+)\. ", section((SPEC / name).read_text(encoding="utf-8"), heading), re.MULTILINE)
    assert [int(number) for number in counted] == list(range(1, COUNTS[spec] + 1))
