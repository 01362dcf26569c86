"""What is not analysed of the folders that a user names, and why: for the summary."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import TYPE_CHECKING

from napari_tam.errors import printable, some
from napari_tam.io.listing import MASK, is_image, is_results, is_zarr, stem_of
from napari_tam.io.names.beside import MADE_FOLDER
from napari_tam.io.pictures import is_picture

if TYPE_CHECKING:
    from collections.abc import Sequence


def left_out(inputs: Sequence[str | Path], taken: Sequence[Path], *, recursive: bool = False) -> list[str]:
    """Return a line about each kind of what `list_images` left out of folders and patterns.

    These are subfolders without permission (``lost+found``), those of projections and previews beside
    images, those with images beside images, links to nowhere with names of images, and pictures (PNG, JPEG,
    BMP) beside what was taken.
    """
    folders: list[str] = []
    made: list[str] = []
    deeper: list[str] = []
    holding = {Path(folder) for folder in {os.path.dirname(path) for path in taken}}
    used = holding.union(*(folder.parents for folder in holding))
    links: list[str] = []
    pictures: list[str] = []

    def look(folder: Path, *, below: bool) -> None:
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError:
            folders.append(folder.name)
            return
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_symlink() and not _is_there(Path(entry.path)):
                if is_image(Path(entry.name)):
                    links.append(entry.name)
            elif is_picture(entry.name):
                pictures.append(entry.name)
            elif not _is_folder_entry(entry):  # of most entries nothing more is asked
                continue
            elif not below:
                path = folder / entry.name
                if not is_zarr(path) and not is_results(path) and _holds_images(path):
                    deeper.append(path.name)
            else:
                path = folder / entry.name
                if MADE_FOLDER.fullmatch(path.name) and path not in used:
                    made.append(path.name)
                elif not is_image(path) and not is_results(path):
                    look(path, below=True)

    for given in inputs:
        path = Path(given).expanduser()
        if _is_folder(path) and not is_zarr(path):
            here = any(is_image(each) and _is_there(each) for each in path.iterdir())
            look(path, below=recursive or not here)
        elif glob.has_magic(str(given)) and not _is_there(path):
            matches = map(Path, glob.glob(str(path), recursive=True))
            links += [each.name for each in matches if each.is_symlink() and not _is_there(each)]
    if any(map(is_picture, taken)):
        pictures = []
    return [
        f"left out: {len(names)} {what} ({printable(some(names, 3))})"
        for names, what in (
            (folders, "folders that cannot be read"),
            (deeper, "folders with images, as images lie beside them; --recursive takes them"),
            (made, "folders of what was made of the images beside them"),
            (links, "links to nowhere"),
            (pictures, "pictures, which are read with --rgb split only"),
        )
        if names
    ]


def _holds_images(folder: Path) -> bool:
    """Tell whether images lie in a folder, none of which is a mask by its name."""
    try:
        with os.scandir(folder) as entries:
            return any(
                is_image(Path(each.name))
                and not is_picture(each.name)
                and not MASK.search(stem_of(Path(each.name)))
                for each in entries
            )
    except OSError:
        return False


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def _is_folder_entry(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False
