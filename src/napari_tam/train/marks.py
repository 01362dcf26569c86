"""The score from which on candidates are puncta, learnt from images whose puncta a person marked.

People draw the line in different places: of the same images, some mark what stands out at a glance, others
every faint dot. The network's score orders the candidates, and where on it the line lies is learnt from a few
marks. One folder::

    a.tif         an image, of which an exosome channel is enough
    a_puncta.csv  every punctum in it (y_px, x_px; or what napari or ImageJ saves of points)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_tam.errors import InputError, one_line
from napari_tam.evaluate.matching import RADIUS_PX, match_points
from napari_tam.io.images import read_fields
from napari_tam.io.listing import list_images, unique_names
from napari_tam.markers.labels import EXOSOME
from napari_tam.pipeline.candidates import candidates_of
from napari_tam.pipeline.tiles import is_large
from napari_tam.puncta.selection import select
from napari_tam.puncta.threshold import LOWEST, by_user

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from napari_tam.io.field import Field
    from napari_tam.pipeline.models import Models
    from napari_tam.settings import Settings

Doubles = npt.NDArray[np.float64]

#: What follows an image's name in the name of its marks.
ENDING = "_puncta.csv"

#: Columns of y and x: this program's, napari's points, ImageJ's results.
COLUMNS = (("y_px", "x_px"), ("axis-0", "axis-1"), ("Y", "X"), ("y", "x"))

#: The scores that are tried; F1 is smoothed over so many of them: a few marks must not decide by chance.
SCORES, SMOOTH = np.round(np.arange(0.2, 0.985, 0.02), 2), 5

#: With fewer marks, or images, the choice says little.
FEW_MARKS, FEW_IMAGES = 50, 3


@dataclass(frozen=True)
class Marked:
    """An image with its marks.

    Attributes
    ----------
    name
        Of the image.
    counts
        (scores, 3) for each of `SCORES`: marks, puncta found, and pairs of both within `RADIUS_PX`.
    """

    name: str
    counts: npt.NDArray[np.intp]


@dataclass(frozen=True)
class Figures:
    """How puncta agree with marks: F1 of all, and the median relative error of the count per image."""

    f1: float
    count_error: float


@dataclass(frozen=True)
class Choice:
    """The score, and how well it does.

    Attributes
    ----------
    score
        The score chosen.
    images, marks
        How many it was chosen by.
    chosen, before, left_out
        Figures with it; with the score of the settings; and with every image judged by the score that the
        others tell, which is what can be expected of new images (None of fewer than two).
    """

    score: float
    images: int
    marks: int
    chosen: Figures
    before: Figures
    left_out: Figures | None

    @property
    def better(self) -> bool:
        """Whether images that had no say gain by it."""
        return self.left_out is not None and self.left_out.f1 > self.before.f1

    @property
    def few(self) -> bool:
        """Whether there were too few marks or images to rely on it."""
        return self.marks < FEW_MARKS or self.images < FEW_IMAGES


def read_marks(path: Path) -> Doubles:
    """Read marks, (N, 2) y and x in pixels.

    Raises
    ------
    InputError
        If the file cannot be read, or says no places.
    """
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise InputError(f"the marks cannot be read ({one_line(error)})", where=path) from error
    for columns in COLUMNS:
        if set(columns) <= set(table):
            numbers = table[list(columns)].apply(pd.to_numeric, errors="coerce")
            places: Doubles = numbers.to_numpy(np.float64)
            if not np.isfinite(places).all():
                raise InputError(f"a place ({', '.join(columns)}) is no number", where=path)
            return places
    known = "; ".join(", ".join(columns) for columns in COLUMNS)
    raise InputError("the marks have no columns for y and x", where=path, fix=f"known are {known}")


def read_marked(folder: Path, settings: Settings, models: Models) -> Iterator[Marked]:
    """Find the candidates of marked images, and compare them with the marks at every score.

    Parameters
    ----------
    folder
        Images and marks, see above; images without marks are left out.
    settings, models
        How puncta are found.

    Raises
    ------
    InputError
        If there are no marks, or an image or its marks cannot be used.
    """
    marks = {path.name.removesuffix(ENDING): path for path in sorted(folder.glob(f"*{ENDING}"))}
    if not marks:
        raise InputError(
            "no image here has marks", where=folder, fix=f"the puncta of a.tif are in a{ENDING}, beside it"
        )
    names = unique_names(list_images([str(folder)], settings.files, rgb=settings.rgb), settings.files)
    seen = set()
    for path, name in names.items():
        # of a single channel, too: there need be no cells
        for field in read_fields(
            path, settings, name=name, required=(EXOSOME,), wanted=lambda each: each in marks
        ):
            seen.add(field.name)
            yield _compared(field, read_marks(marks[field.name]), settings, models)
    lonely = sorted(set(marks) - seen)
    if lonely:
        raise InputError("there is no image for these marks", where=marks[lonely[0]])


def _compared(field: Field, marks: Doubles, settings: Settings, models: Models) -> Marked:
    if field.z_step_um is not None or is_large(field) or len(field.exosomes) != 1:
        raise InputError(
            "marks are of a plane with one exosome channel",
            where=field.name,
            fix="cut a plane (or projection) out of it, and name the channel: --channels exosome=…",
        )
    shape = field.channels[EXOSOME].shape
    if ((marks < -0.5) | (marks > np.array(shape) - 0.5)).any():
        raise InputError(f"a mark lies outside the image of {shape[1]} x {shape[0]} px", where=field.name)
    return compare(field.name, candidates_of(field, settings, models), marks, settings)


def compare(
    name: str, candidates: pd.DataFrame, marks: Doubles, settings: Settings, radius: float = RADIUS_PX
) -> Marked:
    """Compare the candidates of an image with its marks at every score.

    Parameters
    ----------
    name
        Of the image.
    candidates
        What a detector gives.
    marks
        (N, 2) y and x in pixels.
    settings
        What else decides which candidates are puncta; a threshold that is learnt from a batch does not.
    radius
        A find so near a mark is that punctum.
    """
    given = settings.threshold_of("")
    threshold = by_user(LOWEST if given is None else given)
    counts = []
    for score in SCORES:
        kept = select(candidates, settings.updated(puncta_score=float(score)), threshold)
        found = kept[["y_px", "x_px"]].to_numpy(np.float64)
        counts.append((len(marks), len(found), len(match_points(marks, found, radius))))
    return Marked(name, np.array(counts, np.intp))


def choose_score(marked: Sequence[Marked], before: float) -> Choice:
    """Choose the score at which puncta and marks agree best (F1).

    Parameters
    ----------
    marked
        The images.
    before
        The score of the settings.

    Raises
    ------
    InputError
        If there is no mark.
    """
    counts = np.stack([each.counts for each in marked]) if marked else np.zeros((0, 1, 3), np.intp)
    marks = int(counts[:, 0, 0].sum())
    if not marks:
        raise InputError("no punctum is marked", fix="mark images in which some are")
    usual = int(np.argmin(np.abs(SCORES - before)))
    best = _best(counts)
    left_out = None
    if len(counts) > 1:
        others = [_best(np.delete(counts, index, axis=0)) for index in range(len(counts))]
        left_out = _figures(np.stack([own[score] for own, score in zip(counts, others, strict=True)]))
    return Choice(
        float(SCORES[best]),
        len(counts),
        marks,
        _figures(counts[:, best]),
        _figures(counts[:, usual]),
        left_out,
    )


def _best(counts: npt.NDArray[np.intp]) -> int:
    """Return the index of the score at which F1 of all images is highest."""
    marks, found, hits = counts.sum(axis=0).T
    f1 = 2 * hits / np.maximum(marks + found, 1)
    near = np.ones(SMOOTH) / SMOOTH
    return int(np.argmax(np.convolve(np.pad(f1, SMOOTH // 2, "edge"), near, "valid")))


def _figures(counts: npt.NDArray[Any]) -> Figures:
    """Return the figures of images, (images, 3) as in `Marked`."""
    marks, found, hits = counts.sum(axis=0)
    some = counts[counts[:, 0] > 0]
    error = np.abs(some[:, 1] - some[:, 0]) / some[:, 0]
    return Figures(float(2 * hits / max(marks + found, 1)), float(np.median(error)))
