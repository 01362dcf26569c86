"""Tables read back with the right names, whatever images are called."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import fakes
import pandas as pd

from napari_tam.batches.conclude import conclude
from napari_tam.batches.run import analyse_files
from napari_tam.io.images import list_images
from napari_tam.results.tables import read_csv
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

NAMES = (
    "nan",
    "NA",
    "null",
    "001",
    "1e5",
    "True",
    "=cmd",
    "-out",
    "+x",
    "@y",
    "CON",
    "a,b",
    "'lead",
    "apo's",
    'said "no"',
    '"quoted"',
)


def as_documented(path: Path) -> pd.DataFrame:
    """Read a table as docs/columns.md tells."""
    table = pd.read_csv(path, keep_default_na=False, na_values=[""], dtype={"image": str})
    table["image"] = table["image"].str.removeprefix("'")
    return table


def by_the_standard_library(path: Path) -> pd.DataFrame:
    """Read a table by another reader than that which wrote it: any that knows quotes will do."""
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert all(None not in row and None not in row.values() for row in rows)
    return pd.DataFrame({"image": [row["image"].removeprefix("'") for row in rows]})


def test_odd_names_come_back_from_pandas_and_from_our_own_reader(tmp_path: Path) -> None:
    for day in ("day1", "day2"):
        (tmp_path / day).mkdir()
        for name in NAMES[: None if day == "day1" else 9]:
            fakes.write_image(tmp_path / day / f"{name}.ome.tif")
    for number, folders in enumerate((["day1"], ["day1", "day2"])):
        out = tmp_path / f"out{number}"
        paths = list_images([tmp_path / folder for folder in folders])
        names = [outcome.name for outcome in analyse_files(paths, Settings(), fakes.models(), out)]
        conclude(out, Settings())
        expected = sorted(NAMES) if number == 0 else names
        assert sorted(names) == sorted(expected)
        assert len(set(names)) == len(paths)
        for table in ("cells", "puncta", "images"):
            for read in (as_documented, read_csv, by_the_standard_library):
                assert list(dict.fromkeys(read(out / f"{table}.csv")["image"])) == names
        cells = as_documented(out / "cells.csv")
        assert pd.api.types.is_numeric_dtype(cells["area_um2"])
        assert list(dict.fromkeys(pd.read_parquet(out / "cells.parquet")["image"])) == names
