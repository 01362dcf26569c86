"""The one exception for inputs that cannot be used."""

from __future__ import annotations


class InputError(ValueError):
    """An input that cannot be used: what is wrong, where, and what to do, in one sentence.

    Everything a user can get wrong (files, settings, models) raises this, so that a door of the
    program can show ``str(error)`` and go on with the next image. Anything else is a bug.
    """

    def __init__(self, what: str, *, where: object = None, fix: str = "") -> None:
        self.what = what
        self.where = where
        self.fix = fix
        message = f"{where}: {what}" if where is not None else what
        super().__init__(f"{message}. {fix}" if fix else message)


def one_line(error: BaseException) -> str:
    """Return an error's text on one line; its type if it has none."""
    return " ".join(str(error).split()) or type(error).__name__
