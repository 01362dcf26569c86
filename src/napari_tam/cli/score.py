"""``napari-tam score``: results against ground truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_tam.cli.console import Answer, print_table

if TYPE_CHECKING:
    import argparse


def add_score_options(own: argparse.ArgumentParser) -> None:
    """Add the options of ``napari-tam score``."""
    own.add_argument("results", type=Path, metavar="RESULTS", help="results folder of 'napari-tam analyse'")
    own.add_argument("truth", type=Path, metavar="TRUTH", help="folder with a_masks.tif, a_puncta.csv, …")
    own.add_argument(
        "--json",
        nargs="?",
        const=True,
        type=Path,
        metavar="FILE",
        help="write the figures to FILE, too; without FILE, as the last option: print them as one JSON "
        "object, and nothing else, on stdout (docs/scripts.md)",
    )


def print_scores(arguments: argparse.Namespace) -> Answer:
    """Print the figures of every image and of all."""
    from napari_tam.evaluate.score import pool, score
    from napari_tam.files import write_json

    scores = score(arguments.results, arguments.truth)
    reports = [(each.name, each.report()) for each in [*scores, pool(scores)]]
    titles = {
        "cells": ("ap_0.5", "ap_0.75", "ap_0.9"),
        "nuclei": ("ap_0.5", "ap_0.75", "ap_0.9"),
        "puncta": ("f1", "precision", "recall"),
        "counts": ("count_relative_error", "intensity_r", "cells_matched"),
    }
    for group, names in titles.items():
        rows: list[tuple[str, ...]] = [(group, *names)]
        for name, report in reports:
            values = report[group]
            rows.append((name, *("-" if values is None else _figure(values[key]) for key in names)))
        if any(report[group] for _, report in reports):
            print_table(rows)
        else:
            print(f"{group}: no truth")
        print()
    told = {"images": dict(reports[:-1]), "all": reports[-1][1]}
    if isinstance(arguments.json, Path):
        write_json(arguments.json, told)
    return Answer(0, told)


def _figure(value: float | int | None) -> str:
    return "-" if value is None else str(value) if isinstance(value, int) else f"{value:.3f}"
