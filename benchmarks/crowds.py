"""Crowded puncta with known truth: what is found by distance, counts per cell, precision of single ones.

``python benchmarks/crowds.py``. Simulated images with Poisson noise, haze, and puncta of sigma 1.2 and
1.5 px whose light differs by 30 %; everything at default settings. ``detection only`` is the same network
without the fit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from common import ROOT, publish, table
from scipy.spatial import cKDTree
from scipy.special import erf

from napari_tam.evaluate.matching import match_points
from napari_tam.networks.cards import ModelCard
from napari_tam.networks.predictor import Predictor
from napari_tam.puncta import detect
from napari_tam.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

SETTINGS = Settings()
GAIN, OFFSET, READ = 2.0, 100.0, 2.0
#: Photons of background and of haze, and SD of the log light.
LEVEL, HAZE, SPREAD = 20.0, 20.0, 0.3


def picture(shape: tuple[int, int], points: np.ndarray, photons: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussians, integrated over pixels; photons."""
    image, reach = np.zeros(shape), int(np.ceil(5 * sigma)) + 1
    for (y, x), light in zip(points, photons, strict=True):
        sides = []
        for place, size in ((y, shape[0]), (x, shape[1])):
            low, high = max(0, round(place) - reach), min(size, round(place) + reach + 1)
            edges = (np.arange(low, high + 1) - 0.5 - place) / (sigma * np.sqrt(2))
            sides.append((slice(low, high), 0.5 * np.diff(erf(edges))))
        image[sides[0][0], sides[1][0]] += light * np.outer(sides[0][1], sides[1][1])
    return image


