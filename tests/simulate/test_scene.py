from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.measure import label as connected
from skimage.measure import regionprops_table

from napari_tam.errors import InputError
from napari_tam.io.images import read_fields
from napari_tam.settings import Settings
from napari_tam.simulate import optics
from napari_tam.simulate.cells import draw_cells
from napari_tam.simulate.parameters import SceneParameters, random_parameters
from napari_tam.simulate.scene import CHANNEL_NAMES, Scene, write_fields

if TYPE_CHECKING:
    from pathlib import Path

SMALL = SceneParameters(shape=(160, 192), cells_per_field=8)
MANY = settings(max_examples=15, deadline=None)


def scenes() -> st.SearchStrategy[Scene]:
    """Scenes over the whole range of the training, small."""

    def draw(seed: int, height: int, width: int, diameter: float | None) -> Scene:
        rng = np.random.default_rng(seed)
        return Scene.draw(random_parameters(rng, (height, width), diameter), rng)

    return st.builds(
        draw,
        st.integers(0, 2**32 - 1),
        st.integers(48, 160),
        st.integers(48, 160),
        st.none() | st.floats(12, 80),
    )


def under(labels: np.ndarray, table: pd.DataFrame) -> np.ndarray:
    """Label of the pixel that each punctum lies in."""
    pixel = np.floor(table[["y_px", "x_px"]].to_numpy() + 0.5).astype(int)
    pixel = np.clip(pixel, 0, np.array(labels.shape) - 1)
    return labels[pixel[:, 0], pixel[:, 1]]


def test_the_same_seed_gives_the_same_pixels_and_truth() -> None:
    first, second = Scene.draw(SMALL, 3), Scene.draw(SMALL, 3)
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.cells, second.cells)
    assert np.array_equal(first.nuclei, second.nuclei)
    pd.testing.assert_frame_equal(first.puncta, second.puncta)
    assert not np.array_equal(first.image, Scene.draw(SMALL, 4).image)


@MANY
@given(scenes())
def test_truth_is_consistent_whatever_the_parameters(scene: Scene) -> None:
    count = len(scene.phenotypes)
    assert scene.image.shape == (3, *scene.parameters.shape)
    assert scene.image.dtype == np.uint16
    # Numbered 1..n without gaps, each in one piece, one row each.
    assert set(np.unique(scene.cells)) - {0} == set(range(1, count + 1))
    assert connected(scene.cells, connectivity=1).max() == count
    assert list(scene.phenotypes["label"]) == list(range(1, count + 1))
    assert set(scene.phenotypes["phenotype"]) <= {"M1", "M2"}
    # A nucleus lies in the cell whose label it carries.
    nuclear = scene.nuclei > 0
    assert np.array_equal(scene.nuclei[nuclear], scene.cells[nuclear])
    # Every punctum belongs to the label under it, and lies in the field.
    spots = scene.puncta
    assert np.array_equal(spots["cell"], under(scene.cells, spots))
    assert (spots[["y_px", "x_px"]] >= -0.5).all(axis=None)
    assert (spots[["y_px", "x_px"]] <= np.array(scene.parameters.shape) - 0.5).all(axis=None)
    assert np.isfinite(spots.to_numpy(float)).all()
    assert (spots[["amplitude_photons", "sigma_px"]] > 0).all(axis=None)


def test_one_cell_may_cover_the_whole_field() -> None:
    parameters = SceneParameters(
        shape=(48, 48), cell_diameter_um=60, cells_per_field=8, overlap=0, membrane_bound=0.5
    )
    scenes_drawn = [Scene.draw(parameters, seed) for seed in range(6)]
    assert any(scene.cells.all() for scene in scenes_drawn)


def test_a_field_without_cells_is_a_field() -> None:
    scene = Scene.draw(replace(SMALL, cells_per_field=0, free_per_field=20), 0)
    assert not scene.cells.any()
    assert not scene.nuclei.any()
    assert scene.phenotypes.empty
    assert len(scene.puncta) > 5
    assert (scene.puncta["cell"] == 0).all()


