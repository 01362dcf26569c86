"""What follows from all images of a results folder together: tracks, decisions, comparisons, kinetics.

Each step reads the tables of the folder and replaces its own part of them, so that it can be
repeated with another layout or other settings, and gives what a fresh run would.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_tam import files
from napari_tam.columns import (
    DECISION_COLUMNS,
    LAYOUT_COLUMNS,
    OF_DONORS,
    PUNCTUM_DECISION_COLUMNS,
    TYPE_COLUMNS,
    TYPE_COUNT,
    gated_columns,
)
from napari_tam.errors import InputError
from napari_tam.io.label_columns import label_decision_columns
from napari_tam.io.layout import read_layout, well_of
from napari_tam.io.plates import plate_of
from napari_tam.markers.labels import LABEL, labels_of, of_label
from napari_tam.markers.names import markers_in
from napari_tam.results import tables
from napari_tam.results.folder import OK
from napari_tam.results.lock import locked_results
from napari_tam.results.siblings import compare_fields, told
from napari_tam.settings import Settings
from napari_tam.stopping import undisturbed

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    import pyarrow as pa

    from napari_tam.io.layout import Layout

#: Tables that there are with markers only.
OF_MARKERS = ("gates", "cell_types", "marker_agreement")
#: Tables that there are with types of cells that give and take, and with doses.
OF_COMMUNICATION = ("traffic", "transfer_matrix", "spatial_association", "uptake_polarisation")
OF_DOSES = ("dose_response",)

#: The layout that was used last, in the results folder.
LAYOUT_FILE = "layout.csv"

_LAYOUT_NAMES = [column.name for column in LAYOUT_COLUMNS]


@dataclass(frozen=True)
class Conclusions:
    """What the images of a run say together.

    Attributes
    ----------
    cells
        cells.csv with all its columns.
    thresholds, replicates, comparisons, kinetics
        The tables of these names.
    notes
        What a reader should know: sentences.
    gates, cell_types, marker_agreement
        The tables of these names; None where there are none.
    communication
        The tables `OF_COMMUNICATION` and `OF_DOSES` that there are, by name.
    """

    cells: pd.DataFrame
    thresholds: pd.DataFrame
    replicates: pd.DataFrame
    comparisons: pd.DataFrame
    kinetics: pd.DataFrame
    notes: tuple[str, ...]
    gates: pd.DataFrame | None = None
    cell_types: pd.DataFrame | None = None
    marker_agreement: pd.DataFrame | None = None
    communication: dict[str, pd.DataFrame] = field(default_factory=dict)


def conclude(folder: Path, settings: Settings, layout: Layout | None = None) -> Conclusions:
    """Follow cells through movies, describe, decide, compare, and fit kinetics.

    The tables of a results folder are replaced, the settings kept.

    Parameters
    ----------
    folder
        The results folder.
    settings
        The groups time, uptake and comparison are used.
    layout
        What the images are. Without one no cell is called positive and nothing is compared.

    Raises
    ------
    InputError
        If the folder or the layout cannot be used; then nothing is written.
    """
    with locked_results(folder):
        return _conclude(folder, settings, layout)


def _conclude(folder: Path, settings: Settings, layout: Layout | None) -> Conclusions:
    from napari_tam.celltypes.agreement import agreement
    from napari_tam.celltypes.marked import mark
    from napari_tam.celltypes.types import analysed
    from napari_tam.kinetics.results import follow_results, write_kinetics
    from napari_tam.traffic.communicate import communicate
    from napari_tam.uptake.comparisons import compare
    from napari_tam.uptake.decide import decide
    from napari_tam.uptake.dose_response import dose_responses
    from napari_tam.uptake.replicates import replicate_table

    found = _Tables.read(folder)
    names = found.images["image"].to_pylist()
    if layout is not None:
        layout.check(names)
    followed = follow_results(folder, settings)
    if followed.movies or "track" in found.cells.column_names:
        found = _Tables.read(folder)
    cells, puncta = found.cells.to_pandas(), found.puncta.to_pandas()
    about = _described(
        names, layout, [each or "" for each in found.images["source"].to_pylist()], settings.files
    )
    described = cells[["image"]].merge(about, on="image", how="left", validate="many_to_one")
    cells = cells.assign(**{name: described[name].to_numpy() for name in _LAYOUT_NAMES})
    marked = mark(cells, about, settings)
    for name in marked.cells:
        cells[name] = marked.cells[name].array
    chosen = analysed(cells, settings)
    # other cells teach no threshold, and are neither positive nor negative
    decisions = decide(
        cells.assign(control_role=cells["control_role"].where(chosen, "")), puncta, about, settings
    )
    for name in decisions.cells:
        cells[name] = decisions.cells[name].array
    for label in ("", *labels_of(cells.columns)):
        name = of_label("positive", label)
        cells[name] = cells[name].where(chosen)
    replicates = replicate_table(cells[chosen], settings)
    comparisons = compare(cells[chosen], replicates, settings)
    more = dict(marked.tables)
    if "marker_phenotype" in cells:
        more["marker_agreement"] = agreement(cells[chosen], settings)
    traffic = communicate(folder, cells, puncta, found.images.to_pandas(), settings)
    more |= traffic.tables
    doses = dose_responses(cells[chosen], settings)
    if doses is not None:
        more["dose_response"] = doses
    found.images = _extend(found.images, about[_LAYOUT_NAMES], after="image")
    beside = compare_fields(found.images.to_pandas())
    found.images = _replaced(found.images, beside)
    found.images = _extend(found.images, marked.images)
    if "phenotype" in cells and (settings.types or found.were_typed):
        found.images = _recounted(found.images, cells[chosen] if settings.types else cells)
    found.cells = _extend(found.cells, cells[_LAYOUT_NAMES + list(decisions.cells) + list(marked.cells)])
    found.cells = _extend(found.cells, traffic.cells)
    found.puncta = _extend(found.puncta, decisions.puncta)
    # nothing of this was written so far; now everything is, as it belongs together
    with undisturbed():
        _write_text(folder, layout)
        found.write(folder)
        for name, frame in (
            ("thresholds", decisions.thresholds),
            ("replicates", replicates),
            ("comparisons", comparisons),
        ):
            tables.write_csv(folder / f"{name}.csv", _arrow(frame))
        for name in (*OF_MARKERS, *OF_COMMUNICATION, *OF_DOSES):
            if name in more:
                tables.write_csv(folder / f"{name}.csv", _arrow(more[name]))
            else:
                _remove(folder / f"{name}.csv")
        kinetics = write_kinetics(folder, settings=settings)
    unknown = [name for name, known in zip(names, about["described"], strict=True) if not known]
    # that single images have no track needs no saying here
    notes = [
        *(followed.notes if followed.movies else ()),
        *_notes(decisions.thresholds, layout, unknown),
        *told(found.images.to_pandas()),
        *marked.notes,
        *traffic.notes,
    ]
    return Conclusions(
        cells,
        decisions.thresholds,
        replicates,
        comparisons,
        kinetics,
        tuple(notes),
        more.get("gates"),
        more.get("cell_types"),
        more.get("marker_agreement"),
        {name: more[name] for name in (*OF_COMMUNICATION, *OF_DOSES) if name in more},
    )


def compare_again(folder: Path, settings: Settings) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Repeat the comparisons of a results folder; replicates.csv and comparisons.csv are replaced.

    Returns
    -------
    replicates, comparisons
        See `napari_tam.columns.REPLICATE_COLUMNS` and `COMPARISON_COLUMNS`.

    Raises
    ------
    InputError
        If the folder cannot be read, or was never given a layout.
    """
    with locked_results(folder):
        return _compare_again(folder, settings)


