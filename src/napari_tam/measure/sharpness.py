"""How sharp a picture is, whatever its brightness and noise: the test for a field that is out of focus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

#: Two bands of structures, as differences of Gaussians (px): small ones, which defocus takes away, and large
#: ones, which it leaves.
SMALL, LARGE = (1.5, 3.0), (6.0, 12.0)


def sharpness(image: npt.NDArray[Any]) -> float:
    """Return the power of small structures over that of large ones, both without the noise's share.

    Parameters
    ----------
    image
        YX, or ZYX (then the maximum projection is looked at); any unit.

    Returns
    -------
    float
        Of pictures with the same cells and pixel size it falls with defocus; it does not depend on the unit.
        NaN if the picture holds nothing but noise.

    Notes
    -----
    Noise is taken to be independent from pixel to pixel; its variance is the mean square of the
    four-neighbour Laplacian over 20 (after Immerkaer 1996, Comput Vis Image Underst 64:300), which counts the
    finest structures as noise.
    """
    plane = (image.max(axis=0) if image.ndim == 3 else image).astype(np.float64)
    inner = plane[1:-1, 1:-1]
    laplacian = plane[:-2, 1:-1] + plane[2:, 1:-1] + plane[1:-1, :-2] + plane[1:-1, 2:] - 4 * inner
    noise = float((laplacian**2).mean()) / 20
    small, large = (_power(plane, band) - noise * _noise_share(band) for band in (SMALL, LARGE))
    # less than a tenth of what noise alone has in the band is noise
    if large <= 0.1 * noise * _noise_share(LARGE):
        return float("nan")
    return max(small, 0.0) / large


def _power(plane: npt.NDArray[np.float64], band: tuple[float, float]) -> float:
    import cv2

    narrow, wide = (cv2.GaussianBlur(plane, (0, 0), sigma) for sigma in band)
    return float((narrow - wide).var())


def _noise_share(band: tuple[float, float]) -> float:
    """Return the variance of white noise (variance 1) after a difference of Gaussians."""
    a, b = (sigma**2 for sigma in band)
    return (1 / (2 * a) + 1 / (2 * b) - 2 / (a + b)) / (2 * np.pi)
