"""Comparing conditions and phenotypes, with the replicate as the unit.

Cells of one well share its dose, its plating and its focus: with the cell as n, more than half of
the tests find an effect where there is none (Lord et al. 2020, J Cell Biol 219:e202001064). So the
cells of a replicate become one mean, and the means are tested.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_tam.columns import COMPARISON_COLUMNS, table_of_rows
from napari_tam.errors import InputError, nearest
from napari_tam.io.layout import without_exosomes
from napari_tam.uptake.fraction_tests import fraction_anova, fraction_test, paired_fraction_test
from napari_tam.uptake.group_tests import (
    LEAST_UNITS,
    Groups,
    anova,
    holm,
    paired_test,
    tukey_test,
    welch_test,
)
from napari_tam.uptake.mixed_model import mixed_test
from napari_tam.uptake.replicates import (
    KEYS,
    is_share,
    readouts_of,
    unit_names,
    unit_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

    from napari_tam.settings import Settings


#: Where doses and times were put together.
_OVER_ALL = " over all"

_Row = dict[str, Any]


def compare(cells: pd.DataFrame, table: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Return comparisons.csv: groups against one another, and phenotypes within and across them.

    Parameters
    ----------
    cells
        As for `replicates.replicate_table`; the mixed model takes them.
    table
        What `replicates.replicate_table` returned.
    settings
        The group comparison is used.
    """
    rows: list[_Row] = []
    unit = unit_of(cells, settings)
    use = table[~without_exosomes(table["control_role"]) & (table["condition"] != "")]
    use = use[(use["cells"] >= settings.comparison_min_cells) & (use["unit"] != "")]
    everyone = use[use["phenotype"] == ""]
    apart = ", ".join(sorted(set(table["control_role"][without_exosomes(table["control_role"])])))
    for readout in readouts_of(cells, settings):
        if not np.isfinite(everyone[readout].to_numpy(float)).any():
            why = "no cell was called positive or negative" if is_share(readout) else "it has no values"
            rows.append(_untested(readout, "", f"not tested: {why}" if len(everyone) else _nothing(table)))
            continue
        for row in _between(everyone, readout, unit, cells, settings):
            alone = apart and row.get("note", "").startswith(_ALONE)
            rows.append(
                {**row, "note": f"{row['note']}; wells with the role {apart} are no group"} if alone else row
            )
        rows += _phenotypes(use, readout, unit)
    _correct(rows)
    blank: _Row = {column.name: _BLANK[column.kind] for column in COMPARISON_COLUMNS}
    return table_of_rows(COMPARISON_COLUMNS, [{**blank, "unit": unit, **row} for row in rows])


_ALONE = "not tested: one"
_BLANK: dict[str, Any] = {"text": "", "number": float("nan"), "integer": 0, "flag": False}


def _nothing(table: pd.DataFrame) -> str:
    if table.empty:
        return "not tested: no layout names a condition"
    return "not tested: no replicate of a treated condition has enough cells"


def _untested(readout: str, comparison: str, note: str) -> _Row:
    return {"readout": readout, "comparison": comparison, "note": note}


