"""Brightness, width and signal-to-noise of puncta, all at once.

Intensity is Σ(I − median of the local annulus) over an aperture of 3 sigma, after the modelled
light of neighbouring puncta was taken away, so that crowded puncta are not counted twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_tam.puncta.patch_loops import add_bells, bell_sums, light_of_others, sums_within
from napari_tam.puncta.patches import (
    Float,
    Index,
    Patches,
    Points,
    background,
    gaussian_widths,
    in_parts,
    tilted,
)

#: What has less than this share of a neighbour's height, within so many of that one's sigma, is its flank; so
#: near to it that there is no dip between them, also with more.
DOUBLE_SHARE, DOUBLE_SIGMA = 0.05, 2.5
NEARER_SHARE, NEARER_SIGMA = 0.25, 1.5

#: A clear punctum has so many times the noise of a pixel.
CLEAR = 4.0


def overlapping_pairs(points: Points, sigma: Float) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Find the pairs of puncta whose light overlaps by more than 1 %; each pair once."""
    from scipy.spatial import cKDTree

    variance = sigma.astype(np.float64) ** 2
    pairs = cKDTree(points).query_pairs(3 * float(np.sqrt(2 * variance.max())), output_type="ndarray")
    first, second = pairs[:, 0], pairs[:, 1]
    squared = ((points[first] - points[second]) ** 2).sum(axis=1)
    close = squared < 9 * (variance[first] + variance[second])
    return first[close], second[close]


def fit_peaks(patches: Patches, level: Float, sigma: Float, *, rounds: int = 60) -> Float:
    """Fit the peak of every punctum together with its neighbours by non-negative least squares.

    Each punctum is a Gaussian of known place and width; the normal equations hold overlap
    integrals in closed form and are solved by scaled gradient steps, projected onto values of at least 0.
    """
    from scipy.sparse import csr_matrix

    points, count = patches.points, len(sigma)
    first, second = overlapping_pairs(points, sigma)
    together = sigma[first] ** 2 + sigma[second] ** 2
    squared = ((points[first] - points[second]) ** 2).sum(axis=1)
    cross = 2 * np.pi * (sigma[first] * sigma[second]) ** 2 / together * np.exp(-0.5 * squared / together)
    index = np.arange(count)
    matrix = csr_matrix(
        (
            np.concatenate([np.pi * sigma**2, cross, cross]),
            (np.concatenate([index, first, second]), np.concatenate([index, second, first])),
        ),
        shape=(count, count),
    )
    sums = np.empty((count, 2))
    in_parts(bell_sums, sums, patches.pixels, level, patches.shift, sigma)
    # A patch may hold part of a wide punctum only; its own overlap integral then does too.
    wanted = sums[:, 1] / np.minimum(sums[:, 0] / (np.pi * sigma**2), 1)
    step = 1 / np.asarray(matrix.sum(axis=1)).ravel()
    peaks = np.maximum(wanted / (np.pi * sigma**2), 0)
    for _ in range(rounds if len(first) else 0):
        peaks = np.maximum(peaks - step * (matrix @ peaks - wanted), 0)
    return np.asarray(peaks, np.float32)


def crowded(points: Points, peak: Float, sigma: Float) -> npt.NDArray[np.bool_]:
    """Tell which puncta have a neighbour of at least a quarter of their height within their light."""
    first, second = overlapping_pairs(points, sigma)
    result = np.zeros(len(points), bool)
    result[first[peak[second] > 0.25 * peak[first]]] = True
    result[second[peak[first] > 0.25 * peak[second]]] = True
    return result


