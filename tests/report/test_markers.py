"""The report of a plate with markers: gates, types, and shape against markers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import plates
import pyarrow as pa
import pytest
from marked_cells import light

from napari_tam.batches.conclude import conclude
from napari_tam.io.layout import read_layout
from napari_tam.report.build import write_report
from napari_tam.report.cautions import cautions
from napari_tam.report.methods import methods_text
from napari_tam.report.reading import read_data
from napari_tam.results import tables
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = Settings(
    types={"macrophage": "CD11b+", "tumour": "EpCAM+ CD11b-"},
    marker_phenotypes={"M1": "CD86+ CD206-", "M2": "CD206+ CD86-"},
)


def write_marked(folder: Path, *, control: bool = True) -> Path:
    """A plate of cells with four markers; a third are tumour cells; M1 and M2 follow the shape in 9 of 10."""
    plates.write_plate(folder, layout=False)
    rng = np.random.default_rng(4)
    cells = tables.read_csv(folder / "cells.csv")
    wells = cells["image"].drop_duplicates().tolist()
    dark = cells["image"].isin(wells[-3:]).to_numpy() & control
    tumour = (rng.random(len(cells)) < 0.33) & ~dark
    m2 = (cells["p_m2"] > 0.5).to_numpy() ^ (rng.random(len(cells)) < 0.1)
    truth = {"CD11b": ~tumour, "EpCAM": tumour, "CD86": ~m2, "CD206": m2}
    for name, positive in truth.items():
        for part in ("mean", "median", "integrated"):
            cells[f"marker_{name}_{part}"] = light(rng, positive & ~dark)
    images = tables.read_csv(folder / "images.csv")
    arrow = pa.Table.from_pandas(cells, preserve_index=False).replace_schema_metadata(None)
    tables.write_csv(folder / "cells.csv", arrow)
    layout = pd.DataFrame({"image": [n for n in images["image"] if n in set(wells)]})
    layout["condition"] = ["LPS" if k % 2 else "IL-4" for k in range(len(layout))]
    layout["replicate"] = [str(k // 2 % 3) for k in range(len(layout))]
    layout["control_role"] = ["unstained" if n in wells[-3:] and control else "" for n in layout["image"]]
    layout.to_csv(folder.parent / f"{folder.name}.csv", index=False)
    (folder / "settings.yaml").write_text(SETTINGS.to_yaml(), encoding="utf-8")
    conclude(folder, SETTINGS, read_layout(folder.parent / f"{folder.name}.csv"))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_marked(tmp_path_factory.mktemp("marked") / "run")


def test_figures_and_sentences_say_what_the_tables_say(folder: Path) -> None:
    report = write_report(folder)
    assert {"marker_gates", "shape_against_markers"} <= set(report.figures)
    data = read_data(folder)
    whole = data.marker_agreement
    assert whole is not None and data.cell_types is not None
    counts = data.cell_types.groupby("cell_type")["cells"].sum()
    text = methods_text(folder)
    assert f"{counts['macrophage']:,} macrophage" in text and f"{counts['tumour']:,} tumour" in text
    assert "quantile 0.99 of unstained" in text
    row = whole.iloc[0]
    assert f"Cohen's kappa {row['kappa']:.2f}" in text
    # nine of ten agree, gates hold for 99 % of the cells
    assert row["agree"] == pytest.approx(0.9, abs=0.05) and row["kappa"] == pytest.approx(0.8, abs=0.1)
    drawn = pd.read_csv(folder / "figures" / "marker_gates.csv")
    assert set(drawn["marker"]) == {"CD11b", "EpCAM", "CD86", "CD206"}


def test_the_report_is_about_the_cells_that_are_analysed(folder: Path) -> None:
    data = read_data(folder)
    assert set(data.cells["cell_type"]) == {"macrophage"}
    assert len(data.every_cell) > len(data.cells)
    kept = set(zip(data.cells["image"], data.cells["label"], strict=True))
    inside = data.puncta[data.puncta["label"] > 0]
    assert set(zip(inside["image"], inside["label"], strict=True)) <= kept
    assert f"{len(data.cells):,} cells were analysed" in methods_text(folder)


def test_suggested_gates_are_told_before_all_else(tmp_path: Path) -> None:
    data = read_data(write_marked(tmp_path / "run", control=False))
    assert data.gates is not None and data.gates["suggested"].all()
    assert any("is a suggestion" in sentence for sentence in cautions(data))
    assert not any(
        "is a suggestion" in sentence for sentence in cautions(read_data(write_marked(tmp_path / "b")))
    )
