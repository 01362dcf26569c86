from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_tam.evaluate.matching import match_points
from napari_tam.io.field import Field
from napari_tam.pipeline.models import load_models
from napari_tam.pipeline.runner import run
from napari_tam.settings import Settings
from napari_tam.simulate.parameters import VolumeParameters
from napari_tam.simulate.scene3d import Scene3D
from napari_tam.volume.projection import project_field, project_labels


def test_a_column_shows_the_label_with_most_voxels_in_it() -> None:
    labels = np.zeros((5, 1, 3), np.uint16)
    labels[:3, 0, 0], labels[3:, 0, 0] = 1, 2
    labels[0, 0, 1], labels[2:, 0, 1] = 1, 2
    assert project_labels(labels).tolist() == [[1, 2, 0]]


def test_a_label_that_others_would_hide_keeps_its_columns() -> None:
    labels = np.zeros((5, 1, 2), np.uint16)
    labels[:4] = 1
    labels[4, 0, 1] = 2
    assert project_labels(labels).tolist() == [[1, 2]]


@given(hnp.arrays(np.uint16, (4, 3, 3), elements=st.integers(0, 3)))
def test_the_projection_covers_what_the_volume_covers(labels: np.ndarray) -> None:
    flat = project_labels(labels)
    assert np.array_equal(flat > 0, (labels > 0).any(axis=0))
    assert ((labels == flat).any(axis=0) | (flat == 0)).all()


def test_planes_stay_as_they_are() -> None:
    labels = np.array([[0, 1], [2, 2]], np.uint16)
    assert project_labels(labels) is labels
    field = Field("a", {"cell": labels}, 1.0)
    assert project_field(field) is field


def test_the_projection_of_a_field_is_a_plane() -> None:
    stack = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
    field = Field("a", {"cell": stack}, 0.2, z_step_um=0.5)
    assert (field.shape, field.planes) == ((3, 4), 2)
    flat = project_field(field)
    assert (flat.shape, flat.planes, flat.z_step_um) == ((3, 4), 1, None)
    assert np.array_equal(flat.channels["cell"], stack[1])


@pytest.mark.slow
def test_the_bundled_networks_tell_inside_from_membrane_from_outside() -> None:
    base = VolumeParameters()
    plane = replace(base.plane, shape=(256, 256), cells_per_field=6, puncta_per_cell=30.0)
    scene = Scene3D.draw(replace(base, plane=plane), 12)
    channels = dict(zip(("cell", "nucleus", "exosome"), scene.image, strict=True))
    settings = Settings(phenotype_model="none", device="cpu")
    analysis = run(Field("a", channels, 0.25, z_step_um=0.5), settings, load_models(settings))
    voxel = np.array([0.5, 0.25, 0.25])
    axes = ["z_px", "y_px", "x_px"]
    true, found = (table[axes].to_numpy() * voxel for table in (scene.puncta, analysis.puncta))
    pairs = match_points(true, found, 0.5)
    assert len(pairs) > 0.85 * len(true)
    assert len(pairs) > 0.95 * len(found)
    place = scene.puncta["location"].to_numpy()[pairs[:, 0]]
    called = analysis.puncta["location"].to_numpy()[pairs[:, 1]]
    recalls = [(called[place == name] == name).mean() for name in ("inside", "membrane", "outside")]
    assert np.mean(recalls) >= 0.9
