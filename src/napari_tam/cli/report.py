"""``napari-tam report`` and ``napari-tam methods``: what is read after an analysis."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def add_report_options(own: argparse.ArgumentParser) -> None:
    """Add the options of both."""
    own.add_argument("results", type=Path, metavar="RESULTS", help="results folder of 'napari-tam analyse'")


def report(arguments: argparse.Namespace) -> int:
    """Write the report, and print where it is."""
    from napari_tam.report.build import write_report

    report = write_report(arguments.results)
    for title, why in report.left_out:
        print(f"left out {title}: {why}")
    print(f"report   {report.path}")
    print(f"figures  {report.path.parent / 'figures'}: {len(report.figures)}, each as PNG, SVG and CSV")
    return 0


def methods(arguments: argparse.Namespace) -> int:
    """Print the methods paragraph."""
    from napari_tam.report.methods import methods_text

    print(methods_text(arguments.results), end="")
    return 0
