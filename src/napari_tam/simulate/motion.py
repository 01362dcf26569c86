"""How the cells of a movie move and change shape, and when and where their puncta appear."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_tam.simulate.cells import (
    PHENOTYPES,
    Body,
    Labels,
    Points,
    Population,
    _clip,
    _one_piece,
    fill,
    outline,
)

if TYPE_CHECKING:
    from numpy.random import Generator

    from napari_tam.simulate.parameters import MovieParameters

#: Directions that a cell tries before it stays where it is.
_TRIES = 8


@dataclass(frozen=True)
class Arrivals:
    """The puncta of one cell: when each appears, where, and how bright it is.

    ``reach`` is the distance from the centre relative to the outline, ``turn`` the place along the
    outline, from 0 to 1.
    """

    hours: npt.NDArray[np.float64]
    reach: npt.NDArray[np.float64]
    turn: npt.NDArray[np.float64]
    photons: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Walk:
    """Cells in all frames: `outlines[frame, cell]` (points about the centre), `centres[frame, cell]`.

    ``nucleus`` is each cell's nucleus diameter in pixels, 0 for none. Cells that leave the field come
    last, the last to leave first: then the others keep their place in every random stream.
    """

    outlines: npt.NDArray[np.float64]
    centres: npt.NDArray[np.float64]
    phenotypes: tuple[str, ...]
    ratios: npt.NDArray[np.float64]
    nucleus: npt.NDArray[np.float64]

    def population(self, frame: int, shape: tuple[int, int]) -> Population:
        """Draw the cells of a frame; the label of cell k is k + 1, missing if it is not to be seen."""
        labels: Labels = np.zeros(shape, np.uint16)
        bodies: list[Body] = []
        for cell, centre in enumerate(self.centres[frame]):
            clipped = _clip(*fill(self.outlines[frame, cell], centre), shape)
            if clipped is None or not clipped[2].any():
                break
            bodies.append(clipped)
            labels[clipped[:2]][clipped[2]] = cell + 1
        rows = pd.DataFrame(
            {
                "label": np.arange(1, len(bodies) + 1),
                "phenotype": list(self.phenotypes[: len(bodies)]),
                "axis_ratio": self.ratios[: len(bodies)],
            }
        )
        return Population(_one_piece(labels), bodies, rows)

    def nuclei(self, frame: int, labels: Labels) -> Labels:
        """Draw the nuclei of a frame: ellipses at the bodies' centroids, half as elongated as these."""
        nuclei = np.zeros_like(labels)
        angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        for cell, size in enumerate(self.nucleus):
            points = self.outlines[frame, cell]
            if not size:
                continue
            middle = points.mean(axis=0)
            values, axes = np.linalg.eigh(np.cov((points - middle).T))
            ratio = min(float((values[1] / max(values[0], 1e-9)) ** 0.25), 1.8)
            circle = np.stack([np.sin(angle) / np.sqrt(ratio), np.cos(angle) * np.sqrt(ratio)], axis=1)
            ellipse = size / 2 * circle @ axes.T
            clipped = _clip(
                *fill(ellipse, self.centres[frame, cell] + 0.5 * middle), (labels.shape[0], labels.shape[1])
            )
            if clipped is not None:
                window = (clipped[0], clipped[1])
                nuclei[window][clipped[2] & (labels[window] == cell + 1)] = cell + 1
        return nuclei

    def inside(self, cell: int, frame: int, arrivals: Arrivals, hours: float) -> Points:
        """Return where the puncta lie that a cell has at a time (n × 2, y and x)."""
        here = arrivals.hours <= hours
        points = self.outlines[frame, cell]
        edge = points[(arrivals.turn[here] * len(points)).astype(int)]
        return np.asarray(self.centres[frame, cell] + arrivals.reach[here, None] * edge)


