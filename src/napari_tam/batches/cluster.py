"""The same batch on many machines: dask workers that share the folders of images and results.

A worker reads, analyses and writes one file at a time, exactly as `napari_tam.batch` does; only the rows of
images.csv come back. So a worker that dies loses only the image it was working on.
"""

from __future__ import annotations

import contextlib
import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_tam.batches.asked import check_markers
from napari_tam.batches.dask_clusters import connected
from napari_tam.batches.defects import with_learnt
from napari_tam.batches.learnt import learn
from napari_tam.batches.outcome import BatchProgress, Outcome
from napari_tam.batches.run import saving
from napari_tam.batches.work import ALL_STEPS, Work
from napari_tam.errors import InputError
from napari_tam.io.channel_search import files_of
from napari_tam.io.images import unique_names
from napari_tam.progress import Progress
from napari_tam.results.field_store import FieldStore, Row, Stamp
from napari_tam.results.fingerprint import analysis_hash, source_of
from napari_tam.results.folder import OK
from napari_tam.results.lock import LOCK_FILE, locked
from napari_tam.results.record import Record, failure_row
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

    from distributed import Client

    from napari_tam.io.layout import Layout
    from napari_tam.pipeline.models import Models


#: An image that has killed this many workers is not tried again.
TRIES = 2


def load_for_worker(settings: Settings) -> Models:
    """Load the networks in a worker; they and OpenCV are limited to its one core."""
    import cv2

    from napari_tam.networks.threads import limit_process
    from napari_tam.pipeline.models import load_models

    limit_process(1)
    cv2.setNumThreads(1)
    return load_models(settings)


def analyse_on(
    cluster: str | Client,
    paths: Sequence[Path],
    settings: Settings,
    models: Models,
    out: Path,
    *,
    on_progress: Callable[[BatchProgress], None] | None = None,
    command: Sequence[str] = (),
    resume: bool = False,
    retry_failed: bool = False,
    layout: Layout | None = None,
    load: Callable[[Settings], Models] = load_for_worker,
) -> Generator[Outcome, None, None]:
    """Analyse images on dask workers; see `napari_tam.batches.run.analyse_files`, which gives the same files.

    An image whose worker dies is tried again, alone, when the others are done; if that one dies as well
    the image has failed.

    Parameters
    ----------
    cluster
        See `open_cluster`; or a client that is connected.
    paths, settings, models, out, on_progress, command, resume, retry_failed, layout
        As for `analyse_files`. The folders must have the same paths on all machines.
    load
        Loads the networks in a worker.

    Yields
    ------
    Outcome
        One for every field, as it is done; without its analysis, which stays with the worker.

    Raises
    ------
    InputError
        If there is no such cluster, or the results folder cannot be written.
    """
    paths = list(dict.fromkeys(paths))
    names = unique_names(paths, settings.files)
    check_markers(names, settings, layout)
    with locked(out):
        tell = on_progress or (lambda _progress: None)
        learnt = learn(names, settings, models, out, layout=layout, resume=resume, tell=tell)
        settings, models = learnt.settings, learnt.models
        record = learnt.record(out, names, command, background=True)
        work = Work(record.parts, settings, models, record.analysis, resume, retry_failed, len(paths))
        rows: dict[Path, list[Row] | None] = dict.fromkeys(paths)
        with _in_order(record, rows), connected(cluster) as client:
            todo = []
            for path in paths:
                done = work.done(path, names[path]) if resume else None
                if done is None:
                    todo.append(path)
                    continue
                rows[path] = [{**row, "source": str(path)} for row in done[0]]
                yield from _outcomes(path, rows[path] or [], kept=True)
            job = _Job(str(out.resolve()), settings.model_dump_json(), record.analysis, retry_failed, load)
            yield from _Dispatch(client, job, record.parts, names, rows, on_progress, resume).run(todo)


class _Job:
    """What every worker needs for every file; small, as it is sent with each."""

    def __init__(
        self,
        out: str,
        settings: str,
        analysis: str,
        retry_failed: bool,
        load: Callable[[Settings], Models],
    ) -> None:
        self.out, self.settings, self.analysis = out, settings, analysis
        self.retry_failed, self.load = retry_failed, load

    def __call__(self, path: str, name: str, resume: bool, seen: bool = False) -> list[Row]:
        """Analyse a file in a worker, which the machine that leads has `seen`; return the rows of its fields.

        Raises
        ------
        InputError
            If the worker has other networks or another version than the machine that leads, or other disks.
        """
        folder = Path(path).parent
        for what, away in (
            (self.out, not (Path(self.out) / LOCK_FILE).exists()),
            (folder, seen and not folder.is_dir()),
        ):
            if away:
                raise InputError(
                    "a worker does not see this folder",
                    where=f"{_host()}: {what}",
                    fix="images and results must be on a disk that all machines share, at the same path",
                )
        settings, models = _loaded(self.settings, self.load)
        models = with_learnt(models, settings, Path(self.out))
        parts = FieldStore(Path(self.out))
        work = Work(parts, settings, models, self.analysis, resume, self.retry_failed)
        if analysis_hash(settings, models) != self.analysis:
            raise InputError(
                "a worker has other networks, or another version of napari-tam",
                where=_host(),
                fix="install the same on all machines",
            )
        rows: list[Row] = []
        for item in work.read(Path(path), name, 0):
            if item.kind == "end":
                if not item.untouched:
                    parts.finish_file(name, [str(row["image"]) for row in rows], item.stamp)
                continue
            outcome = work.analyse(item) if item.outcome is None else item.outcome
            rows.append(outcome.row)
        return rows


