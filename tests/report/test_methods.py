from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import plates
import pytest

from napari_tam.cli import main as cli
from napari_tam.puncta.threshold import Threshold
from napari_tam.report.methods import methods, methods_text
from napari_tam.report.reading import read_data

if TYPE_CHECKING:
    from pathlib import Path

    from napari_tam.report.data import ReportData


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plates.write_plate(tmp_path_factory.mktemp("methods") / "plate")


@pytest.fixture(scope="module")
def data(folder: Path) -> ReportData:
    return read_data(folder)


def test_the_text_has_what_the_run_really_used(folder: Path) -> None:
    text = methods_text(folder)
    for part in (
        "21 fluorescence images",
        "1 of 22 could not be analysed",
        "napari-tam 0.1.0",
        "cellpose 3.1.1.3",
        "sha256 aaaaaaaaaaaa",
        "score above 0.6",  # not the default
        "BBBC020",
        "trained on simulated cells and on real macrophages stretched",
        "quantile 0.99 of dye_only; 51 control cells",
        "The unit of every comparison is the replicate (n = 3)",
        "Welch's t-test",
        "Holm over 3 tests",
    ):
        assert part in text, part


def test_defects_of_the_camera_are_told_where_there_were_some(data: ReportData) -> None:
    def text(told: object) -> str:
        return methods(replace(data, run={**data.run, "camera_defects": told})).text().replace("\n", " ")

    some = text({"defects": 12, "images": 24})
    assert "12 pixels of the camera" in some
    assert "24 that show different places;" in some
    assert "in another run" in text({"defects": 12, "images": 24, "file": "defects.csv"})
    for told in (None, {}, {"defects": 0, "images": 24}):
        assert "of the camera" not in text(told)
    off = replace(data, settings=data.settings.updated(defects="none"))
    assert "Intensities were used as recorded" in methods(off).text().replace("\n", " ")


@pytest.mark.parametrize(
    ("threshold", "words"),
    [
        (Threshold(7.25, "populations", "…"), "contrast of at least 7.25"),
        (Threshold(5, "controls", "…"), "leaves cells of the control wells at most 0.2 puncta each"),
        (Threshold(), None),
    ],
)
def test_the_threshold_of_the_puncta_is_told_with_its_reason(
    data: ReportData, threshold: Threshold, words: str | None
) -> None:
    settings = data.settings.updated(puncta_threshold=threshold.value)
    run = {**data.run, "puncta_threshold": threshold.as_dict()}
    text = methods(replace(data, run=run, settings=settings)).text()
    assert "contrast of" not in text if words is None else words in text


def test_every_reference_is_cited_and_every_citation_has_a_reference(data: ReportData) -> None:
    found = methods(data)
    text = " ".join(found.paragraphs).replace("Data Science Bowl 2018", "")
    cited = re.findall(r"([A-Z]\w+(?: and [A-Z]\w+| [A-Z]\w+)?(?: et al\.)? (?:19|20)\d\d)", text)
    assert set(cited) == set(found.cited)
    for name, reference in found.cited.items():
        assert name.split()[-1] in reference


def test_what_was_not_done_is_not_claimed(data: ReportData) -> None:
    untested = replace(data, comparisons=None, thresholds=None, cells=data.cells.drop(columns="positive"))
    text = methods(untested).text()
    for word in ("Welch", "Holm", "Hedges", "threshold learnt", "laptrack"):
        assert word not in text
    assert "No cell was called positive" in text
    shapeless = replace(data, cells=data.cells.drop(columns=["phenotype", "p_m1", "p_m2"]))
    assert "M1" not in methods(shapeless).text()


def test_another_model_is_not_described_as_the_bundled_one(data: ReportData) -> None:
    settings = data.settings.updated(cells_model="cyto3", phenotype_model="./mine", puncta_method="log")
    text = methods(replace(data, settings=settings)).text()
    assert "the model 'cyto3'" in text
    assert "BBBC020" not in text
    assert "simulated cells only" not in text
    assert "Laplacian of Gaussian" in text


def test_the_command_prints_the_text(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["methods", str(folder)]) == 0
    assert capsys.readouterr().out == methods_text(folder)


def test_a_folder_without_results_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["methods", str(tmp_path)]) == 2
    assert "not a results folder" in capsys.readouterr().err


def test_volumes_and_partners_are_stated_where_they_are(data: ReportData) -> None:
    assert "volumes (3-D)" not in methods(data).text()
    images = data.images.assign(z_step_um=0.5)
    found = methods(replace(data, images=images, cells=data.cells.assign(manders_m1=0.4)))
    assert "planes 0.5 µm apart" in found.text()
    assert "local shell" in found.text()
    assert {"Manders et al. 1993", "Costes et al. 2004"} <= set(found.cited)
