"""What all commands say and return: exit status, errors, tables; and what an option can be."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_tam.errors import InputError, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

#: Exit status: some image failed; wrong usage, settings or model; Ctrl+C.
SOME_FAILED, WRONG_USE, INTERRUPTED = 1, 2, 130


@dataclass(frozen=True)
class Answer:
    """What a command answers.

    Attributes
    ----------
    status
        The exit status.
    values
        What programs are told (``--json``), besides the status.
    """

    status: int = 0
    values: Mapping[str, Any] = field(default_factory=dict)


@contextlib.contextmanager
def stdout_kept_free() -> Iterator[None]:
    """Send to stderr what is printed meanwhile, by Python, by libraries in C and by other processes."""
    sys.stdout.flush()
    own = None
    with contextlib.suppress(OSError):  # either may be closed
        own = os.dup(_STDOUT)
        os.dup2(_STDERR, _STDOUT)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        if own is not None:
            os.dup2(own, _STDOUT)
            os.close(own)


#: The numbers that the system gives them.
_STDOUT, _STDERR = 1, 2


def answer_programs(answer: Answer) -> None:
    """Print an answer as one JSON object (ASCII, so that every terminal's encoding holds it)."""
    import json

    from napari_tam.installation import __version__

    told = {"exit_status": answer.status, "version": __version__, **answer.values}
    print(json.dumps(_plain(told), indent=1, allow_nan=False), flush=True)


def _plain(value: Any) -> Any:
    """Return a value as JSON knows it: a number that is missing or infinite is null, a path is text."""
    if isinstance(value, dict):
        return {printable(str(name)): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if hasattr(value, "item"):  # a number of numpy
        value = value.item()
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    return value if value is None or isinstance(value, bool | int) else printable(str(value))


def complain(sentence: str) -> int:
    """Print one sentence to stderr; return the exit status."""
    print(f"error: {sentence}", file=sys.stderr)
    return WRONG_USE


def hand_out(text: str, path: Path | None, *, replace: bool) -> None:
    """Write a text that the user goes on with to a file, or print it.

    Raises
    ------
    InputError
        If the file is there and is not to be replaced.
    """
    from napari_tam.files import write_text

    if path is None:
        if hasattr(sys.stdout, "reconfigure") and not sys.stdout.isatty():
            sys.stdout.reconfigure(encoding="utf-8")  # it becomes a file that is read as UTF-8
        print(text, end="")
        return
    check_new(path, replace=replace)
    write_text(path, text)


def check_new(path: Path, *, replace: bool) -> None:
    """Raise InputError if a file is there and is not to be replaced."""
    if path.exists() and not replace:
        raise InputError("the file is there already", where=path, fix="--force replaces it")


def print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def positive(text: str) -> int:
    """Read a whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 1")
    return int(text)


def natural(text: str) -> int:
    """Read a whole number from 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 0")
    return int(text)


def part(text: str) -> tuple[int, int]:
    """Read a part of a whole, ``3/20``."""
    first, slash, last = text.partition("/")
    if not (slash and first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
        raise argparse.ArgumentTypeError(f"'{text}' is no part: 3/20 is the third of twenty")
    return int(first), int(last)


def gigabytes(text: str) -> float:
    """Read a number of gigabytes."""
    return _above_zero(text, "a number of gigabytes")


def seconds(text: str) -> float:
    """Read a number of seconds."""
    return _above_zero(text, "a number of seconds")


def _above_zero(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"'{text}' is not {what} above 0")
    return value
