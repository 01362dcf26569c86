"""The cells of a field that are not as they were, measured again: the others' values are kept.

After a few masks, nuclei or puncta of a picture changed, this gives what measuring everything gives, to the
last bit (a test compares the two over random corrections). Only a part of the image is looked at, that holds
the changed cells, those beside them, and their nuclei whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from napari_tam.measure.intensity import Pixels, clear_of_cells
from napari_tam.measure.local import Around, Cells, Part, Picture, Places
from napari_tam.measure.place import nearest_pixel
from napari_tam.measure.regions import Floats, Ints, Regions

Image = npt.NDArray[Any]

#: A changed pixel enters the values of cells (contacts, edges near their puncta) from so far at most.
_REACH_PX = 4

#: It decides about pixels of the background from no farther than this: `BACKGROUND_MARGIN_PX` from an outline
#: that moves by one. As far inside a part of an image, what is measured is that of the whole.
_CLEAR_PX = 8

#: Pixels without a cell, and the cell channel there.
BARE = "bare"


@dataclass(frozen=True)
class Measured:
    """What a measurement leaves for the next one of the same picture.

    Attributes
    ----------
    picture
        The picture.
    labels, nuclei
        YX labels of cells and nuclei that were measured; nuclei may be None.
    nuclear_ids, nuclear_boxes
        The labels of the nuclei, and their boxes as those of `Cells`.
    cells
        The values of the cells.
    y, x, places
        Positions (px) of the puncta, and where they lie.
    levels
        The background pixels of the cell channel and of the exosome channels by role; and as `BARE` all
        pixels of the cell channel without a cell.
    """

    picture: Picture
    labels: Image
    nuclei: Image | None
    nuclear_ids: Ints
    nuclear_boxes: Ints
    cells: Cells
    y: Floats
    x: Floats
    places: Places
    levels: dict[str, Pixels]

    @classmethod
    def of(
        cls, picture: Picture, around: Around, labels: Image, nuclei: Image | None, y: Floats, x: Floats
    ) -> Measured:
        """Measure all cells of a picture, and where its puncta lie."""
        clear = clear_of_cells(around.cells, around.distance)
        levels = {role: Pixels.of(picture.channels[role], clear) for role in ("cell", *picture.raw)}
        levels[BARE] = Pixels.of(picture.channels["cell"], around.cells.labels <= 0)
        ids, boxes = _boxes(around.nuclei)
        cells, places = around.measure(picture), around.places(y, x)
        return cls(picture, labels, nuclei, ids, boxes, cells, y, x, places, levels)


def _boxes(nuclei: Regions | None) -> tuple[Ints, Ints]:
    if nuclei is None:
        return np.zeros(0, np.int64), np.zeros((0, 4), np.int64)
    return nuclei.ids, nuclei.boxes


def measure_again(earlier: Measured, cells: Image, nuclei: Image | None, y: Floats, x: Floats) -> Measured:
    """Return what `Measured.of` returns, measuring only what is not as it was.

    Parameters
    ----------
    earlier
        Of the same picture.
    cells, nuclei
        YX labels as they are now; without nuclei where there were none.
    y, x
        Positions of the puncta (px) as they are now.
    """
    changed, redo = _changed(earlier.labels, cells)
    boxes_of_nuclei = earlier.nuclear_ids, earlier.nuclear_boxes
    if nuclei is not None and earlier.nuclei is not None and nuclei is not earlier.nuclei:
        boxes_of_nuclei = _boxes(Regions(nuclei))
        moved, which = _changed(earlier.nuclei, nuclei)
        if moved is not None:
            among = [moved, *_chosen(earlier.nuclear_ids, earlier.nuclear_boxes, which)]
            redo = np.union1d(redo, cells[_part(among, cells.shape)])
    known = _rows(earlier, y, x)
    under = cells[nearest_pixel(y, x, (cells.shape[0], cells.shape[1]))].astype(np.int64)
    redo = np.union1d(redo, under[known < 0]).astype(np.int64)
    redo = redo[redo > 0]
    places = Places.outside(len(y))
    at = np.flatnonzero((known >= 0) & (under > 0) & ~np.isin(under, redo))
    places.put(at, earlier.places.at(known[at]))
    values, levels = earlier.cells.only(~np.isin(earlier.cells.ids, redo)), earlier.levels
    if len(redo):
        part = _part_of(redo, earlier, changed, cells, nuclei, boxes_of_nuclei)
        top, left = part[0].start, part[1].start
        around = Around.of(cells[part], None if nuclei is None else nuclei[part], (top, left))
        found = around.measure(earlier.picture, part)
        values = values.joined(found.only(np.isin(found.ids, redo)))
        at = np.flatnonzero(np.isin(under, redo))
        places.put(at, around.places(y[at], x[at]))
        if changed is not None:
            levels = _levels(earlier, around, cells, _part([changed], cells.shape, _CLEAR_PX))
    return Measured(earlier.picture, cells, nuclei, *boxes_of_nuclei, values, y, x, places, levels)


def _changed(before: Image, now: Image) -> tuple[Ints | None, Ints]:
    """Return the box of the pixels whose label changed (None: none did), and the labels in their reach."""
    if before is now:
        return None, np.zeros(0, np.int64)
    differ = before != now
    rows = np.flatnonzero(differ.any(axis=1))
    if not len(rows):
        return None, np.zeros(0, np.int64)
    columns = np.flatnonzero(differ[rows[0] : rows[-1] + 1].any(axis=0))
    box = np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1])
    part = _part([box], now.shape, _REACH_PX)
    near = cv2.dilate(differ[part].astype(np.uint8), np.ones((2 * _REACH_PX + 1,) * 2, np.uint8)) > 0
    return box, np.union1d(before[part][near], now[part][near])


def _chosen(ids: Ints, boxes: Ints, which: Ints) -> Ints:
    """Return the boxes of some labels, as far as there are any."""
    return boxes[np.isin(ids, which)]


def _part(boxes: list[Ints], shape: tuple[int, ...], margin: int = 0) -> Part:
    """Return the part of an image that holds boxes and some pixels around them."""
    bounds = np.array(boxes)
    top, left = np.maximum(bounds[:, :2].min(axis=0) - margin, 0)
    bottom, right = np.minimum(bounds[:, 2:].max(axis=0) + margin, shape)
    return slice(int(top), int(bottom)), slice(int(left), int(right))


def _part_of(
    redo: Ints,
    earlier: Measured,
    changed: Ints | None,
    cells: Image,
    nuclei: Image | None,
    boxes_of_nuclei: tuple[Ints, Ints],
) -> Part:
    """Return the part of the image that holds cells and their nuclei whole, and what they depend on."""
    # a cell lies where it was, or where something changed
    boxes = list(_chosen(earlier.cells.ids, earlier.cells.boxes, redo))
    if changed is not None:
        boxes.append(changed)
    inside = _part(boxes, cells.shape)
    if nuclei is not None:
        over = np.unique(nuclei[inside][np.isin(cells[inside], redo)])
        boxes += list(_chosen(*boxes_of_nuclei, over))
    if changed is not None:
        boxes.append(changed + np.array([-_CLEAR_PX, -_CLEAR_PX, _CLEAR_PX, _CLEAR_PX]))
    return _part(boxes, cells.shape, _CLEAR_PX)


def _rows(earlier: Measured, y: Floats, x: Floats) -> Ints:
    """Return in which row each punctum was before; -1 where it was not."""
    if np.array_equal(earlier.y, y) and np.array_equal(earlier.x, x):
        return np.arange(len(y))
    before, now = earlier.y + 1j * earlier.x, y + 1j * x
    if not len(before):
        return np.full(len(now), -1)
    order = np.argsort(before)
    rows = order[np.minimum(np.searchsorted(before[order], now), len(order) - 1)]
    return np.where(before[rows] == now, rows, -1)


def _levels(earlier: Measured, around: Around, cells: Image, part: Part) -> dict[str, Pixels]:
    """Return the background pixels; they differ from the earlier ones in a part of the image only."""
    at = tuple(
        slice(each.start - start, each.stop - start)
        for each, start in zip(part, around.cells.origin, strict=True)
    )
    clear, bare = earlier.levels["cell"].which.copy(), earlier.levels[BARE].which.copy()
    clear[part] = clear_of_cells(around.cells, around.distance)[at]
    bare[part] = cells[part] <= 0
    return {
        name: level.changed(bare if name == BARE else clear, part) for name, level in earlier.levels.items()
    }
