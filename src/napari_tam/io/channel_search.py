"""To which image a file belongs, by the files beside it."""

from __future__ import annotations

import os
import re
from collections import Counter
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING

from napari_tam.errors import printable, some
from napari_tam.io.channel_files import AUTO, BESIDE_THEM, EACH, ChannelFiles, alike, group
from napari_tam.io.channels import is_channel_name
from napari_tam.io.names.beside import examples
from napari_tam.io.names.hand import NAMINGS
from napari_tam.io.names.pattern import Naming, told
from napari_tam.io.pictures import PICTURES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_TIFF = re.compile(r"\.tiff?$", re.IGNORECASE)


def _kind(name: str) -> str:
    """Return what kind of file may be a channel: files of other kinds are no channels of the same field."""
    if _TIFF.search(name):
        return "tiff"
    end = os.path.splitext(name)[1].lower()
    return end if end in PICTURES else ""


def _files(folder: Path, kind: str) -> list[Path]:
    """Return the files of a kind in a folder, without hidden ones."""
    with os.scandir(folder) as entries:
        names = sorted(each.name for each in entries if _kind(each.name) == kind and is_plain_file(each))
    return [folder / name for name in names]


@lru_cache(maxsize=4)  # asked for again at once; a folder that fills up is another one every time
def _looks(folder: Path, kind: str, _changed: int) -> list[list[Path]]:
    """Return the files of a kind in a folder by what their names look like; to be left as they are."""
    return alike(_files(folder, kind))


def is_plain_file(entry: os.DirEntry[str]) -> bool:
    """Tell whether what a folder lists is a file that is not hidden, which needs no look at the file."""
    try:
        return not entry.name.startswith(".") and entry.is_file()
    except OSError:
        return False


def find_all(paths: Iterable[Path], how: str = AUTO) -> dict[Path, ChannelFiles | str | None]:
    """Return for every file the field that it belongs to, `BESIDE_THEM` for a preview, or None.

    As `find`, of many files: every folder is looked at once.
    """
    tables: dict[tuple[str, str], _Tables] = {}
    found: dict[Path, ChannelFiles | str | None] = {}
    for path in paths:
        folder, _, name = str(path).rpartition(os.sep)  # a path's parts take several times as long
        key = folder, _kind(name)
        if key not in tables:
            tables[key] = _Tables(path.parent, key[1], how)
        found[path] = tables[key].look_up(name)
    return found


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
    return known_by(path, _look(path, how))


def known_by(path: Path, found: ChannelFiles | str | None) -> Path | None:
    """Return the file that an image is known by, of what `find_all` has found."""
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
    """Return a line for every way in which images of several files are named, and for what was left out.

    Where a pattern was told, the images that it does not fit have a line as well.
    """
    namings: Counter[tuple[str, int]] = Counter()
    folders: set[tuple[Path, str]] = set()
    others: list[str] = []
    for path, found in find_all(paths, how).items():
        if not isinstance(found, ChannelFiles):
            others.append(path.name)
            continue
        namings[found.naming.name, len(found.channels)] += 1
        folders.add((found.first.parent, _kind(path.name)))
    around = find_all((path for each in folders for path in _files(*each)), how)
    beside = [path for path, found in around.items() if found == BESIDE_THEM]
    lines = [
        f"{number} image{'' if number == 1 else 's'} of {channels} channels, a file each, named like {name}"
        for (name, channels), number in namings.items()
    ]
    if others and how not in (AUTO, EACH):
        lines.append(f"{len(others)} images are not named like {how}: {printable(some(others, 3))}")
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
    return _Tables(path.parent, _kind(path.name), how).look_up(path.name)


class _Tables:
    """The fields of the files of one kind in a folder; deeper ways of naming are looked through first."""

    def __init__(self, parent: Path, kind: str, how: str) -> None:
        beside = resolved(parent)
        self._folder = str(beside)
        self._made: list[dict[str, ChannelFiles | str]] = []
        # as far as they are needed: each may open a file
        self._more = filter(None, _tables(beside, kind, how))

    def look_up(self, name: str) -> ChannelFiles | str | None:
        """Return what a file belongs to."""
        if not self._made:  # most folders have no table, and then a name costs nothing
            self._made.extend(islice(self._more, 1))
        if not self._made:
            return None
        path = os.path.join(self._folder, name)  # a text: a path takes ten times as long to make
        for table in self._made:
            if path in table:
                return table[path]
        for table in self._more:
            self._made.append(table)
            if path in table:
                return table[path]
        return None


def _tables(beside: Path, kind: str, how: str) -> Iterator[dict[str, ChannelFiles | str]]:
    """Yield, for every number of folders that may be a part of names, the files that belong to a field."""
    if how == EACH or not kind:
        return
    try:
        changed = os.stat(beside).st_mtime_ns
        depths = _depths(beside, kind, how, changed)
    except OSError:
        return
    # the deepest first: a name without its folders may fit another way as well
    for depth in depths:
        try:
            folder = beside.parents[depth - 1] if depth else beside
            if depth:
                changed = max(each.stat().st_mtime_ns for each in _folders(folder, depth))
            yield _by_file(folder, kind, depth, how, changed)
        except (OSError, IndexError):
            continue


def _ways(how: str, depth: int) -> list[Naming]:
    """Return the ways of naming in which so many folders are a part of the name."""
    return [naming for naming in (NAMINGS if how == AUTO else (told(how),)) if naming.folders == depth]


@lru_cache(maxsize=256)
def _depths(folder: Path, kind: str, how: str, changed: int) -> list[int]:
    """Return how many folders may be a part of the names of a folder's files, the most first.

    The folders beside this one may be many, and are looked at only if its files' names ask for it.
    """
    known = {naming.folders for naming in (NAMINGS if how == AUTO else (told(how),))}
    looks = _looks(folder, kind, changed) if max(known) else []
    files = [path for look in looks for path in examples(look)]
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
    looks = [_looks(each, kind, each.stat().st_mtime_ns) for each in folders]
    ways = _ways(how, depth)
    if depth and how == AUTO:
        # names of one look are all so, or none is: C3_DAPI is a well's beside B3_DAPI, not a channel's
        looks = [
            [names for names in each if all(any(_is_deep(path, naming) for naming in ways) for path in names)]
            for each in looks
        ]
    files = [path for each in looks for names in each for path in names]
    found = group(files, ways, looks[0] if len(looks) == 1 else None)
    by_file: dict[str, ChannelFiles | str] = {}
    for field in found.fields:
        by_file.update(dict.fromkeys(map(str, field.all_files), field))
    return by_file | dict.fromkeys(map(str, found.beside), BESIDE_THEM) if by_file else {}
