"""``napari-tam settings``: every setting with its default, to edit."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from napari_tam.errors import InputError

if TYPE_CHECKING:
    import argparse


def add_settings_options(own: argparse.ArgumentParser) -> None:
    """Add the options of ``napari-tam settings``."""
    own.add_argument("file", type=Path, nargs="?", metavar="FILE", help="the file (default: the terminal)")
    own.add_argument("--force", action="store_true", help="replace FILE if it is there")


def write_settings(arguments: argparse.Namespace) -> int:
    """Write or print a settings file."""
    from napari_tam.settings import Settings

    text = Settings().to_yaml()
    path: Path | None = arguments.file
    if path is None:
        if hasattr(sys.stdout, "reconfigure") and not sys.stdout.isatty():
            sys.stdout.reconfigure(encoding="utf-8")  # it becomes a file that is read as UTF-8
        print(text, end="")
        return 0
    if path.exists() and not arguments.force:
        raise InputError("the file is there already", where=path, fix="--force replaces it")
    from napari_tam.files import write_text

    write_text(path, text)
    return 0