def camera(photons: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turn photons into what a camera gives."""
    counts = rng.poisson(photons) * GAIN + OFFSET + rng.normal(0, READ, photons.shape)
    return np.clip(np.round(counts), 0, 65535).astype(np.uint16)


def light_of(count: int, photons: float, rng: np.random.Generator) -> np.ndarray:
    """Light of puncta, of the given mean."""
    return photons * np.exp(rng.normal(-(SPREAD**2) / 2, SPREAD, count))


def crowd(seed: int, photons: float, density: float, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Puncta anywhere, so many a pixel, over haze."""
    rng, shape = np.random.default_rng(seed), (256, 256)
    points = rng.uniform(4, 251, (rng.poisson(density * 256**2), 2))
    haze = cv2.GaussianBlur(rng.normal(0, 1, shape), (0, 0), 12)
    haze -= haze.min()
    clean = picture(shape, points, light_of(len(points), photons, rng), sigma)
    return camera(clean + LEVEL + HAZE * haze / haze.mean(), rng), points


def cells(
    seed: int, photons: float, least: int, most: int, diameter: int, sigma: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Round cells with haze of their own, puncta anywhere in them; image, points and labels."""
    rng, across = np.random.default_rng(seed), 5 if diameter < 50 else 3
    side = int(1.6 * diameter) + 8
    shape = (side * across, side * across)
    labels, points = np.zeros(shape, int), []
    y, x = np.mgrid[: shape[0], : shape[1]]
    for index in range(across**2):
        middle = (np.array(divmod(index, across)) + 0.5) * side
        labels[(y - middle[0]) ** 2 + (x - middle[1]) ** 2 <= (diameter / 2) ** 2] = index + 1
        count = rng.integers(least, most + 1)
        radius, angle = diameter / 2 * 0.95 * np.sqrt(rng.random(count)), rng.uniform(0, 2 * np.pi, count)
        points.append(middle + np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1))
    places = np.concatenate(points)
    haze = HAZE * cv2.GaussianBlur((labels > 0).astype(float), (0, 0), 3)
    clean = picture(shape, places, light_of(len(places), photons, rng), sigma)
    return camera(clean + LEVEL + haze, rng), places, labels


def by_distance(find: Any, photons: float, sigma: float) -> list[float]:
    """Recall below 1, at 1 to 2, 2 to 3 and beyond 3 sigma from the next punctum; precision."""
    hits, nearest, found_all, right = [], [], 0, 0
    for density in (0.002, 0.005, 0.01):
        for seed in (200, 201):
            image, truth = crowd(seed, photons, density, sigma)
            found = find(image)[["y_px", "x_px"]].to_numpy(float)
            pairs = match_points(truth, found, 3.0)
            hit = np.zeros(len(truth), bool)
            hit[[pair[0] for pair in pairs]] = True
            hits.append(hit)
            nearest.append(cKDTree(truth).query(truth, k=2)[0][:, 1] / sigma)
            found_all, right = found_all + len(found), right + len(pairs)
    hit, apart = np.concatenate(hits), np.concatenate(nearest)
    steps = ((0, 1), (1, 2), (2, 3), (3, np.inf))
    recall = [float(hit[(apart >= low) & (apart < high)].mean()) for low, high in steps]
    return [*recall, right / max(found_all, 1)]


def per_cell(find: Any, photons: float, sigma: float, least: int, most: int, diameter: int) -> list[float]:
    """Median relative error of the count per cell, its bias, and precision."""
    image, truth, labels = cells(7, photons, least, most, diameter, sigma)
    found = find(image)[["y_px", "x_px"]].to_numpy(float)

    def count(points: np.ndarray) -> np.ndarray:
        row, column = np.clip(np.round(points), 0, np.array(labels.shape) - 1).astype(int).T
        return np.bincount(labels[row, column], minlength=labels.max() + 1)[1:]

    error = count(found) / count(truth) - 1
    precision = len(match_points(truth, found, 3.0)) / max(len(found), 1)
    return [float(np.median(np.abs(error))), float(np.median(error)), precision]


def singles(find: Any, photons: float, sigma: float) -> list[float]:
    """Error of the position over its standard error, and bias of the light, of puncta that stand alone."""
    rng = np.random.default_rng(5)
    step = 28
    grid = step * (np.stack(np.divmod(np.arange(18**2), 18), axis=1) + 0.5)
    truth = grid + rng.uniform(-6, 6, grid.shape)
    clean = picture((18 * step, 18 * step), truth, np.full(len(truth), photons), sigma)
    found: pd.DataFrame = find(camera(clean + LEVEL, rng))
    away, nearest = cKDTree(truth).query(found[["y_px", "x_px"]])
    near = found[away < 2]
    off = (near[["y_px", "x_px"]].to_numpy() - truth[nearest[away < 2]]) * 0.1
    # The bound for known width and background: sigma (with the pixel's share) / sqrt(N), and noise.
    wide = sigma**2 + 1 / 12
    level = LEVEL + (READ / GAIN) ** 2
    bound = np.sqrt(wide / photons * (1 + np.sqrt(8 * np.pi * wide * level / photons)))
    spread = 1.4826 * np.median(np.abs(off))
    return [float(spread / (0.1 * bound)), float(np.median(near["intensity"]) / (GAIN * photons) - 1)]


def run() -> None:
    """Measure, print and keep."""
    detector = detect.NetworkDetector(Predictor(ModelCard.read(ROOT / "models" / "puncta.json").load()))
    fit = detect.resolve_crowds

    def with_fit(image: np.ndarray) -> pd.DataFrame:
        return detector.detect(image, 0.1, SETTINGS)

    def without(image: np.ndarray) -> pd.DataFrame:
        detect.resolve_crowds = lambda found, *_: found  # type: ignore[assignment]
        try:
            return with_fit(image)
        finally:
            detect.resolve_crowds = fit

    crowded, counted, alone, values = [], [], [], {}
    for name, find in (("with the fit", with_fit), ("detection only", without)):
        for photons in (500, 2000):
            for sigma in (1.2, 1.5):
                found = by_distance(find, photons, sigma)
                crowded.append([name, photons, sigma, *found])
                values[f"{name}, {photons}, {sigma}"] = found
                for least, most, diameter in ((20, 60, 25), (20, 60, 50), (8, 20, 100)):
                    error = per_cell(find, photons, sigma, least, most, diameter)
                    counted.append([name, f"{least}-{most} in {diameter} px", photons, sigma, *error])
            alone.append([name, photons, *singles(find, photons, 1.4)])
    lines = ["Recall by distance to the next punctum, and precision; a find within 3 px counts", ""]
    head = ["detector", "photons", "sigma", "< 1 sigma", "1-2", "2-3", "> 3", "precision"]
    lines += table(head, crowded)
    lines += ["", "Count per cell: relative error", ""]
    lines += table(["detector", "puncta, cell", "photons", "sigma", "median", "bias", "precision"], counted)
    lines += ["", "Single puncta (sigma 1.4): robust SD of the position over the bound of", ""]
    lines[-2] += " Rieger & Stallinga 2014 (approximate); bias of the intensity"
    lines += table(["detector", "photons", "position / bound", "intensity bias"], alone)
    publish("crowds", lines, values)


if __name__ == "__main__":
    run()
