"""Quality control of fields: checks with stated limits, and a score that can be recounted by hand.

A field's score is the number of checks that it fails; fields with equal scores are ordered by how
far they are beyond (or short of) the limits in all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_tam.columns import DOUBTFUL
from napari_tam.phenotype.classify import UNCERTAIN, UNLIKE
from napari_tam.report.data import ReportData, as_number, whole

if TYPE_CHECKING:
    from collections.abc import Callable

_Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Check:
    """One check of a field.

    Attributes
    ----------
    name
        Column of the table.
    limit
        A field fails above it (below it if `below`).
    text
        The reason given for a failed field; ``{value}`` is its value.
    rule
        What the check says, for the report.
    percent
        The value is a share, shown in per cent.
    below
        Small values are bad.
    """

    name: str
    limit: float
    text: str
    rule: str
    percent: bool = True
    below: bool = False

    def failed(self, values: _Values) -> npt.NDArray[np.bool_]:
        """Return which values fail; missing ones do not."""
        return (values < self.limit) if self.below else (values > self.limit)

    def excess(self, values: _Values) -> _Values:
        """Return how near to the limit values are: 1 at the limit, more beyond, missing 0."""
        ratio = self.limit / np.maximum(values, 1e-9) if self.below else values / self.limit
        return np.asarray(np.minimum(np.nan_to_num(ratio), 5.0))

    def sentence(self, value: float) -> str:
        """Return the reason why a field with this value fails."""
        return self.text.format(value=f"{100 * value:.2g} %" if self.percent else f"{value:.2g}")


CHECKS = (
    Check(
        "cells_relative",
        1 / 3,
        "few cells ({value} of the usual number)",
        "few cells: under a third of the run's median number",
        below=True,
    ),
    Check(
        "focus_relative",
        0.5,
        "out of focus (sharpness {value} of the usual)",
        "out of focus: the median focus_score of its cells under half of the run's median",
        below=True,
    ),
    Check(
        "saturated",
        0.001,
        "saturated ({value} of the exosome pixels)",
        "saturated: over 0.1 % of the exosome channel's pixels clipped",
    ),
    Check(
        "border",
        0.5,
        "{value} of the cells cut by the border",
        "cut cells: over half of its cells touch the image's border",
    ),
    Check(
        "uncertain",
        0.5,
        "{value} of the whole cells of uncertain phenotype",
        "uncertain: over half of its whole cells have no certain phenotype",
    ),
    Check(
        "unlike",
        0.2,
        "{value} of the cells unlike the model's training cells",
        "unlike training: over 20 % of its whole cells are unlike what the phenotype model knows",
    ),
    Check(
        "outside",
        0.5,
        "{value} of the puncta outside cells",
        "puncta outside: over half of its puncta (at least 20) lie in no cell, so cells may be missed",
    ),
    Check(
        "without_nucleus",
        0.3,
        "{value} of the cells without a nucleus",
        "without nucleus: over 30 % of its whole cells have none, so cells may be split or debris",
    ),
    Check(
        "many_nuclei",
        0.3,
        "{value} of the cells with several nuclei",
        "several nuclei: over 30 % of its cells have more than one, so cells may be merged",
    ),
    Check(
        "doubtful",
        0.3,
        "{value} of the cells have doubtful outlines",
        f"doubtful outlines: over 30 % of its whole cells have a segmentation_confidence under {DOUBTFUL}",
    ),
    Check(
        "covered",
        0.9,
        "{value} of the field covered by cells",
        "crowded: cells cover over 90 % of the field, so the background is uncertain",
    ),
)


def score_fields(data: ReportData) -> pd.DataFrame:
    """Score every analysed field.

    Returns
    -------
    pandas.DataFrame
        One row per field, the worst first: image, failed_checks, reasons, nearness (the sum of
        `Check.excess`), and the value of every check.
    """
    images = data.analysed.drop_duplicates("image").reset_index(drop=True)
    table = pd.DataFrame({"image": images["image"]})
    by_image = _grouped(data)
    for check in CHECKS:
        table[check.name] = _value(check.name, data, images, by_image)
    if table.empty:
        return table.assign(failed_checks=[], reasons=[], nearness=[])
    values = {check.name: table[check.name].to_numpy(np.float64) for check in CHECKS}
    failed = np.array([check.failed(values[check.name]) for check in CHECKS])
    reasons = [
        "; ".join(
            check.sentence(float(values[check.name][k]))
            for check, bad in zip(CHECKS, failed, strict=True)
            if bad[k]
        )
        for k in range(len(table))
    ]
    nearness = sum(check.excess(values[check.name]) for check in CHECKS)
    table.insert(1, "failed_checks", failed.sum(axis=0))
    table.insert(2, "reasons", reasons)
    table.insert(3, "nearness", np.round(nearness, 3))
    return table.sort_values(["failed_checks", "nearness"], ascending=False, kind="stable").reset_index(
        drop=True
    )


def _grouped(
    data: ReportData,
) -> Callable[[str, Callable[[pd.DataFrame], pd.Series[bool]]], pd.Series[float]]:
    inner = whole(data.cells)

    def share(column: str, of: Callable[[pd.DataFrame], pd.Series[bool]]) -> pd.Series[float]:
        if column not in inner:
            return pd.Series(dtype=float)
        flags = pd.Series(as_number(of(inner)), index=inner.index)
        return flags.groupby(inner["image"]).mean()

    return share


def _value(
    name: str,
    data: ReportData,
    images: pd.DataFrame,
    share: Callable[[str, Callable[[pd.DataFrame], pd.Series[bool]]], pd.Series[float]],
) -> _Values:
    """Return one check's value for every image, NaN where it cannot be told."""

    def column(key: str) -> _Values:
        return as_number(images[key]) if key in images else np.full(len(images), np.nan)

    def of_cells(values: pd.Series[float]) -> _Values:
        return images["image"].map(values).to_numpy(np.float64, na_value=np.nan)

    with np.errstate(divide="ignore", invalid="ignore"):
        match name:
            case "cells_relative":
                return _relative(column("cells"))
            case "focus_relative":
                return _relative(column("focus_score"))
            case "saturated":
                return column("saturated_fraction")
            case "border":
                return column("cells_touching_border") / column("cells")
            case "uncertain":
                return of_cells(share("phenotype", lambda t: t["phenotype"] == UNCERTAIN))
            case "unlike":
                reason = "phenotype_reason"
                return of_cells(
                    share(reason, lambda t: t[reason].fillna("").str.contains(UNLIKE, regex=False))
                )
            case "outside":
                number = column("puncta")
                return np.where(number >= 20, column("puncta_outside") / number, np.nan)
            case "without_nucleus":
                return of_cells(share("no_nucleus", lambda t: t["no_nucleus"]))
            case "many_nuclei":
                return of_cells(share("many_nuclei", lambda t: t["many_nuclei"]))
            case "doubtful":
                known = "segmentation_confidence"
                return of_cells(share(known, lambda t: t[known].lt(DOUBTFUL).where(t[known].notna())))
            case _:
                return column("cell_area_fraction")


def _relative(values: _Values) -> _Values:
    """Return values over their median; NaN where there is none."""
    known = values[np.isfinite(values)]
    return values / np.median(known) if known.size and np.median(known) > 0 else np.full(len(values), np.nan)
