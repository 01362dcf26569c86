"""Networks that need no weights, and images whose content is known, for the tests around the pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import tifffile
from scipy import ndimage

from napari_tam.pipeline.models import Models
from napari_tam.segment.segmenter import Segmentation

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_tam.settings import Settings

SHAPE = (96, 128)
PIXEL_UM = 0.5
CELLS = ((24, 30), (24, 96), (70, 60))
RADIUS = 16
#: Puncta (row, column): two in the first cell, one in the second, one outside.
SPOTS = ((20.0, 26.0), (28.0, 34.0), (24.0, 90.0), (80.0, 110.0))
CELL_OF_SPOT = (1, 1, 2, 0)
AMPLITUDE, SIGMA = 400.0, 1.5


def discs(radius: float) -> npt.NDArray[np.uint16]:
    """Return discs of a radius around `CELLS`, numbered from 1."""
    rows, columns = np.indices(SHAPE)
    labels = np.zeros(SHAPE, np.uint16)
    for number, (y, x) in enumerate(CELLS, 1):
        labels[(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = number
    return labels


def image(spots: Sequence[tuple[float, float]] = SPOTS, *, cells: bool = True) -> npt.NDArray[np.uint16]:
    """Return a CYX image: cells, nuclei and exosomes over a flat background with a little texture."""
    rows, columns = np.indices(SHAPE)
    texture = (rows + columns) % 3
    planes = [texture + 10.0, texture + 10.0, texture + 10.0]
    if cells:
        planes[0] += 200 * (discs(RADIUS) > 0)
        planes[1] += 200 * (discs(5) > 0)
    for y, x in spots:
        planes[2] += AMPLITUDE * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * SIGMA**2))
    return np.stack(planes).round().astype(np.uint16)


def write_image(path: Path, data: npt.NDArray[np.uint16] | None = None, axes: str = "CYX") -> Path:
    """Write an OME-TIFF with channel names and pixel size."""
    metadata: dict[str, Any] = {
        "axes": axes,
        "Channel": {"Name": ["CD11b", "DAPI", "exosome"]},
        "PhysicalSizeX": PIXEL_UM,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": PIXEL_UM,
        "PhysicalSizeYUnit": "µm",
    }
    tifffile.imwrite(path, image() if data is None else data, ome=True, metadata=metadata)
    return path


def write_truth(folder: Path, name: str) -> None:
    """Write the truth of `image` in the layout of sample_data/."""
    tifffile.imwrite(folder / f"{name}_masks.tif", discs(RADIUS))
    tifffile.imwrite(folder / f"{name}_nuclei.tif", discs(5))
    table = pd.DataFrame(SPOTS, columns=["y_px", "x_px"])
    table["cell"] = CELL_OF_SPOT
    table["amplitude_photons"] = AMPLITUDE
    table["sigma_px"] = SIGMA
    table["aggregate"] = 0
    table.to_csv(folder / f"{name}_puncta.csv", index=False)


class ThresholdSegmenter:
    """Everything brighter than 100 is an object."""

    def segment(
        self,
        image: npt.NDArray[np.generic],
        second: npt.NDArray[np.generic] | None,
        pixel_size_um: float,
        diameter_um: float | None,
        settings: Settings,
        nuclei: npt.NDArray[Any] | None = None,
    ) -> Segmentation:
        labels, _ = ndimage.label(np.asarray(image, float) > 100)
        return Segmentation(labels.astype(np.uint16), 16.0)


class PeakDetector:
    """Every local maximum brighter than `above` is a punctum."""

    above = 100.0

    def candidates(
        self, image: npt.NDArray[np.generic], pixel_size_um: float, settings: Settings
    ) -> pd.DataFrame:
        values = np.asarray(image, float)
        y, x = np.nonzero((values == ndimage.maximum_filter(values, 7)) & (values > self.above))
        peak = values[y, x] - 11
        return pd.DataFrame(
            {
                "y_px": y.astype(float),
                "x_px": x.astype(float),
                "score": 1.0,
                "contrast": 50.0,
                "intensity": 2 * np.pi * SIGMA**2 * peak,
                "peak": peak,
                "background": 11.0,
                "width_um": 2.355 * SIGMA * pixel_size_um,
                "snr": 50.0,
                "reason": "",
            }
        )

    #: Whatever the thresholds.
    detect = candidates

    def rough_places(
        self, image: npt.NDArray[np.generic], pixel_size_um: float, settings: Settings
    ) -> tuple[pd.DataFrame, None]:
        return self.candidates(image, pixel_size_um, settings), None


def stack(planes: int = 7, first: int = 2, last: int = 4) -> npt.NDArray[np.uint16]:
    """Return a CZYX image: `image` from plane `first` to `last`, cells flat; puncta in the middle one."""
    empty, plane = image((), cells=False), image(())
    volume = np.stack([plane if first <= z <= last else empty for z in range(planes)], axis=1).astype(float)
    rows, columns = np.indices(SHAPE)
    for z in range(planes):
        along = np.exp(-((z - (first + last) / 2) ** 2) / (2 * 0.9**2))
        for y, x in SPOTS:
            volume[2, z] += (
                AMPLITUDE * along * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * SIGMA**2))
            )
    return volume.round().astype(np.uint16)


@dataclass
class FailingSegmenter(ThresholdSegmenter):
    """Raises an error at its n-th call (from 1), and works otherwise."""

    error: BaseException
    at: int
    calls: int = 0

    def segment(self, *given: Any, **named: Any) -> Segmentation:
        self.calls += 1
        if self.calls == self.at:
            raise self.error
        return super().segment(*given, **named)


def models(cells: ThresholdSegmenter | None = None, nuclei: ThresholdSegmenter | None = None) -> Models:
    """Return fake networks; `cells` and `nuclei` take the place of the segmenters."""
    hashes = {"cells": "0" * 64}
    return Models(
        cells or ThresholdSegmenter(), nuclei or ThresholdSegmenter(), PeakDetector(), "cpu", hashes=hashes
    )
