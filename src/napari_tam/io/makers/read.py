"""The files of makers: a table of their names and what reads each."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from napari_tam.errors import InputError
from napari_tam.io.makers import formats
from napari_tam.io.makers.formats import Beside
from napari_tam.io.makers.records import TEXT, records

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from napari_tam.io.tiff_metadata import Metadata


#: A maker, how its file is called, and what reads it. Where its name begins with an image's it is of that.
MAKERS: tuple[tuple[str, re.Pattern[str], Callable[[Path], Beside]], ...] = tuple(
    (maker, re.compile(pattern, re.IGNORECASE), read)
    for maker, pattern, read in (
        ("Harmony", r"^Index(\.idx|\.ref)?\.xml$", formats.harmony),
        ("MetaXpress", r"\.(HTD|nd)$", formats.metaxpress),
        ("Yokogawa", r"^MeasurementDetail\.mrf$", formats.yokogawa),
        ("Micro-Manager", r"metadata\.txt$", formats.micromanager),
        ("Leica", r"_Properties\.xml$", formats.leica),
        ("Zeiss", r"(_info|_meta|metadata)\.xml$", formats.zeiss),
        ("IN Cell", r"\.xdce$", formats.in_cell),
    )
)


def complete(
    metadata: Metadata, image: Path, name: str, channels: Sequence[str]
) -> tuple[Metadata, tuple[str, ...]]:
    """Return what an image's file and the maker's file beside it say together, and a note.

    What the image says of itself goes first, except a size that is only the resolution for printers.

    Parameters
    ----------
    metadata
        What the image says.
    image, name
        Its first file, and what it is called.
    channels
        Its channels as in the files' names, in order.
    """
    found = _file_of(image, name)
    own = replace(metadata, channel_names=tuple(channels))
    if found is None:
        return own, ()
    maker, path, number = found
    try:
        said = _read(path, number, path.stat().st_mtime_ns)
    except InputError as error:
        return own, (f"{path.name} of {maker} was not used: {error.what}",)
    weak = metadata.pixel_um is None or metadata.pixel_source == "TIFF resolution"
    names = _names(said.names, channels)
    return (
        replace(
            metadata,
            pixel_um=said.pixel_um if weak and said.pixel_um else metadata.pixel_um,
            pixel_source=path.name if weak and said.pixel_um else metadata.pixel_source,
            z_um=said.z_um if metadata.z_um is None else metadata.z_um,
            frame_interval_min=metadata.frame_interval_min or said.interval_min,
            channel_names=names,
            channel_aliases=tuple(channels),
        ),
        (f"with what {path.name} of {maker} says",) if said != Beside() else (),
    )


def wells(folder: Path) -> dict[str, str]:
    """Return the well of every file as Yokogawa's MeasurementData.mlf tells; empty without one."""
    path = folder / "MeasurementData.mlf"
    try:
        return _wells(path, path.stat().st_mtime_ns)
    except (OSError, InputError):
        return {}


@lru_cache(maxsize=8)
def _wells(path: Path, _changed: int) -> dict[str, str]:
    return {
        each[TEXT]: f"{chr(ord('A') + int(each['Row']) - 1)}{int(each['Column']):02d}"
        for each in records(path, ("MeasurementRecord",))
        if each.get("Row", "").isdecimal() and each.get("Column", "").isdecimal()
    }


@lru_cache(maxsize=64)
def _read(path: Path, number: int, _changed: int) -> Beside:
    try:
        return MAKERS[number][2](path)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError("it is damaged or of an unknown kind", where=path) from error


def _file_of(image: Path, name: str) -> tuple[str, Path, int] | None:
    """Return the maker's file of an image: beside it, in a folder MetaData, or up to two folders above."""
    above = image.parent
    for folder in (above / "MetaData", above / "Metadata", above, above.parent, above.parent.parent):
        for number, (maker, pattern, _) in enumerate(MAKERS):
            files = [path for path in _listed(folder) if pattern.search(path.name)]
            own = [
                path
                for path in files
                if (stem := pattern.sub("", path.name).casefold().rstrip("_. "))
                and (image.name.casefold().startswith(stem) or stem.startswith(name.casefold()))
            ]
            chosen = max(own, key=lambda path: len(path.name), default=files[0] if len(files) == 1 else None)
            if chosen is not None:
                return maker, chosen, number
    return None


def _listed(folder: Path) -> list[Path]:
    try:
        return _files_in(folder, folder.stat().st_mtime_ns)
    except OSError:
        return []


@lru_cache(maxsize=256)
def _files_in(folder: Path, _changed: int) -> list[Path]:
    """Return the makers' files of a folder, in which there may be thousands of images."""
    return sorted(
        path for path in folder.iterdir() if any(pattern.search(path.name) for _, pattern, _ in MAKERS)
    )


def _names(said: dict[int, str] | tuple[str, ...], channels: Sequence[str]) -> tuple[str, ...]:
    """Return what the channels are called; as in the files' names where nothing else is known."""
    if isinstance(said, tuple):
        fits = len(said) == len(channels) and not set(said) & set(channels) and len(set(said)) == len(said)
        return said if fits else tuple(channels)
    numbers = [re.search(r"(\d+)$", channel) for channel in channels]
    names = tuple(
        said.get(int(number[1]), channel) if number else channel
        for number, channel in zip(numbers, channels, strict=True)
    )
    return names if len(set(names)) == len(names) else tuple(channels)
