"""The section Communication: what it says and draws of tables with a known truth."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from napari_tam.report.communication_text import (
    communication_cautions,
    communication_methods,
    many,
    one,
    words,
)
from napari_tam.report.data import ReportData
from napari_tam.report.figures import COMMUNICATION, FIGURES
from napari_tam.report.style import MissingData
from napari_tam.results.folder import mask_path, write_mask
from napari_tam.settings import Settings
from napari_tam.simulate.tables import CocultureTables, DoseTables
from napari_tam.traffic.communicate import communicate
from napari_tam.uptake.dose_response import dose_responses

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = Settings(
    types={"macrophage": "CD11b+", "tumour": "EpCAM+"},
    marker_phenotypes={"M1": "CD86+", "M2": "CD206+"},
    neighbour_radius_um=20,
)
TABLES = CocultureTables(images=4, shift=0.05)
PLANS = {plan.name: plan for plan in FIGURES if plan.section == COMMUNICATION}


def report_of(folder: Path, tables: CocultureTables = TABLES, **changes: Any) -> ReportData:
    cells, images = tables.draw(1)
    cells = cells.assign(**changes)
    images = images.assign(status="ok", height_px=400, width_px=400)
    puncta = cells.loc[cells.index.repeat(cells["puncta_count"]), ["image", "label"]].assign(intensity=100.0)
    rng = np.random.default_rng(0)
    puncta = puncta.assign(x_um=rng.uniform(0, 400, len(puncta)), y_um=rng.uniform(0, 400, len(puncta)))
    found = communicate(None, cells, puncta, images, SETTINGS)
    cells = cells.assign(**{str(name): found.cells[name].array for name in found.cells})
    takers = cells[cells["cell_type"] == "macrophage"].reset_index(drop=True)
    return ReportData(
        folder,
        images,
        takers,
        puncta,
        **found.tables,
        every_cell=cells,
        every_punctum=puncta,
        settings=SETTINGS,
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ReportData:
    folder = tmp_path_factory.mktemp("report")
    (folder / "masks").mkdir()
    found = report_of(folder)
    for image, part in found.every_cell.groupby("image"):
        labels = np.zeros((400, 400), np.uint16)
        for label, y, x in part[["label", "centroid_y_px", "centroid_x_px"]].to_numpy():
            labels[int(y) : int(y) + 8, int(x) : int(x) + 8] = int(label)
        write_mask(mask_path(folder, str(image), "cells"), labels, 1.0)
    return found


def said(data: ReportData, topic: str) -> str:
    return next(text for text in words(data) if text.startswith(topic))


def test_the_findings_are_said_with_their_figures(data: ReportData) -> None:
    assert data.transfer_matrix is not None and data.traffic is not None
    matrix = said(data, "Who holds them")
    share = data.transfer_matrix.set_index("place")["puncta_share"]
    assert f"{share['macrophage']:.0%}" in matrix and "in tumour cells, which give them" in matrix
    distance = said(data, "Distance")
    length = float(re.findall(r"decay length is ([\d.]+) µm", distance)[0])
    assert length == pytest.approx(25, rel=0.25)
    assert "nearest tumour cell" in distance and "95 % interval" in distance
    assert "by chance" in said(data, "Neighbours")
    more = float(re.findall(r"hold ([\d.]+) times", said(data, "Contact"))[0])
    assert more > 1.5
    # 10 puncta more move the logarithm by 10 × 0.05
    factor = float(re.findall(r"has ([\d.]+) times the ratio", said(data, "Polarisation"))[0])
    assert factor == pytest.approx(np.exp(0.5), rel=0.25)
    assert "which of both came first" in said(data, "Polarisation")
    assert len(communication_methods(data)) == 3


@pytest.mark.parametrize("name", [name for name in PLANS if name != "dose_response"])
def test_every_figure_is_drawn_with_its_table_and_caption(data: ReportData, name: str) -> None:
    drawn = PLANS[name].draw(data)
    assert len(drawn.table) and drawn.caption.endswith(".")
    drawn.figure.canvas.draw()


def test_what_is_not_there_is_a_sentence_and_not_a_figure(tmp_path: Path) -> None:
    nobody = report_of(tmp_path, TABLES, cell_type="macrophage")
    for name in ("communication_map", "uptake_by_distance", "spatial_association"):
        with pytest.raises(MissingData, match=r"\w"):
            PLANS[name].draw(nobody)
    without = ReportData(tmp_path, nobody.images, nobody.cells, nobody.puncta)
    assert not words(without) and not communication_methods(without) and not communication_cautions(without)


def test_one_replicate_is_told_without_interval_and_test(tmp_path: Path) -> None:
    alone = report_of(tmp_path, replicate="1")
    assert "95 %" not in said(alone, "Who holds them")
    assert "not tested" in said(alone, "Polarisation")
    for name in ("transfer_matrix", "uptake_by_distance", "spatial_association", "polarisation_by_uptake"):
        PLANS[name].draw(alone).figure.canvas.draw()


def test_a_border_nearer_than_donors_is_a_warning(tmp_path: Path) -> None:
    assert not communication_cautions(report_of(tmp_path, replace(TABLES, donor_share=0.7)))
    few = report_of(tmp_path, replace(TABLES, donor_share=0.05))
    assert "nearer to the border" in communication_cautions(few)[0]


def test_doses_are_said_and_drawn(tmp_path: Path) -> None:
    cells = DoseTables(cells=30).draw(0)
    cells["image"], cells["label"] = "a", np.arange(1, len(cells) + 1)
    settings = Settings(comparison_readouts="puncta_count")
    table = dose_responses(cells, settings)
    images = pd.DataFrame({"image": ["a"], "status": ["ok"]})
    data = ReportData(tmp_path, images, cells, cells.head(0), dose_response=table, settings=settings)
    text = said(data, "Dose")
    assert float(re.findall(r"at a dose of ([\d.]+)", text)[0]) == pytest.approx(8, rel=0.4)
    drawn = PLANS["dose_response"].draw(data)
    assert len(drawn.table) == 21
    drawn.figure.canvas.draw()
    beyond = DoseTables(cells=30, ec50=2000.0, top=100.0).draw(0).assign(image="a", label=1)
    other = replace(data, cells=beyond, dose_response=dose_responses(beyond, settings))
    assert "do not reach a plateau" in said(other, "Dose")
    PLANS["dose_response"].draw(other).figure.canvas.draw()


def test_types_are_called_by_words() -> None:
    assert many("tumour, macrophage") == "tumour cells and macrophages"
    assert one("tumour, fibroblast") == "tumour cell or fibroblast"
