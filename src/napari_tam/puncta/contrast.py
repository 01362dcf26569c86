"""How far places stand out from what is around them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from napari_tam.puncta.patches import nearest_pixels
from napari_tam.puncta.spot_input import SURROUND_PX, response, thinned

if TYPE_CHECKING:
    from napari_tam.puncta.patches import Float, Points

#: Edge (px) of the surroundings whose light `prominence_in` compares with.
WIDE_SURROUND_PX = 257

#: Width (sigma, px) at which a smaller image shows wide things as well.
_COARSE_PX = 1.4

#: What counts at most for the surroundings, in medians of the image.
_CLIP = 6.0


class Answer(NamedTuple):
    """What a Laplacian of Gaussian answers: an image (Y, X), how large it is, and how many times smaller."""

    strength: Float
    scale: npt.NDArray[np.float64]
    factor: int

    def at(self, points: Points, values: Float | None = None) -> Float:
        """Return the strength, or other values of its pixels, at places (N, 2) of the plane, (N,)."""
        pixels = nearest_pixels((points + 0.5) * self.scale - 0.5, self.strength.shape)
        return np.asarray((self.strength if values is None else values)[tuple(pixels.T)])


class Contrast:
    """How far places of a plane stand out from the structure around them, at any width.

    What a width needs of the plane is filtered once.

    Parameters
    ----------
    pixels
        (Y, X) the exosome channel.
    """

    def __init__(self, pixels: Float) -> None:
        self.pixels = pixels
        self._answers: dict[float, Answer] = {}
        self._contrast: dict[float, Float] = {}

    def answer(self, sigma: float) -> Answer:
        """Return the `response` at a width, of a smaller plane in which it is `_COARSE_PX` if it is more."""
        if sigma not in self._answers:
            self._answers[sigma] = _answer_of(self.pixels, sigma)
        return self._answers[sigma]

    def of_plane(self, sigma: float) -> Float:
        """Return how far each pixel of `answer` stands out, in SD of what there is at that width.

        The highest response next to it over its mean size in the surroundings (as an SD), in which nothing
        counts for more than `_CLIP` times the image's median: puncta nearby must not hide each other.
        """
        if sigma not in self._contrast:
            strength, _, factor = self.answer(sigma)
            size = np.abs(strength)
            np.minimum(size, _CLIP * float(np.median(thinned(size))), out=size)
            edge = SURROUND_PX // factor | 1
            around = 1.25 * cv2.blur(size, (edge, edge), borderType=cv2.BORDER_REFLECT)
            np.maximum(around, _least(strength), out=around)
            self._contrast[sigma] = np.asarray(_highest(strength) / around, np.float32)
        return self._contrast[sigma]

    def at(self, points: Points, sigma: float) -> Float:
        """Return how far places (N, 2) stand out at a width (sigma, px), (N,)."""
        return self.answer(sigma).at(points, self.of_plane(sigma))


def contrast_at(pixels: Float, points: Points, sigma: float) -> Float:
    """Return how far places of a plane stand out at one width: `Contrast.at`."""
    return Contrast(pixels).at(points, sigma)


def _answer_of(pixels: Float, sigma: float) -> Answer:
    factor = max(1, int(sigma / _COARSE_PX))
    if factor < 2:
        return Answer(response(pixels, sigma), np.ones(2), 1)
    size = (max(1, pixels.shape[1] // factor), max(1, pixels.shape[0] // factor))
    small = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.float32)
    scale = np.array(small.shape) / np.array(pixels.shape)
    return Answer(response(small, sigma * float(scale.mean())), scale, factor)


def prominence_in(strength: Float, points: Points) -> Float:
    """How far places stand out from all light at their width, in its root mean square within some 130 px.

    Of an image's `response`. Unlike in `Contrast`, the puncta themselves count: people mark what is
    bright beside what else is bright, and leave out bumps that are real but hardly seen beside the others.
    Over PSD95 tiles that were left out of training, this alone tells marked from unmarked candidates better
    than the network does (best F1 0.74 to 0.67, at 2.5 px).
    """
    size = (WIDE_SURROUND_PX, WIDE_SURROUND_PX)
    around = cv2.sqrt(cv2.blur(strength * strength, size, borderType=cv2.BORDER_REFLECT))
    at = tuple(nearest_pixels(points, strength.shape).T)
    return np.asarray(_highest(strength)[at] / np.maximum(around[at], _least(strength)), np.float32)


def _highest(strength: Float) -> Float:
    """Highest response next to each pixel, as places are rough."""
    return np.asarray(cv2.dilate(strength, np.ones((3, 3), np.uint8)), np.float32)


def _least(strength: Float) -> float:
    """Return what surroundings count for at least."""
    low, high, *_ = cv2.minMaxLoc(strength)
    return max(1e-6 * max(high, -low), 1e-9)
