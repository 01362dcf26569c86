"""Teaching by clicks: cells of analysed images with a class each → a phenotype model and its folder."""

from __future__ import annotations

from collections import Counter
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_tam.errors import InputError
from napari_tam.files import make_folder, write_text
from napari_tam.phenotype.crops import cell_crops
from napari_tam.phenotype.features import FEATURES, shape_features
from napari_tam.train.validation import LabelledCells, report_lines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from napari_tam.phenotype.model import PhenotypeModel
    from napari_tam.pipeline.analysis import Analysis

#: What the groups are, by which a taught model is judged.
GROUPED_BY = "image"


def counts(taught: Sequence[Mapping[int, str]]) -> dict[str, int]:
    """Return the number of cells of each class over several images."""
    return dict(sorted(Counter(name for image in taught for name in image.values()).items()))


def taught_cells(examples: Sequence[tuple[Analysis, Mapping[int, str]]]) -> LabelledCells:
    """Cut out the cells that were given a class; those that the image's border cuts are left out.

    Parameters
    ----------
    examples
        Analyses, each with label → class.

    Raises
    ------
    InputError
        If no usable cell has a class.
    """
    crops, features, names, groups = [], [], [], []
    for analysis, classes in examples:
        table = analysis.table
        given = table["label"].map(dict(classes))
        usable = given.notna() & ~table["touches_border"].astype(bool)
        usable &= table[[feature.column for feature in FEATURES]].notna().all(axis=1)
        if not usable.any():
            continue
        field = analysis.field
        every = cell_crops(
            field.channels["cell"], analysis.cells, analysis.nuclei, table, field.pixel_size_um
        )
        crops.append(every[usable.to_numpy()].astype(np.float16))
        features.append(shape_features(table[usable]))
        names += given[usable].tolist()
        groups += [field.name] * int(usable.sum())
    if not names:
        raise InputError(
            "no cell has a class yet",
            fix="Click cells wholly in the image, at least 10 of each class",
        )
    known = tuple(sorted(set(names)))
    if len(known) < 2:
        raise InputError(f"all labelled cells are {known[0]}", fix="Label cells of a second class, too")
    truth = np.array([known.index(name) for name in names], np.int64)
    return LabelledCells(
        np.concatenate(crops),
        np.concatenate(features),
        truth,
        np.array(groups, object),
        known,
        GROUPED_BY,
    )


def save_trained(
    model: PhenotypeModel,
    report: dict[str, Any],
    out: Path,
    *,
    cells: int,
    data: str,
    source: str,
    start: PhenotypeModel | None,
    seed: int,
) -> list[str]:
    """Write a trained model's folder with its report.

    Parameters
    ----------
    model, report
        See `napari_tam.train.phenotype.train`.
    out
        The folder.
    cells
        Number of training cells.
    data, source
        What they are from, and how they got their classes.
    start
        The model that training started from.
    seed
        Of the training.

    Returns
    -------
    list of str
        The report's lines.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    """
    from napari_tam.train.figures import draw_validation

    make_folder(out)
    valid = (
        f"judged by leaving out each {report['grouped_by']}"
        if report["independent"]
        else "NOT judged on independent groups: all cells are of one"
    )
    model.card.update(
        description=f"Trained on {cells} cells of {data} ({source}); {valid}",
        name=out.name,
        training_data=[f"{data}: {source}"],
        terms="those of your images" + ("" if start is None else "; started from the bundled model"),
        training={
            "cells": cells,
            "started_from": "scratch" if start is None else f"bundled model {start.card['sha256'][:12]}",
            "seed": seed,
            "date": date.today().isoformat(),
        },
    )
    model.save(out)
    lines = report_lines(report)
    write_text(out / "report.txt", "\n".join([model.card["description"], "", *lines]) + "\n")
    draw_validation(report, out / "report.png")
    return lines
