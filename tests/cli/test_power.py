"""``napari-tam power`` from a results folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from napari_tam.cli.main import main
from napari_tam.results import tables
from napari_tam.simulate.tables import DoseTables

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def pilot(tmp_path: Path) -> Path:
    """A results folder of one dose, three replicates."""
    cells = DoseTables(doses=(0.0, 10.0), replicates=3, cells=30).draw(1)
    cells["image"] = "a"
    cells["label"] = np.arange(1, len(cells) + 1)
    cells["positive"] = pd.NA
    for name in ("aggregate_count", "aggregate_intensity", "puncta_equivalents"):
        cells[name] = 0
    for name, frame in (
        ("cells", cells),
        ("images", pd.DataFrame({"image": ["a"], "status": ["ok"]})),
        ("puncta", pd.DataFrame({"image": ["a"], "label": [1]})),
    ):
        table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
        tables.write_csv(tmp_path / f"{name}.csv", table)
    return tmp_path


def test_it_says_how_many_replicates_and_writes_the_table(
    pilot: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["power", str(pilot), "--effect", "1.5", "3", "--readouts", "puncta_count"]) == 0
    text = capsys.readouterr().out
    assert "replicates differ by" in text and "30 cells a replicate" in text
    assert "1.5 x:" in text and "3 x:" in text and "for 80% power" in text
    table = tables.read_csv(pilot / "power.csv")
    assert set(table["effect"]) == {1.5, 3.0} and set(table["cells"]) == {10, 30, 100, 300}
    assert table["power"].between(0, 1).all() and (table["power_low"] <= table["power"] + 0.05).all()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--effect", "1"], "is no ratio"),
        (["--effect", "more"], "is no ratio"),
        (["--power", "2"], "is no power"),
        (["--readouts", "puncta_cuont"], "'puncta_cuont' is no readout (did you mean 'puncta_count'"),
    ],
)
def test_bad_input_is_one_sentence(
    pilot: Path, options: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["power", str(pilot), *options]) == 2
    error = capsys.readouterr().err
    assert told in error and "Traceback" not in error
