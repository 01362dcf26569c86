"""What photons allow in crowds: the puncta that a test with all other knowledge would still tell apart.

Whether light comes from one emitter or from two is a test of two hypotheses, and how far apart two must be
follows from its power (Shahram & Milanfar 2006, IEEE Trans Inf Theory 52:3411; for the distance itself, from
the Fisher information: Ram, Ward & Ober 2006, Proc Natl Acad Sci USA 103:4457). In `limit` the test is the
ratio of posterior densities: the likelihood of the pixels times the density of the lights.

`limit` knows the true background and haze, the width, the camera, and how light is distributed among
puncta, and it starts from all true places and lights. What it does not know is how many puncta a spot holds:
it takes them out one after another, the least needed first, everything near fitted again, as long as
what is lost is below a line; then it splits what is left wherever more than that is gained, so that it makes
the false ones of such a test as well. `line_for` puts the line where one in twenty single puncta is
called two: with more splits, less than 95 % of what is found among single puncta would be right.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import njit
from scipy.stats import chi2, ncx2

if TYPE_CHECKING:
    from collections.abc import Callable

#: Share of single puncta that may be called two.
SPLIT = 0.05
#: Fitted together is what lies within so many sigma, at most so many; pixels count within so many sigma.
NEAR, MOST, REACH = 3.5, 14, 6.0
#: The line is learnt from so many single puncta.
SINGLES = 1500


class Known(NamedTuple):
    """What is known of puncta and camera.

    Attributes
    ----------
    sigma
        Width (px).
    middle, spread
        Mean and SD of the log light (photons).
    read
        Variance of the camera's noise besides shot noise, in photons². It is added to counts and to what is
        expected of them, which are Poisson then to second order (Huang et al. 2013, Nat Methods 10:653).
    """

    sigma: float
    middle: float
    spread: float
    read: float


@njit(cache=True)
def _profile(place, first, sigma, value, slope):  # type: ignore[no-untyped-def]
    """Share of a Gaussian in each pixel along an axis, and its derivative by the place."""
    root, norm = sigma * math.sqrt(2.0), 1 / (sigma * math.sqrt(2 * math.pi))
    edge = (first - 0.5 - place) / root
    below, density = math.erf(edge), norm * math.exp(-edge * edge)
    for k in range(len(value)):
        edge = (first + k + 0.5 - place) / root
        above, after = math.erf(edge), norm * math.exp(-edge * edge)
        value[k], slope[k] = 0.5 * (above - below), density - after
        below, density = above, after


@njit(cache=True)
def _loss(seen, others, corner, theta, known, slopes):  # type: ignore[no-untyped-def]
    """Twice the negative log posterior, up to a constant; fills `slopes`: expected, and by each parameter."""
    rows, columns = seen.shape
    value, slope = np.empty((2, max(rows, columns))), np.empty((2, max(rows, columns)))
    expected = others + known.read
    for j in range(len(theta)):
        light = math.exp(theta[j, 2])
        _profile(theta[j, 0], corner[0], known.sigma, value[0, :rows], slope[0, :rows])
        _profile(theta[j, 1], corner[1], known.sigma, value[1, :columns], slope[1, :columns])
        for r in range(rows):
            for c in range(columns):
                at = r * columns + c
                slopes[1 + 3 * j, at] = light * slope[0, r] * value[1, c]
                slopes[2 + 3 * j, at] = light * value[0, r] * slope[1, c]
                slopes[3 + 3 * j, at] = light * value[0, r] * value[1, c]
                expected[r, c] += slopes[3 + 3 * j, at]
    loss = 0.0
    for r in range(rows):
        for c in range(columns):
            slopes[0, r * columns + c] = expected[r, c]
            loss += 2 * (expected[r, c] - max(seen[r, c] + known.read, 0.0) * math.log(expected[r, c]))
    for j in range(len(theta)):
        loss += ((theta[j, 2] - known.middle) / known.spread) ** 2
    return loss


@njit(cache=True)
def fit(seen, others, corner, start, known):  # type: ignore[no-untyped-def]
    """Fit emitters in a window, from a start, by damped Fisher scoring.

    Parameters
    ----------
    seen, others
        (H, W) photons of the camera, and what is expected of all that is not fitted.
    corner
        Row and column of the window.
    start
        (N, 3) y, x and log light.
    known
        `Known`.

    Returns
    -------
    Twice the negative log posterior, and (N, 3) the fitted emitters.
    """
    size = 3 * len(start)
    theta, slopes = start.copy(), np.empty((1 + size, seen.size))
    lowest, damping = _loss(seen, others, corner, theta, known, slopes), 1e-2
    if not size:
        return lowest, theta
    counts = np.maximum(seen.copy().reshape(-1) + known.read, 0.0)
    for _ in range(40):
        matrix = np.dot(slopes[1:] / slopes[0], slopes[1:].T)
        pull = np.dot(slopes[1:], counts / slopes[0] - 1)
        for j in range(len(theta)):
            matrix[3 * j + 2, 3 * j + 2] += 1 / known.spread**2
            pull[3 * j + 2] -= (theta[j, 2] - known.middle) / known.spread**2
        gained = 0.0
        while damping < 1e6:
            damped = matrix.copy()
            for k in range(size):
                damped[k, k] += damping * matrix[k, k] + 1e-9
            step = np.linalg.solve(damped, pull)
            trial = theta.copy()
            for j in range(len(theta)):
                for k in range(3):
                    most = 1.0 if k == 2 else 0.5 * known.sigma
                    trial[j, k] += min(max(step[3 * j + k], -most), most)
            loss = _loss(seen, others, corner, trial, known, slopes)
            if loss < lowest:
                gained, lowest, theta, damping = lowest - loss, loss, trial, damping / 5
                break
            damping *= 5
        if gained < 1e-3:
            break
    return lowest, theta


@njit(cache=True)
def _window(shape, y, x, sigma):  # type: ignore[no-untyped-def]
    """Top, bottom, left and right of the pixels around a place."""
    reach, row, column = math.ceil(REACH * sigma), round(y), round(x)
    return (
        min(max(row - reach, 0), shape[0] - 1), max(min(row + reach + 1, shape[0]), 1),
        min(max(column - reach, 0), shape[1] - 1), max(min(column + reach + 1, shape[1]), 1),
    )  # fmt: skip


@njit(cache=True)
def _add(image, one, sigma, times):  # type: ignore[no-untyped-def]
    """Add the light of an emitter to an image."""
    top, bottom, left, right = _window(image.shape, one[0], one[1], sigma)
    down, across = np.empty((2, bottom - top)), np.empty((2, right - left))
    _profile(one[0], top, sigma, down[0], down[1])
    _profile(one[1], left, sigma, across[0], across[1])
    light = times * math.exp(one[2])
    for r in range(bottom - top):
        for c in range(right - left):
            image[top + r, left + c] += light * down[0, r] * across[0, c]


@njit(cache=True)
def _beside(index, theta, there, reach):  # type: ignore[no-untyped-def]
    """Return indices of the emitters near one, the nearest first, at most `MOST`."""
    away = np.hypot(theta[:, 0] - theta[index, 0], theta[:, 1] - theta[index, 1])
    near = np.flatnonzero(there & (away < reach))
    near = near[near != index]
    return near[np.argsort(away[near])][:MOST]


@njit(cache=True)
def _around(index, some, seen, model, theta, known):  # type: ignore[no-untyped-def]
    """Window around an emitter: photons, what others give, and corner; without `some` emitters."""
    top, bottom, left, right = _window(seen.shape, theta[index, 0], theta[index, 1], known.sigma)
    others = model.copy()[top:bottom, left:right].copy()
    shifted = theta.copy()
    shifted[:, 0] -= top
    shifted[:, 1] -= left
    down, across = np.empty((2, bottom - top)), np.empty((2, right - left))
    for j in some:
        _profile(theta[j, 0], top, known.sigma, down[0], down[1])
        _profile(theta[j, 1], left, known.sigma, across[0], across[1])
        others -= math.exp(theta[j, 2]) * np.outer(down[0], across[0])
    return seen[top:bottom, left:right].copy(), np.maximum(others, 1e-6), (top, left)


@njit(cache=True)
def _now(index, seen, model, theta, there, known):  # type: ignore[no-untyped-def]
    """Return an emitter's neighbours, these and it, their window (`_around`), and what is lost with all."""
    near = _beside(index, theta, there, NEAR * known.sigma)
    some = np.append(near, index)
    window, others, corner = _around(index, some, seen, model, theta, known)
    loss, _ = fit(window, others, corner, theta[some], known)
    return near, some, window, others, corner, loss


