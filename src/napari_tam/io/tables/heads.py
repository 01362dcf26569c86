"""Where the head of a table is that a person made."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

#: Above the head there may be this many rows of title and remarks.
MOST_TITLES = 20


def head_of(rows: Sequence[Sequence[str]], keys: Collection[str]) -> int:
    """Return the number of the row that has one of `keys` (lower case) among its values; 0 if none has."""
    for number, row in enumerate(rows[: MOST_TITLES + 1]):
        if is_head(row, keys):
            return number
    return 0


def is_head(row: Sequence[str], keys: Collection[str]) -> bool:
    """Tell whether a row has one of `keys` (lower case) among its values."""
    return not {cell.strip().lower() for cell in row}.isdisjoint(keys)
