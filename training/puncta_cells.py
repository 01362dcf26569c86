"""Drawn fields of kinds that nobody marked: crowds, puncta in cells that glow, wide ones."""

from __future__ import annotations

import cv2
import numpy as np
from puncta_scenes import (
    COLUMNS,
    IGNORED,
    Camera,
    Lens,
    between,
    fibres,
    filtered,
    merged,
    real,
    render,
    rough,
    two_populations,
)

from napari_tam.puncta.crowds.emitters import values_at
from napari_tam.puncta.spot_input import roundness

#: How often a crowd is smoothed afterwards.
FILTERED = 0.12

#: In crowds, puncta of a lower matched signal-to-noise ratio may be seen or not.
BARELY = 2.25

#: In haze they may be below the second, and are not there below the first.
FAINT, CLEAR = 4.0, 6.0

#: How often the cells of `hazy_field` are grained: their peaks belong to a continuum, and are no puncta.
GRANULAR = 0.6

#: How often a cell has a bright rim, and cells have fibres, or rods as short as mitochondria (so many, and so
#: long, in 2 px): all are uneven, and their bumps no puncta.
RIM, FIBRES = 0.3, 0.3
RODS, ROD = (10, 150), (2, 9)

#: Wide puncta have at least the first, and count for nothing below the second.
FAINT_WIDE, CLEAR_WIDE = 9.0, 12.0

#: The same for how much a punctum curves at its top, over the roundest bump of the haze within `NEAR_PX`.
HIDDEN, ROUNDER, NEAR_PX = 0.8, 1.8, 17


