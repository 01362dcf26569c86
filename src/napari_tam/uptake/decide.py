"""Which cells are positive, and which puncta are aggregates.

A cell is positive if its readout is above a threshold learnt from the control of its plate: cells
that got the dye without exosomes (dye_only), or neither (no_exosome). Without a control nothing is
called positive: dye nanoparticles look like labelled exosomes, so that no threshold on the image
alone can tell (PubMed 29551275). Aggregates are told from single puncta by brightness and width;
they stay in all tables and are left out of this one decision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_tam.columns import (
    DECISION_COLUMNS,
    PUNCTUM_DECISION_COLUMNS,
    THRESHOLD_COLUMNS,
    build_table,
    table_of_rows,
)
from napari_tam.errors import InputError
from napari_tam.io.label_columns import as_first
from napari_tam.io.layout import NO_EXOSOMES, exosome_control
from napari_tam.markers.labels import LABEL, labels_of, of_label, rows_of
from napari_tam.markers.names import same_marker
from napari_tam.uptake.equivalents import count_by_light, crowding, unknown
from napari_tam.uptake.from_control import threshold_from_control
from napari_tam.uptake.singles import Single, single_puncta

if TYPE_CHECKING:
    from napari_tam.settings import Settings

Floats = npt.NDArray[np.float64]

#: A wide punctum is an aggregate if its log intensity is this many robust SD above single puncta.
WIDE_SD = 2.0
#: ... and fewer others than this are expected to lie within its width by chance.
QUIET = 0.5
#: What is within so many widths says how many that are: a full cell's heaps have swallowed what is nearer.
CELL = 6.0
#: Nothing is an aggregate where so many are expected in the spot of a single one: in planes, where the
#: light of 20 single ones is within that distance.
FULL = 0.2


@dataclass(frozen=True)
class Decisions:
    """What was decided.

    Attributes
    ----------
    cells
        `DECISION_COLUMNS`, one row per cell; with several labels those of the first, and
        `napari_tam.io.label_columns.label_decision_columns`.
    puncta
        `PUNCTUM_DECISION_COLUMNS`, one row per punctum.
    thresholds
        `THRESHOLD_COLUMNS`, one row per plate; with several labels one for each of them, named in `LABEL`.
    """

    cells: pd.DataFrame
    puncta: pd.DataFrame
    thresholds: pd.DataFrame


def decide(cells: pd.DataFrame, puncta: pd.DataFrame, images: pd.DataFrame, settings: Settings) -> Decisions:
    """Flag aggregates and positive cells; with several exosome labels for each of them by itself.

    Parameters
    ----------
    cells
        `napari_tam.columns.CELL_COLUMNS`, `plate` and `control_role`; one row per cell.
    puncta
        At least image, label, intensity and width_um.
    images
        image, plate and control_role; one row per image.
    settings
        The groups uptake and comparison are used.

    Raises
    ------
    InputError
        If the layout names a control of a label that was not measured.
    """
    labels = labels_of(cells.columns)
    _check_controls(images["control_role"], labels)
    if not labels:
        return _decide(cells, puncta, images, settings, "")
    of_puncta: list[pd.DataFrame] = []
    found: dict[str, Decisions] = {}
    for label in labels:
        own = rows_of(puncta, label)
        found[label] = _decide(as_first(cells, label), own.reset_index(drop=True), images, settings, label)
        of_puncta.append(found[label].puncta.set_axis(own.index))
    first = found[labels[0]].cells
    named = [
        each.cells.set_axis([of_label(str(name), label) for name in each.cells], axis=1)
        for label, each in found.items()
    ]
    thresholds = [each.thresholds.assign(**{LABEL: label}) for label, each in found.items()]
    return Decisions(
        pd.concat([first, *named], axis=1),
        pd.concat(of_puncta).reindex(puncta.index),
        pd.concat(thresholds, ignore_index=True),
    )


def _check_controls(roles: pd.Series[str], labels: list[str]) -> None:
    """Raise InputError for a control of a label that is not there."""
    for role in roles.unique():
        kind, name = exosome_control(str(role))
        if name and not any(same_marker(name, label) for label in labels):
            listing = f"the labels are {', '.join(labels)}" if labels else "there is one exosome channel"
            raise InputError(
                f"the layout has a control of the exosome label {name}, which was not measured ({listing})",
                where=f"control_role {role}",
                fix=f"write {kind}, or one of the labels behind it" if labels else f"write {kind}",
            )


def _decide(
    cells: pd.DataFrame, puncta: pd.DataFrame, images: pd.DataFrame, settings: Settings, label: str
) -> Decisions:
    """Decide for one label; its columns are those without a name."""
    plates = dict(zip(images["image"], images["plate"], strict=True))
    plate_of = puncta["image"].map(plates).fillna("").to_numpy(object)
    aggregate = np.full(len(puncta), np.nan)
    singles = {}
    for plate in sorted(set(images["plate"])):
        here = plate_of == plate
        singles[plate] = single_puncta(puncta[here])
        if (single := singles[plate]) is not None:
            aggregate[here] = find_aggregates(puncta[here], single, settings)
    counts, sums = _per_cell(cells, puncta, aggregate)
    by_light = _by_light(cells, puncta, plate_of, aggregate, singles, settings)
    readout = readout_without_aggregates(cells, counts, sums, settings.positive_readout)
    positive = np.full(len(cells), np.nan)
    rows = []
    for plate in sorted(set(images["plate"])) or [""]:
        here = (cells["plate"] == plate).to_numpy()
        row = _threshold(
            readout[here], cells.loc[here, "control_role"], images[images["plate"] == plate], settings, label
        )
        single = singles.get(plate)
        row["single_intensity"] = np.nan if single is None else single.intensity
        row["single_count"] = 0 if single is None else single.alone
        row["single_note"] = unknown(single)
        rows.append({"plate": plate, **row})
        limit = float(row["threshold"])
        if np.isfinite(limit):
            known = here & np.isfinite(readout)
            positive[known] = readout[known] > limit
    decided = {
        "positive": _flags(positive),
        "aggregate_count": _whole(counts),
        "aggregate_intensity": sums,
        **by_light[0],
    }
    return Decisions(
        build_table(DECISION_COLUMNS, decided, len(cells)),
        build_table(PUNCTUM_DECISION_COLUMNS, {"aggregate": _flags(aggregate), **by_light[1]}, len(puncta)),
        table_of_rows(THRESHOLD_COLUMNS, rows),
    )


def find_aggregates(puncta: pd.DataFrame, single: Single, settings: Settings) -> npt.NDArray[np.bool_]:
    """Tell aggregates from single puncta: too bright, or too wide and rather bright."""
    intensity, width = (puncta[name].to_numpy(np.float64) for name in ("intensity", "width_um"))
    light = np.full(len(puncta), -np.inf)
    np.log(intensity, out=light, where=intensity > 0)
    # In a crowd several make one spot now and then, the more so the wider it is, and then it is wide too.
    around = crowding(puncta, single, CELL)
    others = around * np.maximum(width / single.width_um, 1) ** 2
    above = (light - single.log_intensity - np.log1p(np.nan_to_num(others))) / single.spread
    wide = (width > settings.aggregate_width * single.width_um) & (others < QUIET)
    # Where a cell is full, a heap of exosomes looks the same.
    return np.asarray(((above > settings.aggregate_sd) | (wide & (above > WIDE_SD))) & (around < FULL), bool)


def _by_light(
    cells: pd.DataFrame,
    puncta: pd.DataFrame,
    plate_of: npt.NDArray[np.object_],
    aggregate: Floats,
    singles: dict[str, Single | None],
    settings: Settings,
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Return puncta_equivalents with their limits, of the cells and of the puncta that are no aggregates."""
    keys = ["image", "label"]
    owner = pd.MultiIndex.from_frame(cells[keys]).get_indexer(pd.MultiIndex.from_frame(puncta[keys]))
    of_cells, of_puncta = np.full((3, len(cells)), np.nan), np.full((3, len(puncta)), np.nan)
    for plate, single in singles.items():
        if single is None or unknown(single):
            continue
        rows = np.flatnonzero((plate_of == plate) & (aggregate == 0))
        counted = count_by_light(puncta.iloc[rows], single, honest_scores=settings.puncta_method == "network")
        here = (cells["plate"] == plate).to_numpy()
        found = counted.of_cells(np.asarray(owner[rows], np.intp), len(cells))
        of_cells[:, here] = np.stack([found.number, found.low, found.high])[:, here]
        each = counted.each()
        of_puncta[:, rows] = np.stack([each.number, each.low, each.high])
    names = ("puncta_equivalents", "puncta_equivalents_low", "puncta_equivalents_high")
    return dict(zip(names, of_cells, strict=True)), dict(zip(names, of_puncta, strict=True))