@njit(cache=True)
def _without(index, seen, model, theta, there, known):  # type: ignore[no-untyped-def]
    """Return what is lost without an emitter, its neighbours' indices and where they are then."""
    near, _, window, others, corner, full = _now(index, seen, model, theta, there, known)
    lowest, best = fit(window, others, corner, theta[near], known)
    for partner in range(min(len(near), 2)):  # the start: one of the nearest gets the light
        start = theta[near].copy()
        one, two = math.exp(theta[index, 2]), math.exp(start[partner, 2])
        for k in range(2):
            start[partner, k] = (one * theta[index, k] + two * start[partner, k]) / (one + two)
        start[partner, 2] = math.log(one + two)
        loss, fitted = fit(window, others, corner, start, known)
        if loss < lowest:
            lowest, best = loss, fitted
    return lowest - full, near, best


@njit(cache=True)
def _settled(seen, model, theta, there, known, which):  # type: ignore[no-untyped-def]
    """Fit emitters again, each with its neighbours; changes `theta` and `model`."""
    for index in which:
        some = np.append(_beside(index, theta, there, NEAR * known.sigma), index)
        window, others, corner = _around(index, some, seen, model, theta, known)
        _, fitted = fit(window, others, corner, theta[some], known)
        for j in range(len(some)):
            _add(model, theta[some[j]], known.sigma, -1.0)
            theta[some[j]] = fitted[j]
            _add(model, theta[some[j]], known.sigma, 1.0)


