"""Puncta in stacks, with known truth, beside Big-FISH: ``python benchmarks/puncta_stacks.py``.

Drawn stacks with Poisson noise: crowds, faint puncta, wide and narrow ones, and lenses whose light along z is
no Gaussian. All at default settings, but Big-FISH is told the widths; ``--bigfish PYTHON`` names an
interpreter that has it. ``not parted`` is this project without the fit of what shares a spot. The seeds are
not those that the methods were chosen on.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from common import publish, table
from puncta import BigFish
from scipy.ndimage import gaussian_filter
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree
from scipy.special import erf

from napari_tam.pipeline.models import load_models
from napari_tam.settings import Settings
from napari_tam.volume import detect
from napari_tam.volume.detect import StackDetector

SEED = 50_000
GAIN, OFFSET, READ = 2.0, 100.0, 2.0
#: Photons of background, SD of the log light, and pixel size.
LEVEL, SPREAD, UM = 10.0, 0.3, 0.1
SHAPE = (16, 200, 200)
#: Stacks of each kind.
STACKS = 2
#: Distances of the nearest neighbour (in sigma) at which recall is told.
APART = ((0, 1), (1, 2), (2, 3), (3, 4), (4, np.inf))


class Kind(NamedTuple):
    """What is drawn: how many puncta of how many photons, how wide (voxels), behind which lens."""

    count: int
    photons: float
    along: float = 1.5
    plane: float = 1.3
    lens: str = "Gaussian"
    cells: int = 0  # in so many cells ...
    glow: float = 0  # ... that glow by so many photons
    grain: float = 0  # ... which differ by so many SD from place to place
    varied: float = 0  # how much wider than points they are: log widths of half a bell of this SD


#: Widths along z of the other lenses are those of a Gaussian of about as much light in the middle plane.
KINDS = {
    "crowd, 300": Kind(300, 1500),
    "crowd, 900": Kind(900, 1500),
    "crowd, 900, bright": Kind(900, 6000),
    "crowd, 900, thin in z": Kind(900, 1500, along=0.7),
    "crowd, 300, wide": Kind(300, 6000, along=3, plane=2),
    "cells, 10 each": Kind(60, 1500, cells=6, glow=10),
    "cells, 60 each": Kind(360, 1500, cells=6, glow=10),
    "cells that glow, 10 each": Kind(60, 1500, cells=6, glow=40),
    "cells that glow, 60 each": Kind(360, 1500, cells=6, glow=40),
    "full cells, 150 each": Kind(900, 3000, cells=6, glow=20),
    "sizes differ a little, 300": Kind(300, 3000, varied=0.2),
    "sizes differ, 300": Kind(300, 3000, varied=0.4),
    "cells, 60 each, sizes differ a little": Kind(360, 1500, cells=6, glow=10, varied=0.2),
    "cells, 60 each, sizes differ": Kind(360, 1500, cells=6, glow=10, varied=0.4),
    "grained cells that glow, 30 each": Kind(180, 3000, cells=6, glow=40, grain=0.2),
    "faint": Kind(60, 400),
    "faint, fine z steps": Kind(60, 800, along=3),
    "faint, wide": Kind(60, 1500, along=3, plane=2),
    "faint, coarse pixels": Kind(60, 250, along=1, plane=0.8),
    "hourglass (wide-field), 80": Kind(80, 3000, along=2, lens="hourglass"),
    "hourglass (wide-field), 400": Kind(400, 3000, along=2, lens="hourglass"),
    "confocal, 80": Kind(80, 3000, along=2, lens="confocal"),
    "confocal, 400": Kind(400, 3000, along=2, lens="confocal"),
    "side lobes, 400": Kind(400, 3000, along=2, lens="lobes"),
    "two-sided (aberrated), 400": Kind(400, 3000, along=2, lens="aberrated"),
}


class Drawn(NamedTuple):
    """A stack (Z, Y, X), places (N, 3) and light (N,) in grey values."""

    stack: np.ndarray
    points: np.ndarray
    light: np.ndarray


Find = Callable[[np.ndarray, Kind], tuple[np.ndarray, np.ndarray]]


def step_of(kind: Kind) -> float:
    """Distance of the planes (µm) at which a usual lens gives these widths."""
    return 3 * kind.plane * UM / kind.along * 0.77


def draw(kind: Kind, seed: int) -> Drawn:
    """Draw a stack."""
    rng = np.random.default_rng(SEED + seed)
    room = np.minimum(np.array([2 * kind.along, 4 * kind.plane, 4 * kind.plane]), np.array(SHAPE) / 4)
    points = rng.uniform(room, np.array(SHAPE) - 1 - room, (kind.count, 3))
    photons = kind.photons * np.exp(rng.normal(0, SPREAD, kind.count))
    light = np.full(SHAPE, LEVEL)
    if kind.cells:
        bodies = [_body(index, rng) for index in range(kind.cells)]
        blur = (kind.along, kind.plane, kind.plane)
        glow = kind.glow * gaussian_filter(np.any(bodies, axis=0) * 1.0, blur)
        light += glow * _grained(kind.grain, rng) if kind.grain else glow
        voxels = [np.argwhere(body) for body in bodies]
        some = [v[rng.integers(len(v), size=kind.count // kind.cells)] for v in voxels]
        points = np.concatenate(some) + rng.uniform(-0.5, 0.5, (kind.count, 3))
    given = np.zeros(kind.count)
    wider = np.exp(np.abs(rng.normal(0, kind.varied, kind.count))) if kind.varied else np.ones(kind.count)
    for index, (place, strength) in enumerate(zip(points, photons, strict=True)):
        in_planes, widths = _through(_larger(kind, wider[index]), np.arange(SHAPE[0]) - place[0])
        for z, (share, width) in enumerate(zip(in_planes, widths, strict=True)):
            reach = int(5 * width) + 2
            sides = [slice(max(0, int(p) - reach), int(p) + reach + 1) for p in place[1:]]
            bells = [_bell(p, width, s, n) for p, s, n in zip(place[1:], sides, SHAPE[1:], strict=True)]
            light[z, sides[0], sides[1]] += strength * share * np.outer(*bells)
            given[index] += strength * share
    counts = rng.poisson(light) * GAIN + OFFSET + rng.normal(0, READ, SHAPE)
    return Drawn(np.clip(np.round(counts), 0, 65535).astype(np.uint16), points, given * GAIN)


def _larger(kind: Kind, wider: float) -> Kind:
    """Return a kind of puncta so many times as wide in the plane, as balls and no points."""
    extent = kind.plane**2 * (wider**2 - 1) * (UM / step_of(kind)) ** 2
    return kind._replace(plane=kind.plane * wider, along=float(np.sqrt(kind.along**2 + extent)))


def _grained(grain: float, rng: np.random.Generator) -> np.ndarray:
    """Return what the light of cells is multiplied with."""
    size = rng.uniform(1.2, 3)
    texture = gaussian_filter(rng.normal(size=SHAPE), (size, size, size))
    return np.clip(1 + grain * texture / texture.std(), 0, None)


def _body(index: int, rng: np.random.Generator) -> np.ndarray:
    """Return a flat cell, one of six."""
    middle = (7.5, 35 + 65 * (index % 3), 50 + 95 * (index // 3))
    axes = (6, *rng.uniform(18, 28, 2))
    apart = [(grid - m) / a for grid, m, a in zip(np.indices(SHAPE), middle, axes, strict=True)]
    return np.asarray(sum(a**2 for a in apart)) < 1


def _bell(centre: float, width: float, side: slice, size: int) -> np.ndarray:
    edges = (np.arange(side.start, min(side.stop, size) + 1) - 0.5 - centre) / (np.sqrt(2) * width)
    return np.diff(erf(edges)) / 2


def _through(kind: Kind, apart: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of a punctum's light in each plane, and its width there."""
    far, width = apart / kind.along, np.full(len(apart), kind.plane)
    spread = kind.plane * np.sqrt(1 + far**2)
    if kind.lens == "hourglass":  # as much light in each plane, wider and wider
        return np.full(len(apart), 1 / 6), spread
    if kind.lens == "confocal":  # the square of that
        return 1 / (1 + far**2) / 3, spread
    if kind.lens == "lobes":
        return np.sinc(far / 2) ** 2 / 5, width
    if kind.lens == "aberrated":
        below = far < 0
        bell = np.exp(-0.5 * (far / np.where(below, 1, 1.8)) ** 2) / 4
        return bell, np.where(below, kind.plane, kind.plane * (1 + 0.25 * far))
    edges = (np.append(apart, apart[-1] + 1) - 0.5) / (np.sqrt(2) * kind.along)
    return np.diff(erf(edges)) / 2, width


