"""Pictures about phenotypes: example cells, one cell's explanation, a model's validation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_tam.columns import class_column
from napari_tam.files import replacing
from napari_tam.phenotype.classify import UNCERTAIN
from napari_tam.phenotype.colours import CLASS_COLOURS, classes_of, phenotype_colours

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from napari_tam.train.explain import Explanation

#: Example cells of each class.
EXAMPLES = 10


def choose_examples(table: pd.DataFrame, number: int = EXAMPLES) -> dict[str, pd.DataFrame]:
    """Choose cells of each class and of uncertain, evenly from the most to the least probable."""
    classes = classes_of(table)
    columns = [f"p_{class_column(name)}" for name in classes]
    best = table.assign(probability=table[columns].max(axis=1))
    chosen = {}
    for name in (*classes, UNCERTAIN):
        cells = best[best["phenotype"] == name].sort_values("probability", ascending=False, kind="stable")
        at = np.unique(np.linspace(0, len(cells) - 1, min(number, len(cells))).round().astype(int))
        chosen[name] = cells.iloc[at]
    return chosen


def draw_examples(
    chosen: dict[str, pd.DataFrame], crops: dict[str, npt.NDArray[np.float32]], path: Path
) -> None:
    """Draw example cells, a row per class, sorted by probability.

    Parameters
    ----------
    chosen
        See `choose_examples`.
    crops
        The crops of the same cells, in the same order.
    path
        The PNG file.
    """
    from matplotlib.figure import Figure

    rows = [name for name, cells in chosen.items() if len(cells)]
    colours = phenotype_colours([name for name in chosen if name != UNCERTAIN])
    figure = Figure(figsize=(1.1 * EXAMPLES, 1.45 * max(1, len(rows)) + 0.3), layout="constrained", dpi=120)
    if rows:
        axes = figure.subplots(len(rows), EXAMPLES, squeeze=False)
        for line, name in zip(axes, rows, strict=True):
            for k, axis in enumerate(line):
                axis.set_axis_off()
                if k < len(crops[name]):
                    draw_crop(axis, crops[name][k], colours[name])
                    row = chosen[name].iloc[k]
                    why = f"\n{row['phenotype_reason']}" if name == UNCERTAIN else ""
                    axis.set_title(
                        f"{row['image']} {row['label']}\np {row['probability']:.2f}{why}", fontsize=5
                    )
            line[0].text(-0.1, 0.5, name, transform=line[0].transAxes, rotation=90, va="center", ha="right")
    _save(figure, path)


def draw_crop(axis: Axes, crop: npt.NDArray[Any], colour: str) -> None:
    """Draw the stain of a crop with the outlines of cell and nucleus."""
    axis.imshow(crop[1], cmap="gray", vmin=-2, vmax=3)
    for plane, style in ((crop[0], "-"), (crop[2], ":")):
        if (plane > 0.5).any():
            axis.contour(plane, [0.5], colors=[colour], linewidths=1, linestyles=style)


def draw_explanation(found: Explanation, crop: npt.NDArray[Any], title: str, path: Path) -> None:
    """Draw the cell, where its picture pushes, and how far each part pushes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), layout="constrained", dpi=120)
    cell, where, bars = figure.subplots(1, 3, width_ratios=(1, 1, 1.6))
    draw_crop(cell, crop, CLASS_COLOURS[0])
    cell.set_title(title, fontsize=8)
    limit = float(np.abs(found.map).max()) or 1.0
    where.imshow(found.map, cmap="PuOr", vmin=-limit, vmax=limit)
    where.set_title(f"picture: purple for {found.class_name}, orange against", fontsize=7)
    for axis in (cell, where):
        axis.set_axis_off()
    pushes = found.pushes[found.pushes["kind"] != "integration"].iloc[::-1]
    bars.barh(
        pushes["part"], pushes["push"], color=["#5E3C99" if p > 0 else "#E66101" for p in pushes["push"]]
    )
    bars.axvline(0, color="black", linewidth=0.8)
    bars.set_xlabel(f"push towards {found.class_name} (log odds)", fontsize=8)
    bars.set_title(
        f"p {found.probability:.2f}: log odds {found.start:+.1f} (typical cell) → {found.log_odds:+.1f}",
        fontsize=8,
    )
    bars.tick_params(labelsize=7)
    _save(figure, path)


def draw_validation(report: dict[str, Any], path: Path) -> None:
    """Draw the reliability diagram, the confusion matrix and the learning curve of a training."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.2), layout="constrained", dpi=120)
    left, middle, right = figure.subplots(1, 3)
    bins = report["calibration"]["bins"]
    left.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    left.plot(
        [b["mean_probability"] for b in bins], [b["share_right"] for b in bins], "o-", color=CLASS_COLOURS[4]
    )
    left.set(xlabel="probability of the called class", ylabel="share right", xlim=(0, 1.02), ylim=(0, 1.02))
    left.set_title(f"calibration error {report['calibration']['expected_error']:.3f}", fontsize=9)
    table = report["confusion"]
    counts = np.array(table["cells"])
    middle.imshow(counts / np.maximum(counts.sum(1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1)
    for (y, x), n in np.ndenumerate(counts):
        middle.text(x, y, str(n), ha="center", va="center", color="#D55E00")
    ticks = range(len(table["classes"]))
    middle.set(xticks=ticks, yticks=ticks, xlabel="called", ylabel="true")
    middle.set_xticklabels(table["classes"])
    middle.set_yticklabels(table["classes"])
    curve = report["learning_curve"]
    right.plot([p["share_of_training_cells"] for p in curve], [p["balanced_accuracy"] for p in curve], "o-")
    right.set(xlabel="share of the training cells", ylabel="balanced accuracy", xlim=(0, 1.05))
    right.set_title("learning curve", fontsize=9)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    with replacing(path) as part:
        figure.savefig(part, format="png")
