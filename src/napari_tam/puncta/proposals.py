"""Where one emitter may be two, and where light is left over that needs one more."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from napari_tam.puncta.emitters import Doubles, Emitters, Index, Windows, near_pairs

if TYPE_CHECKING:
    from napari_tam.puncta.patches import Float, Points

#: Least fall of chi² that is worth a try.
WORTH_A_TRY = 3.0

#: Emitters within squares of so many pixels are looked at together.
SQUARE_PX = 128

#: One more emitter lies within so many sigma of one that is there.
NEAR = 3.0


@dataclass(frozen=True)
class Proposals:
    """Changes to try, none within `NEAR` sigma of another.

    Attributes
    ----------
    split
        Indices of the emitters that become two.
    halves
        Both halves of each: first all first ones, then all second ones.
    more
        Further emitters; the parents are those of the nearest emitters, `beside`.
    beside
        Indices of the emitters that `more` are next to.
    waiting
        Indices of the emitters with changes that are too near to one of these: their turn comes later.
    sigma
        Width of a single emitter.
    """

    split: Index
    halves: Emitters
    more: Emitters
    beside: Index
    waiting: Index
    sigma: float

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.split) + len(self.more)


def propose(
    now: Emitters,
    untried: Index,
    lit: Index,
    rest: Float,
    weight: Float,
    usual: tuple[float, float],
    least: float,
    sigma: float,
    norm: Float,
) -> Proposals:
    """Find what to try next.

    Parameters
    ----------
    now
        All emitters.
    untried
        Indices of those that may be split.
    lit
        Indices of those that others may lie beside.
    rest, weight
        (Y, X) the image without background and emitters; reciprocal of each pixel's variance.
    usual
        Median and SD of the log height of single puncta.
    least
        Fall of chi² that a further emitter needs.
    sigma
        Width of a single emitter.
    norm
        `matched_norm` of the weights.
    """
    full, wider, shape = curvature(now.take(untried), rest, weight)
    bright = np.log(now.peak[untried]) > usual[0] + 0.7 * usual[1]
    longest = (shape[:, 0] + shape[:, 2]) / 2 + np.hypot((shape[:, 0] - shape[:, 2]) / 2, shape[:, 1] / 2)
    # A wider Gaussian is no pair, unless it is rather bright as well.
    good = ((full - wider > WORTH_A_TRY) | (bright & (full > WORTH_A_TRY))) & (longest > 0)
    split, split_gain, shape = untried[good], full[good], shape[good]
    at, beside, height, gain = _left_over(now, lit, rest, weight, sigma, least, norm)
    points = np.concatenate([now.points[split], at])
    chosen = _spread_out(points, np.concatenate([split_gain, gain]), NEAR * sigma)
    first, second = chosen[chosen < len(split)], chosen[chosen >= len(split)] - len(split)
    parents = now.parent[beside[second]]
    more = Emitters(at[second], height[second], np.full(len(second), sigma), parents)
    halves = _halves(now.take(split[first]), shape[first])
    others = np.setdiff1d(np.arange(len(points)), chosen)
    waiting = np.concatenate([split, beside])[others]
    return Proposals(split[first], halves, more, beside[second], waiting, sigma)


def _bell(sigma: float) -> tuple[Float, float, tuple[int, int]]:
    """Return a Gaussian's profile within 3 sigma, its mean over the square, and the square's size.

    It is used less its mean, so that a background that is a little off is no emitter.
    """
    size = 2 * int(np.ceil(3 * sigma)) + 1
    bell = cv2.getGaussianKernel(size, sigma, cv2.CV_32F)
    bell = bell / bell.max()
    return np.asarray(bell, np.float32), float(bell.mean()) ** 2, (size, size)


def matched_norm(weight: Float, sigma: float) -> Float:
    """Return what the matched filter's answer at each pixel is divided by, to be a height."""
    bell, mean, size = _bell(sigma)
    border = cv2.BORDER_CONSTANT
    norm = cv2.sepFilter2D(weight, cv2.CV_32F, bell**2, bell**2, borderType=border)
    norm = norm - 2 * mean * cv2.sepFilter2D(weight, cv2.CV_32F, bell, bell, borderType=border)
    norm = norm + mean**2 * cv2.boxFilter(weight, cv2.CV_32F, size, normalize=False, borderType=border)
    return np.asarray(np.maximum(norm, 1e-12), np.float32)


