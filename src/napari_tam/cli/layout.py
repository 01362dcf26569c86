"""``napari-tam layout``: the plate layout of images, to fill in."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from napari_tam.errors import InputError

if TYPE_CHECKING:
    import argparse


def add_layout_options(own: argparse.ArgumentParser) -> None:
    """Add the options of ``napari-tam layout``."""
    own.add_argument("images", nargs="+", metavar="IMAGE", help="image files, folders of them, or patterns")
    own.add_argument("--out", type=Path, metavar="FILE", help="the file (default: the terminal)")
    own.add_argument("--files", default="auto", metavar="PATTERN", help="as for 'napari-tam batch'")
    own.add_argument("--force", action="store_true", help="replace FILE if it is there")


def write_layout(arguments: argparse.Namespace) -> int:
    """Write or print a layout with the wells and plates that the images' names tell."""
    from napari_tam.files import write_text
    from napari_tam.io.listing import list_images, unique_names
    from napari_tam.io.plates import template

    paths = list_images(arguments.images, arguments.files)
    text = template(unique_names(paths, arguments.files), arguments.files)
    path: Path | None = arguments.out
    if path is None:
        if hasattr(sys.stdout, "reconfigure") and not sys.stdout.isatty():
            sys.stdout.reconfigure(encoding="utf-8")  # it becomes a file that is read as UTF-8
        print(text, end="")
        return 0
    if path.exists() and not arguments.force:
        raise InputError("the file is there already", where=path, fix="--force replaces it")
    write_text(path, text)
    rows = text.count("\n") - 1
    print(f"layout   {path}: {rows} rows; fill in what was done, then give it with --layout")
    return 0
