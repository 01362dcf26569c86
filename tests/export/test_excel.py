"""The workbook, read back: the same tables, texts that are no formulas, and what is too long told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import fakes
import openpyxl
import pandas as pd
import pytest

from napari_tam.batches.conclude import conclude
from napari_tam.batches.run import analyse_files
from napari_tam.cli.main import main
from napari_tam.export import excel
from napari_tam.results.folder import read_results
from napari_tam.results.tables import read_csv
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

#: Names that a spreadsheet would compute, or take for something else.
NAMES = ("=1+1", "nan", "007", "a,b")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    paths = [fakes.write_image(tmp_path / f"{name}.ome.tif") for name in NAMES]
    out = tmp_path / "out"
    assert all(o.error is None for o in analyse_files(paths, Settings(), fakes.models(), out))
    conclude(out, Settings())
    return out


def test_the_sheets_hold_the_tables(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(folder), "--to", "excel"]) == 0
    path = folder / "exports" / "tables.xlsx"
    assert f"exported {path}\n" in capsys.readouterr().out
    results = read_results(folder)
    for name, table in (("images", results.images), ("cells", results.cells), ("puncta", results.puncta)):
        text = [column for column in table if isinstance(table[column].iloc[0], str)]
        kinds = dict.fromkeys(text, str)
        back = pd.read_excel(path, name, dtype=kinds, keep_default_na=False, na_values=[""])
        assert back.columns.tolist() == table.columns.tolist()
        assert len(back) == len(table)
        for column in table.columns:
            found, true = (
                [None if value == "" or pd.isna(value) else value for value in each[column]]
                for each in (back, table)
            )
            assert found == (true if column in text else pytest.approx(true)), (name, column)
    assert set(results.images["image"]) == set(NAMES)
    book = openpyxl.load_workbook(path)
    assert not [cell for sheet in book for row in sheet.iter_rows() for cell in row if cell.data_type == "f"]
    told = pd.read_excel(path, "columns").set_index("column")
    assert told.loc["area_um2", "in words"] == "Area (µm²)"
    assert not list(folder.rglob("*.part*"))


def test_further_tables_have_sheets_where_they_have_rows(folder: Path) -> None:
    assert main(["export", str(folder), "--to", "excel"]) == 0
    names = openpyxl.load_workbook(folder / "exports" / "tables.xlsx", read_only=True).sheetnames
    paths = {name: folder / f"{name}.csv" for name in excel._MORE}
    there = [name for name, path in paths.items() if path.exists() and len(read_csv(path))]
    assert names == ["images", "cells", "puncta", *there, "columns"]


def test_a_table_that_is_too_long_is_told_and_the_others_are_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(excel, "MOST_ROWS", 13)  # 12 cells, 20 puncta
    assert main(["export", str(folder), "--to", "excel"]) != 0
    assert "puncta has too many rows for Excel" in capsys.readouterr().err
    names = openpyxl.load_workbook(folder / "exports" / "tables.xlsx", read_only=True).sheetnames
    assert "cells" in names and "puncta" not in names
