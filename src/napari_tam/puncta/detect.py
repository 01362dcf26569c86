"""Exosome puncta: candidates from the bundled network or a Laplacian of Gaussian, then photometry.

Both detectors return all candidates with their scores, so that a threshold can be moved
afterwards at no cost (`napari_tam.puncta.selection`).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_tam.networks.averaging import averaged
from napari_tam.networks.threads import together
from napari_tam.puncta import photometry
from napari_tam.puncta.contrast import Contrast, prominence_in
from napari_tam.puncta.crowds.resolving import Likely, resolve_crowds
from napari_tam.puncta.flows import LOWEST_SCORE
from napari_tam.puncta.patches import FWHM, Float, Points
from napari_tam.puncta.preparing import Ready, lie_in, prepare
from napari_tam.puncta.psf_width import TYPICAL_SIGMA_PX, width_among
from napari_tam.puncta.selection import KEPT, select
from napari_tam.puncta.spot_input import response
from napari_tam.puncta.vesicles import is_vesicle, width_error
from napari_tam.puncta.whole_objects import measure_all, scores_of_whole
from napari_tam.puncta.working_scale import LogOdds, Seen, look

if TYPE_CHECKING:
    from napari_tam.networks.predictor import Predictor
    from napari_tam.settings import Settings

Plane = npt.NDArray[np.generic]

#: A candidate's odds are multiplied by the first of these, and by (value / least)^steepness where
#: `prominence_in` is less than its least, but not below the share. Chosen on training images
#: (PSD95, DeepSpot, simulated and drawn fields) and held against those of ``benchmarks/puncta.py``.
ODDS, LEAST_SHARE = 2.0, 0.6
PROMINENCE, PROMINENCE_STEEPNESS = 3.75, 4.5
#: It is asked of a filter this many times as wide as a single punctum.
JUDGED_AT = 1.15

#: Of two equal puncta within 2 sigma the light has one peak (Sparrow's limit), and rough places are drawn
#: together: where puncta are wider than the first of these (px), so that the network may see parts of one,
#: candidates within the second (sigma) are one.
FINE_PX, NO_DIP = 1.8, 1.6

#: The light of a punctum is at least so many times its noise, in a filter of its shape (Rose 1948). In marked
#: images and crowds as many of those below it were false as true, and hardly one in a thousand was below it.
ROSE = 5.0

#: LoG candidates have at least this signal-to-noise ratio: steps and rims answer to a LoG as well.
LOG_SNR = 3.0


#: LoG contrast (in SD of the response's noise) that counts as score 0.5.
LOG_HALF = 6.0

#: LoG candidates are kept down to this contrast (score 1/3): below it noise alone gives thousands.
LOG_LOWEST = 3.0

#: Columns in grey values.
LIGHT_COLUMNS = ("intensity", "peak", "background", "noise")

#: Measured of every punctum.
SPOT_COLUMNS = (
    "y_px", "x_px", "score", "contrast", "intensity", "peak", "background", "noise", "snr", "width_um",
    "sigma_px", "width_se_um", "vesicle",
)  # fmt: skip
#: Of every candidate; `reason` as in `napari_tam.puncta.selection`, as far as no setting is asked for it.
CANDIDATE_COLUMNS = (*SPOT_COLUMNS, "reason")

#: Wide puncta, and rings, are judged at these multiples of the typical width as well ...
_WIDER = (2.0, 4.0, 6.0)
#: ... when they are this much wider than it, or have less contrast than this at it.
_WIDE, _HARDLY = 1.4, 2.0


class Detector(Protocol):
    """Anything that finds puncta in an exosome channel."""

    def candidates(self, image: Plane, pixel_size_um: float, settings: Settings) -> pd.DataFrame:
        """Return all candidates (columns `CANDIDATE_COLUMNS`), whatever the thresholds."""
        ...

    def detect(self, image: Plane, pixel_size_um: float, settings: Settings) -> pd.DataFrame:
        """Return the puncta above the thresholds of the settings."""
        ...

    def rough_places(
        self, image: Plane, pixel_size_um: float, settings: Settings
    ) -> tuple[pd.DataFrame, LogOdds | None]:
        """Return candidates that share no spot, as a stack measures its puncta anew.

        And the log odds of a punctum at each pixel (Y, X), if they are known.
        """
        ...


class NetworkDetector:
    """The bundled `puncta` network: Cellpose flows on native pixels.

    Parameters
    ----------
    predictor
        The network.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def candidates(self, image: Plane, pixel_size_um: float, settings: Settings) -> pd.DataFrame:
        """See `Detector.candidates`."""
        ready, seen, judged = self._judged(image, pixel_size_um, settings)
        contrast, sigma = Contrast(ready.pixels), given_width(pixel_size_um, settings)
        kept, likely = judged >= LOWEST_SCORE, seen.scores >= 1 / (1 + ODDS)  # above 0.5 by the network alone

        def measured(which: npt.NDArray[np.bool_]) -> pd.DataFrame:
            points, scores = seen.points[which], judged[which]
            return measure_spots(contrast, points, scores, pixel_size_um, settings, seen.typical)

        more = Likely(likely[kept], partial(measured, likely & ~kept), seen.log_odds)
        table = resolve_crowds(measured(kept), ready.pixels, pixel_size_um, sigma, more)
        return finish(table, ready, ROSE)

    def rough_places(
        self, image: Plane, pixel_size_um: float, settings: Settings
    ) -> tuple[pd.DataFrame, LogOdds]:
        """See `Detector.rough_places`; a punctum of a stack has the light of several planes."""
        ready, seen, judged = self._judged(image, pixel_size_um, settings)
        kept = judged >= LOWEST_SCORE
        points, scores = seen.points[kept], judged[kept]
        table = measure_spots(ready.pixels, points, scores, pixel_size_um, settings, seen.typical)
        return finish(table, ready), seen.log_odds

    def _judged(self, image: Plane, pixel_size_um: float, settings: Settings) -> tuple[Ready, Seen, Float]:
        """Return the plane made ready, what the network says of it, and the judged scores.

        What is mirrored at the edge of padding, and doubles, are left out.
        """
        ready, sigma = prepare(image), given_width(pixel_size_um, settings)
        network = partial(averaged, self.predictor) if settings.average_flips else self.predictor
        seen = look(ready.pixels, network, self.predictor.in_channels, sigma)
        points, scores = seen.points, seen.scores
        if ready.padding is not None:  # what is mirrored next to its edge shares light with what is not
            near = ~lie_in(ready.padding, points, 4 * seen.typical)
            points, scores = points[near], scores[near]
        if seen.typical > FINE_PX:
            points, scores = without_doubles(points, scores, NO_DIP * seen.typical)
        judged = judge(ready.pixels, points, scores, seen.typical)
        return ready, replace(seen, points=points, scores=scores), judged

    def detect(self, image: Plane, pixel_size_um: float, settings: Settings) -> pd.DataFrame:
        """See `Detector.detect`."""
        return select(self.candidates(image, pixel_size_um, settings), settings)


