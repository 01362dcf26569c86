"""Brightness, width and signal-to-noise of puncta, all at once.

Intensity is Σ(I − median of the local annulus) over an aperture of 3 sigma, after the modelled
light of neighbouring puncta was taken away, so that crowded puncta are not counted twice.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]

#: Full width at half maximum of a Gaussian, over its sigma.
FWHM = 2 * float(np.sqrt(2 * np.log(2)))


class Patches:
    """Square windows of an image around points, with the distance of each pixel to its point."""

    def __init__(self, image: Float, points: Points, radius: int) -> None:
        padded = cv2.copyMakeBorder(image, radius, radius, radius, radius, cv2.BORDER_REFLECT)
        corner = np.round(points).astype(np.intp)
        corner = np.clip(corner, 0, np.array(image.shape) - 1)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * radius + 1, 2 * radius + 1))
        self.pixels = windows[corner[:, 0], corner[:, 1]].reshape(len(points), -1)
        self.corner = corner
        offset = np.arange(-radius, radius + 1, dtype=np.float32)
        shift = (points - corner).astype(np.float32)
        self._y = np.repeat(offset, 2 * radius + 1)[None, :]
        self._x = np.tile(offset, 2 * radius + 1)[None, :]
        self.move(shift)

    def move(self, shift: Float) -> None:
        """Set the points' sub-pixel offsets (n×2) from the windows' middle pixels."""
        self.shift = shift
        self.dy = self._y - shift[:, :1]
        self.dx = self._x - shift[:, 1:]
        self.squared = self.dy**2 + self.dx**2

    @property
    def points(self) -> Points:
        """Positions in the image."""
        return np.asarray(self.corner + self.shift.astype(np.float64))


def background(
    patches: Patches, inner: float | Float, outer: float | Float, others: Float | None = None
) -> tuple[Float, Float]:
    """Median and SD (from the median absolute deviation) of the annulus around each point.

    `others` is the light of neighbours to take away first.
    """
    pixels = patches.pixels if others is None else patches.pixels - others
    ring = np.where(
        (patches.squared >= inner**2) & (patches.squared <= outer**2), pixels, np.float32(np.nan)
    )
    # Sort once: medians of a row with NaN at its end are a look-up.
    ring.sort(axis=1)
    level = _sorted_median(ring)
    spread = np.abs(ring - level[:, None])
    spread.sort(axis=1)
    return level, _sorted_median(spread) * np.float32(1.4826)


def _sorted_median(rows: Float) -> Float:
    count = rows.shape[1] - np.isnan(rows).sum(axis=1)
    count = np.maximum(count, 1)
    index = np.arange(len(rows))
    return np.asarray((rows[index, (count - 1) // 2] + rows[index, count // 2]) / 2, np.float32)


def gaussian_widths(
    patches: Patches, level: Float, start: Float, low: Float, high: Float, *, rounds: int = 4
) -> Float:
    """Refine positions and return sigma (px) of each punctum by Gaussian-weighted moments.

    With a Gaussian weight of width w, a Gaussian of width s has the weighted variance
    s²w²/(s² + w²); solved for s and repeated with w = s (adaptive moments; Bernstein & Jarvis 2002).
    Sigma starts at `start` and stays between `low` and `high`.
    """
    sigma = start.copy()
    signal = patches.pixels - level[:, None]
    for _ in range(rounds):
        weight = np.exp(-0.5 * patches.squared / sigma[:, None] ** 2) * signal
        total = weight.sum(axis=1)
        # Where noise outweighs the light there is no centroid to speak of.
        good = total > 0.3 * np.abs(weight).sum(axis=1)
        safe = np.where(good, total, 1)
        # The weight pulls the centroid half-way back, hence the factor 2.
        step_y = np.where(good, 2 * (weight * patches.dy).sum(axis=1) / safe, 0)
        step_x = np.where(good, 2 * (weight * patches.dx).sum(axis=1) / safe, 0)
        moment = np.where(good, (weight * patches.squared).sum(axis=1) / safe / 2, sigma**2 / 2)
        step = np.clip(np.stack([step_y, step_x], axis=1), -0.4, 0.4).astype(np.float32)
        patches.move(np.clip(patches.shift + step, -1.2, 1.2))
        solved = moment * sigma**2 / np.maximum(sigma**2 - moment, 0.15 * sigma**2)
        sigma = np.clip(np.sqrt(np.maximum(solved, 0.16)), sigma / 1.5, sigma * 1.5)
        sigma = np.clip(sigma, low, high).astype(np.float32)
    return sigma


@dataclass(frozen=True)
class Neighbours:
    """Pairs of puncta whose light overlaps, both ways round, sorted by `target`."""

    target: npt.NDArray[np.intp]
    source: npt.NDArray[np.intp]

    @classmethod
    def find(cls, points: Points, sigma: Float) -> Neighbours:
        """Find the puncta within 3.5 sigma of each other (both widths added)."""
        from scipy.spatial import cKDTree

        reach = 3.5 * sigma.astype(np.float64)
        pairs = cKDTree(points).query_pairs(2 * float(reach.max()), output_type="ndarray")
        first, second = pairs[:, 0], pairs[:, 1]
        gap = np.hypot(*(points[first] - points[second]).T)
        first, second = first[gap < (reach[first] + reach[second])], second[gap < (reach[first] + reach[second])]
        target, source = np.concatenate([first, second]), np.concatenate([second, first])
        order = np.argsort(target, kind="stable")
        return cls(target[order], source[order])


def fit_peaks(
    patches: Patches, level: Float, sigma: Float, near: Neighbours, *, rounds: int = 60
) -> Float:
    """Fit the peak of every punctum together with its neighbours: least squares, none below zero.

    Each punctum is a Gaussian of known place and width; the normal equations hold overlap
    integrals in closed form and are solved by scaled gradient steps cut off at zero.
    """
    from scipy.sparse import csr_matrix

    points, count = patches.points, len(sigma)
    together = sigma[near.target] ** 2 + sigma[near.source] ** 2
    gap = ((points[near.target] - points[near.source]) ** 2).sum(axis=1)
    cross = 2 * np.pi * (sigma[near.target] * sigma[near.source]) ** 2 / together * np.exp(-0.5 * gap / together)
    index = np.arange(count)
    matrix = csr_matrix(
        (
            np.concatenate([np.pi * sigma**2, cross]),
            (np.concatenate([index, near.target]), np.concatenate([index, near.source])),
        ),
        shape=(count, count),
    )
    shape = np.exp(-0.5 * patches.squared / sigma[:, None] ** 2)
    # A patch may hold part of a wide punctum only; its own overlap integral then does too.
    part = (shape**2).sum(axis=1) / (np.pi * sigma**2)
    wanted = (shape * (patches.pixels - level[:, None])).sum(axis=1) / np.minimum(part, 1)
    step = 1 / np.asarray(matrix.sum(axis=1)).ravel()
    peaks = np.maximum(wanted / (np.pi * sigma**2), 0)
    for _ in range(rounds if len(near.target) else 0):
        peaks = np.maximum(peaks - step * (matrix @ peaks - wanted), 0)
    return np.asarray(peaks, np.float32)


def light_of_others(
    patches: Patches, points: Points, peaks: Float, sigma: Float, near: Neighbours, rows: npt.NDArray[np.intp]
) -> Float:
    """Summed light of the other puncta in each patch; `rows` are the patches' numbers among all."""
    others = np.zeros_like(patches.pixels)
    place = np.full(len(points), -1)
    place[rows] = np.arange(len(rows))
    keep = (place[near.target] >= 0) & (peaks[near.source] > 0)
    target, source = near.target[keep], near.source[keep]
    if not len(target):
        return others
    row = place[target]
    shift = (points[target] - points[source]).astype(np.float32)
    dy = patches.dy[row] + shift[:, :1]
    dx = patches.dx[row] + shift[:, 1:]
    light = peaks[source][:, None] * np.exp(-0.5 * (dy**2 + dx**2) / sigma[source][:, None] ** 2)
    starts = np.flatnonzero(np.diff(row, prepend=-1))
    others[row[starts]] = np.add.reduceat(light, starts, axis=0)
    return others


