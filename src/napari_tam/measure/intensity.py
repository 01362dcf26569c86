"""Intensities of cells: background, saturation, sharpness."""

from __future__ import annotations

from dataclasses import dataclass
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
    outside = (regions.labels <= 0) & (distance > BACKGROUND_MARGIN_PX)
    values = image[outside]
    if len(values) < max(1, BACKGROUND_LEAST_FRACTION * image.size):
        low = float(np.percentile(image, BACKGROUND_PERCENTILE))
        return Background(low, low, "percentile")
    return Background(float(np.median(values)), float(values.mean(dtype=np.float64)), "outside cells")


def saturated_fractions(image: npt.NDArray[Any], regions: Regions) -> tuple[Floats, float]:
    """Return the share of clipped pixels of a channel, in each label and in the whole image."""
    level = saturation_level(image)
    if level is None:
        return np.zeros(len(regions)), 0.0
    clipped = image == level
    return regions.sums(clipped) / regions.area, float(clipped.mean())


def focus_score(image: npt.NDArray[Any], regions: Regions, mean: Floats) -> Floats:
    """Return the variance of the Laplacian inside each label over its squared mean intensity.

    The Laplacian is the four-neighbour one, at pixels whose four neighbours all belong to the
    label, so that the contrast of the outline does not count (variance of the Laplacian:
    Pech-Pacheco et al. 2000, ICPR). Noise counts as sharpness: compare within one set of images.

    Parameters
    ----------
    image
        YX channel.
    regions
        The labels.
    mean
        Mean intensity of each label. NaN is returned where it is 0, or a label has no inner pixel.
    """
    laplacian = cv2.Laplacian(_for_cv2(image), cv2.CV_32F)
    laplacian.ravel()[regions.boundary] = 0
    inner = regions.area - np.bincount(regions.rank_of(regions.boundary), minlength=len(regions))
    valid = (inner > 0) & (mean != 0)
    inner = np.where(valid, inner, np.nan)
    first = regions.sums(laplacian) / inner
    second = regions.sums(laplacian * laplacian) / inner
    return np.asarray((second - first**2) / np.where(valid, mean, np.nan) ** 2)


def noise(image: npt.NDArray[Any]) -> float:
    """Return the SD of a YX channel's pixel noise.

    The median size of the four-neighbour Laplacian, scaled for white Gaussian noise (20 is the sum of the
    kernel's squares): edges and texture are too rare to count (after Immerkaer 1996, Comput Vis Image
    Underst 64:300, with the median in place of the mean). Too low where an image was smoothed.
    """
    laplacian = cv2.Laplacian(_for_cv2(image), cv2.CV_32F)
    return float(1.4826 * np.median(np.abs(laplacian)) / np.sqrt(20))


def contrast_to_noise(
    image: npt.NDArray[Any], regions: Regions, mean: Floats, distance: npt.NDArray[np.float32]
) -> Floats:
    """Return how far each label's mean stands above the background, in SDs of the pixel noise.

    Parameters
    ----------
    image
        YX channel.
    regions, distance
        The labels and their `napari_tam.measure.place.boundary_distance`.
    mean
        Mean intensity of each label. Infinite in an image without noise, NaN where there is no
        contrast either.
    """
    contrast = mean - background(image, regions, distance).median
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(contrast / noise(image))


def _for_cv2(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the image in a type that OpenCV filters into float32."""
    native = image.dtype.newbyteorder("=")
    if native in (np.uint8, np.uint16, np.int16, np.float32):
        return np.ascontiguousarray(image, dtype=native)
    return np.ascontiguousarray(image, dtype=np.float32)