def _left_over(
    now: Emitters, lit: Index, rest: Float, weight: Float, sigma: float, least: float, norm: Float
) -> tuple[Points, Index, Doubles, Doubles]:
    """Places where one more emitter would explain the rest: the nearest emitter, height and gain of each."""
    from scipy.spatial import cKDTree

    shape = np.array(rest.shape)
    found = [np.zeros((0, 4))]
    bell, mean, size = _bell(sigma)
    border = cv2.BORDER_CONSTANT
    places = cKDTree(now.points[lit])
    for part in _around(now.points[lit], int(np.ceil((NEAR + 3) * sigma)) + 2, shape):
        pull = weight[part] * rest[part]
        match = cv2.sepFilter2D(pull, cv2.CV_32F, bell, bell, borderType=border)
        match = match - mean * cv2.boxFilter(pull, cv2.CV_32F, size, normalize=False, borderType=border)
        gain = np.maximum(match, 0) ** 2 / norm[part]
        row, column = np.nonzero((gain > least) & (gain >= cv2.dilate(gain, np.ones((3, 3), np.uint8))))
        values = np.stack([match[row, column] / norm[part][row, column], gain[row, column]], axis=1)
        at = np.stack([row + part[0].start, column + part[1].start], axis=1)
        # not at the part's edge, where the filter is cut
        inner = places.query(at, p=np.inf, distance_upper_bound=NEAR * sigma + 1)[0] < np.inf
        found.append(np.concatenate([at[inner], values[inner]], axis=1))
    table = np.concatenate(found)
    table = table[np.unique(table[:, 0] * shape[1] + table[:, 1], return_index=True)[1]]
    away, beside = cKDTree(now.points).query(table[:, :2])
    near = away < NEAR * sigma
    table = table[near]
    return table[:, :2], beside[near].astype(np.intp), table[:, 2], table[:, 3]