class Model:
    """The image that the fitted puncta would make, to look up the light of the others."""

    def __init__(
        self, shape: tuple[int, int], patches: Patches, peak: Float, sigma: Float, widest: int
    ) -> None:
        self.margin = widest
        self.canvas = np.zeros((shape[0] + 2 * widest, shape[1] + 2 * widest), np.float32)
        self.add(patches, peak, sigma)

    def add(self, patches: Patches, peak: Float, sigma: Float) -> None:
        """Add the light of puncta within their patches."""
        add_bells(self.canvas, self._corner(patches), patches.shift, peak, sigma, patches.size)

    def others(self, patches: Patches, peak: Float, sigma: Float) -> Float:
        """Light of all other puncta in each patch."""
        result = np.empty((len(peak), patches.size**2), np.float32)
        look = partial(light_of_others, self.canvas)
        in_parts(look, result, self._corner(patches), patches.shift, peak, sigma)
        return result

    def _corner(self, patches: Patches) -> Index:
        """Return the first pixel of each patch in the canvas."""
        return patches.corner - patches.size // 2 + self.margin


def settle_wide(
    patches: Patches, others: Float, sigma: Float, widest: float, *, rounds: int = 3
) -> tuple[Float, Float, npt.NDArray[np.bool_]]:
    """Return width and peak of wide puncta, and which of them are aggregates.

    An aggregate lights up the annulus that it was measured against at first: annulus and width
    grow together until they fit. What does not look like a Gaussian then (haze, a cluster of faint puncta) is
    no aggregate. `others` is the light of neighbours.
    """
    raw, low, high = patches.pixels, sigma, np.full_like(sigma, widest)
    patches.pixels = raw - others
    for _ in range(rounds):
        reach = 3 * sigma[:, None] + 0.5
        level, _ = background(patches, reach, reach + 2.5)
        sigma = gaussian_widths(patches, level, sigma, low, high)
    light = patches.above(level)
    shape = patches.bells(np.ones_like(sigma), sigma)
    shape[patches.cut] *= patches.seen
    peak = (shape * light).sum(axis=1) / (shape**2).sum(axis=1)
    inside = patches.squared <= (2.5 * sigma[:, None]) ** 2
    rest = ((light - peak[:, None] * shape) ** 2 * inside).sum(axis=1)
    patches.pixels = raw
    fits = rest < (1 - LIKENESS) * (light**2 * inside).sum(axis=1)
    return sigma, np.maximum(peak, 0), fits


MEASURED = ("points", "intensity", "peak", "level", "noise", "sigma")


@dataclass(frozen=True)
class Photometry:
    """What was measured of N puncta; arrays of length N, pixels and grey values as units."""

    points: Points
    intensity: Float
    peak: Float
    level: Float
    noise: Float
    sigma: Float

    def take(self, which: npt.NDArray[np.bool_ | np.intp]) -> Photometry:
        """Return some of the puncta."""
        return Photometry(*(getattr(self, name)[which] for name in MEASURED))

    def replace(self, which: npt.NDArray[np.intp], other: Photometry) -> None:
        """Take over what another says of the puncta `which`."""
        for name in MEASURED:
            getattr(self, name)[which] = getattr(other, name)


#: Sigma of a punctum among others stays within these factors of the typical one.
CROWDED = (0.75, 1.35)
#: Share of its squared light that a Gaussian must explain for a wide punctum to be an aggregate.
LIKENESS = 0.85
#: Sigma of a punctum that stands alone may be up to this many times the typical one (an aggregate).
WIDEST = 4.0


