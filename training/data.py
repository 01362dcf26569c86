"""Training images: labelled fields at a network's working scale, and simulated ones.

Real images come from ``../shared/data`` (see its README for sources and terms); simulated ones
from `napari_tam.simulate.scene`. Everything is drawn from seeds and cached, so that a run can be
repeated.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import tifffile

from napari_tam.segment.segmenter import median_diameter, normalise
from napari_tam.simulate.parameters import random_parameters
from napari_tam.simulate.scene import Scene
from napari_tam.train.flows import Sample, flows, to_scale

if TYPE_CHECKING:
    import pandas as pd

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
CACHE = Path(os.environ.get("TRAINING_CACHE") or Path(__file__).resolve().parent / ".cache")


def cached(key: str, make):
    """Keep a list of samples on disk under a key that names everything it depends on."""
    CACHE.mkdir(exist_ok=True)
    path = CACHE / (hashlib.sha256(key.encode()).hexdigest()[:16] + ".npz")
    if path.exists():
        with np.load(path, allow_pickle=False) as data:
            return [
                Sample(
                    str(name), str(group), data[f"x{i}"].astype(np.float32), data[f"y{i}"].astype(np.float32)
                )
                for i, (name, group) in enumerate(zip(data["names"], data["groups"], strict=True))
            ]
    samples = make()
    arrays = {f"x{i}": s.image.astype(np.float16) for i, s in enumerate(samples)}
    arrays |= {f"y{i}": s.target.astype(np.float32) for i, s in enumerate(samples)}
    partial = path.with_suffix(".part.npz")
    np.savez(partial, names=[s.name for s in samples], groups=[s.group for s in samples], **arrays)
    partial.replace(path)
    return cached(key, make)  # as a later run will read them: images in half precision


def _contents(folder: Path) -> list[tuple[str, int]]:
    """Return what tells a folder's files from others of the same names."""
    return sorted((path.name, path.stat().st_size) for path in folder.glob("*.tif"))


def real_cells(diameter: float, folder: Path = SHARED) -> list[Sample]:
    """All fields of ``cells/`` at working scale; `group` is the image set's name."""

    def make() -> list[Sample]:
        samples = []
        for path in sorted((folder / "cells").glob("*_masks.tif")):
            name = path.name.removesuffix("_masks.tif")
            image, labels = tifffile.imread(path.with_name(name + ".tif")), tifffile.imread(path)
            image, labels = to_scale(image, labels, diameter / median_diameter(labels))
            samples.append(Sample(name, name.rsplit("_", 1)[0], normalise(image), flows(labels)))
        return samples

    return cached(f"real cells v1 {diameter} {_contents(folder / 'cells')}", make)


def simulated(kind: str, diameter: float, count: int, seed: int) -> list[Sample]:
    """Draw simulated scenes as the `cells` or the `nuclei` network sees them."""

    def make() -> list[Sample]:
        samples = []
        for index in range(count):
            rng = np.random.default_rng([seed, index])
            drawn = float(np.exp(rng.uniform(np.log(0.9), np.log(2.2))))  # drawn finer, then reduced
            if kind == "cells":
                size, cell = int(320 * drawn), diameter * drawn
            else:
                cell = diameter * drawn / 0.42
                size = int(320 * drawn)
            parameters = random_parameters(rng, (size, size), cell)
            scene = Scene.draw(parameters, rng)
            if kind == "cells":
                image, labels = scene.image[:2], scene.cells
            else:
                image, labels = scene.image[1:2], scene.nuclei
            if not labels.any():
                continue
            image, labels = to_scale(image, labels, diameter / median_diameter(labels))
            if min(labels.shape) < 96 or max(labels.shape) > 900:
                continue
            samples.append(Sample(f"sim{index}", "simulated", normalise(image), flows(labels)))
        return samples

    return cached(f"simulated v1 {kind} {diameter} {count} {seed}", make)


def real_nuclei(diameter: float, folder: Path = SHARED) -> list[Sample]:
    """Read the DSB 2018 fields; images are cut to at most 400 px at working scale."""

    def make() -> list[Sample]:
        samples = []
        for path in sorted((folder / "nuclei").glob("*_masks.tif")):
            name = path.name.removesuffix("_masks.tif")
            image, labels = tifffile.imread(path.with_name(name + ".tif")), tifffile.imread(path)
            if not labels.any():
                continue
            image, labels = to_scale(image[None], labels, diameter / median_diameter(labels))
            labels, image = labels[:400, :400], normalise(image)[:, :400, :400]
            samples.append(Sample(name, "dsb", image, flows(labels)))
        return samples

    return cached(f"real nuclei v1 {diameter} {_contents(folder / 'nuclei')}", make)


def held_out_nuclei(names: list[str], count: int = 50, seed: int = 2018) -> set[str]:
    """Draw the DSB fields that are kept for the reported figure."""
    return set(np.random.default_rng(seed).choice(sorted(names), count, replace=False).tolist())


def spot_target(shape: tuple[int, int], spots: pd.DataFrame, ignore: np.ndarray) -> np.ndarray:
    """Flow targets of puncta: Cellpose's field in its closed form for a disc.

    Unit vectors to the sub-pixel centre inside a disc of 1.5 sigma (1.7 to 7 px), shrinking
    linearly within 1 px of the centre, so that the flow vanishes at the true position. A pixel
    belongs to the punctum whose disc it lies deepest in. Ignored puncta get a loss weight of 0.
    """
    target = np.zeros((5, *shape), np.float32)
    target[4] = 1
    nearest = np.full(shape, np.inf, np.float32)
    for index, (y, x, sigma) in enumerate(spots[["y_px", "x_px", "sigma_px"]].to_numpy()):
        radius = float(np.clip(1.5 * sigma, 1.7, 7))
        y0, y1 = max(0, int(y - radius - 1)), min(shape[0], int(y + radius + 3))
        x0, x1 = max(0, int(x - radius - 1)), min(shape[1], int(x + radius + 3))
        if y1 <= y0 or x1 <= x0:
            continue
        dy = (y - np.arange(y0, y1, dtype=np.float32))[:, None]
        dx = (x - np.arange(x0, x1, dtype=np.float32))[None, :]
        distance = np.sqrt(dy**2 + dx**2)
        window = (slice(y0, y1), slice(x0, x1))
        if ignore[index]:
            target[4][window][distance < radius + 1] = 0
            continue
        closer = (distance < radius) & (distance / radius < nearest[window])
        nearest[window][closer] = (distance / radius)[closer]
        scale = 1 / np.maximum(distance, 1)
        target[0][window][closer] = index + 1
        target[1][window][closer] = 1
        target[2][window][closer] = (dy * scale)[closer]
        target[3][window][closer] = (dx * scale)[closer]
    target[4][target[1] > 0] = 1
    return target


def invisible(image: np.ndarray, spots: pd.DataFrame, gain: float) -> np.ndarray:
    """Spots whose peak is under 2.5 SD of the noise around them: nobody could find them."""
    if spots.empty:
        return np.zeros(0, bool)
    peak = spots.amplitude_photons.to_numpy() * gain
    noise = np.sqrt(cv2.GaussianBlur((image - cv2.GaussianBlur(image, (0, 0), 1)) ** 2, (0, 0), 12) * 1.3)
    at = tuple(
        np.clip(np.round(spots[["y_px", "x_px"]].to_numpy()).astype(int), 0, np.array(image.shape) - 1).T
    )
    return peak < 2.5 * np.minimum(noise[at], np.median(noise) * 4)
