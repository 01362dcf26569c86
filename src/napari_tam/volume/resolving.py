"""From a table of a stack's candidates to one of emitters; of a plane: `napari_tam.puncta.crowds`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_tam.puncta.crowds.heights import usual_height
from napari_tam.puncta.crowds.resolving import (
    ALIKE,
    FIT_COLUMNS,
    LEAST_CLEAR,
    LEAST_KNOWN,
    ONE_WIDTH,
    SCALES,
    WIDE,
)  # fmt: skip
from napari_tam.puncta.patches import FWHM
from napari_tam.puncta.spectrum import spectral_width
from napari_tam.volume.crowds import resolve
from napari_tam.volume.emitters import Parted, stand_alone, voxels_of
from napari_tam.volume.photometry import in_filter
from napari_tam.volume.precision import standard_errors

if TYPE_CHECKING:
    import pandas as pd

    from napari_tam.puncta.patches import Doubles, Float, Points

AXES = ["z_px", "y_px", "x_px"]

#: A stack shows puncta so many sigma above and below, or their width along z is not known.
SEEN_Z = 2.5

#: Puncta that tell widths are clear, so many times their noise, and so many sigma from others.
CLEAR_SNR, APART = 15.0, 4.0

#: So many planes say whether their spectrum is that of points, and how well it must agree with the width of
#: single ones: within 0.02 in drawn crowds, 0.1 and more where cells are grained.
PLANES, AGREE = 5, 0.07


def resolve_crowds(
    table: pd.DataFrame,
    volume: Float,
    base: Float,
    sigma: Doubles,
    pixel_size_um: float,
    z_step_um: float,
) -> pd.DataFrame:
    """Part the candidates of a stack that are several puncta.

    Only where puncta are points behind one lens: alike in width, and in height too. Rows of puncta that stand
    alone keep what was measured of them.

    Parameters
    ----------
    table
        Columns `napari_tam.volume.detect.VOLUME_SPOT_COLUMNS`.
    volume
        (Z, Y, X) the exosome channel.
    base
        (Z, Y, X) what lies between the puncta (`napari_tam.volume.background`).
    sigma
        (2,) width of a single punctum along z and in the plane, in voxels.

    Returns
    -------
    One row per punctum, the columns of `table` and `napari_tam.puncta.crowds.resolving.FIT_COLUMNS`.
    """
    seeds = _seeds(table, sigma)
    whole = len(volume) >= 2 * SEEN_Z * sigma[0]
    points = whole and points_only(table, volume, seeds, sigma)
    fit = resolve(volume, seeds, sigma, base) if points else None
    if fit is None:
        return table.assign(**dict.fromkeys(FIT_COLUMNS, np.nan))
    found = fit.emitters
    members = np.bincount(found.parent, minlength=len(table))[found.parent]
    alone = stand_alone(found, sigma)
    rows = table.iloc[found.parent].reset_index(drop=True)
    fitted = found.free & ~(alone & (members == 1))
    error = standard_errors(found, fit.weight, sigma)
    per_light = (2 * np.pi) ** 1.5 * found.sigma[:, 0] * found.sigma[:, 1] ** 2
    scale = _aperture_share(rows, found.peak * per_light, found.free & ~fitted)
    per_noise = (rows["snr"] / rows["peak"].clip(lower=1e-9)).to_numpy(float)
    under = fit.base[tuple(voxels_of(found.points, volume.shape).T)]
    new = dict(zip(AXES, found.points.T, strict=True)) | {
        "intensity": scale * per_light * found.peak,
        "peak": found.peak,
        "background": under,
        "snr": found.peak * per_noise,
        "sigma_px": found.sigma[:, 1],
        "width_um": FWHM * found.sigma[:, 1] * pixel_size_um,
        "sigma_z_px": found.sigma[:, 0],
        "width_z_um": FWHM * found.sigma[:, 0] * z_step_um,
        "vesicle": 0.0,
    }
    for name, values in new.items():
        rows[name] = np.where(fitted, values, rows[name])
    for axis, limit in zip(AXES, volume.shape, strict=True):
        rows[axis] = np.clip(rows[axis], -0.5, limit - 0.5)
    voxel = np.array([z_step_um, pixel_size_um, pixel_size_um])
    rows["position_se_um"] = np.sqrt(((error[:, 1:] * voxel) ** 2).mean(axis=1))
    rows["intensity_se"] = per_light * error[:, 0] * scale
    rows["puncta_in_spot"] = members.astype(np.float64)
    rows["width_se_um"] = rows["width_se_um"].where(~fitted)
    return rows


def _seeds(table: pd.DataFrame, sigma: Doubles) -> Parted:
    """Return the emitters of a table's rows; wide ones are not fitted."""
    points, own = table[AXES].to_numpy(float), table[["sigma_z_px", "sigma_px"]].to_numpy(float)
    wide = own[:, 1] > WIDE * sigma[1]
    width = np.where(wide[:, None], own, sigma)
    peak = np.maximum(table["peak"].to_numpy(float), 1e-3)
    return Parted(np.round(points), points, peak, width, np.arange(len(table)), ~wide)