def is_flank(
    points: Points, peak: npt.NDArray[np.floating[Any]], sigma: npt.NDArray[np.floating[Any]]
) -> npt.NDArray[np.bool_]:
    """Tell which spots have next to no light of their own beside a brighter one."""
    from scipy.spatial import cKDTree

    flank = np.zeros(len(points), bool)
    if len(points) < 2:
        return flank
    pairs = cKDTree(points).query_pairs(DOUBLE_SIGMA * float(sigma.max()), output_type="ndarray")
    faint = np.where(peak[pairs[:, :1]] < peak[pairs[:, 1:]], pairs, pairs[:, ::-1])
    distance = np.hypot(*(points[faint[:, 0]] - points[faint[:, 1]]).T)
    for share, reach in ((DOUBLE_SHARE, DOUBLE_SIGMA), (NEARER_SHARE, NEARER_SIGMA)):
        near = distance < reach * sigma[faint[:, 1]]
        flank[faint[near & (peak[faint[:, 0]] < share * peak[faint[:, 1]]), 0]] = True
    return flank


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
    small = Patches(pixels, points, int(np.ceil(3 * typical)) + 3)
    widest = int(np.ceil(3 * WIDEST * typical)) + 3
    shape = (pixels.shape[0], pixels.shape[1])
    sigma = np.full(len(points), typical, np.float32)
    level, noise = background(small, inner, inner + 2.5)
    # A cluster looks like haze at first: fit and background settle together.
    for _ in range(2):
        peak = fit_peaks(small, level, sigma)
        others = Model(shape, small, peak, sigma, widest).others(small, peak, sigma)
        level, noise = background(small, inner, inner + 2.5, others)
    # Each stands on its slope; but a cell full of puncta slopes by their light, which is not taken away.
    flat = small.pixels
    small.pixels = flat - tilted(small, inner, inner + 2.5, (level, noise), others)
    level, quiet = background(small, inner, inner + 2.5, others)
    noise = np.minimum(noise, quiet)
    beside = crowded(small.points, peak, sigma)
    free = np.where(beside, CROWDED[1], WIDEST)
    clear = peak > CLEAR * noise  # only a clear punctum tells its own width
    low = (np.where(clear, CROWDED[0], 1.0) * typical).astype(np.float32)
    high = (np.where(clear, free, 1.0) * typical).astype(np.float32)
    raw = small.pixels
    small.pixels = raw - others
    sigma = gaussian_widths(small, level, sigma, low, high)
    small.pixels = raw
    peak = fit_peaks(small, level, sigma)
    wide = np.flatnonzero(sigma > CROWDED[1] * typical)
    single = np.where(sigma > CROWDED[1] * typical, 0, peak)
    model = Model(shape, small, single, sigma, widest)
    points = small.points
    if len(wide):
        # Aggregates reach beyond the common window: modelled and measured in a larger one.
        large, without = Patches(pixels, points[wide], widest), model.canvas.copy()
        shift = large.shift
        model.add(large, peak[wide], sigma[wide])
        others = model.others(large, peak[wide], sigma[wide])
        wider, higher, fits = settle_wide(large, others, sigma[wide], WIDEST * typical)
        sigma[wide] = np.where(fits, wider, CROWDED[1] * typical)
        peak[wide] = np.where(fits, higher, peak[wide])
        large.move(np.where(fits[:, None], large.shift, shift))
        points[wide] = large.points
        model.canvas = without
        model.add(large, peak[wide], sigma[wide])
    others = model.others(small, peak, sigma)
    _, quiet = background(small, inner, inner + 2.5, others)
    small.pixels = np.where(beside[:, None], flat, small.pixels)
    level, noise = background(small, inner, inner + 2.5, others)
    noise = np.minimum(noise, quiet)
    intensity = aperture_sum(small, level, others, np.full_like(sigma, 3 * typical), sigma)
    if len(wide):
        reach = 3 * sigma[wide, None] + 0.5
        others = model.others(large, peak[wide], sigma[wide])
        level[wide], noise[wide] = background(large, reach, reach + 2.5, others)
        intensity[wide] = aperture_sum(large, level[wide], others, reach[:, 0], sigma[wide])
    return Photometry(points, intensity, peak, level, noise, sigma)


def aperture_sum(patches: Patches, level: Float, others: Float, radius: Float, sigma: Float) -> Float:
    """Sum the light above `level` within a radius; corrected for what the image's edge cuts off."""
    total, cut = np.empty(len(sigma), np.float32), patches.cut
    in_parts(sums_within, total, patches.pixels, level, others, patches.shift, radius)
    squared = patches.squared_of(cut)
    bell = np.exp(-0.5 * squared / sigma[cut, None] ** 2) * (squared <= radius[cut, None] ** 2)
    share = (bell * patches.seen).sum(axis=1) / bell.sum(axis=1)
    total[cut] /= np.maximum(share, 0.2)
    return total
