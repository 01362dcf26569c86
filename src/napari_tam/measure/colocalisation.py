"""Co-localisation of exosomes and lysosomes inside each cell: Pearson, Manders and object overlap.

Manders and overlap come with their value by chance: the mean after one channel was rotated inside the cell at
random. The rotation keeps every pixel in its shell of equal distance from the nucleus (without one: of equal
depth below the cell's edge), so that the gathering of both around the nucleus counts as chance, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from napari_tam.measure.shape import inscribed_radius
from napari_tam.measure.thresholds import costes, otsu

if TYPE_CHECKING:
    from napari_tam.measure.regions import Floats, Ints, Regions
    from napari_tam.settings import Settings

Image = npt.NDArray[Any]

#: Shells that a cell is cut into for the randomised control.
SHELLS = 8

#: A rotation is between this share of the full circle and 1 minus it; less would leave both in place.
LEAST_TURN = 0.1

#: Seed of the rotations.
SEED = 0

#: Thresholds are applied to the channels after a Gaussian filter of this sigma, below that of any
#: microscope's own blur, so that noise makes few holes and specks; the light itself is not filtered.
SMOOTHING_PX = 0.7


#: Standard deviation over median absolute deviation, for a normal distribution.
_MAD_TO_SD = 1.4826


@dataclass(frozen=True)
class CellPixels:
    """The pixels of all cells, ordered by cell, shell and angle around the cell's centroid.

    Attributes
    ----------
    flat
        Position of each pixel in the image.
    first
        Where each cell starts (n + 1 offsets).
    shell_start, shell_size
        Start and size of each pixel's shell.
    rank
        Cell of each pixel.
    """

    flat: Ints
    first: Ints
    shell_start: Ints
    shell_size: Ints
    rank: Ints

    @classmethod
    def of(
        cls, regions: Regions, distance: npt.NDArray[np.float32], nuclei: npt.NDArray[Any] | None
    ) -> CellPixels:
        """Order the pixels of cells (at least one).

        Parameters
        ----------
        regions, distance
            The cells and their `napari_tam.measure.place.boundary_distance`.
        nuclei
            YX labels of the nuclei, if there are any.
        """
        width = regions.shape[1]
        flat = np.flatnonzero(regions.labels > 0)
        rank = regions.rank_of(flat)
        row, col = (flat // width).astype(np.float32), (flat % width).astype(np.float32)
        middle_y, middle_x = (
            (np.bincount(rank, axis, minlength=len(regions)) / regions.area).astype(np.float32)
            for axis in (row, col)
        )
        deepest = inscribed_radius(regions, distance).astype(np.float32)
        depth = (distance.ravel()[flat] + np.float32(0.5)) / deepest[rank]
        height = (1 - depth).astype(np.float32)
        if nuclei is not None:
            height = _from_nucleus(nuclei, flat, rank, height, len(regions))
        shell = rank * SHELLS + np.clip(height * SHELLS, 0, SHELLS - 1).astype(np.int64)
        angle = np.arctan2(row - middle_y[rank], col - middle_x[rank])
        turn = np.floor((angle + np.float32(np.pi)) * np.float32(4095 / (2 * np.pi))).astype(np.int64)
        # One number per pixel, its place in the list included, so that the order never depends on the sort.
        key = (((shell << 12) | turn) << 32) | np.arange(len(flat))
        key.sort()
        order = key & 0xFFFFFFFF
        shell = shell[order]
        size = np.bincount(shell, minlength=len(regions) * SHELLS)
        start = np.cumsum(size) - size
        ends = np.append(0, np.cumsum(regions.area)).astype(np.int64)
        return cls(flat[order], ends, start[shell], size[shell], rank[order])

    @cached_property
    def place(self) -> Ints:
        """Where each pixel of the image stands among these; 0 for those in no cell."""
        place = np.zeros(int(self.flat.max()) + 1, np.int64)
        place[self.flat] = np.arange(len(self.flat))
        return place

    def total(self, values: npt.NDArray[Any]) -> Floats:
        """Sum one value per pixel over each cell."""
        return np.add.reduceat(values, self.first[:-1], dtype=np.float64)

    def turned(self, at: Ints, share: float) -> Ints:
        """Return the positions of pixels after their shells are rotated by a share of the full circle."""
        start, size = self.shell_start[at], self.shell_size[at]
        moved = at - start + np.rint(share * size).astype(np.int64)
        return np.asarray(start + np.where(moved >= size, moved - size, moved))


def _from_nucleus(
    nuclei: npt.NDArray[Any], flat: Ints, rank: Ints, height: npt.NDArray[np.float32], cells: int
) -> npt.NDArray[np.float32]:
    """Return each pixel's distance from the nucleus over the largest in its cell.

    The pixels of a nucleus are all 0 and the others not below the second shell. Cells without a
    nucleus keep `height`, which does the same for the depth below the edge.
    """
    over = np.ascontiguousarray(nuclei > 0).ravel()[flat]
    has = (np.bincount(rank, over, minlength=cells) > 0)[rank]
    if not has.any():
        return height
    outside = np.ascontiguousarray(nuclei <= 0, np.uint8)
    apart = np.asarray(cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)).ravel()[flat]
    largest = np.zeros(cells, np.float32)
    np.maximum.at(largest, rank, apart)
    share = apart / np.maximum(largest, 1)[rank]
    relative = np.where(over, 0, 1 / SHELLS + share * (1 - 1 / SHELLS))
    return np.where(has, relative, height).astype(np.float32)


@dataclass(frozen=True)
class _Signal:
    """A channel over the pixels of all cells: light above the cell's background, and the threshold."""

    light: npt.NDArray[np.float32]
    smooth: npt.NDArray[np.float32]
    level: Floats
    noise: Floats

    @classmethod
    def of(cls, image: Image, pixels: CellPixels) -> _Signal:
        plane = image.astype(np.float32)
        light = plane.ravel()[pixels.flat]
        blurred = np.asarray(cv2.GaussianBlur(plane, (0, 0), SMOOTHING_PX), np.float32)
        smooth = blurred.ravel()[pixels.flat]
        cells = len(pixels.first) - 1
        level, noise = np.zeros(cells), np.zeros(cells)
        for cell in range(cells):
            span = slice(pixels.first[cell], pixels.first[cell + 1])
            level[cell] = np.median(light[span])
            light[span] -= np.float32(level[cell])
            smooth[span] -= np.float32(level[cell])
            # the darker half only: the brighter one holds the puncta
            darker = smooth[span][smooth[span] <= 0]
            noise[cell] = -_MAD_TO_SD * np.median(darker) if len(darker) else 0
        return cls(light, smooth, level, noise)


