"""From a results folder to a model and back: labels, controls, groups, the two commands."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import tifffile
from phenotypes import UM, ellipses, untrained

from napari_tam.cli.main import main
from napari_tam.errors import InputError
from napari_tam.io.layout import read_layout
from napari_tam.phenotype.classify import ModelClassifier
from napari_tam.phenotype.model import load_phenotype_model
from napari_tam.results.field_store import Stamp
from napari_tam.results.folder import read_results
from napari_tam.results.record import Record, image_row
from napari_tam.settings import Settings
from napari_tam.train import phenotype as phenotype_training
from napari_tam.train.known_cells import add_groups, read_labelled
from napari_tam.train.labels import by_controls, by_labels, by_markers, read_controls

if TYPE_CHECKING:
    from pathlib import Path

LAYOUT = "well,condition,replicate,control_role\nB02,LPS,1,M1\nB03,IL-4,1,M2\nC02,LPS,2,M1\nC03,IL-4,2,M2\n"
WELLS = {"B02": 1.1, "B03": 2.5, "C02": 1.1, "C03": 2.5}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Images and a results folder: four wells with twelve cells each; round in column 2, long in 3."""
    from napari_tam.io.images import read_fields
    from napari_tam.measure.cells import measure
    from napari_tam.pipeline.analysis import Analysis

    folder = tmp_path_factory.mktemp("plate")
    (folder / "layout.csv").write_text(LAYOUT)
    settings = Settings(pixel_size_um=UM, channels={"cell": 0, "exosome": 1}, overlays=False)
    classifier = ModelClassifier(untrained())
    rng = np.random.default_rng(0)
    paths = {folder / f"plate1_{well}.tif": ratio for well, ratio in WELLS.items()}
    record = Record(folder / "results", settings, _models(), {path: path.stem for path in paths})
    for path, ratio in paths.items():
        labels = ellipses([ratio * rng.uniform(0.9, 1.1) for _ in range(12)], rng)
        stain = 20 + (labels > 0) * rng.uniform(100, 200, labels.shape)
        tifffile.imwrite(path, np.stack([stain, stain]).astype(np.uint16), ome=True, metadata={"axes": "CYX"})
        [field] = read_fields(path, settings, name=path.stem)
        table, puncta, summary = measure(field, labels, None, pd.DataFrame(), settings)
        table = pd.concat([table, classifier.classify(field, labels, None, table, settings)], axis=1)
        analysis = Analysis(field, settings, labels, None, table, puncta, summary, {})
        row = record.parts.write(analysis, image_row(analysis, 0.0), Stamp(None, ""), pictures=False)
        record.add(row, {})
        record.finish_file(path)
    record.save("complete")
    return folder


def _models():
    import fakes

    return fakes.models()


def test_controls_are_wells_conditions_or_roles(made: Path) -> None:
    results, layout = read_results(made / "results"), read_layout(made / "layout.csv")
    expected = by_controls(results, "M1=LPS,M2=IL-4", layout)
    assert expected.groupby("class").size().to_dict() == {"M1": 24, "M2": 24}
    for text in ("M1=B02,C02,M2=B03,C03", "M1=M1,M2=M2", "M1=lps, M2=il-4"):
        pd.testing.assert_frame_equal(by_controls(results, text, layout), expected)
    pd.testing.assert_frame_equal(by_controls(results, "M1=b2,C02,M2=B03,C3", None), expected)
    with pytest.raises(InputError, match=r"no analysed image is of 'LSP'.*IL-4, LPS"):
        by_controls(results, "M1=LSP,M2=IL-4", layout)
    with pytest.raises(InputError, match="of the class M1 and of M2"):
        by_controls(results, "M1=LPS,M2=B02", layout)


@pytest.mark.parametrize("text", ["", "B02", "M1=B02", "M1=,M2=B02", "=B02,M2=C02"])
def test_controls_that_cannot_be_understood(text: str) -> None:
    with pytest.raises(InputError, match="--controls"):
        read_controls(text)


def test_labels_are_checked_against_the_cells(made: Path, tmp_path: Path) -> None:
    results, path = read_results(made / "results"), tmp_path / "labels.csv"

    def read(text: str) -> pd.DataFrame:
        path.write_text(text)
        return by_labels(results, path)

    table = read("Image,label,class\nplate1_B02,1,round\nplate1_B03.tif,2.0,long\nplate1_B03,3,\n")
    assert table[["image", "label", "class"]].to_numpy().tolist() == [
        ["plate1_B02", 1, "round"],
        ["plate1_B03", 2, "long"],
    ]
    with pytest.raises(
        InputError, match=r"1 of 1 labelled cells are not in the results, e.g. 99 of plate1_B02"
    ):
        read("image,label,class\nplate1_B02,99,round\n")
    with pytest.raises(InputError, match="labelled twice"):
        read("image,label,class\nplate1_B02,1,a\nplate1_B02,1,b\n")
    with pytest.raises(InputError, match="no column class"):
        read("image,label\nplate1_B02,1\n")
    with pytest.raises(InputError, match="'one' is no label"):
        read("image,label,class\nplate1_B02,one,a\n")


