"""How precisely emitters can be known: the Cramér-Rao bound."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_tam.puncta.emitters import REACH, overlaps, weight_at

if TYPE_CHECKING:
    from napari_tam.puncta.emitters import Doubles, Emitters
    from napari_tam.puncta.patches import Float


def standard_errors(emitters: Emitters, weight: Float, *, neighbours: int = 6) -> Doubles:
    """Least standard errors (Cramér-Rao) of height, y and x, (N, 3).

    The inverse of the Fisher information of each emitter, its nearest neighbours and a constant
    background together. Pixels count as noisy as the nearest one to the emitter.
    """
    from scipy.spatial import cKDTree

    n = len(emitters)
    result = np.zeros((n, 3))
    if not n:
        return result
    sigma = float(np.median(emitters.sigma))
    tree = cKDTree(emitters.points)
    away, who = tree.query(emitters.points, k=min(neighbours + 1, n), distance_upper_bound=4 * sigma)
    away, who = away.reshape(n, -1), who.reshape(n, -1)
    known = weight_at(weight, emitters)
    size = np.isfinite(away).sum(axis=1)
    for count in np.unique(size):
        rows = np.flatnonzero(size == count)
        some = who[rows, :count]
        points, peak = emitters.points[some], emitters.peak[some]
        variance = np.broadcast_to(emitters.sigma[rows, None] ** 2, peak.shape)
        apart = points[:, :, None] - points[:, None, :]
        blocks = overlaps(
            apart, peak[:, :, None], peak[:, None, :], variance[:, :, None], variance[:, None, :]
        )
        area = np.pi * (REACH * emitters.sigma[rows]) ** 2
        matrix = np.zeros((len(rows), 3 * count + 1, 3 * count + 1))
        matrix[:, :-1, :-1] = blocks.transpose(0, 1, 3, 2, 4).reshape(len(rows), 3 * count, 3 * count)
        matrix[:, -1, -1] = area
        matrix[:, -1, :-1:3] = matrix[:, :-1:3, -1] = 2 * np.pi * variance
        scale = np.sqrt(np.einsum("nii->ni", matrix))
        matrix /= scale[:, :, None] * scale[:, None, :]
        inverse = np.linalg.inv(matrix + 1e-9 * np.eye(matrix.shape[1]))
        spread = np.einsum("nii->ni", inverse)[:, :3] / scale[:, :3] ** 2
        result[rows] = np.sqrt(np.maximum(spread, 0) / known[rows, None])
    return result
