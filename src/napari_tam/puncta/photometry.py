"""Brightness, width and signal-to-noise of puncta, all at once.

Intensity is Σ(I − median of the local annulus) over an aperture of 3 sigma, after the modelled
light of neighbouring puncta was taken away, so that crowded puncta are not counted twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_tam.puncta.patches import Float, Patches, Points, background, gaussian_widths, tilted
from napari_tam.puncta.psf_width import laplacian_at, laplacian_noise, laplacian_windows

#: What has less than this share of a neighbour's height, within so many of that one's sigma, is its flank; so
#: near to it that there is no dip between them, also with more.
DOUBLE_SHARE, DOUBLE_SIGMA = 0.05, 2.5
NEARER_SHARE, NEARER_SIGMA = 0.25, 1.5

#: What has a flank within the first of these (in typical sigma) is measured again without it, beside all
#: within the second.
NEAR_FLANK, BESIDE_FLANK = 6.0, 12.0

#: A clear punctum has so many times the noise of a pixel.
CLEAR = 4.0

#: What is not clear, or has this share of the greatest width, may be at least that wide: if a filter so many
#: times as wide as a single punctum shows it by so many SD.
AS_WIDE, FILTERS, CLEAR_WIDE = 0.9, (3.0, 5.0, 8.0, 13.0), 15.0

#: A Laplacian of Gaussian of width s, times s², answers 2 s²σ² / (s² + σ²)² to a Gaussian of height 1. It
#: shows best what is so many times as wide as itself (1 / √3), and answers so much.
SHOWN_BEST, SHOWN_SHARE = 0.58, 0.375

#: A wide object with no punctum on it shows a punctum's filter its curvature, within this factor, and noise
#: up to so many SD.
CURVED, ON_TOP = 1.5, 3.0


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
    shape = np.exp(-0.5 * patches.squared / sigma[:, None] ** 2)
    shape[patches.cut] *= patches.seen
    # A patch may hold part of a wide punctum only; its own overlap integral then does too.
    part = (shape**2).sum(axis=1) / (np.pi * sigma**2)
    wanted = (shape * patches.above(level)).sum(axis=1) / np.minimum(part, 1)
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
        size = patches.size
        own = own_light(patches, peak, sigma)
        offset = np.arange(size) - size // 2 + self.margin
        rows = (patches.corner[:, :1] + offset)[:, :, None]
        columns = (patches.corner[:, 1:] + offset)[:, None, :]
        flat = (rows * self.canvas.shape[1] + columns).reshape(len(own), size**2)
        np.add.at(self.canvas.reshape(-1), flat.ravel(), own.ravel())

    def others(self, patches: Patches, peak: Float, sigma: Float) -> Float:
        """Light of all other puncta in each patch."""
        size = patches.size
        windows = np.lib.stride_tricks.sliding_window_view(self.canvas, (size, size))
        start = patches.corner - size // 2 + self.margin
        everyone = windows[start[:, 0], start[:, 1]].reshape(len(peak), size**2)
        return np.asarray(np.maximum(everyone - own_light(patches, peak, sigma), 0), np.float32)


def own_light(patches: Patches, peak: Float, sigma: Float) -> Float:
    """Light of each punctum in its own patch."""
    return np.asarray(peak[:, None] * np.exp(-0.5 * patches.squared / sigma[:, None] ** 2), np.float32)


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
    shape = own_light(patches, np.ones_like(sigma), sigma)
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

    def take(self, which: npt.NDArray[np.bool_]) -> Photometry:
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


def measure_all(pixels: Float, points: Points, typical: float) -> Photometry:
    """Measure as `measure`; some once more.

    These are what lies beside a flank, without it, as it took some of the light; and what is so wide that
    the annulus around a single punctum lies within it.
    """
    from scipy.spatial import cKDTree

    found = measure(pixels, points, typical)
    flank = is_flank(found.points, found.peak, found.sigma)
    if flank.any():
        away = np.where(flank, np.inf, cKDTree(found.points[flank]).query(found.points)[0] / typical)
        beside = np.flatnonzero(away < BESIDE_FLANK)
        again = measure(pixels, points[beside], typical)
        near = away[beside] < NEAR_FLANK
        found.replace(beside[near], again.take(near))
    width, within = much_wider(pixels, points, found, typical)
    wide = width > 0
    for _ in range(2):  # the annulus suits the width
        for one in np.unique(width[wide]):
            which = np.flatnonzero(width == one)
            found.replace(which, measure(pixels, points[which], float(one)))
        width[wide] = np.exp(np.round(np.log(found.sigma[wide]), 1))
    found.peak[within], found.intensity[within] = 0, 0
    return found


def much_wider(
    pixels: Float, points: Points, found: Photometry, typical: float
) -> tuple[Float, npt.NDArray[np.bool_]]:
    """Tell which places are those of objects many times as wide as a punctum, and which lie in one of them.

    They hardly stand out from the annulus around a single punctum, and do in a wide filter, where nothing
    else is as bright.

    Returns
    -------
    (N,) the width (sigma, px) that an object is about as wide as, 0 for all others; and (N,) whether a place
    is another one in such an object.
    """
    from scipy.spatial import cKDTree

    width, within = np.zeros(len(points), np.float32), np.zeros(len(points), bool)
    # What is wide and clear, but no Gaussian, or as wide as can be, was seen in part.
    part = (found.sigma > AS_WIDE * WIDEST * typical) | (found.sigma == np.float32(CROWDED[1] * typical))
    asked = np.flatnonzero((found.peak <= CLEAR * found.noise) | part)
    if not len(asked):
        return width, within
    windows = laplacian_windows(pixels, FILTERS[-1] * typical)
    shows = np.zeros(len(points))
    width[asked], shows[asked] = filter_width(windows, points[asked], found.noise[asked], typical)
    tree = cKDTree(points)
    beside = {int(i): tree.query_ball_point(points[i], 2 * float(width[i])) for i in np.flatnonzero(width)}
    others = np.setdiff1d(np.array([j for near in beside.values() for j in near], np.intp), asked)
    if len(others):
        width[others], shows[others] = filter_width(windows, points[others], found.noise[others], typical)
    for i in np.argsort(-shows, kind="stable"):
        if i in beside and not within[i]:
            near = np.array(beside[i])
            if (found.peak[near] > CLEAR * found.noise[near])[width[near] == 0].any():
                width[i] = 0
            else:
                within[near[(near != i) & (width[near] > 0)]] = True
    width[within], width[others] = 0, 0
    return width, within


def filter_width(windows: Float, points: Points, noise: Float, typical: float) -> tuple[Float, Float]:
    """Tell by filters how wide places are, if they are much wider than a single punctum and none is on them.

    Parameters
    ----------
    windows
        `laplacian_windows` of the plane.
    points, noise
        (N, 2) places, and (N,) the noise of a pixel there.
    typical
        Sigma of a single punctum, in pixels.

    Returns
    -------
    (N,) width (sigma, px), 0 where they are not; and (N,) by how many SD the filter shows them that shows
    them best.
    """
    shape = (windows.shape[0] - 2, windows.shape[1] - 2)
    places = np.clip(np.round(points), 0, np.array(shape) - 1).astype(np.intp)
    widths = typical * np.array((1.0, *FILTERS))
    answers = np.stack([laplacian_at(windows, places, own) for own in widths])
    shows = answers / np.maximum(noise, 1e-9) / np.array([[laplacian_noise(own)] for own in widths])
    best = 1 + shows[1:].argmax(axis=0)
    highest, width = (values[best, np.arange(len(best))] for values in (shows, widths[:, None] + 0 * shows))
    width = SHOWN_BEST * width
    # What its own curvature is to the narrow filter; a punctum on it, or in a cell, is more.
    height = answers[best, np.arange(len(best))] / SHOWN_SHARE
    curved = 2 * height * (typical * width) ** 2 / (typical**2 + width**2) ** 2
    curved /= np.maximum(noise, 1e-9) * laplacian_noise(typical)
    wide = (highest > CLEAR_WIDE) & (width > AS_WIDE * WIDEST * typical)
    wide &= shows[0] < ON_TOP + CURVED * curved
    return np.where(wide, width, 0).astype(np.float32), highest.astype(np.float32)


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
    inside = patches.squared <= radius[:, None] ** 2
    total = (patches.above(level, others) * inside).sum(axis=1)
    cut = patches.cut
    bell = np.exp(-0.5 * patches.squared[cut] / sigma[cut, None] ** 2) * inside[cut]
    share = (bell * patches.seen).sum(axis=1) / bell.sum(axis=1)
    total[cut] /= np.maximum(share, 0.2)
    return np.asarray(total, np.float32)
