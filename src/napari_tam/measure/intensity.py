"""Intensities of cells: background, saturation, sharpness."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from napari_tam.io.check import saturation_level

if TYPE_CHECKING:
    from napari_tam.measure.regions import Floats, Regions

#: Background pixels lie further than this from every cell, beyond the blur and haze of its edge.
BACKGROUND_MARGIN_PX = 5

#: With less of the image than this outside the cells, a low percentile stands in.
BACKGROUND_LEAST_FRACTION = 0.01
BACKGROUND_PERCENTILE = 1.0


@dataclass(frozen=True)
class Background:
    """The level of a channel where there are no cells.

    Attributes
    ----------
    median, mean
        Of the background pixels, in the channel's units.
    method
        What these pixels are: "outside cells" or "percentile".
    """

    median: float
    mean: float
    method: str

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the results should know about it."""
        if self.method == "percentile":
            return ("cells cover nearly the whole image: its exosome background is a low percentile",)
        return ()


def background(image: npt.NDArray[Any], regions: Regions, distance: npt.NDArray[np.float32]) -> Background:
    """Return the background of a YX channel: its pixels outside all cells, clear of their edges.

    When the cells cover nearly everything, both numbers are a low percentile of the whole channel.
    """
    return Pixels.of(image, clear_of_cells(regions, distance)).background


def clear_of_cells(regions: Regions, distance: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Return which pixels (YX) are background: outside all cells, and `BACKGROUND_MARGIN_PX` from them."""
    return np.asarray((regions.labels <= 0) & (distance > BACKGROUND_MARGIN_PX))


@dataclass(frozen=True)
class Pixels:
    """Some of a channel's pixels, and how often each value occurs among them.

    Attributes
    ----------
    image, which
        The channel (YX), and its pixels (bool).
    counts
        Their number by value; None for a channel of other numbers than 8 or 16 bit integers.
    """

    image: npt.NDArray[Any]
    which: npt.NDArray[np.bool_]
    counts: npt.NDArray[np.int64] | None

    @classmethod
    def of(cls, image: npt.NDArray[Any], which: npt.NDArray[np.bool_]) -> Pixels:
        """Count the values."""
        return cls(image, which, _counts(image, which))

    def changed(self, which: npt.NDArray[np.bool_], part: tuple[slice, slice]) -> Pixels:
        """Return other pixels of the channel, which differ from these in a part (rows, columns) only."""
        left, joined = (_counts(self.image[part], each[part]) for each in (self.which, which))
        if self.counts is None or left is None or joined is None:
            return Pixels(self.image, which, None)
        return Pixels(self.image, which, self.counts - left + joined)

    @cached_property
    def number(self) -> int:
        """Return how many they are."""
        return int(np.count_nonzero(self.which) if self.counts is None else self.counts.sum())

    @cached_property
    def median(self) -> float:
        """Their median; NaN without any."""
        if not self.number:
            return float("nan")
        if self.counts is None:
            return float(np.median(self.image[self.which]))
        places = [(self.number - 1) // 2, self.number // 2]
        low, high = np.searchsorted(np.cumsum(self.counts), places, side="right")
        return float(low + high) / 2

    @property
    def mean(self) -> float:
        """Their mean."""
        if self.counts is None:
            return float(self.image[self.which].mean(dtype=np.float64))
        return int(self.counts @ np.arange(len(self.counts))) / self.number

    @cached_property
    def background(self) -> Background:
        """Their level; a low percentile of the whole channel if they are too few."""
        if self.number < max(1, BACKGROUND_LEAST_FRACTION * self.image.size):
            low = float(np.percentile(self.image, BACKGROUND_PERCENTILE))
            return Background(low, low, "percentile")
        return Background(self.median, self.mean, "outside cells")


def _counts(image: npt.NDArray[Any], which: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64] | None:
    if image.dtype.kind != "u" or image.dtype.itemsize > 2:
        return None
    return np.bincount(image[which], minlength=np.iinfo(image.dtype).max + 1)


def saturated(image: npt.NDArray[Any]) -> tuple[float | None, float]:
    """Return the value at which a channel is clipped, if it is, and the share of pixels that have it."""
    level = saturation_level(image)
    return level, 0.0 if level is None else float((image == level).mean())


def saturated_pixels(image: npt.NDArray[Any], regions: Regions, level: float | None) -> Floats:
    """Return how many pixels of each label have the value at which the channel is clipped."""
    return np.zeros(len(regions)) if level is None else regions.sums(image == level)


def laplacian(image: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return the four-neighbour Laplacian of a YX channel."""
    return np.asarray(cv2.Laplacian(_for_cv2(image), cv2.CV_32F), np.float32)


def focus_score(laplacian: npt.NDArray[np.float32], regions: Regions, mean: Floats) -> Floats:
    """Return the variance of the Laplacian inside each label over its squared mean intensity.

    At pixels whose four neighbours all belong to the label, so that the contrast of the outline does not
    count (variance of the Laplacian: Pech-Pacheco et al. 2000, ICPR). Noise counts as sharpness: compare
    within one set of images.

    Parameters
    ----------
    laplacian
        That of a YX channel.
    regions
        The labels.
    mean
        Mean intensity of each label. NaN is returned where it is 0, or a label has no inner pixel.
    """
    inside = laplacian.copy()
    inside.ravel()[regions.boundary] = 0
    inner = regions.area - np.bincount(regions.rank_of(regions.boundary), minlength=len(regions))
    valid = (inner > 0) & (mean != 0)
    inner = np.where(valid, inner, np.nan)
    first = regions.sums(inside) / inner
    second = regions.sums(inside * inside) / inner
    return np.asarray((second - first**2) / np.where(valid, mean, np.nan) ** 2)


def noise(laplacian: npt.NDArray[np.float32]) -> float:
    """Return the SD of a YX channel's pixel noise, from its four-neighbour Laplacian.

    The median size of the Laplacian, scaled for white Gaussian noise (20 is the sum of the
    kernel's squares): edges and texture are too rare to count (after Immerkaer 1996, Comput Vis Image
    Underst 64:300, with the median in place of the mean). Too low where an image was smoothed.
    """
    size = np.abs(laplacian)
    middle = float(np.median(size, overwrite_input=True))
    return float(1.4826 * middle / np.sqrt(20))


def contrast_to_noise(mean: Floats, background: float, noise: float) -> Floats:
    """Return how far each label's mean stands above the background, in SDs of the pixel noise.

    Infinite in an image without noise, NaN where there is no contrast either.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((mean - background) / np.float64(noise))


def _for_cv2(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the image in a type that OpenCV filters into float32."""
    native = image.dtype.newbyteorder("=")
    if native in (np.uint8, np.uint16, np.int16, np.float32):
        return np.ascontiguousarray(image, dtype=native)
    return np.ascontiguousarray(image, dtype=np.float32)
