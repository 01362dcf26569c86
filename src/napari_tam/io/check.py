"""A look at every picture before its analysis: what is doubtful, by a code and a sentence each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_tam.io.window import Window, fill_corners, find_window

if TYPE_CHECKING:
    from napari_tam.io.field import Field

Plane = npt.NDArray[Any]

#: Full scale of 8, 10, 12, 14, 15 and 16 bit cameras, whatever type the file has.
FULL_SCALES = (255, 1023, 4095, 16383, 32767, 65535)

#: Such a value counts as saturation only if so many pixels, and this share of them, have it.
SATURATED_LEAST_PIXELS = 10
SATURATED_LEAST_FRACTION = 1e-5

#: A channel is clipped if this share of its pixels has the highest value.
CLIPPED = 0.05
#: A channel has an empty part if this share of its rows or columns is zero.
EMPTY = 0.25
#: Channels with a higher correlation show the same stain, or one shines into the other.
ALIKE = 0.97
#: A row is a stripe if it differs from its neighbours by so many times the noise of a pixel, all along it. In
#: 1,186 real channels the 98th percentile of the rows is 0.11 (median; largest 0.37).
STRIPES = 0.75
#: Such a share of the rows, or of the columns, are stripes at least.
STRIPED_ROWS = 0.02
#: Parts into which a row is cut: a stripe is seen in all of them, cells are not.
_ROW_PARTS = 8
#: Pixels of a row that are looked at: the mean of 64 in a part is known to a fifth of the noise of one.
_ENOUGH = 512
#: What the cell channel lights up is such a share of what that of the nuclei does (least, most), and so much
#: of it lies within: in none of 49 real and simulated fields, and in 41 of them with their channels swapped.
SWAPPED_SIZE, SWAPPED_WITHIN = (0.1, 0.6), 0.8
#: Of what is brightest, the cell channel has at most so much.
SWAPPED_BRIGHTEST = 0.9
#: Floating-point channels with a larger or smaller spread lose digits in what follows.
LARGEST, SMALLEST = 1e30, 1e-30
#: Pixels looked at along each axis.
_SAMPLE = 512


@dataclass(frozen=True)
class Finding:
    """What is wrong with a picture.

    Attributes
    ----------
    code
        A name for it, the same in every picture (`CODES`).
    sentence
        What it is, for this picture.
    """

    code: str
    sentence: str


#: What can be found.
CODES = {
    "same_channels": "Two channels hold the same picture.",
    "alike_channels": "Two channels are so alike that one bleeds into the other, or is it.",
    "clipped": "Many pixels of a channel have its highest value.",
    "empty_part": "A large part of a channel is zero.",
    "frame": "Zeros around the picture were left out.",
    "scale": "Values so large or small that digits are lost.",
    "stripes": "Rows or columns of a channel differ from their neighbours.",
    "swapped": "The nuclei seem to be in the cell channel.",
    "hot_pixels": "Single pixels shone alone and were replaced.",
    "camera_defects": "Defects of the camera, learnt from all images, were replaced.",
}


@dataclass(frozen=True)
class Looked:
    """A picture that was looked at.

    Attributes
    ----------
    field
        The field; values of absurd scale are scaled, corners without values filled.
    window
        Where the picture lies, if zeros surround it.
    findings
        What a reader should know.
    """

    field: Field
    window: Window | None = None
    findings: tuple[Finding, ...] = ()


def look(field: Field) -> Looked:
    """Check a field (YX or ZYX, in memory), and mend what can be mended without a guess."""
    window = find_window(field)
    inside = {name: each if window is None else window.of(each) for name, each in field.channels.items()}
    findings = check(inside)
    mended, share = fill_corners({role: scaled(channel) for role, channel in inside.items()})
    if window is not None or share:
        first = next(iter(field.channels))
        left = 100 * (1 - inside[first].size / field.channels[first].size + share)
        findings.append(Finding("frame", f"zeros around the picture ({left:.1f} %) were left out"))
    channels = dict(field.channels)
    for role, channel in mended.items():
        if channel is not inside[role]:
            channels[role] = channel if window is None else window.padded(channel, field.channels[role].shape)
    return Looked(replace(field, channels=channels), window, tuple(findings))


def check(channels: dict[str, Plane]) -> list[Finding]:
    """Look at every channel (YX or ZYX, by role) once.

    Zeros that surround a picture, and hot pixels, are found where they are mended
    (`napari_tam.io.window`, `napari_tam.puncta.spot_input`).
    """
    found: list[Finding] = []
    for role, channel in channels.items():
        found += _of_channel(role, channel)
    found += _of_pairs(channels)
    return found


def saturation_level(image: npt.NDArray[Any]) -> float | None:
    """Return the value at which a channel is clipped, or None.

    It is the largest value of an integer type; or the image's maximum if that is exactly a full
    scale of a camera (1 for floating point, too) and many pixels share it.
    """
    top = float(image.max())
    whole = np.issubdtype(image.dtype, np.integer)
    if whole and top == np.iinfo(image.dtype).max:
        return top
    if top in FULL_SCALES or (top == 1 and not whole):
        shared = np.count_nonzero(image == image.max())
        if shared >= max(SATURATED_LEAST_PIXELS, SATURATED_LEAST_FRACTION * image.size):
            return top
    return None


def _of_channel(role: str, channel: Plane) -> list[Finding]:
    found = []
    level = saturation_level(channel)
    top = float((channel == channel.max()).mean())
    if level is not None and top > CLIPPED:
        found.append(
            Finding("clipped", f"{100 * top:.0f} % of the {role} channel is saturated: it says little there")
        )
    low, high = float(channel.min()), float(channel.max())
    if channel.dtype.kind == "f" and (max(abs(low), abs(high)) > LARGEST or high - low < SMALLEST):
        found.append(
            Finding(
                "scale",
                f"the {role} channel goes from {low:.3g} to {high:.3g}, which is no intensity: it was scaled",
            )
        )
    zero = float((channel == 0).mean())
    if zero > EMPTY and _hangs_together(channel):
        found.append(Finding("empty_part", f"{100 * zero:.0f} % of the {role} channel is one empty part"))
    if _striped(channel if channel.ndim == 2 else channel.max(axis=0)):
        found.append(
            Finding("stripes", f"rows or columns of the {role} channel differ from their neighbours")
        )
    return found


def _hangs_together(channel: Plane) -> bool:
    """Whether the zeros of a channel are whole rows or columns, not the dark of a background."""
    zero = channel == 0 if channel.ndim == 2 else (channel == 0).all(axis=0)
    return bool(max(zero.all(axis=0).mean(), zero.all(axis=1).mean()) > EMPTY)


def _striped(plane: Plane) -> bool:
    """Whether rows or columns differ from their neighbours, from end to end, about as much as pixels do."""
    if min(plane.shape) < 64:
        return False
    return any((_line_offsets(each) > STRIPES).mean() > STRIPED_ROWS for each in (plane, plane.T))


def _line_offsets(plane: Plane) -> npt.NDArray[np.float64]:
    """Return by how much (in noise of a pixel) each inner row differs from the mean of its neighbours.

    The middle half of the differences counts, in each part of a row; and of the parts the lower quartile,
    all of one sign: the edge of a cell is not as long. Of long rows some `_ENOUGH` pixels tell.
    """
    step = max(1, plane.shape[1] // _ENOUGH)
    kind = np.float32 if plane.dtype.kind in "iu" and plane.dtype.itemsize <= 2 else np.float64
    lines: npt.NDArray[Any] = np.ascontiguousarray(plane[:, ::step], kind)
    bend = lines[1:-1] - (lines[2:] + lines[:-2]) / 2
    parts = bend.shape[1] // _ROW_PARTS
    sorted_ = np.sort(bend[:, : parts * _ROW_PARTS].reshape(len(bend), _ROW_PARTS, parts), axis=2)
    offsets = sorted_[:, :, parts // 4 : parts - parts // 4].mean(axis=2)
    least = np.maximum(np.percentile(offsets, 25, axis=1), -np.percentile(offsets, 75, axis=1))
    whole = plane[:: max(1, plane.shape[0] // _ENOUGH)].astype(kind)
    differences = np.abs(np.diff(whole, axis=1))
    noise = 1.4826 * float(np.median(differences[:, :: max(1, plane.shape[1] // _ENOUGH)])) / 2**0.5
    # where most neighbours are equal (8 bit, few grey levels), a stripe is one grey level at least
    step_of_grey = float(np.min(differences, where=differences > 0, initial=np.inf))
    result: npt.NDArray[np.float64] = least.clip(0) / max(
        noise, step_of_grey if step_of_grey < np.inf else 1.0
    )
    return result


def _of_pairs(channels: dict[str, Plane]) -> list[Finding]:
    found = []
    for a, b in combinations(channels, 2):
        first, second = channels[a], channels[b]
        if np.array_equal(first, second):
            found.append(Finding("same_channels", f"the {a} and the {b} channel hold the same picture"))
            continue
        alike = _correlation(first, second)
        if alike > ALIKE:
            found.append(
                Finding(
                    "alike_channels",
                    f"the {a} and the {b} channel are nearly the same (correlation {alike:.2f}): one may "
                    "shine into the other, or be the same stain",
                )
            )
    if "nucleus" in channels and _swapped(channels["cell"], channels["nucleus"]):
        found.append(
            Finding(
                "swapped",
                "the cell channel lights up a smaller part of the picture than the nuclei do, within them: "
                "cell and nucleus may be swapped (--channels)",
            )
        )
    return found


def _sample(channel: Plane) -> npt.NDArray[np.float64]:
    plane = channel if channel.ndim == 2 else channel[channel.shape[0] // 2]
    steps = [max(1, n // _SAMPLE) for n in plane.shape]
    values: npt.NDArray[np.float64] = plane[:: steps[0], :: steps[1]].astype(np.float64)
    scale = float(np.abs(values).max())
    return values / scale if scale > 0 else values


def _correlation(a: Plane, b: Plane) -> float:
    first, second = _sample(a).ravel(), _sample(b).ravel()
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def _swapped(cell: Plane, nucleus: Plane) -> bool:
    """Whether what is lit in the cell channel lies within what is lit in that of the nuclei."""
    planes = [_sample(cell), _sample(nucleus)]
    bright = [_above_otsu(values).sum() for values in planes]
    # of the logarithm: a cell that is ten times as bright as others does not hide them
    lit = [_above_otsu(_logarithm(values)) for values in planes]
    cells, nuclei = (int(each.sum()) for each in lit)
    least, most = SWAPPED_SIZE
    if not (least * nuclei < cells < most * nuclei and bright[0] < SWAPPED_BRIGHTEST * bright[1]):
        return False
    return int((lit[0] & lit[1]).sum()) > SWAPPED_WITHIN * cells


def _above_otsu(values: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    from skimage.filters import threshold_otsu

    above: npt.NDArray[np.bool_] = values > threshold_otsu(values)  # type: ignore[no-untyped-call]
    return above


def _logarithm(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the logarithm of what is above the dark; noise below 2 % of the brightest counts as dark."""
    dark, brightest = np.percentile(values, [2, 99.5])
    found: npt.NDArray[np.float64] = np.log((values - dark).clip(0) + 0.02 * (brightest - dark) + 1e-12)
    return found


def scaled(channel: Plane) -> Plane:
    """Return a floating-point channel of absurd scale as float32 from 0 to 1; others as they are."""
    low, high = float(channel.min()), float(channel.max())
    if channel.dtype.kind != "f":
        return channel
    if max(abs(low), abs(high)) <= LARGEST and high - low >= SMALLEST:
        return channel
    size = max(abs(low), abs(high))
    part = channel.astype(np.float64) / size
    result: Plane = ((part - low / size) / ((high - low) / size)).astype(np.float32)
    return result