def crowd_field(rng: np.random.Generator, lens: Lens | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Draw puncta of one width close together, all over a field or in cells: grey values and `COLUMNS`."""
    shape = (160, 160)
    sigma = between(rng, 0.9, 2.0)
    inside = np.ones(shape, np.uint8)
    if rng.random() < 0.6:
        inside[:] = 0
        for _ in range(int(rng.integers(2, 9))):
            axes = rng.uniform(10, 36) * np.exp(rng.uniform(-0.3, 0.3, 2))
            _ellipse(inside, rng.uniform(0, shape[0], 2), axes, 0, 1)
    base = between(rng, 3, 60)
    light = np.full(shape, base, np.float32)
    if rng.random() < 0.7:
        glow = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), rng.uniform(1.5, 8))
        light += base * rng.uniform(0.2, 3) * glow
    if rng.random() < 0.3:
        light += base * rng.uniform(0.1, 0.8) * np.abs(rough(shape, rng))
    places = np.argwhere(inside)
    count = max(1, int(len(places) * between(rng, 0.002, 0.022)))
    points = _beside(places[rng.integers(len(places), size=count)], rng)
    photons = between(rng, 250, 4000) * np.exp(rng.normal(0, rng.uniform(0.05, 0.5), count))
    height = (photons * two_populations(count, rng) / (2 * np.pi * sigma**2)).astype(np.float32)
    spots = merged(_table(points, sigma), height)
    faint = _matched(height, light, points, sigma) < BARELY
    spots[:, 3] = np.where((spots[:, 3] < 0) | faint, IGNORED, 0)
    light += render(shape, spots, height, rng, rings=False)
    if lens is not None:
        (light,), spots = lens.draw_out([light], spots)
    noise = rng.normal(0, rng.uniform(0.5, 3), shape)
    image = between(rng, 0.5, 8) * (rng.poisson(light) + noise) + 100
    if rng.random() < FILTERED:
        image, spots = filtered(image.astype(np.float32), spots, rng)
    return np.clip(image, 0, 65535).round().astype(np.float32), spots


def hazy_field(
    rng: np.random.Generator, textures: list[np.ndarray], lens: Lens | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Draw puncta in cells that glow by themselves, with edges sharp or soft; as `crowd_field`.

    What stands out in the cell is a punctum though the cell's edge is steeper; of the haze only round bumps
    can be taken for one.
    """
    edge = int(rng.choice([144, 160, 192]))
    shape = (edge, edge)
    sigma = between(rng, 0.9, 2.3)
    base, haze = between(rng, 3, 40), between(rng, 5, rng.choice([60, 600]))
    crowded = rng.random() < 0.3
    if rng.random() < 0.5:
        body = bodies(shape, rng, grained=not crowded)
    else:
        body = real(shape, rng, textures)
        if rng.random() < 0.4:
            body = cv2.GaussianBlur(body, (0, 0), rng.uniform(1, 4))
    if rng.random() < FIBRES:
        body = with_lines(body, rng, 1.5)
    light = base + haze * (body + rng.uniform(0, 0.5) * cv2.GaussianBlur(body, (0, 0), 10))
    light = light.astype(np.float32)
    inside = np.argwhere(body >= 0.25 * body.max())
    if crowded:
        count = int(len(inside) * between(rng, 0.005, 0.03))
    else:
        count = 0 if rng.random() < 0.25 else int(between(rng, 4, 120))
    within = inside[rng.integers(len(inside), size=count)]
    points = np.where(rng.random((count, 1)) < 0.85, within, rng.uniform(0, edge, (count, 2)))
    points = _beside(points, rng)
    # from hardly visible to very clear, or all of them rather faint
    ratio = np.exp(rng.uniform(np.log(3.5), np.log(rng.choice([15, 45])), count))
    height = (ratio / _matched(np.ones(count, np.float32), light, points, sigma)).astype(np.float32)
    spots = merged(_table(points, sigma), height)
    bumps = cv2.dilate(roundness(light, sigma), np.ones((NEAR_PX, NEAR_PX), np.uint8))
    over = height / (4 * sigma**2) / np.maximum(values_at(bumps, points), 1e-6)
    spots[:, 3] = np.where((spots[:, 3] < 0) | (ratio < CLEAR) | (over < ROUNDER), IGNORED, 0)
    light += render(shape, spots, height, rng, rings=False)
    if lens is not None:
        (light,), spots = lens.draw_out([light], spots)
    image = Camera.draw(rng, light).photograph(light, rng)
    return image, spots[(ratio > FAINT) & (over > HIDDEN)]


def wide_field(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw wide puncta, faint ones too, on an even background, a slope or in cells; as `crowd_field`."""
    edge, sigma, base = 192, rng.uniform(2.8, 8.5), between(rng, 10, 300)
    count = int(between(rng, 2, max(3.0, 0.6 * (edge / (5 * sigma)) ** 2)))
    points = rng.uniform(-2, edge + 2, (count, 2))
    ratio = np.exp(rng.uniform(np.log(FAINT_WIDE), np.log(rng.choice([25, 90])), count))
    light = np.full((edge, edge), base, np.float32)
    if rng.random() < 0.3:
        light *= np.linspace(1, rng.uniform(1, 2), edge, dtype=np.float32)
    if rng.random() < 0.35:
        light += base * between(rng, 0.3, 20) * _discs((edge, edge), sigma, rng)
    height = (ratio / _matched(np.ones(count, np.float32), light, points, sigma)).astype(np.float32)
    spots = _table(points, sigma)
    spots[:, 2] *= np.exp(rng.normal(0, 0.06, count))
    spots = merged(spots, height)
    spots[:, 3] = np.where((spots[:, 3] < 0) | (ratio < CLEAR_WIDE), IGNORED, 0)
    light += render((edge, edge), spots, height, rng)
    return Camera.draw(rng, light).photograph(light, rng), spots


def _discs(shape: tuple[int, int], sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Draw even cells, several times as wide as a punctum and with edges as soft."""
    body = np.zeros(shape, np.float32)
    for _ in range(int(rng.integers(1, 4))):
        axes = sigma * rng.uniform(5, 14) * np.exp(rng.uniform(-0.3, 0.3, 2))
        _ellipse(body, rng.uniform(0, shape[0], 2), axes, float(rng.uniform(0, 180)), rng.uniform(0.4, 1))
    return cv2.GaussianBlur(body, (0, 0), sigma * rng.uniform(0.4, 1.2))


def granular(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Draw what a cell's light is multiplied with where it is grained, or a net of ridges: 1 on average."""
    grain = rough(shape, rng) if rng.random() < 0.3 else rng.standard_normal(shape, dtype=np.float32)
    grain = cv2.GaussianBlur(grain, (0, 0), between(rng, 0.8, 3.5))
    grain = (grain - grain.mean()) / max(float(grain.std()), 1e-6)
    if rng.random() < 0.3:  # ridges between holes
        grain = 1.3 - 2 * np.minimum(np.abs(grain), 1.3)
    grain = np.exp(between(rng, 0.08, 0.6) * grain)
    return (grain / grain.mean()).astype(np.float32)


def bodies(shape: tuple[int, int], rng: np.random.Generator, *, grained: bool) -> np.ndarray:
    """Cells with nuclei darker or brighter than they are, smooth texture and rims; some are `granular`."""
    body, rims = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    rugged = rough(shape, rng) if rng.random() < 0.2 else None
    for _ in range(int(rng.integers(1, 12))):
        centre, axes = rng.uniform(0, shape[0], 2), rng.uniform(7, 45, 2)
        tilt, level = float(rng.uniform(0, 180)), float(rng.uniform(0.2, 1))
        one = np.zeros(shape, np.float32)
        _ellipse(one, centre, axes, tilt, level)
        if rng.random() < RIM:
            _ellipse(rims, centre, axes, tilt, level * rng.uniform(0.3, 2), int(rng.integers(1, 5)))
        if rng.random() < 0.4:
            nucleus = level * float(rng.uniform(0.3, 1.5))
            _ellipse(
                one, centre + rng.uniform(-0.3, 0.3, 2) * axes, axes * rng.uniform(0.3, 0.5), tilt, nucleus
            )
        body = np.maximum(body, one) if rng.random() < 0.7 else body + one
    texture = cv2.GaussianBlur(rng.standard_normal(shape, dtype=np.float32), (0, 0), rng.uniform(4, 14))
    body *= np.clip(1 + rng.uniform(0, 0.5) * texture / texture.std(), 0.1, None)
    body += rims * _uneven(shape, rng)
    body = cv2.GaussianBlur(body, (0, 0), between(rng, 0.7, 4))
    if grained and rng.random() < GRANULAR:
        body *= granular(shape, rng)
    return body if rugged is None else body * np.clip(0.6 + 0.4 * rugged, 0, 3)


def with_lines(body: np.ndarray, rng: np.random.Generator, brightest: float) -> np.ndarray:
    """Draw fibres or rods over cells, at most so bright."""
    shape = (body.shape[0], body.shape[1])
    lines = fibres(shape, rng) if rng.random() < 0.4 else fibres(shape, rng, RODS, ROD)
    return body + between(rng, 0.2, brightest) * lines * _uneven(shape, rng)


def _uneven(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Draw what rims and fibres are multiplied with: smooth, from level to one with clear bumps."""
    bumps = cv2.GaussianBlur(rng.standard_normal(shape, dtype=np.float32), (0, 0), between(rng, 1.5, 8))
    return np.exp(rng.uniform(0, 0.7) * bumps / max(float(bumps.std()), 1e-6)).astype(np.float32)


def _ellipse(
    canvas: np.ndarray, centre: np.ndarray, axes: np.ndarray, tilt: float, level: float, line: int = -1
) -> None:
    """Fill an ellipse with a value, or draw its rim with a line so wide (px)."""
    middle, half = (tuple(int(v) for v in pair) for pair in (centre, axes))
    cv2.ellipse(canvas, middle, tuple(max(2, v) for v in half), tilt, 0, 360, level, line)


def _beside(places: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Move points by up to half a pixel."""
    return places + rng.uniform(-0.5, 0.5, places.shape)


def _table(points: np.ndarray, sigma: float) -> np.ndarray:
    """Puncta (`COLUMNS`) of one width."""
    spots = np.zeros((len(points), len(COLUMNS)), np.float32)
    spots[:, :2], spots[:, 2] = points, sigma
    return spots


def _matched(height: np.ndarray, light: np.ndarray, points: np.ndarray, sigma: float) -> np.ndarray:
    """Signal-to-noise ratio of puncta by a filter of their shape: shot noise, two photons of read noise."""
    return height * np.sqrt(np.pi) * sigma / np.sqrt(values_at(light, points) + 4)
