"""Segmentation of cells and nuclei: the Segmenter protocol and the bundled networks.

Cellpose's own models are in `napari_tam.segment.cellpose_models`; nothing here is specific
to one of its versions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

import cv2
import numpy as np
import numpy.typing as npt

from napari_tam.networks.dynamics import enlarge, labels_from_flows

if TYPE_CHECKING:
    from napari_tam.networks.predictor import Predictor
    from napari_tam.settings import Settings

Plane = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Segmentation:
    """Labels of one plane.

    Attributes
    ----------
    labels
        (Y, X) uint16 or uint32, numbered from 1 without gaps; 0 is background.
    diameter_um
        The diameter that was used: the setting, or the estimate.
    """

    labels: npt.NDArray[np.unsignedinteger[Any]]
    diameter_um: float


class Segmenter(Protocol):
    """Anything that turns a stained plane into labels."""

    def segment(
        self,
        image: Plane,
        second: Plane | None,
        pixel_size_um: float,
        diameter_um: float | None,
        settings: Settings,
    ) -> Segmentation:
        """Segment one plane.

        Parameters
        ----------
        image
            (Y, X) the stain to segment.
        second
            (Y, X) a stain that helps (the nucleus of the cells), or None.
        pixel_size_um
            Edge length of a pixel.
        diameter_um
            Typical diameter; None: estimate it.
        settings
            For the thresholds.
        """
        ...


def normalise(image: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    """Scale each channel so that its 1st percentile is 0 and its 99th is 1 (Cellpose's rule).

    A channel without contrast becomes 0. `image` is CYX; so is the result.
    """
    result = np.zeros(image.shape, np.float32)
    for plane, target in zip(image, result, strict=True):
        # Every 2nd pixel each way is plenty for the percentiles of a large plane.
        step = 2 if plane.size > 1_000_000 else 1
        low, high = np.percentile(plane[::step, ::step], (1, 99))
        if high > low:
            np.subtract(plane, np.float32(low), out=target, casting="unsafe")
            target /= np.float32(high - low)
    return result


def median_diameter(labels: npt.NDArray[np.integer[Any]]) -> float:
    """Median diameter (px) of the circles with the labels' areas; 0 without labels."""
    areas = np.bincount(labels.ravel())[1:]
    areas = areas[areas > 0]
    return float(np.median(np.sqrt(areas)) * 2 / np.sqrt(np.pi)) if len(areas) else 0.0


class FlowNetSegmenter:
    """A bundled network: works at the scale it was trained at, and enlarges the labels afterwards.

    Parameters
    ----------
    predictor
        The network.
    diameter_px
        Diameter of an object at working scale.
    typical_um
        Where the search for an unknown diameter starts.
    area_setting
        Name of the setting that holds the smallest area.
    linear
        Whether the network has seen images that were shrunk as Cellpose does it, see `resize`.
    """

    def __init__(
        self,
        predictor: Predictor,
        diameter_px: float,
        typical_um: float,
        area_setting: str,
        *,
        linear: bool = False,
    ) -> None:
        self.predictor, self.linear = predictor, linear
        self.diameter_px = diameter_px
        self.typical_um = typical_um
        self.area_setting = area_setting

    def segment(
        self,
        image: Plane,
        second: Plane | None,
        pixel_size_um: float,
        diameter_um: float | None,
        settings: Settings,
    ) -> Segmentation:
        """See `Segmenter.segment`."""
        if diameter_um is None:
            diameter_um = self.estimate_diameter(image, second, pixel_size_um, settings)
        small = self._at_scale(image, second, diameter_um / pixel_size_um, settings, pixel_size_um)
        return Segmentation(enlarge(small, (image.shape[0], image.shape[1])), diameter_um)

    def estimate_diameter(
        self, image: Plane, second: Plane | None, pixel_size_um: float, settings: Settings
    ) -> float:
        """Find the diameter (µm) at which the objects found are as large as assumed.

        Starts at the typical diameter, and repeats with the median diameter found until that
        changes by less than 15 %. Looks at the middle of a very large image only.
        """
        guess = self.typical_um
        tried: list[tuple[float, float]] = []
        for _ in range(4):
            reach = int(1200 * guess / pixel_size_um / self.diameter_px)
            top, left = (max(0, (n - reach) // 2) for n in image.shape)
            window = (slice(top, top + reach), slice(left, left + reach))
            labels = self._at_scale(
                image[window],
                None if second is None else second[window],
                guess / pixel_size_um,
                settings,
                pixel_size_um,
            )
            shrink = min(labels.shape[0] / image[window].shape[0], labels.shape[1] / image[window].shape[1])
            found = median_diameter(labels) / shrink * pixel_size_um
            if not found:
                break
            tried.append((abs(np.log(found / guess)), guess))
            if tried[-1][0] < np.log(1.15):
                return found
            guess = float(np.clip(found, guess / 2.5, guess * 2.5))
        return min(tried)[1] if tried else self.typical_um

    def _at_scale(
        self,
        image: Plane,
        second: Plane | None,
        diameter_px: float,
        settings: Settings,
        pixel_size_um: float,
    ) -> npt.NDArray[np.int32]:
        """Return labels at working scale."""
        factor = self.diameter_px / diameter_px
        size = working_size(image, factor)
        planes = [resize(image, size, linear=self.linear)]
        if self.predictor.in_channels == 2:
            empty = np.zeros(size[::-1], np.float32)
            planes.append(empty if second is None else resize(second, size, linear=self.linear))
        output = self.predictor(normalise(np.stack(planes)))
        return labels_from_flows(
            output,
            threshold=probability_logit(settings),
            flow_threshold=settings.flow_threshold,
            min_area=smallest_area(settings, self.area_setting, pixel_size_um, factor),
        )


def working_size(image: Plane, factor: float) -> tuple[int, int]:
    """Return the (width, height) of a plane brought to working scale; at least 16 px each."""
    return max(16, round(image.shape[1] * factor)), max(16, round(image.shape[0] * factor))


def probability_logit(settings: Settings) -> float:
    """Return the threshold on the networks' probability logit."""
    return float(np.log(settings.cell_probability / (1 - settings.cell_probability)))


def smallest_area(settings: Settings, area_setting: str, pixel_size_um: float, factor: float) -> float:
    """Return the smallest area that is kept, in pixels at working scale; never under 4."""
    return max(float(getattr(settings, area_setting)) / pixel_size_um**2 * factor**2, 4.0)


def resize(image: Plane, size: tuple[int, int], *, linear: bool = False) -> npt.NDArray[np.float32]:
    """Resize a plane to (width, height): area means when shrinking, linear when enlarging.

    With `linear`, linear interpolation shrinks by up to four, and area means only what is beyond. Cellpose
    interpolates, so that its networks know the sharper and noisier images which that makes.
    """
    if image.dtype not in (np.uint8, np.uint16, np.float32):
        image = image.astype(np.float32)
    block = min(image.shape[1] // size[0], image.shape[0] // size[1]) // 2
    if linear and block > 1:
        image = resize(image, (image.shape[1] // block, image.shape[0] // block))
    method = cv2.INTER_AREA if size[0] < image.shape[1] and not linear else cv2.INTER_LINEAR
    # OpenCV's stubs know no array of an unnamed type.
    return np.asarray(
        cv2.resize(cast("npt.NDArray[np.float32]", image), size, interpolation=method), np.float32
    )
