"""A plane made ready for puncta to be looked for in it: hot pixels, padding, small fractions.

Padding is what no microscope saw: the black around a mosaic, a registered image, or a cell that was cut out.
Its edge is a step that no puncta can stand out from, and its even value is taken for the noise. So it is
filled before anything is looked for, with what lies beside it; nothing is found in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from napari_tam.puncta.patches import nearest_pixels
from napari_tam.puncta.spot_input import Plane, noise_at_scale, repair_hot_pixels, rough, thinned

if TYPE_CHECKING:
    from napari_tam.puncta.patches import Float, Points

#: Least noise and least light are absolute numbers, made for grey values that span at least this.
LEAST_RANGE = 100.0

#: Padding is at least so wide (px) where it does not touch the border, and this share of the image.
LEAST_PX, LEAST_SHARE = 9, 0.005

#: Next to it the image is what it is elsewhere: at most this share of other pixels have its value, and nine
#: in ten of those at its edge are above it by this share of what others are. A background that was cut off
#: at 0 begins at 0.
SAME_VALUE, STEP = 0.02, 0.3

#: Where cells were cut out, at least this share of what is left is wider than so many pixels.
CUT_PX, MASSIVE = 7, 0.9

#: What is nowhere deeper than so many pixels is small: it is not mirrored, but fades within so many (sigma of
#: a Gaussian). Its light at the edge is told by so many.
SMALL_PX, FADES_WITHIN, EDGE_PX = 50.0, 1.5, 2.0

#: Noise beside it is that at the punctum's scale, but at most so many times that of single pixels: among
#: puncta and texture the former is too much. Neighbours are not further from each other than this.
MOST_NOISE, NEXT_PX = 2.0, 1.5

#: A quarter of white noise of SD 1 is smaller in size.
LOWER_QUARTER = 0.3186

#: Mirrored so many times: each time twice as far.
ROUNDS = 8


@dataclass(frozen=True)
class Ready:
    """A plane as puncta are looked for in it.

    Attributes
    ----------
    pixels
        (Y, X) without hot pixels, padding filled, and `times` the plane's values.
    hot
        (N, 2) the places of hot pixels.
    padding
        (Y, X) what no microscope saw; None if there is no such thing.
    times
        A power of two; 1 for whole numbers.
    """

    pixels: Float
    hot: npt.NDArray[np.intp]
    padding: npt.NDArray[np.bool_] | None
    times: float


def prepare(image: Plane) -> Ready:
    """Repair hot pixels, fill padding, and enlarge values that are small fractions."""
    times = _enlarged(image)
    values: Plane = image if times == 1 else np.asarray(image, np.float64) * times
    padding = padding_of(values)
    if padding is None:
        return Ready(*repair_hot_pixels(values), padding, times)
    # Beside a constant all that is seen seems to rise; what fills it has the noise of what lies beside it.
    pixels, hot = repair_hot_pixels(filled(np.asarray(values, np.float32), padding))
    return Ready(pixels, hot[~padding[tuple(hot.T)]], padding, times)


def _enlarged(image: Plane) -> float:
    """Return how many times to take the values of a plane."""
    if image.dtype.kind != "f" or not image.size:
        return 1.0
    low, high = np.percentile(thinned(np.asarray(image, np.float64)), (1, 99.9))
    if not 0 < high - low < LEAST_RANGE:
        return 1.0
    return float(2.0 ** np.ceil(np.log2(LEAST_RANGE / (high - low))))


def padding_of(pixels: Plane) -> npt.NDArray[np.bool_] | None:
    """Tell which pixels (Y, X) no microscope saw; None if it saw all of them."""
    if min(pixels.shape) < 2 * LEAST_PX:
        return None
    value = pixels.min()
    same = pixels == value
    if same.mean() < LEAST_SHARE:
        return None
    # Beyond the image there is nothing either: strips along its border may be narrower.
    frame = (LEAST_PX,) * 4
    wide = cv2.copyMakeBorder(same.astype(np.uint8), *frame, cv2.BORDER_CONSTANT, value=1)
    wide = cv2.morphologyEx(wide, cv2.MORPH_OPEN, np.ones((LEAST_PX, LEAST_PX), np.uint8))
    solid = wide[LEAST_PX:-LEAST_PX, LEAST_PX:-LEAST_PX]
    if solid.mean() < LEAST_SHARE or solid.all():
        return None
    seen = solid == 0
    if same[seen].mean() > SAME_VALUE:
        # Cells that were cut out may lie nearer to each other; what rises here and there is no cell.
        seen = ~_reached(same, solid > 0)
        massive = cv2.morphologyEx(seen.astype(np.uint8), cv2.MORPH_OPEN, np.ones((CUT_PX, CUT_PX), np.uint8))
        if massive.sum() < MASSIVE * seen.sum() or same[seen].mean() > SAME_VALUE:
            return None
    edge = seen & (cv2.dilate((~seen).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)
    above = pixels[edge] - value
    if np.quantile(above, 0.1) < STEP * np.median(pixels[seen] - value):
        return None
    return np.asarray(~seen)


def _reached(same: npt.NDArray[np.bool_], solid: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return the pixels (Y, X) of the same value that hang together with those of a solid part."""
    part = cv2.connectedComponents(same.astype(np.uint8), connectivity=4)[1]
    held = np.zeros(int(part.max()) + 1, bool)
    held[part[solid]] = True
    return np.asarray(held[part] & same)


