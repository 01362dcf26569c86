"""From a table of candidates to one of emitters: crowded rows are replaced by what the fit gives."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_tam.puncta.crowds.emitters import Emitters, groups_of, standard_errors, values_at
from napari_tam.puncta.crowds.haze import solve_haze
from napari_tam.puncta.crowds.heights import spread_of_loneliest, usual_among
from napari_tam.puncta.crowds.pixel_model import background_image
from napari_tam.puncta.crowds.splitting import ROUNDS, resolve, stand_alone
from napari_tam.puncta.flows import LOWEST_SCORE
from napari_tam.puncta.patches import FWHM, Float
from napari_tam.puncta.psf_width import psf_width
from napari_tam.puncta.spectrum import spectral_width
from napari_tam.puncta.vesicles import is_vesicle

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from napari_tam.puncta.patches import Doubles, Index, Points

#: Where fewer than this share stand alone haze is looked for after so many rounds, and all is fitted anew
#: above it: what glows in a cell would be parted into faint puncta (two in five too many of 500 photons).
FEW_ALONE, FIRST_ROUNDS = 0.8, 2

#: What is so many times wider than a single punctum is one object, and never split.
WIDE = 1.5

#: The spectrum and the puncta say the same if their widths differ by less.
AGREE = 0.1

#: ... and if the image has so many puncta.
LEAST_KNOWN = 60

#: A width that was stated gives way to what the image says of it if both differ by more than the first and
#: less than the second: stated a tenth too narrow it made 1 in 10 of the puncta of crowded cells false, and a
#: tenth too wide an eighth was missed.
STANDS, STATED = 0.05, 0.35

#: Or else so many of all puncta have the width of a single one, within this share (0.85 to 0.98 where known
#: puncta were laid over real cells, 0.83 at most among lysosomes, condensates and mitochondria) ...
ALIKE_SHARE, ALIKE_WITHIN = 0.8, 0.2

#: ... and the middle half of the log widths of clear ones that stand alone lies within this (0.06 to 0.14
#: there, 0.18 to 0.5 here). They are clear from this signal-to-noise ratio on, and so many sigma from the
#: next one; with fewer nothing is known.
ONE_WIDTH, CLEAR_SNR, APART, LEAST_CLEAR = 0.15, 8.0, 4.0, 12

#: ... and if their log heights differ by less (SD): 0.3 to 0.5 in simulated crowds, 1.3 among lysosomes.
ALIKE = 1.0

#: Candidates that the fit would part into more than so many each, on average over those that touch, are what
#: the network saw: clumps of dye and swollen vesicles would fall into 5 to 15. Where so many touch it is a
#: crowd, of which the network may see a quarter.
MOST_OF_ONE, CROWD, MOST_IN_CROWD = 4, 8, 8

#: Light in an aperture over that of the fitted Gaussian, at least and at most.
SCALES = (0.8, 1.3)

#: In an image of points alone, what shines by so many standard errors and is not fainter than single ones by
#: so many SD of their log heights is no texture: its score becomes an even chance if the network had said so.
CLEAR_SE, FAINTER, EVEN = 5.0, 2.5, 0.5

#: ... and where the row is, not only its candidate: log odds above this.
SEEN = 0.0

#: What the fit adds to the table.
FIT_COLUMNS = ("position_se_um", "intensity_se", "puncta_in_spot")


@dataclass(frozen=True)
class Likely:
    """What the network alone takes for puncta.

    Attributes
    ----------
    rows
        (N,) which rows of the table.
    others
        Measures those whose score is too low for the table, and returns a table of them.
    log_odds
        (Y, X) what it says of each pixel.
    """

    rows: npt.NDArray[np.bool_]
    others: Callable[[], pd.DataFrame]
    log_odds: npt.NDArray[np.float16]


def resolve_crowds(
    table: pd.DataFrame,
    pixels: Float,
    pixel_size_um: float,
    sigma: float | None,
    likely: Likely | None = None,
) -> pd.DataFrame:
    """Fit the candidates of an image together, and part those that share a spot.

    Rows of puncta that stand alone keep what was measured of them. A punctum that the fit adds has the
    score of the candidate that it comes from.

    Parameters
    ----------
    table
        Columns `napari_tam.puncta.detect.SPOT_COLUMNS`.
    pixels
        (Y, X) the exosome channel.
    sigma
        Width of a single punctum (px), if it is known: where the image tells it, it narrows that down.
    likely
        What is a punctum to the network, whatever its surroundings say.

    Returns
    -------
    One row per punctum, the columns of `table` and `FIT_COLUMNS`.
    """
    if not len(table):
        return table.assign(**{name: np.zeros(0) for name in FIT_COLUMNS})
    points, width, snr = (table[c].to_numpy(float) for c in (["y_px", "x_px"], "sigma_px", "snr"))
    sure = (table["score"] >= 0.5).to_numpy()
    sure = sure if sure.sum() >= 2 else np.ones(len(table), bool)
    spectral = spectral_width(pixels, points[sure])
    told = psf_width(points[sure], width[sure], snr[sure], spectral)
    # A width that is stated is hardly ever right to a tenth, as the fit needs it.
    if sigma is None or (spectral is not None and STANDS < abs(told / sigma - 1) < STATED):
        sigma = told
    own = np.where(width > WIDE * sigma, width, sigma)
    seeds = _seeds(table, own)
    # In an image of other structures a further emitter always fits better, and says nothing. Among textured
    # cells the spectrum may be no line though all that stands alone has one width.
    agree = spectral is not None and abs(spectral / sigma - 1) < AGREE
    points_only = sure.sum() >= LEAST_KNOWN and (
        agree or one_width(points[sure], width[sure], snr[sure], sigma)
    )
    # Nor does its height where some are a hundred times as bright as others.
    points_only = points_only and spread_of_loneliest(seeds.take(sure & (own == sigma)), sigma) < ALIKE
    if points_only and likely is not None:
        more = likely.others()
        if len(more):
            table = pd.concat([table, more], ignore_index=True)
            seeds = seeds.plus(_seeds(more, np.full(len(more), sigma), first=len(seeds)))
    base = background_image(pixels, seeds, sigma)
    fitted = partial(
        resolve, seeds=seeds, single_sigma=sigma, network=None if likely is None else likely.log_odds
    )
    single = None
    if points_only and np.mean(stand_alone(seeds, sigma)) < FEW_ALONE:
        first = fitted(pixels - base, rounds=FIRST_ROUNDS)
        single, crowded = first.emitters, ~stand_alone(first.emitters, sigma)
        # Many are not told apart yet, so nothing is said of how high single ones are.
        base = base + solve_haze(pixels - base, single, first.weight, crowded, sigma)[0]
    fit = fitted(pixels - base, rounds=ROUNDS if points_only else 0)
    found = _whole_objects(fit.emitters, seeds, sigma)
    share = _aperture_share(table, found if single is None else single, sigma)
    if points_only:
        usual = usual_among(found.take(found.sigma == sigma), sigma)
        above = partial(solve_haze, pixels - base, weight=fit.weight, sigma=sigma, usual=usual)
        haze, found = above(found, crowded=~stand_alone(found, sigma))
        bright = _bright(found, sigma)
        if not bright.all():  # what the fit put between them was haze
            found = found.take(bright)
            haze, found = above(found, crowded=~stand_alone(found, sigma))
        base = base + haze
    rows = _rows(table, found, fit.weight, base, pixel_size_um, sigma if points_only else 0.0, share)
    wide = rows["sigma_px"].to_numpy(float)
    rows["vesicle"] = is_vesicle(wide, rows["snr"].to_numpy(float), sigma).astype(float)
    if points_only and likely is not None:
        rows["score"] = _lifted(rows, seeds, table["score"].to_numpy(float), found.parent, likely, sigma)
        keep = (rows["score"] >= LOWEST_SCORE).to_numpy()
        rows, wide = rows[keep].reset_index(drop=True), wide[keep]
    # What was fitted has the width of a single punctum; its own was not measured.
    rows["width_se_um"] = rows["width_se_um"].where((wide != sigma) | (not points_only))
    return rows


def one_width(points: Points, width: Doubles, snr: Doubles, sigma: float) -> bool:
    """Tell whether puncta are alike in width, as points behind one lens are.

    Parameters
    ----------
    points, width, snr
        (N, 2) places of puncta, their measured sigma (px) and signal-to-noise ratios.
    sigma
        Width of a single punctum (px).
    """
    from scipy.spatial import cKDTree

    log = np.log(width / sigma)
    if np.mean(np.abs(log) < ALIKE_WITHIN) < ALIKE_SHARE:
        return False
    nearest = cKDTree(points).query(points, k=2)[0][:, 1]
    clear = (snr > CLEAR_SNR) & (nearest > APART * sigma)
    if clear.sum() < LEAST_CLEAR:
        return False
    low, high = np.quantile(log[clear], (0.25, 0.75))
    return bool(high - low < ONE_WIDTH)


def _bright(found: Emitters, sigma: float) -> npt.NDArray[np.bool_]:
    """Tell which emitters are no fainter than single ones may be; of each candidate the brightest is."""
    middle, spread = usual_among(found.take(found.sigma == sigma), sigma)
    brightest = np.zeros(int(found.parent.max(initial=-1)) + 1)
    np.maximum.at(brightest, found.parent, found.peak)
    usual = np.log(np.maximum(found.peak, 1e-9)) > middle - FAINTER * spread
    return np.asarray(usual | (found.peak >= brightest[found.parent]) | (found.sigma != sigma), np.bool_)


def _seeds(table: pd.DataFrame, sigma: Doubles, first: int = 0) -> Emitters:
    """Return the emitters of a table's rows, of the given widths; their numbers begin at `first`."""
    points = table[["y_px", "x_px"]].to_numpy(float)
    peak = np.maximum(table["peak"].to_numpy(float), 1e-3)
    return Emitters(points, peak, sigma, np.arange(first, first + len(table)))


