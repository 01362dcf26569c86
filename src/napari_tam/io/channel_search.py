"""To which image a file belongs, by the files beside it."""

from __future__ import annotations

import os
import re
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING

from napari_tam.io.channel_files import AUTO, BESIDE_THEM, EACH, ChannelFiles, alike, group
from napari_tam.io.channels import is_channel_name
from napari_tam.io.naming import NAMINGS, Naming, told
from napari_tam.io.pictures import is_picture

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_TIFF = re.compile(r"\.tiff?$", re.IGNORECASE)


def _kind(path: Path) -> str:
    """Return what kind of file may be a channel: files of other kinds are no channels of the same field."""
    return "tiff" if _TIFF.search(path.name) else path.suffix.lower() if is_picture(path) else ""


def _files(folder: Path, kind: str) -> list[Path]:
    """Return the files of a kind in a folder, without hidden ones."""
    with os.scandir(folder) as entries:
        names = [each.name for each in entries if not each.name.startswith(".") and _is_file(each)]
    return [path for path in map(folder.joinpath, sorted(names)) if _kind(path) == kind]


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


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
        if found.first.parent != resolved(path.parent):
            return found.first
        return path if found.first.name == path.name else path.parent / found.first.name
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


def resolved(folder: Path) -> Path:
    """Return a folder's full path, which a system is slow to tell for every one of many files."""
    return _followed(folder if folder.is_absolute() else folder.absolute())


@lru_cache(maxsize=256)
def _followed(folder: Path) -> Path:
    return folder.resolve()


def _look(path: Path, how: str) -> ChannelFiles | str | None:
    kind = _kind(path)
    if how == EACH or not kind:
        return None
    beside = resolved(path.parent)
    name = os.path.join(beside, path.name)  # a text: a path takes ten times as long to make
    try:
        changed = os.stat(beside).st_mtime_ns
        depths = _depths(beside, kind, how, changed)
    except OSError:
        return None
    # the deepest first: a name without its folders may fit another way as well
    for depth in depths:
        try:
            folder = beside.parents[depth - 1] if depth else beside
            if depth:
                changed = max(each.stat().st_mtime_ns for each in _folders(folder, depth))
            by_file = _by_file(folder, kind, depth, how, changed)
        except (OSError, IndexError):
            continue
        if name in by_file:
            return by_file[name]
    return None


def _ways(how: str, depth: int) -> list[Naming]:
    """Return the ways of naming in which so many folders are a part of the name."""
    return [naming for naming in (NAMINGS if how == AUTO else (told(how),)) if naming.folders == depth]


@lru_cache(maxsize=256)
def _depths(folder: Path, kind: str, how: str, _changed: int) -> list[int]:
    """Return how many folders may be a part of the names of a folder's files, the most first.

    The folders beside this one may be many, and are looked at only if its files' names ask for it.
    """
    known = {naming.folders for naming in (NAMINGS if how == AUTO else (told(how),))}
    files = _files(folder, kind) if max(known) else []
    return [
        depth
        for depth in sorted(known, reverse=True)
        if not depth or any(_is_deep(path, naming) for naming in _ways(how, depth) for path in files)
    ]


def _is_deep(path: Path, naming: Naming) -> bool:
    """Tell whether a file's folders may be a part of its name."""
    match = naming.match(path)
    return match is not None and (not naming.words or is_channel_name(match["channel"]))


def _folders(folder: Path, depth: int) -> list[Path]:
    """Return a folder and those in it, down to a depth."""
    found = level = [folder]
    for _ in range(depth):
        level = [
            path
            for each in level
            for path in sorted(each.iterdir())
            if path.is_dir() and not path.name.startswith(".")
        ]
        found = found + level
    return found


@lru_cache(maxsize=64)
def _by_file(folder: Path, kind: str, depth: int, how: str, _changed: int) -> dict[str, ChannelFiles | str]:
    """Return the field of every file (its path) that belongs to one, of the folders at a depth below one."""
    here = len(folder.parts) + depth
    folders = [each for each in _folders(folder, depth) if len(each.parts) == here]
    beside = [_files(each, kind) for each in folders]
    ways = _ways(how, depth)
    if depth and how == AUTO:
        # names of one look are all so, or none is: C3_DAPI is a well's beside B3_DAPI, not a channel's
        beside = [
            names
            for each in beside
            for names in alike(each)
            if all(any(_is_deep(path, naming) for naming in ways) for path in names)
        ]
    found = group([path for names in beside for path in names], ways)
    by_file: dict[str, ChannelFiles | str] = {}
    for field in found.fields:
        by_file.update(dict.fromkeys(map(str, field.all_files), field))
    return by_file | dict.fromkeys(map(str, found.beside), BESIDE_THEM) if by_file else {}
