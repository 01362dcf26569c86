"""Marker channels: their names in settings, columns and fields.

A marker is any stain whose light is measured in every cell (CD86, CD206, EpCAM). An image has as many as
there are: in the settings they are listed under the role ``marker``, in a field each has a role of its own,
``marker_CD86``, which is also the beginning of its columns.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

#: The role of all markers in the settings, whose channels are separated by this.
MARKER, AND = "marker", "+"


def slug(name: str) -> str:
    """Return a marker's name as part of a column's: ``HLA-DR`` becomes ``HLA_DR``, and case is kept."""
    return re.sub(r"\W+", "_", name.strip()).strip("_")


def marker_role(name: str) -> str:
    """Return the role that a marker has in a field: ``marker_HLA_DR``."""
    return f"{MARKER}_{slug(name)}"


def is_marker_role(role: str) -> bool:
    """Tell whether a role of a field is that of a marker."""
    name = marker_of(role)
    return role.startswith(f"{MARKER}_") and bool(name) and slug(name) == name


def marker_of(role: str) -> str:
    """Return the marker of a role: ``HLA_DR`` of ``marker_HLA_DR``."""
    return role.removeprefix(f"{MARKER}_")


def markers_in(columns: Iterable[str]) -> list[str]:
    """Return the markers that a table of cells has columns of, in their order."""
    means = [re.fullmatch(rf"{MARKER}_(.+)_integrated", name) for name in columns]
    return [found[1] for found in means if found]


def same_marker(one: str, other: str) -> bool:
    """Tell whether two names mean one marker: ``F4/80`` and ``f4-80`` do."""
    return slug(one).casefold() == slug(other).casefold()


def listed(channels: int | str) -> list[tuple[str, int | str]]:
    """Return the markers that a setting lists: the name that it gives (or ""), and the channel.

    ``CD86+CD206`` names channels, ``3+4`` counts them, and ``CD86:3+CD206:4`` gives names to channels that
    have none.
    """
    found: list[tuple[str, int | str]] = []
    for item in str(channels).split(AND):
        name, colon, index = item.rpartition(":")
        if colon and name.strip() and re.fullmatch(r"\s*\d+\s*", index):
            found.append((name.strip(), int(index)))
        else:
            found.append(("", item.strip()))
    return found
