"""Loops over the voxels around the emitters of a stack; the 3-D counterpart of `puncta.crowds.light_loops`.

Stacks are (Z, Y, X) float32, `points` (N, 3) z, y and x in voxels, `peak` (N,) and `sigma` (N, 2) along z and
in the plane, all float64. An emitter's window reaches `reach` sigma from the voxel it began at.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_tam.compiled import compiled

#: A step of an emitter along an axis, and its way from where it began, at most (sigma).
STEP, AWAY = 0.4, 1.5

#: Added to the diagonal of the normal equations, as a share of it.
DAMPING = 0.02


@compiled
def window(point: Any, sigma: Any, reach: float, shape: Any) -> Any:
    """Return the first voxel of an emitter's window along each axis, and the one after its last, (3, 2)."""
    result = np.empty((3, 2), np.int64)
    for axis in range(3):
        radius = int(np.ceil(reach * sigma[min(axis, 1)]))
        middle = min(max(round(point[axis]), 0), shape[axis] - 1)
        result[axis, 0] = max(middle - radius, 0)
        result[axis, 1] = min(middle + radius + 1, shape[axis])
    return result


@compiled
def bell(centre: float, sigma: float, first: int, last: int) -> Any:
    """Return a Gaussian of height 1 along an axis, at voxels from `first` to before `last`."""
    apart = (np.arange(first, last) - centre) / sigma
    return np.exp(-0.5 * apart * apart)


@compiled
def add_light(stack: Any, home: Any, points: Any, peak: Any, sigma: Any, reach: float, times: float) -> None:
    """Add `times` the light of emitters to a stack, in the windows around `home` (N, 3)."""
    for i in range(len(peak)):
        box = window(home[i], sigma[i], reach, stack.shape)
        along = bell(points[i, 0], sigma[i, 0], box[0, 0], box[0, 1])
        down = bell(points[i, 1], sigma[i, 1], box[1, 0], box[1, 1])
        across = bell(points[i, 2], sigma[i, 1], box[2, 0], box[2, 1])
        for z in range(len(along)):
            for y in range(len(down)):
                height = times * peak[i] * along[z] * down[y]
                line = stack[box[0, 0] + z, box[1, 0] + y]
                for x in range(len(across)):
                    line[box[2, 0] + x] += np.float32(height * across[x])


@compiled
def normal_equations(
    rest: Any, weight: Any, home: Any, point: Any, peak: float, sigma: Any, reach: float
) -> tuple[Any, Any]:
    """Return the gradient of the log-likelihood by height, z, y and x of one emitter, and its matrix."""
    gradient, matrix = np.zeros(4), np.zeros((4, 4))
    box = window(home, sigma, reach, rest.shape)
    along = bell(point[0], sigma[0], box[0, 0], box[0, 1])
    down = bell(point[1], sigma[1], box[1, 0], box[1, 1])
    across = bell(point[2], sigma[1], box[2, 0], box[2, 1])
    slope = np.empty(4)
    for z in range(len(along)):
        of_z = peak * (box[0, 0] + z - point[0]) / (sigma[0] * sigma[0])
        for y in range(len(down)):
            of_y = peak * (box[1, 0] + y - point[1]) / (sigma[1] * sigma[1])
            line, known = rest[box[0, 0] + z, box[1, 0] + y], weight[box[0, 0] + z, box[1, 0] + y]
            for x in range(len(across)):
                shape = along[z] * down[y] * across[x]
                slope[0] = shape
                slope[1] = shape * of_z
                slope[2] = shape * of_y
                slope[3] = shape * peak * (box[2, 0] + x - point[2]) / (sigma[1] * sigma[1])
                w, r = known[box[2, 0] + x], line[box[2, 0] + x]
                for a in range(4):
                    gradient[a] += w * r * slope[a]
                    for b in range(a + 1):
                        matrix[a, b] += w * slope[a] * slope[b]
    for a in range(4):
        for b in range(a):
            matrix[b, a] = matrix[a, b]
    return gradient, matrix


@compiled
def refine(
    rest: Any,
    weight: Any,
    home: Any,
    points: Any,
    peak: Any,
    sigma: Any,
    which: Any,
    reach: float,
    sweeps: int,
) -> None:
    """Fit height and place of some emitters, one after the other and that several times, in place.

    Each takes damped steps of Gauss and Newton on what the others leave (`rest`, the stack without background
    and emitters).
    """
    for _ in range(sweeps):
        for i in which:
            gradient, matrix = normal_equations(rest, weight, home[i], points[i], peak[i], sigma[i], reach)
            for a in range(4):
                matrix[a, a] *= 1 + DAMPING
                matrix[a, a] += 1e-12
            step = np.linalg.solve(matrix, gradient)
            one = slice(i, i + 1)
            add_light(rest, home[one], points[one], peak[one], sigma[one], reach, 1.0)
            peak[i] = min(max(peak[i] + step[0], 0.2 * peak[i]), 5 * peak[i])
            for axis in range(3):
                width = sigma[i, min(axis, 1)]
                moved = points[i, axis] + min(max(step[axis + 1], -STEP * width), STEP * width)
                furthest = max(AWAY * width, 1.0)
                points[i, axis] = min(max(moved, home[i, axis] - furthest), home[i, axis] + furthest)
            add_light(rest, home[one], points[one], peak[one], sigma[one], reach, -1.0)


