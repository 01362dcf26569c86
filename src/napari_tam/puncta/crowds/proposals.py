"""Where one emitter may be two, and where light is left over that needs one more."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import cv2
import numpy as np

from napari_tam.networks.threads import shares, together
from napari_tam.puncta.crowds.emitters import FEW, Emitters, arrays, near_pairs
from napari_tam.puncta.crowds.light_loops import SQUARE, curvatures, lit_squares, peaks_left

if TYPE_CHECKING:
    from napari_tam.puncta.patches import Doubles, Float, Index, Points

#: Least fall of chi² that is worth a try.
WORTH_A_TRY = 3.0

#: What is higher than single puncta by so much (log) may be two, however round.
BRIGHT = 0.4

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

    @property
    def at(self) -> Index:
        """Indices of the emitters that become two, then of those that further ones are next to."""
        return np.concatenate([self.split, self.beside])

    def centres(self, now: Emitters) -> Points:
        """Return where the changes are, those of `split` first, (N, 2)."""
        return np.concatenate([now.points[self.split], self.more.points])


def propose(
    now: Emitters,
    untried: Index,
    lit: Index,
    left: LeftOver,
    usual: tuple[float, float],
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
    left
        What the emitters leave of the image.
    usual
        Median and SD of the log height of single puncta.
    """
    sigma = left.sigma
    full, wider, shape = curvature(now.take(untried), left.rest, left.weight)
    bright = np.log(now.peak[untried]) > usual[0] + 0.7 * usual[1]
    longest = (shape[:, 0] + shape[:, 2]) / 2 + np.hypot((shape[:, 0] - shape[:, 2]) / 2, shape[:, 1] / 2)
    # A wider Gaussian is no pair, unless it is rather bright as well.
    good = ((full - wider > WORTH_A_TRY) | (bright & (full > WORTH_A_TRY))) & (longest > 0)
    # Two in one place are as round as one, and brighter.
    good |= np.log(now.peak[untried]) > usual[0] + BRIGHT
    split, split_gain, shape = untried[good], full[good], shape[good]
    at, beside, height, gain = _beside(now, left.peaks_near(now.points[lit]), sigma)
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
    norm, crossed, plain = together(
        partial(cv2.sepFilter2D, weight, cv2.CV_32F, bell**2, bell**2, borderType=border),
        partial(cv2.sepFilter2D, weight, cv2.CV_32F, bell, bell, borderType=border),
        partial(cv2.boxFilter, weight, cv2.CV_32F, size, normalize=False, borderType=border),
    )
    crossed *= 2 * mean
    norm -= crossed
    plain *= mean**2
    norm += plain
    return np.asarray(np.maximum(norm, 1e-12, out=norm), np.float32)


class LeftOver:
    """What emitters leave of an image, and the places where one more of them would explain some of it.

    Parameters
    ----------
    rest, weight
        (Y, X) the image without background and emitters, which may change; reciprocal of
        each pixel's variance.
    sigma
        Width of a single emitter.
    least
        Fall of chi² that a further emitter needs.
    """

    def __init__(self, rest: Float, weight: Float, sigma: float, least: float) -> None:
        self.rest, self.weight, self.sigma, self.least = rest, weight, sigma, least
        self._norm = matched_norm(weight, sigma)
        self._peaks = np.zeros((0, 4))
        self._known = np.zeros((rest.shape[0] // SQUARE + 1, rest.shape[1] // SQUARE + 1), np.bool_)

    def peaks_near(self, points: Points) -> Doubles:
        """Return places, heights and gains of further emitters near points, (M, 4)."""
        from scipy.spatial import cKDTree

        reach = NEAR * self.sigma + 1
        bell, mean, _ = _bell(self.sigma)
        new = lit_squares(points, reach, *self.rest.shape) & ~self._known
        look = partial(peaks_left, self.rest, self.weight, self._norm, bell.ravel(), mean, self.least)
        row = np.arange(len(new))[:, None]
        parts = (new & (row >= some.start) & (row < some.stop) for some in shares(len(new), 2))
        found = np.concatenate(together(*(partial(look, part) for part in parts)))
        self._peaks = np.concatenate([self._peaks, found])
        self._known |= new
        near = cKDTree(points).query(self._peaks[:, :2], p=np.inf, distance_upper_bound=reach)[0] < np.inf
        return np.asarray(self._peaks[near])

    def changed(self, points: Points, reach: float) -> None:
        """Forget what was found where light changed within so many sigma of points."""
        if not len(points):
            return
        touched = lit_squares(points, (reach + 3) * self.sigma + 2, *self.rest.shape)
        self._known &= ~touched
        row, column = self._peaks[:, :2].astype(np.intp).T // SQUARE
        self._peaks = self._peaks[~touched[row, column]]


def _beside(now: Emitters, peaks: Doubles, sigma: float) -> tuple[Points, Index, Doubles, Doubles]:
    """Of further emitters next to one that is there: places, which that is, heights and gains."""
    from scipy.spatial import cKDTree

    away, beside = cKDTree(now.points).query(peaks[:, :2])
    near = away < NEAR * sigma
    peaks = peaks[near]
    return peaks[:, :2], beside[near].astype(np.intp), peaks[:, 2], peaks[:, 3]


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
    parts = (emitters.take(np.arange(some.start, some.stop)) for some in shares(len(emitters), FEW))
    table = np.concatenate(together(*(partial(curvatures, rest, weight, *arrays(part)) for part in parts)))
    return table[:, 0], table[:, 1], table[:, 2:]
