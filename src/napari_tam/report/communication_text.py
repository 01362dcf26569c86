"""What the report says in words about who gives exosomes and who takes them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_tam.markers.labels import LABEL
from napari_tam.report.data import as_number
from napari_tam.report.readouts import named
from napari_tam.traffic.matrix import BETWEEN, UNKNOWN
from napari_tam.traffic.polarisation import SCORE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_tam.report.data import ReportData

#: Cells of which more than this share is nearer to the border of the image than to a donor.
MANY_AT_BORDER = 0.3


def words(data: ReportData) -> list[str]:
    """Return the findings in sentences, one paragraph for each question; none without types that give."""
    found = [*_matrix(data), *_curve(data), *_association(data), *_polarisation(data), *_doses(data)]
    return [text for text in found if text]


def whole_table(table: pd.DataFrame | None) -> pd.DataFrame:
    """Return the rows of a table that are about all conditions together."""
    if table is None or table.empty:
        return pd.DataFrame({"condition": [], LABEL: []})
    stated = table["condition"].astype(object).where(table["condition"].notna(), "")
    return table[stated == ""].assign(**{LABEL: table[LABEL].astype(object).where(table[LABEL].notna(), "")})


def label_names(table: pd.DataFrame) -> list[str]:
    """Return the exosome labels of a table; [""] with one exosome channel."""
    return list(dict.fromkeys(str(name) for name in table[LABEL]))


def kind_of(label: str) -> str:
    """Return what the puncta of a label are called."""
    return f"{label} puncta" if label else "puncta"


def many(types: object) -> str:
    """Return cells of some types in the plural: ``tumour cells``, ``macrophages``."""
    parts = [name.strip() for name in str(types).split(",")]
    return " and ".join(
        f"{name}s" if name.endswith(("phage", "blast", "cyte")) else f"{name} cells" for name in parts
    )


def one(types: object) -> str:
    """Return a cell of some types: ``tumour cell``, ``macrophage``."""
    parts = [name.strip() for name in str(types).split(",")]
    return " or ".join(
        name if name.endswith(("phage", "blast", "cyte")) else f"{name} cell" for name in parts
    )


def interval(row: Any, low: str, high: str, form: str = "{:.3g}") -> str:
    """Return an interval in brackets; empty where there is none."""
    if not (math.isfinite(row[low]) and math.isfinite(row[high])):
        return ""
    return f" (95 % interval {form.format(row[low])} to {form.format(row[high])})"


def chance(p: float) -> str:
    """Return a p value in words."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def _matrix(data: ReportData) -> Iterator[str]:
    table = whole_table(data.transfer_matrix)
    for label in label_names(table):
        rows = table[(table[LABEL] == label) & (as_number(table["puncta"]) > 0)]
        shares = []
        for _, row in rows.sort_values("puncta_share", ascending=False).iterrows():
            if row["puncta_share"] < 0.005:
                continue
            place = str(row["place"])
            where = (
                place if place == BETWEEN else "in cells whose type is not known" if place == UNKNOWN else ""
            )
            where = where or {
                "none": "in cells of no type",
                "ambiguous": "in cells of an ambiguous type",
            }.get(place, "")
            where = where or f"in {many(place)}"
            gives = ", which give them" if place in str(row["donors"]).split(", ") else ""
            shares.append(
                f"{row['puncta_share']:.0%}"
                f"{interval(row, 'puncta_share_low', 'puncta_share_high', '{:.0%}')} are "
                f"{where}{gives}"
            )
        if shares:
            total = int(as_number(rows["puncta"]).sum())
            yield f"Who holds them. Of the {total:,} {kind_of(label)}, {'; '.join(shares)}."


def _curve(data: ReportData) -> Iterator[str]:
    table = whole_table(data.traffic)
    for label in label_names(table):
        row = table[table[LABEL] == label].iloc[0]
        takers, giver = many(row["recipients"]), one(row["donors"])
        name = named(_plain(str(row["readout"]), label))
        if not math.isfinite(row["decay_um"]):
            yield f"Distance. {takers.capitalize()} and their distance to the nearest {giver}: {row['note']}."
            continue
        far = row["offset"] if row["offset"] > 0.005 * row["amplitude"] else 0.0
        yield (
            f"Distance. {takers.capitalize()} take up less the further away the nearest {giver} is: "
            f"from {row['amplitude'] + row['offset']:.3g} {name} beside one to {far:.3g} far from "
            f"all{_of(label)}. The decay length is {row['decay_um']:.3g} µm"
            f"{interval(row, 'decay_low', 'decay_high')}: at this distance 37 % of what the neighbour adds "
            f"is left. Distances are {row['distance_kind']}."
        )


def _of(label: str) -> str:
    return f" ({label})" if label else ""


def _plain(readout: str, label: str) -> str:
    return readout.removesuffix(f"_{label}") if label else readout


def _association(data: ReportData) -> Iterator[str]:
    table = whole_table(data.spatial_association)
    if "unit" not in table:
        return
    table = table[table["unit"].isna() | (table["unit"] == "")]
    for _, row in table.iterrows():
        takers, giver = many(row["recipients"]), one(row["donors"])
        ratio = row["ratio"]
        if not math.isfinite(ratio):
            yield f"Neighbours. {takers.capitalize()} and {many(row['donors'])}: {row['note']}."
            continue
        tested = (
            f"{interval(row, 'ci_low', 'ci_high')}, {chance(row['p'])}" if math.isfinite(row["p"]) else ""
        )
        doubt = "" if row["p"] < 0.05 else ": chance alone may give that"
        if row["question"] == "neighbours":
            yield (
                f"Neighbours. Within {row['radius_um']:g} µm, {takers} have {ratio:.2f} times as many "
                f"{many(row['donors'])} as they would have if the types were dealt out by chance to the "
                f"cells where they are{tested}{doubt}."
            )
        else:
            yield (
                f"Contact. {takers.capitalize()} with a {giver} within {row['radius_um']:g} µm hold "
                f"{ratio:.2f} times as much{_of(str(row[LABEL]))} as the other {takers} of their "
                f"images{tested}{doubt}."
            )