def readout_without_aggregates(cells: pd.DataFrame, counts: Floats, sums: Floats, name: str) -> Floats:
    """Return a readout of the cells without what their aggregates (`counts`, `sums`) add to it."""
    values: Floats = cells[name].to_numpy(np.float64)
    counts, sums = np.nan_to_num(counts), np.nan_to_num(sums)
    if name == "puncta_count":
        return values - counts
    if name == "puncta_per_um2":
        return np.asarray(values - counts / cells["area_um2"].to_numpy(np.float64), np.float64)
    return np.asarray(values - sums, np.float64)


def _per_cell(cells: pd.DataFrame, puncta: pd.DataFrame, aggregate: Floats) -> tuple[Floats, Floats]:
    """Return number and summed intensity of each cell's aggregates; NaN where they are not known."""
    keys = ["image", "label"]
    table = puncta[keys].assign(
        count=aggregate, light=np.where(aggregate > 0, puncta["intensity"].to_numpy(np.float64), 0.0)
    )
    known = pd.Series(np.isfinite(aggregate)).groupby(puncta["image"].to_numpy()).all()
    sums = table.groupby(keys).sum()
    index = pd.MultiIndex.from_frame(cells[keys])
    found = sums.reindex(index, fill_value=0.0)
    count, light = (found[name].to_numpy(np.float64) for name in ("count", "light"))
    unknown = cells["image"].isin(known.index[~known.to_numpy(bool)]).to_numpy(bool)
    return np.where(unknown, np.nan, count), np.where(unknown, np.nan, light)


