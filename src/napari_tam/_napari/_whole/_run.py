"""What runs in the background, as the command line does it: a movie by frames, a large image by tiles."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from napari_tam._napari._preload import load_drawing, loading
from napari_tam.errors import InputError
from napari_tam.markers.labels import EXOSOME, label_of
from napari_tam.markers.names import AND
from napari_tam.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    import pandas as pd

    from napari_tam._napari._found import Found
    from napari_tam._napari._session import Session
    from napari_tam._napari._whole._source import Source
    from napari_tam.batches.learnt import Learnt
    from napari_tam.pipeline.analysis import Analysis
    from napari_tam.pipeline.models import Models
    from napari_tam.puncta.threshold import Threshold
    from napari_tam.settings import Settings


@dataclass(frozen=True)
class Part(Progress):
    """A step of one of several parts: which ``part`` (frame, tile) it is of."""

    part: str = ""

    @property
    def text(self) -> str:
        """What to tell the user."""
        return f"{self.part} {self.done + 1} of {self.total}: {self.step} …"


@dataclass(frozen=True)
class Followed:
    """An analysed movie.

    Attributes
    ----------
    frames
        The analysis of every frame that could be analysed, without its channels.
    cells
        cells.csv of all frames, with the columns `track` and `time_h`.
    fits
        kinetics.csv.
    thresholds
        Those of the puncta, found for the whole movie, by exosome label.
    notes
        Sentences for the user; also why frames failed.
    """

    frames: tuple[Analysis, ...]
    cells: pd.DataFrame
    fits: pd.DataFrame
    thresholds: dict[str, Threshold]
    notes: tuple[str, ...]


def analyse_large(
    session: Session, source: Source, settings: Settings, folder: Path | None, before: Found | None
) -> Generator[Progress, None, Analysis]:
    """Analyse a large image in tiles; the threshold of its puncta is learnt before, as in a batch of one.

    Raises
    ------
    InputError
        If it was corrected by hand (in the folder, or since `before` was found), which tiles would not keep.
    """
    models = _models(session, settings)
    from napari_tam.results.edits import read_edits

    edits = None if before is None else before.edits
    if edits is None and folder is not None:
        edits = read_edits(folder, source.name, source.stack.shape)
    if edits is not None and edits.any:
        raise InputError(
            "it was corrected by hand, which an analysis in tiles would not keep",
            where=source.name,
            fix="Give larger tiles in the settings, or discard the corrections",
        )
    learnt = yield from _learn(source, settings, models)
    from napari_tam.pipeline.runner import run_steps
    from napari_tam.pipeline.tile_labels import tiles_of

    field = next(source.read(source.path, settings))
    margin = max(1, round(settings.tile_overlap_um / field.pixel_size_um / 2))
    count, begun = len(tiles_of(field.shape, settings.tile_px, margin)), 0
    steps = run_steps(field, learnt.settings, models)
    while True:
        try:
            progress = next(steps)
        except StopIteration as stop:
            analysis: Analysis = stop.value
            return replace(analysis, thresholds=learnt.thresholds)
        begun += progress.done == 0
        yield Part(progress.step, begun - 1, count, "Tile")


def analyse_movie(
    session: Session, source: Source, settings: Settings, folder: Path | None
) -> Generator[Progress, None, Followed]:
    """Analyse every frame, follow the cells and fit their uptake; corrections in the folder are kept.

    Raises
    ------
    InputError
        If fewer than two frames can be analysed.
    """
    models = _models(session, settings)
    learnt = yield from _learn(source, settings, models)
    frames: list[Analysis] = []
    rows: list[dict[str, Any]] = []
    failed: list[InputError] = []
    count = source.stack.n_times
    for time in range(count):
        try:
            frame, row = yield from _frame(source, time, settings, learnt, models, folder)
            frames.append(frame)
            rows.append(row)
        except InputError as error:
            failed.append(error)
    if len(frames) < 2:
        raise failed[0] if failed else InputError("a movie needs two frames or more", where=source.path)
    yield Part("following the cells", count - 1, count, "Frame")
    return follow_frames(frames, rows, settings, learnt, [f"a frame failed: {error}" for error in failed])


def _frame(
    source: Source, time: int, settings: Settings, learnt: Learnt, models: Models, folder: Path | None
) -> Generator[Progress, None, tuple[Analysis, dict[str, Any]]]:
    """Analyse one frame; returns it without its channels, and its row of images.csv."""
    from napari_tam.pipeline.analysis import Segmented
    from napari_tam.pipeline.runner import run_steps
    from napari_tam.results.edits import read_edits
    from napari_tam.results.record import image_row

    field = source.frame(settings, time)
    known = learnt.known.pop(field.name, Segmented())
    edits = None if folder is None else read_edits(folder, field.name, field.shape)
    steps = run_steps(field, learnt.settings, models, edits=edits, segmented=known)
    while True:
        try:
            progress = next(steps)
        except StopIteration as stop:
            found: Analysis = stop.value
            light: dict[str, Any] = dict.fromkeys(("raw", "corrected", "candidates", "classifier"))
            row = image_row(found, sum(found.seconds.values()))
            return replace(found, field=replace(found.field, channels={}), **light), row
        yield Part(progress.step, time, source.stack.n_times, "Frame")


def follow_frames(
    frames: Sequence[Analysis],
    rows: Sequence[dict[str, Any]],
    settings: Settings,
    learnt: Learnt,
    notes: Sequence[str] = (),
) -> Followed:
    """Follow the cells of analysed frames (and their rows of images.csv), and fit their uptake."""
    import pandas as pd

    from napari_tam.celltypes.types import analysed
    from napari_tam.columns import join_tables
    from napari_tam.kinetics.table import kinetics
    from napari_tam.kinetics.tracking import follow

    found = follow(pd.DataFrame(rows), join_tables([frame.table for frame in frames]), settings)
    fits = kinetics(found.cells[analysed(found.cells, settings)])
    return Followed(tuple(frames), found.cells, fits, learnt.thresholds, (*found.notes, *notes))


def _models(session: Session, settings: Settings) -> Models:
    with loading():
        import napari_tam.batches.learnt
        import napari_tam.pipeline.runner  # noqa: F401

        load_drawing()
        return session.models(settings)


def _learn(source: Source, settings: Settings, models: Models) -> Generator[Progress, None, Learnt]:
    """Learn the threshold of the puncta from all frames, or from the middle of a large image."""
    from napari_tam.batches.learnt import learn_from

    yield Part("the puncta's threshold", 0, max(1, source.stack.n_times), "Frame")
    labels = [label for role in source.channels if (label := label_of(role))]
    if labels:
        settings = settings.updated(channels={**settings.channels, EXOSOME: AND.join(labels)})
    return learn_from(source.read, source.path, source.name, settings, models)
