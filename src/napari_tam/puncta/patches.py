"""The pixels around puncta: their local background and widths."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from napari_tam.networks.threads import shares, together
from napari_tam.puncta.patch_loops import bells, moments, ring_values, slopes

if TYPE_CHECKING:
    from collections.abc import Callable

Float = npt.NDArray[np.float32]

Points = npt.NDArray[np.float64]

Doubles = npt.NDArray[np.float64]

Index = npt.NDArray[np.intp]


#: Full width at half maximum of a Gaussian, over its sigma.
FWHM = 2 * float(np.sqrt(2 * np.log(2)))


#: Light of an annulus counts for a slope up to so many SD, and a slope counts from this chi² on (of two
#: degrees of freedom).
_CLIP_SD, _CLEAR_SLOPE = 2.5, 12.0


#: A thread of its own is worth it for so many windows.
MANY = 500


def in_parts(task: Callable[..., None], *rows: npt.NDArray[Any]) -> None:
    """Let a task write to arrays of as many rows, in a part of the rows for each free core."""
    parts = shares(len(rows[0]), MANY)
    together(*(partial(task, *(array[some] for array in rows)) for some in parts))


def nearest_pixels(points: Points, shape: tuple[int, ...]) -> npt.NDArray[np.intp]:
    """Return the pixels of an image of that shape (Y, X) that points (N, 2) lie in, or are nearest to."""
    return np.clip(np.round(points), 0, np.array(shape) - 1).astype(np.intp)


class Patches:
    """Square windows of an image around points, with the distance of each pixel to its point.

    Pixels beyond the image are NaN: not known, and not counted.
    """

    def __init__(self, image: Float, points: Points, radius: int) -> None:
        frame = (radius, radius, radius, radius)
        padded = cv2.copyMakeBorder(image, *frame, cv2.BORDER_CONSTANT, value=float("nan"))
        corner = nearest_pixels(points, image.shape)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * radius + 1, 2 * radius + 1))
        self.pixels = windows[corner[:, 0], corner[:, 1]].reshape(len(points), (2 * radius + 1) ** 2)
        self.corner, self.size = corner, 2 * radius + 1
        beyond = (corner < radius) | (corner >= np.array(image.shape) - radius)
        #: The windows that reach beyond the image, and which of their pixels lie in it.
        self.cut = np.flatnonzero(beyond.any(axis=1))
        self.seen = ~np.isnan(self.pixels[self.cut])
        offset = np.arange(-radius, radius + 1, dtype=np.float32)
        shift = (points - corner).astype(np.float32)
        self._y = np.repeat(offset, 2 * radius + 1)[None, :]
        self._x = np.tile(offset, 2 * radius + 1)[None, :]
        self.move(shift)

    def move(self, shift: Float) -> None:
        """Set the points' sub-pixel offsets (n×2) from the windows' middle pixels."""
        self.shift = np.ascontiguousarray(shift, np.float32)

    @property
    def dy(self) -> Float:
        """How far down of its point each pixel is, (n, pixels)."""
        return self._y - self.shift[:, :1]

    @property
    def dx(self) -> Float:
        """How far to the right of its point each pixel is, (n, pixels)."""
        return self._x - self.shift[:, 1:]

    @property
    def squared(self) -> Float:
        """Squared distance of each pixel to its point, (n, pixels)."""
        return self.squared_of(slice(None))

    def squared_of(self, some: slice | Index) -> Float:
        """Return `squared` of some windows only."""
        shift = self.shift[some]
        return np.asarray((self._y - shift[:, :1]) ** 2 + (self._x - shift[:, 1:]) ** 2, np.float32)

    def bells(self, peak: Float, sigma: Float) -> Float:
        """Return a Gaussian of that height and width (px) at each point, (n, pixels)."""
        result = np.empty((len(peak), self.size**2), np.float32)
        in_parts(bells, result, self.shift, peak, sigma)
        return result

    def above(self, level: Float, others: Float | None = None) -> Float:
        """Light above a level for each point, without the light of others; 0 beyond the image."""
        light: Float = self.pixels - level[:, None]
        if others is not None:
            light -= others
        light[self.cut] = np.nan_to_num(light[self.cut])
        return light

    @property
    def points(self) -> Points:
        """Positions in the image."""
        return np.asarray(self.corner + self.shift.astype(np.float64))


def background(
    patches: Patches, inner: float | Float, outer: float | Float, others: Float | None = None
) -> tuple[Float, Float]:
    """Median and SD (from the median absolute deviation) of the annulus around each point.

    `others` is the light of neighbours to take away first.
    """
    pixels = patches.pixels if others is None else patches.pixels - others
    count, radii = len(pixels), (inner, outer)
    least, most = (np.broadcast_to(np.asarray(radius, np.float32).ravel(), count) for radius in radii)
    level, spread = np.empty((2, count), np.float32)
    in_parts(_of_rings, level, spread, pixels, patches.shift, least, most)
    return level, spread


def _of_rings(level: Float, spread: Float, pixels: Float, shift: Float, inner: Float, outer: Float) -> None:
    """Write the `background` of windows (N, pixels) to (N,) levels and spreads."""
    ring, known = np.empty_like(pixels), np.empty(len(pixels), np.intp)
    ring_values(ring, known, pixels, shift, inner, outer)
    empty = known == 0
    if empty.any():  # the annulus lies beyond a small image: all there is must do
        ring[empty] = np.sort(np.where(np.isnan(pixels[empty]), np.inf, pixels[empty]), axis=1)
        known[empty] = np.isfinite(ring[empty]).sum(axis=1)
    ring = ring[:, : max(known.max(initial=1), 1)]
    ring.sort(axis=1)
    level[:] = _sorted_median(ring, known)
    np.abs(ring - level[:, None], out=ring)
    ring.sort(axis=1)
    spread[:] = _sorted_median(ring, known) * np.float32(1.4826)


def tilted(patches: Patches, inner: float, outer: float, ground: tuple[Float, Float], others: Float) -> Float:
    """Planes through the annuli around points, zero at the points: how their backgrounds slope.

    A cell's edge or haze beside a punctum would pull its place and widen it. There is no slope where it is
    not clear of the noise, or the image's edge cuts the window.

    Parameters
    ----------
    patches
        N windows of P pixels.
    inner, outer
        Radii of the annulus (px).
    ground
        Level and SD of each annulus, as of `background`.
    others
        (N, P) light of neighbours.

    Returns
    -------
    (N, P) grey values.
    """
    level, noise = ground
    light = patches.pixels - others
    light -= level[:, None]
    rise = np.empty((len(light), 4))
    # A neighbour that nobody knows of is no slope.
    in_parts(partial(slopes, inner, outer), rise, light, patches.shift, _CLIP_SD * noise)
    clear = (rise[:, :2] ** 2 * rise[:, 2:]).sum(axis=1) / np.maximum(noise**2, 1e-12)
    known = clear > _CLEAR_SLOPE
    known[patches.cut] = False
    down, right = (np.where(known, slope, 0)[:, None] for slope in rise[:, :2].T)
    return np.asarray(down * patches.dy + right * patches.dx, np.float32)


def _sorted_median(rows: Float, count: Index) -> Float:
    """Median of the first so many of each row, (N,)."""
    count, index = np.maximum(count, 1), np.arange(len(rows))
    return np.asarray((rows[index, (count - 1) // 2] + rows[index, count // 2]) / 2, np.float32)


def gaussian_widths(
    patches: Patches, level: Float, start: Float, low: Float, high: Float, *, rounds: int = 4
) -> Float:
    """Refine positions and return sigma (px) of each punctum by Gaussian-weighted moments.

    With a Gaussian weight of width w, a Gaussian of width s has the weighted variance
    s²w²/(s² + w²); solved for s and repeated with w = s (adaptive moments; Bernstein & Jarvis 2002).
    Sigma starts at `start` and stays between `low` and `high`.
    """
    sigma = start.copy()
    signal, cut = patches.above(level), patches.cut
    sums = np.empty((len(sigma), 5))
    for _ in range(rounds):
        in_parts(moments, sums, signal, patches.shift, sigma)
        total, size, along_y, along_x, squared = sums.T
        # Where noise outweighs the light, or the image's edge cuts it, there is no centroid to speak of.
        good = total > 0.3 * size
        bell = np.exp(-0.5 * patches.squared_of(cut) / sigma[cut, None] ** 2)
        good[cut] &= (bell * patches.seen).sum(axis=1) > 0.97 * bell.sum(axis=1)
        safe = np.where(good, total, 1)
        # The weight pulls the centroid half-way back, hence the factor 2.
        step = np.where(good, 2 * np.stack([along_y, along_x]) / safe, 0).T
        step = np.clip(step, -0.4, 0.4).astype(np.float32)
        moment = np.where(good, squared / safe / 2, sigma**2 / 2)
        patches.move(np.clip(patches.shift + step, -1.2, 1.2))
        solved = moment * sigma**2 / np.maximum(sigma**2 - moment, 0.15 * sigma**2)
        sigma = np.clip(np.sqrt(np.maximum(solved, 0.16)), sigma / 1.5, sigma * 1.5)
        sigma = np.clip(sigma, low, high).astype(np.float32)
    return sigma
