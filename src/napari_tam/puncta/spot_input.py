"""What the puncta network sees: pixels in units of the noise that matters to a punctum.

Averaged, deconvolved, resampled or compressed images have noise that hangs together over several
pixels, and cytoplasm has texture. Against the noise of single pixels both look like puncta; so the
image is scaled by its noise *at the punctum's scale*, and further planes say how far each place
stands out from the structure within some 60 px around it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from napari_tam.networks.threads import shares, together

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_tam.puncta.patches import Float

Plane = npt.NDArray[np.generic]

#: Width (sigma, px) of the Laplacian of Gaussian that noise at the punctum's scale is measured with.
SCALE_PX = 2.0

#: Widths of the two planes of local contrast: fine puncta, and wide ones.
CONTRAST_PX = (1.0, SCALE_PX)

#: Width (sigma, px) at which roundness is looked at, and its mean in white noise of SD 1.
ROUND_PX, _ROUND_GAIN = 1.4, 0.0094

#: Planes that the network sees.
PLANES = 4

#: Edge (px) of the surroundings that local contrast is relative to.
SURROUND_PX = 129

#: Upper over lower tenth of the response, and its outermost percent over the upper tenth, and what they
#: say (from 0 to 1): 1.0 and 1.8 in noise, 2 and 2.3 in simulated crowds of 0.02 puncta a pixel, 1.4 and
#: 3.8 in tiles of PSD95 (medians), 1.5 and 3.2 over autofluorescence.
_LOPSIDED, _FLAT = ((1.35, 1.55), (0.0, 1.0)), ((2.5, 2.9), (1.0, 0.0))

#: Second derivatives along y and along x, and twice the mixed one.
_SECOND = (
    np.array([[1], [-2], [1]], np.float32),
    np.array([[1, -2, 1]], np.float32),
    np.array([[1, 0, -1], [0, 0, 0], [-1, 0, 1]], np.float32) / 2,
)

_ROUGH = np.outer([1, -2, 1], [1, -2, 1]).astype(np.float32) / 6

#: Noise at the punctum's scale over that of single pixels, at most, in an image full of puncta: where there
#: is hardly any of the latter (8 bit), steps between grey values are no puncta either.
_MOST = 16.0

#: So many pixels along each axis tell a median.
TELLING = 384

#: Rows that are looked at together where a step goes over a whole plane, and where it looks at neighbours.
_STRIP, _FILTERED = 64, 128

#: The neighbours of a pixel.
_CROSS = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], np.float32)

#: A value is a floor when this share of pixels has it; so many pixels tell.
_FLOOR_SHARE, _SOME = 0.25, 1 << 16

#: A hot pixel exceeds each neighbour by so many SD of the noise ...
_HOT_SD = 6.0
#: ... and its four neighbours hold less than this share of its light, on average. A punctum of
#: sigma 0.48 px (a 20x objective on a camera of coarse pixels) has 0.21 where it is narrowest.
_HOT_SHARE = 0.12


def response(pixels: Float, sigma: float) -> Float:
    """Laplacian of Gaussian of a plane, positive where it is brighter than its surroundings."""
    result = np.empty_like(pixels)
    _filtered(partial(_peaked, sigma=sigma), pixels, sigma, result, slice(0, len(pixels)))
    return result


def roundness(pixels: Float, sigma: float) -> Float:
    """How much a plane curves down in the direction in which it curves least: 0 along edges and ridges."""
    result = np.empty_like(pixels)
    _filtered(partial(_round, sigma=sigma), pixels, sigma, result, slice(0, len(pixels)))
    return result


def _peaked(pixels: Float, sigma: float) -> Float:
    smooth = cv2.GaussianBlur(pixels, (0, 0), sigma)
    return np.asarray(cv2.Laplacian(smooth, cv2.CV_32F, scale=-1), np.float32)


def _round(pixels: Float, sigma: float) -> Float:
    smooth = cv2.GaussianBlur(pixels, (0, 0), sigma)
    yy, xx, yx = (cv2.filter2D(smooth, cv2.CV_32F, kernel) for kernel in _SECOND)
    sum_, difference = yy + xx, yy - xx
    sum_ += cv2.magnitude(difference, yx)
    sum_ *= -0.5
    return np.asarray(np.maximum(sum_, 0, out=sum_), np.float32)


def _filtered(look: Callable[[Float], Float], pixels: Float, sigma: float, out: Float, rows: slice) -> None:
    """Write a filter's answer at some rows of a plane: strips stay in the processor's cache, planes do not.

    The filter smooths by a Gaussian and looks at the neighbours of each pixel.
    """
    reach = int(np.ceil(4 * sigma)) + 2
    for top in range(rows.start, rows.stop, _FILTERED):
        bottom = min(top + _FILTERED, rows.stop)
        first = max(top - reach, 0)
        answer = look(pixels[first : bottom + reach])
        out[top:bottom] = answer[top - first : bottom - first]


def response_noise(sigma: float) -> float:
    """SD of the response to white noise of SD 1."""
    one = np.zeros((65, 65), np.float32)
    one[32, 32] = 1
    return float(np.sqrt((response(one, sigma) ** 2).sum()))


_GAINS = {sigma: response_noise(sigma) for sigma in CONTRAST_PX}


def pixel_noise(pixels: Float) -> float:
    """SD of single pixels, from diagonal neighbours, so that neither haze nor puncta raise it.

    Where a black level cuts off the background, or hardly a photon arrives, most pixels are alike, and those
    that rise alone tell the noise: puncta, too, may stand on nothing, but are wider than a pixel.
    """
    floor = _floor_of(pixels)
    if floor is not None:
        risen = (pixels != floor).astype(np.uint8)
        alone = (risen == 1) & (cv2.filter2D(risen, -1, _CROSS, borderType=cv2.BORDER_CONSTANT) == 0)
        return 1.4826 * float(np.median(np.abs(pixels[alone] - floor))) if alone.any() else 0.0
    down, across = (2 * max(1, size // 1024) for size in pixels.shape)
    below = pixels[1::down, 1::across]
    height, width = below.shape
    if not height * width:
        return 0.0
    difference = np.abs(below - pixels[: down * height : down, : across * width : across])
    return float(np.median(difference)) * 1.4826 / float(np.sqrt(2))


def _floor_of(pixels: Float) -> float | None:
    """Return the value of many pixels, if there is one."""
    flat = pixels.ravel()
    values, counts = np.unique(flat[:: max(1, flat.size // _SOME)], return_counts=True)
    most = int(np.argmax(counts))
    return float(values[most]) if counts[most] > _FLOOR_SHARE * counts.sum() else None


def rough(pixels: Float) -> Float:
    """Second differences along both axes, of white noise with its own SD: blind to anything smooth."""
    return np.asarray(cv2.filter2D(pixels, cv2.CV_32F, _ROUGH), np.float32)


def repair_hot_pixels(image: Plane) -> tuple[Float, npt.NDArray[np.intp]]:
    """Replace pixels that shine alone by the median of their neighbours.

    Light that came through a lens spreads over several pixels; what exceeds all of its neighbours
    and leaves none of its light with them is a defect of the camera (or a cosmic ray).

    Returns
    -------
    A copy of the plane as float32, and the places (N, 2) of the pixels replaced.
    """
    pixels = np.array(image, np.float32)
    if min(pixels.shape) < 3:
        return pixels, np.zeros((0, 2), np.intp)
    ring = np.ones((3, 3), np.uint8)
    ring[1, 1] = 0
    above = pixels - cv2.dilate(pixels, ring)
    hot = np.flatnonzero(above > max(_HOT_SD * pixel_noise(pixels), 1e-6))
    places = np.stack(np.divmod(hot, pixels.shape[1]), axis=1)
    if not len(places):
        return pixels, places
    padded = cv2.copyMakeBorder(pixels, 2, 2, 2, 2, cv2.BORDER_REFLECT_101)
    windows: Any = np.lib.stride_tricks.sliding_window_view(padded, (5, 5))
    near = windows[places[:, 0], places[:, 1]]
    base = np.median(near.reshape(-1, 25), axis=1)
    cross = near[:, (1, 2, 2, 3), (2, 1, 3, 2)].mean(axis=1)
    hot = cross - base < _HOT_SHARE * (near[:, 2, 2] - base)
    around = np.delete(near[hot][:, 1:4, 1:4].reshape(-1, 9), 4, axis=1)
    pixels[tuple(places[hot].T)] = np.median(around, axis=1)
    return pixels, places[hot]


def middle_and_least_noise(pixels: Float) -> tuple[float, float]:
    """Median of a plane, and a thousandth of its range: what stands in for noise where there is none."""
    centre, high = (float(value) for value in np.percentile(thinned(pixels), (50, 99.9)))
    return centre, max(1e-3 * (high - centre), 1e-6)


def crowding(response_to: Float) -> float:
    """How surely an image is full of puncta, so that between them there is no noise to see: 0 to 1.

    Noise and texture lie as far below the median of a response as above it. A few puncta are its outermost
    percent; many reach into its upper tenth, and then the outermost are not far from it.

    Parameters
    ----------
    response_to
        (Y, X) the image's `response` at `SCALE_PX`.
    """
    low, middle, high, highest = np.percentile(response_to, (10, 50, 90, 99))
    if not high > middle > low:
        return 0.0
    lopsided = float(np.interp((high - middle) / (middle - low), *_LOPSIDED))
    return lopsided * float(np.interp((highest - middle) / (high - middle), *_FLAT))


def thinned(plane: Float) -> Float:
    """Return some `TELLING` x `TELLING` pixels of a larger plane: enough for medians."""
    return plane[:: max(1, plane.shape[0] // TELLING), :: max(1, plane.shape[1] // TELLING)]


def noise_at_scale(pixels: Float, some: Float | None = None) -> float:
    """SD of the noise as a punctum meets it; that of single pixels where that is larger.

    In an image full of puncta (`crowding`) it is that of single pixels: their light is no noise.

    Parameters
    ----------
    pixels
        The plane.
    some
        Its `response` at `SCALE_PX`, `thinned`, if it is known already.
    """
    some = thinned(response(pixels, SCALE_PX)) if some is None else some
    spread = 1.4826 * float(np.median(np.abs(some - np.median(some)))) / _GAINS[SCALE_PX]
    fine = pixel_noise(pixels)
    if spread <= fine:
        return fine
    full = crowding(some)
    if not full:
        return spread
    among = 1.4826 * float(np.median(np.abs(rough(pixels)[::2, ::2])))
    return float(max(among, spread / _MOST) ** full * spread ** (1 - full))


def normalise_spots(image: Plane) -> Float:
    """Express an exosome channel in units of its noise, with bright pixels compressed.

    ``asinh((I - median) / (3 noise))``, the noise that of `noise_at_scale`.
    """
    pixels = image.astype(np.float32)
    centre, least = middle_and_least_noise(pixels)
    pixels -= centre
    pixels /= 3 * max(noise_at_scale(pixels), least)
    return _arcsinh(pixels)


def _arcsinh(values: Float, out: Float | None = None) -> Float:
    """Inverse hyperbolic sine, written to `out` if it is given.

    `numpy.arcsinh` takes seven times as long where signs alternate, and whole planes at each step three times
    as long as strips that stay in the processor's cache.
    """
    result = np.empty_like(values) if out is None else out
    for top in range(0, len(values), _STRIP):
        strip, size = values[top : top + _STRIP], result[top : top + _STRIP]
        np.abs(strip, out=size)
        more = size * size
        more += 1
        np.sqrt(more, out=more)
        more += size
        cv2.log(more, dst=more)
        np.copysign(more, strip, out=size)
    return result


def network_input(pixels: Float, count: int = PLANES) -> Float:
    """Planes that a network sees: the image in units of its noise, and local contrast of three kinds.

    Local contrast is the response at a width over its mean size (as an SD) in the surroundings,
    compressed like the image: for fine and for wide puncta, and that of `roundness`, which the edges of cells
    do not blind.

    Parameters
    ----------
    pixels
        The plane.
    count
        As many of the planes as the network sees: networks of before saw the first 3, or 1.

    Returns
    -------
    (count, Y, X) float32.
    """
    if count == 1:
        return normalise_spots(pixels)[None]
    centre, least = middle_and_least_noise(pixels)
    light = pixels - np.float32(centre)
    looks = [(partial(_peaked, sigma=sigma), sigma, _GAINS[sigma]) for sigma in CONTRAST_PX]
    looks.append((partial(_round, sigma=ROUND_PX), ROUND_PX, _ROUND_GAIN))
    planes = np.empty((count, *pixels.shape), np.float32)
    whole, *local = planes
    looks = looks[: len(local)]
    together(
        *(
            partial(_filtered, look, light, sigma, plane, rows)
            for plane, (look, sigma, _) in zip(local, looks, strict=True)
            for rows in shares(len(light), _FILTERED)
        )
    )
    noise = max(noise_at_scale(light, thinned(local[1])), least)
    light /= np.float32(3 * noise)
    # The mean of a normal variable's size is its SD over 1.25.
    beside = [
        partial(_beside, plane, 0.4 * noise * gain) for plane, (*_, gain) in zip(local, looks, strict=True)
    ]
    together(partial(_arcsinh, light, whole), *beside)
    return planes


def _beside(strength: Float, least: float) -> None:
    """Turn a response into units of its mean size in the surroundings, at least so much, and compress it."""
    around = cv2.blur(np.abs(strength), (SURROUND_PX, SURROUND_PX), borderType=cv2.BORDER_REFLECT)
    np.maximum(around, least, out=around)
    cv2.divide(strength, around, dst=around, scale=0.4)
    _arcsinh(np.asarray(around, np.float32), strength)