def matched(true: np.ndarray, found: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs within 2 sigma (of at least a voxel), each once."""
    if not len(found):
        return np.zeros(0, int), np.zeros(0, int)
    apart = np.linalg.norm((true[:, None] - found[None]) / (2 * np.maximum(scale, 1)), axis=2)
    first, second = linear_sum_assignment(np.where(apart > 1, 9, apart))
    near = apart[first, second] <= 1
    return first[near], second[near]


def ours(*, parted: bool) -> Find:
    """Return what finds them at default settings."""
    models = load_models(Settings(phenotype_model="none"))

    def find(stack: np.ndarray, kind: Kind) -> tuple[np.ndarray, np.ndarray]:
        detector = StackDetector(models.puncta, step_of(kind))
        before = detect.resolve_crowds
        if not parted:
            detect.resolve_crowds = lambda table, *_: table
        try:
            spots = detector.detect(stack, UM, Settings())
        finally:
            detect.resolve_crowds = before
        return spots[["z_px", "y_px", "x_px"]].to_numpy(float), spots["intensity"].to_numpy(float)

    return find


def big_fish(python: Path, *, dense: bool) -> Find:
    """Big-FISH, with or without its decomposition of dense regions."""
    process = BigFish(python, dense=dense)

    def find(stack: np.ndarray, kind: Kind) -> tuple[np.ndarray, np.ndarray]:
        size = (1000 * step_of(kind), 1000 * UM, 1000 * UM)
        radius = tuple(s * w for s, w in zip(size, (kind.along, kind.plane, kind.plane), strict=True))
        return process.find(stack, size, radius), np.zeros(0)

    return find


def judge(kind: Kind, find: Find) -> dict[str, float | list[float]]:
    """Find the puncta of some stacks and compare with the truth."""
    scale = np.array([kind.along, kind.plane, kind.plane])
    hits, apart, true, found, seconds, errors, light = [], [], 0, 0, [], [], []
    for seed in range(STACKS):
        drawn = draw(kind, seed)
        start = time.perf_counter()
        points, lights = find(drawn.stack, kind)
        seconds.append(time.perf_counter() - start)
        hit = np.zeros(len(drawn.points), bool)
        hit[matched(drawn.points, points, scale)[0]] = True
        scaled = drawn.points / scale
        hits.append(hit)
        apart.append(cKDTree(scaled).query(scaled, k=2)[0][:, 1])
        true, found = true + len(hit), found + len(points)
        errors.append(abs(len(points) / len(hit) - 1))
        light.append(lights.sum() / drawn.light.sum() if len(lights) else np.nan)
    hit, nearest = np.concatenate(hits), np.concatenate(apart)
    by_distance = []
    for low, high in APART:
        here = (nearest >= low) & (nearest < high)
        by_distance.append(float(hit[here].mean()) if here.sum() > 9 else float("nan"))
    return {
        "f1": 2 * hit.sum() / max(true + found, 1),
        "precision": hit.sum() / max(found, 1),
        "recall": by_distance,
        "count_error": float(np.mean(errors)),
        "light": float(np.mean(light)),
        "seconds": float(np.median(seconds)),
    }


def run(bigfish: Path | None) -> None:
    """Measure, print and keep."""
    finders: dict[str, Find] = {"napari-tam": ours(parted=True), "not parted": ours(parted=False)}
    if bigfish is not None:
        finders |= {"Big-FISH": big_fish(bigfish, dense=False)}
        finders |= {"Big-FISH, dense": big_fish(bigfish, dense=True)}
    finders["napari-tam"](draw(KINDS["crowd, 300"], 99).stack, KINDS["crowd, 300"])  # compiles
    rows, values = [], {}
    for name, kind in KINDS.items():
        values[name] = {}
        for who, find in finders.items():
            result = values[name][who] = judge(kind, find)
            recall = ["" if np.isnan(r) else f"{r:.2f}" for r in result["recall"]]
            light = "" if np.isnan(result["light"]) else f"{result['light']:.2f}"
            main = [float(result[key]) for key in ("f1", "precision", "count_error")]
            rows.append([name, who, *main, light, *recall, round(result["seconds"], 1)])
            print(*rows[-1], flush=True)
    head = ["stacks", "detector", "F1", "precision", "count error", "light"]
    head += [*(f"{low}-{high:g}" if np.isfinite(high) else f"{low}+" for low, high in APART), "s"]
    lines = [
        f"Drawn stacks of {SHAPE[0]} x {SHAPE[1]} x {SHAPE[2]} voxels, {STACKS} of each kind. A find within",
        "2 sigma (of at least a voxel) counts; light: all of it, found over true; then recall by how far off",
        "the nearest neighbour is, in sigma. Big-FISH is told the widths.",
        "",
        *table(head, rows),
    ]
    publish(Path(__file__).stem, lines, values)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bigfish", type=Path, help="a Python interpreter with Big-FISH")
    run(parser.parse_args().bigfish)
