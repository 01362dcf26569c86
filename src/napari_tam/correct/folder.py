"""The correction folder of a microscope: what ``napari-tam calibrate`` writes and an analysis applies.

::

    corrections.json      card: fractions, shifts, how they were found, sha256 of the files
    flat_field_<role>.tif  relative brightness of every pixel (float32, mean 1)
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_tam.errors import InputError, one_line
from napari_tam.files import file_hash, make_folder, replacing, write_json
from napari_tam.settings import Settings, is_role

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CARD = "corrections.json"
FORMAT = 1

_AGAIN = "calibrate again with 'napari-tam calibrate'"


@dataclass(frozen=True)
class FlatField:
    """Uneven brightness of one channel.

    Attributes
    ----------
    gain
        (Y, X) float32 above 0, mean 1: brightness of a pixel relative to the average pixel.
    dark
        Intensity that a pixel has without light (camera offset), which `gain` does not scale.
    facts
        How it was found, for the card.
    """

    gain: npt.NDArray[np.float32]
    dark: float
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Corrections:
    """What was calibrated; parts that were not are empty.

    Attributes
    ----------
    flat_field
        By role.
    bleed_through
        ``<source>_into_<target>`` to the fraction of the source that is seen in the target.
    channel_shift_um
        Role to the (y, x) in µm by which it must be moved to lie on the cell channel.
    sha256
        Of the card, which holds those of the files; empty if it was never written.
    """

    flat_field: dict[str, FlatField] = field(default_factory=dict)
    bleed_through: dict[str, float] = field(default_factory=dict)
    channel_shift_um: dict[str, tuple[float, float]] = field(default_factory=dict)
    sha256: str = ""


def write_corrections(
    folder: Path,
    *,
    flat_field: Mapping[str, FlatField] | None = None,
    bleed_through: Mapping[str, float] | None = None,
    channel_shift_um: Mapping[str, tuple[float, float]] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Write parts of a correction folder; the parts that are there already and not given stay.

    Parameters
    ----------
    folder
        Made if need be.
    flat_field, bleed_through, channel_shift_um
        See `Corrections`. A part that is given replaces the old one, except that flat fields of other
        channels are kept.
    facts
        How bleed-through or shifts were found, for the card.

    Raises
    ------
    InputError
        If the folder cannot be written, or holds a card that cannot be read.
    """
    import tifffile

    make_folder(folder)
    card: dict[str, Any] = _read_card(folder) if (folder / CARD).exists() else {"format": FORMAT}
    for role, flat in (flat_field or {}).items():
        path = folder / f"flat_field_{role}.tif"
        with replacing(path) as part:
            tifffile.imwrite(part, flat.gain, photometric="minisblack", compression="zlib", predictor=True)
        own = {"file": path.name, "sha256": _hash(path), "dark": flat.dark, **flat.facts}
        card["flat_field"] = {**card.get("flat_field", {}), role: own}
    if bleed_through is not None:
        card["bleed_through"] = dict(bleed_through)
        card["bleed_through_from"] = dict(facts or {})
    if channel_shift_um is not None:
        card["channel_shift_um"] = {role: list(shift) for role, shift in channel_shift_um.items()}
        card["channel_shift_from"] = dict(facts or {})
    write_json(folder / CARD, card)


def read_corrections(folder: Path) -> Corrections:
    """Read a correction folder and check its files against the card.

    Raises
    ------
    InputError
        If it is missing, damaged, changed since, or holds impossible values.
    """
    card = _read_card(folder)
    try:
        checked = Settings(
            bleed_through=card.get("bleed_through", {}), channel_shift_um=card.get("channel_shift_um", {})
        )
        flats = {str(role): dict(values) for role, values in card.get("flat_field", {}).items()}
        unknown = [role for role in flats if not is_role(role)]
        if unknown:
            raise ValueError(f"'{unknown[0]}' is no channel role")
        flat_field = {role: _read_flat(folder, values) for role, values in flats.items()}
    except InputError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"the card holds what cannot be used ({one_line(error)[:200]})", where=folder / CARD, fix=_AGAIN
        ) from error
    if not (flat_field or checked.bleed_through or checked.channel_shift_um):
        raise InputError("there is no correction in the folder", where=folder, fix=_AGAIN)
    return Corrections(flat_field, checked.bleed_through, checked.channel_shift_um, _hash(folder / CARD))


def _read_card(folder: Path) -> dict[str, Any]:
    path = folder / CARD
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(
            f"not a correction folder (it has no {CARD})",
            where=folder,
            fix="give the --out folder of 'napari-tam calibrate'",
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(f"the card cannot be read ({one_line(error)})", where=path, fix=_AGAIN) from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise InputError("the card is of another kind or version", where=path, fix=_AGAIN)
    return card


def _read_flat(folder: Path, values: Mapping[str, Any]) -> FlatField:
    import tifffile

    name = str(values["file"])
    path = folder / name
    if path.parent != folder or name.startswith("."):
        raise ValueError(f"'{name}' is no file of the folder")
    if not path.is_file():
        raise InputError("the flat field is missing", where=path, fix=_AGAIN)
    if _hash(path) != values["sha256"]:
        raise InputError("the flat field is not the file that the card describes", where=path, fix=_AGAIN)
    try:
        gain = np.asarray(tifffile.imread(path), np.float32)
    except Exception as error:  # a damaged TIFF raises nearly anything
        raise InputError(f"the flat field cannot be read ({one_line(error)})", where=path) from error
    dark = float(values["dark"])
    if gain.ndim != 2 or not np.isfinite(gain).all() or not (gain > 0).all() or not np.isfinite(dark):
        raise InputError("the flat field is no image of numbers above 0", where=path, fix=_AGAIN)
    return FlatField(gain, dark, {k: v for k, v in values.items() if k not in ("file", "sha256", "dark")})


def _hash(path: Path) -> str:
    try:
        return file_hash(path)
    except OSError as error:
        raise InputError(f"it cannot be read ({error.strerror or error})", where=path) from error
