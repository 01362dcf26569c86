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
    import cv2

    plane = image.max(axis=0) if image.ndim == 3 else image
    middle = float(plane.mean(dtype=np.float64))
    largest = max(float(plane.max()) - middle, middle - float(plane.min()))
    if not largest > 0:
        return float("nan")
    if plane.dtype.kind == "f":  # the range of float32 may be too small for it
        plane = ((plane.astype(np.float64) - middle) / largest).astype(np.float32)
    else:
        plane = plane.astype(np.float32)
        plane -= np.float32(middle)
        plane *= np.float32(1 / largest)
    laplacian = cv2.Laplacian(plane, cv2.CV_32F)[1:-1, 1:-1]
    noise = cv2.norm(laplacian, cv2.NORM_L2SQR) / max(laplacian.size, 1) / 20
    small, large = (_power(plane, band) - noise * _noise_share(band) for band in (SMALL, LARGE))
    # What noise alone has in the band varies by a fifteenth in 256² px.
    if large <= 0.25 * noise * _noise_share(LARGE):
        return float("nan")
    return max(small, 0.0) / large


def _power(plane: npt.NDArray[np.float32], band: tuple[float, float]) -> float:
    """Return the variance of a difference of Gaussians, wide ones on a picture that was made smaller."""
    import cv2

    step = max(1, min(int(band[0] / 1.5), *(n // 8 for n in plane.shape)))
    if step > 1:
        size = plane.shape[1] // step, plane.shape[0] // step
        whole = plane[: size[1] * step, : size[0] * step]
        plane = np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), np.float32)
    # The mean over squares is a blur of its own.
    blurred = (step**2 - 1) / 12
    narrow, wide = (cv2.GaussianBlur(plane, (0, 0), (sigma**2 - blurred) ** 0.5 / step) for sigma in band)
    spread = cv2.meanStdDev(cv2.subtract(narrow, wide))[1]
    return float(spread[0, 0]) ** 2


def _noise_share(band: tuple[float, float]) -> float:
    """Return the variance of white noise (variance 1) after a difference of Gaussians."""
    a, b = (sigma**2 for sigma in band)
    return (1 / (2 * a) + 1 / (2 * b) - 2 / (a + b)) / (2 * np.pi)