def _compare_again(folder: Path, settings: Settings) -> tuple[pd.DataFrame, pd.DataFrame]:
    from napari_tam.uptake.comparisons import compare
    from napari_tam.uptake.replicates import replicate_table

    cells = analysed_cells(folder, settings)
    replicates = replicate_table(cells, settings)
    comparisons = compare(cells, replicates, settings)
    with undisturbed():
        tables.write_csv(folder / "replicates.csv", _arrow(replicates))
        tables.write_csv(folder / "comparisons.csv", _arrow(comparisons))
    return replicates, comparisons


def analysed_cells(folder: Path, settings: Settings) -> pd.DataFrame:
    """Return the cells of a results folder that uptake is about, with the columns of layout and decisions.

    Raises
    ------
    InputError
        If the folder cannot be read, or was never given a layout.
    """
    from napari_tam.celltypes.types import analysed

    found = _Tables.read(folder, bare=False)
    if "condition" not in found.cells.column_names:
        raise InputError(
            "nothing says which condition an image is of",
            where=folder,
            fix="run 'napari-tam uptake RESULTS --layout FILE' first",
        )
    cells: pd.DataFrame = found.cells.to_pandas()
    for column in (*LAYOUT_COLUMNS, *DECISION_COLUMNS, *label_decision_columns(labels_of(cells.columns))):
        if column.kind == "maybe_flag":
            cells[column.name] = cells[column.name].astype("boolean")
    chosen: pd.DataFrame = cells[analysed(cells, settings)].reset_index(drop=True)
    return chosen


