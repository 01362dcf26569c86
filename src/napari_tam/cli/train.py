"""``napari-tam train``: a phenotype or a cell model of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_tam.cli.console import positive

if TYPE_CHECKING:
    import argparse


def add_train_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``napari-tam train``."""
    parser.add_argument("kind", choices=["phenotype", "cells"], help="what to train")
    parser.add_argument(
        "results",
        type=Path,
        nargs="+",
        metavar="RESULTS",
        help="results folder of 'napari-tam analyse'; cells: or training sets, one or more",
    )
    parser.add_argument("--labels", type=Path, metavar="FILE", help="CSV with image, label, class")
    parser.add_argument(
        "--controls",
        metavar="CLASS=WELL,…",
        help='all cells of wells, conditions or control roles, e.g. "M1=B02,B03,M2=IL-4"',
    )
    parser.add_argument(
        "--markers",
        action="store_true",
        help="phenotype: all cells that are M1 or M2 by their own markers (setting marker_phenotypes)",
    )
    parser.add_argument(
        "--layout", type=Path, metavar="FILE", help="plate layout: CSV with a column well or image"
    )
    parser.add_argument(
        "--group",
        metavar="COLUMN",
        help="column whose values are left out one after the other (default: donor, plate or replicate)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the model")
    parser.add_argument(
        "--allow-single-group", action="store_true", help="train although there is one group only"
    )
    parser.add_argument("--from-scratch", action="store_true", help="do not start from the bundled model")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="same seed, same model (default: 0)")
    parser.add_argument("--steps", type=positive, metavar="N", help="cells: training steps (default: 120)")
    parser.add_argument(
        "--settings",
        type=Path,
        metavar="FILE",
        help="cells: settings file for the analyses that judge (YAML)",
    )


def train(arguments: argparse.Namespace) -> int:
    """Train what was asked for."""
    if arguments.kind == "cells":
        from napari_tam.cli.train_cells import train_cells

        return train_cells(arguments)
    from napari_tam.cli.train_phenotype import train

    return train(arguments)