@compiled
def misfit(rest: Any, weight: Any) -> float:
    """Return chi² of what is left of a part of a stack."""
    total = 0.0
    for z in range(rest.shape[0]):
        for y in range(rest.shape[1]):
            line, known = rest[z, y], weight[z, y]
            for x in range(len(line)):
                total += known[x] * line[x] * line[x]
    return total


@compiled
def elongation(rest: Any, weight: Any, home: Any, points: Any, peak: Any, sigma: Any, reach: float) -> Any:
    """Return what second derivatives of each emitter the rest has, (N, 3, 3), in units of a width squared.

    As a matrix of axes z, y and x: coefficients of the derivatives, each as if it were alone.
    """
    result = np.zeros((len(peak), 3, 3))
    for i in range(len(peak)):
        box = window(home[i], sigma[i], reach, rest.shape)
        along = bell(points[i, 0], sigma[i, 0], box[0, 0], box[0, 1])
        down = bell(points[i, 1], sigma[i, 1], box[1, 0], box[1, 1])
        across = bell(points[i, 2], sigma[i, 1], box[2, 0], box[2, 1])
        norm = np.full((3, 3), 1e-12)
        away = np.empty(3)
        for z in range(len(along)):
            away[0] = (box[0, 0] + z - points[i, 0]) / sigma[i, 0]
            for y in range(len(down)):
                away[1] = (box[1, 0] + y - points[i, 1]) / sigma[i, 1]
                for x in range(len(across)):
                    away[2] = (box[2, 0] + x - points[i, 2]) / sigma[i, 1]
                    place = box[0, 0] + z, box[1, 0] + y, box[2, 0] + x
                    own = peak[i] * along[z] * down[y] * across[x]
                    known, left = weight[place], rest[place]
                    for a in range(3):
                        for b in range(3):
                            shape = own * (away[a] * away[b] - (1.0 if a == b else 0.0))
                            result[i, a, b] += known * left * shape
                            norm[a, b] += known * shape * shape
        result[i] /= norm
    return result


@compiled
def widening(rest: Any, weight: Any, home: Any, points: Any, peak: Any, sigma: Any, reach: float) -> Any:
    """Return the log of how much wider each emitter is than its sigma, and its variance, (N, 2).

    In the plane; one step of Gauss and Newton from its height and both log widths, as if it were alone.
    """
    result = np.zeros((len(peak), 2))
    for i in range(len(peak)):
        gradient, matrix = np.zeros(3), np.zeros((3, 3))
        box = window(home[i], sigma[i], reach, rest.shape)
        along = bell(points[i, 0], sigma[i, 0], box[0, 0], box[0, 1])
        down = bell(points[i, 1], sigma[i, 1], box[1, 0], box[1, 1])
        across = bell(points[i, 2], sigma[i, 1], box[2, 0], box[2, 1])
        slope = np.empty(3)
        for z in range(len(along)):
            of_z = (box[0, 0] + z - points[i, 0]) / sigma[i, 0]
            for y in range(len(down)):
                of_y = (box[1, 0] + y - points[i, 1]) / sigma[i, 1]
                for x in range(len(across)):
                    of_x = (box[2, 0] + x - points[i, 2]) / sigma[i, 1]
                    place = box[0, 0] + z, box[1, 0] + y, box[2, 0] + x
                    slope[0] = along[z] * down[y] * across[x]
                    slope[1] = slope[0] * peak[i] * (of_y * of_y + of_x * of_x)
                    slope[2] = slope[0] * peak[i] * of_z * of_z
                    known, left = weight[place], rest[place]
                    for a in range(3):
                        gradient[a] += known * left * slope[a]
                        for b in range(3):
                            matrix[a, b] += known * slope[a] * slope[b]
        for a in range(3):
            matrix[a, a] = matrix[a, a] * (1 + 1e-6) + 1e-12
        covariance = np.linalg.inv(matrix)
        result[i, 0], result[i, 1] = (covariance[1] * gradient).sum(), covariance[1, 1]
    return result