def finish(table: pd.DataFrame, ready: Ready, clear: float = 0.0) -> pd.DataFrame:
    """Turn measured spots into candidates (`with_reasons`) in the plane's own values, none in padding."""
    if ready.padding is not None:
        table = table[~lie_in(ready.padding, table[["y_px", "x_px"]].to_numpy(float))].reset_index(drop=True)
    light = [name for name in (*LIGHT_COLUMNS, "intensity_se") if name in table]
    table[light] /= ready.times
    return with_reasons(table, ready.hot, clear)


def given_width(pixel_size_um: float, settings: Settings) -> float | None:
    """Sigma (px) of a single punctum, if the settings say it."""
    return settings.spot_sigma_um / pixel_size_um if settings.spot_sigma_um else None


def without_doubles(points: Points, scores: Float, reach: float) -> tuple[Points, Float]:
    """Keep of the candidates within `reach` (px) of each other the one of the highest score."""
    from scipy.spatial import cKDTree

    pairs = cKDTree(points).query_pairs(reach, output_type="ndarray")
    rank = np.argsort(np.argsort(-scores, kind="stable"), kind="stable")
    keep = np.ones(len(points), bool)
    better = np.where(rank[pairs[:, :1]] < rank[pairs[:, 1:]], pairs, pairs[:, ::-1])
    for one, other in better[np.argsort(rank[better[:, 0]], kind="stable")]:
        keep[other] &= not keep[one]
    return points[keep], scores[keep]


def judge(pixels: Float, points: Points, scores: Float, typical: float) -> Float:
    """Lower the scores of what hardly stands out from what else is bright around it.

    The network was taught by marks of several people and by truth. What is hardly brighter than all light
    of its width nearby (`prominence_in`) loses odds, so that a punctum the network is sure of stays; `ODDS`
    makes 0.5 the best threshold.
    """
    if not len(points):
        return scores
    sigma = max(JUDGED_AT * typical, 0.8)
    prominence = prominence_in(response(pixels, sigma), points) / PROMINENCE
    # Not below a limit: a vesicle with a bright rim has no light in its middle.
    odds = ODDS * scores / np.maximum(1 - scores, 1e-7)
    odds *= np.clip(prominence, LEAST_SHARE, 1) ** PROMINENCE_STEEPNESS
    return np.asarray(odds / (1 + odds), np.float32)


def with_reasons(table: pd.DataFrame, hot: npt.NDArray[np.intp], clear: float = 0.0) -> pd.DataFrame:
    """Turn measured spots into candidates: say which are flanks or noise, and add the hot pixels (N, 2).

    Noise is what has less than `clear` times its SD in a filter of the spot's shape.
    """
    points, peak, sigma = (table[c].to_numpy() for c in (["y_px", "x_px"], "peak", "sigma_px"))
    matched = table["snr"].to_numpy() * np.sqrt(np.pi) * sigma
    table["reason"] = np.where(matched < clear, "snr", KEPT)
    table.loc[photometry.is_flank(points, peak, sigma), "reason"] = "flank"
    if not len(hot):
        return table
    more = pd.DataFrame(0.0, index=range(len(hot)), columns=list(table.columns.drop("reason")))
    more[["y_px", "x_px"]] = hot
    more["reason"] = "hot pixel"
    return pd.concat([table, more], ignore_index=True) if len(table) else more


