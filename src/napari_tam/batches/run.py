"""Many images, one results folder: what goes wrong with one does not stop the others."""

from __future__ import annotations

import contextlib
from collections import deque
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from napari_tam.batches.asked import check_markers
from napari_tam.batches.learnt import learn
from napari_tam.batches.outcome import ERROR_LOG, BatchProgress, Outcome, explain
from napari_tam.batches.threads import executor, read_ahead
from napari_tam.batches.work import ALL_STEPS, Item, Work
from napari_tam.files import OutputError
from napari_tam.io.images import unique_names
from napari_tam.io.masks.find import check_folders
from napari_tam.io.tiff import available_memory
from napari_tam.pipeline.tiles import pixels_at_once
from napari_tam.stopping import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
    from concurrent.futures import Executor, Future
    from pathlib import Path

    from napari_tam.io.layout import Layout
    from napari_tam.pipeline.models import Models
    from napari_tam.results.field_store import Row
    from napari_tam.results.record import Record
    from napari_tam.settings import Settings

__all__ = ["ALL_STEPS", "ERROR_LOG", "BatchProgress", "Outcome", "analyse_files", "explain"]

#: Raised when a user ends a run early.
STOPS = (KeyboardInterrupt, GeneratorExit, Interrupted)

#: Memory of an image that is being analysed: the networks' tiles, and twice what a pixel was measured to take
#: (83 bytes at 1536 x 1536, three channels).
BYTES_PER_IMAGE, BYTES_PER_PIXEL = 1e8, 160

#: Default share of the free memory that a run may use.
MEMORY_SHARE = 0.5


def analyse_files(
    paths: Sequence[Path],
    settings: Settings,
    models: Models,
    out: Path,
    *,
    on_progress: Callable[[BatchProgress], None] | None = None,
    command: Sequence[str] = (),
    resume: bool = False,
    retry_failed: bool = False,
    jobs: int = 0,
    memory_gb: float | None = None,
    layout: Layout | None = None,
) -> Generator[Outcome, None, None]:
    """Analyse images, writing each to the results folder before it is yielded.

    The tables are written at the end, from time to time during the run, and also when the run is
    interrupted (Ctrl+C, the generator is closed, or see `napari_tam.stopping`): then they hold every
    finished field, and `images.csv` lists the files that are missing as ``not analysed``. A run that was
    killed loses only the fields it was working on.

    Corrections by hand that lie in the results folder are kept (`napari_tam.pipeline.edits`).

    Parameters
    ----------
    paths
        Image files, see `napari_tam.io.images.list_images`.
    settings, models
        How to analyse them.
    out
        The results folder.
    on_progress
        Called before every step of every field; from several threads with `jobs`.
    command
        The command line, for `run.json`.
    resume
        Keep the results of an earlier run that still hold: same image, same networks, same settings
        (except those that are used after the images, see `napari_tam.results.fingerprint`), same version.
    retry_failed
        With `resume`: analyse images again that failed.
    jobs
        So many images are analysed at the same time, and the next ones read meanwhile. 0: one after
        another in the caller's thread. What comes out is the same.
    memory_gb
        Images are only analysed at the same time if this is enough for them. Unset: half of what is free.
    layout
        What the images are: its control wells tell the threshold of the puncta
        (`napari_tam.batches.threshold`).

    Yields
    ------
    Outcome
        One for every field, in order. An image that cannot be read or analysed is an outcome with
        an error. So is one that meets a bug; its traceback goes to ``errors.log``.

    Raises
    ------
    InputError
        If the results folder cannot be written, or another run is using it, or a folder with masks is
        missing, or a marker that a rule, a gate or the layout names.
    """
    from napari_tam.results.lock import locked

    check_folders(settings)
    paths = list(dict.fromkeys(paths))
    names = unique_names(paths, settings.files)
    jobs = jobs_for(models, jobs)
    check_markers(names, settings, layout)
    with locked(out):
        tell = on_progress or (lambda _progress: None)
        learnt = learn(names, settings, models, out, layout=layout, resume=resume, tell=tell)
        settings, models = learnt.settings, learnt.models
        record = learnt.record(out, names, command, background=jobs > 0)
        if not resume:
            with contextlib.suppress(OSError):
                (out / ERROR_LOG).unlink(missing_ok=True)
        work = Work(record.parts, settings, models, record.analysis, resume, retry_failed, len(paths))
        work.tell, work.known = tell, learnt.known
        with saving(record):
            yield from work_through(names, work, record, jobs, memory_gb)


class Tables(Protocol):
    """What takes the fields that are done: `napari_tam.results.record.Record`, which explains the methods."""

    def add(self, row: Row, seconds: Mapping[str, float] | None = None) -> None:
        """Take a field."""
        ...

    def finish_file(self, path: Path) -> None:
        """Note that nothing more comes from a file."""
        ...

    def save_sometimes(self) -> None:
        """Save if the last time is long ago."""
        ...


