from __future__ import annotations

import numpy as np
import pytest

from napari_tam.columns import CELL_COLUMNS, PUNCTA_COLUMNS, SUMMARY_COLUMNS, Column, build_table

TABLES = {"cells": CELL_COLUMNS, "puncta": PUNCTA_COLUMNS, "summary": SUMMARY_COLUMNS}


@pytest.mark.parametrize("columns", TABLES.values(), ids=TABLES.keys())
def test_every_column_is_named_once_and_defined(columns: tuple[Column, ...]) -> None:
    names = [column.name for column in columns]
    assert len(names) == len(set(names))
    for column in columns:
        assert column.definition.endswith("."), column.name
        for ending, unit in (("_um", "µm"), ("_um2", "µm²"), ("_px", "px"), ("_deg", "°")):
            if column.name.endswith(ending) and "per_um2" not in column.name:
                assert column.unit == unit


@pytest.mark.parametrize("columns", TABLES.values(), ids=TABLES.keys())
def test_an_empty_table_has_the_columns_and_types_of_a_full_one(columns: tuple[Column, ...]) -> None:
    text = {c.name: ["a"] for c in columns if c.kind == "text"}
    empty = build_table(columns, {name: [] for name in text} | required(columns, 0), 0)
    full = build_table(columns, text | required(columns, 1), 1)
    assert list(empty.columns) == [column.name for column in columns]
    assert empty.dtypes.to_dict() == full.dtypes.to_dict()
    assert (len(empty), len(full)) == (0, 1)


def required(columns: tuple[Column, ...], rows: int) -> dict[str, object]:
    return {c.name: np.zeros(rows, int) for c in columns if c.kind in ("integer", "flag")}


def test_what_is_not_measured_is_missing_and_what_is_not_listed_is_an_error() -> None:
    columns = (
        Column("a", "number", "", "", "A number."),
        Column("b", "maybe_flag", "", "", "A flag."),
        Column("c", "maybe_integer", "", "", "A count."),
    )
    table = build_table(columns, {}, 2)
    assert table.isna().all(axis=None)
    assert [str(kind) for kind in table.dtypes] == ["float64", "boolean", "Int64"]
    with pytest.raises(ValueError, match="'d'"):
        build_table(columns, {"d": 1}, 2)
