"""Which plate an image is of, by its name and file, and the layout that a user fills in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from napari_tam.columns import LAYOUT_COLUMNS
from napari_tam.io.layout import well_of
from napari_tam.io.listing import stem_of
from napari_tam.io.names.hand import NAMINGS
from napari_tam.io.names.pattern import told

if TYPE_CHECKING:
    from collections.abc import Mapping

#: What a plate is called where no maker's way of naming says it: P1, plate7, Plate_2023-01.
_PLATE = re.compile(r"(?<![A-Za-z0-9])(p\d+|plate[ _-]?\w+?)(?=[ _-]|$)", re.IGNORECASE)


def plate_of(image: str, source: str | Path, files: str = "auto") -> str:
    """Return the plate of an image; empty if its names do not tell. No file is looked at.

    Parameters
    ----------
    image
        What the image is called.
    source
        Its file, or the first of its files.
    files
        The setting `files`: how names tell the channels, and maybe the plate.
    """
    path = Path(source)
    if path.suffix.lower() == ".zarr":
        stem = stem_of(path)
        return stem if well_of(image.removeprefix(stem)) and image.startswith(stem) else ""
    ways = NAMINGS if files in ("auto", "each") else (told(files),)
    for naming in ways:
        match = naming.match(path) if "plate" in naming.pattern.groupindex else None
        if match is not None and match["plate"] and match["plate"] in image:
            return str(match["plate"])
    found = {match[1] for match in _PLATE.finditer(image) if match[1].casefold() != _as_well(image)}
    return found.pop() if len(found) == 1 else ""


def _as_well(image: str) -> str:
    """Return an image's well as it may be written in its name, lower case: p1 is a well in p1_dapi."""
    well = well_of(image)
    return well[:1].casefold() + well[1:].lstrip("0")


def template(images: Mapping[Path, str], files: str = "auto") -> str:
    """Return a layout as CSV, to fill in: a row for every well, or image whose name tells no well.

    Parameters
    ----------
    images
        File and name of every image, as `napari_tam.io.listing.unique_names` returns them.
    files
        See `plate_of`.
    """
    import pandas as pd

    names = [column.name for column in LAYOUT_COLUMNS]
    rows = {
        (plate_of(name, path, files), well_of(name), "" if well_of(name) else name)
        for path, name in images.items()
    }
    table = pd.DataFrame(sorted(rows), columns=["plate", "well", "image"])
    if not table["image"].any():
        table = table.drop(columns="image")
    first = [name for name in ("well", "image", "plate") if name in table]
    table = table.reindex(columns=[*first, *(name for name in names if name not in first)], fill_value="")
    text: str = table.to_csv(index=False, lineterminator="\n")
    return text
