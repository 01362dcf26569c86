"""dose_response.csv: the dose at which uptake is half of its plateau, condition by condition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_tam.columns import DOSE_RESPONSE_COLUMNS, table_of_rows
from napari_tam.io.layout import NO_EXOSOMES
from napari_tam.uptake.logistic import PARAMETERS, LogisticFit, Wells, fit_logistic
from napari_tam.uptake.replicates import column_of, is_share, readouts_of, unit_names, unit_of

if TYPE_CHECKING:
    import pandas as pd

    from napari_tam.settings import Settings

#: Fewest doses above 0 that four parameters are fitted to.
LEAST_DOSES = 4
#: The highest dose reaches a plateau if uptake there is at least this share of the fitted rise.
PLATEAU = 0.8


def dose_responses(cells: pd.DataFrame, settings: Settings) -> pd.DataFrame | None:
    """Return dose_response.csv, or None where no condition has several doses.

    Parameters
    ----------
    cells
        The analysed cells, with the columns of layout and decisions. Wells of dose 0, controls without
        exosomes among them, say what uptake is without exosomes.
    settings
        The group comparison is used.
    """
    treated = cells[(cells["condition"] != "") & cells["dose"].notna()]
    several = treated[treated["dose"] > 0].groupby("condition")["dose"].nunique()
    names = sorted(several.index[several > 1])
    if not names:
        return None
    treated = treated.assign(unit=unit_names(treated, unit_of(cells, settings)))
    rows = []
    for condition in names:
        here = treated[treated["condition"] == condition]
        # a control that was given none, whatever its layout says about a dose
        here = here.assign(dose=here["dose"].where(~here["control_role"].isin(NO_EXOSOMES), 0.0))
        for readout in readouts_of(cells, settings):
            rows.append({"condition": condition, "readout": readout, **dose_response(here, readout)})
    blank = {column.name: np.nan for column in DOSE_RESPONSE_COLUMNS if column.kind == "number"}
    return table_of_rows(DOSE_RESPONSE_COLUMNS, [blank | row for row in rows])


def dose_response(cells: pd.DataFrame, readout: str) -> dict[str, Any]:
    """Return a row of dose_response.csv without its keys, for the cells of one condition.

    Parameters
    ----------
    cells
        `dose`, `unit`, and the readout (for positive_fraction: `positive`).
    readout
        A column of cells.csv, or positive_fraction.
    """
    wells, doses = _wells(cells, readout)
    facts: dict[str, Any] = {"doses": doses, "units": len(set(wells.unit.tolist()))}
    if doses < LEAST_DOSES:
        return facts | {"note": f"no fit: fewer than {LEAST_DOSES} doses above 0 ({doses})"}
    needed = len(PARAMETERS) + (int(wells.unit.max()) if wells.has_levels else 0)
    if len(wells.value) <= needed:
        few = f"{len(wells.value)} wells for {needed} parameters"
        return facts | {"note": f"no fit: too few replicates ({few})"}
    if np.ptp(wells.value) <= 0:
        return facts | {"note": "no fit: uptake is the same in all wells"}
    fit = fit_logistic(wells)
    if not fit.p < 0.05:
        return facts | {"note": f"no EC50: uptake does not change with the dose (p = {fit.p:.2g})"}
    for name in PARAMETERS:
        facts[name] = fit.values[name]
        facts[f"{name}_low"], facts[f"{name}_high"] = fit.limits[name]
    return facts | _judged(fit, wells.dose)


def _judged(fit: LogisticFit, dose: Any) -> dict[str, Any]:
    """Say what the doses tell: where they reach no plateau, and withhold an EC50 beyond them."""
    lowest, highest = float(dose[dose > 0].min()), float(dose.max())
    values = fit.values
    if values["top"] <= values["bottom"]:
        return dict.fromkeys(("ec50", "ec50_low", "ec50_high"), np.nan) | {
            "note": "no EC50: uptake falls with the dose"
        }
    rise = values["top"] - values["bottom"]
    reached = float((fit.curve(np.array([highest]))[0] - values["bottom"]) / rise)
    low, high = fit.limits["ec50"]
    if not high <= highest:
        least = f"; it is above {low:.3g} (95 %)" if np.isfinite(low) else ""
        note = (
            f"no EC50: the doses do not reach a plateau, it may lie beyond the highest ({highest:g}){least}"
        )
        return {"ec50": np.nan, "ec50_high": np.nan, "note": note}
    if not low >= lowest:
        note = f"no EC50: it may lie below the lowest dose ({lowest:g}); it is below {high:.3g} (95 %)"
        return {"ec50": np.nan, "ec50_low": np.nan, "note": note}
    if reached < PLATEAU:
        told = f"at the highest ({highest:g}) uptake is {reached:.0%} of the fitted rise"
        note = f"the doses do not reach a plateau: {told}, so EC50 and top hang on the curve's form"
        return {"note": note}
    return {"note": ""}


def _wells(cells: pd.DataFrame, readout: str) -> tuple[Wells, int]:
    """Return the means of every replicate and dose, and the number of doses above 0."""
    import pandas as pd

    values = pd.to_numeric(cells[column_of(readout)].astype("Float64"), errors="coerce")
    table = pd.DataFrame(
        {
            "dose": cells["dose"].to_numpy(float),
            "unit": cells["unit"].to_numpy(object),
            "value": values.to_numpy(float, na_value=np.nan),
        }
    ).dropna()
    means = table.groupby(["unit", "dose"], sort=True)["value"].agg(["mean", "var", "count"]).reset_index()
    if is_share(readout):
        # two more of each: 0 and 1 are not known without error either (Agresti & Coull 1998, Am Stat 52:119)
        share = (means["mean"] * means["count"] + 2) / (means["count"] + 4)
        variance = share * (1 - share) / (means["count"] + 4)
    else:
        variance = means["var"].fillna(0) / means["count"]
    unit = np.unique(means["unit"].astype(str), return_inverse=True)[1]
    wells = Wells(
        means["dose"].to_numpy(float),
        means["mean"].to_numpy(float),
        variance.to_numpy(float),
        unit.astype(np.int64),
        1.0 if is_share(readout) else np.inf,
    )
    return wells, int(means.loc[means["dose"] > 0, "dose"].nunique())
