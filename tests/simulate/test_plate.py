from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from napari_tam.cli.main import main
from napari_tam.errors import InputError
from napari_tam.io.layout import read_layout
from napari_tam.simulate.parameters import SceneParameters
from napari_tam.simulate.plate import Plate, draw_plate, layout_csv, wells, write_plate
from napari_tam.simulate.scene import Scene

if TYPE_CHECKING:
    from pathlib import Path

SMALL = SceneParameters(shape=(128, 128), cells_per_field=6)
PLATE = Plate(doses=(2.0, 8.0), replicates=2, fields=2, scene=SMALL)


def test_a_plate_has_all_wells_and_a_layout_that_fits(tmp_path: Path) -> None:
    paths = list(write_plate(tmp_path, PLATE, 1))
    assert len(paths) == 2 * (2 * 2 + 2) * 2 + 1
    names = [path.name.removesuffix(".ome.tif") for path in paths[:-1]]
    layout = read_layout(paths[-1])
    layout.check(names)
    about = layout.columns_of(names)
    assert set(about["dose"]) == {0, 2, 8}
    assert (about.loc[about["control_role"] == "dye_only", "dose"] == 0).all()
    assert set(about["condition"]) == {"LPS+IFNg", "IL-4"}


def test_the_same_seed_gives_the_same_plate() -> None:
    one, other = (next(iter(draw_plate(PLATE, 5)))[2].image for _ in range(2))
    assert np.array_equal(one, other)
    assert layout_csv(PLATE, 5) == layout_csv(PLATE, 5)
    with pytest.raises(InputError, match="too large"):
        list(wells(replace(PLATE, replicates=9), 0))


def test_uptake_follows_dose_share_and_phenotype() -> None:
    base = SceneParameters(shape=(700, 700), cells_per_field=80, puncta_per_cell=10, uptake_spread=0.2)
    base = replace(base, aggregates_per_field=0, free_per_field=0)
    scene = Scene.draw(replace(base, uptake_share=0.5, m2_uptake=2.0), 3)
    area = np.bincount(scene.cells.ravel())[1:]
    count = np.bincount(scene.puncta["cell"], minlength=len(area) + 1)[1:]
    takes = scene.phenotypes["takes_up"].to_numpy(bool)
    assert 0.3 < takes.mean() < 0.7
    assert count[~takes].max() == 0
    sums = (
        pd.DataFrame({"count": count, "area": area})[takes]
        .groupby(scene.phenotypes["phenotype"][takes])
        .sum()
    )
    per_area = sums["count"] / sums["area"]
    assert per_area["M2"] / per_area["M1"] == pytest.approx(2, rel=0.25)
    particles = Scene.draw(
        replace(base, puncta_per_cell=0, dye_particles_per_cell=1.0, aggregate_cells=0.2), 3
    )
    assert particles.puncta["aggregate"].sum() == pytest.approx(0.2 * len(area), rel=0.6)
    assert (particles.puncta["cell"] > 0).all()
    assert (particles.puncta["aggregate"] == 0).sum() == pytest.approx(len(area), rel=0.3)


def test_a_scene_without_them_is_as_it_was() -> None:
    plain = Scene.draw(SMALL, 3)
    again = Scene.draw(replace(SMALL, m2_uptake=1.0, uptake_share=1.0, aggregate_cells=0.0), 3)
    assert np.array_equal(plain.image, again.image)
    assert "takes_up" not in plain.phenotypes


def test_the_command_writes_a_plate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_tam.simulate import plate as synthetic_plate

    monkeypatch.setattr(synthetic_plate, "Plate", lambda fields: replace(PLATE, fields=fields, replicates=1))
    assert main(["simulate", str(tmp_path), "--plate"]) == 0
    assert len(list(tmp_path.glob("*.ome.tif"))) == 6
    assert (tmp_path / "layout.csv").exists()
