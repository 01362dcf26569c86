"""A small crop of every cell at a fixed physical scale, rotated to its long axis.

The scale is fixed so that size counts, and the rotation makes the crop independent of the cell's orientation,
up to the four flips that the long axis leaves open; `napari_tam.phenotype.morphology_net` averages over
those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from napari_tam.measure.regions import Regions

if TYPE_CHECKING:
    import pandas as pd

Crops = npt.NDArray[np.float32]

#: Side of a crop in pixels, and µm per pixel: 72 µm hold a long spindle.
CROP_SIZE = 48
CROP_UM = 1.5

#: What the channels of a crop are: the mask (0 to 1), the cell stain inside it (zero mean and unit
#: SD over the cell, so that brightness and background of a batch are gone), the nuclei's mask.
CROP_CHANNELS = ("outline", "stain", "nucleus")

#: Axes (of N, C, Y, X) along which the network flips a crop: what alignment to the long axis leaves open.
FLIPS: tuple[tuple[int, ...], ...] = ((), (2,), (3,), (2, 3))

#: Normalised stain beyond this is clipped: a bright speck says nothing about shape.
STAIN_LIMIT = 3.0


def cell_crops(
    stain: npt.NDArray[Any],
    cells: npt.NDArray[Any],
    nuclei: npt.NDArray[Any] | None,
    table: pd.DataFrame,
    pixel_size_um: float,
) -> Crops:
    """Cut out every cell of a field.

    Parameters
    ----------
    stain
        YX cell stain.
    cells, nuclei
        YX labels; nuclei may be None (that channel is zero then).
    table
        One row per label of `cells`, ascending: `label`, `centroid_y_px`, `centroid_x_px` and
        `orientation_deg` are used (see `napari_tam.measure.cells`).
    pixel_size_um
        Pixel size of the images in µm.

    Returns
    -------
    Crops
        float32 (cells, `CROP_CHANNELS`, `CROP_SIZE`, `CROP_SIZE`), the long axis along x. Light
        beyond the crop is cut off.

    Raises
    ------
    ValueError
        If the table has other labels than the image.
    """
    regions = Regions(cells)
    if not np.array_equal(regions.ids, table["label"].to_numpy()):
        raise ValueError("the table has other labels than the image")
    crops = np.zeros((len(regions), CROP_SIZE, CROP_SIZE, 3), np.float32)
    step = CROP_UM / pixel_size_um
    # Area means first (no aliasing), by a whole number of pixels; the rotation does the rest. An odd number,
    # so that the blocks can lie symmetrically and a mirrored image gives mirrored blocks.
    shrink = 2 * max(0, round((step - 1) / 2)) + 1
    half = (shrink + 1) // 2  # times 2 is 1, modulo shrink
    turns = np.radians(table["orientation_deg"].to_numpy(np.float64))
    centres = table[["centroid_x_px", "centroid_y_px"]].to_numpy(np.float64)
    for rank, (y0, x0, y1, x1) in enumerate(regions.boxes.tolist()):
        box = (slice(y0, y1), slice(x0, x1))
        mask = regions.labels[box] == regions.labels_of[rank]
        top, left = -(y1 - y0) * half % shrink, -(x1 - x0) * half % shrink
        planes = np.zeros((y1 - y0 + 2 * top, x1 - x0 + 2 * left, 3), np.float32)
        inner = planes[top : top + y1 - y0, left : left + x1 - x0]
        inner[..., 0] = mask
        np.multiply(stain[box], mask, out=inner[..., 1], casting="unsafe")
        if nuclei is not None:
            np.logical_and(nuclei[box], mask, out=inner[..., 2], casting="unsafe")
        size = (planes.shape[1] // shrink, planes.shape[0] // shrink)
        small = cv2.resize(planes, size, interpolation=cv2.INTER_AREA) if shrink > 1 else planes
        cx, cy = (centres[rank] - (x0 - left, y0 - top) + 0.5) / shrink - 0.5
        matrix = _turn(turns[rank], step / shrink, cx, cy)
        crops[rank] = cv2.warpAffine(
            small, matrix, (CROP_SIZE, CROP_SIZE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
    crops = np.ascontiguousarray(np.moveaxis(crops, -1, 1))
    _normalise(crops)
    return crops


def _turn(angle: float, step: float, cx: float, cy: float) -> npt.NDArray[np.float64]:
    """Return the map from crop pixels to image pixels: x runs along `angle` (counter-clockwise)."""
    cos, sin = np.cos(angle) * step, np.sin(angle) * step
    middle = (CROP_SIZE - 1) / 2
    return np.array(
        [[cos, sin, cx - middle * (cos + sin)], [-sin, cos, cy - middle * (cos - sin)]], np.float64
    )


def _normalise(crops: Crops) -> None:
    """Give the stain of every crop zero mean and unit SD over its cell; in place."""
    mask, stain = crops[:, 0], crops[:, 1]
    weight = np.maximum(mask.sum((1, 2), keepdims=True), 1e-6)
    mean = stain.sum((1, 2), keepdims=True) / weight
    stain -= mean * mask
    spread = np.sqrt((stain**2).sum((1, 2), keepdims=True) / weight)
    # Rounding errors of a constant stain are no texture.
    flat = spread <= 1e-5 * np.abs(mean) + 1e-12
    stain *= np.where(flat, 0, 1 / np.where(flat, 1, spread))
    np.clip(stain, -STAIN_LIMIT, STAIN_LIMIT, out=stain)
