"""The loop that fits emitters together: damped steps of Gauss and Newton (Levenberg, Marquardt)."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_tam.compiled import compiled
from napari_tam.puncta.crowds.light_loops import add_bells, clear, gradients, matched, misfits

#: The step is solved for until this share of the (preconditioned, squared) gradient is left.
SOLVED = 1e-9

#: An emitter moves by at most so many sigma in one step, and from where it was.
STEP, MOST_MOVED = 0.4, 1.2

#: Steps of conjugate gradients at most.
MOST_STEPS = 200


@compiled
def share_heights(
    rest: Any,
    weight: Any,
    model: Any,
    points: Any,
    peak: Any,
    sigma: Any,
    first_edge: Any,
    reach: float,
    rounds: int,
) -> Any:
    """Divide the light among emitters that stay where they are; `rest` is changed with them.

    `model` (Y, X) is 0 before and after; `first_edge` as of `fit`: who overlaps with nobody is done at once.

    Each height is multiplied with what the data ask of it over what the model gives (Lee & Seung 2001): it
    stays positive and the fit never becomes worse, however poor the start.
    """
    add_bells(model, points, peak, sigma, reach, 1.0)
    wanted, drawn = matched(rest, weight, points, sigma, reach), matched(model, weight, points, sigma, reach)
    now, given = peak.copy(), drawn
    others = np.flatnonzero(np.diff(first_edge) > 0)
    some = np.arange(len(now))
    for turn in range(rounds):
        for k in range(len(some)):
            i = some[k]
            now[i] *= min(max(max(wanted[i] + drawn[i], 1e-12) / max(given[k], 1e-12), 0.1), 10.0)
        if turn == rounds - 1 or not len(others):
            break
        some = others
        clear(model, points[some], sigma[some], reach)
        add_bells(model, points[some], now[some], sigma[some], reach, 1.0)
        given = matched(model, weight, points[some], sigma[some], reach)
    clear(model, points, sigma, reach)
    for i in range(len(now)):
        now[i] = max(now[i], 1e-6)
    add_bells(rest, points, peak, sigma, reach, 1.0)
    add_bells(rest, points, now, sigma, reach, -1.0)
    return now


@compiled
def fit(
    rest: Any,
    weight: Any,
    model: Any,
    start: Any,
    heights: Any,
    sigma: Any,
    group: Any,
    first_edge: Any,
    other: Any,
    part: Any,
    reach: float,
    rounds: int,
    damping: float,
) -> tuple[Any, Any]:
    """Fit places and heights of emitters; `rest` (Y, X) is changed with them.

    Parameters
    ----------
    model
        (Y, X) zeros, to draw in.
    group
        (N,) number of the group that each belongs to: one whose fit became worse goes back.
    first_edge, other
        (N + 1,) and (edges,): which emitters may overlap with each, in rows as of a sparse matrix.
    part
        (parts + 1,) where each part begins; emitters of different parts have no edge between them.
    reach
        Half edge of the windows, in sigma.
    damping
        Added to the diagonal of the normal equations at first, as a share of it.

    Returns
    -------
    Places (N, 2) and heights (N,).
    """
    n = len(heights)
    now = start.copy()
    peak = share_heights(rest, weight, model, start, heights, sigma, first_edge, reach, 6)
    strength = np.full(n, damping)
    kept, kept_peak, lowest = np.empty((n, 2)), np.empty(n), np.full(n, np.inf)
    of_group = np.empty(n)
    diagonal, blocks = np.empty((n, 3)), np.empty((len(other), 3, 3))
    step = np.empty((n, 3))
    for turn in range(rounds + 1):
        of_group[:] = 0
        own = misfits(rest, weight, start, sigma, reach)
        for i in range(n):
            of_group[group[i]] += own[i]
        if turn:
            put_back(rest, of_group, group, lowest, now, peak, kept, kept_peak, sigma, reach)
        for i in range(n):
            misfit = of_group[group[i]]
            strength[i] = strength[i] * 5 if misfit > lowest[i] else max(strength[i] / 3, 1e-3)
            lowest[i] = min(misfit, lowest[i])
            kept[i, 0], kept[i, 1], kept_peak[i] = now[i, 0], now[i, 1], peak[i]
        if turn == rounds:
            break
        gradient = gradients(rest, weight, start, now, peak, sigma, reach)
        normal_blocks(diagonal, blocks, weight, now, peak, sigma, first_edge, other, strength)
        for k in range(len(part) - 1):
            solve(step, diagonal, blocks, gradient, first_edge, other, part[k], part[k + 1])
        add_bells(rest, now, peak, sigma, reach, 1.0)
        for i in range(n):
            limit, most = STEP * sigma[i], MOST_MOVED * sigma[i]
            for axis in range(2):
                moved = now[i, axis] + min(max(step[i, 1 + axis], -limit), limit)
                low, high = start[i, axis] - most, start[i, axis] + most
                now[i, axis] = min(max(moved, low), high)
            peak[i] = max(min(max(peak[i] + step[i, 0], 0.3 * peak[i]), 2 * peak[i]), 1e-6)
        add_bells(rest, now, peak, sigma, reach, -1.0)
    return now, peak


@compiled
def put_back(
    rest: Any,
    of_group: Any,
    group: Any,
    lowest: Any,
    now: Any,
    peak: Any,
    kept: Any,
    kept_peak: Any,
    sigma: Any,
    reach: float,
) -> None:
    """Put the emitters of groups whose fit became worse back to where they were."""
    for i in range(len(peak)):
        if of_group[group[i]] > lowest[i]:
            one = slice(i, i + 1)
            add_bells(rest, now[one], peak[one], sigma[one], reach, 1.0)
            add_bells(rest, kept[one], kept_peak[one], sigma[one], reach, -1.0)
            now[i, 0], now[i, 1], peak[i] = kept[i, 0], kept[i, 1], kept_peak[i]


@compiled
def normal_blocks(
    diagonal: Any,
    blocks: Any,
    weight: Any,
    points: Any,
    peak: Any,
    sigma: Any,
    first_edge: Any,
    other: Any,
    damping: Any,
) -> None:
    """Write the Fisher information of (height, y, x): of each emitter its diagonal, and of each edge.

    Integrals of products of the derivatives of two Gaussians (as `emitters.overlaps`), times the geometric
    mean of the weights at both.
    """
    known = np.empty(len(peak))
    for i in range(len(peak)):
        row = min(max(round(points[i, 0]), 0), weight.shape[0] - 1)
        column = min(max(round(points[i, 1]), 0), weight.shape[1] - 1)
        known[i] = weight[row, column]
    for i in range(len(peak)):
        area = np.pi * sigma[i] ** 2 * known[i]
        diagonal[i, 0] = area * (1 + damping[i])
        diagonal[i, 1] = diagonal[i, 2] = area * peak[i] ** 2 / (2 * sigma[i] ** 2) * (1 + damping[i])
        for e in range(first_edge[i], first_edge[i + 1]):
            j = other[e]
            total = sigma[i] ** 2 + sigma[j] ** 2
            dy, dx = (points[i, 0] - points[j, 0]) / total, (points[i, 1] - points[j, 1]) / total
            a, b = peak[i], peak[j]
            block = blocks[e]
            block[0, 0], block[0, 1], block[0, 2] = 1, b * dy, b * dx
            block[1, 0], block[2, 0] = -a * dy, -a * dx
            block[1, 1], block[2, 2] = a * b * (1 / total - dy * dy), a * b * (1 / total - dx * dx)
            block[1, 2] = block[2, 1] = -a * b * dy * dx
            shared = 2 * np.pi * (sigma[i] * sigma[j]) ** 2 / total * np.exp(-(dy * dy + dx * dx) * total / 2)
            shared *= np.sqrt(known[i] * known[j])
            for a_row in range(3):
                for a_column in range(3):
                    block[a_row, a_column] *= shared


@compiled
def solve(
    step: Any, diagonal: Any, blocks: Any, gradient: Any, first_edge: Any, other: Any, begin: int, end: int
) -> None:
    """Solve the normal equations of some emitters by preconditioned conjugate gradients."""
    n = end - begin
    left, way, product, eased = np.empty((n, 3)), np.zeros((n, 3)), np.empty((n, 3)), np.empty((n, 3))
    before, start = 1.0, 0.0
    for i in range(n):
        for a in range(3):
            step[begin + i, a], left[i, a] = 0, gradient[begin + i, a]
    for turn in range(min(3 * n + 1, MOST_STEPS)):
        now = 0.0
        for i in range(n):
            for a in range(3):
                eased[i, a] = left[i, a] / diagonal[begin + i, a]
                now += left[i, a] * eased[i, a]
        if turn == 0:
            start = now
        if now <= SOLVED * start:
            break
        for i in range(n):
            for a in range(3):
                way[i, a] = eased[i, a] + (now / before * way[i, a] if turn else 0.0)
        along = 0.0
        for i in range(n):
            for a in range(3):
                product[i, a] = diagonal[begin + i, a] * way[i, a]
            for e in range(first_edge[begin + i], first_edge[begin + i + 1]):
                j = other[e] - begin
                for a in range(3):
                    for b in range(3):
                        product[i, a] += blocks[e, a, b] * way[j, b]
            for a in range(3):
                along += product[i, a] * way[i, a]
        if along <= 0:  # not positive definite by rounding
            break
        for i in range(n):
            for a in range(3):
                step[begin + i, a] += now / along * way[i, a]
                left[i, a] -= now / along * product[i, a]
        before = now