def draw_walk(parameters: MovieParameters, rng: Generator) -> Walk:
    """Draw the cells and their paths: a persistent random walk in which cells avoid one another.

    Velocities follow an Ornstein-Uhlenbeck process (Uhlenbeck & Ornstein 1930), the usual model of
    migrating cells.
    """
    p = parameters.scene
    diameter = p.cell_diameter_um / p.pixel_size_um
    cells = [_two_shapes(parameters, diameter, rng) for _ in range(p.cells_per_field)]
    count = len(cells)
    times = np.arange(parameters.frames) * parameters.frame_interval_min
    outlines = np.stack([_swing(*shapes, times, parameters, rng) for _, _, shapes in cells], axis=1)
    step = parameters.speed_um_per_min * parameters.frame_interval_min / p.pixel_size_um
    keep = float(np.exp(-parameters.frame_interval_min / parameters.persistence_min))
    leaves = np.arange(count) >= count - round(parameters.leaving * count)
    places = _start(p.shape, outlines[0], p.overlap, rng)
    speed = rng.normal(0, step / np.sqrt(2), (count, 2))
    centres = np.zeros((parameters.frames, count, 2))
    centres[0] = places
    for frame in range(1, parameters.frames):
        speed = keep * speed + np.sqrt(1 - keep**2) * rng.normal(0, step / np.sqrt(2), (count, 2))
        centres[frame] = _move(
            centres[frame - 1], speed, outlines[frame], leaves, p.shape, diameter, p.overlap, rng
        )
    # those that are out of sight come last, the longest in sight first
    shape = np.array(p.shape)
    extent = np.abs(outlines).max(axis=2)
    seen = ((centres > -extent) & (centres < shape + extent)).all(axis=2)
    for cell in np.flatnonzero(~seen.all(axis=0)):
        centres[np.argmin(seen[:, cell]) :, cell] = -1e6  # gone for good
    order = np.argsort(-(centres > -1e5).all(axis=2).sum(axis=0), kind="stable")
    size = np.exp(rng.normal(0, 0.08, count)) * p.nucleus_fraction
    areas = np.array([_area(points) for points in outlines[0]])
    nucleus = np.where(rng.random(count) < p.no_nucleus, 0.0, size * np.sqrt(areas * 4 / np.pi))
    return Walk(
        outlines[:, order],
        centres[:, order],
        tuple(cells[k][0] for k in order),
        np.array([cells[k][1] for k in order]),
        nucleus[order],
    )


def draw_arrivals(parameters: MovieParameters, walk: Walk, rng: Generator) -> list[Arrivals]:
    """Draw each cell's puncta, each taken up after an exponential time.

    So the number rises as ``plateau * (1 - exp(-rate t))``; plateaus vary between cells as in
    `napari_tam.simulate.puncta.draw_puncta`.
    """
    p = parameters.scene
    areas = np.array([_area(points) for points in walk.outlines[0]])
    uptake = np.exp(rng.normal(-(p.uptake_spread**2) / 2, p.uptake_spread, len(areas)))
    found = []
    for count in rng.poisson(parameters.plateau * uptake * areas / areas.mean()):
        found.append(
            Arrivals(
                rng.exponential(1 / parameters.rate_per_h, count),
                np.sqrt(rng.uniform(0.03, 0.8, count)),
                rng.uniform(0, 1, count),
                p.punctum_photons * np.exp(rng.normal(0, p.punctum_spread, count)),
            )
        )
    return found


def _area(points: Points) -> float:
    y, x = points.T
    return float(0.5 * abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))))


def _two_shapes(
    parameters: MovieParameters, diameter: float, rng: Generator
) -> tuple[str, float, tuple[Points, Points]]:
    """Draw a cell: its phenotype, axis ratio, and two outlines of the same size and orientation."""
    p = parameters.scene
    name = "M1" if rng.random() < p.m1_fraction else "M2"
    kind = PHENOTYPES[name]
    ratio = max(1.0, float(np.exp(rng.normal(np.log(kind.axis_ratio[0]), kind.axis_ratio[1]))))
    size = diameter * kind.spread * float(np.exp(rng.normal(0, p.diameter_spread)))
    first, second = (outline(size, ratio, kind, p.protrusions, p.ruffles, rng) for _ in range(2))
    # the rotation that brings them closest (Kabsch), so that the shapes between them do not shrink
    a, b = (points[:, 1] + 1j * points[:, 0] for points in (first, second))
    b = b * np.exp(1j * np.angle(np.sum(a * np.conj(b))))
    return name, ratio, (first, np.stack([b.imag, b.real], axis=1))


