"""From a results folder to cells of known class: by labels, or by the controls of a plate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_tam.errors import InputError
from napari_tam.io.images import read_fields
from napari_tam.io.layout import GROUPS, Layout, read_layout
from napari_tam.io.listing import name_of
from napari_tam.io.masks.find import NONE
from napari_tam.phenotype.crops import cell_crops
from napari_tam.phenotype.features import FEATURES, shape_features
from napari_tam.results.folder import read_results
from napari_tam.settings import Settings
from napari_tam.train.labels import by_controls, by_labels, by_markers, described, sources
from napari_tam.train.validation import LabelledCells
from napari_tam.volume.projection import project_field, project_labels

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_tam.io.field import Field
    from napari_tam.results.folder import Results


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
    source = Path(sources(results)[image])
    places = (source, results.folder.parent / source, results.folder / source.name)
    path = next((place for place in places if place.exists()), None)  # an OME-Zarr is a folder
    if path is None:
        raise InputError(
            f"the image {image} is not there any more, and its pixels are needed",
            where=source,
            fix="put it back, or start from the folder in which 'napari-tam analyse' ran",
        )
    # The reader puts position, well and frame behind the name of the file, which may have been another one.
    stem = name_of(path, settings.files)
    settings = settings.updated(cells_masks=NONE, nuclei_masks=NONE)  # pixels only
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


def read_labelled(
    folder: Path,
    *,
    labels: Path | None = None,
    controls: str | None = None,
    markers: bool = False,
    layout: Layout | None = None,
    group: str | None = None,
) -> LabelledCells:
    """Read cells of known class from a results folder.

    Parameters
    ----------
    folder
        The --out folder of ``napari-tam analyse``.
    labels, controls, markers
        One of the three: see `by_labels`, `by_controls` and `by_markers`.
    layout, group
        See `add_groups`; with `markers` the layout of the results is taken where none is given.

    Raises
    ------
    InputError
        One sentence that says what is wrong.
    """
    if [labels is not None, controls is not None, markers].count(True) != 1:
        raise InputError(
            "one of --labels, --controls and --markers is needed", fix="'napari-tam train --help' tells more"
        )
    results = read_results(folder)
    if markers:
        table = by_markers(results, Settings.from_yaml(folder / "settings.yaml"))
        if layout is None and (folder / "layout.csv").exists():
            layout = read_layout(folder / "layout.csv")
    elif labels is not None:
        table = by_labels(results, labels)
    else:
        table = by_controls(results, controls or "", layout)
    if table.empty:
        raise InputError("there is no labelled cell", where=labels or folder)
    table, column = add_groups(table, layout, group)
    return labelled_cells(results, table, column)
