"""Ways of naming files when every channel is one: what a pattern tells, also one that a user writes.

A pattern is a regular expression over a file's name, or over its last folder and name (``DAPI/B02_1.tif``).
Its groups are ``channel`` and any of ``well``, ``row`` and ``column`` (numbers), ``site``, ``z``, ``time``
and ``plate``; ``step`` (of a protocol) tells fields apart and is in their names where there are several;
all others belong to the field's name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from napari_tam.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

#: What MetaXpress puts behind the channel.
GUID = r"[0-9A-F]{8}(-[0-9A-F]{4}){2,3}(-[0-9A-F]{12})?"

_END = r"(\.ome)?\.(tiff?|png|jpe?g|bmp)$"
WELL = r"(?P<well>[A-P]\d{1,2})"


@dataclass(frozen=True)
class Naming:
    """One way of naming.

    Attributes
    ----------
    name
        Whose it is.
    pattern
        The expression, over a path (where it holds a ``/``) or a file's name.
    source
        Where it is described.
    words
        Whether any word may stand for the channel, so that the names must be those of stains to be believed.
    certain
        Whether somebody told that files are named so.
    """

    name: str
    pattern: re.Pattern[str]
    source: str
    words: bool = False
    certain: bool = False

    @cached_property
    def folders(self) -> int:
        """How many folders above a file its pattern looks at."""
        return re.sub(r"\[[^\]]*\]", "", self.pattern.pattern).count("/")

    def match(self, path: Path) -> re.Match[str] | None:
        """Return what the pattern finds in a file's name."""
        return self.pattern.search("/".join(path.parts[-1 - self.folders :]) if self.folders else path.name)


def naming(name: str, pattern: str, source: str, *, words: bool = False) -> Naming:
    """Return a way of naming, of a pattern that ends before the file's ending."""
    return Naming(name, re.compile(pattern + _END, re.IGNORECASE), source, words)


def told(text: str) -> Naming:
    """Make a naming of what a user wrote: names in braces, or a regular expression with named groups.

    ``{well}_s{site}_w{channel}.tif``: every ``{name}`` stands for some letters, ``*`` for anything, ``?`` for
    any letter. Names that are not among the groups above are parts of the field's name. With ``(?P<`` in it,
    the text is a regular expression.

    Raises
    ------
    InputError
        If it is no regular expression, or does not say where the channel is.
    """
    fix = "write e.g. '{well}_s{site}_w{channel}.tif'"
    if "(?P<" in text:
        expression = text
    else:
        pieces = re.split(r"(\{\w+\}|[*?])", text)
        expression = "^" + "".join(map(_piece, pieces)) + "$"
    try:
        pattern = re.compile(expression, re.IGNORECASE)
    except re.error as error:
        raise InputError(f"'{text}' is no pattern of file names ({error})", where="files", fix=fix) from error
    if "channel" not in pattern.groupindex:
        raise InputError(f"'{text}' does not say where the channel is", where="files", fix=fix)
    return Naming(text, pattern, "as told", certain=True)


def _piece(piece: str) -> str:
    if piece in ("*", "?"):
        return "[^/]*" if piece == "*" else "[^/]"
    if not (piece.startswith("{") and piece.endswith("}")):
        return re.escape(piece)
    kinds = {
        "site": r"\d+",
        "z": r"\d+",
        "time": r"\w+",
        "row": r"(?:[A-Pa-p]|\d+)",
        "column": r"\d+",
        "well": r"[A-Pa-p](?: ?- ?)?\d{1,3}",
    }
    name = piece[1:-1]
    # as little as possible, so that the next piece finds its place
    return rf"(?P<{name}>{kinds.get(name, '[^/]+?')})"