def filled(pixels: Float, padding: npt.NDArray[np.bool_]) -> Float:
    """Fill the padding of an image with what lies beside it, mirrored at its edge.

    Drawn out to many times its size, a small cell full of puncta would be hundreds, beside which its own do
    not stand out. So beside what is small (`SMALL_PX`) lies what a camera would have seen there: light as at
    its edge, and noise.
    """
    result = _mirrored(pixels, padding)
    seen = (~padding).astype(np.uint8)
    part = np.asarray(cv2.connectedComponents(seen, connectivity=8)[1], np.intp).ravel()
    inside = cv2.distanceTransform(seen, cv2.DIST_L2, cv2.DIST_MASK_5)
    deep = np.zeros(int(part.max()) + 1)
    np.maximum.at(deep, part, np.asarray(inside, np.float64).ravel())
    away, nearest = _nearest_seen(padding)
    beside = padding & (deep[part[nearest]] < SMALL_PX)
    if not beside.any():
        return result
    # The lower ones: what was seen may be full of puncta.
    fine = np.abs(rough(pixels)[inside > NEXT_PX])
    most = MOST_NOISE * float(np.quantile(fine, 0.25)) / LOWER_QUARTER if len(fine) else 0.0
    noise = min(noise_at_scale(result), most)
    grain = noise * np.random.default_rng(0).standard_normal(pixels.shape, np.float32)
    level = _level_beside(pixels, (inside > 0) & (inside <= EDGE_PX))
    kept = np.exp(-0.5 * (away / FADES_WITHIN) ** 2)
    camera = level + kept * (result - level) + np.sqrt(1 - kept**2) * grain
    return np.asarray(np.where(beside, camera, result), np.float32)


def _level_beside(pixels: Float, edge: npt.NDArray[np.bool_]) -> Float:
    """Carry on the light of some pixels to all others: that of the nearest ones, far off their median."""
    usual, share = np.float32(np.median(pixels[edge])), edge.astype(np.float32)
    light, known = (
        cv2.GaussianBlur(image, (0, 0), 2 * EDGE_PX) for image in ((pixels - usual) * share, share)
    )
    return np.asarray(usual + light / (known + np.float32(1e-3)), np.float32)


def _mirrored(pixels: Float, padding: npt.NDArray[np.bool_]) -> Float:
    """Fill padding with what lies as far from its edge on the other side."""
    result, open_ = pixels.copy(), padding.copy()
    height, width = pixels.shape
    for _ in range(ROUNDS):
        at = np.flatnonzero(open_)
        if not len(at):
            break
        nearest = _nearest_seen(open_)[1].ravel()[at]
        place, edge = np.divmod(at, width), np.divmod(nearest, width)
        row, column = (2 * there - here for here, there in zip(place, edge, strict=True))
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        inside[inside] = ~open_[row[inside], column[inside]]
        result.ravel()[at[inside]] = result[row[inside], column[inside]]
        open_.ravel()[at[inside]] = False
    result[open_] = np.median(pixels[~padding])
    return result


def _nearest_seen(padding: npt.NDArray[np.bool_]) -> tuple[Float, npt.NDArray[np.intp]]:
    """Return how far each pixel (Y, X) is from what was seen, and the nearest pixel of it (flat index)."""
    away, label = cv2.distanceTransformWithLabels(
        padding.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    known = np.flatnonzero(~padding)
    of_label = np.zeros(int(label.max()) + 1, np.intp)
    of_label[label.ravel()[known]] = known
    return np.asarray(away, np.float32), of_label[label]


def lie_in(padding: npt.NDArray[np.bool_], points: Points, deeper: float = 0.0) -> npt.NDArray[np.bool_]:
    """Tell which points (N, 2) lie in the padding, or deeper in it than so many pixels."""
    if deeper:
        square = np.ones((2 * int(np.ceil(deeper)) + 1,) * 2, np.uint8)
        padding = cv2.erode(padding.astype(np.uint8), square, borderValue=1) > 0
    return np.asarray(padding[tuple(nearest_pixels(points, padding.shape).T)])
