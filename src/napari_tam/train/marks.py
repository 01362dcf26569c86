"""Images whose puncta a person marked, and how candidates agree with the marks.

People draw the line in different places: of the same images, some mark what stands out at a glance, others
every faint dot. Candidates have an order, and where on it the line lies is learnt from a few marks
(`napari_tam.train.lines`). One folder::

    a.tif          an image, of which an exosome channel is enough
    a_puncta.csv   every punctum in it, or in its marked regions (`napari_tam.train.marks_files`)
    a_regions.csv  the marked regions, if only they are marked
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_tam.errors import InputError
from napari_tam.evaluate.matching import RADIUS_PX, match_points
from napari_tam.io.images import read_fields
from napari_tam.io.listing import list_images, unique_names
from napari_tam.markers.labels import EXOSOME
from napari_tam.pipeline.candidates import candidates_of
from napari_tam.pipeline.tiles import is_large
from napari_tam.puncta.selection import select
from napari_tam.puncta.threshold import LOWEST, by_user
from napari_tam.train.lines import LINES, Marked, lines_of
from napari_tam.train.marks_files import ENDING, REGIONS, read_marks, read_regions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import pandas as pd

    from napari_tam.io.field import Field
    from napari_tam.pipeline.models import Models
    from napari_tam.settings import Settings

Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

#: Less than every score.
_NO_SCORE = 1e-9


def read_marked(folder: Path, settings: Settings, models: Models) -> Iterator[Marked]:
    """Find the candidates of marked images, and compare them with the marks.

    Parameters
    ----------
    folder
        Images, marks and regions, see above; images without marks are left out.
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
            own = folder / f"{field.name}{REGIONS}"
            regions = read_regions(own) if own.is_file() else ()
            yield _compared(field, read_marks(marks[field.name]), regions, settings, models)
    lonely = sorted(set(marks) - seen)
    if lonely:
        raise InputError("there is no image for these marks", where=marks[lonely[0]])


def _compared(
    field: Field, marks: Doubles, regions: Sequence[Doubles], settings: Settings, models: Models
) -> Marked:
    if field.z_step_um is not None or is_large(field) or len(field.exosomes) != 1:
        raise InputError(
            "marks are of a plane with one exosome channel",
            where=field.name,
            fix="cut a plane (or projection) out of it, and name the channel: --channels exosome=…",
        )
    shape = field.channels[EXOSOME].shape
    if ((marks < -0.5) | (marks > np.array(shape) - 0.5)).any():
        raise InputError(f"a mark lies outside the image of {shape[1]} x {shape[0]} px", where=field.name)
    return compare(field.name, candidates_of(field, settings, models), marks, settings, regions=regions)


def compare(
    name: str,
    candidates: pd.DataFrame,
    marks: Doubles,
    settings: Settings,
    radius: float = RADIUS_PX,
    *,
    regions: Sequence[Doubles] = (),
    label: str = "",
) -> Marked:
    """Compare the candidates of an image with its marks, with every line that may be drawn.

    Parameters
    ----------
    name
        Of the image.
    candidates
        What a detector gives; of one exosome label.
    marks
        (N, 2) y and x in pixels.
    settings
        What else decides which candidates are puncta; a threshold that is learnt from a batch does not.
    radius
        A find so near a mark is that punctum.
    regions
        Corners (K, 2) of polygons in which every punctum is marked; none: the whole image. A find belongs to
        where its mark lies, one without to where it lies itself.
    label
        The exosome label; empty for a single one.
    """
    given = settings.threshold_of(label)
    others = settings.updated(puncta_score=_NO_SCORE)  # what neither line decides about
    kept = select(candidates, others, by_user(LOWEST))
    places = kept[["y_px", "x_px"]].to_numpy(np.float64)
    scores, contrasts = lines_of(settings.puncta_score, LOWEST if given is None else given)
    # as in `napari_tam.puncta.selection.reasons` (a test compares)
    above = kept["contrast"].to_numpy(np.float64)[:, None] >= np.where(contrasts > LOWEST, contrasts, -np.inf)
    present = above & (kept["score"].to_numpy(np.float64)[:, None] >= scores)
    hit, paired = _pairs(marks, places, present, radius)
    inside = within(marks, regions)
    hit, alone = hit[inside], (present & ~paired)[within(places, regions)]
    items = np.zeros((len(hit) + len(alone), LINES, 3), np.uint8)
    items[: len(hit), :, 0] = 1
    items[: len(hit), :, 1:] = hit[..., None]
    items[len(hit) :, :, 1] = alone
    return Marked(name, items[items.any(axis=(1, 2))], int((~inside).sum()))


def within(places: Doubles, regions: Sequence[Doubles]) -> Bools:
    """Tell which places (N, 2) lie in a region; all do where there is none."""
    if not len(regions):
        return np.ones(len(places), bool)
    from matplotlib.path import Path as Outline

    found = np.zeros(len(places), bool)
    for region in regions:
        found |= Outline(region).contains_points(places)
    return found


def _pairs(marks: Doubles, places: Doubles, present: Bools, radius: float) -> tuple[Bools, Bools]:
    """Pair marks with the finds of each line, as `match_points` does.

    Returns which marks (N, lines) and which finds (M, lines) have a partner. Most marks have one candidate
    nearby, and that none but this mark: there is nothing to choose.
    """
    from scipy.spatial import KDTree

    hit = np.zeros((len(marks), present.shape[1]), bool)
    paired = np.zeros(present.shape, bool)
    if not len(marks) or not len(places):
        return hit, paired
    near = KDTree(marks).sparse_distance_matrix(KDTree(places), radius, output_type="ndarray")
    i, j = near["i"], near["j"]
    clear = (np.bincount(i)[i] == 1) & (np.bincount(j)[j] == 1)
    hit[i[clear]] = paired[j[clear]] = present[j[clear]]
    one, other = np.unique(i[~clear]), np.unique(j[~clear])
    known: dict[bytes, npt.NDArray[Any]] = {}
    for line in range(present.shape[1] if len(one) else 0):
        here = present[other, line]
        key = here.tobytes()
        if key not in known:
            known[key] = match_points(marks[one], places[other[here]], radius)
        pairs = known[key]
        hit[one[pairs[:, 0]], line] = True
        paired[other[here][pairs[:, 1]], line] = True
    return hit, paired
