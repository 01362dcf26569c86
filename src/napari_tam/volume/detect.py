"""Puncta in 3-D: a 2-D detector on every plane, detections merged along z, then photometry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.ndimage import gaussian_filter1d

from napari_tam.puncta.contrast import contrast_at
from napari_tam.puncta.crowds.resolving import FIT_COLUMNS
from napari_tam.puncta.detect import SPOT_COLUMNS, least_noise
from napari_tam.puncta.psf_width import TYPICAL_SIGMA_PX
from napari_tam.puncta.selection import KEPT, select
from napari_tam.puncta.spot_input import repair_hot_pixels
from napari_tam.puncta.vesicles import is_vesicle, width_error
from napari_tam.volume import photometry
from napari_tam.volume.background import between
from napari_tam.volume.psf_width import typical_sigma
from napari_tam.volume.resolving import matched_snr, resolve_crowds
from napari_tam.volume.segment import Montage

if TYPE_CHECKING:
    from napari_tam.puncta.detect import Detector
    from napari_tam.puncta.working_scale import LogOdds
    from napari_tam.settings import Settings

Stack = npt.NDArray[Any]
Float = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]

#: The columns that the table has besides those of a plane.
VOLUME_SPOT_COLUMNS = ("z_px", *SPOT_COLUMNS, "width_z_um", "sigma_z_px")

#: Sigma of a punctum along z that the search starts from (µm), where the setting is unset.
TYPICAL_SIGMA_Z_UM = 0.6

#: The light of a punctum is at least so many times its noise, in a filter of its shape (Rose 1948): noise of
#: a single plane is not.
ROSE = 7.0

#: Planes are smoothed by so many sigma of a punctum along z before they are searched: its neighbours above
#: and below have light of it, too.
SMOOTHED = 0.5

#: Where a single punctum is so many times as wide as was assumed, or as narrow, maxima are looked for again.
UNLIKE = 1.25

#: Empty pixels between the planes of the picture that is searched.
_GAP = 16


@dataclass(frozen=True)
class StackDetector:
    """A `Detector` for stacks (ZYX) made from one for planes: the same methods, puncta with z.

    Attributes
    ----------
    planar
        The detector for planes.
    z_step_um
        Distance between the planes in µm.
    """

    planar: Detector
    z_step_um: float

    def candidates(self, image: Stack, pixel_size_um: float, settings: Settings) -> pd.DataFrame:
        """Return all candidates (columns `VOLUME_SPOT_COLUMNS` and ``reason``), whatever the thresholds.

        A montage of all planes is searched at once. Each detection moves uphill to the nearest maximum of the
        stack, smoothed with the width of a punctum: one maximum is one punctum, with the best score of its
        detections.
        """
        volume = np.stack([repair_hot_pixels(plane)[0] for plane in image])
        sigma = np.array(
            [
                (settings.spot_sigma_z_um or TYPICAL_SIGMA_Z_UM) / self.z_step_um,
                (settings.spot_sigma_um or TYPICAL_SIGMA_PX * pixel_size_um) / pixel_size_um,
            ]
        )
        montage = Montage.of(volume, _GAP)
        smooth = gaussian_filter1d(volume, SMOOTHED * sigma[0], axis=0, mode="nearest")
        picture = montage.join(smooth, float(np.median(smooth[:, ::4, ::4])))
        flat, log_odds = self.rough_places(picture, pixel_size_um, settings)
        flat = flat[flat["reason"] == KEPT]
        place, scores = _in_planes(montage, flat)
        peaks, best = climb(_contrast(volume, sigma), place, scores)
        if not len(peaks):
            return pd.DataFrame(
                {name: np.zeros(0) for name in (*VOLUME_SPOT_COLUMNS, *FIT_COLUMNS, "reason")}
            )
        typical = self._typical(volume, peaks, best, pixel_size_um, settings)
        if np.abs(np.log(typical / sigma)).max() > np.log(UNLIKE):
            peaks, best = climb(_contrast(volume, typical), place, scores)
        of_voxels = None if log_odds is None else montage.split(log_odds)
        widths = np.tile(typical, (len(peaks), 1))
        base = between(volume, of_voxels, peaks.astype(np.float64), widths, typical)
        table = _clear(measure_stack_spots(volume, base, peaks, best, pixel_size_um, self.z_step_um, typical))
        table = _clear(resolve_crowds(table, volume, base, typical, pixel_size_um, self.z_step_um))
        return table.assign(reason=KEPT)

    def _typical(
        self,
        volume: Float,
        peaks: npt.NDArray[np.intp],
        scores: Float,
        pixel_size_um: float,
        settings: Settings,
    ) -> npt.NDArray[np.float64]:
        """Return sigma (voxels) of a single punctum, along z and in the plane: given, or `typical_sigma`."""
        start = np.array([TYPICAL_SIGMA_Z_UM / self.z_step_um, TYPICAL_SIGMA_PX])
        found = typical_sigma(volume, peaks[scores >= min(0.5, scores.max())], start)
        given = (settings.spot_sigma_z_um, self.z_step_um), (settings.spot_sigma_um, pixel_size_um)
        return np.array([t if um is None else um / size for t, (um, size) in zip(found, given, strict=True)])

    def detect(self, image: Stack, pixel_size_um: float, settings: Settings) -> pd.DataFrame:
        """Return the puncta above the thresholds of the settings."""
        return select(self.candidates(image, pixel_size_um, settings), settings)

    def rough_places(
        self, image: Stack, pixel_size_um: float, settings: Settings
    ) -> tuple[pd.DataFrame, LogOdds | None]:
        """See `Detector.rough_places`: in a plane."""
        return self.planar.rough_places(image, pixel_size_um, settings)


def _clear(table: pd.DataFrame) -> pd.DataFrame:
    """Return the puncta whose light is clear in a filter of their shape (`ROSE`)."""
    clear: pd.DataFrame = table[matched_snr(table) >= ROSE].reset_index(drop=True)
    return clear


def _in_planes(montage: Montage, flat: pd.DataFrame) -> tuple[npt.NDArray[np.intp], Float]:
    """Return voxel and score of the detections in a montage; those between the planes are dropped."""
    row, column = np.round(flat[["y_px", "x_px"]].to_numpy(float).reshape(-1, 2)).astype(np.intp).T
    tall, wide = (n + montage.gap for n in montage.shape)
    z = row // tall * montage.columns + column // wide
    y, x = row % tall, column % wide
    good = (z < montage.planes) & (y < montage.shape[0]) & (x < montage.shape[1])
    return np.stack([z, y, x], axis=1)[good], flat["score"].to_numpy(np.float32)[good]


def _contrast(volume: Float, sigma: npt.NDArray[np.float64]) -> Float:
    """Difference of two Gaussians, the narrower one as wide (sigma in z, and in y and x) as a punctum."""

    def smooth(times: float) -> Float:
        planes = np.stack([cv2.GaussianBlur(plane, (0, 0), times * sigma[1]) for plane in volume])
        return np.asarray(gaussian_filter1d(planes, times * sigma[0], axis=0, mode="nearest"))

    return smooth(0.7) - smooth(1.6)


def _contrast_in_planes(volume: Float, points: Points, sigma: float) -> Float:
    """How far puncta (N, 3) stand out in their own plane (`napari_tam.puncta.contrast.contrast_at`)."""
    plane = np.clip(np.round(points[:, 0]), 0, len(volume) - 1).astype(np.intp)
    contrast = np.zeros(len(points), np.float32)
    for z in np.unique(plane):
        here = plane == z
        contrast[here] = contrast_at(volume[z], points[here, 1:], max(sigma, 0.8))
    return contrast


def climb(
    landscape: Float, start: npt.NDArray[np.intp], scores: Float, *, most: int = 12
) -> tuple[npt.NDArray[np.intp], Float]:
    """Walk from voxels to the maxima above them, each step to the highest of 26 neighbours.

    Returns
    -------
    Maxima (N, 3), each once, and the best score of those that came to it.
    """
    if not len(start):
        return start.reshape(0, 3), scores
    padded = np.pad(landscape, 1, constant_values=-np.inf)
    steps = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), axis=-1).reshape(27, 3)
    steps = steps[np.argsort(np.abs(steps).sum(axis=1), kind="stable")]  # of equals, stay
    here = start + 1
    for _ in range(most):
        near = here[:, None] + steps
        best = padded[tuple(np.moveaxis(near, -1, 0))].argmax(axis=1)
        if not best.any():
            break
        here = near[np.arange(len(here)), best]
    peaks, owner = np.unique(here - 1, axis=0, return_inverse=True)
    highest = np.zeros(len(peaks), np.float32)
    np.maximum.at(highest, owner.ravel(), scores)
    return peaks, highest


def measure_stack_spots(
    volume: Float,
    base: Float,
    peaks: npt.NDArray[np.intp],
    scores: Float,
    pixel_size_um: float,
    z_step_um: float,
    typical: npt.NDArray[np.float64],
) -> pd.DataFrame:
    """Measure puncta at voxels (N, 3) of a stack; see `napari_tam.volume.photometry.measure`.

    `base` (Z, Y, X) is what lies between them, which they are measured without.
    """
    found = photometry.measure(volume - base, peaks, typical)
    snr = found.peak / np.maximum(found.noise, least_noise(found.noise, found.peak))
    limits = np.array(volume.shape) - 0.5
    points = np.clip(found.points, -0.5, limits)
    columns = {
        "z_px": points[:, 0],
        "y_px": points[:, 1],
        "x_px": points[:, 2],
        "score": scores,
        "contrast": _contrast_in_planes(volume, points, float(typical[1])),
        "intensity": found.intensity,
        "peak": found.peak,
        "background": found.level + base[tuple(peaks.T)],
        "noise": found.noise,
        "snr": snr,
        "width_um": photometry.FWHM * found.sigma[:, 1] * pixel_size_um,
        "sigma_px": found.sigma[:, 1],
        "width_se_um": photometry.FWHM * width_error(found.sigma[:, 1], snr) * pixel_size_um,
        "vesicle": is_vesicle(found.sigma[:, 1], snr, float(typical[1])),
        "width_z_um": photometry.FWHM * found.sigma[:, 0] * z_step_um,
        "sigma_z_px": found.sigma[:, 0],
    }
    return pd.DataFrame(columns, columns=list(VOLUME_SPOT_COLUMNS), dtype=np.float64)
