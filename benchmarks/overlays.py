"""Draw the puncta of real images, to be looked at: ``python benchmarks/overlays.py FOLDER``.

Every picture is a part of a real image beside the project, enlarged: as it is on the left, with a circle
around each punctum that default settings find on the right (its radius 2 sigma, at least 3 px; red where the
punctum is flagged as a vesicle), with places in pixels of the image along the edges. What was seen in them
is in ``results/overlays.txt``: a circle where nothing stands out is a fault, and so is a bright spot without.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import tifffile
from common import SHARED, require_shared

from napari_tam.pipeline.models import load_models
from napari_tam.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

#: Edge of a part (px), and how much it is enlarged.
PART, ZOOM = 220, 3
#: Room for the places along the edges (px of the picture).
MARGIN = 28
#: Tiles of PSD95 that are shown whole: seven of blocks that the network never saw, then three of others.
TILES = (110, 140, 365, 620, 875, 1110, 1360, 30, 520, 1000)


class View(NamedTuple):
    """A part of an image: file below the shared data, index of the plane in it, top and left (px)."""

    file: str
    plane: tuple[int, ...]
    top: int = 0
    left: int = 0

    @property
    def name(self) -> str:
        """Name of the picture."""
        parts = (Path(self.file).name.split(".")[0], *self.plane, f"y{self.top}", f"x{self.left}")
        return "_".join(map(str, parts))


VIEWS = (
    View("real/hela_cells.ome.tif", (0,), 60, 60),
    View("real/hela_cells.ome.tif", (0,), 260, 400),
    View("real/hela_cells.ome.tif", (1,), 60, 60),
    View("real/nuclear_condensates_1_zstack.tif", (2, 0), 60, 60),
    View("real/nuclear_condensates_1_zstack.tif", (2, 1), 60, 60),
    View("real/nuclear_condensates_2_zstack.tif", (2, 0), 60, 60),
    View("real/nuclear_condensates_2_zstack.tif", (2, 1), 60, 60),
    View("real/xy_16bit__autophagosomes.tif", ()),
    View("real/xy_8bit__spots_local_background_with_noise.tif", (), 30, 30),
    View("puncta/real/autofluorescence.tif", (1,), 0, 0),
    View("puncta/real/autofluorescence.tif", (1,), 280, 60),
    View("puncta/real/autofluorescence.tif", (1,), 150, 290),
    *(View("puncta/real/psd95_tiles.tif", (tile,)) for tile in TILES),
    View("unlabelled/deepblink_c1.tif", (), 100, 100),
    View("unlabelled/deepblink_c2.tif", (), 100, 100),
    View("unlabelled/spotiflow_hybiss.tif", (), 60, 60),
    View("unlabelled/spotiflow_hybiss.tif", (), 260, 260),
    View("unlabelled/spotiflow_terra.tif", (), 200, 300),
    View("unlabelled/spotiflow_terra.tif", (), 600, 600),
    View("unlabelled/bpae_actin_mito_nuclei.tif", (0,), 200, 300),
    View("unlabelled/bpae_actin_mito_nuclei.tif", (1,), 200, 300),
    View("unlabelled/bpae_actin_mito_nuclei.tif", (2,), 200, 300),
    View("unlabelled/u2os_cell_painting.tif", (0,), 100, 200),
    View("unlabelled/u2os_cell_painting.tif", (1,), 100, 200),
    View("unlabelled/u2os_cell_painting.tif", (2,), 100, 200),
)


def overlay(pixels: np.ndarray, puncta: pd.DataFrame, top: int, left: int) -> np.ndarray:
    """Draw a part of an image as it is, and with circles; BGR."""
    part = pixels[top : top + PART, left : left + PART].astype(np.float32)
    dark, bright = np.percentile(part, (1, 99.7))
    grey = np.clip((part - dark) / max(float(bright - dark), 1e-6), 0, 1)
    grey = (255 * grey**0.8).astype(np.uint8)
    plain = cv2.cvtColor(
        cv2.resize(grey, None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_CUBIC), cv2.COLOR_GRAY2BGR
    )
    marked = plain.copy()
    for spot in puncta.itertuples():
        y, x = (float(v) + 0.5 for v in (spot.y_px - top, spot.x_px - left))
        radius = max(2 * float(spot.sigma_px), 3.0)
        colour = (60, 60, 255) if spot.vesicle else (80, 230, 255)
        centre = (round(x * ZOOM), round(y * ZOOM))
        cv2.circle(marked, centre, round(radius * ZOOM), colour, 1, cv2.LINE_AA)
    both = np.concatenate([plain, np.full((len(plain), 6, 3), 255, np.uint8), marked], axis=1)
    return with_places(both, plain.shape[1] + 6, top, left)


def with_places(picture: np.ndarray, second: int, top: int, left: int) -> np.ndarray:
    """Write the places of the image along the edges, of both halves."""
    framed = cv2.copyMakeBorder(picture, MARGIN, 0, MARGIN, 0, cv2.BORDER_CONSTANT, value=(40, 40, 40))
    style = (cv2.FONT_HERSHEY_PLAIN, 0.8, (255, 255, 255), 1, cv2.LINE_AA)
    for place in range(0, picture.shape[0], 20 * ZOOM):
        cv2.putText(framed, str(top + place // ZOOM), (1, MARGIN + place + 4), *style)
    for start in (0, second):
        for place in range(0, second - 20 * ZOOM, 20 * ZOOM):
            at = (MARGIN + start + place - 8, MARGIN - 8)
            cv2.putText(framed, str(left + place // ZOOM), at, *style)
    return framed


def main(folder: Path) -> None:
    """Draw all views, and say how many puncta each shows."""
    settings = Settings()
    detector = load_models(settings).puncta
    folder.mkdir(parents=True, exist_ok=True)
    for view in VIEWS:
        pixels = tifffile.imread(SHARED / "data" / view.file)[view.plane]
        puncta = detector.detect(pixels, 0.1, settings)
        inside = puncta["y_px"].between(view.top, view.top + PART)
        inside &= puncta["x_px"].between(view.left, view.left + PART)
        cv2.imwrite(str(folder / f"{view.name}.png"), overlay(pixels, puncta, view.top, view.left))
        print(f"{view.name}: {int(inside.sum())} shown of {len(puncta)}")


if __name__ == "__main__":
    require_shared()
    main(Path(sys.argv[1]))
