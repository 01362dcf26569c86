"""Emitters that share light: all of an image fitted together, with standard errors.

An emitter is a Gaussian of known width on a known background. Gradients are sums over pixels; the
normal equations hold overlap integrals in closed form, so that thousands are fitted together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_tam.networks.threads import shares, together
from napari_tam.puncta.crowds.joint_fit import MOST_MOVED, fit
from napari_tam.puncta.crowds.light_loops import add_bells
from napari_tam.puncta.patches import Doubles, Index, nearest_pixels

if TYPE_CHECKING:
    from napari_tam.puncta.patches import Float, Points


#: An emitter is drawn and fitted within so many sigma.
REACH = 3.2

#: A thread of its own is worth it for so many.
FEW = 200

#: Added to the diagonal of the normal equations at first, as a share of it.
DAMPING = 0.3


@dataclass(frozen=True)
class Emitters:
    """N Gaussians: arrays of length N, in pixels and grey values.

    Attributes
    ----------
    points
        (N, 2) y and x.
    peak
        Height.
    sigma
        Width; it is not fitted.
    parent
        Index of the candidate that each comes from.
    """

    points: Points
    peak: Doubles
    sigma: Doubles
    parent: Index

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.peak)

    def take(self, which: npt.NDArray[np.generic]) -> Emitters:
        """Return those at the given indices, or where a mask is true."""
        return Emitters(self.points[which], self.peak[which], self.sigma[which], self.parent[which])

    def plus(self, more: Emitters) -> Emitters:
        """Return these, then others."""
        return Emitters(
            np.concatenate([self.points, more.points]),
            np.concatenate([self.peak, more.peak]),
            np.concatenate([self.sigma, more.sigma]),
            np.concatenate([self.parent, more.parent]),
        )


def add_light(image: Float, emitters: Emitters, times: float = 1.0) -> None:
    """Add the light of emitters to an image (Y, X), or take it away."""
    add_bells(image, *arrays(emitters), REACH, float(times))


def arrays(emitters: Emitters) -> tuple[Points, Doubles, Doubles]:
    """Return places, heights and widths as the compiled loops take them."""
    return tuple(  # type: ignore[return-value]
        np.ascontiguousarray(part, np.float64) for part in (emitters.points, emitters.peak, emitters.sigma)
    )


def pixels_around(points: Points, radius: int, shape: tuple[int, int]) -> Index:
    """Return flat indices of the pixels in squares around points, (N, pixels); the edge is repeated."""
    offset = np.arange(-radius, radius + 1)
    corner = np.round(points).astype(np.intp)
    rows = np.clip(corner[:, :1] + offset, 0, shape[0] - 1)
    columns = np.clip(corner[:, 1:] + offset, 0, shape[1] - 1)
    return np.asarray(rows[:, :, None] * shape[1] + columns[:, None, :], np.intp).reshape(len(points), -1)


def near_pairs(points: Points, reach: float) -> tuple[Index, Index]:
    """Find the pairs of points nearer than `reach`; each once."""
    from scipy.spatial import cKDTree

    pairs = cKDTree(points).query_pairs(reach, output_type="ndarray")
    return pairs[:, 0], pairs[:, 1]


def overlaps(apart: Doubles, a: Doubles, b: Doubles, one: Doubles, other: Doubles) -> Doubles:
    """Integrals of products of the derivatives by (height, y, x) of two Gaussians, (..., 3, 3).

    Of heights `a` and `b` and variances `one` and `other`, `apart` (..., 2) from each other. The product of
    two Gaussians integrates to a Gaussian of their distance; its derivatives are the other integrals.
    """
    total = one + other
    product = 2 * np.pi * one * other / total * np.exp(-(apart**2).sum(axis=-1) / (2 * total))
    dy, dx = apart[..., 0] / total, apart[..., 1] / total
    block = np.empty((*product.shape, 3, 3))
    block[..., 0, 0] = 1
    block[..., 0, 1], block[..., 0, 2] = b * dy, b * dx
    block[..., 1, 0], block[..., 2, 0] = -a * dy, -a * dx
    block[..., 1, 1], block[..., 2, 2] = a * b * (1 / total - dy**2), a * b * (1 / total - dx**2)
    block[..., 1, 2] = block[..., 2, 1] = -a * b * dy * dx
    block *= product[..., None, None]
    return block


def refine(
    emitters: Emitters, rest: Float, weight: Float, free: npt.NDArray[np.bool_], *, rounds: int = 8
) -> Emitters:
    """Fit place and height of the free emitters, all together; the others stay.

    Parameters
    ----------
    rest
        (Y, X) the image without background and emitters, the free ones too. It is changed with them.
    weight
        (Y, X) reciprocal of each pixel's variance.
    free
        (N,) which emitters are fitted.
    """
    moving = np.flatnonzero(free)
    if not len(moving):
        return emitters
    now = emitters.take(moving)
    widest = float(now.sigma.max())
    # Those that can come to overlap, in parts that never do.
    first, second = near_pairs(now.points, (REACH * 1.4 + 2 * MOST_MOVED) * widest)
    part = _connected(first, second, len(now))
    # Windows of different regions share no pixel, wherever emitters move.
    edge = np.ceil((REACH + 0.5) * widest) + MOST_MOVED * widest + 1
    region = groups_of(now, 2 * np.sqrt(2) * edge)
    order = np.lexsort((part, region))
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    one = np.concatenate([place[first], place[second]])
    other = np.concatenate([place[second], place[first]])[np.lexsort((one,))]
    first_edge = np.concatenate([[0], np.cumsum(np.bincount(one, minlength=len(now)))])
    part, region, group = (of[order] for of in (part, region, groups_of(now, 2.5 * widest)))
    start, heights, sigma = arrays(now.take(order))
    model = np.zeros_like(rest)  # memory that nothing is written to costs nothing

    def fitted(begin: int, end: int) -> tuple[Points, Doubles]:
        some = slice(begin, end)
        edges = first_edge[begin : end + 1]
        begins = np.flatnonzero(np.diff(part[some], prepend=-1, append=-1))
        places, peaks = fit(
            rest, weight, model, start[some], heights[some], sigma[some],
            np.unique(group[some], return_inverse=True)[1], edges - edges[0],
            other[edges[0] : edges[-1]] - begin, begins, REACH + 0.5, rounds, DAMPING,
        )  # fmt: skip
        return places, peaks

    ends = [np.searchsorted(region, region[share.start]) for share in shares(len(now), FEW)]
    found = together(*(partial(fitted, *pair) for pair in pairwise(np.unique([*ends, len(now)]).tolist())))
    points, peak = emitters.points.copy(), emitters.peak.copy()
    points[moving[order]], peak[moving[order]] = (np.concatenate(each) for each in zip(*found, strict=True))
    return replace(emitters, points=points, peak=peak)


def groups_of(emitters: Emitters, reach: float) -> Index:
    """Return the number of the group of overlapping emitters that each belongs to."""
    return _connected(*near_pairs(emitters.points, reach), len(emitters))


def _connected(first: Index, second: Index, n: int) -> Index:
    """Return the number of the connected part that each of `n` belongs to."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    links = coo_matrix((np.ones(len(first), bool), (first, second)), shape=(n, n))
    return np.asarray(connected_components(links, directed=False)[1], np.intp)


def weight_at(weight: Float, emitters: Emitters) -> Doubles:
    """Reciprocal variance of a pixel near each emitter."""
    return values_at(weight, emitters.points)


def values_at(image: npt.NDArray[np.floating[Any]], points: Points) -> Doubles:
    """Values of the pixels (Y, X) that points (N, 2) lie in, or are nearest to."""
    return np.asarray(image[tuple(nearest_pixels(points, image.shape).T)], np.float64)


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
