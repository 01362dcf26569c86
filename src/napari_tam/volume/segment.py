"""Cells and nuclei in 3-D: planes segmented in 2-D and stitched, then tops and bottoms refined.

A 2-D network does the work: all planes of a stack are laid side by side in one montage,
so that they share one intensity scale and a dark plane stays dark. Masks of neighbouring planes that
overlap become one object (Cellpose's stitching by intersection over union; Stringer et al. 2021).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from napari_tam.segment.diameter import Estimate
from napari_tam.segment.segmenter import Segmentation

if TYPE_CHECKING:
    from napari_tam.segment.segmenter import Segmenter
    from napari_tam.settings import Settings

Stack = npt.NDArray[Any]
Labels = npt.NDArray[np.int32]

#: Stitched masks may be wrong by so much in z, where the surface is looked for (µm).
REACH_UM = 2.0


@dataclass(frozen=True)
class Montage:
    """Where the planes of a stack lie in the montage: in rows of `columns`, `gap` pixels apart."""

    planes: int
    shape: tuple[int, int]
    columns: int
    gap: int

    @classmethod
    def of(cls, stack: Stack, gap: int) -> Montage:
        """Arrange the planes of a ZYX stack in about a square."""
        count, height, width = stack.shape
        columns = int(np.ceil(np.sqrt(count * (height + gap) / (width + gap))))
        return cls(count, (height, width), min(columns, count), gap)

    def window(self, z: int) -> tuple[slice, slice]:
        """Return where a plane lies."""
        row, column = divmod(z, self.columns)
        y, x = row * (self.shape[0] + self.gap), column * (self.shape[1] + self.gap)
        return slice(y, y + self.shape[0]), slice(x, x + self.shape[1])

    def join(self, stack: Stack, fill: float) -> Stack:
        """Return the montage, with `fill` between the planes."""
        rows = -(-self.planes // self.columns)
        size = (rows * (self.shape[0] + self.gap), self.columns * (self.shape[1] + self.gap))
        picture = np.full((size[0] - self.gap, size[1] - self.gap), fill, stack.dtype)
        for z, plane in enumerate(stack):
            picture[self.window(z)] = plane
        return picture

    def split(self, picture: Stack) -> Stack:
        """Return the planes (ZYX) of a montage."""
        return np.stack([picture[self.window(z)] for z in range(self.planes)])


@dataclass(frozen=True)
class StackSegmenter:
    """A `Segmenter` for stacks (ZYX) made from one for planes: the same method, labels ZYX.

    Attributes
    ----------
    planar
        The segmenter for planes.
    z_step_um
        Distance between the planes in µm.
    area_setting
        Name of the setting that holds the smallest (projected) area.
    """

    planar: Segmenter
    z_step_um: float
    area_setting: str

    def segment(
        self,
        image: Stack,
        second: Stack | None,
        pixel_size_um: float,
        diameter_um: float | None,
        settings: Settings,
        nuclei: Stack | None = None,
    ) -> Segmentation:
        """See `napari_tam.segment.segmenter.Segmenter`; image, second and labels are ZYX.

        `nuclei` are not used: the planes are put together by their masks.
        """
        doubt = ""
        if diameter_um is None:
            told = self.estimate_diameter(image, second, pixel_size_um, settings)
            diameter_um, doubt = told.diameter_um, told.doubt
        gap = max(8, round(0.5 * diameter_um / pixel_size_um))
        montage = Montage.of(image, gap)
        pictures = [
            None if stack is None else montage.join(stack, float(np.percentile(stack[:, ::2, ::2], 1)))
            for stack in (image, second)
        ]
        assert pictures[0] is not None
        planar = self.planar.segment(pictures[0], pictures[1], pixel_size_um, diameter_um, settings)
        masks = montage.split(planar.labels).astype(np.int32)
        labels = stitch(masks, settings.stitch_iou)
        if settings.surface_level > 0:
            labels = refine_surface(labels, image, settings.surface_level, REACH_UM / self.z_step_um)
        smallest = float(getattr(settings, self.area_setting)) / pixel_size_um**2
        labels = tidy_volume(labels, max(smallest, 1))
        dtype = np.uint16 if int(labels.max(initial=0)) < 2**16 else np.uint32
        known = None if planar.confidence is None else mean_confidence(labels, masks, planar.confidence)
        return Segmentation(labels.astype(dtype), diameter_um, known, doubt=doubt)

    def estimate_diameter(
        self, image: Stack, second: Stack | None, pixel_size_um: float, settings: Settings
    ) -> Estimate:
        """Find the diameter (µm) from the brightest of all planes (ZYX)."""
        flat, second_flat = image.max(axis=0), None if second is None else second.max(axis=0)
        look = getattr(self.planar, "estimate_diameter", None)
        if look is not None:
            told: Estimate = look(flat, second_flat, pixel_size_um, settings)
            return told
        found = self.planar.segment(flat, second_flat, pixel_size_um, None, settings)
        return Estimate(found.diameter_um, found.doubt)


def mean_confidence(
    labels: Labels, masks: Labels, confidence: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Return for each label of a volume the mean confidence of the planar masks in it, by pixels."""
    inside = (labels > 0) & (masks > 0)
    count = int(labels.max(initial=0)) + 1
    pixels = np.bincount(labels[inside], minlength=count)[1:]
    total = np.bincount(labels[inside], confidence[masks[inside] - 1], minlength=count)[1:]
    return np.where(pixels > 0, total / np.maximum(pixels, 1), np.nan).astype(np.float32)