def colocalise(
    exosome: Image,
    lysosome: Image,
    regions: Regions,
    pixels: CellPixels | None,
    puncta: Ints,
    settings: Settings,
) -> dict[str, npt.NDArray[Any]]:
    """Measure the co-localisation of two channels inside each cell.

    The background of a channel is the cell's median (so haze is background), its noise the SD from
    the median absolute deviation of the pixels below the median.

    Parameters
    ----------
    exosome, lysosome
        YX channels.
    regions, pixels
        The cells, and their pixels; None without cells, of which nothing is measured.
    puncta
        Flat position of the pixel under the centroid of each punctum that lies in a cell.
    settings
        `colocalisation_threshold`, `colocalisation_k` and `colocalisation_randomisations`.

    Returns
    -------
    dict
        The columns of `napari_tam.columns` of the group "partners", one value per cell.
    """
    if pixels is None:
        return {}
    first, second = (_Signal.of(image, pixels) for image in (exosome, lysosome))
    limits = _thresholds(first, second, settings)
    above = [part.smooth > limit[pixels.rank] for part, limit in zip((first, second), limits, strict=True)]
    spots = pixels.place[puncta]
    m1 = _Overlap(np.flatnonzero(above[0]), first.light, above[1])
    m2 = _Overlap(np.flatnonzero(above[1]), second.light, above[0])
    objects = _Overlap(spots, None, above[1])
    turns = rotations(settings.colocalisation_randomisations)
    return {
        "lysosome_pearson": _pearson(first.light, second.light, pixels),
        "manders_m1": m1.share(pixels),
        "manders_m1_random": m1.by_chance(pixels, turns),
        "manders_m2": m2.share(pixels),
        "manders_m2_random": m2.by_chance(pixels, turns),
        "lysosome_overlap": objects.share(pixels),
        "lysosome_overlap_random": objects.by_chance(pixels, turns),
        "lysosome_area_fraction": pixels.total(above[1]) / regions.area,
        "exosome_threshold": first.level + limits[0],
        "lysosome_threshold": second.level + limits[1],
    }


