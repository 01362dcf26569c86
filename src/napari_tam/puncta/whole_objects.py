"""Measuring all candidates: what is far wider than the puncta around it whole, and once.

Around a single punctum lies an annulus that tells its background. In a swollen vesicle, a clump of dye, or
beside what has no light of its own, that is the wrong one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_tam.puncta.patches import Patches, nearest_pixels
from napari_tam.puncta.photometry import CLEAR, CROWDED, LIKENESS, WIDEST, is_flank, measure
from napari_tam.puncta.psf_width import (
    FLAT,
    WIDEST_PX,
    laplacian_at,
    laplacian_noise,
    laplacian_windows,
    roundness_of_tops,
)
from napari_tam.puncta.spot_input import response_noise

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_tam.puncta.contrast import Contrast
    from napari_tam.puncta.patches import Float, Points
    from napari_tam.puncta.photometry import Photometry

#: What has a flank within the first of these (in typical sigma) is measured again without it, beside all
#: within the second.
NEAR_FLANK, BESIDE_FLANK = 6.0, 12.0

#: What has less than so many times the noise of a pixel, or this share of the greatest width, may be at least
#: that wide: if a filter so many times as wide as a single punctum shows it by so many SD.
FAINT, AS_WIDE, FILTERS, CLEAR_WIDE = 6.0, 0.9, (3.0, 5.0, 8.0, 13.0), 15.0

#: ... and it has this contrast at its own width (`Contrast`): bumps of haze and cells have 1 to 6 in real
#: images, vesicles 12 to 25 in drawn ones.
STANDS_OUT = 8.0

#: A Laplacian of Gaussian of width s, times s², answers 2 s²σ² / (s² + σ²)² to a Gaussian of height 1. It
#: shows best what is so many times as wide as itself (1 / √3), and answers so much.
SHOWN_BEST, SHOWN_SHARE = 0.58, 0.375

#: A wide object with no punctum on it shows a punctum's filter its curvature, within this factor, and noise
#: up to so many SD.
CURVED, ON_TOP = 1.5, 3.0

#: It has to look like a Gaussian within so many sigma.
WITHIN = 2.0


def measure_all(contrast: Contrast, points: Points, typical: float) -> Photometry:
    """Measure as `photometry.measure`, in the plane of `contrast`; some once more.

    These are what lies beside a flank, without it, as it took some of the light; and what is so wide that
    the annulus around a single punctum lies within it.
    """
    from scipy.spatial import cKDTree

    pixels = contrast.pixels
    found = measure(pixels, points, typical)
    flank = is_flank(found.points, found.peak, found.sigma)
    if flank.any():
        away = np.where(flank, np.inf, cKDTree(found.points[flank]).query(found.points)[0] / typical)
        beside = np.flatnonzero(away < BESIDE_FLANK)
        again = measure(pixels, points[beside], typical)
        near = away[beside] < NEAR_FLANK
        found.replace(beside[near], again.take(near))
    width, part_of = much_wider(contrast, points, found, typical)
    wide = np.flatnonzero(width)
    before, tops = found.take(wide), np.zeros(len(points))
    for _ in range(2):  # the annulus suits the width
        for one in np.unique(width[wide]):
            which = np.flatnonzero(width == one)
            found.replace(which, measure(pixels, points[which], float(one)))
            tops[which] = roundness_of_tops(pixels, found.points[which], float(one))
        width[wide] = np.exp(np.round(np.log(found.sigma[wide]), 1))
    # whole nuclei, parts of cells, or what is out of focus
    other = (found.sigma[wide] > WIDEST_PX) | (tops[wide] < FLAT) | ~are_gaussian(pixels, found.take(wide))
    found.replace(wide[other], before.take(other))
    within = np.isin(part_of, wide[~other])
    found.peak[within], found.intensity[within] = 0, 0
    return found


def are_gaussian(pixels: Float, found: Photometry) -> npt.NDArray[np.bool_]:
    """Tell of which objects a Gaussian explains the light, but for noise, to a share of `LIKENESS`."""
    if not len(found.sigma):
        return np.zeros(0, bool)
    patches = Patches(pixels, found.points, int(np.ceil(WITHIN * float(found.sigma.max()))))
    light = patches.above(found.level)
    inside = patches.squared <= (WITHIN * found.sigma[:, None]) ** 2
    inside[patches.cut] &= patches.seen
    rest = ((light - patches.bells(found.peak, found.sigma)) ** 2 * inside).sum(axis=1)
    noise = found.noise**2 * inside.sum(axis=1)
    whole = (light**2 * inside).sum(axis=1)
    return np.asarray(rest - noise < (1 - LIKENESS) * np.maximum(whole - noise, 0), bool)


def much_wider(
    contrast: Contrast, points: Points, found: Photometry, typical: float
) -> tuple[Float, npt.NDArray[np.intp]]:
    """Tell which places are those of objects many times as wide as a punctum, and which lie in one of them.

    They hardly stand out from the annulus around a single punctum, and do in a wide filter, where nothing
    else is as bright.

    Returns
    -------
    (N,) the width (sigma, px) that an object is about as wide as, 0 for all others; and (N,) the number of
    the object that a place is another one in, -1 for all others.
    """
    from scipy.spatial import cKDTree

    width, part_of = np.zeros(len(points), np.float32), np.full(len(points), -1, np.intp)
    # What is wide, clear and no Gaussian, or as wide as can be, was seen in part.
    asked = (found.sigma > AS_WIDE * WIDEST * typical) | (found.sigma == np.float32(CROWDED[1] * typical))
    asked |= found.peak <= FAINT * found.noise
    if not asked.any():
        return width, part_of
    width, shows = filter_width(contrast, points, found.noise, typical)
    for one in np.unique(width[asked & (width > 0)]):
        which = np.flatnonzero(asked & (width == one))
        width[which[contrast.at(points[which], float(one)) < STANDS_OUT]] = 0
    tree, clear = cKDTree(points), found.peak > CLEAR * found.noise
    own = np.flatnonzero(asked & (width > 0))
    for i in own[np.argsort(-shows[own], kind="stable")]:
        if part_of[i] < 0:
            near = np.array(tree.query_ball_point(points[i], 2 * float(width[i])))
            if (clear & (width == 0))[near].any():
                width[i] = 0
            else:
                part_of[near[(near != i) & (width[near] > 0)]] = i
    width[(part_of >= 0) | ~asked] = 0
    return width, part_of


def filter_width(contrast: Contrast, points: Points, noise: Float, typical: float) -> tuple[Float, Float]:
    """Tell by filters how wide places are, if they are much wider than a single punctum and none is on them.

    Parameters
    ----------
    contrast
        Of the exosome channel.
    points, noise
        (N, 2) places, and (N,) the noise of a pixel there.
    typical
        Sigma of a single punctum, in pixels.

    Returns
    -------
    (N,) width (sigma, px), 0 where they are not; and (N,) by how many SD the filter shows them that shows
    them best.
    """
    places = nearest_pixels(points, contrast.pixels.shape)
    noise = np.maximum(noise, 1e-9)
    on_top = laplacian_at(laplacian_windows(contrast.pixels, typical), places, typical)
    widths = typical * np.array(FILTERS)
    answers, shows = np.empty((2, len(widths), len(points)))
    for answer, show, own in zip(answers, shows, widths.tolist(), strict=True):
        seen = contrast.answer(own)
        scale, factor = seen.scale, seen.factor
        small = own * float(scale.mean())
        answer[:] = small**2 * seen.at(points)
        show[:] = answer / (noise / factor * small**2 * response_noise(small))
    best = shows.argmax(axis=0)
    highest, height = (values[best, np.arange(len(best))] for values in (shows, answers / SHOWN_SHARE))
    width = SHOWN_BEST * widths[best]
    # What its own curvature is to the narrow filter; a punctum on it, or in a cell, is more.
    curved = 2 * height * (typical * width) ** 2 / (typical**2 + width**2) ** 2
    narrow = noise * laplacian_noise(typical)
    wide = (highest > CLEAR_WIDE) & (width > AS_WIDE * WIDEST * typical)
    wide &= on_top / narrow < ON_TOP + CURVED * curved / narrow
    return np.where(wide, width, 0).astype(np.float32), highest.astype(np.float32)


def scores_of_whole(scores: Float, found: Photometry) -> Float:
    """Give an object of which several candidates are a part (`much_wider`) their highest score."""
    from scipy.spatial import cKDTree

    part = found.peak == 0
    if not part.any() or part.all():
        return scores
    whole = np.flatnonzero(~part)
    away, nearest = cKDTree(found.points[whole]).query(found.points[part])
    own = whole[nearest]
    near = away < 2 * found.sigma[own]
    scores = scores.copy()
    np.maximum.at(scores, own[near], scores[part][near])
    return scores