@pytest.mark.parametrize(("y", "x"), [(20.0, 30.0), (20.31, 29.72)])
def test_amplitude_is_the_height_of_the_gaussian(y: float, x: float) -> None:
    spot = pd.DataFrame({"y_px": [y], "x_px": [x], "amplitude_photons": [250.0], "sigma_px": [1.6]})
    image = optics.render_spots((50, 60), spot)
    offset = (y - round(y)) ** 2 + (x - round(x)) ** 2
    assert image[round(y), round(x)] == pytest.approx(250 * np.exp(-offset / 2 / 1.6**2), rel=1e-5)
    assert image.sum() == pytest.approx(2 * np.pi * 1.6**2 * 250, rel=2e-3)
    assert ndimage.center_of_mass(image) == pytest.approx((y, x), abs=0.01)


def test_puncta_appear_in_the_image_where_the_truth_says_and_as_bright() -> None:
    parameters = replace(
        SMALL, cells_per_field=1, free_per_field=6, puncta_per_cell=0, aggregates_per_field=0, haze_photons=0,
        illumination=0, punctum_photons=20000, punctum_spread=0.2, background_photons=20, read_noise=1,
    )  # fmt: skip
    scene = Scene.draw(parameters, 5)
    expected = optics.render_spots(parameters.shape, scene.puncta) + parameters.background_photons
    photons = (scene.image[2].astype(float) - parameters.offset) / parameters.gain
    assert len(scene.puncta) >= 3
    # Shot noise is all that differs.
    assert np.abs(photons - expected).max() < 6 * np.sqrt(expected.max())
    assert abs((photons - expected).mean()) < 0.2


def test_camera_turns_photons_into_grey_values_with_poisson_noise() -> None:
    gain, offset, read_noise, photons = 2.5, 90.0, 4.0, 50.0
    grey = optics.camera(
        np.full((300, 300), photons, np.float32), gain, offset, read_noise, np.random.default_rng(0)
    ).astype(float)
    assert grey.mean() == pytest.approx(gain * photons + offset, abs=0.3)
    # A twelfth for rounding to whole grey values.
    assert grey.var() == pytest.approx(gain**2 * photons + read_noise**2 + 1 / 12, rel=0.03)


def test_camera_saturates_instead_of_wrapping_around() -> None:
    bright = optics.camera(np.full((4, 4), 1e6, np.float32), 2.0, 100.0, 3.0, np.random.default_rng(0))
    dark = optics.camera(np.zeros((4, 4), np.float32), 2.0, 0.0, 3.0, np.random.default_rng(0))
    assert (bright == 65535).all()
    assert dark.max() < 20


def test_light_falls_from_its_brightest_point_to_the_far_corner() -> None:
    light = optics.illumination((100, 140), 0.4, np.random.default_rng(1))
    assert light.max() == pytest.approx(1, abs=1e-3)
    assert light.min() == pytest.approx(0.6, abs=1e-3)
    corners = [light[y, x] for y in (0, -1) for x in (0, -1)]
    assert light.min() == min(corners)


def test_m2_cells_are_more_elongated_than_m1_cells() -> None:
    ratios = {}
    for name, fraction in (("M1", 1.0), ("M2", 0.0)):
        parameters = SceneParameters(
            shape=(700, 700),
            cells_per_field=40,
            overlap=0,
            clustering=0,
            m1_fraction=fraction,
            protrusions=0.3,
        )
        population = draw_cells(parameters, np.random.default_rng(2))
        assert set(population.phenotypes["phenotype"]) == {name}
        inner = population.labels.copy()
        border = np.unique(np.concatenate([inner[0], inner[-1], inner[:, 0], inner[:, -1]]))
        inner[np.isin(inner, border)] = 0
        table = regionprops_table(inner, properties=("axis_major_length", "axis_minor_length"))
        ratios[name] = np.median(table["axis_major_length"] / table["axis_minor_length"])
    assert ratios["M2"] > 1.5 * ratios["M1"]
    assert ratios["M1"] < 1.5


