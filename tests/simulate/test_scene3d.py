from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_tam.errors import InputError
from napari_tam.io.images import read_fields
from napari_tam.settings import Settings
from napari_tam.simulate.parameters import VolumeParameters
from napari_tam.simulate.scene3d import LOCATIONS, Scene3D, write_volumes

if TYPE_CHECKING:
    from pathlib import Path

BASE = VolumeParameters()
SMALL = replace(BASE, plane=replace(BASE.plane, shape=(144, 160), cells_per_field=4, puncta_per_cell=40.0))


@pytest.fixture(scope="module")
def scene() -> Scene3D:
    return Scene3D.draw(SMALL, 5)


def test_the_same_seed_gives_the_same_voxels_and_truth(scene: Scene3D) -> None:
    again = Scene3D.draw(SMALL, 5)
    assert np.array_equal(scene.image, again.image)
    assert np.array_equal(scene.cells, again.cells)
    pd.testing.assert_frame_equal(scene.puncta, again.puncta)
    assert not np.array_equal(scene.image, Scene3D.draw(SMALL, 6).image)


def test_the_image_is_what_the_parameters_say(scene: Scene3D) -> None:
    assert scene.image.shape == (3, 20, 144, 160)
    assert scene.image.dtype == np.uint16
    assert scene.cells.shape == scene.nuclei.shape == (20, 144, 160)
    assert scene.cells.max() >= 2
    inside = scene.nuclei > 0
    assert np.array_equal(scene.nuclei[inside], scene.cells[inside])  # a nucleus is in its cell
    stain = scene.image[0]
    assert stain[scene.cells > 0].mean() > 1.5 * stain[scene.cells == 0].mean()


def test_puncta_are_where_the_truth_says(scene: Scene3D) -> None:
    puncta = scene.puncta
    assert set(puncta["location"]) == set(LOCATIONS)
    place = np.round(puncta[["z_px", "y_px", "x_px"]].to_numpy()).astype(int)
    label = scene.cells[tuple(place.T)]
    inside, outside = (puncta["location"] == name for name in ("inside", "outside"))
    assert np.array_equal(label[inside], puncta["cell"][inside])
    assert not label[outside].any()
    assert (puncta["cell"][outside] == 0).all()
    assert (puncta["depth_um"][inside] >= SMALL.gap_um).all()
    assert (puncta["depth_um"][outside] <= -SMALL.gap_um).all()
    assert puncta["depth_um"][puncta["location"] == "membrane"].abs().max() < 1e-6


def test_a_punctum_on_a_membrane_has_both_sides_of_it_nearby(scene: Scene3D) -> None:
    bound = scene.puncta[scene.puncta["location"] == "membrane"]
    for z, y, x in np.round(bound[["z_px", "y_px", "x_px"]].to_numpy()).astype(int):
        near = scene.cells[max(z - 2, 0) : z + 3, max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3]
        assert near.any()
        assert not near.all()


def test_the_light_of_puncta_is_in_the_image() -> None:
    p = SMALL.plane
    quiet = replace(
        p, haze_photons=0.0, background_photons=50.0, illumination=0.0, offset=0.0, read_noise=0.0
    )
    bright = Scene3D.draw(replace(SMALL, plane=replace(quiet, punctum_photons=5000.0)), 5)
    total = bright.image[2].sum(dtype=float) / p.gain - 50.0 * bright.image[2].size
    # what lies at the stack's border is cut off
    assert total == pytest.approx(bright.puncta["photons"].sum(), rel=0.08)


def test_stacks_are_written_with_voxel_size_and_truth(tmp_path: Path) -> None:
    (path,) = write_volumes(tmp_path, 1, 3, planes=10, parameters=SMALL)
    (field,) = read_fields(path, Settings(z_stack="volume"))
    assert (field.planes, field.z_step_um, field.pixel_size_um) == (10, 1.0, 0.25)
    assert set(field.channels) == {"cell", "nucleus", "exosome"}
    assert tifffile.imread(tmp_path / "volume_01_masks.tif").shape == (10, 144, 160)
    assert {"z_px", "location", "cell"} <= set(pd.read_csv(tmp_path / "volume_01_puncta.csv"))


def test_too_few_planes_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="3 planes are no stack"):
        write_volumes(tmp_path, 1, 0, planes=3)


def test_a_folder_that_is_a_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_volumes(tmp_path / "file", 1, 0, planes=4, parameters=SMALL)
