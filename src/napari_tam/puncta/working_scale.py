"""How large the network sees an image: wide puncta are found best in a smaller one, narrow ones in a larger.

It was taught on puncta of some 1 to 2.5 px (sigma). In oversampled images wide ones are found, too, but so
are the bumps between them, which are as wide there as puncta are elsewhere. Where pixels are coarse (low
magnification, binned cameras) neighbours share their pixels, and in a larger image they do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from napari_tam.networks.threads import shares, together
from napari_tam.networks.tiles import tiles
from napari_tam.puncta.contrast import prominence_in
from napari_tam.puncta.flows import STRIP, centres_from_flows
from napari_tam.puncta.psf_width import FLAT, WIDEST_PX, roundness_of_tops, width_among
from napari_tam.puncta.spectrum import spectral_width
from napari_tam.puncta.spot_input import network_input, response

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_tam.puncta.patches import Float, Points

    Network = Callable[[Float], Float]

#: How likely a punctum is, at each pixel (Y, X) or voxel (Z, Y, X).
LogOdds = npt.NDArray[np.floating[Any]]

#: Puncta wider than the first of these (sigma, px) are looked for in an image in which they are as wide as
#: the second.
WIDE_PX, WORKING_PX = 3.0, 1.8

#: Puncta narrower than this (px) are looked for in a larger image, by how far off the next one is (median, in
#: sigma): the nearer, the more they share their pixels. Chosen on real and drawn images made coarser, and
#: nearer than 3.2 on drawn cells full of puncta: there those that are seen are what is left of a crowd.
NARROW_PX = ((2.7, 3.2, 4.0, 8.0), (2.1, 1.3, 1.3, 0.9))

#: In that image they are as wide as the first of these (px), and as the second where the next one is as near
#: as the third (sigma).
LARGER_PX, FULL_PX, FULL = 1.6, 2.2, (2.7, 3.2)

#: Nearer than this (sigma) they share so much that they look wider than they are: their spectrum says less.
CROWDED = 4.0

#: It is at most so many times larger, and looked at in pieces (edge and overlap in pixels of the image): it
#: takes memory.
MOST_TIMES, PIECE, OVERLAP = 2.0, 2048, 128

#: In an image of much wider ones the network sees parts of them, which are narrower. So from the first of
#: these on (px) it looks at half the size as well, and what has at least the second one there is wide.
PERHAPS_PX, SURELY_PX = 1.7, 4.5

#: The size that the network sees is changed so often at most.
LOOKS = 3

#: So many puncta that stand out this much, by `prominence_in`, and are not seen in the smaller image (within
#: so many sigma) are narrow ones among wide ones: then the image stays as it is.
LOST, CLEARLY, NEAR = 5, 7.5, 1.5

#: Width (px) at which narrow ones are looked at.
_FINE_PX = 1.4


@dataclass(frozen=True)
class Seen:
    """What the network says of an image.

    Attributes
    ----------
    points, scores
        (N, 2) rough places and (N,) scores of candidates.
    log_odds
        (Y, X) of a punctum at each pixel.
    typical
        Sigma (px) of a single punctum.
    times
        How many times smaller the image was that it saw; less than 1: it was larger.
    round_tops
        Whether what it found in a smaller image has the tops of puncta.
    """

    points: Points
    scores: Float
    log_odds: LogOdds
    typical: float
    times: float
    round_tops: bool = True


def look(pixels: Float, network: Network, planes: int, known: float | None = None) -> Seen:
    """Let the network look at an image, at the size that suits its puncta.

    Parameters
    ----------
    pixels
        (Y, X) the exosome channel.
    network
        Planes of `network_input` → (3, Y, X) flows and log odds.
    planes
        How many planes it takes.
    known
        Sigma (px) of a single punctum, if it is known.
    """
    if known is not None and known > WIDE_PX:
        return _at(pixels, network, planes, known / WORKING_PX, known)
    seen = whole = _at(pixels, network, planes, known=known)
    if (times := _times_larger(pixels, seen, known)) < 1:
        return _at(pixels, network, planes, times, known)
    if known is not None:
        return seen
    for _ in range(LOOKS):
        width = seen.typical / seen.times  # where it was seen
        if width <= (PERHAPS_PX if seen is whole else WIDE_PX):
            break
        times = seen.typical / WORKING_PX if width > WIDE_PX else 2.0
        smaller = _at(pixels, network, planes, times)
        if width <= WIDE_PX and smaller.typical < SURELY_PX:
            break
        if smaller.typical > WIDEST_PX or not smaller.round_tops or not (smaller.scores >= 0.5).any():
            break
        if _lost(pixels, whole, smaller) >= LOST:
            break
        seen = smaller
    return seen


def _times_larger(pixels: Float, seen: Seen, known: float | None) -> float:
    """Return how many times smaller an image should be so that narrow puncta are seen; 1 if they are wide."""
    from scipy.spatial import cKDTree

    sure = seen.points[seen.scores >= 0.5]
    if not len(sure):
        return 1.0
    width = seen.typical
    next_one = float(np.median(cKDTree(sure).query(sure, k=2)[0][:, 1])) / width
    if known is None and next_one < CROWDED:
        width = min(width, spectral_width(pixels, sure) or width)
    if width >= np.interp(next_one, *NARROW_PX):
        return 1.0
    return min(max(width / float(np.interp(next_one, FULL, (FULL_PX, LARGER_PX))), 1 / MOST_TIMES), 1.0)


def _at(pixels: Float, network: Network, planes: int, times: float = 1.0, known: float | None = None) -> Seen:
    """Let it look at an image that is so many times smaller."""
    if times < 1:
        return _in_larger(pixels, network, planes, times, known)
    if times > 1:
        return _in_smaller(pixels, network, planes, times, known)
    output = network(network_input(pixels, planes))
    points, scores = centres_from_flows(output)
    typical = width_among(pixels, points, scores) if known is None else known
    # half as precise: the whole output takes more memory than all that follows
    odds = np.empty(pixels.shape, np.float16)
    rows = shares(len(odds), STRIP)
    together(*(partial(np.copyto, odds[some], output[2][some], "same_kind") for some in rows))
    return Seen(points, scores, odds, typical, 1.0)


def _in_smaller(pixels: Float, network: Network, planes: int, times: float, known: float | None) -> Seen:
    """Let it look at an image that is so many times smaller: at each pixel the mean of several."""
    size = [max(1, round(n / times)) for n in pixels.shape]
    small = np.asarray(cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_AREA), np.float32)
    seen = _at(small, network, planes)
    larger = np.array(pixels.shape) / size
    points = (seen.points + 0.5) * larger - 0.5
    odds = cv2.resize(seen.log_odds.astype(np.float32), pixels.shape[::-1], interpolation=cv2.INTER_LINEAR)
    typical = seen.typical * times if known is None else known
    sure = seen.points[seen.scores >= 0.5]
    round_tops = not len(sure) or float(np.median(roundness_of_tops(small, sure, seen.typical))) >= FLAT
    return Seen(points, seen.scores, odds.astype(np.float16), typical, times, round_tops)


def _in_larger(
    pixels: Float, network: Network, planes: int, times: float, known: float | None = None
) -> Seen:
    """Let it look at an image that is larger by 1 / `times`, interpolated, piece by piece."""
    log_odds = np.empty(pixels.shape, np.float16)
    points, scores, typical = [], [], []
    for tile in tiles((pixels.shape[0], pixels.shape[1]), PIECE, OVERLAP):
        piece = pixels[tile.outer]
        size = [round(n / times) for n in piece.shape]
        large = np.asarray(cv2.resize(piece, size[::-1], interpolation=cv2.INTER_CUBIC), np.float32)
        seen = _at(large, network, planes)
        first = np.array([side.start for side in tile.outer])
        places = (seen.points + 0.5) * (np.array(piece.shape) / size) - 0.5 + first
        here = np.logical_and.reduce(
            [
                (at > side.start - 0.5) & (at <= side.stop - 0.5)
                for at, side in zip(places.T, tile.inner, strict=True)
            ]
        )
        points.append(places[here])
        scores.append(seen.scores[here])
        typical.append(seen.typical)
        odds = cv2.resize(seen.log_odds.astype(np.float32), piece.shape[::-1], interpolation=cv2.INTER_AREA)
        inner = tuple(
            slice(i.start - o.start, i.stop - o.start) for i, o in zip(tile.inner, tile.outer, strict=True)
        )
        log_odds[tile.inner] = odds[inner]
    clear = [int((of_piece >= 0.5).sum()) for of_piece in scores]
    width = times * float(np.average(typical, weights=clear if any(clear) else None))
    return Seen(
        np.concatenate(points), np.concatenate(scores), log_odds, width if known is None else known, times
    )


def _lost(pixels: Float, whole: Seen, smaller: Seen) -> int:
    """Count the clear puncta that are not seen in the smaller image."""
    from scipy.spatial import cKDTree

    sure, there = (seen.points[seen.scores >= 0.5] for seen in (whole, smaller))
    if not len(sure):
        return 0
    away = cKDTree(there).query(sure)[0] > NEAR * WORKING_PX * smaller.times
    clear = prominence_in(response(pixels, _FINE_PX), sure) > CLEARLY
    return int((away & clear).sum())
