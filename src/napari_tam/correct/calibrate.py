"""Calibration of a microscope: bleed-through and channel shift."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from napari_tam.correct.apply import mode
from napari_tam.errors import InputError
from napari_tam.settings import LARGEST_SHIFT_UM

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_tam.io.field import Field

Plane = npt.NDArray[np.generic]
Floats = npt.NDArray[np.float64]

#: Pixels of a stain are those above its background by so many SDs.
SIGNAL_SDS = 6.0

#: Channels that correlate less than this once aligned do not show the same thing.
LEAST_CORRELATION = 0.7

#: A shift is found to this fraction of a pixel.
SHIFT_STEPS = 50


def bleed_through_of(field: Field, source: str) -> dict[str, float]:
    """Return the fraction of a stain's light that is seen in each other channel of a single-stain control.

    Where the stain is (its channel, lightly smoothed, is `SIGNAL_SDS` SDs above the background), against
    where it is not: the difference of the other channel over that of the stain's own.

    Raises
    ------
    InputError
        If the channel of the stain is missing or shows nothing.
    """
    if source not in field.channels:
        raise InputError(
            f"there is no {source} channel", where=field.name, fix="say which it is (--channels)"
        )
    own = np.asarray(cv2.GaussianBlur(field.channels[source].astype(np.float32), (0, 0), 2), np.float32)
    level = mode(own)
    darker = level - own[own <= level]
    noise = max(1.4826 * float(np.median(darker)) if len(darker) else 0.0, 1e-6)
    signal, empty = own > level + SIGNAL_SDS * noise, own < level + 2 * noise
    if signal.mean() < 1e-4 or empty.mean() < 1e-3:
        raise InputError(
            f"the {source} channel shows no stain above its background",
            where=field.name,
            fix="give a control in which that stain is bright and cells leave some background",
        )
    steps = {
        role: float(plane[signal].mean(dtype=np.float64) - plane[empty].mean(dtype=np.float64))
        for role, plane in field.channels.items()
    }
    return {role: steps[role] / steps[source] for role in steps if role != source}


def mean_bleed_through(controls: Sequence[tuple[str, dict[str, float]]]) -> dict[str, float]:
    """Return ``<source>_into_<target>`` to the median over controls; below 0.1 % counts as none.

    Raises
    ------
    InputError
        If a fraction is 1 or more.
    """
    found: dict[str, list[float]] = {}
    for source, fractions in controls:
        for target, value in fractions.items():
            found.setdefault(f"{source}_into_{target}", []).append(value)
    median = {name: float(np.median(values)) for name, values in found.items()}
    for name, value in median.items():
        if value >= 1:
            raise InputError(
                f"{name} = {value:.2f}: more light in the other channel than in the stain's own",
                fix="check which stain each control has, and the channels' roles",
            )
    return {name: round(value, 5) for name, value in median.items() if value >= 1e-3}


def channel_shifts(field: Field) -> dict[str, tuple[float, float]]:
    """Return by how many pixels (y, x) each channel must be moved to lie on the cell channel.

    Phase correlation, upsampled (Guizar-Sicairos et al. 2008, Opt Lett 33:156).

    Raises
    ------
    InputError
        If there is no cell channel, nothing else, or a channel does not show the same as it.
    """
    from skimage.registration import phase_cross_correlation

    others = [role for role in field.channels if role != "cell"]
    if "cell" not in field.channels or not others:
        raise InputError(
            "a channel shift needs the cell channel and another one", where=field.name, fix="see --channels"
        )
    fixed = _contrast(field.channels["cell"])
    found = {}
    for role in others:
        moving = _contrast(field.channels[role])
        # Plain cross-correlation: the phases of a dark background are noise.
        shift, _, _ = phase_cross_correlation(  # type: ignore[no-untyped-call]
            fixed, moving, upsample_factor=SHIFT_STEPS, normalization=None
        )
        y, x = (float(value) for value in shift)
        if max(abs(y), abs(x)) * field.pixel_size_um > LARGEST_SHIFT_UM or _overlap(fixed, moving, y, x) < (
            LEAST_CORRELATION
        ):
            raise InputError(
                f"the {role} channel does not show the same as the cell channel",
                where=field.name,
                fix="take beads that shine in all channels, or one stain seen in all of them",
            )
        found[role] = (y, x)
    return found


def _contrast(image: Plane) -> npt.NDArray[np.float32]:
    """Return a channel above its background, slightly smoothed, without what lies beyond the noise."""
    smooth = np.asarray(cv2.GaussianBlur(image.astype(np.float32), (0, 0), 1), np.float32)
    return np.maximum(smooth - np.float32(np.median(smooth)), 0)


def _overlap(fixed: npt.NDArray[np.float32], moving: npt.NDArray[np.float32], y: float, x: float) -> float:
    """Return the correlation of two images once the second is moved by whole pixels."""
    moved = np.roll(moving, (round(y), round(x)), (0, 1))
    return float(np.corrcoef(fixed.ravel(), moved.ravel())[0, 1])