def test_cells_have_the_diameter_asked_for() -> None:
    parameters = SceneParameters(
        shape=(700, 700), cells_per_field=30, overlap=0, clustering=0, diameter_spread=0.01, m1_fraction=0.5
    )
    population = draw_cells(parameters, np.random.default_rng(6))
    areas = np.bincount(population.labels.ravel())[1:]
    wanted = parameters.cell_diameter_um / parameters.pixel_size_um
    assert np.median(np.sqrt(areas * 4 / np.pi)) == pytest.approx(wanted, rel=0.12)


def test_without_overlap_no_pixel_is_covered_twice_and_with_it_some_are() -> None:
    crowd = SceneParameters(shape=(300, 300), cells_per_field=40, clustering=1.0)
    covered = {}
    for overlap in (0.0, 0.25):
        population = draw_cells(replace(crowd, overlap=overlap), np.random.default_rng(3))
        cover = np.zeros(crowd.shape, int)
        for rows, columns, body in population.bodies:
            cover[rows, columns] += body
        covered[overlap] = cover.max()
        assert np.array_equal(cover > 0, population.labels > 0) or overlap
    assert covered[0.0] == 1
    assert covered[0.25] > 1


@pytest.mark.parametrize("seed", [2, 3, 4])
def test_a_cell_cut_in_two_by_another_keeps_its_larger_piece(seed: int) -> None:
    # Without that, these fields have 34, 41 and 29 pieces of 30, 35 and 27 cells.
    crowd = SceneParameters(shape=(300, 300), cells_per_field=60, overlap=0.25, clustering=1, m1_fraction=0)
    population = draw_cells(crowd, np.random.default_rng(seed))
    assert connected(population.labels, connectivity=1).max() == len(population.phenotypes)
    assert len(population.bodies) == len(population.phenotypes)


@pytest.mark.parametrize(
    ("no_nucleus", "two_nuclei", "expected"), [(1.0, 0.0, 0), (0.0, 0.0, 1), (0.0, 1.0, 2)]
)
def test_nuclei_for_each_cell(no_nucleus: float, two_nuclei: float, expected: int) -> None:
    # Round cells well inside the field, so that all nuclei fit.
    parameters = SceneParameters(
        shape=(500, 500), cells_per_field=12, overlap=0, clustering=0, m1_fraction=1, no_nucleus=no_nucleus,
        two_nuclei=two_nuclei, nucleus_fraction=0.3,
    )  # fmt: skip
    scene = Scene.draw(parameters, 4)
    pieces = [
        connected(scene.nuclei == n, connectivity=2).max() for n in range(1, int(scene.cells.max()) + 1)
    ]
    if expected == 2:  # two may touch, and look like one
        assert set(pieces) <= {0, 1, 2}
        assert 2 in pieces
    else:
        assert np.mean(np.array(pieces) == expected) > 0.9
        assert max(pieces, default=0) <= expected


def test_puncta_gather_around_the_nucleus_or_at_the_edge_as_asked() -> None:
    def distances(**changes: float) -> tuple[float, float]:
        scene = Scene.draw(replace(SceneParameters(shape=(300, 300)), puncta_per_cell=80, **changes), 7)
        inside = scene.puncta[(scene.puncta["cell"] > 0) & (scene.puncta["aggregate"] == 0)]
        to_nucleus = ndimage.distance_transform_edt(scene.nuclei == 0)
        to_edge = ndimage.distance_transform_edt(scene.cells > 0)
        return float(np.median(under(to_nucleus, inside))), float(np.median(under(to_edge, inside)))

    spread = distances(perinuclear=0.0, membrane_bound=0.0)
    perinuclear = distances(perinuclear=0.9, membrane_bound=0.0)
    membrane = distances(perinuclear=0.0, membrane_bound=0.9)
    assert perinuclear[0] < 0.5 * spread[0]
    assert membrane[1] < 0.5 * spread[1]


