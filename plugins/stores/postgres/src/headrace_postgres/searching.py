"""Text inside the JSON of input and output, upper and lower case taken for the same."""

from __future__ import annotations

from typing import Final

from headrace.columns import json_text

from .conditions import Sql
from .server import Connection

# The collations that lower text as str.lower does, best first: PostgreSQL 18; any with ICU; 17, letter by letter.
_COLLATIONS: Final = ("pg_unicode_fast", "und-x-icu", "pg_c_utf8")


class Search:
    """How this database finds text. Where it has none of the collations, only ASCII is lowered for sure."""

    def __init__(self, collation: str | None) -> None:
        self._collate = f' COLLATE "{collation}"' if collation else ""

    @classmethod
    async def of(cls, connection: Connection) -> Search:
        """The best way of the database at hand."""
        names = await connection.fetch(
            "SELECT collname::text FROM pg_collation WHERE collnamespace = 'pg_catalog'::regnamespace"
            " AND collname = ANY($1::text[])",
            list(_COLLATIONS),
        )
        found = {name for (name,) in names}
        return cls(next((name for name in _COLLATIONS if name in found), None))

    def condition(self, sql: Sql, search: str) -> str:
        """That the text occurs in the input or in the output of ``i``. Raise ValueError for a lone surrogate."""
        wanted = json_text(search)[1:-1]
        # Of LIKE, since a trigram index knows how to find that.
        for special in ("\\", "%", "_"):
            wanted = wanted.replace(special, "\\" + special)
        pattern = self._lower(sql.value(f"%{wanted}%", "text"))
        return f"({self._lower('i.input')} LIKE {pattern} OR {self._lower('i.output')} LIKE {pattern})"

    def relevance(self, sql: Sql, search: str | None) -> str:
        """How often the text occurs in both together, without overlap."""
        if not search:
            return "0::bigint"
        wanted = self._lower(sql.value(json_text(search)[1:-1], "text"))

        def occurrences(column: str) -> str:
            text = self._lower(column)
            return f"coalesce((length({text}) - length(replace({text}, {wanted}, ''))) / length({wanted}), 0)"

        return f"({occurrences('i.input')} + {occurrences('i.output')})"

    def _lower(self, text: str) -> str:
        return f"lower({text}{self._collate})"
