"""Outlines and positions of macrophages and nuclei."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_tam.simulate.tumours import draw_islands

if TYPE_CHECKING:
    from numpy.random import Generator

    from napari_tam.simulate.parameters import SceneParameters

Labels = npt.NDArray[np.uint16]
Points = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
#: Rows and columns of a box in the field, and the mask in it.
Body = tuple[slice, slice, Mask]


@dataclass(frozen=True)
class Phenotype:
    """Shape distribution of a phenotype; every number is an assumption unless a source is named.

    `axis_ratio` (median, SD of the log): M2-polarised mouse macrophages are more elongated than M1
    (McWhorter et al. 2013, PNAS); the medians here are assumed. `spread` scales the diameter:
    M1-like cells are flattened, "fried-egg", so they cover more area. `tips` is the number of
    tapering ends (a spindle has two); `bumps` the mean number of short protrusions.
    """

    axis_ratio: tuple[float, float]
    spread: float
    tips: float
    bumps: float


#: The types of cells. Only macrophages have a phenotype.
MACROPHAGE, TUMOUR = "macrophage", "tumour"

PHENOTYPES = {
    "M1": Phenotype(axis_ratio=(1.18, 0.10), spread=1.08, tips=0.0, bumps=4.0),
    "M2": Phenotype(axis_ratio=(2.5, 0.28), spread=0.95, tips=0.8, bumps=2.0),
}


@dataclass(frozen=True)
class Population:
    """Cells as drawn: labels, whole bodies (they may overlap) in the order of labels, one row per cell."""

    labels: Labels
    bodies: list[Body]
    phenotypes: pd.DataFrame


def outline(
    diameter: float, axis_ratio: float, kind: Phenotype, protrusions: float, ruffles: float, rng: Generator
) -> Points:
    """Draw a closed outline (n×2, y and x about the origin) of about the given equivalent diameter."""
    angle = np.linspace(0, 2 * np.pi, 256, endpoint=False)
    # Superellipse: an exponent below 2 tapers the ends to the tips of a spindle.
    exponent = 2.0 - kind.tips * rng.uniform(0.2, 0.9)
    long, short = np.sqrt(axis_ratio), 1 / np.sqrt(axis_ratio)
    cos, sin = np.cos(angle), np.sin(angle)
    radius = (np.abs(cos / long) ** exponent + np.abs(sin / short) ** exponent) ** (-1 / exponent)
    rough = np.zeros_like(angle)
    for order in range(2, 6):
        rough += rng.normal(0, 0.13 / order) * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
    for order in range(6, 26):
        rough += ruffles * rng.normal(0, 0.10 / order) * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
    radius = radius * np.exp(rough)
    for _ in range(rng.poisson(kind.bumps * protrusions)):
        width = rng.uniform(0.06, 0.25)
        gap = np.angle(np.exp(1j * (angle - rng.uniform(0, 2 * np.pi))))
        radius = radius + rng.uniform(0.1, 0.2 + 0.8 * protrusions) * np.exp(-((gap / width) ** 2))
    points = np.stack([radius * sin, radius * cos], axis=1)
    # A bent body: real spindles are rarely straight.
    points[:, 0] += rng.normal(0, 0.12) * (points[:, 1] ** 2 - long**2 / 3)
    y, x = points.T
    area = 0.5 * abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))
    points *= diameter / 2 * np.sqrt(np.pi / area)
    turn = rng.uniform(0, 2 * np.pi)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return np.asarray(points @ rotation)


def fill(points: Points, centre: Points) -> tuple[int, int, Mask]:
    """Rasterise an outline; returns the top-left corner and the mask of its bounding box."""
    shifted = points + centre
    low = np.floor(shifted.min(axis=0)).astype(int) - 1
    high = np.ceil(shifted.max(axis=0)).astype(int) + 2
    mask = np.zeros(high - low, np.uint8)
    # fillPoly takes fixed-point x, y: 4 fractional bits keep the outline sub-pixel.
    cv2.fillPoly(mask, [np.round((shifted - low)[:, ::-1] * 16).astype(np.int32)], 1, shift=4)
    return int(low[0]), int(low[1]), mask.astype(bool)


def _clip(y: int, x: int, mask: Mask, shape: tuple[int, int]) -> Body | None:
    """Cut a mask with its top-left corner at y, x to the field; None if nothing is left."""
    y0, x0 = max(0, y), max(0, x)
    y1, x1 = min(shape[0], y + mask.shape[0]), min(shape[1], x + mask.shape[1])
    if y1 <= y0 or x1 <= x0:
        return None
    return slice(y0, y1), slice(x0, x1), mask[y0 - y : y1 - y, x0 - x : x1 - x]


def _is_cut(body: Body, shape: tuple[int, int]) -> bool:
    """Return whether a body reaches the border of the field (a box is a pixel wider than its mask)."""
    return any(span.start == 0 or span.stop == n for span, n in zip(body[:2], shape, strict=True))


def draw_cells(p: SceneParameters, rng: Generator) -> Population:
    """Place cells one after the other; a later cell may cover `p.overlap` of an earlier one.

    Tumour cells, if there are any, come first; then the cells' table has the column cell_type.
    """
    shape = p.shape
    labels: Labels = np.zeros(shape, np.uint16)
    diameter_px = p.cell_diameter_um / p.pixel_size_um
    bodies: list[Body] = []
    rows: list[tuple[str, float]] = []
    areas: list[int] = []
    centres: list[Points] = []
    for body in draw_islands(p, rng) if p.tumour_share > 0 else ():
        bodies.append(body)
        areas.append(int(body[2].sum()))
        corner = np.array([body[0].start, body[1].start])
        centres.append(np.argwhere(body[2]).mean(axis=0) + corner)
        rows.append(("", _axis_ratio(body[2])))
        labels[body[:2]][body[2]] = len(bodies)
    low, high = np.full(2, -0.2 * diameter_px), np.array(shape) + 0.2 * diameter_px
    for _ in range(p.cells_per_field - len(bodies)):
        name = "M1" if rng.random() < p.m1_fraction else "M2"
        kind = PHENOTYPES[name]
        ratio = max(1.0, float(np.exp(rng.normal(np.log(kind.axis_ratio[0]), kind.axis_ratio[1]))))
        diameter = diameter_px * kind.spread * float(np.exp(rng.normal(0, p.diameter_spread)))
        points = outline(diameter, ratio, kind, p.protrusions, p.ruffles, rng)
        for _attempt in range(12):
            if centres and rng.random() < p.clustering:
                turn = rng.uniform(0, 2 * np.pi)
                step = diameter * rng.uniform(0.6, 1.2) * np.array([np.sin(turn), np.cos(turn)])
                centre = centres[rng.integers(len(centres))] + step
            else:
                centre = rng.uniform(low, high)
            clipped = _clip(*fill(points, centre), shape)
            if clipped is None or clipped[2].sum() < 0.02 * diameter_px**2:
                continue
            if p.whole_cells and _is_cut(clipped, shape):
                continue
            window, mask = labels[clipped[:2]], clipped[2]
            covered = np.bincount(window[mask], minlength=len(areas) + 1)[1:]
            if covered.sum() > p.overlap * mask.sum():
                continue
            if any(covered[k] > p.overlap * areas[k] for k in np.flatnonzero(covered)):
                continue
            bodies.append(clipped)
            areas.append(int(mask.sum()))
            centres.append(centre)
            rows.append((name, ratio))
            window[mask] = len(bodies)
            break
    labels = _one_piece(labels)
    present = np.flatnonzero(np.bincount(labels.ravel(), minlength=len(bodies) + 1)[1:])
    renumber = np.zeros(len(bodies) + 1, np.uint16)
    renumber[present + 1] = np.arange(1, len(present) + 1)
    phenotypes = pd.DataFrame(
        {
            "label": np.arange(1, len(present) + 1),
            "phenotype": [rows[k][0] for k in present],
            "axis_ratio": [rows[k][1] for k in present],
        }
    )
    if p.tumour_share > 0:
        phenotypes["cell_type"] = np.where(phenotypes["phenotype"] == "", TUMOUR, MACROPHAGE)
    return Population(renumber[labels], [bodies[k] for k in present], phenotypes)


def _axis_ratio(mask: Mask) -> float:
    """Return long over short axis of the ellipse with a mask's second moments."""
    values = np.linalg.eigvalsh(np.cov(np.argwhere(mask).T) + np.eye(2) / 12)
    return float(np.sqrt(values[1] / values[0]))


