"""``napari-tam export``: a results folder for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def add_export_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``napari-tam export``."""
    from napari_tam.export.run import FORMATS

    parser.add_argument(
        "results", type=Path, metavar="RESULTS", help="results folder of 'napari-tam analyse'"
    )
    listing = "; ".join(f"{name}: {text}" for name, text in FORMATS.items())
    parser.add_argument("--to", nargs="+", required=True, choices=list(FORMATS), help=listing)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder to write to (default: RESULTS/exports)"
    )
    parser.add_argument(
        "--ome-zarr-version",
        choices=("0.4", "0.5"),
        default="0.5",
        help="0.5 is Zarr 3 (default), 0.4 is Zarr 2, which older programs need",
    )


def export(arguments: argparse.Namespace) -> int:
    """Write the exports and print where they are."""
    from collections import Counter

    from napari_tam.export.run import export as exported

    folders: Counter[Path] = Counter()
    for path in exported(
        arguments.results, arguments.to, arguments.out, ome_zarr_version=arguments.ome_zarr_version
    ):
        if path.parent.name in ("geojson", "roi", "ome-zarr"):
            folders[path.parent] += 1
        else:
            print(f"exported {path}")
    for folder, number in folders.items():
        what = "OME-Zarr" if folder.name == "ome-zarr" else "image" if number == 1 else "images"
        print(f"exported {folder}: {number} {what}")
    return 0
