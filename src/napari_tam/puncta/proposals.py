"""Where one emitter may be two, and where light is left over that needs one more."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from napari_tam.puncta.emitters import Doubles, Emitters, Index, arrays, near_pairs
from napari_tam.puncta.light_loops import curvatures, lit_squares, peaks_left

if TYPE_CHECKING:
    from napari_tam.puncta.patches import Float, Points

#: Least fall of chi² that is worth a try.
WORTH_A_TRY = 3.0

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

    bell, mean, _ = _bell(sigma)
    reach = NEAR * sigma + 1
    lit_points = now.points[lit]
    squares = lit_squares(lit_points, reach, *rest.shape)
    table = peaks_left(rest, weight, norm, bell.ravel(), mean, least, squares)
    inner = cKDTree(lit_points).query(table[:, :2], p=np.inf, distance_upper_bound=reach)[0] < np.inf
    table = table[inner]
    away, beside = cKDTree(now.points).query(table[:, :2])
    near = away < NEAR * sigma
    table = table[near]
    return table[:, :2], beside[near].astype(np.intp), table[:, 2], table[:, 3]


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
    table = curvatures(rest, weight, *arrays(emitters))
    return table[:, 0], table[:, 1], table[:, 2:]
