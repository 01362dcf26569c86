"""Crowded puncta with known truth: what is found by distance, numbers per cell, precision of single ones.

``python benchmarks/crowds.py``. Simulated images with Poisson noise, haze, and puncta of sigma 1.2 and
1.5 px whose light differs by 30 %; everything at default settings. ``detection only`` is the same network
without the fit. Numbers by light (``puncta_equivalents``) are of a plate of full and of sparse cells, which
tell what a single punctum is like. The seeds are not those that the methods were chosen on (`SEED` 0).
``limit`` is no detector: it is told everything but how many puncta a spot holds (``resolution.py``), and says
how much of what is missing the photons do not tell.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import cv2
import numpy as np
import pandas as pd
from common import publish, table
from resolution import Known, limit, line_for, power
from scipy.spatial import cKDTree
from scipy.special import erf

from napari_tam.evaluate.matching import match_points
from napari_tam.pipeline.models import load_models
from napari_tam.puncta import detect
from napari_tam.settings import Settings
from napari_tam.uptake.decide import decide

SETTINGS = Settings()
#: Added to all seeds. The methods were chosen with 0.
SEED = 40_000
GAIN, OFFSET, READ = 2.0, 100.0, 2.0
#: Photons of background and of haze, and SD of the log light.
LEVEL, HAZE, SPREAD = 20.0, 20.0, 0.3
#: Pixel size, and the cells: least and most puncta, diameter (px), and images of them on a plate.
UM = 0.1
CELLS = ((20, 60, 25, 4), (20, 60, 50, 4), (8, 20, 100, 7))
#: Distances (sigma) at which the test of two against one is described.
APART = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
#: SD of the log light where nothing is known of it.
UNKNOWN = 5.0
WHAT_LIMIT_KNOWS = (
    "'limit' is no detector but what the photons allow: it knows background, haze, width and camera,",
    "the distribution of the puncta's light (log SD 0.3), and starts from all true places and lights. It",
    "does not know how many puncta share a spot: by likelihood and lights it takes out what is not needed",
    "and splits what seems two, at a line where one in twenty single puncta is called two. 'limit, lights",
    "unknown' does so by the likelihood alone, with a line of its own: the difference is what two puncta are",
    "told by for being twice as bright as one. Neither searches, nor learns background and point spread.",
)


class Field(NamedTuple):
    """A simulated image and all that is true of it.

    Attributes
    ----------
    image
        (Y, X) what the camera gives.
    points, light
        (N, 2) true places; (N,) their photons.
    base
        (Y, X) photons expected besides the puncta.
    labels
        (Y, X) cells, if there are any.
    """

    image: np.ndarray
    points: np.ndarray
    light: np.ndarray
    base: np.ndarray
    labels: np.ndarray


#: What finds puncta in a field, of so many photons and this width: (N, 2) places.
Find = Callable[[Field, float, float], np.ndarray]


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


def crowd(seed: int, photons: float, density: float, sigma: float) -> Field:
    """Puncta anywhere, so many a pixel, over haze."""
    rng, shape = np.random.default_rng(seed), (256, 256)
    points = rng.uniform(4, 251, (rng.poisson(density * 256**2), 2))
    haze = cv2.GaussianBlur(rng.normal(0, 1, shape), (0, 0), 12)
    haze -= haze.min()
    light = light_of(len(points), photons, rng)
    base = LEVEL + HAZE * haze / haze.mean()
    clean = picture(shape, points, light, sigma)
    return Field(camera(clean + base, rng), points, light, base, np.zeros(shape, int))


def cells(seed: int, photons: float, least: int, most: int, diameter: int, sigma: float) -> Field:
    """Round cells with haze of their own, puncta anywhere in them."""
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
    base = LEVEL + HAZE * cv2.GaussianBlur((labels > 0).astype(float), (0, 0), 3)
    light = light_of(len(places), photons, rng)
    clean = picture(shape, places, light, sigma)
    return Field(camera(clean + base, rng), places, light, base, labels)


def in_photons(image: np.ndarray) -> np.ndarray:
    """Turn what a camera gives into photons."""
    return (image - OFFSET) / GAIN


def known_of(photons: float, sigma: float, prior: float) -> Known:
    """Return what `limit` is told; `prior` is the SD of the log light that it expects."""
    return Known(sigma, float(np.log(photons)) - SPREAD**2 / 2, prior, (READ**2 + 1 / 12) / GAIN**2)


def limit_of(field: Field, photons: float, sigma: float, *, alike: bool = True) -> np.ndarray:
    """Puncta that the photons allow to tell apart, by what is true; `alike`: with their lights' spread."""
    known = known_of(photons, sigma, SPREAD if alike else UNKNOWN)
    rng = np.random.default_rng(SEED)
    line = line_for(known, SPREAD, LEVEL + HAZE, lambda clean: in_photons(camera(clean, rng)), rng)
    truth = np.column_stack([field.points, np.log(field.light)])
    return limit(in_photons(field.image), field.base, truth, known, line)