def _one_piece(labels: Labels) -> Labels:
    """Keep the largest piece of each cell: a covering cell can cut another in two."""
    from skimage.measure import label as connected

    pieces: npt.NDArray[np.intp] = connected(labels, connectivity=1)  # type: ignore[no-untyped-call]
    sizes = np.bincount(pieces.ravel())
    owner = np.zeros(len(sizes), np.intp)
    owner[pieces.ravel()] = labels.ravel()
    best = np.zeros(int(owner.max()) + 1, np.intp)
    for piece in np.argsort(sizes):  # the largest writes last
        best[owner[piece]] = piece
    keep = np.zeros(len(sizes), bool)
    keep[best[1:]] = True
    keep[0] = False
    return np.where(keep[pieces], labels, 0).astype(np.uint16)


def draw_nuclei(p: SceneParameters, population: Population, rng: Generator) -> Labels:
    """Put an elliptic nucleus near the deepest point of each cell; it carries the cell's label."""
    labels = population.labels
    nuclei = np.zeros_like(labels)
    for index, (rows, columns, body) in enumerate(population.bodies, start=1):
        if rng.random() < p.no_nucleus:
            continue
        count = 2 if rng.random() < p.two_nuclei else 1
        own = labels[rows, columns] == index
        depth = cv2.distanceTransform(np.pad(own, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
        deepest = float(depth.max())
        size = np.sqrt(body.sum() * 4 / np.pi) * p.nucleus_fraction * np.exp(rng.normal(0, 0.1))
        size /= np.sqrt(count)
        inside = np.argwhere(depth > 0.75 * deepest)
        for _ in range(count):
            if not len(inside):
                break
            ratio = np.exp(abs(rng.normal(0, 0.2)))
            ratio = max(ratio, (size / (1.9 * max(deepest, 1.0))) ** 2)  # thin cells squeeze it
            kind = Phenotype((ratio, 0.0), 1.0, 0.0, 0.0)
            points = outline(size, min(float(ratio), 4.0), kind, 0.0, 0.15, rng)
            centre = inside[rng.integers(len(inside))] + np.array([rows.start, columns.start])
            clipped = _clip(*fill(points, centre.astype(float)), p.shape)
            if clipped is None:
                continue
            window = (clipped[0], clipped[1])
            nuclei[window][clipped[2] & (labels[window] == index)] = index
    return nuclei
