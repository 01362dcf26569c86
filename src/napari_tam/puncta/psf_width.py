"""The width of a single punctum in an image: that of its point spread function."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from napari_tam.puncta.patches import nearest_pixels
from napari_tam.puncta.spot_input import pixel_noise

if TYPE_CHECKING:
    from napari_tam.puncta.patches import Doubles, Float, Points

#: Width (sigma) of a punctum that detection starts from, in pixels.
TYPICAL_SIGMA_PX = 1.4

#: Two filters tell a punctum's width: this factor narrower and wider than it is thought to be, in so many
#: rounds, but not narrower than this (px).
APART, FILTER_ROUNDS, NARROWEST_PX = float(np.sqrt(2)), 4, 1.2

#: They begin here (px): at the first width at which puncta stand out from noise by so many SD, or the
#: next one does not show them more clearly by this factor.
BEGINNINGS, CLEAR_SD, MORE_CLEAR = (TYPICAL_SIGMA_PX, 2.8, 5.6), 8.0, 1.5

#: So many puncta are asked, those at least so far (px) from the image's border if there are any.
ASKED, BORDER_PX = 400, 3

#: Of the brighter half of widths; a little below the median: two in one spot are wider, nothing is narrower.
USUAL = 0.4

#: How much narrower than a punctum the filter is that tells a round top from a flat one.
TOP = 0.6

#: What has flatter tops than this (median of `roundness_of_tops`) are whole nuclei, not wide puncta: 0.56 in
#: cells of U2OS; 0.66 to 0.83 in real and drawn puncta enlarged three times.
FLAT = 0.61

#: Least and greatest width (px) that is believed.
LEAST_PX, MOST_PX = 0.7, 6.0

#: What is wider than this (px) is no punctum.
WIDEST_PX = 12.0

#: A punctum stands alone if the next one is further away than this many sigma.
ALONE = 3.3

#: With fewer of these, all clear puncta are asked.
LEAST_ALONE = 10


def typical_sigma(pixels: Float, points: Points) -> float:
    """Width (sigma, px) of a single punctum, by two Laplacians of Gaussian.

    Filtered with a width s and scaled by s², a Gaussian of width σ and height A gives 2Aσ²s² / (σ² + s²)² in
    its middle (Lindeberg 1998), so the answers at two widths tell σ. Both are blind to a
    slope, so that the haze of cells beside puncta does not count, as it does in a fit above a level.

    Parameters
    ----------
    pixels
        (Y, X) the exosome channel.
    points
        (N, 2) rough places of puncta, within about a pixel; N > 0.
    """
    inside = ((points > BORDER_PX) & (points < np.array(pixels.shape) - 1 - BORDER_PX)).all(axis=1)
    asked = points[inside] if inside.any() else points
    nine = _nine_pixels(pixels, asked[:: max(1, len(asked) // ASKED)])
    windows = laplacian_windows(pixels)
    noise = max(pixel_noise(pixels), 1e-6)
    sigma, places, clear = TYPICAL_SIGMA_PX, nine[:, 4], -np.inf
    for width in BEGINNINGS:
        near = laplacian_at(windows, nine.reshape(-1, 2), width).reshape(-1, 9)
        height = near.max(axis=1)
        bright = height >= np.median(height)
        clearer = float(np.median(height[bright])) / (noise * laplacian_noise(width))
        if clearer <= (MORE_CLEAR * clear if clear > 0 else clear):
            break
        sigma, places, clear = width, nine[np.arange(len(nine)), near.argmax(axis=1)][bright], clearer
        if clear > CLEAR_SD:
            break
    for _ in range(FILTER_ROUNDS):
        narrow = max(sigma / APART, NARROWEST_PX)  # narrower, and it answers to noise
        wide = narrow * APART**2
        first, second = (laplacian_at(windows, places, width) for width in (narrow, wide))
        good = (first > 0) & (second > 0)
        if not good.any():
            break
        ratio = np.sqrt(first[good] / second[good]) * APART**2  # (σ² + wide²) / (σ² + narrow²)
        squared = (wide**2 - narrow**2 * ratio) / np.maximum(ratio - 1, 1e-6)
        sigma = float(np.sqrt(np.quantile(np.clip(squared, LEAST_PX**2, MOST_PX**2), USUAL)))
    return sigma


def width_among(pixels: Float, points: Points, scores: Float) -> float:
    """Width (sigma, px) of a single punctum: by candidates of a good score, as most others are noise."""
    if not len(points):
        return TYPICAL_SIGMA_PX
    sure = points[scores >= 0.5]
    return typical_sigma(pixels, sure if len(sure) else points)


def roundness_of_tops(pixels: Float, points: Points, width: float) -> Doubles:
    """How round the tops of bright places are: about 0.78 for puncta, less for whole nuclei and other discs.

    What a Laplacian of Gaussian of `TOP` times the width answers there over that of the width itself, as in
    `typical_sigma`. What has a flat top shows the narrow one its edge alone.

    Parameters
    ----------
    pixels
        (Y, X) the exosome channel.
    points
        (N, 2) rough places; N > 0.
    width
        Sigma (px) of a punctum.

    Returns
    -------
    (N,) one for each place; 0 where no filter sees a bright place.
    """
    nine = _nine_pixels(pixels, points)
    windows = laplacian_windows(pixels, width)
    near = laplacian_at(windows, nine.reshape(-1, 2), width).reshape(-1, 9)
    narrow = laplacian_at(windows, nine[np.arange(len(nine)), near.argmax(axis=1)], TOP * width)
    height = near.max(axis=1)
    return np.asarray(np.where(height > 0, narrow / np.maximum(height, 1e-9), 0))


def _nine_pixels(pixels: Float, points: Points) -> npt.NDArray[np.intp]:
    """Return the pixels (N, 9, 2) of places (N, 2) and around them."""
    middle = nearest_pixels(points, pixels.shape)
    return np.asarray(middle[:, None] + np.stack(np.divmod(np.arange(9), 3), axis=1) - 1, np.intp)


def laplacian_windows(pixels: Float, widest: float = APART * MOST_PX) -> Float:
    """Return the windows around all pixels of a plane that `laplacian_at` asks for; no copy of each.

    Filters are at most so wide (sigma, px).
    """
    reach = int(np.ceil(3.5 * widest))
    padded = cv2.copyMakeBorder(pixels, reach + 1, reach + 1, reach + 1, reach + 1, cv2.BORDER_REFLECT)
    windows: Float = np.lib.stride_tricks.sliding_window_view(padded, (2 * reach + 1, 2 * reach + 1))
    return windows


def laplacian_at(windows: Float, places: npt.NDArray[np.intp], width: float) -> Doubles:
    """Return what a Laplacian of Gaussian, times its width squared, answers at places.

    Parameters
    ----------
    windows
        `laplacian_windows` of a plane.
    places
        (N, 2) pixels, at most one beyond the plane.
    width
        Sigma (px), at most what the windows are made for.
    """
    middle = windows.shape[-1] // 2
    reach = int(np.ceil(3.5 * width))
    part = slice(middle - reach, middle + reach + 1)
    near = windows[places[:, 0] + 1, places[:, 1] + 1, part, part]
    return np.asarray(near.reshape(len(places), -1) @ _shape(width).ravel())


def laplacian_noise(width: float) -> float:
    """SD of what that filter answers to white noise of SD 1."""
    return float(np.sqrt((_shape(width) ** 2).sum()))


def _shape(width: float) -> Doubles:
    """Return that filter, of sum zero."""
    along = np.arange(-np.ceil(3.5 * width), np.ceil(3.5 * width) + 1) ** 2 / width**2
    squared = np.add.outer(along, along)
    shape = (2 - squared) * np.exp(-squared / 2) / (2 * np.pi * width**2)
    return np.asarray(shape - shape.mean())


def psf_width(points: Points, widths: Doubles, snr: Doubles, spectral: float | None) -> float:
    """Sigma (px) of a single punctum.

    The width of clear puncta that stand alone; less where the image's spectrum says so, as it does
    where hardly any stands alone.

    Parameters
    ----------
    points, widths, snr
        (N, 2) places of puncta, their measured sigma and signal-to-noise ratios.
    spectral
        `spectral_width` of the image.
    """
    from scipy.spatial import cKDTree

    used = snr >= np.median(snr)
    if len(points) > 1:
        alone = used & (cKDTree(points).query(points, k=2)[0][:, 1] > ALONE * float(np.median(widths)))
        used = alone if alone.sum() >= LEAST_ALONE else used
    measured = float(np.quantile(widths[used], USUAL))
    return measured if spectral is None else min(measured, spectral)