def points_only(table: pd.DataFrame, volume: Float, seeds: Parted, sigma: Doubles) -> bool:
    """Tell whether the puncta of a stack are points behind one lens: of other things a fit finds parts.

    Those that stand alone are alike in width (the middle half of the log widths lies within 0.05 to 0.14, in
    cells that glow as well, and 0.15 to 0.24 in grained cells, which would fall into three times as many), or
    planes have the spectrum of points: in full cells none stands alone.
    """
    sure = (table["score"] >= 0.5).to_numpy()
    if sure.sum() < LEAST_KNOWN:
        return False
    alone = sure & seeds.free & stand_alone(seeds, sigma, APART)
    clear = alone & (matched_snr(table) > CLEAR_SNR)
    some = clear if clear.sum() >= LEAST_CLEAR else sure & seeds.free
    if usual_height(seeds.peak[some])[1] >= ALIKE:
        return False
    width = table["sigma_px"].to_numpy(float)
    clear &= np.abs(width / sigma[1] - 1) > 1e-6  # or it was not measured
    if clear.sum() >= LEAST_CLEAR:
        low, high = np.quantile(np.log(width[clear]), (0.25, 0.75))
        if high - low < ONE_WIDTH:
            return True
    return _spectrum_of_points(volume, seeds.points[sure], float(sigma[1]))


def matched_snr(table: pd.DataFrame) -> Doubles:
    """Signal-to-noise ratio of puncta in a filter of their shape."""
    snr, plane, along = (table[name].to_numpy(float) for name in ("snr", "sigma_px", "sigma_z_px"))
    return in_filter(snr, along, plane)


def _spectrum_of_points(volume: Float, points: Points, lateral: float) -> bool:
    """Tell whether the planes with most puncta look like points blurred by the width of a single one."""
    plane = voxels_of(points, volume.shape)[:, 0]
    held = np.bincount(plane, minlength=len(volume))
    widths = []
    for z in np.argsort(-held, kind="stable")[:PLANES]:
        near = np.abs(points[:, 0] - z) < 1.5
        width = spectral_width(volume[z], points[near, 1:])
        if width is not None:
            widths.append(width)
    return bool(widths) and abs(float(np.median(widths)) / lateral - 1) < AGREE


def _aperture_share(rows: pd.DataFrame, fitted: Doubles, single: npt.NDArray[np.bool_]) -> float:
    """Light in an aperture over that of a fitted Gaussian, of clear puncta that stand alone."""
    clear = single & (matched_snr(rows) > CLEAR_SNR)
    if clear.sum() < 10:
        return 1.0
    return float(np.clip(np.median(rows["intensity"].to_numpy(float)[clear] / fitted[clear]), *SCALES))
