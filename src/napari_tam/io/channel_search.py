"""To which image a file belongs, by the files beside it."""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING

from napari_tam.io.channel_files import AUTO, BESIDE_THEM, EACH, ChannelFiles, group
from napari_tam.io.channels import guess_roles
from napari_tam.io.naming import NAMINGS, Naming, told
from napari_tam.io.pictures import is_picture

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_TIFF = re.compile(r"\.tiff?$", re.IGNORECASE)

#: The ways of naming in which a file's folder is a part of its name.
_WITH_FOLDERS = tuple(naming for naming in NAMINGS if naming.folders)


def _kind(path: Path) -> str:
    """Return what kind of file may be a channel: files of other kinds are no channels of the same field."""
    return "tiff" if _TIFF.search(path.name) else path.suffix.lower() if is_picture(path) else ""


def _files(folder: Path, kind: str) -> list[Path]:
    """Return the files of a kind in a folder, without hidden ones."""
    return sorted(
        path
        for path in folder.iterdir()
        if _kind(path) == kind and not path.name.startswith(".") and path.is_file()
    )


def find(path: Path, how: str = AUTO) -> ChannelFiles | None:
    """Return the field that a file belongs to, by the files beside it; None if it is an image by itself.

    Raises
    ------
    InputError
        If `how` is no pattern.
    """
    found = _look(path, how)
    return found if isinstance(found, ChannelFiles) else None


def image_of(path: Path, how: str = AUTO) -> Path | None:
    """Return the file that an image is known by: the first of its channels; None for a preview."""
    found = _look(path, how)
    if isinstance(found, ChannelFiles):
        return path.parent / found.first.name if found.first.parent == path.parent.resolve() else found.first
    return None if found == BESIDE_THEM else path


def files_of(path: Path, how: str = AUTO) -> list[Path]:
    """Return all files of an image."""
    found = find(path, how)
    return [path] if found is None else sorted(found.files.values())


def described(paths: Iterable[Path], how: str = AUTO) -> list[str]:
    """Return a line for every way in which images of several files are named, and for what was left out."""
    namings: Counter[tuple[str, int]] = Counter()
    folders: set[tuple[Path, str]] = set()
    for path in paths:
        found = find(path, how)
        if found is None:
            continue
        namings[found.naming.name, len(found.channels)] += 1
        folders.add((found.first.parent, _kind(path)))
    beside = [path for each in folders for path in _files(*each) if image_of(path, how) is None]
    lines = [
        f"{number} images of {channels} channels, a file each, named like {name}"
        for (name, channels), number in namings.items()
    ]
    if beside:
        lines.append(f"left out: {len(beside)} previews, overlays or projections beside them")
    return lines


def _look(path: Path, how: str) -> ChannelFiles | str | None:
    if how == EACH or not _kind(path):
        return None
    path = path.resolve()
    ways = _WITH_FOLDERS if how == AUTO else (told(how),)
    for folder, deep in ((path.parent, False), (path.parent.parent, True)):
        if deep and not any(_is_deep(path, naming) for naming in ways):
            continue  # the folders beside this one may be many
        try:
            changed = max(each.stat().st_mtime_ns for each in _folders(folder, deep=deep))
            by_file = _by_file(folder, _kind(path), deep, how, changed)
        except OSError:
            continue
        if path in by_file:
            return by_file[path]
    return None


def _is_deep(path: Path, naming: Naming) -> bool:
    """Tell whether a file's folder may be a part of its name."""
    if not naming.folders or not naming.pattern.search(f"{path.parent.name}/{path.name}"):
        return False
    return not naming.words or bool(guess_roles([path.parent.name]))


def _folders(folder: Path, *, deep: bool) -> list[Path]:
    if not deep:
        return [folder]
    return [folder, *(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))]


@lru_cache(maxsize=64)
def _by_file(folder: Path, kind: str, deep: bool, how: str, _changed: int) -> dict[Path, ChannelFiles | str]:
    """Return the field of every file that belongs to one, of a folder or of the folders in it."""
    files = [path for each in _folders(folder, deep=deep)[int(deep) :] for path in _files(each, kind)]
    naming = None if how == AUTO else told(how)
    if deep and naming is None:
        files = [path for path in files if any(_is_deep(path, each) for each in _WITH_FOLDERS)]
    if naming is not None and bool(naming.folders) != deep:
        return {}
    found = group(files, how)
    by_file: dict[Path, ChannelFiles | str] = {}
    for field in found.fields:
        if bool(field.naming.folders) == deep:
            by_file |= dict.fromkeys(field.all_files, field)
    return by_file | dict.fromkeys(found.beside, BESIDE_THEM) if by_file else {}
