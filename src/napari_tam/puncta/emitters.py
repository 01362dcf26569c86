"""Emitters that share light: all of an image fitted together, with standard errors.

An emitter is a Gaussian of known width on a known background. Gradients are sums over pixels; the
normal equations hold overlap integrals in closed form, so that thousands are fitted together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from napari_tam.puncta.patches import Float, Points

Index = npt.NDArray[np.intp]
Doubles = npt.NDArray[np.float64]

#: An emitter is drawn and fitted within so many sigma.
REACH = 3.2

#: The pixels of windows are sorted where the image has so many times more.
MANY = 20

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


class Windows:
    """Square windows around emitters, all of the size of the widest: Gaussians and places in the image.

    Half their edge is `reach` sigma of the widest; what lies beyond the image has no light.
    """

    def __init__(self, emitters: Emitters, shape: tuple[int, int], reach: float = REACH) -> None:
        radius = int(np.ceil(reach * float(emitters.sigma.max(initial=0.5))))
        offset = np.arange(-radius, radius + 1)
        corner = np.clip(np.round(emitters.points).astype(np.intp), 0, np.array(shape) - 1)
        rows, columns = corner[:, :1] + offset, corner[:, 1:] + offset
        self._rows, self._columns = rows.astype(np.float32), columns.astype(np.float32)
        self._seen = (rows >= 0) & (rows < shape[0]), (columns >= 0) & (columns < shape[1])
        self._scale = (-0.5 / emitters.sigma**2).astype(np.float32)[:, None]
        rows, columns = np.clip(rows, 0, shape[0] - 1), np.clip(columns, 0, shape[1] - 1)
        self.flat = (rows[:, :, None] * shape[1] + columns[:, None, :]).reshape(len(emitters), -1)
        self.edge = len(offset)
        self._pixels = shape[0] * shape[1]
        self.move(emitters.points)

    def move(self, points: Points) -> None:
        """Put the Gaussians to other places in the same windows."""
        self.dy = self._rows - points[:, :1].astype(np.float32)
        self.dx = self._columns - points[:, 1:].astype(np.float32)
        self.bell_y = np.exp(self._scale * self.dy**2) * self._seen[0]
        self.bell_x = np.exp(self._scale * self.dx**2) * self._seen[1]

    def pixels(self) -> Index:
        """Return flat indices of the windows' pixels; `of` and `draw` count in these from now on."""
        if MANY * self.flat.size < self._pixels:
            known = np.unique(self.flat)
            self.flat = np.searchsorted(known, self.flat)
            return np.asarray(known, np.intp)
        # Marks and numbers in the whole image take less time than sorting so many indices.
        seen = np.zeros(self._pixels, bool)
        seen[self.flat] = True
        known = np.flatnonzero(seen)
        number = np.empty(self._pixels, np.int32)
        number[known] = np.arange(len(known), dtype=np.int32)
        self.flat = number[self.flat].astype(np.intp)
        return known

    def of(self, image: Float) -> Float:
        """Return the windows of an image, (N, S, S)."""
        return np.asarray(image.ravel()[self.flat]).reshape(-1, self.edge, self.edge)

    def draw(self, peak: Doubles, size: int) -> Float:
        """Return the image (flat, of so many pixels) of Gaussians of the given heights."""
        own = (peak.astype(np.float32)[:, None, None] * self.bell_y[:, :, None]) * self.bell_x[:, None, :]
        return np.bincount(self.flat.ravel(), own.ravel(), minlength=size).astype(np.float32)


def groups_by_width(emitters: Emitters) -> list[Index]:
    """Return indices of emitters of about the same width: a wide one must not make all windows large."""
    step = np.ceil(np.log2(np.maximum(emitters.sigma, 0.5)) * 2).astype(int)
    return [np.flatnonzero(step == value) for value in np.unique(step)]


def add_light(image: Float, emitters: Emitters, times: float = 1.0) -> None:
    """Add the light of emitters to an image (Y, X), or take it away."""
    flat = image.reshape(-1)
    for rows in groups_by_width(emitters):
        windows = Windows(emitters.take(rows), (image.shape[0], image.shape[1]))
        pixels = windows.pixels()
        flat[pixels] += np.float32(times) * windows.draw(emitters.peak[rows], len(pixels))


def draw(emitters: Emitters, shape: tuple[int, int]) -> Float:
    """Return the light of all emitters."""
    image = np.zeros(shape, np.float32)
    add_light(image, emitters)
    return image


def near_pairs(points: Points, reach: float) -> tuple[Index, Index]:
    """Find the pairs of points nearer than `reach`; each once."""
    from scipy.spatial import cKDTree

    pairs = cKDTree(points).query_pairs(reach, output_type="ndarray")
    return pairs[:, 0], pairs[:, 1]


