"""What lies beside the files of channels and is none: previews, overlays, projections, masks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from napari_tam.errors import InputError
from napari_tam.io.names.pattern import GUID

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from pathlib import Path

#: What lies beside the images: previews, pictures with all channels in one, projections, masks.
BESIDE = re.compile(
    # what ends a name; a mosaic is called "…_Merged_ch00" as well, and is data
    r"([_ -]\(?(overlay|ovly|merged?|composite|rgb)\)?|_MIP|_maxproj)(?=\.)"
    r"|^(overlay|merge|composite)(?=[_ -])"
    rf"|[_ -]?thumb(nail)?s?(?=[_ .-]|{GUID})"
    # what was segmented: label images and outlines of Cellpose and others
    r"|_(masks?|outlines|flows)(?=\.)"
    # Cellomics' outlines of objects; what an EVOS shows (D) and merges (M) of its raw files (R)
    r"|_[A-P]\d\df\d+o\d+(?=\.)|_[DM]_p\d+(_z\d+)?_\d+_[A-P]\d\df\d+d\d+(?=\.)"
    # dark and shading images of a CellVoyager
    r"|^DC_[^/]*_CAM\d(?=\.)|^SC_[^/]*_CH\d+(?=\.)",
    re.IGNORECASE,
)

#: How Keyence calls the picture with all channels in one, and others their first channel: the pixels tell.
FIRST_OR_OVERLAY = re.compile(r"_CH0(?=\.)", re.IGNORECASE)

#: Gen5: raw images, and what was made of them (stitched, projected, transformed), which shows the same cells.
_GEN5 = r"^[A-P]\d{1,2}(ROI\d+)?_-?\d+_\d+_\d+(Z-?\d+)?_"
_RAW = re.compile(_GEN5 + r"(?![A-Za-z]+\[)", re.IGNORECASE)
_MADE_OF_RAW = re.compile(_GEN5 + r"[A-Za-z]+\[", re.IGNORECASE)

#: What file managers append to the name of a copy; ``(1)`` may be a field's number as well.
_COPY = re.compile(
    r"( - (copy|kopie|copie|copia|kopia)( \(\d+\))?| copy( \d+)?| ?\(\d+\))(?=(\.ome)?\.[^.]+$)",
    re.IGNORECASE,
)

#: Folders of what is made of the images in the folders beside them.
MADE_FOLDER = re.compile(r"projections?|autofocus|thumb(nail)?s?|previews?|overlays?", re.IGNORECASE)


def beside_by_name(by_look: Iterable[Sequence[Path]]) -> list[Path]:
    """Return the files that are no channels by their names, of files by what their names look like."""
    looks = list(by_look)
    # names of one look hold the same words
    beside = [path for each in looks if BESIDE.search(each[0].name) for path in each]
    first = [path for each in looks for path in each if FIRST_OR_OVERLAY.search(path.name)]
    if first and not holds_one_channel(min(first)):
        beside += first
    if any(_RAW.search(each[0].name) for each in looks):
        beside += [path for each in looks if _MADE_OF_RAW.search(each[0].name) for path in each]
    return beside


def copies(files: Collection[Path]) -> dict[Path, Path]:
    """Return copies of files that lie beside their originals (``a - Copy.tif``, ``a (1).tif``), and those.

    Where most files would be copies, they are a series: ``DAPI.tif``, ``DAPI (1).tif``, ``DAPI (2).tif``.
    """
    named = {str(path): path for path in files}
    found = {}
    for path in files:
        if " " in path.name or "(" in path.name:  # most names need no look
            original = named.get(str(path.with_name(_COPY.sub("", path.name, count=1))))
            if original is not None and original != path:
                found[path] = original
    return found if 2 * len(found) < len(files) else {}


def overlays(by_look: Iterable[Sequence[Path]], whole: Collection[Path]) -> list[Path]:
    """Return the colour pictures with several channels in them, whatever they are called.

    Parameters
    ----------
    by_look
        Files by what their names look like, of which the first, the middle and the last are opened.
    whole
        The files of complete fields, which need no look.
    """
    return [
        path
        for look in by_look
        if not (some := examples(look)) <= set(whole) and all(map(_is_overlay, some))
        for path in look
    ]


def examples(alike: Sequence[Path]) -> set[Path]:
    """Return the first, the middle and the last of files that look alike."""
    return {alike[0], alike[len(alike) // 2], alike[-1]}


def _is_overlay(path: Path) -> bool:
    from napari_tam.io.single import MixedColoursError, open_single  # most folders need no look into a file

    try:
        with open_single(path):
            return False
    except MixedColoursError:
        return True
    except (InputError, OSError):
        return False


def holds_one_channel(path: Path) -> bool:
    """Tell whether a file can be read, and is of one channel."""
    from napari_tam.io.single import open_single

    try:
        with open_single(path):
            return True
    except (InputError, OSError):
        return False
