"""``napari-tam calibrate``: from reference images to a correction folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_tam.cli.options import parse_setting
from napari_tam.correct.calibrate import bleed_through_of, channel_shifts, mean_bleed_through
from napari_tam.correct.flat_field import estimate_flat_field, reference_flat_field
from napari_tam.correct.folder import write_corrections
from napari_tam.errors import InputError
from napari_tam.io.images import list_images, read_fields
from napari_tam.io.tiff import reading
from napari_tam.markers.labels import is_exosome_role
from napari_tam.settings import ROLES, Settings, is_role

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from napari_tam.correct.folder import FlatField
    from napari_tam.io.field import Field

#: A flat field whose two halves differ more than this (relative, root mean square) is worth a warning.
DOUBTFUL = 0.03


def calibrate(arguments: argparse.Namespace) -> int:
    """Estimate one part of the corrections and write it to the folder; return the exit status.

    Raises
    ------
    InputError
        If the images cannot be used for it, or the folder cannot be written.
    """
    # a reference may be of one channel alone
    given: dict[str, Any] = {
        "files": "each",
        "channels": parse_setting("channels", [arguments.channels or ""]),
    }
    if arguments.pixel_size is not None:
        given["pixel_size_um"] = arguments.pixel_size
    settings = Settings.from_values(given, where="command line")
    steps = {"flat-field": _flat_field, "bleed-through": _bleed_through, "shift": _shift}
    steps[arguments.kind](arguments, settings)
    print(f"written {arguments.out}")
    print(f"use it  napari-tam analyse IMAGES --out RESULTS --corrections {arguments.out}")
    return 0


def _fields(paths: Sequence[str | Path], settings: Settings, required: Sequence[str] = ()) -> Iterator[Field]:
    for path in list_images(paths, settings.files, rgb=settings.rgb):
        for field in read_fields(path, settings, required=required):
            if not field.channels:
                raise InputError(
                    "cannot tell which channel this is", where=path, fix="say it, e.g. --channels exosome=0"
                )
            yield field


def _flat_field(arguments: argparse.Namespace, settings: Settings) -> None:
    dark = None if arguments.dark is None else _dark(arguments.dark)
    planes: dict[str, list[npt.NDArray[Any]]] = {}
    for field in _fields(arguments.inputs, settings):
        for role, plane in field.channels.items():
            planes.setdefault(role, []).append(plane)
    found: dict[str, FlatField] = {}
    # The exosome channel first: sparse light shows the dark level best, and the others take it over.
    for role in sorted(planes, key=lambda role: (not is_exosome_role(role), [*ROLES, role].index(role))):
        if arguments.reference:
            if dark is None:
                raise InputError("a --reference needs the dark level", fix="give --dark, e.g. --dark 100")
            found[role] = reference_flat_field(planes[role], dark, where=f"{role} channel")
        else:
            found[role] = estimate_flat_field(planes[role], dark, where=f"{role} channel")
            if dark is None:
                dark = found[role].dark
                print(
                    f"note    the dark level was estimated as {dark:.1f}; give it with --dark if you know it"
                )
    for flat in found.values():
        flat.facts["dark_given"] = arguments.dark is not None
    write_corrections(arguments.out, flat_field=found)
    for role, flat in found.items():
        facts = flat.facts
        text = f"{role:9} {facts['images']} images, brightest / darkest {facts['brightest_to_darkest']:.2f}"
        if "uncertainty" in facts:
            text += f", uncertain by {facts['uncertainty']:.1%}"
            if facts["uncertainty"] > DOUBTFUL:
                text += ": give more fields, with cells at other places"
        print(text)


def _dark(text: str) -> float:
    """Return a dark level from a number, or the median of an image."""
    try:
        value = float(text)
    except ValueError:
        import tifffile

        path = Path(text).expanduser()
        with reading(path):
            value = float(np.median(tifffile.imread(path)))
    if not np.isfinite(value) or value < 0:
        raise InputError(f"--dark {text}: not a number from 0")
    return value


def _bleed_through(arguments: argparse.Namespace, settings: Settings) -> None:
    controls: list[tuple[str, dict[str, float]]] = []
    names = []
    for text in arguments.inputs:
        source, equals, path = text.partition("=")
        if not equals or not is_role(source):
            raise InputError(
                f"'{text}' is no ROLE=IMAGE",
                fix="name the only stain of each, e.g. cell=only_cells.tif (roles: "
                f"{', '.join(ROLES)}, marker_NAME)",
            )
        for field in _fields([path], settings, required=(source,)):
            if len(field.channels) < 2:
                raise InputError("there is no second channel to look into", where=path, fix="see --channels")
            controls.append((source, bleed_through_of(field, source)))
            names.append(f"{source}={field.name}")
    fractions = mean_bleed_through(controls)
    write_corrections(arguments.out, bleed_through=fractions, facts={"images": names})
    for name, value in fractions.items():
        source, _, target = name.partition("_into_")
        print(f"{value:.2%} of {source} is seen in {target}")
    if not fractions:
        print("no bleed-through of 0.1 % or more")


def _shift(arguments: argparse.Namespace, settings: Settings) -> None:
    seen: dict[str, list[tuple[float, float]]] = {}
    images = 0
    for field in _fields(arguments.inputs, settings, required=("cell",)):
        images += 1
        for role, (y, x) in channel_shifts(field).items():
            seen.setdefault(role, []).append((y * field.pixel_size_um, x * field.pixel_size_um))
    shifts = {role: tuple(np.median(found, axis=0).round(4).tolist()) for role, found in seen.items()}
    write_corrections(arguments.out, channel_shift_um=shifts, facts={"images": images})
    for role, (y, x) in shifts.items():
        print(f"{role:9} must be moved by {y:.3f} µm in y and {x:.3f} µm in x ({images} images)")


def add_calibrate_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``napari-tam calibrate``."""
    parser.add_argument("kind", choices=["flat-field", "bleed-through", "shift"], help="what to calibrate")
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="IMAGE",
        help="images, folders or patterns; for bleed-through ROLE=IMAGE with the only stain of each",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="correction folder; its other parts are kept"
    )
    parser.add_argument(
        "--reference", action="store_true", help="flat-field: the images are of something uniform"
    )
    parser.add_argument(
        "--dark",
        metavar="VALUE",
        help="flat-field: intensity without light, a number or an image taken with the shutter closed",
    )
    parser.add_argument("--channels", metavar="ROLE=CHANNEL,…", help="which channel plays which role")
    parser.add_argument("--pixel-size", type=float, metavar="UM", help="pixel size in µm, if no file tells")
