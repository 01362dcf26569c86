"""Markers of simulated cells: who carries them, and what bleeds where."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tifffile

from napari_tam.simulate.parameters import MarkerStain, SceneParameters
from napari_tam.simulate.scene import Scene, write_scene

STAINS = (
    MarkerStain("CD11b", ("macrophage",)),
    MarkerStain("EpCAM", ("tumour",)),
    MarkerStain("CD206", ("M2",)),
)
PLAIN = SceneParameters(shape=(320, 320), cells_per_field=20, read_noise=0.5, background_photons=5.0)
MARKED = replace(PLAIN, markers=STAINS, tumour_share=0.4, illumination=0.0)


def test_markers_are_channels_more_and_change_no_other_pixel() -> None:
    plain, marked = Scene.draw(PLAIN, 3), Scene.draw(replace(PLAIN, markers=STAINS), 3)
    np.testing.assert_array_equal(plain.image, marked.image[:3])
    np.testing.assert_array_equal(plain.cells, marked.cells)
    assert len(marked.image) == 6
    assert list(plain.phenotypes) == list(marked.phenotypes)[: len(plain.phenotypes.columns)]


def test_cells_shine_with_what_they_carry() -> None:
    scene = Scene.draw(MARKED, 5)
    cells = scene.phenotypes
    macrophage = cells["cell_type"] == "macrophage"
    assert 0 < macrophage.mean() < 1
    assert (cells["CD11b"] == macrophage).all() and (cells["EpCAM"] == ~macrophage).all()
    assert (cells["CD206"] == (macrophage & (cells["phenotype"] == "M2"))).all()
    for channel, stain in zip(scene.image[3:], STAINS, strict=True):
        means = np.array([channel[scene.cells == label].mean() for label in cells["label"]], float)
        carried = cells[stain.name].to_numpy(bool)
        assert means[carried].min() > means[~carried].max()


def test_bleed_is_the_share_of_the_others_light_and_a_control_has_no_stain() -> None:
    alone = Scene.draw(MARKED, 5).image.astype(float)
    mixed = Scene.draw(replace(MARKED, marker_bleed=0.1), 5).image.astype(float)
    background = MARKED.offset + MARKED.gain * MARKED.background_photons
    seen = mixed[3].mean() - alone[3].mean()
    assert seen == pytest.approx(0.1 * (alone[4:].mean(axis=(1, 2)) - background).sum(), rel=0.05)
    dark = replace(MARKED, markers=tuple(replace(stain, stained=False) for stain in STAINS))
    control = Scene.draw(dark, 5)
    lit = alone[3][np.isin(control.cells, control.phenotypes.loc[control.phenotypes["CD11b"], "label"])]
    own = control.image[3][control.cells > 0]
    # photons over dark_photons, the background apart
    assert (own.mean() - background) / (lit.mean() - background) == pytest.approx(15 / 215, rel=0.3)


def test_files_name_the_markers(tmp_path) -> None:
    path = write_scene(Scene.draw(MARKED, 1), tmp_path / "field_01")
    with tifffile.TiffFile(path) as tif:
        assert tif.ome_metadata is not None
        for stain in STAINS:
            assert f'Name="{stain.name}"' in tif.ome_metadata