class LogDetector:
    """Laplacian of Gaussian at three widths; needs no network and takes a tenth of a second."""

    def candidates(self, image: Plane, pixel_size_um: float, settings: Settings) -> pd.DataFrame:
        """See `Detector.candidates`. The score is contrast / (contrast + `LOG_HALF`)."""
        ready = prepare(image)
        pixels = ready.pixels
        sigma = given_width(pixel_size_um, settings) or TYPICAL_SIGMA_PX
        best = np.full(pixels.shape, -np.inf, np.float32)
        for width in (0.8 * sigma, 1.2 * sigma, 2.0 * sigma):
            response = -cv2.Laplacian(cv2.GaussianBlur(pixels, (0, 0), width), cv2.CV_32F)
            # The noise of the response is local: haze brings its own shot noise.
            spread = cv2.blur(np.minimum(np.abs(response), 6 * np.median(np.abs(response))), (33, 33))
            np.maximum(best, response / np.maximum(1.25 * spread, 1e-6), out=best)
        highest = cv2.dilate(best, np.ones((3, 3), np.uint8))
        rows, columns = np.nonzero((best >= highest) & (best > LOG_LOWEST))
        contrast = best[rows, columns]
        points = np.stack([rows, columns], axis=1).astype(np.float64)
        score = contrast / (contrast + LOG_HALF)
        table = measure_spots(pixels, points, score, pixel_size_um, settings)
        return finish(table[table["snr"] >= LOG_SNR].reset_index(drop=True), ready)

    def detect(self, image: Plane, pixel_size_um: float, settings: Settings) -> pd.DataFrame:
        """See `Detector.detect`."""
        return select(self.candidates(image, pixel_size_um, settings), settings)

    def rough_places(
        self, image: Plane, pixel_size_um: float, settings: Settings
    ) -> tuple[pd.DataFrame, None]:
        """See `Detector.rough_places`."""
        return self.candidates(image, pixel_size_um, settings), None


def measure_spots(
    image: Plane | Contrast,
    points: Points,
    scores: Float,
    pixel_size_um: float,
    settings: Settings,
    typical: float | None = None,
) -> pd.DataFrame:
    """Measure candidates: sub-pixel position, intensity, peak, width, background and SNR.

    Parameters
    ----------
    image
        (Y, X) the exosome channel, or what was filtered of it already.
    points, scores
        (N, 2) rough positions, and N scores.
    typical
        Sigma (px) of a single punctum; None: the given one, or by `width_among` these.

    Returns
    -------
    One row per candidate, columns `SPOT_COLUMNS`.
    """
    if not len(points):
        return pd.DataFrame({name: np.zeros(0) for name in SPOT_COLUMNS})
    contrast = image if isinstance(image, Contrast) else Contrast(np.asarray(image, np.float32))
    pixels = contrast.pixels
    if typical is None:
        typical = given_width(pixel_size_um, settings) or width_among(pixels, points, scores)
    found = measure_all(contrast, points, typical)
    snr = found.peak / np.maximum(found.noise, least_noise(found.noise, found.peak))
    scores = scores_of_whole(scores, found)
    columns = {
        "y_px": np.clip(found.points[:, 0], -0.5, pixels.shape[0] - 0.5),
        "x_px": np.clip(found.points[:, 1], -0.5, pixels.shape[1] - 0.5),
        "score": scores,
        "contrast": contrast_of(contrast, found.points, found.sigma, typical),
        "intensity": found.intensity,
        "peak": found.peak,
        "background": found.level,
        "noise": found.noise,
        "snr": snr,
        "width_um": FWHM * found.sigma * pixel_size_um,
        "sigma_px": found.sigma,
        "width_se_um": FWHM * width_error(found.sigma, snr) * pixel_size_um,
        "vesicle": is_vesicle(found.sigma, snr, typical),
    }
    return pd.DataFrame(columns, columns=list(SPOT_COLUMNS), dtype=np.float64)


def contrast_of(contrast: Contrast, points: Points, sigma: Float, typical: float) -> Float:
    """How far puncta stand out at the typical width; wide ones and rings at more."""
    result = contrast.at(points, max(typical, 0.8))
    wide = (sigma > _WIDE * typical) | (result < _HARDLY)
    if wide.any():
        widths = [times * typical for times in _WIDER]
        more = together(*(partial(contrast.at, points[wide], width) for width in widths))
        result[wide] = np.max([result[wide], *more], axis=0)
    return result


def least_noise(noise: Float, peak: Float) -> float:
    """Noise that stands in for that of a perfectly smooth surround: a thousandth of a usual peak.

    Not of the plane's range: one bright pixel must not make everything else insignificant.
    """
    return max(0.1 * float(np.median(noise)), 1e-3 * float(np.median(peak)), 1e-9)
