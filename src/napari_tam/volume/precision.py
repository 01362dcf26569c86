"""How precisely emitters of a stack can be known: the Cramér-Rao bound."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from napari_tam.puncta.crowds.emitters import REACH
from napari_tam.volume.emitters import voxels_of

if TYPE_CHECKING:
    from napari_tam.puncta.patches import Doubles, Float
    from napari_tam.volume.emitters import Parted


def standard_errors(emitters: Parted, weight: Float, sigma: Doubles, *, neighbours: int = 6) -> Doubles:
    """Least standard errors (Cramér-Rao) of height, and of z, y and x in voxels, (N, 4).

    As `standard_errors` of `napari_tam.puncta.crowds.emitters`: the inverse of the Fisher information of
    each emitter, its nearest neighbours and a constant background together. In units of a punctum's width
    all are round Gaussians of width 1, whose overlap integrals hang on the distance d alone:
    ``π^1.5 exp(-d² / 4)`` and its derivatives.

    Parameters
    ----------
    weight
        (Z, Y, X) reciprocal of each voxel's variance.
    sigma
        (2,) width of a single punctum along z and in the plane, in voxels; wider ones count as that.
    """
    n = len(emitters)
    if not n:
        return np.zeros((0, 4))
    scaled = emitters.scaled(sigma)
    away, who = cKDTree(scaled).query(scaled, k=min(neighbours + 1, n), distance_upper_bound=4)
    away, who = away.reshape(n, -1), who.reshape(n, -1)
    size = np.isfinite(away).sum(axis=1)
    per_voxel = sigma[0] * sigma[1] ** 2  # of the unit in which they are round
    known = weight[tuple(voxels_of(emitters.points, weight.shape).T)] * per_voxel
    # What has no light has no place; its height is known as well as that of others.
    heights = np.maximum(emitters.peak, 1e-3 * float(np.median(emitters.peak)))
    result = np.zeros((n, 4))
    for count in np.unique(size):
        rows = np.flatnonzero(size == count)
        some = who[rows, :count]
        points, peak = scaled[some], heights[some]
        apart = points[:, :, None] - points[:, None, :]
        a, b = peak[:, :, None], peak[:, None, :]
        block = np.empty((*apart.shape[:-1], 4, 4))
        block[..., 0, 0] = 1
        block[..., 0, 1:] = b[..., None] * apart / 2
        block[..., 1:, 0] = -a[..., None] * apart / 2
        squares = np.eye(3) / 2 - apart[..., :, None] * apart[..., None, :] / 4
        block[..., 1:, 1:] = (a * b)[..., None, None] * squares
        block *= (np.pi**1.5 * np.exp(-(apart**2).sum(axis=-1) / 4))[..., None, None]
        matrix = np.zeros((len(rows), 4 * count + 1, 4 * count + 1))
        matrix[:, :-1, :-1] = block.transpose(0, 1, 3, 2, 4).reshape(len(rows), 4 * count, 4 * count)
        matrix[:, -1, -1] = 4 / 3 * np.pi * REACH**3
        matrix[:, -1, :-1:4] = matrix[:, :-1:4, -1] = (2 * np.pi) ** 1.5
        scale = np.sqrt(np.einsum("nii->ni", matrix))
        matrix /= scale[:, :, None] * scale[:, None, :]
        inverse = np.linalg.inv(matrix + 1e-9 * np.eye(matrix.shape[1]))
        spread = np.einsum("nii->ni", inverse)[:, :4] / scale[:, :4] ** 2
        result[rows] = np.sqrt(np.maximum(spread, 0) / known[rows, None])
    return np.asarray(result * np.array([1, sigma[0], sigma[1], sigma[1]]))
