"""The one exception for inputs that cannot be used."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class InputError(ValueError):
    """An input that cannot be used: what is wrong, where, and what to do, in one sentence.

    Everything a user can get wrong (files, settings, models) raises this, so that an interface
    (command line, plugin) can show ``str(error)`` and go on with the next image. Anything else is a bug.
    """

    def __init__(self, what: str, *, where: object = None, fix: str = "") -> None:
        self.what = what
        self.where = where
        self.fix = fix
        message = f"{where}: {what}" if where is not None else what
        super().__init__(printable(f"{message}. {fix}" if fix else message))


def printable(text: str) -> str:
    """Return a text that can be written: bytes of a file name that are no UTF-8 become question marks (�)."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def is_printable(text: str) -> bool:
    """Tell whether a file name is UTF-8."""
    return printable(text) == text


def one_line(error: BaseException) -> str:
    """Return an error's text on one line; its type if it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a remark for an unknown name: the nearest known one, or all of them."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f" (did you mean '{close[0]}'?)" if close else f" (known: {', '.join(names)})"


def some(names: Sequence[str], shown: int = 10) -> str:
    """Return names as a list, of many the first only."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