def _strata(table: pd.DataFrame, between: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Split rows by what else differs (condition, dose, time); the text names what does."""
    others = [name for name in ("condition", "dose", "time") if name != between and table[name].nunique() > 1]
    if not others:
        yield "", table
        return
    for values, part in table.groupby(others, sort=True, dropna=False):
        named = [
            str(value) if name == "condition" else f"{name} {value:g}"
            for name, value in zip(others, values, strict=True)
        ]
        yield " at " + ", ".join(named), part


def _between(
    table: pd.DataFrame, readout: str, unit: str, cells: pd.DataFrame, settings: Settings
) -> Iterator[_Row]:
    """Compare the values of a layout column."""
    between = settings.comparison_between
    every = _Names(table[between])
    reference = settings.comparison_reference
    if reference and reference not in every.texts:
        raise InputError(
            f"there is no {between} '{reference}'{nearest(reference, every.texts)}", where="--reference"
        )
    if len(every.texts) < 2:
        why = (
            f"{_ALONE} {between} only ({every.texts[0]})"
            if every.texts
            else f"not tested: no {between} is named"
        )
        yield _untested(readout, "", why)
        return
    places = list(_strata(table, between))
    if len(places) > 1:
        # one value per unit: the mean over what all groups have (dose and time)
        places.insert(0, (_OVER_ALL, _common(places, between)))
    for place, part in places:
        names = _Names(part[between])
        parts = {text: part[names.of(part[between]) == text] for text in names.texts}
        groups = {text: _units(rows, readout) for text, rows in parts.items()}
        groups = {text: values for text, values in groups.items() if len(values)}
        cells_of = {text: _cells_behind(parts[text], readout) for text in groups}
        if len(groups) < 2:
            continue
        order = sorted(groups, key=lambda text: (text != reference, names.texts.index(text)))
        pairs = [(a, b) for a, b in combinations(order, 2) if not reference or a == reference]
        if len(order) > 2:
            yield {
                "readout": readout,
                "comparison": f"all {len(order)} groups of {between}{place}",
                "family": f"{between} in general" if place != _OVER_ALL else f"{between} over all",
                **_anova(readout, [groups[name] for name in order], [cells_of[name] for name in order]),
            }
        joint = settings.comparison_correction == "tukey" and len(order) > 2
        for a, b in pairs:
            both = Groups(a, b, groups[a], groups[b], cells_of[a], cells_of[b])
            paired, broken = _is_paired(part, both, unit, settings)
            row: _Row
            if broken:
                row = both.untested(broken)
            elif is_share(readout):
                row = (
                    paired_fraction_test(both)
                    if paired
                    else fraction_test(both, pairs=len(pairs) if joint else 1)
                )
            elif settings.comparison_mixed:
                row = mixed_test(
                    both, _cells_of(cells, part, unit, between, names, (a, b)), readout, paired=paired
                )
            elif paired:
                row = paired_test(both)
            elif joint:
                row = tukey_test(both, [groups[name] for name in order], order.index(a), order.index(b))
            else:
                row = welch_test(both)
            yield {
                "readout": readout,
                "comparison": f"{b} - {a}{place}",
                "family": _family(between, place, f"{b} - {a}" if joint else ""),
                **row,
            }


def _common(places: Sequence[tuple[str, pd.DataFrame]], between: str) -> pd.DataFrame:
    """Return the rows of the doses and times that all groups have, or else all rows."""
    import pandas as pd

    groups = [set(_Names(part[between]).texts) for _, part in places]
    every = set().union(*groups)
    full = [part for (_, part), here in zip(places, groups, strict=True) if here == every]
    return pd.concat(full or [part for _, part in places])


def _family(between: str, place: str, pair: str) -> str:
    """Name the tests that are corrected together: over all, or at each dose and time."""
    what = f"readouts of {pair}" if pair else f"pairs of {between}"
    return f"{what} over all" if place == _OVER_ALL else f"{what}{place if pair else ''}"


class _Names:
    """The values of a column as texts, in order: numbers by size."""

    def __init__(self, values: pd.Series[Any]) -> None:
        self._numbers = values.dtype.kind == "f"
        known = values.dropna() if self._numbers else values[values != ""]
        self.texts = [self._text(value) for value in sorted(set(known))]

    def _text(self, value: Any) -> str:
        return f"{value:g}" if self._numbers else str(value)

    def of(self, values: pd.Series[Any]) -> pd.Series[str]:
        return values.map(self._text)


def _units(table: pd.DataFrame, readout: str) -> pd.Series[float]:
    """Return one value per unit: the mean of its replicates."""
    return table.dropna(subset=[readout]).groupby("unit", sort=True)[readout].mean()


def _cells_behind(table: pd.DataFrame, readout: str) -> pd.Series[float]:
    rows = table.dropna(subset=[readout])
    return _counts_as(rows["cells"], rows["unit"])


def _counts_as(cells: pd.Series[Any], unit: pd.Series[str]) -> pd.Series[float]:
    """Return for every unit how many cells its mean counts as: of r replicates, r² / Σ 1/cells."""
    inverse = (1 / cells.astype(float)).groupby(unit, sort=True)
    return (inverse.count() ** 2 / inverse.sum()).astype(float)


def _cells(phenotype: str) -> str:
    return f"cells of {phenotype}"


def _anova(readout: str, values: Sequence[pd.Series[float]], cells: Sequence[pd.Series[float]]) -> _Row:
    if not is_share(readout):
        return anova(values)
    groups = zip(values, cells, strict=True)
    return fraction_anova([(each.to_numpy(float), many[each.index].to_numpy(float)) for each, many in groups])


def _is_paired(table: pd.DataFrame, both: Groups, unit: str, settings: Settings) -> tuple[bool, str]:
    """Whether the units of two groups are pairs; and why they cannot be where it was asked for."""
    wanted = settings.comparison_paired_by
    if wanted == "none":
        return False, ""
    same = set(both.values_a.index) == set(both.values_b.index)
    if wanted == "auto":
        return unit == "donor" and same, ""
    if wanted != unit:
        if not (table[wanted] != "").all():
            return False, f"not tested: the layout does not name the {wanted} of every well"
        return False, f"not tested: paired by {wanted}, but the unit is the {unit} (see comparison_unit)"
    shared = set(both.values_a.index) & set(both.values_b.index)
    if len(shared) < LEAST_UNITS:
        return False, f"not tested: only {len(shared)} {wanted}s are in both groups (3 are needed)"
    return True, ""


def _cells_of(
    cells: pd.DataFrame, table: pd.DataFrame, unit: str, between: str, names: _Names, pair: tuple[str, str]
) -> pd.DataFrame:
    """Return the cells behind some rows of replicates, with their unit and group (A or B)."""
    keys = [*KEYS, "unit"]
    here = cells.assign(unit=unit_names(cells, unit)).merge(table[keys], on=keys, how="inner")
    text = names.of(here[between])
    here = here[text.isin(pair)]
    return here.assign(group=text[here.index].map({pair[0]: "A", pair[1]: "B"}))


def _phenotypes(table: pd.DataFrame, readout: str, unit: str) -> Iterator[_Row]:
    """Compare phenotypes: in each condition, and across all; paired, as each unit has both."""
    classes = [name for name in sorted(set(table["phenotype"])) if name]
    parts = [("within " + place.removeprefix(" at "), part) for place, part in _strata(table, "phenotype")]
    whole = "across all conditions" if len(parts) > 1 else "in all wells"
    parts = [(whole, table), *(parts if len(parts) > 1 else [])]
    for a, b in combinations(classes, 2):
        for place, part in parts:
            found = _balanced(part, a, b, readout)
            if not len(found):
                continue
            values = found.groupby("unit", sort=True)[[a, b]].mean()
            both = Groups(
                a, b, values[a], values[b], *(_counts_as(found[_cells(x)], found["unit"]) for x in (a, b))
            )
            row = paired_fraction_test(both) if is_share(readout) else paired_test(both)
            yield {
                "readout": readout,
                "comparison": f"{b} - {a} {place}",
                "family": "phenotypes across" if place == whole else "phenotypes within",
                **row,
            }


def _balanced(table: pd.DataFrame, a: str, b: str, readout: str) -> pd.DataFrame:
    """Return the replicates that have both phenotypes: a column of values and one of cells for each."""
    keys = [*KEYS, "unit"]
    both = [table[table["phenotype"] == name] for name in (a, b)]
    left, right = (
        part[[*keys, readout, "cells"]].rename(columns={readout: name, "cells": _cells(name)})
        for part, name in zip(both, (a, b), strict=True)
    )
    return left.merge(right, on=keys, how="inner").dropna(subset=[a, b])


def _correct(rows: Sequence[_Row]) -> None:
    """Add p_adjusted: Holm over the tests of one family (all readouts)."""
    families: dict[str, list[_Row]] = {}
    for row in rows:
        family = row.pop("family", "")
        if np.isfinite(row.get("p", np.nan)):
            families.setdefault(family, []).append(row)
    for family, members in families.items():
        for row, value in zip(members, holm([row["p"] for row in members]), strict=True):
            joint = "Tukey over the pairs, " if row["test"].startswith("Tukey") else ""
            joint = "Bonferroni over the pairs, " if "pairs together" in row.get("note", "") else joint
            row["p_adjusted"] = value
            row["correction"] = f"{joint}Holm over {len(members)} tests ({family})"
