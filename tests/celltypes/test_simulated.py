"""A simulated plate of two cell types with blur, bleed and noise: gates and types against the truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from marked_cells import images_of

from napari_tam.celltypes.gates import find_gates
from napari_tam.celltypes.marked import mark
from napari_tam.celltypes.types import analysed
from napari_tam.io.field import Field
from napari_tam.measure.cells import measure
from napari_tam.settings import Settings
from napari_tam.simulate.parameters import MarkerStain, SceneParameters
from napari_tam.simulate.scene import Scene

STAINS = (
    MarkerStain("CD11b", ("macrophage",)),
    MarkerStain("EpCAM", ("tumour",)),
    MarkerStain("CD86", ("M1",)),
    MarkerStain("CD206", ("M2",)),
)
SCENE = SceneParameters(
    shape=(448, 448),
    cells_per_field=32,
    tumour_share=0.35,
    markers=STAINS,
    marker_bleed=0.05,
    puncta_per_cell=0,
)
FMO = tuple(f"fmo:{stain.name}" for stain in STAINS)
ROLES = ("", "", "", "", *FMO, *FMO, "unstained", "unstained")


def field_of(scene: Scene, name: str) -> Field:
    names = ["cell", "nucleus", "exosome", *(f"marker_{stain.name}" for stain in STAINS)]
    return Field(name, dict(zip(names, scene.image, strict=True)), SCENE.pixel_size_um)


@pytest.fixture(scope="module")
def plate() -> pd.DataFrame:
    """The cells of four stained wells, two without each marker, and two without any, with their truth."""
    parts = []
    for number, role in enumerate(ROLES):
        stains = [replace(s, stained=role not in ("unstained", f"fmo:{s.name}")) for s in STAINS]
        scene = Scene.draw(replace(SCENE, markers=tuple(stains)), [17, number])
        table, _, _ = measure(
            field_of(scene, f"w{number}"), scene.cells, scene.nuclei, pd.DataFrame(), Settings()
        )
        truth = scene.phenotypes.rename(columns={"cell_type": "true_type", "phenotype": "true_phenotype"})
        parts.append(table.merge(truth, on="label").assign(control_role=role, replicate=str(number % 2)))
    layout = {"plate": "", "condition": "co-culture", "donor": "", "dose": np.nan, "time": np.nan, "well": ""}
    return pd.concat(parts, ignore_index=True).assign(**layout)


def test_positive_shares_are_within_3_points_of_the_truth(plate: pd.DataFrame) -> None:
    _, gates = find_gates(plate, images_of(plate), Settings())
    stained = plate[plate["control_role"] == ""]
    assert gates["control_role"].tolist() == list(FMO)
    for row in gates.itertuples():
        assert abs(row.positive_fraction - stained[row.marker].mean()) < 0.03, row.marker


def test_an_unstained_control_knows_nothing_of_bleed_which_fmo_does(plate: pd.DataFrame) -> None:
    bare = plate[plate["control_role"].isin(["", "unstained"])].reset_index(drop=True)
    _, gates = find_gates(bare, images_of(bare), Settings())
    _, better = find_gates(plate, images_of(plate), Settings())
    assert (gates["gate"] < better["gate"]).all()
    # the other stains' light makes cells positive that carry nothing
    stained = plate[plate["control_role"] == ""]
    assert np.mean([row.positive_fraction - stained[row.marker].mean() for row in gates.itertuples()]) > 0.05


def test_suggested_gates_are_within_3_points_too(plate: pd.DataFrame) -> None:
    stained = plate[plate["control_role"] == ""].reset_index(drop=True)
    _, gates = find_gates(stained, images_of(stained), Settings())
    assert gates["suggested"].all()
    for row in gates.itertuples():
        assert abs(row.positive_fraction - stained[row.marker].mean()) < 0.03, row.marker


def test_cell_types_are_right(plate: pd.DataFrame) -> None:
    settings = Settings(types={"macrophage": "CD11b+", "tumour": "EpCAM+ CD11b-"})
    marked = mark(plate, images_of(plate), settings)
    stained = (plate["control_role"] == "").to_numpy()
    called, true = marked.cells["cell_type"][stained], plate["true_type"][stained]
    recalls = [(called[true == name] == name).mean() for name in ("macrophage", "tumour")]
    assert np.mean(recalls) >= 0.95
    chosen = analysed(plate.assign(cell_type=marked.cells["cell_type"]), settings)
    assert (plate["true_type"][chosen] == "macrophage").mean() > 0.97


def test_phenotypes_by_markers_are_right(plate: pd.DataFrame) -> None:
    settings = Settings(
        types={"macrophage": "CD11b+", "tumour": "EpCAM+ CD11b-"},
        marker_phenotypes={"M1": "CD86+", "M2": "CD206+"},
    )
    found = mark(plate, images_of(plate), settings).cells
    chosen = analysed(plate.assign(cell_type=found["cell_type"]), settings)
    called, true = found["marker_phenotype"][chosen], plate["true_phenotype"][chosen]
    single = called.isin(["M1", "M2"])
    assert single.mean() > 0.9 and (called == true)[single].mean() > 0.95