def settings_of(folder: Path) -> Settings:
    """Return the settings that a results folder was made with."""
    path = folder / "settings.yaml"
    return Settings.from_yaml(path) if path.exists() else Settings()


def layout_of(folder: Path) -> Layout | None:
    """Return the layout that a results folder was described with last, or None."""
    path = folder / LAYOUT_FILE
    return read_layout(path) if path.exists() else None


@dataclass
class _Tables:
    """The measured tables of a results folder, without what conclusions added."""

    images: pa.Table
    cells: pa.Table
    puncta: pa.Table
    #: Whether counts of images were those of cell types.
    were_typed: bool = False

    @classmethod
    def read(cls, folder: Path, *, bare: bool = True) -> _Tables:
        if not (folder / "images.csv").exists():
            raise InputError(
                "not a results folder (it has no images.csv)",
                where=folder,
                fix="give the --out folder of 'napari-tam analyse'",
            )
        # Parquet keeps the types; the CSV is for folders that lost it
        parquet = folder / "cells.parquet"
        read = cls(
            tables.read_arrow(folder / "images.csv"),
            tables.read_arrow(parquet if parquet.exists() else folder / "cells.csv"),
            tables.read_arrow(folder / "puncta.csv"),
        )
        if bare:
            counted = [name for name in read.images.column_names if name.startswith(TYPE_COUNT)]
            read.were_typed = bool(counted)
            read.images = _without(read.images, [*_LAYOUT_NAMES, *counted])
            marked = gated_columns(markers_in(read.cells.column_names))
            by_label = label_decision_columns(labels_of(read.cells.column_names))
            decided = [column.name for column in (*DECISION_COLUMNS, *by_label, *marked, *TYPE_COLUMNS)]
            decided += [name for name in read.cells.column_names if name.startswith(OF_DONORS)]
            read.cells = _without(read.cells, [*_LAYOUT_NAMES, *decided])
            read.puncta = _without(read.puncta, [column.name for column in PUNCTUM_DECISION_COLUMNS])
        return read

    def write(self, folder: Path) -> None:
        tables.write_csv(folder / "cells.csv", self.cells)
        tables.write_parquet(folder / "cells.parquet", self.cells)
        tables.write_csv(folder / "puncta.csv", self.puncta)
        tables.write_parquet(folder / "puncta.parquet", self.puncta)
        tables.write_csv(folder / "images.csv", self.images)