def _threshold(
    readout: Floats, roles: pd.Series[str], images: pd.DataFrame, settings: Settings, label: str
) -> dict[str, Any]:
    """Learn the threshold of one plate; a row of thresholds.csv without the plate."""
    wanted = NO_EXOSOMES if settings.positive_control == "auto" else (settings.positive_control,)
    there = [(exosome_control(str(role)), str(role)) for role in sorted(set(images["control_role"]))]
    # a control of this label alone before one of all labels
    known = [
        role
        for kind in wanted
        for own in (True, False)
        for (control, name), role in there
        if control == kind and (bool(name) and same_marker(name, label) if own else not name)
    ]
    role = known[0] if known else ""
    values = readout[(roles == role).to_numpy()] if role else np.zeros(0)
    values = values[np.isfinite(values)]
    row: dict[str, Any] = {
        "readout": settings.positive_readout,
        "rule": "",
        "control_role": role,
        "control_images": int((images["control_role"] == role).sum()) if role else 0,
        "control_cells": len(values),
        "threshold": np.nan,
        "note": "",
    }
    if not role:
        names = " or ".join(wanted)
        return row | {"note": f"no cell is called positive: no image has the control_role {names}"}
    return row | threshold_from_control(
        values,
        role,
        settings.positive_rule,
        settings.positive_quantile,
        settings.positive_sd,
        "no cell is called positive",
    )


def _flags(values: Floats) -> pd.Series[bool]:
    """Return 1, 0 and NaN as flags."""
    return pd.Series(values).map({1.0: True, 0.0: False}).astype("boolean")


def _whole(values: Floats) -> pd.Series[int]:
    return pd.Series(values).astype("Int64")
