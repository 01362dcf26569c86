"""Which cells have a known class: by a table of labels, by control wells, or by their own markers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_tam.celltypes.types import analysed
from napari_tam.errors import InputError
from napari_tam.io.layout import Layout, well_of
from napari_tam.io.tables.read import read_text_table
from napari_tam.results.folder import OK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_tam.results.folder import Results
    from napari_tam.settings import Settings


#: What a table of labels must have; further columns can be groups.
LABEL_COLUMNS = ("image", "label", "class")


def by_labels(results: Results, path: Path) -> pd.DataFrame:
    """Read a table of labels (CSV: image, label, class).

    Returns
    -------
    pandas.DataFrame
        image, label, class, and what else the table has.

    Raises
    ------
    InputError
        If it cannot be read, lacks a column, or names a cell that is not in the results, or twice.
    """
    table = read_text_table(path, "the labels", ("image",))
    missing = [name for name in LABEL_COLUMNS if name not in table]
    if missing:
        raise InputError(
            f"the table of labels has no column {', '.join(missing)}",
            where=path,
            fix="write image,label,class",
        )
    table = table[table["class"] != ""].reset_index(drop=True)
    files = {Path(source).name: name for name, source in sources(results).items()}
    table["image"] = [
        name if name in set(results.images["image"]) else files.get(name, name) for name in table["image"]
    ]
    whole = table["label"].str.fullmatch(r"\d+(\.0+)?")
    if not whole.all():
        raise InputError(
            f"'{table['label'][~whole].iloc[0]}' is no label", where=path, fix="labels are whole numbers"
        )
    table["label"] = table["label"].astype(float).astype(np.int64)
    if table.duplicated(["image", "label"]).any():
        image, label = table.loc[table.duplicated(["image", "label"]), ["image", "label"]].iloc[0]
        raise InputError(f"cell {label} of {image} is labelled twice", where=path)
    known = set(zip(results.cells["image"], results.cells["label"], strict=True))
    wrong = [pair for pair in zip(table["image"], table["label"], strict=True) if pair not in known]
    if wrong:
        raise InputError(
            f"{len(wrong)} of {len(table)} labelled cells are not in the results, "
            f"e.g. {wrong[0][1]} of {wrong[0][0]}",
            where=path,
            fix="image and label must be those of cells.csv",
        )
    return table


def by_markers(results: Results, settings: Settings) -> pd.DataFrame:
    """Return the cells that their markers call one of two phenotypes.

    Those that both rules fit, or neither, are left out, and so are cells of types that are not analysed and
    of the markers' controls.

    Parameters
    ----------
    results
        The results folder, with the column marker_phenotype.
    settings
        Those of the results: `marker_phenotypes`, `types` and `analyse_types`.

    Returns
    -------
    pandas.DataFrame
        image, label, class.

    Raises
    ------
    InputError
        If no rules say which markers the phenotypes have, or a phenotype has no cell.
    """
    cells = results.cells
    names = sorted(settings.marker_phenotypes)
    if not names or "marker_phenotype" not in cells:
        raise InputError(
            "nothing says which markers the phenotypes have",
            where=results.folder,
            fix="run 'napari-tam uptake RESULTS --marker-phenotypes M1=CD86+,M2=CD206+' first",
        )
    chosen = cells[analysed(cells, settings) & cells["marker_phenotype"].isin(names).to_numpy(bool)]
    for name in names:
        if not (chosen["marker_phenotype"] == name).any():
            raise InputError(
                f"no cell is {name} by its markers ({settings.marker_phenotypes[name]})",
                where=results.folder,
                fix="look at the gates (gates.csv) and the report",
            )
    found = chosen[["image", "label"]].reset_index(drop=True)
    return found.assign(**{"class": chosen["marker_phenotype"].to_numpy(object)})


def by_controls(results: Results, controls: str, layout: Layout | None) -> pd.DataFrame:
    """Take all cells of control wells: ``M1=B02,B03,M2=IL-4`` (wells, conditions or control roles).

    Returns
    -------
    pandas.DataFrame
        image, label, class.

    Raises
    ------
    InputError
        If the text cannot be understood, or a class has no image, or an image two classes.
    """
    wanted = read_controls(controls)
    names = results.images.loc[results.images["status"] == OK, "image"].tolist()
    about = described(names, layout)
    classes: dict[str, str] = {}
    for name, values in wanted.items():
        for value in values:
            found = [image for image in names if _is_meant(about.loc[image], value)]
            if not found:
                conditions = sorted(set(about.get("condition", pd.Series(dtype=str))) - {""})
                raise InputError(
                    f"no analysed image is of '{value}' (for the class {name})",
                    where="--controls",
                    fix=f"known conditions: {', '.join(conditions)}"
                    if conditions
                    else "is --layout missing?",
                )
            for image in found:
                if classes.setdefault(image, name) != name:
                    raise InputError(
                        f"{image} is of the class {classes[image]} and of {name}", where="--controls"
                    )
    table = results.cells.loc[results.cells["image"].isin(list(classes)), ["image", "label"]].copy()
    table["class"] = table["image"].map(classes)
    return table.reset_index(drop=True)


def read_controls(text: str) -> dict[str, list[str]]:
    """Read ``M1=B02,B03,M2=IL-4`` as classes and what their images are of."""
    wanted: dict[str, list[str]] = {}
    name = ""
    for part in filter(None, (part.strip() for part in text.split(","))):
        head, equals, value = (piece.strip() for piece in part.partition("="))
        if equals:
            name, part = head, value
        if not name or not part:
            raise InputError(
                f"'{part or head}' is no CLASS=WELL or CLASS=CONDITION",
                where="--controls",
                fix='write e.g. --controls "M1=B02,B03,M2=IL-4"',
            )
        wanted.setdefault(name, []).append(part)
    if len(wanted) < 2:
        raise InputError("two classes or more are needed", where="--controls", fix='e.g. "M1=LPS,M2=IL-4"')
    return wanted


def _is_meant(about: pd.Series[str], value: str) -> bool:
    texts = {str(about.get(name, "")).casefold() for name in ("condition", "control_role", "image")}
    return value.casefold() in texts or (well_of(value) != "" and well_of(value) == about["well"])


def described(images: Sequence[str], layout: Layout | None) -> pd.DataFrame:
    """Return what a layout says about images; their wells alone without one."""
    if layout is not None:
        return layout.describe(images)
    table = pd.DataFrame({"image": list(images), "well": [well_of(name) for name in images]})
    return table.set_index("image", drop=False)


def sources(results: Results) -> dict[str, str]:
    """Return the source file of every image."""
    return dict(zip(results.images["image"], results.images["source"].astype(str), strict=True))