def stitch(planes: Labels, iou: float) -> Labels:
    """Give masks of neighbouring planes that overlap the same number.

    As `cellpose.utils.stitch3D`: a mask continues the one in the plane before with which its
    intersection over union is largest, if that is at least `iou` and that one has no better partner.

    Parameters
    ----------
    planes
        ZYX; every mask of every plane has a number of its own.
    iou
        Least intersection over union.

    Returns
    -------
    ZYX labels, numbered from 1 without gaps.
    """
    size = np.bincount(planes.ravel())
    root = np.arange(len(size), dtype=np.int32)
    for before, here in pairwise(planes):
        both = (before > 0) & (here > 0)
        pairs, shared = np.unique(np.stack([before[both], here[both]]), axis=1, return_counts=True)
        value = shared / (size[pairs[0]] + size[pairs[1]] - shared)
        best_of = [np.zeros(len(size)) for _ in range(2)]
        for best, side in zip(best_of, pairs, strict=True):
            np.maximum.at(best, side, value)
        good = (value >= iou) & (value == best_of[0][pairs[0]]) & (value == best_of[1][pairs[1]])
        root[pairs[1][good]] = root[pairs[0][good]]
    root[0] = 0
    used = np.zeros(len(size), bool)
    used[root[size > 0]] = True
    used[0] = False
    number = np.where(used, np.cumsum(used), 0).astype(np.int32)
    return np.asarray(number[root][planes])


def refine_surface(labels: Labels, stain: Stack, level: float, reach: float) -> Labels:
    """Put top and bottom of every cell where its stain falls to a share of the column's maximum.

    The edge of a blurred solid lies at half of its height, whatever the blur; a 2-D network does not account
    for that. In each column (y, x) of a cell the voxels from the lowest to the highest one above
    ``background + level × (maximum − background)`` are the cell's, within `reach` planes of its stitched
    mask. Outlines in x and y stay those of the masks.

    Parameters
    ----------
    labels
        ZYX stitched masks.
    stain
        ZYX.
    level
        Share of the maximum.
    reach
        In planes.
    """
    if not labels.any():
        return labels
    from scipy.ndimage import find_objects

    smooth = np.stack([cv2.GaussianBlur(plane.astype(np.float32), (0, 0), 1.0) for plane in stain])
    covered = labels.any(axis=0)
    beyond = cv2.dilate(covered.astype(np.uint8), np.ones((11, 11), np.uint8)) == 0
    outside = smooth[:, beyond] if beyond.mean() > 0.01 else smooth
    ground = float(np.median(outside) if beyond.mean() > 0.01 else np.percentile(smooth, 1))
    result = np.zeros_like(labels)
    order = np.arange(len(labels))[:, None, None]
    for index, box in enumerate(find_objects(labels), start=1):
        if box is None:
            continue
        window = (slice(None), *box[1:])
        mine = labels[window] == index
        foot = mine.any(axis=0)
        first = np.where(mine, order, len(labels)).min(axis=0) - reach
        last = np.where(mine, order, -1).max(axis=0) + reach
        # Another cell above or below in the same column stays what it is.
        free = mine | (labels[window] == 0)
        allowed = foot & free & (order >= first) & (order <= last)
        light = np.where(allowed, smooth[window] - ground, 0)
        peak = cv2.GaussianBlur(light.max(axis=0) * foot, (0, 0), 1.5)
        peak /= np.maximum(cv2.GaussianBlur(foot.astype(np.float32), (0, 0), 1.5), 1e-3)
        above = allowed & (light > level * np.maximum(peak, 1e-6))
        low = np.where(above, order, len(labels)).min(axis=0)
        high = np.where(above, order, -1).max(axis=0)
        # Single columns that noise ended too early would be holes; the outline stays as it is.
        inner = cv2.erode(foot.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        for ends in (low, high):
            ends[inner] = cv2.medianBlur(ends.astype(np.float32), 5)[inner]
        result[window][allowed & (order >= low) & (order <= high)] = index
    return result


def tidy_volume(labels: Labels, min_area: float) -> Labels:
    """Keep the largest piece of each label, drop those of a small projected area, and renumber."""
    from scipy.ndimage import find_objects
    from scipy.ndimage import label as connected

    result = np.zeros_like(labels)
    number = 0
    for index, box in enumerate(find_objects(labels), start=1):
        if box is None:
            continue
        mask = labels[box] == index
        pieces, count = connected(mask)
        if count > 1:
            mask = pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
        if mask.any(axis=0).sum() < min_area:
            continue
        number += 1
        result[box][mask] = number
    return result