def normal_matrix(emitters: Emitters, weight: Doubles, damping: Doubles | float = 0.0) -> Any:
    """Fisher information of (peak, y, x) of all emitters, a sparse (3N, 3N) matrix.

    Parameters
    ----------
    emitters
        All of about the same width; for two of them the mean of their variances counts.
    weight
        Reciprocal of the variance of a pixel at each emitter.
    damping
        Is added to the diagonal, as a share of it.
    """
    from scipy.sparse import coo_matrix

    n, peak, variance = len(emitters), emitters.peak, emitters.sigma**2
    first, second = near_pairs(emitters.points, REACH * 1.4 * float(emitters.sigma.max(initial=0.5)))
    diagonal = np.zeros((n, 3))
    area = np.pi * variance * weight
    diagonal[:, 0] = area
    diagonal[:, 1:] = (area * peak**2 / (2 * variance))[:, None]
    diagonal *= 1 + np.reshape(damping, (-1, 1))
    apart = emitters.points[first] - emitters.points[second]
    block = overlaps(apart, peak[first], peak[second], variance[first], variance[second])
    block *= np.sqrt(weight[first] * weight[second])[:, None, None]
    index = np.arange(3)
    rows = np.broadcast_to(3 * first[:, None, None] + index[:, None], block.shape).ravel()
    columns = np.broadcast_to(3 * second[:, None, None] + index, block.shape).ravel()
    own = np.arange(3 * n)
    values = np.concatenate([diagonal.ravel(), block.ravel(), block.ravel()])
    places = np.concatenate([own, rows, columns]), np.concatenate([own, columns, rows])
    return coo_matrix((values, places), shape=(3 * n, 3 * n)).tocsc()


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
    from scipy.sparse.linalg import splu

    moving = np.flatnonzero(free)
    if not len(moving):
        return emitters
    now = emitters.take(moving)
    add_light(rest, now)
    windows = Windows(now, (rest.shape[0], rest.shape[1]), REACH + 0.5)
    pixels = windows.pixels()
    light, weights = rest.ravel()[pixels], weight.ravel()[pixels]
    now = _share_heights(now, windows, light, weights)
    group = groups_of(now, 2.5 * float(now.sigma.max()))
    strength = np.full(len(now), DAMPING)
    kept, lowest = now, np.full(len(now), np.inf)
    start = now.points
    for turn in range(rounds + 1):
        windows.move(now.points)
        left = light - windows.draw(now.peak, len(pixels))
        # A group whose fit became worse goes back, and takes shorter steps.
        misfit = np.bincount(group, windows.of(weights * left**2).sum(axis=(1, 2)))[group]
        worse = misfit > lowest
        if worse.any():
            points = np.where(worse[:, None], kept.points, now.points)
            now = replace(now, points=points, peak=np.where(worse, kept.peak, now.peak))
            windows.move(now.points)
            left = light - windows.draw(now.peak, len(pixels))
        strength = np.where(worse, strength * 5, np.maximum(strength / 3, 1e-3))
        kept, lowest = now, np.minimum(misfit, lowest)
        if turn == rounds:
            break
        gradient = _gradient(windows, now, weights * left)
        matrix = normal_matrix(now, weight_at(weight, now), strength)
        now = _stepped(now, splu(matrix).solve(gradient.ravel()).reshape(-1, 3), start)
    rest.reshape(-1)[pixels] = left
    points, peak = emitters.points.copy(), emitters.peak.copy()
    points[moving], peak[moving] = now.points, now.peak
    return replace(emitters, points=points, peak=peak)


def _share_heights(
    now: Emitters, windows: Windows, light: Float, weight: Float, *, rounds: int = 6
) -> Emitters:
    """Divide the light among emitters that stay where they are.

    Each height is multiplied with what the data ask of it over what the model gives (Lee & Seung 2001): it
    stays positive and the fit never becomes worse, however poor the start.
    """

    def asked(image: Float) -> Doubles:
        across = np.einsum("nij,nj->ni", windows.of(image), windows.bell_x)
        return np.asarray((across * windows.bell_y).sum(axis=1), np.float64)

    wanted, peak = np.maximum(asked(weight * light), 1e-12), now.peak
    for _ in range(rounds):
        model = windows.draw(peak, len(light))
        peak = peak * np.clip(wanted / np.maximum(asked(weight * model), 1e-12), 0.1, 10)
    return replace(now, peak=np.maximum(peak, 1e-6))


def groups_of(emitters: Emitters, reach: float) -> Index:
    """Return the number of the group of overlapping emitters that each belongs to."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    n = len(emitters)
    first, second = near_pairs(emitters.points, reach)
    links = coo_matrix((np.ones(len(first), bool), (first, second)), shape=(n, n))
    return np.asarray(connected_components(links, directed=False)[1], np.intp)


def _gradient(windows: Windows, now: Emitters, left: Float) -> Doubles:
    """Gradient of the log-likelihood by peak, y and x; `left` is the weighted residual image."""
    pull, bell = windows.of(left), windows.bell_y
    across = np.einsum("nij,nj->ni", pull, windows.bell_x)
    slope = np.einsum("nij,nj->ni", pull, windows.bell_x * windows.dx)
    steep = now.peak / now.sigma**2
    height, down = (across * bell).sum(axis=1), (across * bell * windows.dy).sum(axis=1) * steep
    return np.asarray(np.stack([height, down, (slope * bell).sum(axis=1) * steep], axis=1), np.float64)


def _stepped(now: Emitters, step: Doubles, start: Points) -> Emitters:
    """Emitters after a step of limited length, not far from where they started."""
    limit = 0.4 * now.sigma[:, None]
    points = np.clip(now.points + np.clip(step[:, 1:], -limit, limit), start - 3 * limit, start + 3 * limit)
    peak = np.clip(now.peak + step[:, 0], 0.3 * now.peak, 2 * now.peak)
    return replace(now, points=points, peak=np.maximum(peak, 1e-6))


def weight_at(weight: Float, emitters: Emitters) -> Doubles:
    """Reciprocal variance of a pixel near each emitter."""
    row, column = np.clip(np.round(emitters.points), 0, np.array(weight.shape) - 1).astype(np.intp).T
    return np.asarray(weight[row, column], np.float64)
