"""The threshold that cells of a control set: most of them are below it."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

#: With the rule mean_sd, fewer control cells than this make the threshold uncertain.
ENOUGH = 30


def threshold_from_control(
    values: npt.NDArray[np.float64],
    role: str,
    rule: Literal["quantile", "mean_sd"],
    share: float,
    factor: float,
    failure: str,
) -> dict[str, Any]:
    """Return threshold, rule and note: what a control says about its plate.

    Parameters
    ----------
    values
        Readout of the control's cells (finite).
    role
        What the control is called.
    rule, share, factor
        A quantile of the cells (`share`), or their mean + `factor` × SD.
    failure
        What follows if there is no threshold, for the note.

    Returns
    -------
    dict
        ``threshold`` (NaN if none can be learnt), ``rule`` in words, and ``note``: why there is none, or what
        to beware of; or empty.
    """
    if not len(values):
        return {"threshold": np.nan, "rule": "", "note": f"{failure}: the {role} control has no cells"}
    if rule == "quantile":
        found = {"threshold": float(np.quantile(values, share)), "rule": f"quantile {share:g} of {role}"}
        needed = int(np.ceil(round(1 / min(share, 1 - share), 6)))
    else:
        if len(values) < 2:
            return {"threshold": np.nan, "rule": "", "note": f"{failure}: one cell of {role} has no SD"}
        limit = float(values.mean() + factor * values.std(ddof=1))
        found = {"threshold": limit, "rule": f"mean + {factor:g} SD of {role}"}
        needed = ENOUGH
    note = ""
    if len(values) < needed:
        note = f"only {len(values)} control cells: the threshold is uncertain ({needed} or more are better)"
    return found | {"note": note}
