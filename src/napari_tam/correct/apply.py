"""Corrections of a field before segmentation; each is off unless requested or calibrated.

Order: flat field, channel shift, bleed-through, background. Intensities stay in the image's own
units, and what was done is in the field's notes. Channels are YX planes, or ZYX stacks of which each
plane is corrected alike.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from dataclasses import field as later
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from napari_tam.correct.folder import Corrections
from napari_tam.errors import InputError
from napari_tam.markers.labels import EXOSOME, is_exosome_role
from napari_tam.markers.names import is_marker_role
from napari_tam.settings import split_bleed_through

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_tam.correct.folder import FlatField
    from napari_tam.io.check import Finding
    from napari_tam.io.field import Field
    from napari_tam.io.window import Window
    from napari_tam.settings import Settings

Plane = npt.NDArray[np.generic]
Float = npt.NDArray[np.float32]

#: The channels whose intensities are measured, besides exosomes and markers; the networks scale the others
#: themselves.
MEASURED_ROLES = ("lysosome", "extra")

#: Bins of the histogram whose peak is the background.
MODE_BINS = 256

#: A mixing matrix whose condition number is above this is not inverted.
LARGEST_CONDITION = 20.0


@dataclass(frozen=True)
class Corrected:
    """A field after its corrections.

    Attributes
    ----------
    field
        The corrected field, float32 where something was changed.
    raw_exosomes
        The exosome channels as they were read (moved by whole pixels if they were shifted), by role:
        saturation is judged on them. Empty if nothing was changed.
    window, findings
        See `napari_tam.io.check.Looked`.
    """

    field: Field
    raw_exosomes: dict[str, Plane] = later(default_factory=dict)
    window: Window | None = None
    findings: tuple[Finding, ...] = ()


def correct(field: Field, settings: Settings, corrections: Corrections | None = None) -> Corrected:
    """Apply what the settings ask for and what was calibrated.

    Parameters
    ----------
    field
        The image.
    settings
        `background_method`, `background_radius_um`, and `bleed_through` and `channel_shift_um`, which take
        precedence over those of `corrections`.
    corrections
        A microscope's calibration, or None.

    Returns
    -------
    Corrected
        With the very same field if there is nothing to do.

    Raises
    ------
    InputError
        If a flat field has another size than the image, or the bleed-through cannot be undone.
    """
    known = corrections or Corrections()
    channels: dict[str, Plane] = dict(field.channels)
    notes: list[str] = []
    raw = {role: channel for role, channel in channels.items() if is_exosome_role(role)}
    # of several exosome channels, one that is called by no label is the first
    first = {EXOSOME: next(iter(raw), EXOSOME)}
    flats = {first.get(role, role): flat for role, flat in known.flat_field.items()}
    flats = {role: flat for role, flat in flats.items() if role in channels}
    for role, flat in flats.items():
        channels[role] = flatten(channels[role], flat, where=field.name)
    if flats:
        notes.append(f"flat field corrected: {', '.join(flats)}")
    for said, (y, x) in (settings.channel_shift_um or known.channel_shift_um).items():
        role = first.get(said, said)
        if role in channels and (y or x):
            pixels = (y / field.pixel_size_um, x / field.pixel_size_um)
            channels[role] = shifted(channels[role], pixels)
            if role in raw:
                raw[role] = _rolled(raw[role], pixels)
            notes.append(f"{role} channel moved by {y:.3g} µm in y and {x:.3g} µm in x")
    fractions = _present(settings.bleed_through or known.bleed_through, channels, first)
    if fractions:
        channels |= unmix(channels, fractions, where=field.name)
        listing = (
            f"{value:.2%} of {source} out of {target}" for (source, target), value in fractions.items()
        )
        notes.append(f"bleed-through removed: {', '.join(listing)}")
    if absent := [name for name in settings.bleed_through if not _present({name: 1.0}, channels, first)]:
        notes.append(f"bleed-through not removed, as a channel is missing: {', '.join(absent)}")
    if settings.background_method != "none":
        wanted = (*raw, *MEASURED_ROLES, *filter(is_marker_role, channels))
        roles = [role for role in wanted if role in channels]
        for role in roles:
            channels[role] = _without_background(channels[role], field.pixel_size_um, settings)
        how = "mode" if settings.background_method == "mode" else "rolling ball"
        if how == "rolling ball":
            how += f", radius {settings.background_radius_um:g} µm"
        notes.append(f"background subtracted ({how}): {', '.join(roles)}")
    if not notes:
        return Corrected(field)
    return Corrected(replace(field, channels=channels, notes=(*field.notes, *notes)), raw)


def flatten(image: Plane, flat: FlatField, *, where: object = None) -> Float:
    """Even out a channel: ``(I - dark) / gain + dark``.

    Raises
    ------
    InputError
        If the flat field has another size.
    """
    if image.shape[-2:] != flat.gain.shape:
        height, width = flat.gain.shape
        raise InputError(
            f"the flat field has {height} × {width} pixels, the image {image.shape[-2]} × {image.shape[-1]}",
            where=where,
            fix="calibrate with images of the same camera, binning and crop",
        )
    dark = np.float32(flat.dark)
    return (image.astype(np.float32) - dark) / flat.gain + dark


def shifted(image: Plane, shift_px: tuple[float, float]) -> Float:
    """Move a channel by (y, x) pixels with cubic splines; the uncovered edge repeats the nearest pixels."""
    from scipy.ndimage import shift

    # no step between the planes of a stack
    by = (0.0,) * (image.ndim - 2) + shift_px
    return np.asarray(shift(image.astype(np.float32), by, order=3, mode="nearest"), np.float32)


def _rolled(image: Plane, shift_px: tuple[float, float]) -> Plane:
    """Move a channel by whole pixels, so that its clipped pixels stay clipped."""
    from scipy.ndimage import shift

    by = (0.0,) * (image.ndim - 2) + tuple(np.rint(shift_px))
    moved: Plane = shift(image, by, order=0, mode="nearest")
    return moved


def _present(
    fractions: Mapping[str, float], channels: Mapping[str, Any], other_names: Mapping[str, str]
) -> dict[tuple[str, str], float]:
    """Return the fractions between channels that are there, by source and target."""
    pairs = {}
    for name, value in fractions.items():
        source, target = split_bleed_through(name)
        pairs[other_names.get(source, source), other_names.get(target, target)] = value
    return {pair: value for pair, value in pairs.items() if value and all(role in channels for role in pair)}


def unmix(
    channels: Mapping[str, Plane], fractions: Mapping[tuple[str, str], float], *, where: object = None
) -> dict[str, Float]:
    """Unmix the channels: remove the bleed-through of other stains.

    What is seen above the background b (its `mode`) is a mixture, seen = M × true with M = 1 on the
    diagonal and the fractions elsewhere; so true = M⁻¹ × seen. Every channel keeps its background.

    Parameters
    ----------
    channels
        Planes by role.
    fractions
        (source, target) to the fraction of the source's light in the target.
    where
        The image, for the message.

    Returns
    -------
    dict
        The channels that change.

    Raises
    ------
    InputError
        If the channels are too alike to be unmixed.
    """
    roles = list(dict.fromkeys(role for pair in fractions for role in pair))
    mixture = np.eye(len(roles))
    for (source, target), value in fractions.items():
        mixture[roles.index(target), roles.index(source)] = value
    if np.linalg.cond(mixture) > LARGEST_CONDITION:
        raise InputError(
            "the channels bleed into each other so much that they cannot be told apart",
            where=where,
            fix="check the fractions of bleed_through",
        )
    inverse = np.linalg.inv(mixture)
    above = [channels[role].astype(np.float32) - np.float32(mode(channels[role])) for role in roles]
    result = {}
    for row, role in enumerate(roles):
        if (np.delete(inverse[row], row) != 0).any() or inverse[row, row] != 1:
            plane = channels[role].astype(np.float32) - above[row]
            for weight, light in zip(inverse[row], above, strict=True):
                if weight:
                    plane += np.float32(weight) * light
            result[role] = plane
    return result


def mode(image: Plane) -> float:
    """Return the most frequent intensity: the background, unless cells cover most of the image.

    The peak of the histogram between the channel's minimum and its median (of which the background
    is the lower part), refined to the mean of the pixels in and beside the fullest bin.
    """
    values = image.ravel()[:: max(1, image.size // 1_000_000)].astype(np.float64)
    low, middle = np.percentile(values, (0.1, 50))
    top = middle + (middle - low)
    if not top > low:
        return float(middle)
    counts, edges = np.histogram(values, MODE_BINS // 4, (low, top))
    smooth = np.convolve(counts, np.ones(5) / 5, mode="same")
    at = int(smooth.argmax())
    inside = (values >= edges[max(0, at - 2)]) & (values <= edges[min(len(edges) - 1, at + 3)])
    return float(values[inside].mean())


def _without_background(image: Plane, pixel_size_um: float, settings: Settings) -> Float:
    if settings.background_method == "mode":
        return image.astype(np.float32) - np.float32(mode(image))
    radius_px = settings.background_radius_um / pixel_size_um
    if image.ndim > 2:
        return np.stack([plane.astype(np.float32) - rolling_ball(plane, radius_px) for plane in image])
    return image.astype(np.float32) - rolling_ball(image, radius_px)


def rolling_ball(image: Plane, radius_px: float) -> Float:
    """Return the smooth background below a channel's objects (Sternberg 1983, IEEE Computer 16:22).

    A ball of that radius rolls below the intensities, which are scaled so that the range between the
    1st and the 99.9th percentile is 255 (the result follows the exposure). Large balls roll over a
    smaller image, as in ImageJ: 3 × 3 means, of which the lowest in every block counts.

    Parameters
    ----------
    image
        YX channel.
    radius_px
        Larger than the largest object that is to stay.
    """
    from skimage.restoration import rolling_ball as roll

    shrink = next((step for step, limit in ((1, 10), (2, 30), (4, 100)) if radius_px <= limit), 8)
    shrink = min(shrink, *(max(1, length // 8) for length in image.shape))
    plane = cv2.blur(image.astype(np.float32), (3, 3))
    low, high = (float(value) for value in np.percentile(plane, (1, 99.9)))
    scale = 255 / (high - low) if high > low else 1.0
    height, width = image.shape
    padded = np.pad(plane, [(0, -height % shrink), (0, -width % shrink)], mode="edge")
    blocks = padded.reshape(padded.shape[0] // shrink, shrink, padded.shape[1] // shrink, shrink)
    small = (blocks.min(axis=(1, 3)) - low) * np.float32(scale)
    ball: Float = roll(small, radius=max(1.0, radius_px / shrink))
    large = cv2.resize(ball.astype(np.float32), padded.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(large[:height, :width] / np.float32(scale) + np.float32(low), np.float32)
