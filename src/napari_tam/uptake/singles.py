"""What a single punctum of a plate is like: its light, how much that differs, its width."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

#: With fewer puncta on a plate, nothing is said about aggregates.
LEAST_PUNCTA = 10
#: With fewer puncta that stand alone, nothing is said about how many make up the light of a cell.
LEAST_ALONE = 30
#: A punctum stands alone if the next one is further away than this many widths.
ALONE = 3.0
#: Robust SD of log intensity is taken as this at least: puncta of one dye differ by more.
LEAST_SD = 0.1
#: What is dimmer than so many SD of the noise of a pixel is hardly found.
LEAST_SNR = 3.0
#: What is so many of these SD brighter than the median is left out of the mean light of a single one.
OUTLYING = 3.0
#: Share of a normal distribution below mean - SD.
_BELOW_ONE_SD = 0.158655


@dataclass(frozen=True)
class Single:
    """What single puncta of a plate are like.

    Attributes
    ----------
    log_intensity, spread
        Median and robust SD of the natural log of their intensity.
    width_um
        Median width.
    intensity
        Mean intensity of those that stand alone, without outliers.
    snr
        Median signal-to-noise ratio; infinite where it is not known.
    alone
        How many stand alone; below `LEAST_ALONE` the light of one is not known well enough to count by it.
    """

    log_intensity: float
    spread: float
    width_um: float
    intensity: float
    snr: float
    alone: int

    @property
    def error(self) -> float:
        """Relative standard error of `intensity`, from the number of puncta that stand alone."""
        return self.relative_sd / float(np.sqrt(max(self.alone, 1)))

    @property
    def missed(self) -> float:
        """Share that is too dim to be found: a signal-to-noise ratio below `LEAST_SNR`."""
        if not np.isfinite(self.snr) or self.snr <= 0:
            return 0.0
        from scipy.special import ndtr

        return float(ndtr(np.log(LEAST_SNR / self.snr) / self.spread))

    @property
    def relative_sd(self) -> float:
        """SD of the intensity over its mean, of a log-normal distribution of this spread."""
        return float(np.sqrt(np.expm1(self.spread**2)))


def single_puncta(puncta: pd.DataFrame) -> Single | None:
    """Learn from the puncta of a plate what a single one is like; None with fewer than 10.

    Puncta that stand alone (no other within `ALONE` widths) are single except for aggregates, so their
    median says how bright and how wide a single one is, and the distance from it to the 15.87th
    percentile is one SD: aggregates lie on the other side of the median and move neither by much. The mean
    intensity is that of all that are less than `OUTLYING` SD brighter than the median.
    """
    lit = puncta[(puncta["intensity"] > 0) & np.isfinite(puncta["width_um"])]
    if len(lit) < LEAST_PUNCTA:
        return None
    alone = lit[_stand_alone(lit)]
    used = alone if len(alone) >= LEAST_PUNCTA else lit
    if "edge_distance_um" in alone:
        # At a cell's edge the haze ends, and part of it looks like light of the punctum.
        deep = alone[alone["edge_distance_um"] > ALONE * float(alone["width_um"].median())]
        used = deep if len(deep) >= LEAST_ALONE else used
    light = np.log(used["intensity"].to_numpy(np.float64))
    middle = float(np.median(light))
    spread = max(middle - float(np.quantile(light, _BELOW_ONE_SD)), LEAST_SD)
    usual = used["intensity"].to_numpy(np.float64)[light < middle + OUTLYING * spread]
    snr = float(used["snr"].median()) if "snr" in used else np.inf
    width, known = float(used["width_um"].median()), min(len(used), len(alone))
    return Single(middle, spread, width, float(usual.mean()), snr, known)


def places_um(puncta: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Return the places of puncta (µm); z, where there is one, shrunk so that puncta are round."""
    axes = [name for name in ("z_um", "y_um", "x_um") if name in puncta]
    places: npt.NDArray[np.float64] = puncta[axes].fillna(0).to_numpy(np.float64, copy=True)
    if len(axes) == 3 and "width_z_um" in puncta and puncta["width_z_um"].notna().any():
        places[:, 0] *= float((puncta["width_um"] / puncta["width_z_um"]).median())
    return places


def _stand_alone(puncta: pd.DataFrame) -> npt.NDArray[np.bool_]:
    from scipy.spatial import cKDTree

    reach = ALONE * float(np.median(puncta["width_um"]))
    alone = np.zeros(len(puncta), bool)
    places = places_um(puncta)
    for rows in puncta.groupby("image", sort=False).indices.values():
        nearest = cKDTree(places[rows]).query(places[rows], k=2)[0][:, 1]
        alone[rows] = nearest > reach
    return alone
