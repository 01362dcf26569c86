"""From a results folder to decisions and comparisons; repeated, it gives what a fresh run would."""

from __future__ import annotations

from typing import TYPE_CHECKING

import fakes
import numpy as np
import pandas as pd
import pytest

from napari_tam.batches.conclude import conclude, layout_of
from napari_tam.cli import analyse as cli_analyse
from napari_tam.cli import uptake as cli_uptake
from napari_tam.cli.main import main
from napari_tam.columns import COMPARISON_COLUMNS, DECISION_COLUMNS, LAYOUT_COLUMNS, THRESHOLD_COLUMNS
from napari_tam.errors import InputError
from napari_tam.io.layout import read_layout
from napari_tam.results import tables
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

WELLS = {f"{row}{column:02d}": (row, column) for row in "BCD" for column in (2, 3, 4)}
LAYOUT = "well,condition,dose,replicate,control_role\n" + "".join(
    f"{well},{'LPS' if column == 2 else 'IL-4'},{0 if column == 4 else 10},{row},"
    f"{'dye_only' if column == 4 else ''}\n"
    for well, (row, column) in WELLS.items()
)


@pytest.fixture(autouse=True)
def _no_report(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the report out, which takes seconds and has tests of its own, but where it is asked for."""
    if "report" not in request.node.name:
        for module in (cli_analyse, cli_uptake):
            monkeypatch.setattr(module, "print_report", lambda _folder: None)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine wells of three cells each: no puncta in column 4, more in column 3 than in 2."""
    folder = tmp_path_factory.mktemp("plate")
    for well, (row, column) in WELLS.items():
        spots = {4: (), 2: fakes.SPOTS[:2], 3: (*fakes.SPOTS, (66.0, 56.0), (74.0, 64.0))}[column]
        if row == "C":
            spots = spots[1:]
        fakes.write_image(folder / f"p_{well}.ome.tif", fakes.image(spots))
    (folder / "layout.csv").write_text(LAYOUT)
    return folder


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(cli_analyse, "load_models", lambda settings: fakes.models())
    return main([str(argument) for argument in arguments])


def contents(folder: Path) -> dict[str, bytes]:
    """Return all that conclusions write, byte by byte."""
    names = ["cells", "puncta", "images", "thresholds", "replicates", "comparisons", "layout"]
    found = {
        name: (folder / f"{name}.csv").read_bytes() for name in names if (folder / f"{name}.csv").exists()
    }
    frame = tables.read_arrow(folder / "cells.parquet").to_pandas().to_csv()
    # the time that an image took differs from run to run
    images = pd.read_csv(folder / "images.csv").drop(columns=["seconds", "source"]).to_csv()
    return found | {"parquet": frame.encode(), "images": images.encode()}


def test_a_plate_goes_from_images_to_comparisons_and_a_report(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["--out", out, "--layout", images / "layout.csv", "--comparison-min-cells", 1]
    assert run(monkeypatch, "analyse", images, *arguments) == 0
    text = capsys.readouterr().out
    assert "positive puncta_per_um2 above 0 (quantile 0.99 of dye_only, 9 cells)" in text
    assert "only 9 control cells" in text
    assert "<html" in (out / "report.html").read_text(encoding="utf-8")
    cells = tables.read_csv(out / "cells.csv")
    added = [column.name for column in (*LAYOUT_COLUMNS, *DECISION_COLUMNS)]
    assert list(cells.columns[-len(added) :]) == added
    assert not cells.loc[cells["control_role"] == "dye_only", "positive"].any()
    treated = cells[cells["control_role"] == ""]
    assert (treated["positive"] == (treated["puncta_count"] > 0)).all()
    assert set(tables.read_csv(out / "images.csv")["condition"]) == {"LPS", "IL-4"}
    thresholds = tables.read_csv(out / "thresholds.csv")
    assert list(thresholds.columns) == [column.name for column in THRESHOLD_COLUMNS]
    comparisons = tables.read_csv(out / "comparisons.csv").set_index(["readout", "comparison"])
    assert list(comparisons.reset_index().columns) == [column.name for column in COMPARISON_COLUMNS]
    row = comparisons.loc[("puncta_count", "LPS - IL-4")]
    assert (row["n_a"], row["n_b"]) == (3, 3)
    assert row["difference"] < 0
    assert main(["compare", str(out), "--reference", "LPS", "--readouts", "puncta_count"]) == 0
    assert "IL-4 - LPS" in capsys.readouterr().out


def test_another_layout_gives_what_a_fresh_run_would(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.csv"
    other.write_text(LAYOUT.replace("LPS", "=M1+").replace("dye_only", "no_exosome"))
    first, second = tmp_path / "a", tmp_path / "b"
    run(monkeypatch, "analyse", images, "--out", first, "--layout", images / "layout.csv")
    before = contents(first)
    run(monkeypatch, "analyse", images, "--out", second, "--layout", other)
    assert run(monkeypatch, "uptake", first, "--layout", other) == 0
    assert contents(first) == contents(second)
    # and back again, by settings of another kind in between
    assert (
        run(monkeypatch, "uptake", first, "--positive-readout", "puncta_count", "--positive-rule", "mean_sd")
        == 0
    )
    assert Settings.from_yaml(first / "settings.yaml").positive_readout == "puncta_count"
    assert tables.read_csv(first / "thresholds.csv")["rule"].item() == "mean + 3 SD of no_exosome"
    arguments = ["--positive-readout", "puncta_per_um2", "--positive-rule", "quantile"]
    assert run(monkeypatch, "uptake", first, "--layout", images / "layout.csv", *arguments) == 0
    assert contents(first) == before


def test_without_a_layout_nothing_is_invented(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    run(monkeypatch, "analyse", images, "--out", out, "--layout", images / "layout.csv")
    assert layout_of(out) is not None
    run(monkeypatch, "analyse", images, "--out", out)
    assert "no layout: nothing says what the images are" in capsys.readouterr().out
    assert layout_of(out) is None
    cells = tables.read_csv(out / "cells.csv")
    assert cells["positive"].isna().all()
    assert set(cells["well"]) == set(WELLS)
    assert tables.read_csv(out / "comparisons.csv")["note"].str.startswith("not tested").all()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (LAYOUT + "H11,LPS,1,B,\n", "1 row of the layout is about no image: H11"),
        (LAYOUT + "B02,LPS,1,B,\n", "more than one row for B02"),
        (LAYOUT.replace("dye_only", "dye"), "'dye' is no control_role"),
    ],
)
def test_a_bad_layout_is_one_sentence_before_any_work(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    text: str, sentence: str,
) -> None:  # fmt: skip
    layout = tmp_path / "l.csv"
    layout.write_text(text)
    out = tmp_path / "out"
    assert run(monkeypatch, "analyse", images, "--out", out, "--layout", layout) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_a_layout_that_does_not_fit_leaves_the_results_as_they_were(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, layout = tmp_path / "out", tmp_path / "l.csv"
    run(monkeypatch, "analyse", images, "--out", out, "--layout", images / "layout.csv")
    before = contents(out)
    layout.write_text("image,condition\np_B*,a\nq_*,b\n")
    assert run(monkeypatch, "uptake", out, "--layout", layout) == 2
    assert contents(out) == before


def test_missing_controls_an_empty_control_and_one_replicate_are_said(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, layout = tmp_path / "out", tmp_path / "l.csv"
    plate = tmp_path / "plate"
    plate.mkdir()
    fakes.write_image(plate / "B02.ome.tif")
    fakes.write_image(plate / "B03.ome.tif")
    fakes.write_image(plate / "B04.ome.tif", fakes.image((), cells=False))
    layout.write_text("well,condition,control_role,replicate\nB02,LPS,,1\nB03,IL-4,,1\nB04,,dye_only,1\n")
    assert run(monkeypatch, "analyse", plate, "--out", out, "--layout", layout) == 0
    assert "no cell is called positive: the dye_only control has no cells" in capsys.readouterr().out
    notes = tables.read_csv(out / "comparisons.csv")["note"]
    assert notes.str.startswith("not tested").all()
    layout.write_text("well,condition,control_role,replicate\nB02,LPS,,1\nB03,IL-4,,1\n")
    assert run(monkeypatch, "uptake", out, "--layout", layout, "--comparison-min-cells", "1") == 0
    printed = capsys.readouterr().out
    assert "no image has the control_role dye_only or no_exosome" in printed
    assert "the layout says nothing about 1 images: B04" in printed
    notes = tables.read_csv(out / "comparisons.csv")["note"]
    assert notes.str.contains("fewer than 3 replicates").any()


def test_what_is_no_results_folder_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["uptake", str(tmp_path)]) == 2
    assert "not a results folder" in capsys.readouterr().err
    with pytest.raises(InputError, match="not a results folder"):
        conclude(tmp_path, Settings())


def test_comparing_needs_a_layout(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from napari_tam.batches.run import analyse_files

    paths = sorted(images.glob("*.tif"))[:1]
    list(analyse_files(paths, Settings(), fakes.models(), tmp_path))
    assert main(["compare", str(tmp_path)]) == 2
    assert "nothing says which condition an image is of" in capsys.readouterr().err


def test_donors_and_replicates_stay_texts(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, layout = tmp_path / "out", tmp_path / "l.csv"
    run(monkeypatch, "analyse", images, "--out", out)
    layout.write_text("image,condition,replicate,donor\np_*,a,01,007\n")
    found = conclude(out, Settings(), read_layout(layout))
    assert set(found.cells["donor"]) == {"007"}
    assert set(tables.read_csv(out / "cells.csv")["replicate"]) == {"01"}
    assert np.isnan(tables.read_csv(out / "cells.csv")["dose"]).all()