@dataclass(frozen=True)
class _Overlap:
    """What share of some pixels' light lies on a mask: `at` are positions among the pixels."""

    at: Ints
    light: npt.NDArray[np.float32] | None
    mask: npt.NDArray[np.bool_]

    def share(self, pixels: CellPixels) -> Floats:
        """Return the share in each cell; NaN for a cell that has none of these pixels."""
        return self._mean(self.mask[self.at].astype(np.float64), pixels)

    def by_chance(self, pixels: CellPixels, turns: Floats) -> Floats:
        """Return the mean share over all rotations; NaN without rotations."""
        if not len(turns):
            return np.full(len(pixels.first) - 1, np.nan)
        hits = np.zeros(len(self.at))
        for turn in turns:
            hits += self.mask[pixels.turned(self.at, turn)]
        return self._mean(hits / len(turns), pixels)

    def _mean(self, values: Floats, pixels: CellPixels) -> Floats:
        cells = len(pixels.first) - 1
        rank = pixels.rank[self.at]
        weight = np.ones(len(self.at)) if self.light is None else self.light[self.at].astype(np.float64)
        total = np.bincount(rank, weight, minlength=cells)
        on_mask = np.bincount(rank, weight * values, minlength=cells)
        return np.divide(on_mask, total, out=np.full(cells, np.nan), where=total > 0)


def rotations(number: int) -> Floats:
    """Return rotations as shares of the full circle, by stratified sampling (one from each equal part)."""
    rng = np.random.default_rng(SEED)
    return LEAST_TURN + (1 - 2 * LEAST_TURN) * (np.arange(number) + rng.random(number)) / max(number, 1)


def _pearson(first: Image, second: Image, pixels: CellPixels) -> Floats:
    """Return Pearson's correlation over all pixels of each cell; NaN where a channel is flat."""
    count = np.diff(pixels.first)
    # reduceat adds up in pairs, in double precision
    sums = [
        pixels.total(values) for values in (first, second, first * first, second * second, first * second)
    ]
    x, y, xx, yy, xy = (total / count for total in sums)
    spread = np.sqrt(np.maximum(xx - x * x, 0) * np.maximum(yy - y * y, 0))
    valid = spread > 1e-6 * np.sqrt(xx * yy)
    return np.divide(xy - x * y, spread, out=np.full(len(count), np.nan), where=valid & (spread > 0))


def _thresholds(first: _Signal, second: _Signal, settings: Settings) -> tuple[Floats, Floats]:
    """Return the thresholds of each cell, as heights above its background."""
    noise = [settings.colocalisation_k * signal.noise for signal in (first, second)]
    if settings.colocalisation_threshold == "noise":
        return noise[0], noise[1]
    find = otsu if settings.colocalisation_threshold == "otsu" else costes
    common = find(first.smooth, second.smooth)
    # Where there is no signal a rule would cut the noise in two.
    return np.maximum(common[0], noise[0]), np.maximum(common[1], noise[1])
