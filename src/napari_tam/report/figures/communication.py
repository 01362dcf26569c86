"""Who gives exosomes and who takes them: map, matrix, distance, neighbours, polarisation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_tam.markers.labels import LABEL, rows_of
from napari_tam.report.communication_text import kind_of, label_names, many, one, whole_table
from napari_tam.report.data import ReportData, as_number, whole
from napari_tam.report.readouts import label_of, named
from napari_tam.report.style import (
    COLOURS,
    GREY,
    INK,
    MARKERS,
    PALE,
    SMALL,
    Drawn,
    MissingData,
    Spots,
    new_figure,
    plain,
)
from napari_tam.report.style import (
    LABEL as LABEL_SIZE,
)
from napari_tam.settings import NO_TYPES
from napari_tam.traffic.polarisation import polarisation_score

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Fill of the cell types on the map, and colours of the labels' puncta on it.
FILLS = ("#9ecae1", "#fdd0a2", "#c7e9c0", "#dadaeb", "#fbb4b9")
SPOTS = ("#00441b", "#b2182b", "#3f007d")


def communication_map(data: ReportData) -> Drawn:
    """Draw one field: cells by type, and the puncta of every label where they are."""
    cells = data.every_cell
    if "cell_type" not in cells or data.traffic is None:
        raise MissingData("no rules say which cells are of which type (types)")
    image = _typical(data)
    masks = data.results.masks(image) if image else None
    if masks is None:
        raise MissingData("no image has both givers and takers, and a mask")
    labels = masks.max(axis=0) if masks.ndim == 3 else masks
    own = cells[cells["image"] == image]
    types = [*sorted(data.settings.types), *NO_TYPES]
    picture = np.ones((*labels.shape, 3))
    fills = {name: _rgb(FILLS[k % len(FILLS)]) for k, name in enumerate(sorted(data.settings.types))}
    fills |= dict.fromkeys(NO_TYPES, _rgb(PALE))
    table = np.ones((int(labels.max()) + 1, 3))
    for label, kind in zip(own["label"], own["cell_type"], strict=True):
        if label < len(table):
            table[int(label)] = fills.get(str(kind), _rgb(PALE))
    picture = table[labels]
    edge = np.zeros(labels.shape, bool)
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[1:] |= labels[1:] != labels[:-1]
    picture[edge] = _rgb(GREY)
    pixel = float(as_number(data.images.loc[data.images["image"] == image, "pixel_size_um"])[0])
    height, width = labels.shape
    figure, axes = new_figure(min(7.0, 5.2 * height / width + 0.8), width=6.0)
    axis = axes[0, 0]
    axis.imshow(picture, extent=(0, width * pixel, height * pixel, 0), interpolation="nearest")
    spots = data.every_punctum
    spots = spots[spots["image"] == image]
    names = label_names(whole_table(data.transfer_matrix))
    for k, name in enumerate(names):
        part = rows_of(spots, name)
        axis.scatter(part["x_um"], part["y_um"], s=3, c=SPOTS[k % len(SPOTS)], linewidths=0)
    axis.set(xlabel="µm", ylabel="µm")
    present = [name for name in types if (own["cell_type"] == name).any()]
    _map_legend(axis, {name: fills[name] for name in present}, names)
    counts = ", ".join(f"{int((own['cell_type'] == name).sum())} {name}" for name in present)
    caption = f"The field {image}: cells by their type ({counts}), and every punctum as a dot."
    return Drawn(
        figure, spots[[c for c in ("image", "label", LABEL, "x_um", "y_um") if c in spots]], caption, True
    )


def _typical(data: ReportData) -> str:
    """Return the treated image that has the most cells of its rarer type."""
    cells = data.every_cell
    if "control_role" in cells:
        cells = cells[~cells["control_role"].isin(["dye_only", "no_exosome"])]
    cells = cells[cells["cell_type"].isin(list(data.settings.types))]
    counts = pd.crosstab(cells["image"], cells["cell_type"])
    if counts.empty or len(counts.columns) < 2:
        return ""
    return str(counts.min(axis=1).idxmax())


def _rgb(colour: str) -> Any:
    from matplotlib.colors import to_rgb

    return np.array(to_rgb(colour))


def _map_legend(axis: Axes, fills: dict[str, Any], labels: list[str]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Patch(facecolor=colour, edgecolor=GREY, label=plain(name)) for name, colour in fills.items()
    ]
    handles += [
        Line2D(
            [],
            [],
            linestyle="",
            marker="o",
            markersize=3,
            color=SPOTS[k % len(SPOTS)],
            label=plain(kind_of(name)),
        )
        for k, name in enumerate(labels)
    ]
    axis.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.09),
        ncols=len(handles),
        fontsize=SMALL,
        frameon=False,
    )


def transfer_matrix(data: ReportData) -> Drawn:
    """Draw the share of every label's puncta that is in each cell type and between the cells."""
    table = whole_table(data.transfer_matrix)
    if table.empty or not as_number(table["puncta"]).sum():
        raise MissingData("no punctum was found in images of known cell types")
    names = label_names(table)
    places = list(dict.fromkeys(table["place"]))
    shares = np.full((len(names), len(places)), np.nan)
    for _, row in table.iterrows():
        shares[names.index(str(row[LABEL])), places.index(row["place"])] = row["puncta_share"]
    figure, axes = new_figure(1.1 + 0.75 * len(names), width=1.8 + 1.1 * len(places))
    axis = axes[0, 0]
    axis.imshow(np.nan_to_num(shares), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (line, column), share in np.ndenumerate(shares):
        if not np.isfinite(share):
            continue
        found = table[(table[LABEL] == names[line]) & (table["place"] == places[column])].iloc[0]
        text = f"{share:.0%}"
        if np.isfinite(found["puncta_share_low"]):
            text += f"\n{found['puncta_share_low']:.0%} to {found['puncta_share_high']:.0%}"
        if np.isfinite(found["per_cell"]):
            text += f"\n{found['per_cell']:.1f} a cell"
        axis.annotate(
            text,
            (column, line),
            ha="center",
            va="center",
            fontsize=SMALL,
            color="white" if share > 0.6 else INK,
        )
    given = {str(row[LABEL]): str(row["donors"]) for _, row in table.iterrows()}
    ticks = [plain(f"{name or 'exosomes'}, given by\n{many(given[name])}", 60) for name in names]
    axis.set_yticks(range(len(names)), ticks, fontsize=SMALL)
    axis.set_xticks(range(len(places)), [_place(name) for name in places], fontsize=SMALL)
    axis.set(xlabel="where the puncta are")
    units = int(as_number(table["units"]).max())
    caption = (
        f"Share of the puncta of a label in each type of cell and between the cells: mean of {units} "
        f"replicate{'s' * (units != 1)} and its 95 % interval; below it puncta per cell of the type. Every "
        "row sums to 100 %."
    )
    return Drawn(figure, table, caption)


def _place(name: str) -> str:
    texts = {"none": "cells of\nno type", "ambiguous": "ambiguous\ncells", "not known": "type not\nknown"}
    return texts.get(name) or (name.replace(" ", "\n") if name == "between cells" else plain(many(name)))


def uptake_by_distance(data: ReportData) -> Drawn:
    """Draw the uptake of recipients over the distance to the nearest donor, with the fitted curve."""
    table = whole_table(data.traffic)
    if table.empty:
        raise MissingData("no recipient has a donor in its image")
    names = label_names(table)
    figure, axes = new_figure(2.8, 1, len(names), width=min(7.0, 3.8 * len(names)))
    captions = []
    for k, (axis, name) in enumerate(zip(axes[0], names, strict=True)):
        part = table[table[LABEL] == name]
        row = part.iloc[0]
        colour = COLOURS[k % len(COLOURS)]
        x, y, low, high = (as_number(part[c]) for c in ("distance_um", "mean", "ci_low", "ci_high"))
        bars = np.nan_to_num(np.stack([y - low, high - y]))
        axis.errorbar(x, y, bars, fmt=MARKERS[k], color=colour, markersize=4, linewidth=1, capsize=2)
        if np.isfinite(row["decay_um"]):
            grid = np.linspace(0, float(as_number(part["to_um"]).max()), 200)
            curve = row["offset"] + row["amplitude"] * np.exp(-grid / row["decay_um"])
            axis.plot(grid, curve, color=INK, linewidth=1.4)
            axis.axvline(row["decay_um"], color=GREY, linestyle="--", linewidth=1)
            if np.isfinite(row["decay_low"]):
                axis.axvspan(row["decay_low"], row["decay_high"], color=GREY, alpha=0.15, linewidth=0)
            axis.annotate(
                f"decay length {row['decay_um']:.3g} µm",
                (row["decay_um"], 1),
                xycoords=("data", "axes fraction"),
                xytext=(4, -8),
                textcoords="offset points",
                fontsize=SMALL,
            )
        takers = many(row["recipients"])
        axis.set(xlabel=f"distance to the nearest {one(row['donors'])} (µm)", ylim=(0, None))
        longest = float(as_number(part["to_um"]).max())
        axis.set_xlim(-0.03 * longest, 1.05 * longest)
        readout = str(row["readout"]).removesuffix(f"_{name}") if name else str(row["readout"])
        axis.set_ylabel(label_of(readout))
        axis.set_title(plain(f"{name + ': ' if name else ''}{takers}"), fontsize=LABEL_SIZE)
        captions.append(f"{int(as_number(part['cells']).sum()):,} {takers}")
    caption = (
        f"Uptake of {' and '.join(captions)} by their distance to the nearest donor cell "
        f"({row['distance_kind']}): means of replicates in steps of distance with 95 % intervals; the first "
        "step are those that touch a donor. Line: fitted exponential above a constant; dashed: the decay "
        "length, with its interval shaded."
    )
    return Drawn(figure, table, caption)


def spatial_association(data: ReportData) -> Drawn:
    """Draw the ratios to chance: donors around recipients, and uptake beside donors."""
    table = whole_table(data.spatial_association)
    if table.empty or not np.isfinite(as_number(table["ratio"])).any():
        raise MissingData("no image has recipients and donors near one another")
    units = table[table["unit"].notna() & (table["unit"] != "")]
    rows = table[table["unit"].isna() | (table["unit"] == "")]
    rows = rows[np.isfinite(as_number(rows["ratio"]))].iloc[::-1].reset_index(drop=True)
    figure, axes = new_figure(0.9 + 0.5 * len(rows), width=6.4)
    axis = axes[0, 0]
    texts = []
    for k, row in rows.iterrows():
        same = units[(units["question"] == row["question"]) & (units[LABEL] == row[LABEL])]
        height = float(str(k))
        spread = np.linspace(-0.13, 0.13, len(same)) if len(same) > 1 else np.zeros(len(same))
        axis.scatter(as_number(same["ratio"]), height + spread, s=10, color=GREY, linewidths=0)
        axis.plot([row["ratio"]], [height], MARKERS[0], color=COLOURS[0], markersize=5)
        if np.isfinite(row["ci_low"]):
            axis.plot([row["ci_low"], row["ci_high"]], [height, height], color=COLOURS[0], linewidth=1.5)
        name = f" ({row[LABEL]})" if row[LABEL] else ""
        if row["question"] == "neighbours":
            texts.append(f"{many(row['donors'])} around {many(row['recipients'])}")
        else:
            texts.append(f"uptake of {many(row['recipients'])}{name}\nbeside {many(row['donors'])}")
    axis.axvline(1, color=INK, linestyle="--", linewidth=1)
    axis.set_yticks(
        range(len(rows)), [plain(text, 80).replace(" beside", "\nbeside") for text in texts], fontsize=SMALL
    )
    axis.set_xscale("log")
    low, high = axis.get_xlim()
    ticks = [x for x in (0.1, 0.2, 0.5, 1, 2, 5, 10) if low <= x <= high]
    axis.set_xticks(ticks, [f"{x:g}" for x in ticks])
    axis.minorticks_off()
    axis.set(xlabel="times what chance gives", ylim=(-0.6, len(rows) - 0.4))
    caption = (
        f"Ratio to chance within {data.settings.neighbour_radius_um:g} µm: grey the replicates, blue their "
        "geometric mean with its 95 % interval. Above: donors around recipients, against cell types that "
        "were shuffled within each image. Uptake: recipients with a donor around, against the other "
        "recipients of their image."
    )
    return Drawn(figure, table, caption)


def polarisation_by_uptake(data: ReportData) -> Drawn:
    """Draw the polarisation score of recipients over their uptake, and the slope of the mixed model."""
    table = whole_table(data.uptake_polarisation)
    if table.empty:
        raise MissingData(
            "no score of polarisation: neither rules of markers (marker_phenotypes) nor a phenotype by shape"
        )
    rows = table[table["unit"].isna() | (table["unit"] == "")]
    names = label_names(rows)
    figure, axes = new_figure(2.9, 1, len(names), width=min(7.0, 4.4 * len(names)))
    parts, spots = [], []
    for axis, name in zip(axes[0], names, strict=True):
        row = rows[rows[LABEL] == name].iloc[0]
        cells = whole(data.treated)
        score, _ = polarisation_score(cells, data.settings)
        part = pd.DataFrame(
            {
                "uptake": as_number(cells[str(row["readout"])]),
                "score": score,
                "unit": data.unit_names(cells).to_numpy(object),
                LABEL: name,
            },
            index=cells.index,
        ).dropna()
        for k, (_, own) in enumerate(part.groupby("unit", sort=True)):
            style = {"c": COLOURS[k % len(COLOURS)], "marker": MARKERS[k % len(MARKERS)]}
            axis.scatter(own["uptake"], own["score"], s=7, alpha=0.5, linewidths=0, **style)
        if np.isfinite(row["slope"]) and len(part):
            middle = part.groupby("unit")[["uptake", "score"]].mean().mean()
            grid = np.linspace(0, float(part["uptake"].quantile(0.99)), 50)
            for side, alpha in (("ci_low", 0.15), ("ci_high", 0.15)):
                if np.isfinite(row[side]):
                    axis.fill_between(
                        grid,
                        middle["score"] + row["slope"] * (grid - middle["uptake"]),
                        middle["score"] + row[side] * (grid - middle["uptake"]),
                        color=INK,
                        alpha=alpha,
                        linewidth=0,
                    )
            axis.plot(
                grid, middle["score"] + row["slope"] * (grid - middle["uptake"]), color=INK, linewidth=1.5
            )
        readout = str(row["readout"]).removesuffix(f"_{name}") if name else str(row["readout"])
        axis.set(
            xlabel=f"{name + ': ' + named(readout) if name else label_of(readout)}", ylabel=str(row["score"])
        )
        x, y = (part[column].to_numpy(np.float64) for column in ("uptake", "score"))
        values = {axis.get_xlabel(): x, axis.get_ylabel(): y}
        spots.append(Spots(axis, x, y, part.index, values, slices=24))
        parts.append(part)
    caption = (
        "Every symbol is a cell (shape and colour: its replicate), up: more like the second phenotype. "
        "Line: the mean slope within replicates by the mixed model, with its 95 % interval."
    )
    return Drawn(figure, pd.concat(parts, ignore_index=True), caption, spots=tuple(spots))


def dose_response(data: ReportData) -> Drawn:
    """Draw the replicates' means over the dose with the fitted four-parameter logistic."""
    table = data.dose_response
    if table is None or table.empty:
        raise MissingData("no condition has several doses")
    fitted = table[np.isfinite(as_number(table["top"]))]
    if fitted.empty:
        raise MissingData(str(table.iloc[0]["note"]))
    from napari_tam.report.figures.curves import LEAST
    from napari_tam.uptake.logistic import logistic

    readouts = list(dict.fromkeys(fitted["readout"]))[:2]
    figure, axes = new_figure(2.9, 1, len(readouts))
    parts = []
    cells = data.cells[data.cells["dose"].notna()]
    for axis, readout in zip(axes[0], readouts, strict=True):
        rows = fitted[fitted["readout"] == readout].reset_index(drop=True)
        column = "positive" if readout == "positive_fraction" else readout
        least = float(as_number(cells.loc[cells["dose"] > 0, "dose"]).min())
        for k, row in rows.iterrows():
            number = int(str(k))
            colour = COLOURS[number % len(COLOURS)]
            own = cells[cells["condition"] == row["condition"]]
            own = own.assign(_value=as_number(own[column]), _unit=data.unit_names(own))
            means = own.groupby(["dose", "_unit"])["_value"].mean().reset_index()
            axis.scatter(
                means["dose"],
                means["_value"],
                s=14,
                c=colour,
                marker=MARKERS[number % len(MARKERS)],
                alpha=0.6,
            )
            name = plain(row["condition"])
            if np.isfinite(row["ec50"]):
                grid = np.geomspace(least / 3, float(own["dose"].max()), 200)
                curve = logistic(grid, row["ec50"], row["top"], row["bottom"], row["hill"])
                axis.plot(grid, curve, color=colour, linewidth=1.4, label=name)
                axis.axvline(row["ec50"], color=colour, linestyle="--", linewidth=1)
            else:
                joined = means.groupby("dose")["_value"].mean()
                axis.plot(joined.index, joined, color=colour, linewidth=1, label=f"{name} (no EC50)")
            parts.append(means.assign(condition=row["condition"], readout=readout))
        axis.set_xscale("symlog", linthresh=least, linscale=0.5)
        steps = np.unique(as_number(cells["dose"]))
        if LEAST <= len(steps) <= 8:
            axis.set_xticks(steps, [f"{x:g}" for x in steps])
            axis.minorticks_off()
        axis.set(xlabel="dose (unit of the layout)", ylabel=label_of(readout), ylim=(0, None), xlim=(0, None))
    axes[0, 0].legend(fontsize=SMALL, frameon=False, loc="upper left")
    caption = (
        "Means of replicates over the dose (0: controls without exosomes), and the four-parameter logistic; "
        "dashed: the dose of the half effect (EC50), where the doses tell it."
    )
    return Drawn(
        figure,
        pd.concat(parts, ignore_index=True).rename(columns={"_unit": "unit", "_value": "mean"}),
        caption,
    )
