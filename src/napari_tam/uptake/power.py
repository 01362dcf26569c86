"""How many replicates and cells show an effect: by a pilot's spread, with the test that is made of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_tam.columns import POWER_COLUMNS, table_of_rows
from napari_tam.errors import InputError
from napari_tam.io.layout import NO_EXOSOMES
from napari_tam.uptake.fraction_tests import fraction_test
from napari_tam.uptake.group_tests import LEAST_UNITS, Groups
from napari_tam.uptake.replicates import column_of, is_share, unit_names, unit_of
from napari_tam.uptake.unequal_variances import welch_reach

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from napari_tam.settings import Settings

Floats = npt.NDArray[np.float64]

#: Experiments that are drawn for one figure, of means and of shares (whose test draws experiments itself).
DRAWN, DRAWN_OF_SHARES = 4000, 150
#: Replicates that are tried.
REPLICATES = (3, 4, 5, 6, 7, 8, 10, 12, 15, 20)
#: Cells of a replicate that are tried, besides those of the pilot.
CELLS = (10, 30, 100, 300)
#: The spread between replicates of which power_low is: in so many of 100 pilots it would be less.
_SURE = 0.8


@dataclass(frozen=True)
class Spread:
    """What a pilot says about a readout.

    Attributes
    ----------
    between, within
        SD between replicates (without what the number of cells adds) and between the cells of one, relative
        to the mean; of shares: SD of the share between replicates, and the share.
    freedom
        Degrees of freedom of `between`.
    cells
        Median number of cells of a replicate.
    paired
        Replicates are pairs: `between` is that of a replicate's conditions around its own level.
    share
        The readout is a share of cells.
    """

    between: float
    within: float
    freedom: int
    cells: int
    paired: bool = False
    share: bool = False

    @property
    def upper(self) -> float:
        """The spread between replicates that the true one exceeds in 20 of 100 pilots (chi-squared)."""
        from scipy import stats

        total = self.between**2 + (0.0 if self.share else self.within**2 / self.cells)
        if self.share:
            total += self.within * (1 - self.within) / self.cells
        most = total * self.freedom / float(stats.chi2.ppf(1 - _SURE, self.freedom))
        return float(np.sqrt(max(self.between**2 + most - total, self.between**2)))


def spread_of(cells: pd.DataFrame, readout: str, settings: Settings) -> Spread:
    """Return what a pilot says about a readout.

    Parameters
    ----------
    cells
        The analysed cells with the columns of the layout and `positive`.
    readout
        A number column of cells.csv, or positive_fraction.
    settings
        The group comparison says what a replicate is and whether they are pairs.

    Raises
    ------
    InputError
        If no condition has two replicates, or the readout has no values.
    """
    import pandas as pd

    unit = unit_of(cells, settings)
    values = pd.to_numeric(cells[column_of(readout)].astype("Float64"), errors="coerce").to_numpy(
        float, na_value=np.nan
    )
    table = pd.DataFrame({"unit": unit_names(cells, unit).to_numpy(object), "value": values})
    keys = ["condition", "dose", "time"]
    table = table.assign(**{key: cells[key].to_numpy() for key in keys})
    known = (~cells["control_role"].isin(NO_EXOSOMES)).to_numpy(bool) & (table["condition"] != "").to_numpy(
        bool
    )
    table = table[known & (table["unit"] != "").to_numpy(bool) & np.isfinite(values)]
    units = table.groupby([*keys, "unit"], dropna=False)["value"].agg(["mean", "var", "count"]).reset_index()
    units = units[units["count"] >= max(2, settings.comparison_min_cells)]
    groups = [part for _, part in units.groupby(keys, dropna=False) if len(part) >= 2]
    if not groups:
        raise InputError(
            f"no condition has two replicates with values of {readout}, so nothing says how much they differ",
            where="power",
            fix="name conditions and replicates in the layout ('napari-tam uptake RESULTS --layout FILE')",
        )
    use = pd.concat(groups, ignore_index=True)
    many = int(use["count"].median())
    if is_share(readout):
        return _of_shares(groups, many)
    number = len(groups)
    same = len({tuple(sorted(part["unit"])) for part in groups}) == 1
    wanted = settings.comparison_paired_by
    paired = number > 1 and same and (wanted == unit or (wanted == "auto" and unit == "donor"))
    means = use.groupby(keys, dropna=False)["mean"].transform("mean").to_numpy(float)
    if not (means > 0).all():
        raise InputError(f"{readout} has no values above 0", where="power", fix="choose another --readouts")
    relative = use["mean"].to_numpy(float) / means
    cv2 = float(((use["count"] - 1) * use["var"] / means**2).sum() / (use["count"] - 1).sum())
    freedom = len(use) - number
    left = relative - 1
    if paired:
        own = pd.Series(left).groupby(use["unit"].to_numpy()).transform("mean").to_numpy(float)
        left, freedom = left - own, (len(use) // number - 1) * (number - 1)
    total = float((left**2).sum()) / freedom
    between = max(total - cv2 * float((1 / use["count"]).mean()), 0.0)
    return Spread(float(np.sqrt(between)), float(np.sqrt(cv2)), freedom, many, paired)


def _of_shares(groups: Sequence[pd.DataFrame], many: int) -> Spread:
    freedom = sum(len(part) - 1 for part in groups)
    total = sum(float(((part["mean"] - part["mean"].mean()) ** 2).sum()) for part in groups) / freedom
    share = float(np.mean([part["mean"].mean() for part in groups]))
    counting = np.mean([float((part["mean"].mean() * (1 - part["mean"].mean()) / part["count"]).mean())
                        for part in groups])  # fmt: skip
    return Spread(float(np.sqrt(max(total - float(counting), 0.0))), share, freedom, many, share=True)


def power(spread: Spread, effect: float, replicates: int, cells: int, *, seed: int = 0) -> float:
    """Return how often an effect is found (p < 0.05, one test, not corrected for others).

    Experiments are drawn, with the pilot's spread in both groups, and tested as comparisons.csv would:
    Welch's t-test of the replicates' means (paired: the paired t-test; the linear mixed model finds as much);
    for shares `napari_tam.uptake.fraction_tests.fraction_test`.

    Parameters
    ----------
    spread
        What a pilot says.
    effect
        Ratio of the means of both groups; of shares: ratio of the odds.
    replicates, cells
        Replicates of each group, and cells of a replicate.
    seed
        Of the draws.
    """
    rng = np.random.default_rng([seed, replicates, cells])
    if replicates < LEAST_UNITS:
        return 0.0
    if spread.share:
        return _power_of_shares(rng, spread, effect, replicates, cells)
    from scipy import stats

    def group(level: float) -> Floats:
        sd = np.sqrt(np.log1p(spread.between**2))
        own = np.exp(rng.normal(-(sd**2) / 2, sd, (DRAWN, replicates)))
        counted = 1 + rng.normal(0, spread.within / np.sqrt(cells), (DRAWN, replicates))
        return np.asarray(level * own * counted)

    a, b = group(1.0), group(effect)
    if spread.paired:
        found = stats.ttest_1samp(b - a, 0.0, axis=1).pvalue
        return float((found < 0.05).mean())
    variances = a.var(axis=1, ddof=1), b.var(axis=1, ddof=1)
    error = np.sqrt((variances[0] + variances[1]) / replicates)
    reach = welch_reach((variances[0], replicates), (variances[1], replicates), 0.05)
    return float((np.abs(b.mean(axis=1) - a.mean(axis=1)) / error > reach).mean())


def _power_of_shares(
    rng: np.random.Generator, spread: Spread, effect: float, replicates: int, cells: int
) -> float:
    import pandas as pd

    odds = spread.within / max(1 - spread.within, 1e-9) * effect
    shares = (spread.within, odds / (1 + odds))
    many = pd.Series(np.full(replicates, float(cells)))
    found = 0
    for _ in range(DRAWN_OF_SHARES):
        groups: list[pd.Series[float]] = []
        for share in shares:
            size = share * (1 - share) / max(spread.between**2, 1e-9) - 1
            chance = rng.beta(share * size, (1 - share) * size, replicates) if 0 < size < 1e6 else share
            groups.append(pd.Series(rng.binomial(cells, chance, replicates) / cells))
        found += fraction_test(Groups("a", "b", groups[0], groups[1], many, many)).get("p", 1.0) < 0.05
    return found / DRAWN_OF_SHARES


def power_table(
    cells: pd.DataFrame, readouts: Sequence[str], effects: Sequence[float], settings: Settings
) -> tuple[pd.DataFrame, dict[str, Spread]]:
    """Return power.csv, and what the pilot says about every readout; raises as `spread_of`."""
    rows: list[dict[str, Any]] = []
    spreads = {}
    for readout in readouts:
        spread = spreads[readout] = spread_of(cells, readout, settings)
        larger = replace(spread, between=spread.upper)
        numbers = [spread.cells] if spread.share else sorted({*CELLS, spread.cells})
        for effect in effects:
            for number in numbers:
                for replicates in REPLICATES:
                    at = power(spread, effect, replicates, number)
                    rows.append(
                        {
                            "readout": readout,
                            "effect": effect,
                            "replicates": replicates,
                            "cells": number,
                            "power": at,
                            "power_low": power(larger, effect, replicates, number),
                            "between": spread.between,
                            "within": spread.within,
                            "pilot_freedom": spread.freedom,
                        }
                    )
                    if at > 0.99 and rows[-1]["power_low"] > 0.99:
                        break
    return table_of_rows(POWER_COLUMNS, rows), spreads


def enough(table: pd.DataFrame, wanted: float, column: str = "power") -> int | None:
    """Return the fewest replicates in rows of power.csv that reach a power; None: none of those tried."""
    reached = table[table[column] >= wanted]
    return int(reached["replicates"].min()) if len(reached) else None
