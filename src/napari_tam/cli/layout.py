"""``napari-tam layout``: the plate layout of images, to fill in."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

from napari_tam.cli.console import check_new, hand_out
from napari_tam.errors import InputError

if TYPE_CHECKING:
    import argparse


def add_layout_options(own: argparse.ArgumentParser) -> None:
    """Add the options of ``napari-tam layout``."""
    own.add_argument("images", nargs="+", metavar="IMAGE", help="image files, folders of them, or patterns")
    own.add_argument(
        "--out", type=Path, metavar="FILE", help="the file, .csv or .xlsx (default: the terminal)"
    )
    own.add_argument("--files", default="auto", metavar="PATTERN", help="as for 'napari-tam batch'")
    own.add_argument("--force", action="store_true", help="replace FILE if it is there")


def write_layout(arguments: argparse.Namespace) -> int:
    """Write or print a layout with the wells and plates that the images' names tell."""
    from napari_tam.io.listing import list_images, unique_names
    from napari_tam.io.plates import template
    from napari_tam.io.tables.read import OTHERS
    from napari_tam.io.tables.workbook import write_workbook

    paths = list_images(arguments.images, arguments.files)
    text = template(unique_names(paths, arguments.files), arguments.files)
    ending = "" if arguments.out is None else arguments.out.suffix.lower()
    if ending in (*OTHERS, ".xlsm"):
        raise InputError(
            "a layout is written as .csv or .xlsx", where=arguments.out, fix="choose one of them"
        )
    if ending == ".xlsx":
        check_new(arguments.out, replace=arguments.force)
        write_workbook(arguments.out, list(csv.reader(io.StringIO(text))))
    else:
        hand_out(text, arguments.out, replace=arguments.force)
    if arguments.out is not None:
        rows = text.count("\n") - 1
        print(f"layout   {arguments.out}: {rows} rows; fill in what was done, then give it with --layout")
    return 0