@dataclass(frozen=True)
class Photometry:
    """What was measured of N puncta; arrays of length N, pixels and grey values as units."""

    points: Points
    intensity: Float
    peak: Float
    level: Float
    noise: Float
    sigma: Float


#: Sigma of a punctum among others stays within these factors of the typical one.
CROWDED = (0.75, 1.35)
#: Sigma of a punctum that stands alone may be up to this many times the typical one (an aggregate).
WIDEST = 4.0


def measure(pixels: Float, points: Points, typical: float) -> Photometry:
    """Measure puncta: place, intensity, peak, local background, noise and width.

    Parameters
    ----------
    pixels
        (Y, X) the exosome channel.
    points
        (N, 2) rough positions, within about a pixel.
    typical
        Sigma of a single punctum, in pixels.
    """
    inner = 3 * typical + 0.5
    patches = Patches(pixels, points, int(np.ceil(3 * typical)) + 3)
    everyone = np.arange(len(points))
    sigma = np.full(len(points), typical, np.float32)
    near = Neighbours.find(patches.points, sigma)
    level, noise = background(patches, inner, inner + 2.5)
    others = np.zeros_like(patches.pixels)
    # Crowds first look like haze: the fit and the background settle together.
    for _ in range(2 if len(near.target) else 1):
        peak = fit_peaks(patches, level, sigma, near)
        others = light_of_others(patches, patches.points, peak, sigma, near, everyone)
        level, noise = background(patches, inner, inner + 2.5, others)
    crowded = np.zeros(len(points), bool)
    rival = peak[near.source] > 0.25 * peak[near.target]
    crowded[near.target[rival]] = True
    raw = patches.pixels
    patches.pixels = raw - others
    clear = peak > 4 * noise  # only a clear punctum tells its own width
    low = np.where(clear, CROWDED[0], 1.0).astype(np.float32) * np.float32(typical)
    high = np.where(clear, np.where(crowded, CROWDED[1], WIDEST), 1.0).astype(np.float32) * np.float32(typical)
    sigma = gaussian_widths(patches, level, sigma, low, high)
    patches.pixels = raw
    places = patches.points
    near = Neighbours.find(places, sigma)
    peak = fit_peaks(patches, level, sigma, near)
    others = light_of_others(patches, places, peak, sigma, near, everyone)
    level, noise = background(patches, inner, inner + 2.5, others)
    aperture = patches.squared <= (3 * typical) ** 2
    intensity = ((raw - others - level[:, None]) * aperture).sum(axis=1)
    wide = np.flatnonzero(sigma > CROWDED[1] * typical)
    if len(wide):
        # Aggregates reach beyond the common window: measured again in a larger one.
        big = Patches(pixels, places[wide], int(np.ceil(3 * WIDEST * typical)) + 3)
        reach = 3 * sigma[wide] + 0.5
        around = light_of_others(big, places, peak, sigma, near, wide)
        level[wide], noise[wide] = background(big, reach[:, None], reach[:, None] + 2.5, around)
        inside = big.squared <= reach[:, None] ** 2
        intensity[wide] = ((big.pixels - around - level[wide, None]) * inside).sum(axis=1)
    return Photometry(places, intensity.astype(np.float32), peak, level, noise, sigma)
