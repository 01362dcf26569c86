"""What becomes of one image of a batch: its row, its progress, why it failed."""

from __future__ import annotations

import contextlib
import traceback
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from napari_tam.errors import InputError, one_line

if TYPE_CHECKING:
    from pathlib import Path

    from napari_tam.pipeline.analysis import Analysis
    from napari_tam.progress import Progress
    from napari_tam.results.field_store import Row


#: Where the tracebacks of unexpected errors go, in the results folder.
ERROR_LOG = "errors.log"


@dataclass(frozen=True)
class Outcome:
    """What became of one field of an image file.

    Attributes
    ----------
    path, name
        The file, and the name of the field in all tables.
    analysis
        What was found; None if nothing was, or if not this process did it (see `kept` and `row`).
    error
        Why not, in one sentence, or None.
    seconds
        Wall time, reading and writing included.
    row
        Its row of images.csv.
    kept
        Whether it is the result of an earlier run, which still holds.
    """

    path: Path
    name: str
    analysis: Analysis | None = None
    error: str | None = None
    seconds: float = 0.0
    row: Row = field(default_factory=dict)
    kept: bool = False


@dataclass(frozen=True)
class BatchProgress:
    """What the batch does now: a step (`done` of `total`) of the field `name` in file `index` of `files`."""

    path: Path
    name: str
    index: int
    files: int
    step: Progress


def explain(error: Exception, path: Path) -> str | None:
    """Return the sentence for an error that an input can cause; None for a bug."""
    if isinstance(error, InputError):
        return one_line(error)
    text = one_line(error)
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and ("out of memory" in text or "allocate memory" in text)
    ):
        return str(
            InputError(
                "there is not enough memory for this image",
                where=path,
                fix="close other programs, crop the image, or use a larger machine (on a GPU: --device cpu)",
            )
        )
    if isinstance(error, OSError):
        reason = error.strerror or text
        return str(InputError(f"it cannot be read ({reason})", where=error.filename or path))
    return None


def log(error: Exception, name: str, out: Path) -> str:
    """Keep the traceback of a bug, and return the sentence about it."""
    when = datetime.now().astimezone().isoformat(timespec="seconds")
    with contextlib.suppress(OSError), (out / ERROR_LOG).open("a", encoding="utf-8") as log:
        log.write(f"--- {when} {name}\n{''.join(traceback.format_exception(error))}\n")
    return (
        f"{name}: unexpected {type(error).__name__}: {one_line(error)}. "
        f"This is a bug: please report it with {out / ERROR_LOG}"
    )
