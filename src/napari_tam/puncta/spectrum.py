"""The width of a single punctum by the spectrum of an image, however crowded."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from napari_tam.networks.threads import together
from napari_tam.puncta.psf_width import LEAST_PX, WIDEST_PX

if TYPE_CHECKING:
    from napari_tam.puncta.patches import Doubles, Float, Points

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

#: Where noise was filtered, bands are so many times as fine, at least so many of them, and go up to these
#: shares of the highest frequency, the first that will do.
FINE, LEAST_TOLD, SHARES = 2, 10, (1.0, 2 / 3, 1 / 2, 1 / 3, 1 / 4, 1 / 5)

#: Noise was filtered if its highest frequencies are so many e-folds below those where it hides the points:
#: 2.3 to 4.5 after a blur of 1 px, 5 and more in enlarged images. Where it was not, a bent spectrum is that
#: of texture (up to 0.2), or of structures that are no points (1.35 among autophagosomes).
FILTERED = 2.0


class Bands(NamedTuple):
    """A spectrum by rings of frequencies: (N,) mean power, mean ω², and how many frequencies each has."""

    mean: Doubles
    place: Doubles
    size: npt.NDArray[np.intp]


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
    down, across = (
        ((along >= start[:, None]) & (along < start[:, None] + edge)).astype(np.intp)
        for along, start in zip(points.T, starts, strict=True)
    )
    held = (down @ across.T).ravel()
    taper = np.outer(np.hanning(edge), np.hanning(edge)).astype(np.float32)
    fullest = [
        pieces[index] for index in np.argsort(np.negative(held), kind="stable")[:PIECES] if held[index]
    ]

    def power_of(y: int, x: int) -> Doubles:
        part = pixels[y : y + edge, x : x + edge]
        return np.asarray(np.abs(np.fft.fft2((part - part.mean()) * taper)) ** 2)

    power = np.zeros((edge, edge))
    for of_piece in together(*(partial(power_of, *piece) for piece in fullest)):
        power += of_piece
    frequency = 2 * np.pi * np.fft.fftfreq(edge)
    squared = (frequency[:, None] ** 2 + frequency**2).ravel()
    bands = _in_bands(power.ravel(), squared, BANDS)
    noise = float(np.median(bands.mean[-5:]))
    found = _slope(bands, noise, FIRST_BAND)
    if found is None:
        return _above_filtered_noise(_in_bands(power.ravel(), squared, FINE * BANDS))
    clear = _slope(bands, noise, CLEAR_BAND)
    return found if clear is None else clear


def _in_bands(power: Doubles, squared: Doubles, count: int) -> Bands:
    """Average a spectrum over rings of the same width, so many up to the highest frequency along an axis."""
    band = np.floor(np.sqrt(squared) / np.pi * count).astype(np.intp)
    size = np.maximum(np.bincount(band, minlength=count)[:count], 1)
    mean, place = (np.bincount(band, of, minlength=count)[:count] / size for of in (power, squared))
    return Bands(mean, place, size)


def _slope(bands: Bands, noise: float, first: int) -> float | None:
    """Sigma by the slope of the log power (above the noise) over ω² from a band on; None if it is no line."""
    if noise <= 0:
        return None
    power = bands.mean - noise
    good = (power > (ABOVE_NOISE - 1) * noise) & (np.arange(len(power)) >= first)
    if good.sum() < LEAST_BANDS:
        return None
    log, x, weight = np.log(power[good]), bands.place[good], bands.size[good]
    line = np.polyfit(x, log, 1, w=np.sqrt(weight))
    off = float(np.sqrt((weight * (log - np.polyval(line, x)) ** 2).sum() / weight.sum()))
    if line[0] >= 0 or off > STRAIGHT or np.ptp(log) < LEAST_SPAN:
        return None
    return float(np.sqrt(-line[0]))


def _above_filtered_noise(bands: Bands) -> float | None:
    """Sigma where noise went through a filter after the camera, so that its power falls with ω² as well.

    The log power is that of two lines, of points and of noise. The highest frequencies are left out as far as
    they must be: what enlarges an image leaves hardly anything there.
    """
    from scipy.optimize import least_squares

    if not (highest := float(np.median(bands.mean[-5:]))) > 0:
        return None
    known = (np.arange(len(bands.mean)) >= FINE * FIRST_BAND) & (bands.mean > 0)
    for share in SHARES:
        some = known & (bands.place <= share**2 * bands.place[-1])
        log, x, weight = (
            np.log(bands.mean[some]),
            bands.place[some],
            bands.size[some] / bands.size[some].sum(),
        )
        if len(log) < LEAST_TOLD:
            return None

        def off(lines: Doubles, log: Doubles = log, x: Doubles = x, weight: Doubles = weight) -> Doubles:
            both = np.logaddexp(lines[0] - lines[1] * x, lines[2] - lines[3] * x)
            return np.asarray(np.sqrt(weight) * (both - log), np.float64)

        tries = []
        for begin in (len(log) // 4, len(log) // 2):
            fall, height = np.polyfit(x[:begin], log[:begin], 1)
            start = [height, max(-fall, 0.3), float(np.median(log[-max(3, len(log) // 4) :])), 0.05]
            limits = ([-np.inf, LEAST_PX**2, -np.inf, 0], [np.inf, WIDEST_PX**2, np.inf, WIDEST_PX**2])
            tries.append(least_squares(off, np.clip(start, *limits), bounds=limits, max_nfev=60))
        best = min(tries, key=lambda one: float(one.cost))
        height, steep, floor, flat = best.x
        noise = floor - flat * x
        points = height - steep * x > noise
        told = points.sum() >= LEAST_BANDS and steep > flat and np.ptp(log[points]) >= LEAST_SPAN
        if told and not points.all() and np.sqrt(2 * best.cost) < STRAIGHT:
            filtered = noise[~points][0] - np.log(highest) > FILTERED
            return float(np.sqrt(steep)) if filtered else None
    return None
