"""Puncta in drawn images of many kinds: ``python benchmarks/puncta_kinds.py ../shared [--bigfish PYTHON]``.

Every row of the table is one thing that detectors, programs or cells do to images of puncta, drawn three
times with known places: false + missed ones of all detectors at default settings. What failed here became
part of what the network is trained on, drawn in other ways
(``training/puncta_fields.py``, ``puncta_cells.py``).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from common import publish, table
from puncta import OURS, arguments, finders
from skimage import restoration

from napari_tam.evaluate.matching import match_points

if TYPE_CHECKING:
    from collections.abc import Callable

EDGE, SEEDS, RADIUS_PX = 256, 3, 3.0
NONE = np.zeros((0, 2))


class Draw:
    """One image in the making: places of puncta, their photons, and smooth cells behind them."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng([99, seed])
        self.points, self.photons = self.places(40, 6, (400, 2000))
        self.haze = 10 + self.cells(20)

    def places(
        self, count: int, apart: float, photons: tuple[float, float], margin: float = 6
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw places that are `apart` from each other, and their photons."""
        points: list[np.ndarray] = []
        while len(points) < count:
            new = self.rng.uniform(margin, EDGE - margin, 2)
            if all(np.hypot(*(new - old)) > apart for old in points):
                points.append(new)
        return np.array(points), np.exp(self.rng.uniform(*np.log(photons), count))

    def cells(self, height: float, count: int = 4, soft: float = 3) -> np.ndarray:
        """Draw smooth cells."""
        body = np.zeros((EDGE, EDGE), np.float32)
        for _ in range(count):
            middle, axes = self.rng.integers(30, EDGE - 30, 2), self.rng.integers(20, 45, 2)
            one = np.zeros_like(body)
            turn, level = float(self.rng.uniform(0, 180)), float(self.rng.uniform(0.4, 1))
            cv2.ellipse(one, middle.tolist(), axes.tolist(), turn, 0, 360, level, -1)
            body = np.maximum(body, one)
        return height * cv2.GaussianBlur(body, (0, 0), soft)

    def grain(self, width: float) -> np.ndarray:
        """Draw smooth noise of SD 1."""
        noise = cv2.GaussianBlur(self.rng.standard_normal((EDGE, EDGE)), (0, 0), width)
        return noise / noise.std()

    def spots(
        self, points: np.ndarray | None = None, photons: np.ndarray | None = None, sigma: float = 1.4
    ) -> np.ndarray:
        """Draw the light of puncta, those of the image if no others are given."""
        points = self.points if points is None else points
        photons = self.photons if photons is None else photons
        y, x = np.mgrid[:EDGE, :EDGE]
        light = np.zeros((EDGE, EDGE))
        for (row, column), amount in zip(points, photons, strict=True):
            squared = (y - row) ** 2 + (x - column) ** 2
            light += amount / (2 * np.pi * sigma**2) * np.exp(-0.5 * squared / sigma**2)
        return light

    def camera(self, light: np.ndarray, offset: float = 100) -> np.ndarray:
        """Take a picture: shot noise, two photons of read noise, two grey values a photon."""
        return 2 * (self.rng.poisson(light) + self.rng.normal(0, 2, light.shape)) + offset

    def plain(self) -> np.ndarray:
        """Take a picture of puncta and cells."""
        return self.camera(self.haze + self.spots())


Kind = tuple[np.ndarray, np.ndarray]


def _same(change: Callable[[Draw, np.ndarray], np.ndarray]) -> Callable[[Draw], Kind]:
    """Return a kind that changes the plain picture."""
    return lambda draw: (change(draw, draw.plain()), draw.points)


def _behind(light: Callable[[Draw], np.ndarray], times: float = 0) -> Callable[[Draw], Kind]:
    """Return a kind with something else behind the puncta, which have `times` their light (0: no puncta)."""

    def kind(draw: Draw) -> Kind:
        puncta = draw.spots(photons=times * draw.photons) if times else 0
        return draw.camera(light(draw) + puncta), draw.points if times else NONE

    return kind


def _jpeg(draw: Draw, image: np.ndarray) -> np.ndarray:
    grey = np.clip((image - 90) / (image.max() - 90) * 255, 0, 255).astype(np.uint8)
    return cv2.imdecode(cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], 0)


def _deconvolved(draw: Draw, image: np.ndarray) -> np.ndarray:
    bell = cv2.getGaussianKernel(13, 1.4)
    light = np.maximum(image - 90, 1) / image.max()
    return 4000 * restoration.richardson_lucy(light, bell @ bell.T, 12, clip=False)


def _background_removed(draw: Draw, image: np.ndarray) -> np.ndarray:
    level = cv2.GaussianBlur(image, (0, 0), 10)
    return np.maximum(image - level - draw.rng.uniform(5, 15), 0)


def _black_level(draw: Draw, image: np.ndarray) -> np.ndarray:
    return np.maximum(image - np.percentile(image, draw.rng.uniform(50, 97)), 0)


def _lines(draw: Draw, image: np.ndarray) -> np.ndarray:
    image[:, draw.rng.integers(0, EDGE, 3)] += 120
    return image


def _salt(draw: Draw, image: np.ndarray) -> np.ndarray:
    hot = draw.rng.random(image.shape) < 0.003
    image[hot] += draw.rng.uniform(50, 400, hot.sum())
    return image


def _em_gain(draw: Draw, light: np.ndarray) -> np.ndarray:
    electrons = draw.rng.poisson(light / 5 + 0.02)
    gained = np.where(electrons > 0, draw.rng.gamma(np.maximum(electrons, 1e-3)), 0)
    return 60 * gained + draw.rng.normal(200, 8, light.shape)


def _fibres(draw: Draw, width: float = 1.4) -> np.ndarray:
    canvas = np.zeros((EDGE, EDGE), np.float32)
    for _ in range(40):
        turn = draw.rng.uniform(0, 2 * np.pi) + draw.rng.normal(0, 0.03) * np.arange(60)
        path = draw.rng.uniform(0, EDGE, 2) + 2 * np.cumsum(np.stack([np.cos(turn), np.sin(turn)], 1), 0)
        line, bright = np.zeros_like(canvas), float(draw.rng.uniform(0.3, 1))
        cv2.polylines(line, [np.round(16 * path).astype(np.int32)], False, bright, 1, cv2.LINE_AA, 4)
        canvas = np.maximum(canvas, line)
    canvas = cv2.GaussianBlur(canvas, (0, 0), width)
    return canvas / canvas.max()


def _membranes(draw: Draw) -> np.ndarray:
    canvas = np.zeros((EDGE, EDGE), np.float32)
    for _ in range(8):
        middle, axes = draw.rng.integers(0, EDGE, 2), draw.rng.integers(18, 40, 2)
        turn = float(draw.rng.uniform(0, 180))
        cv2.ellipse(canvas, middle.tolist(), axes.tolist(), turn, 0, 360, 1.0, 1, cv2.LINE_AA)
    return cv2.GaussianBlur(canvas, (0, 0), 1.3)


def _grained(draw: Draw, much: float, level: float = 80) -> np.ndarray:
    return 5 + level * draw.cells(1) * np.exp(much * draw.grain(1.7))


def _net(draw: Draw) -> np.ndarray:
    return 5 + 80 * draw.cells(1) * (1.4 - np.minimum(np.abs(draw.grain(2.2)), 1.2) / 1.2)


def _blobs(draw: Draw) -> np.ndarray:
    points, _ = draw.places(15, 25, (1, 2), 20)
    return draw.haze + draw.spots(points, np.full(15, 3e4), 9)


def _drawn_out(draw: Draw, count: int, apart: float) -> Kind:
    """Draw puncta twice as long as wide, as an astigmatic lens or a drift does."""
    points, photons = draw.places(count, apart, (600, 2000))
    angle = draw.rng.uniform(0, np.pi)
    y, x = np.mgrid[:EDGE, :EDGE]
    light = np.zeros((EDGE, EDGE))
    for (row, column), amount in zip(points, photons, strict=True):
        along = (y - row) * np.sin(angle) + (x - column) * np.cos(angle)
        across = (y - row) * np.cos(angle) - (x - column) * np.sin(angle)
        light += amount / (2 * np.pi * 2.4 * 1.2) * np.exp(-0.5 * ((along / 2.4) ** 2 + (across / 1.2) ** 2))
    return draw.camera(draw.haze + light), points


def _other(
    count: int, apart: float, photons: tuple[float, float], sigma: float = 1.4
) -> Callable[[Draw], Kind]:
    """Return a kind with other puncta."""

    def kind(draw: Draw) -> Kind:
        points, amount = draw.places(count, apart, photons, 4 * sigma)
        return draw.camera(draw.haze + draw.spots(points, amount, sigma)), points

    return kind


def _corner(draw: Draw) -> Kind:
    crowd = draw.rng.uniform(10, 60, (60, 2))
    away = (draw.points > 80).any(axis=1)
    points = np.concatenate([crowd, draw.points[away]])
    photons = np.concatenate([np.full(60, 1200.0), draw.photons[away]])
    return draw.camera(draw.haze + draw.spots(points, photons)), points


def _padded(draw: Draw) -> Kind:
    image = draw.plain()
    image[:60], image[:, :40] = 0, 0
    return image, draw.points[(draw.points > (62, 42)).all(axis=1)]


KINDS: dict[str, Callable[[Draw], Kind]] = {
    "plain": lambda draw: (draw.plain(), draw.points),
    "no puncta": _behind(lambda draw: draw.haze),
    # detectors
    "photons counted": lambda d: (d.rng.poisson(0.05 + d.haze / 40 + d.spots(photons=0.05 * d.photons + 15)),
                                  d.points),
    "photons counted, no puncta": lambda d: (d.rng.poisson(d.rng.uniform(0.05, 0.5), (EDGE, EDGE)), NONE),
    "EM gain": lambda d: (_em_gain(d, d.haze + d.spots()), d.points),
    "EM gain, no puncta": lambda d: (_em_gain(d, d.haze), NONE),
    "black level too high": _same(_black_level),
    "black level too high, no puncta": lambda d: (_black_level(d, d.camera(d.haze)), NONE),
    "saturated": _same(lambda _, image: np.minimum(image, np.percentile(image, 99.5))),
    "stripes": _same(lambda draw, image: image + draw.rng.normal(0, 8, (EDGE, 1))),
    "bright lines": _same(_lines),
    "hot pixels": _same(_salt),
    "gain differs by 8 %": _same(lambda draw, image: image * draw.rng.normal(1, 0.08, image.shape)),
    # programs
    "background removed": _same(_background_removed),
    "16 grey values": _same(lambda _, image: np.round(15 * (image - image.min()) / np.ptp(image))),
    "JPEG 40": _same(_jpeg),
    "deconvolved": _same(_deconvolved),
    "median of 3 x 3": _same(lambda _, image: cv2.medianBlur(image.astype(np.float32), 3)),
    "non-local means": _same(lambda _, image: restoration.denoise_nl_means(image, h=12, sigma=12)),
    "blurred, 2 px": _same(lambda _, image: cv2.GaussianBlur(image, (0, 0), 2)),
    "brightest of 8 planes": lambda d: (
        np.max([d.camera(d.haze + w * d.spots()) for w in (0.05, 0.3, 1, 0.3, *[0.05] * 4)], axis=0),
        d.points,
    ),
    "black border": _padded,
    # what is behind
    "grained cells, 12 %": _behind(lambda draw: _grained(draw, 0.12)),
    "grained cells, 30 %": _behind(lambda draw: _grained(draw, 0.3)),
    "grained cells, 30 %, and puncta": _behind(lambda draw: _grained(draw, 0.3, 40), 4),
    "a net of ridges": _behind(_net),
    "fibres": _behind(lambda draw: draw.haze + 80 * _fibres(draw)),
    "thin fibres and puncta": _behind(lambda draw: draw.haze + 40 * _fibres(draw, 1.0), 2),
    "membranes and puncta": _behind(lambda draw: draw.haze + 150 * _membranes(draw), 1.5),
    "bright nuclei": _behind(lambda draw: draw.haze + draw.cells(300)),
    "bright nuclei and puncta": _behind(lambda draw: draw.haze + draw.cells(300), 3),
    "cells with sharp edges": _behind(lambda draw: 5 + draw.cells(200, 6, 0.8)),
    "blobs out of focus": _behind(_blobs, 2),
    # puncta
    "narrow, 0.7 px": _other(40, 6, (400, 2000), 0.7),
    "wide, 4 px": _other(20, 24, (6000, 20000), 4.0),
    "drawn out 2 : 1": lambda draw: _drawn_out(draw, 60, 12),
    "drawn out 2 : 1, many": lambda draw: _drawn_out(draw, 200, 5),
    "100 times as bright": _other(40, 10, (300, 30000)),
    "many, 27 times as bright": _other(200, 4, (150, 4000)),
    "a crowd in a corner": _corner,
}  # fmt: skip


def run(data: Path, bigfish: Path | None) -> None:
    """Measure, print and keep."""
    found = finders(data, bigfish)
    found.pop("with average_flips")
    rows, values = [], {name: dict[str, list[int]]() for name in found}
    totals = {name: [0, 0] for name in found}
    for kind, make in KINDS.items():
        drawn = [make(Draw(seed)) for seed in range(SEEDS)]
        row: list[object] = [kind, sum(len(points) for _, points in drawn)]
        for name, find in found.items():
            false = missed = 0
            for pixels, points in drawn:
                image = np.clip(np.round(pixels.astype(float)), 0, 65535).astype(np.uint16)
                places = find(image, 0.1)
                hits = len(match_points(points, places, RADIUS_PX))
                false, missed = false + len(places) - hits, missed + len(points) - hits
            values[name][kind] = [false, missed]
            totals[name][0] += false
            totals[name][1] += missed
            row.append(f"{false}+{missed}")
        rows.append(row)
    rows.append(["all", sum(int(str(row[1])) for row in rows), *(f"{f}+{m}" for f, m in totals.values())])
    names = [name if name != OURS else "this" for name in found]
    lines = [f"False + missed in {SEEDS} images of {EDGE}² px of each kind; a find within 3 px counts.", ""]
    publish(Path(__file__).stem, lines + table(["kind", "puncta", *names], rows), values)


if __name__ == "__main__":
    given = arguments(__doc__).parse_args()
    run(given.data, given.bigfish)
