"""Place, brightness and width of puncta in a stack: the 3-D counterpart of `napari_tam.puncta.photometry`.

A punctum is a Gaussian of one width in y and x and another along z. Lengths are in voxels of the axis
concerned; "scaled" coordinates are divided by the width, so that a punctum is round in them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_tam.puncta.patches import FWHM, Doubles, Float, Points
from napari_tam.volume.windows import APERTURE, SHELL, Windows, batches, reach_of

__all__ = ["FWHM", "Photometry", "measure"]

Voxels = npt.NDArray[np.intp]

#: A clear punctum that stands alone may be narrower or wider than the typical one by these factors.
WIDTHS = (0.7, 1.8)

#: A background that is not level is fitted under puncta that are so clear (matched signal-to-noise ratio),
#: and their widths with it in so many rounds: of fainter ones it would take some of the light.
CLEAR, ROUNDS = 25.0, 2

#: Least sigma of the weight of moments, in voxels.
LEAST_WEIGHT = 1.0


@dataclass(frozen=True)
class Photometry:
    """What was measured of N puncta.

    Attributes
    ----------
    points
        (N, 3) z, y, x in voxels, centres at integers.
    intensity, peak, level, noise
        (N,) sum above the background, height, background and its SD, in grey values.
    sigma
        (N, 2) along z, and in y and x.
    """

    points: Points
    intensity: Float
    peak: Float
    level: Float
    noise: Float
    sigma: Float


def _level(windows: Windows, squared: Float, others: Float | float = 0.0) -> tuple[Float, Float]:
    """Median and SD (from the median absolute deviation) of the shell around each point."""
    ring = (squared > APERTURE**2) & (squared <= SHELL**2) & windows.inside
    ring |= ~ring.any(axis=1, keepdims=True) & windows.inside
    values = np.where(ring, windows.pixels - others, np.nan)
    level = np.nanmedian(values, axis=1)
    noise = 1.4826 * np.nanmedian(np.abs(values - level[:, None]), axis=1)
    return level.astype(np.float32), noise.astype(np.float32)


def in_filter(height: Doubles, along: Doubles | float, plane: Doubles | float) -> Doubles:
    """Return what a filter of their shape makes of heights, where the noise of a voxel stays what it is.

    `along` and `plane` are their widths (sigma, voxels) along z and in y and x.
    """
    return np.asarray(height * np.pi**0.75 * plane * np.sqrt(along))


def _ground(
    windows: Windows,
    which: npt.NDArray[np.bool_],
    shift: Float,
    sigma: Float,
    level: Float,
    others: Float,
) -> Float:
    """Background in each window: a smooth (quadratic) one, fitted together with a Gaussian of the punctum.

    The shell around it (`level`) reaches out of the cell, above and below most of all.

    Parameters
    ----------
    which
        (N,) of which puncta; of the others it is the level.
    shift, sigma
        (N, 3) places from the middle voxel, and (N, 2) widths.
    others
        (N, voxels) light of other puncta.

    Returns
    -------
    (N, voxels) grey values.
    """
    ground = np.repeat(level[:, None], len(windows.grid), axis=1)
    if not which.any():
        return ground
    scale = sigma[which][:, [0, 1, 1]].T[:, :, None]
    z, y, x = (windows.grid.T[:, None] - shift[which].T[:, :, None]) / scale
    squared = z * z + y * y + x * x
    parts = np.stack([np.exp(-0.5 * squared), np.ones_like(z), z, y, x, z * z, y * y, x * x, y * x], axis=1)
    known = parts * (windows.inside[which] & (squared <= SHELL**2))[:, None]
    light = windows.light(level, others)[which]
    matrix = np.einsum("nak,nbk->nab", known, parts, optimize=True)
    size = np.sqrt(np.maximum(np.einsum("naa->na", matrix), 1e-9))
    matrix /= size[:, :, None] * size[:, None, :]
    pull = np.einsum("nak,nk->na", known, light) / size
    found = np.linalg.solve(matrix + 1e-4 * np.eye(matrix.shape[1]), pull[:, :, None])[:, :, 0] / size
    ground[which] += np.einsum("na,nak->nk", found[:, 1:], parts[:, 1:])
    return ground


def _moments(
    windows: Windows, level: Float, start: Float, others: Float | float = 0.0, rounds: int = 5
) -> tuple[Float, Float]:
    """Refine places and widths by adaptive Gaussian-weighted moments; see `puncta.patches.gaussian_widths`.

    The weight is never narrower than `LEAST_WEIGHT` voxels: the sums over a narrower Gaussian would depend on
    where it lies between the planes, which are often coarser than the punctum.

    Returns
    -------
    (N, 3) shifts from the middle voxel, and (N, 2) sigma along z and in y and x.
    """
    sigma, shift = start.copy(), np.zeros((len(start), 3), np.float32)
    light = windows.light(level, others)
    low, high = start * WIDTHS[0], start * WIDTHS[1]
    for _ in range(rounds):
        width = np.maximum(sigma, LEAST_WEIGHT)
        bell = np.exp(-0.5 * windows.squared(shift, width))
        weight = bell * light
        total = weight.sum(axis=1)
        clear = total > 0.3 * np.abs(weight).sum(axis=1)
        # A stack thinner than the Gaussian has no information about z, but has about y and x.
        seen = (bell * windows.inside).sum(axis=1) > 0.9 * bell.sum(axis=1)
        level_seen = (bell * windows.inside).sum(axis=1) > 0.9 * (bell * windows.plane_inside).sum(axis=1)
        good = np.stack([clear & seen, clear & level_seen], axis=1)
        safe = np.where(clear, total, 1)[:, None]
        away = windows.grid[None] - shift[:, None]
        # The weight, centred on the old place, pulls the centroid back by this factor.
        pull = 1 + (sigma / width)[:, [0, 1, 1]] ** 2
        step = np.where(good[:, [0, 1, 1]], pull * np.einsum("nk,nkd->nd", weight, away) / safe, 0)
        second = np.einsum("nk,nkd->nd", weight, away**2) / safe
        moment = np.stack([second[:, 0], second[:, 1:].mean(axis=1)], axis=1)
        solved = moment * width**2 / np.maximum(width**2 - moment, 0.15 * width**2)
        wanted = np.where(good, np.sqrt(np.maximum(solved, 0.1)), sigma)
        shift = np.clip(shift + np.clip(step, -0.5, 0.5), -1.2, 1.2).astype(np.float32)
        sigma = np.clip(np.clip(wanted, sigma / 1.4, sigma * 1.4), low, high).astype(np.float32)
    return shift, sigma


def _neighbours(points: Points, typical: npt.NDArray[np.float64]) -> tuple[Voxels, Voxels, Float]:
    """Return the pairs of puncta whose light overlaps, and their squared scaled distance."""
    from scipy.spatial import cKDTree

    scaled = points / typical[[0, 1, 1]]
    pairs = cKDTree(scaled).query_pairs(4.0, output_type="ndarray")
    first, second = pairs[:, 0], pairs[:, 1]
    return first, second, np.asarray(((scaled[first] - scaled[second]) ** 2).sum(axis=1), np.float32)


def _share_light(
    wanted: Float, points: Points, typical: npt.NDArray[np.float64], rounds: int = 60
) -> npt.NDArray[np.float64]:
    """Fit all peaks at once by non-negative least squares: Gaussians of known place and the typical width.

    `wanted` is what each would be alone; two at the scaled distance d share exp(-d²/4) of their light.
    """
    from scipy.sparse import csr_matrix

    first, second, squared = _neighbours(points, typical)
    shared, index = np.exp(-squared / 4), np.arange(len(wanted))
    matrix = csr_matrix(
        (
            np.concatenate([np.ones(len(wanted)), shared, shared]),
            (np.concatenate([index, first, second]), np.concatenate([index, second, first])),
        ),
        shape=(len(wanted), len(wanted)),
    )
    step = 1 / np.asarray(matrix.sum(axis=1)).ravel()
    peaks = np.maximum(wanted.astype(np.float64), 0)
    for _ in range(rounds if len(first) else 0):
        peaks = np.maximum(peaks - step * (matrix @ peaks - wanted), 0)
    return peaks


def measure(volume: Float, peaks: Voxels, typical: npt.NDArray[np.float64]) -> Photometry:
    """Measure puncta: place, intensity, peak, local background, noise and widths.

    The intensity is Σ(I − ground) over the ellipsoid of 3 sigma, after the light of neighbours (Gaussians of
    the typical width, fitted together) was taken away, over the share of a Gaussian that lies in there. The
    ground of a clear punctum that stands alone is a smooth one, fitted together with a Gaussian; of others it
    is the median of the local shell.

    Parameters
    ----------
    volume
        (Z, Y, X) the exosome channel.
    peaks
        (N, 3) voxels of the puncta.
    typical
        Sigma of a single punctum along z and in y and x, in voxels.
    """
    count = len(peaks)
    points = peaks.astype(np.float64)
    own = np.repeat(typical[None], count, axis=0).astype(np.float32)
    wanted = np.zeros(count, np.float32)
    model: Float | None = None
    # At the voxels first: a neighbour's light, not yet known, would pull a place towards it.
    peak = np.zeros(count)
    for _ in range(2):
        for part in batches(count, typical):
            windows = Windows(volume, peaks[part], reach_of(typical))
            squared = windows.squared((points[part] - peaks[part]).astype(np.float32), own[part])
            others = np.zeros_like(squared) if model is None else _others(model, windows, squared, peak[part])
            level, _ = _level(windows, squared, others)
            if model is not None:
                points[part] = peaks[part] + _moments(windows, level, own[part], others)[0]
                squared = windows.squared((points[part] - peaks[part]).astype(np.float32), own[part])
            bell = np.exp(-0.5 * squared) * windows.inside
            wanted[part] = (bell * windows.light(level)).sum(axis=1) / (bell**2).sum(axis=1)
        peak = _share_light(wanted, points, typical)
        model = _render(volume.shape, peaks, points, peak, own, typical)
    assert model is not None
    first, second, _ = _neighbours(points, typical)
    alone = np.ones(count, bool)
    alone[first[peak[second] > 0.25 * peak[first]]] = False
    alone[second[peak[first] > 0.25 * peak[second]]] = False
    empty = [np.zeros(count, np.float32) for _ in range(4)]
    found = Photometry(points, empty[0], empty[1], empty[2], empty[3], np.zeros((count, 2), np.float32))
    for part in batches(count, typical):
        windows = Windows(volume, peaks[part], reach_of(typical))
        shift = (points[part] - peaks[part]).astype(np.float32)
        squared = windows.squared(shift, own[part])
        others = _others(model, windows, squared, peak[part])
        base, noise = _level(windows, squared, others)
        clear = alone[part] & (in_filter(peak[part], typical[0], typical[1]) > CLEAR * noise)
        none, sigma = np.zeros_like(base), own[part]
        for _ in range(ROUNDS):
            ground = _ground(windows, clear, shift, sigma, base, others)
            shift, sigma = _moments(windows, none, own[part], others + ground)
        sure = peak[part] > 4 * noise  # only a clear punctum that stands alone tells its width
        sigma = np.where((sure & alone[part])[:, None], sigma, own[part])
        points[part] = np.where(sure[:, None], peaks[part] + shift, points[part])
        shift = (points[part] - peaks[part]).astype(np.float32)
        squared = windows.squared(shift, sigma)
        bell, aperture = np.exp(-0.5 * squared), squared <= APERTURE**2
        light = windows.light(none, others + _ground(windows, clear, shift, sigma, base, others))
        height = (bell * windows.inside * light).sum(axis=1) / (bell**2 * windows.inside).sum(axis=1)
        # Correct for what the stack's border cuts off, and for 3 % beyond the aperture.
        share = (bell * aperture * windows.inside).sum(axis=1)
        share /= (2 * np.pi) ** 1.5 * sigma[:, 0] * sigma[:, 1] ** 2
        total = (light * aperture).sum(axis=1) / np.maximum(share, 0.2)
        found.intensity[part], found.peak[part] = total, np.maximum(height, 0)
        found.level[part], found.noise[part], found.sigma[part] = base, noise, sigma
    return found


def _others(model: Float, windows: Windows, squared: Float, peak: npt.NDArray[np.float64]) -> Float:
    """Light of all other puncta in each window."""
    mine = peak.astype(np.float32)[:, None] * np.exp(-0.5 * squared)
    return np.asarray(np.maximum(model.ravel()[windows.flat] - mine, 0), np.float32)


def _render(
    shape: tuple[int, ...],
    peaks: Voxels,
    points: Points,
    peak: npt.NDArray[np.float64],
    sigma: Float,
    typical: npt.NDArray[np.float64],
) -> Float:
    """Return the stack that the fitted puncta would make."""
    model = np.zeros(shape, np.float32)
    for part in batches(len(peaks), typical):
        windows = Windows(model, peaks[part], reach_of(typical))
        squared = windows.squared((points[part] - peaks[part]).astype(np.float32), sigma[part])
        light = np.asarray(peak[part], np.float32)[:, None] * np.exp(-0.5 * squared) * windows.inside
        np.add.at(model.reshape(-1), windows.flat.ravel(), light.ravel())
    return model