def test_aggregates_are_brighter_and_wider_than_single_puncta() -> None:
    spots = Scene.draw(replace(SMALL, aggregates_per_field=20), 2).puncta
    single, aggregates = spots[spots["aggregate"] == 0], spots[spots["aggregate"] == 1]
    assert len(aggregates) > 5
    assert aggregates["sigma_px"].min() > single["sigma_px"].max()
    light = spots["amplitude_photons"] * spots["sigma_px"] ** 2
    assert light[aggregates.index].median() > 5 * light[single.index].median()


def test_bleed_through_shows_the_cell_stain_in_the_exosome_channel() -> None:
    quiet = replace(SMALL, puncta_per_cell=0, free_per_field=0, aggregates_per_field=0, haze_photons=0)
    correlation = [
        np.corrcoef(
            *Scene.draw(replace(quiet, bleed_through=share, illumination=0), 1).image[[0, 2]].reshape(2, -1)
        )
        for share in (0.0, 0.2)
    ]
    assert abs(correlation[0][0, 1]) < 0.1
    assert correlation[1][0, 1] > 0.8


def test_lysosomes_leave_the_other_channels_as_they_were() -> None:
    plain = Scene.draw(SMALL, 7)
    scene = Scene.draw(replace(SMALL, lysosomes_per_cell=12), 7)
    assert plain.lysosomes is None
    assert scene.lysosomes is not None
    assert scene.image.shape[0] == 4
    assert np.array_equal(scene.image[:3], plain.image)
    inside = scene.lysosomes > 0
    assert (scene.cells[inside] > 0).all()
    assert (scene.nuclei[inside] > 0).mean() < 0.25  # none is centred in a nucleus
    assert scene.image[3][inside].mean() > scene.image[3][~inside].mean() + 50


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_share_of_puncta_in_lysosomes_is_as_asked_beside_chance(share: float) -> None:
    scene = Scene.draw(replace(SMALL, lysosomes_per_cell=12, puncta_per_cell=60, colocalised=share), 7)
    assert scene.lysosomes is not None
    inside = scene.puncta[scene.puncta["cell"] > 0]
    chance = (Scene.draw(replace(SMALL, lysosomes_per_cell=12, puncta_per_cell=60), 7).puncta)["lysosome"]
    expected = share + (1 - share) * (chance[inside.index] > 0).mean()
    assert (inside["lysosome"] > 0).mean() == pytest.approx(expected, abs=0.06)
    assert np.array_equal(inside["lysosome"], under(scene.lysosomes, inside))
    assert np.array_equal(inside["cell"], under(scene.cells, inside))


def test_a_channel_shift_moves_what_is_seen_of_the_exosomes_only() -> None:
    um = SMALL.pixel_size_um
    quiet = replace(SMALL, haze_photons=0.0, punctum_photons=20000.0, illumination=0.0)
    one = Scene.draw(quiet, 2)
    other = Scene.draw(replace(quiet, channel_shift_um=(4 * um, -3 * um)), 2)
    assert np.array_equal(one.image[:2], other.image[:2])
    pd.testing.assert_frame_equal(one.puncta, other.puncta)
    back = np.roll(other.image[2].astype(float), (-4, 3), (0, 1))[8:-8, 8:-8]
    assert np.corrcoef(back.ravel(), one.image[2][8:-8, 8:-8].ravel())[0, 1] > 0.98


