"""Two exosome labels from images to tables, thresholds, exports and the report."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import fakes
import labelled
import numpy as np
import pandas as pd
import pytest
from labelled import LABELS

from napari_tam.batches.threshold import read_thresholds
from napari_tam.cli import analyse as cli_analyse
from napari_tam.cli import uptake as cli_uptake
from napari_tam.cli.main import main
from napari_tam.export.run import tidy
from napari_tam.export.shapes import write_geojson
from napari_tam.markers.labels import of_label
from napari_tam.report.build import write_report
from napari_tam.report.labels import about, label_table, labels_in
from napari_tam.report.methods import methods_text
from napari_tam.report.reading import read_data
from napari_tam.results.folder import read_results
from napari_tam.settings import Settings
from napari_tam.uptake.replicates import readouts_of

if TYPE_CHECKING:
    from pathlib import Path

#: In control a nobody was given GFP, in control b nobody anything.
LAYOUT = """image,condition,replicate,control_role
one,LPS,1,
two,LPS,2,
a,LPS,1,dye_only:GFP
b,medium,1,no_exosome
"""
CHANNELS = "cell=CD11b,nucleus=DAPI,exosome="


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("labels")
    labelled.write_image(made / "one.ome.tif")
    labelled.write_image(made / "two.ome.tif", labelled.image(fakes.SPOTS[:3], labelled.SECOND[:2]))
    labelled.write_image(made / "a.ome.tif", labelled.image(fakes.SPOTS[:1], labelled.SECOND))
    labelled.write_image(made / "b.ome.tif", labelled.image((), ()))
    (made / "layout.csv").write_text(LAYOUT)
    return made


@pytest.fixture(scope="module")
def found(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Results of both labels, and of each alone."""
    made = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli_analyse, "load_models", lambda settings: fakes.models())
        for module in (cli_analyse, cli_uptake):
            patch.setattr(module, "print_report", lambda _folder: None)
        for name in ("GFP+PKH26", *LABELS):
            layout = tmp_path_factory.mktemp("layout") / "layout.csv"
            text = LAYOUT if "+" in name else LAYOUT.replace(":GFP", "" if name == "GFP" else ":none")
            layout.write_text(text.replace("dye_only:none", ""))
            made[name] = tmp_path_factory.mktemp("out") / "results"
            arguments = ["analyse", folder, "--channels", CHANNELS + name, "--layout", layout]
            assert main([str(each) for each in (*arguments, "--out", made[name])]) == 0
    return made


@pytest.mark.parametrize("label", LABELS)
def test_every_label_has_the_tables_of_an_analysis_of_it_alone(found: dict[str, Path], label: str) -> None:
    folders = [found[name] for name in ("GFP+PKH26", label)]
    cells = [pd.read_parquet(each / "cells.parquet").drop(columns="control_role") for each in folders]
    labelled.assert_same_cells(cells[0], cells[1], label)
    puncta = [pd.read_parquet(each / "puncta.parquet") for each in folders]
    labelled.assert_same_puncta(puncta[0], puncta[1], label, check_dtype=False)
    thresholds = [pd.read_csv(found[name] / "thresholds.csv") for name in ("GFP+PKH26", label)]
    own = thresholds[0][thresholds[0]["exosome_label"] == label]
    assert own["threshold"].tolist() == thresholds[1]["threshold"].tolist()
    assert own["control_cells"].tolist() == thresholds[1]["control_cells"].tolist()


def test_controls_and_thresholds_belong_to_a_label(found: dict[str, Path]) -> None:
    table = pd.read_csv(found["GFP+PKH26"] / "thresholds.csv").set_index("exosome_label")
    assert table["control_role"].to_dict() == {"GFP": "dye_only:GFP", "PKH26": "no_exosome"}
    cells = read_results(found["GFP+PKH26"]).cells
    assert (cells["positive"].fillna(-1) == cells["positive_GFP"].fillna(-1)).all()
    assert set(read_thresholds(found["GFP+PKH26"])) == set(LABELS)
    record = json.loads((found["GFP+PKH26"] / "run.json").read_text())
    assert set(record["puncta_thresholds"]) == set(LABELS)
    assert record["puncta_threshold"] == record["puncta_thresholds"]["GFP"]
    settings = Settings.from_yaml(found["GFP+PKH26"] / "settings.yaml")
    assert set(settings.puncta_thresholds) == set(LABELS)


