"""Text that may contain U+0000, which PostgreSQL's text cannot: written so that it fits, compares and sorts the same.

U+0000 becomes U+0001 U+0001, and U+0001 becomes U+0001 U+0002; all other text is stored as it is. Two texts are equal
exactly if their stored forms are, and they sort alike by code points (``COLLATE "C"``). JSON is not concerned: there
both are escaped already, and the column is ``text``, since ``jsonb`` refuses ``\\u0000`` and forgets the order of keys.
"""

from __future__ import annotations

from headrace.columns import plain_text


def stored(text: str) -> str:
    """The form that PostgreSQL can hold. Raise ValueError for a lone surrogate."""
    if "\x00" in text or "\x01" in text:
        text = text.replace("\x01", "\x01\x02").replace("\x00", "\x01\x01")
    return plain_text(text)


def original(text: str) -> str:
    """The text of a stored form."""
    if "\x01" in text:
        text = text.replace("\x01\x01", "\x00").replace("\x01\x02", "\x01")
    return text