def test_light_falls_to_a_half_from_the_centre_that_is_asked_for() -> None:
    asked = replace(SMALL, illumination=0.5, light_centre=(0.25, 0.75))
    first, second = Scene.draw(asked, 1), Scene.draw(asked, 2)
    assert first.light is not None and second.light is not None
    assert np.array_equal(first.light, second.light)
    assert np.unravel_index(first.light.argmax(), asked.shape) == (40, 144)
    assert first.light.max() / first.light.min() == pytest.approx(2, rel=1e-5)


def test_written_fields_are_read_back_with_their_channels_guessed(tmp_path: Path) -> None:
    paths = write_fields(tmp_path / "deep" / "out", 2, seed=9, parameters=SMALL)
    assert [path.name for path in paths] == ["field_01.ome.tif", "field_02.ome.tif"]
    for index, path in enumerate(paths):
        [field] = read_fields(path, Settings())
        assert field.name == f"field_{index + 1:02d}"
        assert field.pixel_size_um == pytest.approx(SMALL.pixel_size_um)
        assert set(field.channels) == {"cell", "nucleus", "exosome"}
        raw = tifffile.imread(path)
        for plane, role in zip(raw, ("cell", "nucleus", "exosome"), strict=True):
            assert np.array_equal(field.channels[role], plane)
    assert len(CHANNEL_NAMES) == 3


def test_written_truth_fits_the_written_image(tmp_path: Path) -> None:
    write_fields(tmp_path, 1, seed=2, parameters=replace(SMALL, punctum_photons=40000, illumination=0))
    stem = tmp_path / "field_01"
    cells = tifffile.imread(f"{stem}_masks.tif")
    nuclei = tifffile.imread(f"{stem}_nuclei.tif")
    puncta, table = pd.read_csv(f"{stem}_puncta.csv"), pd.read_csv(f"{stem}_cells.csv")
    exosome = tifffile.imread(f"{stem}.ome.tif")[2]
    assert cells.shape == nuclei.shape == exosome.shape == SMALL.shape
    assert list(puncta) == ["y_px", "x_px", "cell", "amplitude_photons", "sigma_px", "aggregate"]
    assert list(table) == ["label", "phenotype", "axis_ratio"]
    assert list(table["label"]) == list(range(1, int(cells.max()) + 1))
    # Rounding to 3 decimals may move a position over a pixel's edge once in a thousand times.
    assert np.mean(under(cells, puncta) == puncta["cell"]) > 0.99
    assert np.median(under(exosome, puncta)) > 3 * np.median(exosome)


def test_a_field_does_not_depend_on_how_many_are_written(tmp_path: Path) -> None:
    one = write_fields(tmp_path / "one", 1, seed=5, parameters=SMALL)
    two = write_fields(tmp_path / "two", 2, seed=5, parameters=SMALL)
    assert np.array_equal(tifffile.imread(one[0]), tifffile.imread(two[0]))
    assert not np.array_equal(tifffile.imread(two[0]), tifffile.imread(two[1]))


def test_a_folder_that_cannot_be_written_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match=r"file.*cannot be written.*folder"):
            write_fields(out, 1, seed=0, parameters=SMALL)
    assert (tmp_path / "file").read_text() == "in the way"


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_random_parameters_keep_to_what_a_scene_can_be(seed: int) -> None:
    p = random_parameters(np.random.default_rng(seed), (200, 100))
    assert p.shape == (200, 100)
    assert 30 <= p.cell_diameter_um / p.pixel_size_um <= 110
    assert sum(p.stain) == pytest.approx(1)
    assert p.cells_per_field >= 1
    assert all(0 <= value <= 1 for value in (p.m1_fraction, p.overlap, p.perinuclear, p.illumination))


def test_whole_cells_leave_the_border_free() -> None:
    parameters = replace(SMALL, cells_per_field=30)
    labels = Scene.draw(replace(parameters, whole_cells=True), 1).cells
    assert labels.max() > 3
    assert not any(edge.any() for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]))
    cut = Scene.draw(parameters, 1).cells
    assert any(edge.any() for edge in (cut[0], cut[-1], cut[:, 0], cut[:, -1]))