def test_groups_come_from_the_layout_or_the_labels(made: Path) -> None:
    results, layout = read_results(made / "results"), read_layout(made / "layout.csv")
    table = by_controls(results, "M1=LPS,M2=IL-4", layout)
    grouped, column = add_groups(table, layout, None)
    assert column == "replicate"
    assert grouped.groupby("group")["image"].nunique().to_dict() == {"1": 2, "2": 2}
    assert add_groups(table.assign(donor=table["image"].str[-3]), layout, None)[1] == "donor"
    assert add_groups(table, None, "well")[1] == "well"
    with pytest.raises(InputError, match="nothing says which replicate"):
        add_groups(table, None, None)
    with pytest.raises(InputError, match="no column 'batch'"):
        add_groups(table, layout, "batch")


def test_the_cells_have_their_own_crops_and_classes(made: Path) -> None:
    layout = read_layout(made / "layout.csv")
    cells = read_labelled(made / "results", controls="M1=LPS,M2=IL-4", layout=layout)
    assert len(cells) == 48
    assert cells.classes == ("M1", "M2")
    long = cells.features[:, 1] > np.log(1.6)
    assert (long == (cells.truth == 1)).all()


def test_cells_are_labelled_by_their_own_markers(made: Path, tmp_path: Path) -> None:
    results = read_results(made / "results")
    settings = Settings(marker_phenotypes={"M1": "CD86+", "M2": "CD206+"}, types={"macrophage": "CD11b+"})
    kinds = ["M1", "M2", "double positive", "double negative", "M2", ""]
    cells = results.cells.assign(
        marker_phenotype=[kinds[k % 6] for k in range(len(results.cells))],
        # the second kind of M2 is no macrophage
        cell_type=["tumour" if k % 6 == 4 else "macrophage" for k in range(len(results.cells))],
        control_role=["unstained" if k < 12 else "" for k in range(len(results.cells))],
    )
    table = by_markers(replace(results, cells=cells), settings)
    truth = cells[12:].loc[lambda t: t["marker_phenotype"].isin(["M1", "M2"]) & (t["cell_type"] != "tumour")]
    assert list(table.columns) == ["image", "label", "class"]
    assert table["class"].tolist() == truth["marker_phenotype"].tolist()
    assert table["label"].tolist() == truth["label"].tolist()
    with pytest.raises(InputError, match="nothing says which markers"):
        by_markers(results, settings)
    with pytest.raises(InputError, match=r"no cell is M2 by its markers \(CD206\+\)"):
        by_markers(replace(results, cells=cells.assign(marker_phenotype="M1")), settings)
    with pytest.raises(InputError, match="one of --labels, --controls and --markers"):
        read_labelled(made / "results", controls="M1=LPS,M2=IL-4", markers=True)


def test_train_analyse_and_explain_from_the_command_line(
    made: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    short = phenotype_training.Recipe
    monkeypatch.setattr(phenotype_training, "Recipe", lambda seed: short(steps=15, batch=16, seed=seed))
    out = tmp_path / "mine"
    command = ["train", "phenotype", str(made / "results"), "--out", str(out), "--from-scratch"]
    assert main([*command, "--controls", "round=LPS,long=IL-4", "--layout", str(made / "layout.csv")]) == 0
    shown = capsys.readouterr().out
    assert "left out: each replicate" in shown
    assert "balanced accuracy" in (out / "report.txt").read_text()
    assert (out / "report.png").stat().st_size > 1000
    model = load_phenotype_model(out)
    assert model.classes == ("long", "round")
    assert json.loads((out / "phenotype.json").read_text())["description"].startswith(
        "Trained on 48 cells of results"
    )

    results = str(made / "results")
    assert (
        main(["explain", results, "--image", "plate1_B02", "--label", "1", "--phenotype-model", str(out)])
        == 0
    )
    assert "log odds" in capsys.readouterr().out
    table = pd.read_csv(made / "results" / "explained" / "plate1_B02_1.csv")
    assert "aspect_ratio" in set(table["part"])
    assert (made / "results" / "explained" / "plate1_B02_1.png").exists()
    assert main(["explain", results]) == 0
    assert (made / "results" / "phenotype_examples.png").stat().st_size > 1000

    assert main([*command, "--controls", "M1=B02,M2=B03", "--layout", str(made / "layout.csv")]) == 2
    assert "all cells are of one replicate" in capsys.readouterr().err
    assert main(command) == 2
    assert "one of --labels, --controls and --markers" in capsys.readouterr().err
    assert main(["explain", results, "--image", "plate1_B02", "--label", "77"]) == 2