def _around(points: Points, reach: int, shape: npt.NDArray[np.intp]) -> list[tuple[slice, slice]]:
    """Return parts of an image that hold all that is within reach of points, and little else."""
    square = (points // SQUARE_PX).astype(np.intp)
    _, member = np.unique(square, axis=0, return_inverse=True)
    order = np.argsort(member.ravel(), kind="stable")
    first = np.flatnonzero(np.diff(member.ravel()[order], prepend=-1))
    at = np.round(points[order]).astype(np.intp)
    low = np.maximum(np.minimum.reduceat(at, first) - reach, 0)
    high = np.minimum(np.maximum.reduceat(at, first) + reach + 1, shape)
    return [np.s_[a:c, b:d] for (a, b), (c, d) in zip(low.tolist(), high.tolist(), strict=True)]


def _spread_out(points: Points, value: Doubles, reach: float) -> Index:
    """Those of a higher value than all others within reach."""
    keep = np.ones(len(points), bool)
    if len(points) > 1:
        first, second = near_pairs(points, reach)
        keep[np.where(value[first] < value[second], first, second)] = False
    return np.flatnonzero(keep)


def _halves(some: Emitters, shape: Doubles) -> Emitters:
    """Two for each, along the direction in which it is too long.

    Two of half the height at ±d/2 differ from one by d²/8 times its second derivative along d.
    """
    yy, xy, xx = shape.T
    longest = (yy + xx) / 2 + np.hypot((yy - xx) / 2, xy / 2)
    angle = 0.5 * np.arctan2(xy, yy - xx)
    apart = np.clip(np.sqrt(8 * np.maximum(longest, 0)), 0.7, 2.2) * some.sigma
    step = np.stack([np.cos(angle), np.sin(angle)], axis=1) * apart[:, None] / 2
    one = replace(some, points=some.points + step, peak=0.55 * some.peak)
    return one.plus(replace(one, points=some.points - step))


def curvature(emitters: Emitters, rest: Float, weight: Float) -> tuple[Doubles, Doubles, Doubles]:
    """Return what second derivatives of each Gaussian would explain of the rest (a score test).

    Place, height, and a sloping background are fitted alongside.

    Returns
    -------
    (N,) fall of chi² by all three second derivatives, (N,) by a wider Gaussian alone, and (N, 3)
    coefficients of yy, yx and xx, in units of height × sigma².
    """
    found = [np.zeros((0, 5))]
    for start in range(0, len(emitters), 2000):
        found.append(
            _curvature(emitters.take(np.arange(start, min(start + 2000, len(emitters)))), rest, weight)
        )
    table = np.concatenate(found)
    return table[:, 0], table[:, 1], table[:, 2:]


def _curvature(emitters: Emitters, rest: Float, weight: Float) -> Doubles:
    n = len(emitters)
    windows = Windows(emitters, (rest.shape[0], rest.shape[1]))
    sigma = emitters.sigma.astype(np.float32)[:, None]
    y, x = windows.dy / sigma, windows.dx / sigma
    bell_y, bell_x = windows.bell_y, windows.bell_x
    disc = (y[:, :, None] ** 2 + x[:, None, :] ** 2) < 9.5
    # Where the bell is 0 the window reaches beyond the image.
    seen = windows.of(weight) * (disc & (bell_y[:, :, None] > 0) & (bell_x[:, None, :] > 0))
    own = emitters.peak.astype(np.float32)[:, None] * bell_y
    one = np.ones_like(y)
    parts: list[tuple[npt.NDArray[Any], npt.NDArray[Any]]] = [
        (one, one), (y, one), (one, x), (own, bell_x), (own * y, bell_x), (own, bell_x * x),
        (own * (y**2 - 1), bell_x), (own * y, bell_x * x), (own, bell_x * (x**2 - 1)),
    ]  # fmt: skip
    basis = np.stack([(p[:, :, None] * q[:, None, :]).reshape(n, -1) for p, q in parts], axis=1)
    weighted = basis * seen.reshape(n, 1, -1)
    matrix = np.matmul(weighted, basis.transpose(0, 2, 1)).astype(np.float64)
    vector = np.matmul(weighted, windows.of(rest).reshape(n, -1, 1))[:, :, 0].astype(np.float64)
    scale = np.sqrt(np.maximum(np.einsum("nii->ni", matrix), 1e-12))
    matrix = matrix / (scale[:, :, None] * scale[:, None, :]) + 1e-6 * np.eye(len(parts))
    vector /= scale
    # A wider Gaussian: yy and xx with one coefficient.
    mixed = np.zeros((n, 9, 7))
    mixed[:, :6, :6] = np.eye(6)
    mixed[:, 6, 6], mixed[:, 8, 6] = scale[:, 6], scale[:, 8]
    mixed[:, :, 6] /= np.maximum(np.sqrt((mixed[:, :, 6] ** 2).sum(axis=1)), 1e-12)[:, None]
    turned = mixed.transpose(0, 2, 1)
    base, _ = _gain(matrix[:, :6, :6], vector[:, :6])
    wider, _ = _gain(turned @ matrix @ mixed, (turned @ vector[:, :, None])[:, :, 0])
    full, solved = _gain(matrix, vector)
    return np.concatenate(
        [(full - base)[:, None], (wider - base)[:, None], solved[:, 6:] / scale[:, 6:]], axis=1
    )


def _gain(matrix: Doubles, vector: Doubles) -> tuple[Doubles, Doubles]:
    """Fall of chi² by a linear fit, and its solution."""
    solved = np.linalg.solve(matrix, vector[:, :, None])[:, :, 0]
    return (solved * vector).sum(axis=1), solved
