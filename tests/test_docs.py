"""Every TOML and Python block of the documentation works as it stands. How a block is taken:

with ``title="path"`` it is a file that the page's other blocks find; TOML is a whole configuration unless its first
line is ``# fragment``; Python runs, page by page in order, unless its first line is ``# not run: reason``.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest
from headrace import config, plugins
from headrace.assembly import assemble

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    path for pattern in ("*.md", "core/*.md", "docs/**/*.md", "plugins/*/*/*.md") for path in ROOT.glob(pattern)
)
FENCE = re.compile(r'^( *)```(\w+)(?: title="([^"]+)")?\n(.*?)^\1```$', re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")
EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))

# Providers read their keys when they are built; in a test any word will do.
SECRETS = {
    name: "secret"
    for path in [*PAGES, *ROOT.glob("plugins/*/*/src/**/*.py")]
    for name in re.findall(r"env::(\w+)", path.read_text(encoding="utf-8"))
}


class Block(NamedTuple):
    """One fenced block of a page."""

    language: str
    title: str
    text: str


def blocks(page: Path) -> list[Block]:
    found = FENCE.findall(page.read_text(encoding="utf-8"))
    return [Block(language, title, text) for _, language, title, text in found]


@pytest.fixture
def site(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's files, in a folder that is also the working directory."""
    monkeypatch.chdir(tmp_path)
    for block in blocks(page):
        if block.title:
            path = tmp_path / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
    return tmp_path


@pytest.fixture(scope="module")
def registry() -> plugins.Registry:
    return plugins.load(disabled=[])


@EACH_PAGE
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


@EACH_PAGE
def test_toml_blocks_are_configurations_that_work(page: Path, site: Path, registry: plugins.Registry) -> None:
    for number, block in enumerate(block for block in blocks(page) if block.language == "toml"):
        tomllib.loads(block.text)
        if block.title == "pyproject.toml" or block.text.startswith("# fragment"):
            continue
        path = site / (block.title or f"block-{number}.toml")
        path.write_text(block.text, encoding="utf-8")
        assemble(config.load(str(path)), registry, environ=SECRETS)


@EACH_PAGE
def test_python_blocks_run(page: Path, site: Path) -> None:
    texts = [block.text for block in blocks(page) if block.language == "python" and not block.title]
    script = "\n".join(text for text in texts if not text.startswith("# not run: "))
    if script:
        done = subprocess.run([sys.executable, "-c", script], cwd=site, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@EACH_PAGE
def test_test_files_of_a_page_pass(page: Path, site: Path) -> None:
    for block in blocks(page):
        if block.title.endswith(".py"):
            compile(block.text, block.title, "exec")
    if list(site.glob("tests/test_*.py")):
        pytest_there = [sys.executable, "-m", "pytest", "-q", "-o", "pythonpath=src", "-p", "no:cacheprovider"]
        done = subprocess.run(pytest_there, cwd=site, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
        assert " passed" in done.stdout