@njit(cache=True)
def _accept(model, theta, near, fitted, sigma):  # type: ignore[no-untyped-def]
    """Put emitters where they were fitted."""
    for j in range(len(near)):
        _add(model, theta[near[j]], sigma, -1.0)
        theta[near[j]] = fitted[j]
        _add(model, theta[near[j]], sigma, 1.0)


@njit(cache=True)
def _eliminate(seen, model, theta, there, known, line):  # type: ignore[no-untyped-def]
    """Take out what the line does not ask for, the least needed first."""
    loss = np.full(len(theta), np.inf)
    for j in np.flatnonzero(there):
        loss[j] = _without(j, seen, model, theta, there, known)[0]
    while there.any():
        index = np.argmin(np.where(there, loss, np.inf))
        if loss[index] >= line:
            break
        _, near, fitted = _without(index, seen, model, theta, there, known)
        around = _beside(index, theta, there, REACH * known.sigma)
        _add(model, theta[index], known.sigma, -1.0)
        there[index] = False
        _accept(model, theta, near, fitted, known.sigma)
        _settled(seen, model, theta, there, known, near)
        for j in around:
            loss[j] = _without(j, seen, model, theta, there, known)[0]


@njit(cache=True)
def _two(one, share, angle, apart):  # type: ignore[no-untyped-def]
    """Two emitters in the place of one, so far apart, the first with this share of the light."""
    step = np.array([math.sin(angle), math.cos(angle), 0.0]) * apart
    first, second = one + (1 - share) * step, one - share * step
    first[2] += math.log(share)
    second[2] += math.log(1 - share)
    return np.stack((first, second))


@njit(cache=True)
def _halves(seen, others, corner, one, more, known):  # type: ignore[no-untyped-def]
    """Fit two emitters in the place of one, with `more` beside them, from many starts; as `fit`.

    Two equal ones in four directions and, unless lights are known to be alike, a faint one in eight.
    """
    lowest, best = np.inf, np.empty((0, 3))
    for turn in range(4 if known.spread < 1 else 12):
        share, angle = (0.5, math.pi / 4 * turn) if turn < 4 else (0.2, math.pi / 4 * turn)
        start = np.concatenate((more, _two(one, share, angle, (1.4 if turn < 4 else 2.0) * known.sigma)))
        loss, fitted = fit(seen, others, corner, start, known)
        if loss < lowest:
            lowest, best = loss, fitted
    return lowest, best