def _lifted(
    rows: pd.DataFrame,
    seeds: Emitters,
    scores: Doubles,
    parent: Index,
    likely: Likely,
    sigma: float,
) -> Doubles:
    """Return the scores of rows, `EVEN` at least where one is clear, no vesicle, and likely.

    `scores` are those of the candidates (`seeds`), and `parent` says which of them each row comes from.
    """
    clear = rows["intensity"].to_numpy(float) > CLEAR_SE * rows["intensity_se"].to_numpy(float)
    middle, spread = usual_among(seeds.take((scores >= 0.5) & (seeds.sigma == sigma)), sigma)
    clear &= np.log(np.maximum(rows["peak"].to_numpy(float), 1e-9)) > middle - FAINTER * spread
    clear &= (rows["vesicle"] == 0).to_numpy()
    known = np.ones(len(seeds), bool)  # the others are likely, all of them
    known[: len(likely.rows)] = likely.rows
    clear &= values_at(likely.log_odds, rows[["y_px", "x_px"]].to_numpy(float)) > SEEN
    own = rows["score"].to_numpy(float)
    return np.where(clear & known[parent], np.maximum(own, EVEN), own)


def _whole_objects(found: Emitters, seeds: Emitters, sigma: float) -> Emitters:
    """Put together again what falls into many though the network saw few: rings, clumps, filled vesicles."""
    group = groups_of(found, 3.5 * sigma)
    size = np.bincount(group)
    candidates = np.bincount(np.unique(np.stack([group, found.parent]), axis=1)[0], minlength=len(size))
    stays = (size <= np.where(candidates < CROWD, MOST_OF_ONE, MOST_IN_CROWD) * candidates)[group]
    return found.take(stays).plus(seeds.take(np.unique(found.parent[~stays])))