def _swing(
    first: Points,
    second: Points,
    times: npt.NDArray[np.float64],
    parameters: MovieParameters,
    rng: Generator,
) -> npt.NDArray[np.float64]:
    """Return the outline at every time: between the two shapes and back, turning slowly, of one area."""
    phase, area = rng.uniform(0, 2 * np.pi), _area(first)
    turns = np.cumsum(rng.normal(0, 0.06, len(times)))
    weight = 0.5 + 0.5 * np.sin(2 * np.pi * times / parameters.shape_period_min + phase)
    found = []
    for share, turn in zip(weight, turns, strict=True):
        points = share * first + (1 - share) * second
        points = points * np.sqrt(area / _area(points))
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        found.append(points @ rotation)
    return np.array(found)


def _start(
    shape: tuple[int, int], outlines: npt.NDArray[np.float64], overlap: float, rng: Generator
) -> npt.NDArray[np.float64]:
    """Place the cells where they cover others least, by trying many places for each."""
    taken = np.zeros(shape, np.uint16)
    places = np.zeros((len(outlines), 2))
    for cell, points in enumerate(outlines):
        best = np.inf
        for _ in range(60):
            centre = rng.uniform(0, shape)
            covered = _covered(points, centre, taken)
            if covered < best:
                best, places[cell] = covered, centre
            if covered <= overlap:
                break
        _paint(points, places[cell], taken, 1)
    return places


def _move(
    places: npt.NDArray[np.float64],
    speed: npt.NDArray[np.float64],
    outlines: npt.NDArray[np.float64],
    leaves: npt.NDArray[np.bool_],
    shape: tuple[int, int],
    diameter: float,
    overlap: float,
    rng: Generator,
) -> npt.NDArray[np.float64]:
    """Move all cells by their speeds (changed in place where one turns), without covering others much."""
    taken = np.zeros(shape, np.uint16)
    for points, place in zip(outlines, places, strict=True):
        _paint(points, place, taken, 1)
    after = places.copy()
    for cell in rng.permutation(len(places)):
        points = outlines[cell]
        _paint(points, places[cell], taken, -1)
        best, chosen = np.inf, places[cell]
        for attempt in range(_TRIES):
            turn = 0.0 if attempt == 0 else rng.uniform(-np.pi, np.pi)
            rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
            step = rotation @ speed[cell]
            goal = places[cell] + step
            inside = (goal >= 0.0) & (goal <= np.array(shape))
            if not leaves[cell] and not inside.all():
                step = np.where(inside, step, -step)
                goal = np.clip(places[cell] + step, 0, shape)
            covered = _covered(points, goal, taken)
            if covered < best:
                best, chosen, kept = covered, goal, step
            if covered <= overlap:
                break
        if best < np.inf:
            speed[cell] = kept
        after[cell] = chosen
        _paint(points, chosen, taken, 1)
    return after


def _covered(points: Points, centre: Points, taken: Labels) -> float:
    """Return the share of a body that others cover; 0 outside of the field."""
    clipped = _clip(*fill(points, centre), (taken.shape[0], taken.shape[1]))
    if clipped is None or not clipped[2].any():
        return 0.0
    return float((taken[clipped[:2]][clipped[2]] > 0).mean())


def _paint(points: Points, centre: Points, taken: Labels, value: int) -> None:
    clipped = _clip(*fill(points, centre), (taken.shape[0], taken.shape[1]))
    if clipped is not None:
        taken[clipped[:2]][clipped[2]] += np.uint16(value % 65536)