def work_through(
    names: Mapping[Path, str], work: Work, tables: Tables, jobs: int, memory_gb: float | None
) -> Iterator[Outcome]:
    """Read, analyse and write files, several at the same time.

    Parameters
    ----------
    names
        The files, and their names.
    work
        How they are analysed.
    tables
        Takes what is done, in order.
    jobs, memory_gb
        As for `analyse_files`.

    Yields
    ------
    Outcome
        One for every field, in order.
    """
    items = (
        item for index, (path, name) in enumerate(names.items()) for item in work.read(path, name, index)
    )
    run = _Run(tables, work, jobs, _memory(memory_gb))
    with (
        executor(jobs, work.stop) as pool,
        read_ahead(items, 1 if jobs else 0) as ready,
    ):
        yield from run.outcomes(ready, pool)


def jobs_for(models: Models, jobs: int) -> int:
    """Return how many images can be analysed at the same time, of so many that are asked for."""
    one_at_a_time = any(getattr(each, "one_at_a_time", False) for each in (models.cells, models.nuclei))
    return min(jobs, 1) if one_at_a_time else jobs


@contextlib.contextmanager
def saving(record: Record) -> Iterator[None]:
    """Save the tables when a run ends, however it does."""
    try:
        yield
    except BaseException as error:
        status = "interrupted" if isinstance(error, STOPS) else "stopped"
        # where the folder cannot be written, saying so once is enough
        with contextlib.suppress(*([OutputError] if isinstance(error, OutputError) else [])):
            record.save(status)
        raise
    record.save("complete")


@dataclass
class _Run:
    """The fields that are being analysed, in order."""

    tables: Tables
    work: Work
    jobs: int
    memory: float
    window: deque[tuple[Item, Future[Outcome] | None, float]] = field(default_factory=deque)
    #: Names of the fields of the file that is being finished.
    names: list[str] = field(default_factory=list)

    def outcomes(self, items: Iterator[Item], pool: Executor) -> Iterator[Outcome]:
        """Yield what becomes of the fields that are read, in order."""
        try:
            for item in items:
                cost = 0.0
                if item.field is not None:
                    pixels = pixels_at_once(item.field, self.work.settings)
                    cost = BYTES_PER_IMAGE + BYTES_PER_PIXEL * pixels
                # one more than are worked at, so that no thread waits for an older image's outcome
                while len(self._running()) > self.jobs or (
                    self._running() and sum(c for _, _, c in self.window) + cost > self.memory
                ):
                    yield from self._oldest()
                future = None if item.field is None else pool.submit(self.work.analyse, item)
                light = Item(item.kind, item.path, item.index, item.name, item.stamp, outcome=item.outcome)
                self.window.append((light if item.kind != "end" else item, future, cost))
                del item
                while self.window and (self.jobs == 0 or self._is_ready()):
                    yield from self._oldest()
            while self.window:
                yield from self._oldest()
        except BaseException as error:
            self._drain(items, closed=isinstance(error, GeneratorExit))
            raise

    def _running(self) -> list[float]:
        return [cost for _, future, cost in self.window if future is not None]

    def _is_ready(self) -> bool:
        future = self.window[0][1]
        return future is None or future.done()

    def _oldest(self) -> Iterator[Outcome]:
        """Take the oldest field into the tables and yield its outcome; note the end of a file."""
        item, future, _ = self.window[0]
        outcome = item.outcome if future is None else future.result()
        self.window.popleft()
        if outcome is None:
            self._finish(item)
            return
        self.tables.save_sometimes()
        self._add(outcome)
        yield outcome

    def _add(self, outcome: Outcome) -> None:
        self.names.append(outcome.name)
        seconds = {} if outcome.analysis is None else outcome.analysis.seconds
        self.tables.add(outcome.row, None if outcome.kept else seconds)

    def _finish(self, item: Item) -> None:
        if not item.untouched:
            self.work.parts.finish_file(item.name, self.names, item.stamp)
        self.names = []
        self.tables.finish_file(item.path)

    def _drain(self, items: Iterator[Item], *, closed: bool) -> None:
        """Take what is done into the tables; what is not is stopped."""
        self.work.stop.set()
        lost = False
        if closed and self.jobs == 0:
            # the last field of a file may just have been yielded
            with contextlib.suppress(Exception):
                item = next(items, None)
                if item is not None and item.kind == "end":
                    self._finish(item)
            return
        for item, future, _ in self.window:
            if future is None and item.outcome is None:
                if not lost:
                    with contextlib.suppress(OutputError):
                        self._finish(item)
                self.names, lost = [], False
                continue
            try:
                outcome = item.outcome if future is None else future.result()
                assert outcome is not None
                self._add(outcome)
            except (Interrupted, CancelledError, OutputError):
                lost = True
            finally:
                if future is not None:
                    future.cancel()


def _memory(memory_gb: float | None) -> float:
    """Return how many bytes may be used for images that are analysed at the same time."""
    if memory_gb is not None:
        return memory_gb * 1e9
    free = available_memory()
    return float("inf") if free is None else MEMORY_SHARE * free