def _rows(
    table: pd.DataFrame,
    found: Emitters,
    weight: Float,
    base: Float,
    pixel_size_um: float,
    sigma: float,
    scale: float,
) -> pd.DataFrame:
    """Table of the emitters found, on the `base` of the background; their light times `scale`."""
    alone = stand_alone(found, sigma)
    members = np.bincount(found.parent, minlength=len(table))[found.parent]
    fitted = (found.sigma == sigma) & (~alone | (members > 1))
    error = standard_errors(found, weight)
    rows = table.iloc[found.parent].reset_index(drop=True)
    area = 2 * np.pi * found.sigma**2
    light = area * found.peak
    per_noise = (rows["snr"] / rows["peak"].clip(lower=1e-9)).to_numpy(float)
    new = {
        "y_px": found.points[:, 0],
        "x_px": found.points[:, 1],
        "intensity": scale * light,
        "peak": found.peak,
        "background": values_at(base, found.points),
        "snr": found.peak * per_noise,
        "sigma_px": found.sigma,
        "width_um": FWHM * found.sigma * pixel_size_um,
    }
    for name, values in new.items():
        which = found.sigma == sigma if name in ("y_px", "x_px") else fitted
        rows[name] = np.where(which, values, rows[name])
    rows["position_se_um"] = np.sqrt((error[:, 1:] ** 2).mean(axis=1)) * pixel_size_um
    rows["intensity_se"] = area * error[:, 0] * scale
    rows["puncta_in_spot"] = members.astype(np.float64)
    return rows


def _aperture_share(table: pd.DataFrame, found: Emitters, sigma: float) -> float:
    """Light in an aperture over that of a fitted Gaussian: real spots have wider tails.

    Of clear puncta that stand alone, both on the background around them.
    """
    members = np.bincount(found.parent, minlength=len(table))[found.parent]
    rows = table.iloc[found.parent]
    clear = stand_alone(found, sigma) & (members == 1) & (found.sigma == sigma)
    clear &= (rows["snr"] > 8).to_numpy()
    if clear.sum() < 10:
        return 1.0
    fitted = 2 * np.pi * sigma**2 * found.peak[clear]
    return float(np.clip(np.median(rows["intensity"].to_numpy(float)[clear] / fitted), *SCALES))
