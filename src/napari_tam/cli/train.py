"""``napari-tam train``: a phenotype or a cell model of one's own, or the line of puncta by one's marks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_tam.cli.console import positive
from napari_tam.errors import InputError

if TYPE_CHECKING:
    import argparse


def add_train_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``napari-tam train``."""
    parser.add_argument("kind", choices=["phenotype", "cells", "puncta"], help="what to train")
    parser.add_argument(
        "results",
        type=Path,
        nargs="+",
        metavar="RESULTS",
        help="results folder of 'napari-tam analyse'; cells: or training sets, one or more; puncta: a folder "
        "of images a.tif with every punctum in a_puncta.csv (y_px, x_px, or points as napari saves them), or "
        "every one in the regions of a_regions.csv (shapes as napari saves them)",
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
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for the model; puncta: settings file (YAML)",
    )
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
        help="cells, puncta: settings file for the analyses that judge (YAML)",
    )


def train(arguments: argparse.Namespace) -> int:
    """Train what was asked for."""
    if arguments.kind == "puncta":
        return _train_puncta(arguments)
    if arguments.kind == "cells":
        from napari_tam.cli.train_cells import train_cells

        return train_cells(arguments)
    from napari_tam.cli.train_phenotype import train

    return train(arguments)


#: Options that say nothing about marks.
_NOT_OF_PUNCTA = (
    "labels", "controls", "markers", "layout", "group", "allow_single_group", "from_scratch", "steps",
)  # fmt: skip


def _train_puncta(arguments: argparse.Namespace) -> int:
    """Choose the line between puncta and the rest by marks, and write it into a settings file."""
    from napari_tam.files import write_text
    from napari_tam.pipeline.models import load_models
    from napari_tam.settings import Settings
    from napari_tam.train.lines import FEW_IMAGES, FEW_MARKS, SCORE, choose_line
    from napari_tam.train.marks import read_marked

    for name in _NOT_OF_PUNCTA:
        if getattr(arguments, name):
            raise InputError(f"--{name.replace('_', '-')} does not belong to 'napari-tam train puncta'")
    out: Path = arguments.out
    if out.is_dir():
        raise InputError("this is a folder", where=out, fix="name a settings file (YAML) to write")
    settings = Settings() if arguments.settings is None else Settings.from_yaml(arguments.settings)
    models = load_models(settings)
    marked = []
    for folder in arguments.results:
        for each in read_marked(folder, settings, models):
            aside = f", {each.outside} outside its marked regions: left out" if each.outside else ""
            print(f"... {each.name}: {each.counts[0, 0]} marks{aside}", flush=True)
            marked.append(each)
    found = choose_line(marked)
    line = "a score" if found.setting == SCORE else "a contrast"
    low, high = found.between
    had_no_say = "marks that had no say" if found.images < FEW_IMAGES else "each image"
    rows = [
        ("with the settings as they are", found.before),
        (f"from {line} of {found.value:g} on, where puncta and marks agree best", found.chosen),
        (f"{had_no_say}, with the line that the others tell", found.left_out),
    ]
    print(f"\n{found.marks} marks in {found.images} image{'' if found.images == 1 else 's'}")
    for text, figures in rows:
        print(f"F1 {figures.f1:.3f}, median count error {figures.count_error:4.0%}   {text}")
    print(f"sure    {line} between {low:g} and {high:g}, with 9 of 10 resamples of the marks")
    if found.few:
        print(
            f"note    few marks or images: mark {FEW_MARKS} puncta or more, in {FEW_IMAGES} images or more, "
            "to rely on this"
        )
    if not found.better:
        print("kept    the settings as they are: what had no say gains nothing by another line")
        print(f"        {out} is not written: go on with the settings that you have")
        return 1
    write_text(out, found.settings(settings).to_yaml())
    print(f"settings {out}\nuse it  napari-tam batch IMAGES --out RESULTS --settings {out}")
    return 0
