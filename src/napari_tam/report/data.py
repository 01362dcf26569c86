"""What a report is made of: the tables of a results folder, whichever of them are there."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_tam.io.layout import well_of, without_exosomes
from napari_tam.phenotype.classify import UNCERTAIN
from napari_tam.puncta.threshold import Threshold
from napari_tam.report.readouts import GROUP
from napari_tam.results.folder import OK, Results
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class ReportData:
    """The tables of a results folder.

    Attributes
    ----------
    folder
        The results folder.
    images, cells, puncta
        As in the folder; with cell types those of the types that are analysed, without controls of markers.
    thresholds, replicates, comparisons, kinetics
        The tables of uptake and comparison; None where there is none.
    gates, cell_types, marker_agreement, every_cell, every_punctum
        Those of markers, None without; and the cells of all types and controls, and their puncta.
    traffic, transfer_matrix, spatial_association, uptake_polarisation, dose_response
        Those of communication; None without types that give, or without doses.
    settings, run
        How the results were made; defaults and {} where that is not on record.
    problems
        Sentences about what could not be read.
    label
        The exosome label that columns without a name are about; empty where there is one exosome channel.
    """

    folder: Path
    images: pd.DataFrame
    cells: pd.DataFrame
    puncta: pd.DataFrame
    thresholds: pd.DataFrame | None = None
    replicates: pd.DataFrame | None = None
    comparisons: pd.DataFrame | None = None
    kinetics: pd.DataFrame | None = None
    gates: pd.DataFrame | None = None
    cell_types: pd.DataFrame | None = None
    marker_agreement: pd.DataFrame | None = None
    traffic: pd.DataFrame | None = None
    transfer_matrix: pd.DataFrame | None = None
    spatial_association: pd.DataFrame | None = None
    uptake_polarisation: pd.DataFrame | None = None
    dose_response: pd.DataFrame | None = None
    every_cell: pd.DataFrame = field(default_factory=pd.DataFrame)
    every_punctum: pd.DataFrame = field(default_factory=pd.DataFrame)
    settings: Settings = field(default_factory=Settings)
    run: dict[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    label: str = ""

    @cached_property
    def results(self) -> Results:
        """The same as `napari_tam.results.folder.read_results` returns."""
        return Results(self.folder, self.images, self.cells, self.puncta)

    @cached_property
    def analysed(self) -> pd.DataFrame:
        """The images that were analysed."""
        return self.images[self.images["status"] == OK]

    @cached_property
    def puncta_threshold(self) -> Threshold | None:
        """The threshold for the contrast of puncta; None for results of versions without one."""
        with contextlib.suppress(KeyError, TypeError, ValueError, IndexError):
            return Threshold.from_dict(self.run["puncta_threshold"])
        return None

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the phenotypes, in the order of their colours; empty without phenotypes."""
        from napari_tam.phenotype.colours import classes_of

        return classes_of(self.cells) if "phenotype" in self.cells else ()

    @cached_property
    def treated(self) -> pd.DataFrame:
        """The cells that are not of a negative control."""
        if not self.has("control_role"):
            return self.cells
        return self.cells[~without_exosomes(self.cells["control_role"], self.label)]

    @cached_property
    def control(self) -> pd.DataFrame:
        """The cells of the negative controls (dye only, no exosomes)."""
        if not self.has("control_role"):
            return self.cells.iloc[:0]
        return self.cells[without_exosomes(self.cells["control_role"], self.label)]

    @cached_property
    def has_layout(self) -> bool:
        """Whether a layout says what the images are."""
        return any(self.has(name) for name in GROUP)

    def has(self, column: str, table: pd.DataFrame | None = None) -> bool:
        """Return whether a table (default: the cells) has a column with any value in it."""
        table = self.cells if table is None else table
        return column in table and bool(is_stated(table[column]).any())

    def groups(self, table: pd.DataFrame | None = None) -> pd.Series[str]:
        """Return the group of every row (default: of the cells) as one text.

        The condition, and dose and time where the table has more than one value of them; empty
        where the layout says nothing about the row.
        """
        table = self.cells if table is None else table
        groups = pd.Series("", index=table.index, dtype=str)
        for name in GROUP:
            if not self.has(name, table):
                continue
            values = table[name]
            if name == "condition":
                part = values.where(is_stated(values), "")
                if "control_role" in table:  # a control may be named by its role alone
                    role = table["control_role"]
                    part = part.mask(part == "", role.where(is_stated(role), ""))
                groups = part.astype(str)
                if "control_role" in table:  # a condition's control wells are a group of their own
                    named = without_exosomes(table["control_role"]) & (groups != role)
                    mark = " (" + table["control_role"].astype(str).str.replace("_", " ") + ")"
                    groups = groups.where(~named, groups + mark)
            elif self._varies(name):
                texts = {x: f"dose {x:g}" if name == "dose" else f"{x:g} h" for x in values.dropna().unique()}
                part = values.map(texts).fillna("").astype(str)
                if name == "dose" and "control_role" in table:  # that a control has none is in its name
                    part = part.mask(without_exosomes(table["control_role"]) & (values == 0), "")
                groups = groups + np.where((groups != "") & (part != ""), ", ", "") + part
        return groups

    def group_order(self) -> list[str]:
        """Return the groups: negative controls first, then as the layout's values are sorted."""
        table = self.cells.assign(_group=self.groups())
        table = table[table["_group"] != ""]
        keys = [name for name in GROUP if self.has(name)]
        firsts = table.drop_duplicates("_group")
        negative = (
            ~without_exosomes(firsts["control_role"])
            if self.has("control_role")
            else pd.Series(True, firsts.index)
        )
        firsts = firsts.assign(_negative=negative).sort_values(["_negative", *keys], kind="stable")
        return firsts["_group"].tolist()

    def is_negative(self, group: str) -> bool:
        """Return whether all cells of a group are of a negative control."""
        here = self.groups() == group
        return bool(here.any()) and bool(self.cells.index[here].isin(self.control.index).all())

    def _varies(self, name: str) -> bool:
        return bool(self.cells[name].dropna().nunique() > 1) if name in self.cells else False

    @cached_property
    def unit(self) -> str:
        """What counts as one (n): donor, replicate, plate or well; empty without a layout.

        What the comparisons took; without them the same rule (`napari_tam.uptake.comparisons`).
        """
        if not self.has_layout:
            return ""
        if self.comparisons is not None:
            for unit in self.comparisons["unit"]:
                if unit in ("donor", "replicate", "plate", "well"):
                    return str(unit)
        if self._kinds("donor") > 1:
            return "donor"
        if self._kinds("replicate"):
            return "replicate"
        return "plate" if self._kinds("plate") > 1 else "well"

    def _kinds(self, name: str) -> int:
        if name not in self.cells:
            return 0
        return int(self.cells.loc[is_stated(self.cells[name]), name].nunique())

    def unit_names(self, table: pd.DataFrame) -> pd.Series[str]:
        """Return the name of every cell's experimental unit; empty where the layout states none."""
        if not self.unit:
            return pd.Series("", index=table.index, dtype=str)
        several = self.unit in ("replicate", "well") and self._kinds("plate") > 1
        names = self._texts(table, self.unit)
        return self._texts(table, "plate").str.cat(names, sep="/") if several else names

    def _texts(self, table: pd.DataFrame, name: str) -> pd.Series[str]:
        if name == "well":
            return self._well_of(table)
        if name not in table:
            return pd.Series("", index=table.index, dtype=str)
        return table[name].where(is_stated(table[name]), "").astype(str)

    def unit_means(self, readout: str) -> pd.DataFrame:
        """Return the mean of a readout for every experimental unit.

        Cells become the mean of their replicate (a row of replicates.csv), and the replicates of a
        unit its mean, as in the tests.

        Parameters
        ----------
        readout
            A column of the cells table (``positive`` counts as 0 and 1).

        Returns
        -------
        pandas.DataFrame
            Columns group, unit, cells, value; rows of groups that the layout does not name are not
            there.
        """
        cells = self.cells.assign(_group=self.groups(), _unit=self.unit_names(self.cells))
        cells = cells[cells["_group"] != ""].assign(
            _value=as_number(self.cells.loc[cells["_group"] != "", readout])
        )
        finer = [name for name in ("donor", "plate", "replicate", "control_role") if name in cells]
        replicates = cells.groupby(["_group", "_unit", *finer], dropna=False)["_value"].agg(["size", "mean"])
        units = replicates.groupby(["_group", "_unit"]).agg(cells=("size", "sum"), value=("mean", "mean"))
        return units.reset_index().rename(columns={"_group": "group", "_unit": "unit"})

    def wells(self) -> pd.Series[str]:
        """Return the well of every cell; from the image's name where no layout says it."""
        return self._well_of(self.cells)

    def plate_names(self, table: pd.DataFrame) -> pd.Series[str]:
        """Return the plate of every row; empty where the layout states none."""
        return self._texts(table, "plate")

    def image_wells(self) -> pd.Series[str]:
        """Return the well of every image."""
        return self._well_of(self.images)

    def _well_of(self, table: pd.DataFrame) -> pd.Series[str]:
        named = {name: well_of(str(name)) for name in table["image"].unique()}
        guessed = table["image"].map(named).fillna("")
        if not self.has("well", table):
            return guessed.astype(str)
        return table["well"].where(is_stated(table["well"]), guessed).astype(str)


def is_stated(values: Any) -> Any:
    """Return where values are neither missing nor empty texts."""
    return values.notna() & (values.astype(object) != "")


def as_number(values: pd.Series[Any]) -> npt.NDArray[np.float64]:
    """Return a column as numbers: flags as 0 and 1, missing ones as NaN."""
    return pd.to_numeric(values.astype(object), errors="coerce").to_numpy(np.float64, na_value=np.nan)


def whole(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the cells that the image's border does not cut."""
    if "touches_border" not in cells:
        return cells
    return cells[~cells["touches_border"].fillna(False).astype(bool)]


def uncertain_share(cells: pd.DataFrame) -> float:
    """Return the share of cells, of those not cut by the border, whose phenotype is uncertain."""
    inner = whole(cells)
    return float((inner["phenotype"] == UNCERTAIN).mean()) if len(inner) else float("nan")