def by_distance(find: Find, photons: float, sigma: float) -> list[float]:
    """Recall below 1, at 1 to 2, 2 to 3 and beyond 3 sigma from the next punctum; precision."""
    hits, nearest, found_all, right = [], [], 0, 0
    for density in (0.002, 0.005, 0.01, 0.02):
        for seed in (200, 201):
            field = crowd(SEED + seed, photons, density, sigma)
            truth, found = field.points, find(field, photons, sigma)
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


def per_cell(find: Find, photons: float, sigma: float, least: int, most: int, diameter: int) -> list[float]:
    """Median relative error of the count per cell, its bias, and precision."""
    field = cells(SEED + 7, photons, least, most, diameter, sigma)
    truth, labels, found = field.points, field.labels, find(field, photons, sigma)

    def count(points: np.ndarray) -> np.ndarray:
        return np.bincount(cell_of(points, labels), minlength=labels.max() + 1)[1:]

    error = count(found) / count(truth) - 1
    precision = len(match_points(truth, found, 3.0)) / max(len(found), 1)
    return [float(np.median(np.abs(error))), float(np.median(error)), precision]


def cell_of(places: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Label under each place."""
    row, column = np.clip(np.round(places), 0, np.array(labels.shape) - 1).astype(int).T
    return labels[row, column]


def plate_of(find: Any, photons: float, sigma: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One plate of full and of sparse cells: cells with their truth and count, and puncta."""
    of_cells, of_puncta = [], []
    for least, most, diameter, images in CELLS:
        for number in range(images):
            seed = SEED + 1000 + 10 * number + diameter
            field = cells(seed, photons, least, most, diameter, sigma)
            truth, labels, found = field.points, field.labels, find(field.image)
            label = cell_of(found[["y_px", "x_px"]].to_numpy(float), labels)
            away = cv2.distanceTransform((labels > 0).astype(np.uint8), cv2.DIST_L2, 5)
            edge = cell_of(found[["y_px", "x_px"]].to_numpy(float), away) * UM
            name, count = f"{diameter} px, {number}", int(labels.max())
            places = {"y_um": found["y_px"] * UM, "x_um": found["x_px"] * UM}
            edge = np.where(label > 0, edge, np.nan)
            of_puncta.append(found.assign(image=name, label=label, edge_distance_um=edge, **places))
            one = pd.DataFrame({"image": name, "label": np.arange(1, count + 1), "diameter": diameter})
            one["true"] = np.bincount(cell_of(truth, labels), minlength=count + 1)[1:]
            one["puncta_count"] = np.bincount(label, minlength=count + 1)[1:]
            of_cells.append(one)
    table = pd.concat(of_cells, ignore_index=True)
    table = table.assign(
        plate="", control_role="", area_um2=1.0, puncta_per_um2=0.0, puncta_intensity_sum=0.0
    )
    return table, pd.concat(of_puncta, ignore_index=True)


def by_light(find: Any, photons: float, sigma: float) -> tuple[list[list[Any]], dict[str, list[float]]]:
    """Error of count and equivalents of cells, their bias, share of intervals that hold the truth, width."""
    table, puncta = plate_of(find, photons, sigma)
    images = pd.DataFrame({"image": table["image"].unique(), "plate": "", "control_role": ""})
    decided = decide(table, puncta, images, SETTINGS)
    table = pd.concat([table, decided.cells], axis=1)
    single = decided.thresholds["single_intensity"].item() / (GAIN * photons)
    rows, values = [], {}
    for least, most, diameter, _ in CELLS:
        here = table[table["diameter"] == diameter]
        true = here["true"].to_numpy(float)
        names = ("", "_low", "_high")
        number, low, high = (here[f"puncta_equivalents{name}"].to_numpy(float) for name in names)
        off, counted = number / true - 1, here["puncta_count"].to_numpy(float) / true - 1
        inside = float(((low <= true) & (true <= high)).mean())
        name = f"{least}-{most} in {diameter} px"
        found = [
            float(np.median(np.abs(counted))), float(np.median(np.abs(off))), float(np.median(off)), inside,
            float(np.median((high - low) / true)), single,
        ]  # fmt: skip
        rows.append([name, len(here), photons, sigma, *found])
        values[f"equivalents, {name}, {photons}, {sigma}"] = found
    return rows, values


def singles(find: Any, photons: float, sigma: float) -> list[float]:
    """Error of the position over its standard error, and bias of the light, of puncta that stand alone."""
    rng = np.random.default_rng(SEED + 5)
    step = 28
    grid = step * (np.stack(np.divmod(np.arange(18**2), 18), axis=1) + 0.5)
    truth = grid + rng.uniform(-6, 6, grid.shape)
    clean = picture((18 * step, 18 * step), truth, np.full(len(truth), photons), sigma)
    found: pd.DataFrame = find(camera(clean + LEVEL, rng))
    away, nearest = cKDTree(truth).query(found[["y_px", "x_px"]])
    near = found[away < 2]
    off = (near[["y_px", "x_px"]].to_numpy() - truth[nearest[away < 2]]) * 0.1
    spread = 1.4826 * np.median(np.abs(off))
    bias = float(np.median(near["intensity"]) / (GAIN * photons) - 1)
    return [float(spread / (0.1 * least_error(photons, sigma, rng))), bias]


def least_error(photons: float, sigma: float, rng: np.random.Generator) -> float:
    """Cramér-Rao bound of a coordinate (px) for known light, width and background, mean over a pixel.

    The Fisher information is Σ (∂μ/∂x)² / μ over pixels; read noise counts as background.
    """
    edges, bounds = np.arange(-9.5, 9.6), []

    def profile(place: float) -> np.ndarray:
        return 0.5 * np.diff(erf((edges - place) / (sigma * np.sqrt(2))))

    for y, x in rng.uniform(-0.5, 0.5, (100, 2)):
        slope = (profile(x + 1e-3) - profile(x - 1e-3)) / 2e-3
        expected = photons * np.outer(profile(y), profile(x)) + LEVEL + (READ / GAIN) ** 2
        bounds.append(((photons * np.outer(profile(y), slope)) ** 2 / expected).sum() ** -0.5)
    return float(np.mean(bounds))


def places_of(find: Callable[[np.ndarray], pd.DataFrame]) -> Find:
    """Return what looks at the image of a field alone."""

    def places(field: Field, photons: float, sigma: float) -> np.ndarray:
        del photons, sigma
        return find(field.image)[["y_px", "x_px"]].to_numpy(float)

    return places


def crowds(finders: dict[str, Find]) -> tuple[list[list[Any]], list[list[Any]], dict[str, list[float]]]:
    """Rows of recall by distance, rows of counts per cell, and values by name."""
    crowded, counted, values = [], [], {}
    for name, find in finders.items():
        for photons in (500, 2000):
            for sigma in (1.2, 1.5):
                found = by_distance(find, photons, sigma)
                crowded.append([name, photons, sigma, *found])
                values[f"{name}, {photons}, {sigma}"] = found
                for least, most, diameter, _ in CELLS:
                    error = per_cell(find, photons, sigma, least, most, diameter)
                    counted.append([name, f"{least}-{most} in {diameter} px", photons, sigma, *error])
    return crowded, counted, values


def told_apart() -> list[list[Any]]:
    """Rows of the power of the test of two against one, by distance."""
    rows: list[list[Any]] = []
    for photons in (500, 2000):
        for sigma in (1.2, 1.5):
            known = known_of(photons, sigma, UNKNOWN)
            test = [power(photons, apart * sigma, known, LEVEL + HAZE) for apart in APART]
            rows.append([photons, sigma, *test])
    return rows


def run() -> None:
    """Measure, print and keep."""
    detector = load_models(SETTINGS).puncta
    fit = detect.resolve_crowds

    def with_fit(image: np.ndarray) -> pd.DataFrame:
        return detector.detect(image, UM, SETTINGS)

    def without(image: np.ndarray) -> pd.DataFrame:
        detect.resolve_crowds = lambda found, *_: found  # type: ignore[assignment]
        try:
            return with_fit(image)
        finally:
            detect.resolve_crowds = fit

    alone, numbers = [], []
    for name, detection in (("with the fit", with_fit), ("detection only", without)):
        alone += [[name, photons, *singles(detection, photons, 1.4)] for photons in (500, 2000)]
    finders = {
        "with the fit": places_of(with_fit),
        "detection only": places_of(without),
        "limit": limit_of,
        "limit, lights unknown": partial(limit_of, alike=False),
    }
    crowded, counted, values = crowds(finders)
    for photons in (500, 2000):
        for sigma in (1.2, 1.5):
            rows, more = by_light(with_fit, photons, sigma)
            numbers, values = numbers + rows, values | more
    lines = [*WHAT_LIMIT_KNOWS, ""]
    lines += ["Recall by distance to the next punctum, and precision; a find within 3 px counts", ""]
    head = ["detector", "photons", "sigma", "< 1 sigma", "1-2", "2-3", "> 3", "precision"]
    lines += table(head, crowded)
    lines += ["", "Count per cell: relative error", ""]
    lines += table(["detector", "puncta, cell", "photons", "sigma", "median", "bias", "precision"], counted)
    lines += ["", "Two of equal light, alone: chance that the likelihood ratio tells them from one, where it"]
    lines += ["calls one in twenty single puncta two; lights unknown", ""]
    lines += table(["photons", "sigma", *(f"{apart:g} sigma" for apart in APART)], told_apart())
    lines += ["", "Numbers by light on a plate of these cells: median relative error of the count and of "]
    lines[-1] += "puncta_equivalents, bias of these,"
    lines += ["share of their 95 % intervals that hold the truth, width of the interval over the truth, and "]
    lines[-1] += "light of a single punctum over the true one"
    head = [
        "puncta, cell",
        "cells",
        "photons",
        "sigma",
        "count",
        "equivalents",
        "bias",
        "held",
        "width",
        "one",
    ]
    lines += table(head, numbers)
    lines += [
        "",
        "Single puncta (sigma 1.4): robust SD of the position over the Cramér-Rao bound; bias of",
        "",
    ]
    lines[-2] += " the intensity"
    lines += table(["detector", "photons", "position / bound", "intensity bias"], alone)
    publish("crowds", lines, values)


if __name__ == "__main__":
    run()