@lru_cache(maxsize=1)
def _loaded(text: str, load: Callable[[Settings], Models]) -> tuple[Settings, Models]:
    from napari_tam.settings import Settings

    settings = Settings(**json.loads(text))
    return settings, load(settings)


def _host() -> str:
    import platform

    return platform.node()


class _Dispatch:
    """Hands files to workers and takes their rows."""

    def __init__(
        self,
        client: Client,
        job: _Job,
        parts: FieldStore,
        names: Mapping[Path, str],
        rows: dict[Path, list[Row] | None],
        on_progress: Callable[[BatchProgress], None] | None,
        resume: bool,
    ) -> None:
        self.client, self.job, self.parts, self.names, self.rows = client, job, parts, names, rows
        self.on_progress, self.resume = on_progress, resume
        self.index = {path: index for index, path in enumerate(names)}

    def run(self, todo: Sequence[Path]) -> Iterator[Outcome]:
        suspects: list[Path] = []
        yield from self._round(todo, suspects, self.resume, None)
        # alone: if a worker dies now, its image is the cause
        for path in suspects:
            killed: list[Path] = []
            yield from self._round([path], killed, True, 1)
            if killed:
                yield from self._set_aside(path)

    def _round(
        self, todo: Sequence[Path], suspects: list[Path], resume: bool, width: int | None
    ) -> Iterator[Outcome]:
        from distributed import as_completed
        from distributed.scheduler import KilledWorker

        waiting = iter(todo)
        running: dict[Any, Path] = {}
        done = as_completed()

        def hand_out() -> None:
            # as many as there are threads: what waits in a worker's queue would die with it
            wanted = width or max(1, sum(self.client.nthreads().values()))
            while len(running) < wanted and (path := next(waiting, None)) is not None:
                name = self.names[path]
                future = self.client.submit(
                    self.job, str(path.resolve()), name, resume, path.exists(), pure=False
                )
                running[future] = path
                done.add(future)
                self._tell(path, name)

        try:
            hand_out()
            for future in done:
                path = running.pop(future)
                try:
                    rows = future.result()
                except KilledWorker:
                    suspects.append(path)
                else:
                    self.rows[path] = [{**row, "source": str(path)} for row in rows]
                    yield from _outcomes(path, self.rows[path] or [])
                future.release()
                hand_out()
        finally:
            for future in running:
                with contextlib.suppress(Exception):
                    future.cancel()

    def _set_aside(self, path: Path) -> Iterator[Outcome]:
        name = self.names[path]
        sentence = str(
            InputError(
                f"the worker died {TRIES} times while it analysed this image",
                where=path,
                fix="it may need more memory than a worker has; --retry-failed tries it again",
            )
        )
        try:
            how = Settings.model_validate_json(self.job.settings).files
            stamp = Stamp(source_of(path, files_of(path, how)), self.job.analysis)
        except OSError:
            stamp = Stamp(None, self.job.analysis)
        row = self.parts.write_failure(name, failure_row(name, path, sentence, 0.0), stamp)
        self.parts.finish_file(name, [name], stamp)
        self.rows[path] = [row]
        yield from _outcomes(path, [row])

    def _tell(self, path: Path, name: str) -> None:
        if self.on_progress is not None:
            step = Progress("read", 0, len(ALL_STEPS))
            self.on_progress(BatchProgress(path, name, self.index[path], len(self.index), step))


def _outcomes(path: Path, rows: Sequence[Row], *, kept: bool = False) -> Iterator[Outcome]:
    for row in rows:
        error = None if row["status"] == OK else str(row["error"])
        yield Outcome(path, str(row["image"]), None, error, 0.0 if kept else row["seconds"], row, kept)


@contextlib.contextmanager
def _in_order(record: Record, rows: Mapping[Path, list[Row] | None]) -> Iterator[None]:
    """Save the tables at the end: workers are done in any order, the tables are in that of the files."""
    with saving(record):
        try:
            yield
        finally:
            for path, found in rows.items():
                if found is not None:
                    for row in found:
                        record.add(row, {})
                    record.finish_file(path)
