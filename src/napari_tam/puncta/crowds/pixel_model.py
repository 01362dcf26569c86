"""What an image of puncta is made of besides them: background, and noise that grows with the light."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from napari_tam.networks.threads import together
from napari_tam.puncta.crowds.emitters import Emitters, pixels_around
from napari_tam.puncta.crowds.light_loops import clear_discs, precision_of, response_samples, rough_at
from napari_tam.puncta.spot_input import (
    SCALE_PX,
    TELLING,
    middle_and_least_noise,
    noise_at_scale,
    thinned,
)

if TYPE_CHECKING:
    from napari_tam.puncta.patches import Doubles, Float

#: A Gaussian is no better than this share of its light: real point spread functions are no Gaussians.
MISFIT = 0.03

#: A punctum's light is cut out of the background within so many sigma.
CUT = 2.7

#: Background is told by what lies within so many sigma, and where there is none, by what lies further off.
#: With the first of these it is as sharp as what a lens shows, if it is known where puncta may be; else
#: theirs would be taken for it.
NEAR_TO_FAR, SMOOTH = (1.0, 2.0, 4.0, 16.0), (4.0, 16.0)

#: What a plane is fitted to is made smaller until a Gaussian of its surroundings has this sigma (px) or more.
COARSE = 1.25

#: Where even the faintest light around puncta has so many times the variance of the background, that is no
#: background as the camera saw it: 3.2 times at most in real images and drawn cells full of puncta, and 64
#: times or more where it was cut off at a value or flattened by JPEG. Nor is it where a line through the
#: variances of the brighter three quarters says so much for no light at all.
UNTOLD = 12.0

#: What is around puncta is flat as well where its variance is below this share of that of the others.
FLAT = 0.4

#: A slope counts as if so large a share of what is known had none.
LEVEL = 0.1


@dataclass(frozen=True)
class Variance:
    """Variance of a pixel: ``constant + slope × light + (`MISFIT` × light)²``."""

    constant: float
    slope: float

    def weight(self, light: Float) -> Float:
        """Reciprocal of the variance where there is so much light above the background."""
        return np.asarray(precision_of(light, self.constant, self.slope, MISFIT**2), np.float32)


def background_image(
    pixels: Float, emitters: Emitters, sigma: float, taken: npt.NDArray[np.bool_] | None = None
) -> Float:
    """Background between the puncta, carried on under them.

    At each place a plane is fitted to what lies around it (local linear regression: Cleveland 1979), so that
    the edge of a cell on one side does not lower the background on the other.

    Parameters
    ----------
    pixels
        (Y, X) the image.
    emitters
        The puncta: their light is left out.
    sigma
        Width of a single punctum.
    taken
        (Y, X) what else is left out. None: it is not known where puncta may be, so that only what is smooth
        counts as background.
    """
    free = np.ones(pixels.shape, np.float32)
    if taken is not None:
        free[taken] = 0
    radii = np.ceil(CUT * emitters.sigma).astype(int)
    clear_discs(free, np.round(emitters.points).astype(np.intp), radii)
    centre = np.float32(np.median(pixels[::4, ::4]))
    # It is smooth: a smaller image does, and one smaller still for what lies further off.
    factor = max(1, int(2 * sigma))
    share, level = _reduced((free, (pixels - centre) * free), factor)
    result, missing = np.zeros_like(share), np.ones_like(share)
    # Near places first; where there are none within reach, those further away.
    for reach in SMOOTH if taken is None else NEAR_TO_FAR:
        width = reach * sigma / factor
        times = max(1, int(width / COARSE))
        fitted, known = (
            cv2.resize(image, share.shape[::-1], interpolation=cv2.INTER_LINEAR)
            for image in _planes_through(*_reduced((level, share), times), width / times)
        )
        part = missing * known / (known + 0.02)
        result = result + part * fitted
        missing = missing - part
    whole = cv2.resize(result, pixels.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(whole + centre, np.float32)


def _reduced(images: tuple[Float, Float], factor: int) -> tuple[Float, Float]:
    """Return smaller images: at each pixel the mean of so many along both axes."""
    size = [max(1, n // factor) for n in images[0].shape]
    one, other = (
        np.asarray(cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA), np.float32)
        for image in images
    )
    return one, other


def _planes_through(level: Float, share: Float, width: float) -> tuple[Float, Float]:
    """Fit a plane to the surroundings of each pixel, a Gaussian of so many pixels (sigma).

    Parameters
    ----------
    level, share
        (Y, X) values times their share, and how much of each pixel is known.

    Returns
    -------
    (Y, X) the planes' values at their pixels, and how much of their surroundings is known.
    """
    away = np.arange(-np.ceil(3.5 * width), np.ceil(3.5 * width) + 1) / width
    bell = np.exp(-0.5 * away**2)
    powers = [np.asarray(bell / bell.sum() * away**power, np.float32) for power in range(3)]

    def moment(image: Float, x: int, y: int) -> Float:
        return np.asarray(cv2.sepFilter2D(image, cv2.CV_32F, powers[x], powers[y]), np.float32)

    first, second = ((0, 0), (1, 0), (0, 1)), ((2, 0), (0, 2), (1, 1))
    near, x, y, xx, yy, xy, total, along_x, along_y = together(
        *(partial(moment, share, *power) for power in (*first, *second)),
        *(partial(moment, level, *power) for power in first),
    )
    some = near + np.float32(1e-6)
    mean, mean_x, mean_y = total / some, x / some, y / some
    # Where little is known, or on one side only, it is rather level.
    ridge = LEVEL * near + np.float32(1e-4)
    xx = xx + ridge - x * mean_x
    yy = yy + ridge - y * mean_y
    xy = xy - x * mean_y
    along_x -= x * mean
    along_y -= y * mean
    both = xx * yy - xy * xy
    slope_x, slope_y = (along_x * yy - along_y * xy) / both, (along_y * xx - along_x * xy) / both
    return mean - slope_x * mean_x - slope_y * mean_y, near


def pixel_variance(rest: Float, light: Float, emitters: Emitters) -> Variance:
    """Learn how the noise grows with the light, from what is left after a first fit.

    Parameters
    ----------
    rest
        (Y, X) the image without background and emitters.
    light
        (Y, X) the light of the emitters.
    emitters
        Those whose surroundings are looked at.
    """
    step = [max(1, size // TELLING) for size in rest.shape]
    down, across = (max(3, apart) for apart in step)
    grid = np.add.outer(
        np.arange(0, rest.size, down * rest.shape[1]), np.arange(0, rest.shape[1], across)
    ).ravel()
    # Averaged, resampled or compressed images: what matters is the noise as a punctum meets it.
    known = cv2.getGaussianKernel(8 * round(SCALE_PX) + 1, SCALE_PX, cv2.CV_32F).ravel()
    usual, at_scale = together(
        lambda: float(np.median(np.abs(rough_at(rest, grid)))),
        lambda: noise_at_scale(rest, response_samples(rest, known, *step)),
    )
    # Compressed images are flat away from what shines, and no pixel is known that well.
    least = middle_and_least_noise(thinned(rest) + thinned(light))[1]
    floor = max(usual * 1.4826, least) ** 2
    constant = max(at_scale**2, floor)
    some = emitters.take(np.arange(0, len(emitters), max(1, len(emitters) // 1000)))
    radius = int(np.ceil(1.5 * float(some.sigma.max(initial=0.5))))
    flat = pixels_around(some.points, radius, (rest.shape[0], rest.shape[1])).ravel()
    bright, noise = light.ravel()[flat], rough_at(rest, flat)
    order = np.argsort(bright)
    bins = [part for part in np.array_split(order, 12) if len(part) > 20]
    level = np.array([float(np.median(bright[part])) for part in bins])
    spread = np.array([(1.4826 * float(np.median(np.abs(noise[part])))) ** 2 for part in bins])
    slope, told = 0.0, np.maximum(spread, floor)
    brighter = slice(len(bins) // 4, None)
    lit = _line(level[brighter], told[brighter]) if len(bins) > 3 else (0.0, 0.0)
    if len(bins) > 3 and max(lit[0], spread.min()) > UNTOLD * floor:
        # A background that was cut off, or flattened by compression, says nothing of the noise elsewhere; nor
        # does what lies around the faintest puncta, where that is as flat.
        noisy = told > FLAT * (lit[0] + lit[1] * level)
        constant, slope = _line(level[noisy], told[noisy])
    elif len(bins) > 3:
        # Bins of brighter light have a larger variance of their variance: weights go with its inverse square.
        weight = level / np.maximum(spread, floor) ** 2
        slope = float((weight * (spread - floor)).sum() / max(float((weight * level).sum()), 1e-12))
        slope *= constant / floor
    return Variance(max(constant, floor), max(slope, 0.0))


def _line(level: Doubles, spread: Doubles) -> tuple[float, float]:
    """Fit variances as a line of the light, neither part of it below 0, in relative terms; both (N,)."""
    from scipy.optimize import nnls

    terms = np.column_stack([np.ones(len(level)), level])
    constant, slope = nnls(terms / spread[:, None], np.ones(len(level)))[0]
    return float(constant), float(slope)
