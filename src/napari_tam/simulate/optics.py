"""The microscope: spots, blur, light and camera."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd
    from numpy.random import Generator

Image = npt.NDArray[np.float32]


def blur(image: Image, sigma_px: float) -> Image:
    """Gaussian blur; mirrored at the border."""
    if sigma_px < 0.05:
        return image
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT), np.float32)


def texture(shape: tuple[int, ...], sigma_px: float, rng: Generator) -> Image:
    """Smooth random texture of zero mean and unit SD with the given grain."""
    # Coarse grains are drawn small and enlarged: the same statistics for a fraction of the time.
    step = max(1, int(sigma_px / 2))
    small = rng.standard_normal((shape[0] // step + 2, shape[1] // step + 2), dtype=np.float32)
    small = blur(small, sigma_px / step)
    small = (small - small.mean()) / max(float(small.std()), 1e-6)
    if step == 1:
        return np.asarray(small[: shape[0], : shape[1]])
    return np.asarray(cv2.resize(small, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC), np.float32)


def render_spots(shape: tuple[int, int], spots: pd.DataFrame) -> Image:
    """Sum Gaussians of height ``amplitude_photons`` and width ``sigma_px``."""
    image = np.zeros(shape, np.float32)
    for y, x, height, sigma in spots[["y_px", "x_px", "amplitude_photons", "sigma_px"]].to_numpy():
        reach = int(np.ceil(4 * sigma)) + 1
        y0, x0 = max(0, round(y) - reach), max(0, round(x) - reach)
        y1, x1 = min(shape[0], round(y) + reach + 1), min(shape[1], round(x) + reach + 1)
        if y1 <= y0 or x1 <= x0:
            continue
        gy = np.exp(-0.5 * ((np.arange(y0, y1) - y) / sigma) ** 2)
        gx = np.exp(-0.5 * ((np.arange(x0, x1) - x) / sigma) ** 2)
        image[y0:y1, x0:x1] += height * np.outer(gy, gx)
    return image


def moved(image: Image, shift_um: tuple[float, float], pixel_size_um: float) -> Image:
    """Shift an image by (y, x), linearly interpolated; its edge pixels are repeated."""
    if not any(shift_um):
        return image
    y, x = (value / pixel_size_um for value in shift_um)
    matrix = np.array([[1, 0, x], [0, 1, y]], np.float64)
    size = (image.shape[1], image.shape[0])
    return np.asarray(cv2.warpAffine(image, matrix, size, borderMode=cv2.BORDER_REPLICATE), np.float32)


def illumination(
    shape: tuple[int, int], fall: float, rng: Generator, centre: tuple[float, float] | None = None
) -> Image:
    """Illumination that falls by `fall` from its brightest point to the far corner (parabola).

    The brightest point (relative to the image) is drawn when `centre` is None.
    """
    drawn = rng.uniform(0.3, 0.7, 2)
    middle = (drawn if centre is None else np.array(centre)) * shape
    y = (np.arange(shape[0]) - middle[0])[:, None] / shape[0]
    x = (np.arange(shape[1]) - middle[1])[None, :] / shape[1]
    squared = y**2 + x**2
    return np.asarray(1 - fall * squared / squared.max(), np.float32)


def camera(
    photons: Image, gain: float, offset: float, read_noise: float, rng: Generator
) -> npt.NDArray[np.uint16]:
    """Poisson photons, gain, offset and Gaussian read noise, as 16-bit grey values."""
    grey = rng.poisson(np.maximum(photons, 0)) * gain + offset
    grey += rng.standard_normal(photons.shape, dtype=np.float32) * read_noise
    return np.asarray(np.clip(np.round(grey), 0, 65535), np.uint16)
