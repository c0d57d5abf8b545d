"""What became of every row that was read: a tally for each table, with the reasons where one did not come over."""

from __future__ import annotations

from msgspec import Struct, field

_FIRST = 5


class Reason(Struct):
    """Why something befell rows: how many, and the first ones by their ids."""

    count: int = 0
    first_ids: list[str] = []

    def add(self, id_: str) -> None:
        """Another row."""
        self.count += 1
        if len(self.first_ids) < _FIRST:
            self.first_ids = [*self.first_ids, id_]


class Tally(Struct, kw_only=True):
    """One table: ``read`` is the sum of the others.

    ``written`` includes datapoints that were there and have become newer. ``skipped`` rows are not in the store;
    ``noted`` are in it, but for the part that the reason tells of. ``is_absent``: the old database has no such table.
    """

    table: str
    kind: str
    is_absent: bool = False
    read: int = 0
    written: int = 0
    already_there: int = 0
    skipped: dict[str, Reason] = field(default_factory=dict)
    noted: dict[str, Reason] = field(default_factory=dict)

    @property
    def skipped_count(self) -> int:
        """How many rows did not come over."""
        return sum(reason.count for reason in self.skipped.values())

    def skip(self, reason: str, id_: str) -> None:
        """A row that does not come over."""
        self.skipped.setdefault(reason, Reason()).add(id_)

    def note(self, reason: str, id_: str) -> None:
        """A row that comes over, but for a part."""
        self.noted.setdefault(reason, Reason()).add(id_)
