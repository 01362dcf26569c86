"""One image file on its way through reading, pipeline and writing, in whatever thread or process."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_tam.batches.outcome import BatchProgress, Outcome, explain, log
from napari_tam.errors import InputError, is_printable
from napari_tam.files import OutputError
from napari_tam.io.channel_search import files_of
from napari_tam.io.images import read_fields
from napari_tam.io.masks.find import mask_files
from napari_tam.networks.memory import give_back_memory
from napari_tam.pipeline.analysis import Segmented
from napari_tam.pipeline.runner import run_steps
from napari_tam.pipeline.steps import STEPS
from napari_tam.progress import Progress
from napari_tam.results import folder as results
from napari_tam.results.edits import edits_hash, read_edits
from napari_tam.results.field_store import Stamp
from napari_tam.results.fingerprint import is_same, mask_hashes, source_of
from napari_tam.results.record import failure_row, image_row
from napari_tam.stopping import checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from napari_tam.io.field import Field
    from napari_tam.pipeline.analysis import Analysis
    from napari_tam.pipeline.models import Models
    from napari_tam.results.field_store import FieldStore, Row
    from napari_tam.settings import Settings


#: The run_steps that `BatchProgress` announces, in order.
ALL_STEPS = ("read", *STEPS, "write")


@dataclass(frozen=True)
class Item:
    """What reading a file gives, one after another.

    Attributes
    ----------
    kind
        A ``field`` to analyse; an outcome that is there already, ``kept`` or ``failed``; or ``end``: nothing
        more comes from the file.
    path, index
        The file and its number.
    name
        Name of the field, or of the file.
    stamp
        What the file's results depend on.
    field
        What was read.
    outcome
        What is there already.
    seconds
        How long reading took.
    untouched
        With ``end``: the file was not even opened.
    finished
        Set when the field was analysed.
    """

    kind: Literal["field", "kept", "failed", "end"]
    path: Path
    index: int
    name: str
    stamp: Stamp
    finished: threading.Event = field(default_factory=threading.Event, compare=False)
    field: Field | None = None
    outcome: Outcome | None = None
    seconds: float = 0.0
    untouched: bool = False


def all_files(path: Path, name: str, settings: Settings) -> list[Path]:
    """Return all files that the results of an image depend on: its channels, masks that were given."""
    return [*files_of(path, settings.files), *mask_files(path, name, settings)]


@dataclass
class Work:
    """How every file of a run is read, analysed and written.

    Attributes
    ----------
    parts
        Where results go.
    analysis
        See `napari_tam.results.fingerprint.analysis_hash`.
    resume
        Whether results that are there and still hold are kept, and masks that do.
    retry_failed
        Whether images that failed earlier are analysed again.
    files
        Number of files, for the progress.
    tell
        Takes the progress; from several threads if several analyse.
    stop
        Set when the run is to end.
    known
        What was found of fields already, by their names; taken out when used.
    """

    parts: FieldStore
    settings: Settings
    models: Models
    analysis: str
    resume: bool = False
    retry_failed: bool = False
    files: int = 1
    tell: Callable[[BatchProgress], None] = lambda _progress: None
    stop: threading.Event = field(default_factory=threading.Event)
    known: dict[str, Segmented] = field(default_factory=dict)

    def read(self, path: Path, name: str, index: int) -> Iterator[Item]:
        """Yield what is in a file; what goes wrong is yielded, too.

        Raises
        ------
        OutputError
            If the results folder cannot be written.
        """
        if not is_printable(str(path)):
            yield from self._unreadable_name(path, name, index)
            return
        if self.resume and (done := self.done(path, name)) is not None:
            rows, stamp = done
            yield from (self._kept(path, index, row, stamp) for row in rows)
            yield Item("end", path, index, name, stamp, untouched=True)
            return
        self.parts.open_file(name)
        started = time.perf_counter()
        stamp = Stamp(None, self.analysis)
        held: list[Row] = []
        try:
            self._announce(path, name, index, "read")
            stamp = Stamp(source_of(path, self.files_of(path, name)), self.analysis)
            fields = self._fields(path, name, stamp, held)
            while (found := next(fields, None)) is not None:
                yield from (self._kept(path, index, row, stamp) for row in held)
                held.clear()
                seconds = time.perf_counter() - started
                item = Item("field", path, index, found.name, stamp, field=found, seconds=seconds)
                finished = None if _is_read(found) else item.finished
                del found  # not two of them in memory
                yield item
                del item
                # what is read piece by piece needs the open file
                while finished is not None and not (finished.wait(0.2) or self.stop.is_set()):
                    pass
                started = time.perf_counter()
                self._announce(path, name, index, "read")
            failed = None
        except (OutputError, GeneratorExit):
            raise
        except Exception as error:
            failed = self._failure(error, path, name, stamp, time.perf_counter() - started)
        yield from (self._kept(path, index, row, stamp) for row in held)
        if failed is not None:
            yield Item("failed", path, index, name, stamp, outcome=failed)
        yield Item("end", path, index, name, stamp)

    def _unreadable_name(self, path: Path, name: str, index: int) -> Iterator[Item]:
        """Yield the failure of a file whose name no table could hold."""
        stamp = Stamp(None, self.analysis)
        error = InputError(
            "the name of the file, or of a folder above it, is no UTF-8 text", where=path, fix="rename it"
        )
        self.parts.open_file(name)
        yield Item("failed", path, index, name, stamp, outcome=self._failure(error, path, name, stamp, 0.0))
        yield Item("end", path, index, name, stamp)

    def analyse(self, item: Item) -> Outcome:
        """Analyse and write a field; what goes wrong with the field is an outcome.

        Corrections by hand that lie in the results folder are kept (`napari_tam.pipeline.edits`).

        Raises
        ------
        OutputError
            If nothing can be written any more (the disk is full, the folder is gone).
        Interrupted
            If the run is to end (`napari_tam.stopping`); the field is dropped.
        """
        started = time.perf_counter() - item.seconds
        assert item.field is not None
        try:
            corrected = edits_hash(self.parts.out, item.name)
            shape = next(iter(item.field.channels.values())).shape
            volume = item.field.z_step_um is not None
            edits = None if volume else read_edits(self.parts.out, item.name, shape)
            known = Segmented()
            if self.resume and _is_read(item.field):
                known = self.parts.segmented(item.name, item.stamp, corrected, self._masks) or known
            found = self.known.pop(item.name, Segmented())
            known = replace(known, candidates=found.candidates) if found.cells is None else found
            generator = run_steps(item.field, self.settings, self.models, edits=edits, segmented=known)
            while True:
                try:
                    self._announce(item.path, item.name, item.index, next(generator).step)
                except StopIteration as stop:
                    analysis: Analysis = stop.value
                    break
            self._announce(item.path, item.name, item.index, "write")
            writing = time.perf_counter()
            row = image_row(analysis, time.perf_counter() - started)
            pictures = self.settings.overlays
            row = self.parts.write(
                analysis, row, item.stamp, pictures=pictures, edits=corrected, masks=self._masks
            )
            analysis.seconds["read"] = item.seconds
            analysis.seconds["write"] = time.perf_counter() - writing
        except Exception as error:
            if isinstance(error, OutputError) and error.fatal:
                raise
            return self._failure(error, item.path, item.name, item.stamp, time.perf_counter() - started)
        finally:
            item.finished.set()
            give_back_memory()
        return Outcome(item.path, item.name, analysis, None, time.perf_counter() - started, row)

    def files_of(self, path: Path, name: str) -> list[Path]:
        """Return all files that the results of an image depend on: its channels, masks that were given."""
        return all_files(path, name, self.settings)

    @cached_property
    def _masks(self) -> dict[str, str]:
        """What the masks depend on."""
        return mask_hashes(self.settings, self.models)

    def done(self, path: Path, name: str) -> tuple[list[Row], Stamp] | None:
        """Return the rows of a file whose results are there and still hold, or None.

        The results of an image that was moved away since hold, too.
        """
        known = self.parts.fields_of(name)
        if known is None or known[1].analysis != self.analysis:
            return None
        try:
            if not is_same(path, known[1].source, self.files_of(path, name)):
                return None
        except FileNotFoundError:
            if known[1].source is None or known[1].source["path"] != str(path.resolve()):
                return None
        except OSError:
            return None
        rows = []
        for field_name in known[0]:
            row = self._row(field_name, known[1])
            if row is None:
                return None
            rows.append(row)
        return rows, known[1]

    def _row(self, name: str, stamp: Stamp) -> Row | None:
        """Return the row of a field that needs no analysis."""
        found = self.parts.row(name, pictures=self.settings.overlays)
        if found is None or found[1] != stamp:
            return None
        if self.retry_failed and found[0]["status"] != results.OK:
            return None
        return found[0]

    def _kept(self, path: Path, index: int, row: Row, stamp: Stamp) -> Item:
        name = str(row["image"])
        row = {**row, "source": str(path)}
        if not self.settings.overlays:
            self.parts.drop_picture(name)
        outcome = Outcome(path, name, None, row.get("error"), 0.0, row, kept=True)
        return Item("kept", path, index, name, stamp, outcome=outcome)

    def _fields(self, path: Path, name: str, stamp: Stamp, held: list[Row]) -> Iterator[Field]:
        """Yield the fields of a file that must be analysed; the rows of the others go into `held`."""
        empty = True

        def wanted(field_name: str) -> bool:
            nonlocal empty
            row = self._row(field_name, stamp) if self.resume else None
            if row is None or row["status"] != results.OK:
                return True
            held.append(row)
            empty = False
            return False

        for found in read_fields(path, self.settings, name=name, wanted=wanted):
            empty = False
            yield found
        if empty:
            raise InputError("there is no image in the file", where=path)

    def _failure(self, error: Exception, path: Path, name: str, stamp: Stamp, seconds: float) -> Outcome:
        sentence = explain(error, path) or log(error, name, self.parts.out)
        if not path.exists() or isinstance(error, OutputError):
            stamp = Stamp(None, stamp.analysis)  # it may come back, or be no fault of the image
        row = self.parts.write_failure(name, failure_row(name, path, sentence, seconds), stamp)
        return Outcome(path, name, None, sentence, seconds, row)

    def _announce(self, path: Path, name: str, index: int, step: str) -> None:
        progress = Progress(step, ALL_STEPS.index(step), len(ALL_STEPS))
        checkpoint()
        self.tell(BatchProgress(path, name, index, self.files, progress))


def _is_read(found: Field) -> bool:
    """Whether all pixels of a field are in memory."""
    return all(isinstance(channel, np.ndarray) for channel in found.channels.values())
