"""Images with two exosome labels, and what their tables must have in common with one label alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import fakes
import numpy as np
import numpy.typing as npt
import pandas as pd
import tifffile

from napari_tam.markers.labels import LABEL, of_label

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NAMES = ("CD11b", "DAPI", "GFP", "PKH26")
LABELS = ("GFP", "PKH26")
#: Puncta of the second label: one beside one of the first in the first cell, one alone, one outside.
SECOND = ((20.0, 27.0), (70.0, 62.0), (6.0, 6.0))


def image(
    spots: Sequence[tuple[float, float]] = fakes.SPOTS, second: Sequence[tuple[float, float]] = SECOND
) -> npt.NDArray[np.uint16]:
    """Return a CYX image of `fakes.image` with a second exosome channel of other puncta and background."""
    return np.concatenate([fakes.image(spots), fakes.image(second)[2:] + np.uint16(7)])


def write_image(path: Path, data: npt.NDArray[np.uint16] | None = None) -> Path:
    """Write an OME-TIFF with the names of channels and the pixel size."""
    metadata: dict[str, Any] = {"axes": "CYX", "Channel": {"Name": list(NAMES)}}
    metadata |= {"PhysicalSizeX": fakes.PIXEL_UM, "PhysicalSizeXUnit": "µm"}
    metadata |= {"PhysicalSizeY": fakes.PIXEL_UM, "PhysicalSizeYUnit": "µm"}
    tifffile.imwrite(path, image() if data is None else data, ome=True, metadata=metadata)
    return path


def assert_same_cells(both: pd.DataFrame, alone: pd.DataFrame, label: str) -> None:
    """Check that the columns of a label are those of an analysis of the label alone, to the last bit."""
    for name in alone.columns:
        own = of_label(name, label)
        pd.testing.assert_series_equal(
            both[own if own in both else name], alone[name], check_names=False, check_exact=True
        )


def assert_same_puncta(
    both: pd.DataFrame, alone: pd.DataFrame, label: str, *, check_dtype: bool = True
) -> None:
    """The same of the puncta; whole numbers in a CSV file may be read back as integers (`check_dtype`)."""
    own = both[both[LABEL] == label].reset_index(drop=True)
    pd.testing.assert_frame_equal(own[list(alone.columns)], alone, check_exact=True, check_dtype=check_dtype)
