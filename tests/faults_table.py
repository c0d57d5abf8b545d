"""What drills find, as the table of docs/explanation/faults.md: ``python tests/faults_table.py PAGE FINDINGS``."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FINDINGS = "HEADRACE_FAULTS"
"""The environment variable that names the file to which findings are added."""

_COLUMNS = ("store", "writes", "what was done", "acknowledged", "before", "after", "lost", "doubled", "the log")
# What a log says of records, by the word that a finding has for it.
_SAID = {
    "adopted": r"\d+ records of an earlier process wait in",
    "torn line cut": r"ends in the middle of a line",
    "no write": r"could not write \d+ records",
    "to the disk": r"the store is away: records go to",
    "spill full": r"takes no more records \(",
    "left to the next": r"records wait in .* for the next start",
    "nothing left": r"nothing is left on the disk",
}


@dataclass(frozen=True)
class Finding:
    """What came of a drill. ``before`` None: nobody could ask."""

    store: str
    is_async: bool
    what: str
    inferences: int
    feedback: int
    before: int | None
    after: int
    doubled: int
    log: str

    @property
    def lost(self) -> int:
        return self.inferences + self.feedback - self.after

    def line(self) -> str:
        """A line of the table."""
        return _row(
            self.store,
            "async" if self.is_async else "sync",
            self.what,
            f"{self.inferences} + {self.feedback}",
            "-" if self.before is None else self.before,
            self.after,
            self.lost,
            self.doubled,
            self.log,
        )

    def tell(self) -> None:
        """Print it, and add it to the file that the environment names."""
        print(self.line())  # noqa: T201
        if path := os.environ.get(FINDINGS):
            with open(path, "a", encoding="utf-8") as file:
                file.write(self.line() + "\n")


def told(log: str) -> str:
    """What a log says of records, in a few words."""
    counts = {word: len(re.findall(pattern, log)) for word, pattern in _SAID.items()}
    return ", ".join(f"{word} {count}x" for word, count in counts.items() if count) or "nothing"


_BEGIN, _END = "<!-- findings -->", "<!-- end of findings -->"


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _write_table(page: Path, findings: Sequence[str]) -> None:
    """Put the findings in the place of those that the page has."""
    head, _, rest = page.read_text(encoding="utf-8").partition(_BEGIN)
    table = [_row(*_COLUMNS), _row(*("---" for _ in _COLUMNS)), *findings]
    page.write_text(head + "\n".join([_BEGIN, *table, _END]) + rest.partition(_END)[2], encoding="utf-8")


if __name__ == "__main__":
    _write_table(Path(sys.argv[1]), Path(sys.argv[2]).read_text(encoding="utf-8").splitlines())
