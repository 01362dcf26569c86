"""Co-cultures: shapes of both types, transfer that falls with distance, uptake that polarises."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from scipy import ndimage
from skimage.measure import label as connected

from napari_tam.cli.main import main
from napari_tam.errors import InputError
from napari_tam.io.layout import read_layout
from napari_tam.settings import Settings
from napari_tam.simulate.coculture import LABELS, Coculture, draw_coculture, wells
from napari_tam.simulate.scene import Scene

if TYPE_CHECKING:
    from pathlib import Path

SCENE = replace(Coculture().scene, shape=(400, 400), cells_per_field=26)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [Scene.draw(SCENE, seed) for seed in range(5)]


def test_tumour_cells_are_whole_pieces_beside_macrophages(scenes: list[Scene]) -> None:
    for scene in scenes:
        cells = scene.phenotypes
        assert set(np.unique(scene.cells)) - {0} == set(cells["label"])
        assert connected(scene.cells, connectivity=1).max() == len(cells)
        tumour = cells["cell_type"] == "tumour"
        assert 0.3 < tumour.mean() < 0.7
        assert (cells.loc[tumour, "phenotype"] == "").all()
        assert set(cells.loc[~tumour, "phenotype"]) <= {"M1", "M2"}
        assert scene.channel_names == ["CellMask", "DAPI", "GFP", "PKH26", "CD11b", "EpCAM", "CD86", "CD206"]
        assert scene.image.shape == (8, 400, 400)


def test_tumour_cells_are_rounder_and_touch_one_another(scenes: list[Scene]) -> None:
    ratios: dict[str, list[float]] = {"tumour": [], "macrophage": []}
    alone = {"tumour": 0, "macrophage": 0}
    for scene in scenes:
        kind = scene.phenotypes.set_index("label")["cell_type"]
        for name, ratio in zip(scene.phenotypes["cell_type"], scene.phenotypes["axis_ratio"], strict=True):
            ratios[name].append(ratio)
        for label in kind.index:
            around = ndimage.binary_dilation(scene.cells == label, iterations=3)
            same = kind[[k for k in np.unique(scene.cells[around]) if k not in (0, label)]]
            alone[kind[label]] += not (same == kind[label]).any()
    assert np.median(ratios["tumour"]) < 1.35 < np.median(ratios["macrophage"])
    shares = {name: alone[name] / len(ratios[name]) for name in ratios}
    assert shares["tumour"] < 0.3 < shares["macrophage"]


def test_transfer_falls_with_the_distance_to_the_nearest_donor() -> None:
    label = replace(LABELS[0], puncta_per_cell=40.0, decay_um=15.0, far=0.0)
    p = replace(SCENE, labels=(label,), uptake_spread=0.05, diameter_spread=0.05, markers=(), polarises=0.0)
    taken, expected = [], []
    for seed in range(12):
        scene = Scene.draw(p, 50 + seed)
        cells = scene.phenotypes[scene.phenotypes["cell_type"] == "macrophage"]
        away = ndimage.distance_transform_edt(
            ~np.isin(scene.cells, scene.phenotypes.loc[scene.phenotypes["cell_type"] == "tumour", "label"])
        )
        shortest = ndimage.minimum(away, scene.cells, cells["label"])
        own = np.maximum(shortest - 1, 0) * p.pixel_size_um
        assert cells["distance_um_GFP"].to_numpy() == pytest.approx(own, abs=0.01)
        assert cells["expected_GFP"].to_numpy() == pytest.approx(40 * np.exp(-own / 15), rel=0.01)
        area = np.bincount(scene.cells.ravel())[1:]
        share = area[cells["label"].to_numpy() - 1] / area.mean()
        taken += list(cells["taken_GFP"])
        expected += list(cells["expected_GFP"] * share)
    near = np.array(expected) > np.median(expected)
    for part in (near, ~near):
        assert np.sum(np.array(taken)[part]) == pytest.approx(np.sum(np.array(expected)[part]), rel=0.1)


def test_every_label_has_its_own_puncta_in_its_own_channel(scenes: list[Scene]) -> None:
    scene = scenes[0]
    for channel, name in ((2, "GFP"), (3, "PKH26")):
        own = scene.puncta["exosome_label"] == name
        at = scene.puncta.loc[own & (scene.puncta["aggregate"] == 0), ["y_px", "x_px"]].to_numpy()
        inside = np.clip(np.round(at), 0, 399).astype(int)
        other = scene.image[5 - channel][tuple(inside.T)]
        assert np.median(scene.image[channel][tuple(inside.T)]) > 2 * np.median(other)
        counted = scene.puncta[own & (scene.puncta["cell"] > 0)].groupby("cell").size()
        taken = scene.phenotypes.set_index("label")[f"taken_{name}"]
        assert taken[taken > 0].to_dict() == counted.to_dict()


def test_uptake_moves_the_markers_by_a_known_amount() -> None:
    stains = tuple(replace(stain, spread=0.0) for stain in SCENE.markers)
    slope = 0.06
    p = replace(SCENE, markers=stains, polarises=slope, marker_bleed=0.0, illumination=0.0)
    p = replace(p, background_photons=0.0, read_noise=0.5)
    with_, without = Scene.draw(p, 9), Scene.draw(replace(p, polarises=1e-9), 9)
    cells = with_.phenotypes[with_.phenotypes["cell_type"] == "macrophage"]
    np.testing.assert_allclose(cells["polarised"], slope * cells["taken_GFP"])
    moved = []
    for scene in (with_, without):
        light = [ndimage.mean(scene.image[c] - p.offset, scene.cells, cells["label"]) for c in (7, 6)]
        moved.append(np.log(light[0] / light[1]))
    found = np.polyfit(cells["taken_GFP"], moved[0] - moved[1], 1)[0]
    assert found == pytest.approx(slope, rel=0.1)


def test_without_donors_nobody_is_near_one() -> None:
    scene = Scene.draw(replace(SCENE, tumour_share=0.0), 1)
    assert scene.phenotypes["distance_um_GFP"].isna().all()
    assert (scene.phenotypes["expected_GFP"] == LABELS[0].puncta_per_cell * LABELS[0].far).all()


def test_written_it_has_layout_settings_and_truth(tmp_path: Path) -> None:
    assert main(["simulate", str(tmp_path), "--coculture", "--seed", "3"]) == 0
    images = sorted(path.name.removesuffix(".ome.tif") for path in tmp_path.glob("*.ome.tif"))
    layout = read_layout(tmp_path / "layout.csv")
    layout.check(images)
    roles = layout.columns_of(images)["control_role"]
    assert (roles == "").sum() == (roles == "dye_only").sum() == 4
    assert {"fmo:CD11b", "fmo:EpCAM", "fmo:CD86", "fmo:CD206"} <= set(roles)
    settings = Settings.from_yaml(tmp_path / "settings.yaml")
    with tifffile.TiffFile(tmp_path / f"{images[0]}.ome.tif") as tif:
        assert tif.ome_metadata is not None
        for name in ("CellMask", "GFP", "PKH26", "EpCAM"):
            assert f'Name="{name}"' in tif.ome_metadata
    assert set(settings.types) == {"macrophage", "tumour"}


def test_the_same_seed_gives_the_same_co_culture_and_it_fits_a_plate() -> None:
    small = Coculture(replicates=1, fields=1, scene=replace(SCENE, shape=(128, 128), cells_per_field=5))
    one, other = (next(iter(draw_coculture(small, 4)))[2].image for _ in range(2))
    assert np.array_equal(one, other)
    with pytest.raises(InputError, match="too large"):
        list(wells(Coculture(replicates=7), 0))
