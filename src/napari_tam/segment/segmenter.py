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

from napari_tam.networks.averaging import averaged
from napari_tam.networks.dynamics import enlarge, labels_from_flows
from napari_tam.networks.flow_errors import flow_errors
from napari_tam.segment.confidence import confidence
from napari_tam.segment.diameter import Estimate, Trial, estimate
from napari_tam.segment.nuclei_help import bring, help_by_nuclei

if TYPE_CHECKING:
    from napari_tam.networks.predictor import Predictor
    from napari_tam.settings import Settings

Plane = npt.NDArray[np.generic]
Labels = npt.NDArray[np.integer[Any]]

#: Side (px, at working scale) of the window that the diameter is estimated in.
WINDOW_PX = 448


@dataclass(frozen=True)
class Segmentation:
    """Labels of one plane.

    Attributes
    ----------
    labels
        (Y, X) uint16 or uint32, numbered from 1 without gaps; 0 is background.
    diameter_um
        The diameter that was used: the setting, or the estimate.
    confidence
        For each label how much speaks for it, 0 to 1 (`napari_tam.segment.confidence`); None if nobody knows.
    nuclei_help
        For each label what the nuclei did for it (`napari_tam.segment.nuclei_help`): ``split``, ``found`` or
        empty; None: nothing for any.
    doubt
        Why the estimate of the diameter is unsure; empty if it is not.
    """

    labels: npt.NDArray[np.unsignedinteger[Any]]
    diameter_um: float
    confidence: npt.NDArray[np.float32] | None = None
    nuclei_help: npt.NDArray[np.str_] | None = None
    doubt: str = ""


class Segmenter(Protocol):
    """Anything that turns a stained plane into labels."""

    def segment(
        self,
        image: Plane,
        second: Plane | None,
        pixel_size_um: float,
        diameter_um: float | None,
        settings: Settings,
        nuclei: Labels | None = None,
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
        nuclei
            (Y, X) labels of the nuclei, where they are to help with the cells; else None.
        """
        ...


def normalise(image: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    """Scale each channel so that its 1st percentile is 0 and its 99th is 1 (Cellpose's rule).

    A channel without contrast becomes 0. `image` is CYX; so is the result.
    """
    result = np.zeros(image.shape, np.float32)
    for plane, target in zip(image, result, strict=True):
        # Of all pixels: every 2nd of a mirrored plane would be other ones.
        low, high = np.percentile(plane, (1, 99))
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
        nuclei: Labels | None = None,
    ) -> Segmentation:
        """See `Segmenter.segment`."""
        doubt = ""
        if diameter_um is None:
            found = self.estimate_diameter(image, second, pixel_size_um, settings)
            diameter_um, doubt = found.diameter_um, found.doubt
        factor = self.diameter_px * pixel_size_um / diameter_um
        output = self._output(image, second, factor, settings)
        limits = self._limits(settings, pixel_size_um, factor)
        labels, errors = labels_from_flows(output, **limits)
        helped = None
        if nuclei is not None:
            shape = (labels.shape[0], labels.shape[1])
            better = help_by_nuclei(labels, output, bring(nuclei, shape), **limits)
            helped = better.how
            if (helped != "").any():
                labels, errors = better.labels, flow_errors(better.labels, output[:2] / 5)
        return Segmentation(
            enlarge(labels, (image.shape[0], image.shape[1])),
            diameter_um,
            confidence(labels, output, errors),
            helped,
            doubt,
        )

    def estimate_diameter(
        self, image: Plane, second: Plane | None, pixel_size_um: float, settings: Settings
    ) -> Estimate:
        """Find the diameter (µm) from several scales (`napari_tam.segment.diameter`).

        Looks at the middle of a large image only.
        """

        def look(assumed_um: float) -> Trial:
            factor = self.diameter_px * pixel_size_um / assumed_um
            reach = int(WINDOW_PX / factor)
            top, left = (max(0, (n - reach) // 2) for n in image.shape)
            window = (slice(top, top + reach), slice(left, left + reach))
            part = image[window]
            output = self._output(
                part, None if second is None else second[window], factor, settings, once=True
            )
            limits = self._limits(settings, pixel_size_um, factor)
            labels, errors = labels_from_flows(output, **limits)
            shrink = min(np.array(labels.shape) / part.shape)
            found = median_diameter(labels) / shrink * pixel_size_um
            areas = np.bincount(labels.ravel(), minlength=len(errors) + 1)[1:]
            agreement = np.clip(1 - errors / (settings.flow_threshold or 1.0), 0, 1)
            return Trial(assumed_um, found, len(errors), float((areas * agreement).sum()) / labels.size)

        return estimate(self.typical_um, look)

    def _output(
        self, image: Plane, second: Plane | None, factor: float, settings: Settings, *, once: bool = False
    ) -> npt.NDArray[np.float32]:
        """Return the network's output at working scale, which is `factor` times the image's."""
        size = working_size(image, factor)
        planes = [resize(image, size, linear=self.linear)]
        if self.predictor.in_channels == 2:
            empty = np.zeros(size[::-1], np.float32)
            planes.append(empty if second is None else resize(second, size, linear=self.linear))
        scaled = normalise(np.stack(planes))
        if settings.average_flips and not once:
            return averaged(self.predictor, scaled)
        return self.predictor(scaled)

    def _limits(self, settings: Settings, pixel_size_um: float, factor: float) -> dict[str, Any]:
        """Return what decides which masks are kept, at working scale."""
        return {
            "threshold": probability_logit(settings),
            "flow_threshold": settings.flow_threshold,
            "min_area": smallest_area(settings, self.area_setting, pixel_size_um, factor),
        }


def working_size(image: Plane, factor: float) -> tuple[int, int]:
    """Return the (width, height) of a plane brought to working scale: even numbers, at least 16 px each.

    Even, so that what a network pools together is the same in the mirrored image.
    """
    height, width = (max(16, 2 * round(n * factor / 2)) for n in image.shape)
    return width, height


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