def _polarisation(data: ReportData) -> Iterator[str]:
    table = whole_table(data.uptake_polarisation)
    if "unit" not in table:
        return
    for _, row in table[table["unit"].isna() | (table["unit"] == "")].iterrows():
        label = str(row[LABEL])
        if not math.isfinite(row["p"]):
            yield f"Polarisation. {label + ': ' if label else ''}{row['note']}."
            continue
        step = 10 if "count" in str(row["readout"]) else 1
        what = kind_of(label) if step == 10 else named(_plain(str(row["readout"]), label))
        verdict = "" if row["p"] < 0.05 else " No relation is shown."
        yield (
            f"Polarisation. With {step} more {what}, {_shift(row, step)}, {chance(row['p'])}, replicates as "
            f"n.{verdict} This is a relation between cells: it does not say which of both came first."
        )


def _shift(row: Any, step: int) -> str:
    """Say how much a cell's score moves with so much more uptake."""
    moved = [step * row[name] for name in ("slope", "ci_low", "ci_high")]
    score = str(row["score"])
    if score == SCORE:
        return (
            f"a cell leans {moved[0]:+.2f} SD to the markers of the second phenotype (95 % interval "
            f"{moved[1]:+.2f} to {moved[2]:+.2f})"
        )
    factor, low, high = (math.exp(each) for each in moved)
    what = "odds of M2 by shape" if score.startswith("logit") else f"ratio {score[3:-1]}"
    return f"a cell has {factor:.2f} times the {what} (95 % interval {low:.2f} to {high:.2f})"


def _doses(data: ReportData) -> Iterator[str]:
    table = data.dose_response
    for _, row in table.iterrows() if table is not None else ():
        name = f"{row['condition']}, {named(str(row['readout']))}"
        note = str(row["note"]) if isinstance(row["note"], str) else ""
        if math.isfinite(row["ec50"]):
            more = f" Beware: {note}." if note else ""
            yield (
                f"Dose. {name}: the half effect is at a dose of {row['ec50']:.3g}"
                f"{interval(row, 'ec50_low', 'ec50_high')}, the plateau at {row['top']:.3g}"
                f"{interval(row, 'top_low', 'top_high')}.{more}"
            )
        else:
            yield f"Dose. {name}: {note}."


def communication_methods(data: ReportData) -> list[str]:
    """Return sentences of the methods; none without tables of communication."""
    found = []
    table = whole_table(data.traffic)
    if len(table):
        row = table.iloc[0]
        found.append(
            f"Of every {one(row['recipients'])} the distance to the nearest {one(row['donors'])} was "
            f"measured ({row['distance_kind']}), and a curve offset + amplitude × exp(-distance / length) "
            "was fitted to the uptake of those that the border does not cut (Poisson quasi-likelihood, a "
            "level for every replicate; intervals by drawing replicates anew)."
        )
    if len(whole_table(data.spatial_association)):
        radius = data.settings.neighbour_radius_um
        found.append(
            "Spatial association: cell types (or the uptake of recipients) were shuffled 499 times within "
            f"each image, positions fixed; neighbours are within {radius:g} µm; the replicates' log ratios "
            "to chance were tested by a one-sample t-test."
        )
    if len(whole_table(data.uptake_polarisation)):
        found.append(
            "Polarisation over uptake: linear mixed model with random intercepts and slopes of replicates "
            "in two stages, standard error by Knapp and Hartung."
        )
    if data.dose_response is not None and np.isfinite(as_number(data.dose_response["top"])).any():
        found.append(
            "Dose response: four-parameter logistic, weighted least squares of the replicates' means, a "
            "level for every replicate, intervals by the profile likelihood."
        )
    return found


def communication_cautions(data: ReportData) -> list[str]:
    """Return what must be known before the distances are believed."""
    table = whole_table(data.traffic)
    found = []
    cells = data.every_cell
    pictures = data.images
    if len(table) and {"height_px", "width_px", "pixel_size_um"} <= set(pictures):
        row = table.iloc[0]
        column = f"donor_distance_um_{row[LABEL]}" if row[LABEL] else "donor_distance_um"
        if column in cells and "cell_type" in cells:
            here = cells[cells["cell_type"].isin(str(row["recipients"]).split(", ")) & cells[column].notna()]
            here = here.merge(pictures[["image", "height_px", "width_px", "pixel_size_um"]], on="image")
            y, x = (as_number(here[name]) for name in ("centroid_y_px", "centroid_x_px"))
            border = np.minimum(
                np.minimum(y, as_number(here["height_px"]) - y),
                np.minimum(x, as_number(here["width_px"]) - x),
            ) * as_number(here["pixel_size_um"])
            share = float((border < as_number(here[column])).mean()) if len(here) else 0.0
            if share > MANY_AT_BORDER:
                found.append(
                    f"{share:.0%} of the {many(row['recipients'])} are nearer to the border of their image "
                    f"than to any {one(row['donors'])}: the nearest one may lie outside, so that long "
                    "distances are overstated. Larger fields or stitched images help."
                )
    return found
