"""``napari-tam settings``: every setting with its default, to edit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_tam.cli.console import hand_out

if TYPE_CHECKING:
    import argparse


def add_settings_options(own: argparse.ArgumentParser) -> None:
    """Add the options of ``napari-tam settings``."""
    own.add_argument("file", type=Path, nargs="?", metavar="FILE", help="the file (default: the terminal)")
    own.add_argument("--force", action="store_true", help="replace FILE if it is there")


def write_settings(arguments: argparse.Namespace) -> int:
    """Write or print a settings file."""
    from napari_tam.settings import Settings

    hand_out(Settings().to_yaml(), arguments.file, replace=arguments.force)
    return 0
