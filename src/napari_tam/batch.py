"""Many images, one results folder: what goes wrong with one does not stop the others."""

from __future__ import annotations

import contextlib
import time
import traceback
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from napari_tam.edits import read_edits
from napari_tam.errors import InputError, one_line
from napari_tam.images import read_fields, unique_names
from napari_tam.output import OutputError
from napari_tam.pipeline import STEPS, Progress, steps
from napari_tam.record import Record
from napari_tam.stopping import Interrupted, checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from pathlib import Path

    from napari_tam.field import Field
    from napari_tam.models import Models
    from napari_tam.pipeline import Analysis
    from napari_tam.settings import Settings

#: Where the tracebacks of unexpected errors go, in the results folder.
ERROR_LOG = "errors.log"

#: What a person does to end a run early.
STOPS = (KeyboardInterrupt, GeneratorExit, Interrupted)

#: The steps that `BatchProgress` announces, in order.
ALL_STEPS = ("read", *STEPS, "write")


@dataclass(frozen=True)
class Outcome:
    """What became of one field of an image file.

    Attributes
    ----------
    path, name
        The file, and the name of the field in all tables.
    analysis
        What was found, or None.
    error
        Why not, in one sentence, or None.
    seconds
        Wall time, reading and writing included.
    """

    path: Path
    name: str
    analysis: Analysis | None = None
    error: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class BatchProgress:
    """What the batch does now: a step (`done` of `total`) of the field `name` in file `index` of `files`."""

    path: Path
    name: str
    index: int
    files: int
    step: Progress


def analyse_files(
    paths: Sequence[Path],
    settings: Settings,
    models: Models,
    out: Path,
    *,
    on_progress: Callable[[BatchProgress], None] | None = None,
    command: Sequence[str] = (),
) -> Generator[Outcome, None, None]:
    """Analyse images one after another, writing each to the results folder before it is yielded.

    The tables are written at the end, and also when the run is interrupted (Ctrl+C, the generator is
    closed, or see `napari_tam.stopping`): then they hold every finished field, and `images.csv` lists
    the files that are missing as ``not analysed``.

    Corrections by hand that lie in the results folder are kept (`napari_tam.edits`).

    Parameters
    ----------
    paths
        Image files, see `napari_tam.images.list_images`.
    settings, models
        How to analyse them.
    out
        The results folder.
    on_progress
        Called before every step of every field.
    command
        The command line, for `run.json`.

    Yields
    ------
    Outcome
        One for every field, in order. An image that cannot be read or analysed is an outcome with
        an error. So is one that meets a bug; its traceback goes to ``errors.log``.

    Raises
    ------
    InputError
        If the results folder cannot be written.
    """
    paths = list(dict.fromkeys(paths))
    names = unique_names(paths)
    record = Record(out, settings, models, names, command)
    with contextlib.suppress(OSError):
        (out / ERROR_LOG).unlink(missing_ok=True)
    try:
        for index, path in enumerate(paths):
            fields = _fields(path, settings, names[path])
            one = _One(path, names[path], index, len(paths), on_progress or _silent)
            while (outcome := one.next_outcome(fields, settings, models, record)) is not None:
                try:
                    yield outcome
                except GeneratorExit:
                    if _is_exhausted(fields):
                        record.finish_file(path)
                    raise
            record.finish_file(path)
    except BaseException as error:
        status = "interrupted" if isinstance(error, STOPS) else "stopped"
        # where the folder cannot be written, saying so once is enough
        with contextlib.suppress(*([OutputError] if isinstance(error, OutputError) else [])):
            record.save(status)
        raise
    record.save("complete")


@dataclass(frozen=True)
class _One:
    """One image file on its way through the pipeline."""

    path: Path
    name: str
    index: int
    files: int
    tell: Callable[[BatchProgress], None]

    def next_outcome(
        self, fields: Iterator[Field], settings: Settings, models: Models, record: Record
    ) -> Outcome | None:
        """Analyse and write the next field; None if there is no further one.

        Raises
        ------
        OutputError
            If nothing can be written any more (the disk is full, the folder is gone).
        """
        started = time.perf_counter()
        name = self.name
        try:
            self._announce(name, "read")
            field = next(fields, None)
            if field is None:
                return None
            name = field.name
            record.add_seconds("read", time.perf_counter() - started)
            record.save_sometimes()
            shape = next(iter(field.channels.values())).shape
            edits = read_edits(record.out, field.name, shape) if field.z_step_um is None else None
            generator = steps(field, settings, models, edits=edits)
            while True:
                try:
                    self._announce(name, next(generator).step)
                except StopIteration as stop:
                    analysis: Analysis = stop.value
                    break
            self._announce(name, "write")
            record.write_image(analysis)
        except Exception as error:
            if isinstance(error, OutputError) and error.fatal:
                raise
            seconds = time.perf_counter() - started
            sentence = explain(error, self.path) or _log(error, name, record.out)
            record.add_failure(name, self.path, sentence, seconds)
            return Outcome(self.path, name, None, sentence, seconds)
        seconds = time.perf_counter() - started
        record.add(analysis, seconds)
        return Outcome(self.path, name, analysis, None, seconds)

    def _announce(self, name: str, step: str) -> None:
        progress = Progress(step, ALL_STEPS.index(step), len(ALL_STEPS))
        checkpoint()
        self.tell(BatchProgress(self.path, name, self.index, self.files, progress))


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


def _fields(path: Path, settings: Settings, name: str) -> Iterator[Field]:
    """Yield the fields of a file; a file without any is an error."""
    empty = True
    for field in read_fields(path, settings, name=name):
        empty = False
        yield field
    if empty:
        raise InputError("there is no image in the file", where=path)


def _is_exhausted(fields: Iterator[Field]) -> bool:
    try:
        return next(fields, None) is None
    except Exception:
        return False


def _log(error: Exception, name: str, out: Path) -> str:
    """Keep the traceback of a bug, and return the sentence about it."""
    when = datetime.now().astimezone().isoformat(timespec="seconds")
    with contextlib.suppress(OSError), (out / ERROR_LOG).open("a", encoding="utf-8") as log:
        log.write(f"--- {when} {name}\n{''.join(traceback.format_exception(error))}\n")
    return (
        f"{name}: unexpected {type(error).__name__}: {one_line(error)}. "
        f"This is a bug: please report it with {out / ERROR_LOG}"
    )


def _silent(_progress: BatchProgress) -> None:
    """Tell nobody."""
