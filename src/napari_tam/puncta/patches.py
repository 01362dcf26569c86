"""The pixels around puncta: their local background and widths."""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np
import numpy.typing as npt

from napari_tam.networks.threads import shares, together

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
        self.shift = shift
        self.dy = self._y - shift[:, :1]
        self.dx = self._x - shift[:, 1:]
        self.squared = self.dy**2 + self.dx**2

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
    radii = [np.broadcast_to(np.asarray(radius), (len(pixels), 1)) for radius in (inner, outer)]
    parts = [
        (pixels[some], patches.squared[some], *(r[some] for r in radii)) for some in shares(len(pixels), MANY)
    ]
    levels, spreads = zip(*together(*(partial(_of_rings, *part) for part in parts)), strict=True)
    return np.concatenate(levels), np.concatenate(spreads)


def _of_rings(pixels: Float, squared: Float, inner: Float, outer: Float) -> tuple[Float, Float]:
    """Return `background` of windows (N, pixels), by each pixel's squared distance and the radii (N, 1)."""
    ring = np.where((squared >= inner**2) & (squared <= outer**2), pixels, np.float32(np.nan))
    # Sort once: medians of a row with NaN at its end are a look-up.
    ring.sort(axis=1)
    level = _sorted_median(ring)
    empty = np.isnan(level)
    if empty.any():  # the annulus lies beyond a small image: all there is must do
        ring[empty] = np.sort(pixels[empty], axis=1)
        level[empty] = _sorted_median(ring[empty])
    spread = np.abs(ring - level[:, None])
    spread.sort(axis=1)
    return level, _sorted_median(spread) * np.float32(1.4826)


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
    level, noise = (values[:, None] for values in ground)
    light = patches.pixels - others - level
    # A neighbour that nobody knows of is no slope.
    np.clip(light, -_CLIP_SD * noise, _CLIP_SD * noise, out=light)
    light[(patches.squared < inner**2) | (patches.squared > outer**2)] = 0
    ring = (light != 0).astype(np.float32)
    slopes, clear = [], np.zeros(len(light), np.float32)
    for away in (patches.dy, patches.dx):
        weight = (ring * away**2).sum(axis=1)
        slope = (light * away).sum(axis=1) / np.maximum(weight, 1e-6)
        clear += slope**2 * weight / np.maximum(noise[:, 0] ** 2, 1e-12)
        slopes.append(slope)
    known = clear > _CLEAR_SLOPE
    known[patches.cut] = False
    down, right = (np.where(known, slope, 0)[:, None] for slope in slopes)
    return np.asarray(down * patches.dy + right * patches.dx, np.float32)


def _sorted_median(rows: Float) -> Float:
    count = rows.shape[1] - np.isnan(rows).sum(axis=1)
    count = np.maximum(count, 1)
    index = np.arange(len(rows))
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
    for _ in range(rounds):
        bell = np.exp(-0.5 * patches.squared / sigma[:, None] ** 2)
        weight = bell * signal
        total = weight.sum(axis=1)
        # Where noise outweighs the light, or the image's edge cuts it, there is no centroid to speak of.
        good = total > 0.3 * np.abs(weight).sum(axis=1)
        good[cut] &= (bell[cut] * patches.seen).sum(axis=1) > 0.97 * bell[cut].sum(axis=1)
        safe = np.where(good, total, 1)
        # The weight pulls the centroid half-way back, hence the factor 2.
        step_y = np.where(good, 2 * (weight * patches.dy).sum(axis=1) / safe, 0)
        step_x = np.where(good, 2 * (weight * patches.dx).sum(axis=1) / safe, 0)
        moment = np.where(good, (weight * patches.squared).sum(axis=1) / safe / 2, sigma**2 / 2)
        step = np.clip(np.stack([step_y, step_x], axis=1), -0.4, 0.4).astype(np.float32)
        patches.move(np.clip(patches.shift + step, -1.2, 1.2))
        solved = moment * sigma**2 / np.maximum(sigma**2 - moment, 0.15 * sigma**2)
        sigma = np.clip(np.sqrt(np.maximum(solved, 0.16)), sigma / 1.5, sigma * 1.5)
        sigma = np.clip(sigma, low, high).astype(np.float32)
    return sigma
