"""What an image of puncta is made of besides them: background, and noise that grows with the light."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from napari_tam.puncta.emitters import Doubles, Emitters, pixels_around
from napari_tam.puncta.light_loops import precision_of, response_samples, rough_at
from napari_tam.puncta.spot_input import SCALE_PX, noise_at_scale

if TYPE_CHECKING:
    from napari_tam.puncta.patches import Float

#: A Gaussian is no better than this share of its light: real point spread functions are no Gaussians.
MISFIT = 0.03


@dataclass(frozen=True)
class Variance:
    """Variance of a pixel: ``constant + slope × light + (`MISFIT` × light)²``."""

    constant: float
    slope: float

    def weight(self, light: Float) -> Float:
        """Reciprocal of the variance where there is so much light above the background."""
        return np.asarray(precision_of(light, self.constant, self.slope, MISFIT**2), np.float32)


def background_image(pixels: Float, emitters: Emitters, sigma: float) -> Float:
    """Background between the puncta, carried on under them (normalised convolution)."""
    free = np.ones(pixels.shape, np.float32)
    reach = np.ceil(2.7 * emitters.sigma).astype(int)
    for (y, x), radius in zip(np.round(emitters.points).astype(int), reach, strict=True):
        cv2.circle(free, (int(x), int(y)), int(radius), 0, -1)
    centre = np.float32(np.median(pixels[::4, ::4]))
    # It is smooth: a smaller image does.
    factor = max(1, int(2 * sigma))
    size = (max(1, pixels.shape[1] // factor), max(1, pixels.shape[0] // factor))
    share = cv2.resize(free, size, interpolation=cv2.INTER_AREA)
    level = cv2.resize((pixels - centre) * free, size, interpolation=cv2.INTER_AREA)
    result, missing = np.zeros_like(share), np.ones_like(share)
    # Near places first; where there are none within reach, those further away.
    for width in (4 * sigma / factor, 16 * sigma / factor):
        near = cv2.GaussianBlur(share, (0, 0), width)
        part = missing * near / (near + 0.02)
        result = result + part * cv2.GaussianBlur(level, (0, 0), width) / (near + 1e-6)
        missing = missing - part
    whole = cv2.resize(result, pixels.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(whole + centre, np.float32)


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
    grid = np.arange(0, rest.size).reshape(rest.shape)[::3, ::3].ravel()
    floor = max(float(np.median(np.abs(rough_at(rest, grid)))) * 1.4826, 1e-6) ** 2
    # Averaged, resampled or compressed images: what matters is the noise as a punctum meets it.
    step = [max(1, size // 512) for size in rest.shape]
    known = cv2.getGaussianKernel(8 * round(SCALE_PX) + 1, SCALE_PX, cv2.CV_32F).ravel()
    constant = max(noise_at_scale(rest, response_samples(rest, known, *step)) ** 2, floor)
    some = emitters.take(np.arange(0, len(emitters), max(1, len(emitters) // 1000)))
    radius = int(np.ceil(1.5 * float(some.sigma.max(initial=0.5))))
    flat = pixels_around(some.points, radius, (rest.shape[0], rest.shape[1])).ravel()
    bright, noise = light.ravel()[flat], rough_at(rest, flat)
    order = np.argsort(bright)
    bins = [part for part in np.array_split(order, 12) if len(part) > 20]
    level = np.array([float(np.median(bright[part])) for part in bins])
    spread = np.array([(1.4826 * float(np.median(np.abs(noise[part])))) ** 2 for part in bins])
    slope = 0.0
    if len(bins) > 3:
        # Bins of brighter light have a larger variance of their variance: weights go with its inverse square.
        weight = level / np.maximum(spread, floor) ** 2
        slope = float((weight * (spread - floor)).sum() / max(float((weight * level).sum()), 1e-12))
    return Variance(constant, max(slope, 0.0) * constant / floor)


def usual_height(heights: Doubles) -> tuple[float, float]:
    """Median and robust SD of the log heights of single puncta; the lower side says the SD."""
    log = np.log(np.maximum(heights, 1e-9))
    middle = float(np.median(log))
    return middle, middle - float(np.quantile(log, 0.158655))
