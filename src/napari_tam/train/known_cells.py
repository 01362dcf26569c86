"""From a results folder to cells of known class: by labels, or by the controls of a plate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_tam.errors import InputError
from napari_tam.io.images import read_fields, stem_of
from napari_tam.io.layout import GROUPS, Layout, read_text_table, well_of
from napari_tam.phenotype.crops import cell_crops
from napari_tam.phenotype.features import FEATURES, shape_features
from napari_tam.results.folder import OK, read_results
from napari_tam.settings import Settings
from napari_tam.train.validation import LabelledCells
from napari_tam.volume.projection import project_field, project_labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_tam.io.field import Field
    from napari_tam.results.folder import Results

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
    table = read_text_table(path, "the labels")
    missing = [name for name in LABEL_COLUMNS if name not in table]
    if missing:
        raise InputError(
            f"the table of labels has no column {', '.join(missing)}",
            where=path,
            fix="write image,label,class",
        )
    table = table[table["class"] != ""].reset_index(drop=True)
    files = {Path(source).name: name for name, source in _sources(results).items()}
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


def add_groups(table: pd.DataFrame, layout: Layout | None, column: str | None) -> tuple[pd.DataFrame, str]:
    """Give every labelled cell its group.

    Parameters
    ----------
    table
        image, label, class, and perhaps columns that can be groups.
    layout
        Where the groups are looked for, too.
    column
        The column to use; None takes the first of donor, plate and replicate that differs.

    Returns
    -------
    table, column
        With a column `group`.

    Raises
    ------
    InputError
        If there is no such column.
    """
    about = described(sorted(set(table["image"])), layout)
    columns = {name: table["image"].map(about[name]) for name in about.columns if name != "image"}
    columns |= {name: table[name] for name in table.columns if name not in ("label", "class")}
    if column is not None and column not in columns:
        raise InputError(
            f"there is no column '{column}'", where="--group", fix=f"use one of: {', '.join(sorted(columns))}"
        )
    here = [name for name in GROUPS if name in columns and (columns[name] != "").any()]
    differ = [name for name in here if columns[name].nunique() > 1]
    if column is None and not here:
        raise InputError(
            "nothing says which replicate, donor or plate a cell is of",
            where="--group",
            fix="give a --layout (or labels) with such a column, or '--group image' or '--group well', which "
            "is weaker evidence",
        )
    chosen = column or (differ or here)[0]
    groups = columns[chosen].astype(str)
    if (groups == "").any():
        image = table.loc[groups == "", "image"].iloc[0]
        raise InputError(f"the column '{chosen}' says nothing about the image {image}", where="--group")
    return table.assign(group=groups), chosen


def labelled_cells(results: Results, table: pd.DataFrame, grouped_by: str) -> LabelledCells:
    """Cut out the labelled cells; those that the image's border cuts are left out.

    Parameters
    ----------
    results
        The results folder; images and masks are read.
    table
        image, label, class and group.
    grouped_by
        What the groups are.

    Raises
    ------
    InputError
        If an image or mask is no longer there, or has changed.
    """
    settings_path = results.folder / "settings.yaml"
    settings = Settings.from_yaml(settings_path) if settings_path.exists() else Settings()
    parts: list[tuple[npt.NDArray[np.float16], pd.DataFrame]] = []
    for image, wanted in table.groupby("image", sort=True):
        cells = results.cells[results.cells["image"] == image].sort_values("label").reset_index(drop=True)
        crops = image_crops(results, str(image), cells, settings)
        here = cells.merge(wanted.drop(columns="image"), on="label", how="left")
        keep = here["class"].notna() & ~here["touches_border"].astype(bool)
        keep &= here[[feature.column for feature in FEATURES]].notna().all(axis=1)
        if keep.any():
            parts.append((crops[keep.to_numpy()].astype(np.float16), here[keep]))
    if not parts:
        raise InputError("the image's border cuts every labelled cell", fix="label whole cells")
    joined = pd.concat([part for _, part in parts], ignore_index=True)
    classes = tuple(sorted(table["class"].unique()))
    truth = joined["class"].map({name: k for k, name in enumerate(classes)}).to_numpy(np.int64)
    return LabelledCells(
        np.concatenate([crops for crops, _ in parts]),
        shape_features(joined),
        truth,
        joined["group"].to_numpy(object),
        classes,
        grouped_by,
    )


def image_crops(
    results: Results, image: str, cells: pd.DataFrame, settings: Settings
) -> npt.NDArray[np.float32]:
    """Cut out all cells of an image of a results folder, in the order of `cells` (ascending labels)."""
    masks = results.masks(image)
    if masks is None:
        raise InputError(f"the masks of {image} are missing", where=results.folder / "masks")
    nuclei = results.masks(image, "nuclei")
    # Of a volume, the phenotype looks at the projection.
    masks, nuclei = project_labels(masks), None if nuclei is None else project_labels(nuclei)
    field = project_field(source_field(results, image, settings))
    if masks.shape != field.shape:
        raise InputError(f"the masks of {image} have another size than the image", where=field.source)
    try:
        return cell_crops(field.channels["cell"], masks, nuclei, cells, field.pixel_size_um)
    except ValueError as error:
        raise InputError(
            f"masks and cells.csv do not agree about {image} ({error})", where=results.folder
        ) from error


def source_field(results: Results, image: str, settings: Settings) -> Field:
    """Read the image that a row of images.csv is about.

    Raises
    ------
    InputError
        If it is not there any more.
    """
    source = Path(_sources(results)[image])
    places = (source, results.folder.parent / source, results.folder / source.name)
    path = next((place for place in places if place.exists()), None)  # an OME-Zarr is a folder
    if path is None:
        raise InputError(
            f"the image {image} is not there any more, and its pixels are needed",
            where=source,
            fix="put it back, or start from the folder in which 'napari-tam analyse' ran",
        )
    # The reader puts position, well and frame behind the name of the file, which may have been another one.
    stem = stem_of(path)
    endings: list[str] = []

    def note(name: str) -> bool:
        endings.append(name.removeprefix(stem))
        return False

    try:
        list(read_fields(path, settings, wanted=note))
    except InputError:
        if not endings:  # otherwise only others of its images cannot be read
            raise
    ending = max((e for e in endings if image.endswith(e)), key=len, default=None)
    if ending is not None:
        for field in read_fields(path, settings, wanted=lambda name: name == stem + ending):
            return replace(field, name=image)
    raise InputError(f"there is no {image} in the file", where=path, fix="analyse the images again")


def _sources(results: Results) -> dict[str, str]:
    return dict(zip(results.images["image"], results.images["source"].astype(str), strict=True))


def read_labelled(
    folder: Path,
    *,
    labels: Path | None = None,
    controls: str | None = None,
    layout: Layout | None = None,
    group: str | None = None,
) -> LabelledCells:
    """Read cells of known class from a results folder.

    Parameters
    ----------
    folder
        The --out folder of ``napari-tam analyse``.
    labels, controls
        One of the two: see `by_labels` and `by_controls`.
    layout, group
        See `add_groups`.

    Raises
    ------
    InputError
        One sentence that says what is wrong.
    """
    if (labels is None) == (controls is None):
        raise InputError(
            "either --labels or --controls is needed", fix="'napari-tam train --help' tells more"
        )
    results = read_results(folder)
    table = by_labels(results, labels) if labels is not None else by_controls(results, controls or "", layout)
    if table.empty:
        raise InputError("there is no labelled cell", where=labels or folder)
    table, column = add_groups(table, layout, group)
    return labelled_cells(results, table, column)