@njit(cache=True)
def _split(index, seen, model, theta, there, known):  # type: ignore[no-untyped-def]
    """Return what two in the place of one gain, indices of what was fitted, and where it is then."""
    near, some, window, others, corner, now = _now(index, seen, model, theta, there, known)
    loss, fitted = _halves(window, others, corner, theta[index], theta[near], known)
    return now - loss, some, fitted


@njit(cache=True)
def _divide(seen, model, theta, there, known, line):  # type: ignore[no-untyped-def]
    """Split what gains more than the line, the most first, as long as there is room in `theta`."""
    gain = np.full(len(theta), -np.inf)
    for j in np.flatnonzero(there):
        gain[j] = _split(j, seen, model, theta, there, known)[0]
    while not there.all():
        index, free = np.argmax(np.where(there, gain, -np.inf)), np.flatnonzero(~there)[0]
        if gain[index] < line:
            break
        _, some, fitted = _split(index, seen, model, theta, there, known)
        around = _beside(index, theta, there, REACH * known.sigma)
        _accept(model, theta, some, fitted[: len(some)], known.sigma)
        theta[free], there[free] = fitted[len(some)], True
        _add(model, theta[free], known.sigma, 1.0)
        for j in np.append(around, np.array([index, free])):
            gain[j] = _split(j, seen, model, theta, there, known)[0]


def limit(seen: np.ndarray, base: np.ndarray, truth: np.ndarray, known: Known, line: float) -> np.ndarray:
    """Find the puncta that are left of the true ones: (M, 2) places.

    Parameters
    ----------
    seen, base
        (Y, X) photons of the camera, and what is expected besides the puncta.
    truth
        (N, 3) y, x and log light.
    known, line
        As `line_for`.
    """
    count = len(truth)
    theta = np.concatenate([truth, np.zeros((count + 8, 3))])
    there, model = np.arange(len(theta)) < count, base.copy()
    for one in truth:
        _add(model, one, known.sigma, 1.0)
    for _ in range(2):
        _settled(seen, model, theta, there, known, np.arange(count))
    _eliminate(seen, model, theta, there, known, line)
    _divide(seen, model, theta, there, known, line)
    return np.asarray(theta[there, :2])


def line_for(
    known: Known,
    spread: float,
    level: float,
    camera: Callable[[np.ndarray], np.ndarray],
    rng: np.random.Generator,
) -> float:
    """Return the loss above which `SPLIT` of single puncta would keep a second emitter.

    Parameters
    ----------
    known
        Puncta and camera.
    spread
        SD of the log light, whether it is known or not.
    level
        Photons of background.
    camera
        What makes photons of the camera from expected ones.
    """
    size = 2 * int(np.ceil(REACH * known.sigma)) + 1
    gains = []
    for place in size // 2 + rng.uniform(-0.5, 0.5, (SINGLES, 2)):
        one = np.array([*place, rng.normal(known.middle, spread)])
        clean = np.full((size, size), level)
        _add(clean, one, known.sigma, 1.0)
        seen = camera(clean)
        background = np.full((size, size), level)
        single, fitted = fit(seen, background, (0, 0), one[None], known)
        gains.append(single - _halves(seen, background, (0, 0), fitted[0], np.empty((0, 3)), known)[0])
    return float(np.quantile(gains, 1 - SPLIT))


def power(photons: float, apart: float, known: Known, level: float) -> float:
    """Chance that the likelihood ratio tells two equal emitters from one, at `SPLIT` false ones.

    Twice the logarithm of the ratio is noncentral chi-square with three degrees of freedom (a second
    place and light), its noncentrality twice the Kullback-Leibler distance of the two from the nearest
    single one.
    """
    blind = known._replace(spread=1e6)
    size = 2 * int(np.ceil(REACH * known.sigma)) + 1
    pair = _two(np.array([size // 2, size // 2, np.log(2 * photons)]), 0.5, 0.3, apart)
    background, expected = np.full((size, size), level), np.full((size, size), level)
    for one in pair:
        _add(expected, one, known.sigma, 1.0)
    both, _ = fit(expected, background, (0, 0), pair, blind)
    single, _ = fit(
        expected, background, (0, 0), np.array([[size // 2, size // 2, np.log(2 * photons)]]), blind
    )
    return float(ncx2.sf(chi2.isf(SPLIT, 3), 3, single - both))
