"""The width of a single punctum in an image: that of its point spread function."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from napari_tam.puncta.emitters import Doubles
    from napari_tam.puncta.patches import Float, Points

#: Edge (px) of the pieces of an image whose spectrum is taken, and how many of them.
PIECE, PIECES = 128, 16

#: Bands of the spectrum; those above so many times the noise count, from the fourth on (haze is below).
BANDS, ABOVE_NOISE, FIRST_BAND = 32, 4.0, 3

#: The outline of a cell that is full of puncta is in the lowest of them: the width comes from those from the
#: sixth on, where they are enough for it.
CLEAR_BAND = 5

#: The spectrum of points is believed with so many bands, over such a range (in e-folds), and if a straight
#: line fits this well: compression, rims and structures of other kinds bend it.
LEAST_BANDS, LEAST_SPAN, STRAIGHT = 6, 2.0, 0.25

#: A punctum stands alone if the next one is further away than this many sigma.
ALONE = 3.3

#: With fewer of these, all clear puncta are asked.
LEAST_ALONE = 10


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
    # A little below the median: two in one spot are wider, nothing is narrower.
    measured = float(np.quantile(widths[used], 0.4))
    return measured if spectral is None else min(measured, spectral)


def spectral_width(pixels: Float, points: Points) -> float | None:
    """Sigma (px) of what blurs the image, from its power spectrum; None where it cannot be told.

    Points, however crowded, have a flat spectrum on average; a Gaussian of sigma s multiplies it with
    exp(-s²ω²). So the logarithm of the power above the noise falls with ω² in a straight line of slope -s².
    """
    height, width = pixels.shape
    edge = min(PIECE, height, width)
    if edge < 64:
        return None
    starts = [np.linspace(0, n - edge, -(-n // edge)).astype(np.intp) for n in (height, width)]
    pieces = [(int(y), int(x)) for y in starts[0] for x in starts[1]]
    held = [int(((points >= piece) & (points < np.add(piece, edge))).all(axis=1).sum()) for piece in pieces]
    taper = np.outer(np.hanning(edge), np.hanning(edge)).astype(np.float32)
    power = np.zeros((edge, edge))
    for index in np.argsort(np.negative(held), kind="stable")[:PIECES]:
        y, x = pieces[index]
        part = pixels[y : y + edge, x : x + edge]
        power += (held[index] > 0) * np.abs(np.fft.fft2((part - part.mean()) * taper)) ** 2
    frequency = 2 * np.pi * np.fft.fftfreq(edge)
    squared = (frequency[:, None] ** 2 + frequency**2).ravel()
    band = np.floor(np.sqrt(squared) / np.pi * BANDS).astype(np.intp)
    size = np.maximum(np.bincount(band, minlength=BANDS)[:BANDS], 1)
    mean = np.bincount(band, power.ravel(), minlength=BANDS)[:BANDS] / size
    place = np.bincount(band, squared, minlength=BANDS)[:BANDS] / size
    noise = float(np.median(mean[-5:]))
    if noise <= 0:
        return None
    found = _slope(mean - noise, place, size, noise, FIRST_BAND)
    clear = None if found is None else _slope(mean - noise, place, size, noise, CLEAR_BAND)
    return found if clear is None else clear


def _slope(
    power: Doubles, place: Doubles, size: npt.NDArray[np.intp], noise: float, first: int
) -> float | None:
    """Sigma by the slope of the log power (above the noise) over ω² from a band on; None if it is no line."""
    good = (power > (ABOVE_NOISE - 1) * noise) & (np.arange(BANDS) >= first)
    if good.sum() < LEAST_BANDS:
        return None
    log, x, weight = np.log(power[good]), place[good], size[good]
    line = np.polyfit(x, log, 1, w=np.sqrt(weight))
    off = float(np.sqrt((weight * (log - np.polyval(line, x)) ** 2).sum() / weight.sum()))
    if line[0] >= 0 or off > STRAIGHT or np.ptp(log) < LEAST_SPAN:
        return None
    return float(np.sqrt(-line[0]))
