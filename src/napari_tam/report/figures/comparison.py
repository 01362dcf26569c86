"""The differences between conditions with their intervals."""

from __future__ import annotations

import numpy as np
import pandas as pd

from napari_tam.report.data import ReportData, as_number
from napari_tam.report.readouts import named
from napari_tam.report.style import COLOURS, GREY, INK, LABEL, SMALL, Drawn, MissingData, new_figure, plain

#: Comparisons drawn of one readout, and readouts drawn. The table has all.
MOST, MOST_READOUTS = 14, 4


def comparisons(data: ReportData) -> Drawn:
    """Draw the difference of every comparison, 0 marked, one panel per readout."""
    table = data.comparisons
    if table is None or table.empty:
        raise MissingData("no conditions were compared (there is no comparisons.csv)")
    numbers = ["difference", "ci_low", "ci_high", "p_adjusted", "n_a", "n_b"]
    table = table.assign(**{name: as_number(table[name]) for name in numbers})
    tested = table[table["difference"].notna() & table["ci_low"].notna()]
    if tested.empty:
        notes = [str(note) for note in table["note"].dropna().unique() if note]
        raise MissingData("no test was made" + (f" ({notes[0].rstrip('.')})" if notes else ""))
    readouts = list(dict.fromkeys(tested["readout"]))[:MOST_READOUTS]
    rows = [tested[tested["readout"] == name].head(MOST) for name in readouts]
    heights = [0.26 * len(part) + 0.55 for part in rows]
    figure, axes = new_figure(sum(heights) + 0.1, len(rows), 1, height_ratios=heights)
    for axis, readout, part in zip(axes[:, 0], readouts, rows, strict=True):
        places = np.arange(len(part))[::-1]
        clear = (part["p_adjusted"] < 0.05).to_numpy()
        axis.axvline(0, color=GREY, linewidth=0.9)
        for y, (_, row), sure in zip(places, part.iterrows(), clear, strict=True):
            colour = COLOURS[0] if sure else GREY
            axis.plot([row["ci_low"], row["ci_high"]], [y, y], color=colour, linewidth=1.6)
            axis.plot(row["difference"], y, "o" if sure else "s", color=colour, markersize=4.5)
            axis.annotate(
                f"{p_text(row['p_adjusted'])}  (n {row['n_a']:.0f}, {row['n_b']:.0f})",
                (1.01, y),
                xycoords=("axes fraction", "data"),
                va="center",
                fontsize=SMALL,
                color=INK,
                annotation_clip=False,
            )
        axis.set_yticks(places, [plain(name, 40) for name in part["comparison"]], fontsize=SMALL)
        axis.set_ylim(-0.6, len(part) - 0.4)
        axis.set_xlabel(f"difference in {named(readout)}", fontsize=LABEL)
        axis.spines["left"].set_visible(False)
        axis.tick_params(axis="y", length=0)
    caption = (
        "Differences of the replicates' means (second group minus first, as named) with 95 % intervals; p "
        "adjusted for "
        "the number of comparisons; n: replicates. Blue discs: p below 0.05. Grey squares: not shown to "
        "differ, which is not the same as equal."
    )
    if any(len(tested[tested["readout"] == name]) > MOST for name in readouts) or (
        tested["readout"].nunique() > len(readouts)
    ):
        caption += " The first comparisons are drawn; comparisons.csv has all."
    return Drawn(figure, pd.DataFrame(table), caption)


def p_text(p: float) -> str:
    """Return a p value as a paper states it."""
    if not np.isfinite(p):
        return "no test"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
