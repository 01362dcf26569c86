"""Fields that one camera with defects has seen, whose truth is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import fakes
import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

#: Defects: row, column, and how bright.
DEFECTS = (
    (10, 10, 15.0),
    (30, 100, 25.0),
    (50, 60, 60.0),
    (70, 20, 300.0),
    (70, 21, 200.0),
    (88, 90, 3000.0),
)
TRUTH = {(y, x) for y, x, _ in DEFECTS}
#: Of the noise of a pixel.
SD = 5.0

ROWS, COLUMNS = np.indices(fakes.SHAPE)


def scene(seed: int) -> np.ndarray:
    """Draw three cells, their nuclei and nine puncta at random places (C, Y, X; without noise)."""
    rng = np.random.default_rng([seed, 1])
    planes = np.full((3, *fakes.SHAPE), 30.0)
    for y, x in rng.integers((14, 14), (82, 114), (3, 2)):
        away = (ROWS - y) ** 2 + (COLUMNS - x) ** 2
        planes[0] += 400 * (away < 14**2)
        planes[1] += 400 * (away < 5**2)
    for y, x in rng.uniform(4, np.array(fakes.SHAPE) - 4, (9, 2)):
        planes[2] += 400 * np.exp(-((ROWS - y) ** 2 + (COLUMNS - x) ** 2) / (2 * 1.4**2))
    return planes


def seen(planes: np.ndarray, seed: int, *, defects: bool) -> np.ndarray:
    """Return what a camera sees of it."""
    picture = planes + np.random.default_rng([seed, 2]).normal(0, SD, planes.shape)
    for y, x, height in DEFECTS if defects else ():
        picture[2, y, x] += height
    return np.clip(picture.round(), 0, 65535).astype(np.uint16)


def write(folder: Path, number: int, *, defects: bool = True, same: bool = False) -> list[Path]:
    """Write so many fields, of places of their own or all of the same."""
    folder.mkdir(exist_ok=True)
    return [
        fakes.write_image(folder / f"i{k:02d}.ome.tif", seen(scene(0 if same else k), k, defects=defects))
        for k in range(number)
    ]