def _recounted(images: pa.Table, cells: pd.DataFrame) -> pa.Table:
    """Return images.csv with the counts and means of phenotypes of these cells."""
    import pandas as pd

    from napari_tam.phenotype.classify import phenotype_summary
    from napari_tam.phenotype.colours import classes_of

    classes = classes_of(cells)
    known = images.column("status").to_pandas() == OK
    rows = []
    for name, done in zip(images["image"].to_pylist(), known, strict=True):
        rows.append(phenotype_summary(cells[cells["image"] == name], classes) if done else {})
    counted = pd.DataFrame(rows)
    counted = counted[[name for name in counted.columns if name in images.column_names]]
    return _replaced(
        images, counted.astype({name: "Int64" for name in counted if str(name).startswith("cells_")})
    )


def _replaced(table: pa.Table, frame: pd.DataFrame) -> pa.Table:
    """Return a table with the frame's columns in place of its own of these names."""
    columns = _arrow(frame)
    for name in columns.column_names:
        table = table.set_column(table.column_names.index(name), name, columns.column(name))
    return table


def _described(images: list[str], layout: Layout | None, sources: list[str], how: str) -> pd.DataFrame:
    """Return image, the layout's columns and whether the layout is about it, for each image.

    Without a layout, well and plate are what the images' names tell.
    """
    import pandas as pd

    if layout is None:
        table = pd.DataFrame({"image": images})
        for column in LAYOUT_COLUMNS:
            table[column.name] = float("nan") if column.kind == "number" else ""
        plates = [plate_of(name, source, how) for name, source in zip(images, sources, strict=True)]
        return table.assign(well=[well_of(name) for name in images], plate=plates, described=False)
    known = layout.columns_of(images)
    rows = layout.describe(images)
    others = [name for name in layout.rows.columns if name not in ("image", "well")]
    described = (rows[others] != "").any(axis=1).to_numpy() if others else False
    return known.assign(image=images, described=described)


def _notes(thresholds: pd.DataFrame, layout: Layout | None, unknown: list[str]) -> list[str]:
    from napari_tam.errors import some

    if layout is None:
        return [
            "no layout: nothing says what the images are, so no cell is called positive ('napari-tam layout' "
            "writes one to fill in)"
        ]
    notes = []
    for row in thresholds.to_dict("records"):
        if row["note"]:
            about = f"plate {row['plate']}, " if row["plate"] else ""
            about += f"{row[LABEL]}, " if LABEL in row else ""
            notes.append((f"{about[:-2]}: " if about else "") + str(row["note"]))
    if layout.misplaced_control():
        notes.append(layout.misplaced_control())
    if unknown:
        notes.append(f"the layout says nothing about {len(unknown)} images: {some(unknown)}")
    return notes


def _write_text(folder: Path, layout: Layout | None) -> None:
    """Save the layout beside the results, in place of that of an earlier run."""
    path = folder / LAYOUT_FILE
    if layout is None:
        _remove(path)
    elif layout.path != path:
        files.write_text(path, layout.to_csv())


def _remove(path: Path) -> None:
    """Remove what an earlier run wrote and this one does not have."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise files.OutputError(path, error) from error


def _without(table: pa.Table, names: list[str]) -> pa.Table:
    return table.select([name for name in table.column_names if name not in names])


def _extend(table: pa.Table, frame: pd.DataFrame, after: str = "") -> pa.Table:
    """Put columns at a table's end, or after one of its columns."""
    place = table.column_names.index(after) + 1 if after else table.num_columns
    new = _arrow(frame)
    for name in reversed(new.column_names):
        table = table.add_column(place, name, new.column(name))
    return table


def _arrow(frame: pd.DataFrame) -> pa.Table:
    """Return a table whose missing numbers are empty, not NaN."""
    import pyarrow as pa

    table: Any = pa.Table.from_pandas(frame, preserve_index=False)
    return table.replace_schema_metadata(None)
