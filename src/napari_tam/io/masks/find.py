"""Which file of a folder holds the masks of an image: by the image's name, with endings that tools add."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from napari_tam.errors import InputError, some
from napari_tam.io.channel_search import files_of
from napari_tam.io.listing import stem_of
from napari_tam.io.masks.read import ENDINGS, read_labels

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from napari_tam.io.masks.read import Labels
    from napari_tam.settings import Settings

#: The setting that means no folder.
NONE = "none"

#: What masks can be of, and the role of the stain that they were found in.
ROLES = {"cells": "cell", "nuclei": "nucleus"}

#: Words around an image's name in the names of its masks, and which kind of mask they tell.
_WORDS = {
    "cells": "cells?|cyto(plasm)?",
    "nuclei": "nucleus|nuclei|nuclear|nuc",
    "": "cp|masks?|labels?|label_image|seg|segmentation|objects?|rois?|roiset|outlines?|detections?",
}
_AFTER = {kind: re.compile(rf"[ ._-]+(?:{words})$", re.IGNORECASE) for kind, words in _WORDS.items()}
_BEFORE = {kind: re.compile(rf"^(?:{words})[ ._-]+", re.IGNORECASE) for kind, words in _WORDS.items()}


@dataclass(frozen=True)
class MaskFile:
    """A file that may hold masks: whose (in lower case), and of which kind if its name tells."""

    path: Path
    image: str
    kind: str
    bare: bool
    rank: int


def mask_folders(settings: Settings) -> dict[str, Path]:
    """Return the folders with masks that the settings name, by kind."""
    named = {"cells": settings.cells_masks, "nuclei": settings.nuclei_masks}
    return {kind: Path(text).expanduser() for kind, text in named.items() if text != NONE}


def check_folders(settings: Settings) -> None:
    """Raise InputError if a folder with masks is not there."""
    for kind, folder in mask_folders(settings).items():
        if not folder.is_dir():
            raise InputError("there is no such folder", where=folder, fix=f"check --{kind}-masks")


def mask_files(path: Path, name: str, settings: Settings) -> list[Path]:
    """Return the files that may hold masks of an image's fields, so that a change of one is noticed.

    Parameters
    ----------
    path, name
        The image, and what it is called; its fields' names begin with that.
    """
    starts = tuple(text.casefold() for text in _names(path, name, "", settings.files))
    own = {each.resolve() for each in (path, *files_of(path, settings.files))}
    found = {
        each.path
        for kind, folder in mask_folders(settings).items()
        if folder.is_dir()
        for each in _known(folder, kind)
        if each.path not in own
        and (each.image in starts or each.image.startswith(tuple(f"{start}_" for start in starts)))
    }
    return sorted(found)


def given_masks(
    path: Path,
    name: str,
    tail: str,
    settings: Settings,
    shape: tuple[int, ...],
    *,
    frame: tuple[int, int] = (0, 1),
    stains: dict[str, str] | None = None,
) -> tuple[dict[str, Labels], tuple[str, ...]]:
    """Read the masks of a field that the settings' folders hold.

    Parameters
    ----------
    path, name, tail
        The image; what it is called without and with what is appended for this field (``_s01``).
    settings
        Uses `cells_masks`, `nuclei_masks` and `files`.
    shape, frame
        See `napari_tam.io.masks.read.read_labels`.
    stains
        Role to stem of the file that holds its channel, of an image whose channels are files.

    Returns
    -------
    masks, notes
        ``cells`` and ``nuclei`` to labels, and what must be known.

    Raises
    ------
    InputError
        If a folder is missing, has no or more than one file for the field, or it cannot be used.
    """
    check_folders(settings)
    masks: dict[str, Labels] = {}
    notes: list[str] = []
    for kind, folder in mask_folders(settings).items():
        own = (stains or {}).get(ROLES[kind])
        others = {stem for role, stem in (stains or {}).items() if role in ROLES.values()} - {own}
        names = [each for each in _names(path, name, tail, settings.files) if each not in others]
        names = names if own is None else [own, *names]
        file = _find(path, name + tail, kind, folder, settings, names)
        masks[kind], note = read_labels(file, kind, shape, frame)
        notes.append(f"{kind} as given, not segmented here" + (f" ({note})" if note else ""))
    return masks, tuple(notes)


def _find(path: Path, name: str, kind: str, folder: Path, settings: Settings, names: Sequence[str]) -> Path:
    known = _known(folder, kind)
    own = {each.resolve() for each in (path, *files_of(path, settings.files))}
    for wanted in names:
        fitting = [each for each in known if each.image == wanted.casefold() and each.path not in own]
        best = min(((each.kind != kind, each.bare, each.rank) for each in fitting), default=None)
        chosen = {each.path for each in fitting if (each.kind != kind, each.bare, each.rank) == best}
        if len(chosen) > 1:
            raise InputError(
                f"more than one file may hold the {kind} of {name}: "
                f"{some(sorted(each.name for each in chosen))}",
                where=folder,
                fix="move all but one of them elsewhere",
            )
        if chosen:
            return chosen.pop()
    raise InputError(
        f"there is no file with the {kind} of {name} in {folder}",
        where=path,
        fix=f"call it e.g. {name}_{kind}.tif (or _cp_masks.png, _seg.npy, .zip, .geojson), or leave "
        "this image out",
    )


def _names(path: Path, name: str, tail: str, files: str) -> Iterable[str]:
    """Return what the masks of a field may be named after, best first."""
    without_time = re.sub(r"_t\d+$", "", tail)
    stems = [name, stem_of(path), *(stem_of(each) for each in files_of(path, files))]
    tails = (tail, without_time)
    return dict.fromkeys(stem + end for end in tails for stem in stems)


def _known(folder: Path, kind: str) -> list[MaskFile]:
    if (folder / "images.csv").is_file() and (folder / "masks").is_dir():  # results of an analysis
        folder = folder / "masks"
    changed = tuple(each.stat().st_mtime_ns for each in (folder, *_folders(folder)))
    return _listed(folder.resolve(), kind, changed)


def _folders(folder: Path) -> list[Path]:
    return sorted(each for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))


@lru_cache(maxsize=16)
def _listed(folder: Path, kind: str, _changed: tuple[int, ...]) -> list[MaskFile]:
    """Return the files with masks in a folder and the folders in it."""
    found = []
    for path in (file for here in (folder, *_folders(folder)) for file in sorted(here.iterdir())):
        rank = next((k for k, ends in enumerate(ENDINGS) if path.suffix.lower() in ends), None)
        if rank is None or path.name.startswith(".") or not path.is_file():
            continue
        stem = stem_of(path) if rank == 0 else stem_of(Path(path.stem))
        for image, said in _forms(stem):
            if said in ("", kind):
                # as images of the same name in several folders are called, too
                inside = f"{path.parent.name}_{image}"
                found += [
                    MaskFile(path, each.casefold(), said, image == stem, rank) for each in (image, inside)
                ]
    return found


def _forms(stem: str) -> Collection[tuple[str, str]]:
    """Return the images that a file may be named after, and the kind of mask that its name then tells."""
    forms = {stem: ""}
    image, said = stem, ""
    while (cut := _without_word(image)) is not None:
        kind, image = cut
        said = said or kind
        forms.setdefault(image, said)
    return forms.items()


def _without_word(stem: str) -> tuple[str, str] | None:
    for patterns in (_AFTER, _BEFORE):
        for kind, pattern in patterns.items():
            rest = pattern.sub("", stem)
            if rest and rest != stem:
                return kind, rest
    return None