def test_a_control_of_a_label_that_is_not_there_is_told(
    found: dict[str, Path], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layout = tmp_path / "layout.csv"
    layout.write_text(LAYOUT.replace(":GFP", ":DiO"))
    for name, told in (("GFP+PKH26", "the labels are GFP, PKH26"), ("GFP", "there is one exosome channel")):
        before = (found[name] / "cells.csv").read_bytes()
        assert main(["uptake", str(found[name]), "--layout", str(layout)]) != 0
        error = capsys.readouterr().err
        assert "exosome label DiO, which was not measured" in error and told in error
        assert (found[name] / "cells.csv").read_bytes() == before


def test_exports_name_the_label(found: dict[str, Path], tmp_path: Path) -> None:
    results = read_results(found["GFP+PKH26"])
    write_geojson(tmp_path / "one.geojson", results, "one")
    features = json.loads((tmp_path / "one.geojson").read_text())["features"]
    classes = [
        each["properties"]["classification"]["name"]
        for each in features
        if each["geometry"]["type"] == "Point"
    ]
    assert sorted(set(classes)) == ["GFP: punctum", "PKH26: punctum"]
    assert classes.count("GFP: punctum") == 4 and classes.count("PKH26: punctum") == 3
    cell = next(each for each in features if each["properties"]["name"] == "1")
    assert cell["properties"]["measurements"]["puncta_count_PKH26"] == 1
    names = set(tidy(results)["readout"])
    assert {"puncta_count", "positive_fraction"} <= names


def test_readouts_of_a_label_are_compared(found: dict[str, Path]) -> None:
    readouts = "puncta_count_PKH26,positive_fraction_PKH26,positive_fraction_GFP"
    assert main(["compare", str(found["GFP+PKH26"]), "--readouts", readouts]) == 0
    table = pd.read_csv(found["GFP+PKH26"] / "replicates.csv")
    cells = read_results(found["GFP+PKH26"]).cells
    one = cells[(cells["image"] == "one")]
    row = table[(table["replicate"] == 1) & table["control_role"].isna() & table["phenotype"].isna()].iloc[0]
    assert row["puncta_count_PKH26"] == one["puncta_count_PKH26"].mean()
    assert row["positive_fraction_PKH26"] == one["positive_PKH26"].astype(bool).mean()
    assert main(["compare", str(found["GFP+PKH26"]), "--readouts", "puncta_count_DiO"]) != 0


def test_the_report_says_which_label_a_figure_is_about(found: dict[str, Path]) -> None:
    folder = found["GFP+PKH26"]
    data = read_data(folder)
    assert labels_in(data) == list(LABELS)
    for label in LABELS:
        own = about(data, label)
        np.testing.assert_array_equal(own.cells["puncta_count"], data.cells[of_label("puncta_count", label)])
        assert set(own.puncta["exosome_label"]) == {label}
        assert set(own.thresholds["exosome_label"]) == {label}
    head, rows = label_table(data)
    assert [row[0] for row in rows] == list(LABELS) and head[0] == "exosome label"
    inside = [
        int(((data.puncta["exosome_label"] == label) & (data.puncta["label"] > 0)).sum()) for label in LABELS
    ]
    assert min(inside) > 0
    assert [row[1] for row in rows] == [f"{number:,}" for number in inside]
    usual = ["puncta_count", "puncta_intensity_sum", "positive_fraction"]
    assert readouts_of(data.every_cell, Settings()) == [*usual, *(f"{name}_PKH26" for name in usual)]
    text = methods_text(folder)
    assert "The exosome channels (GFP, PKH26) were analysed each by itself" in text
    assert "Bolte S, Cordelières FP" in text
    report = write_report(folder)
    page = report.path.read_text()
    told = [
        [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in table.split("<tr>")[1:]]
        for table in re.findall(r"<table.*?</table>", page, re.DOTALL)
    ]
    of_labels = [table for table in told if table[0][0] == "exosome label"]
    assert [row[:2] for row in of_labels[0][1:]] == [row[:2] for row in rows]
    assert len(of_labels) == 3  # the labels, conditions, thresholds
    assert all({row[0] for row in table[1:]} == set(LABELS) for table in of_labels)
    assert "There are 2 exosome labels: GFP, PKH26." in page
    assert {"superplot_puncta", "superplot_puncta_PKH26"} <= set(report.figures)
    assert "Puncta per cell: PKH26" in page and "Puncta per cell: GFP" in page
