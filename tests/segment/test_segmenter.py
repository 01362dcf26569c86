from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from bundled import need
from flow_images import ellipses, perfect_output, precision, same_partition
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from skimage.measure import label as connected

from napari_tam.networks.cards import AREA_SETTINGS, TYPICAL_UM
from napari_tam.networks.cpnet import CPNet
from napari_tam.networks.predictor import Predictor
from napari_tam.segment.segmenter import WINDOW_PX, FlowNetSegmenter, median_diameter, normalise, resize
from napari_tam.settings import Settings
from napari_tam.simulate.parameters import SceneParameters
from napari_tam.simulate.scene import Scene

PIXEL_UM = 0.5
SETTINGS = Settings()
FEW = limits(max_examples=8, deadline=None)


class PerfectPredictor:
    """Stands for a network: gives the exact flows of what is bright, at whatever scale."""

    def __init__(self, in_channels: int = 1, logit: float = 8.0) -> None:
        self.in_channels, self.logit = in_channels, logit
        self.inputs: list[npt.NDArray[np.float32]] = []

    def __call__(self, image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        self.inputs.append(image)
        output = perfect_output(connected(image[0] > 0.47, connectivity=1))
        output[2] *= self.logit / 8
        return output


def segmenter(typical_um: float = 30.0, **changes: Any) -> FlowNetSegmenter:
    predictor: Any = PerfectPredictor(**changes)
    return FlowNetSegmenter(predictor, 30.0, typical_um, "min_cell_area_um2")


def drawn(radius: float = 30.0, shape: tuple[int, int] = (400, 440)) -> npt.NDArray[np.int32]:
    """Draw twelve well separated cells, about round, 60 px (30 µm) wide."""
    rng = np.random.default_rng(0)
    step = np.array(shape) / (3, 4)
    rows = []
    for i in range(3):
        for j in range(4):
            y, x = (np.array([i, j]) + 0.5) * step + rng.uniform(-3, 3, 2)
            ratio = rng.uniform(1, 1.25)
            rows.append((y, x, radius * np.sqrt(ratio), radius / np.sqrt(ratio), rng.uniform(0, 180)))
    return ellipses(shape, rows)


TRUTH = drawn()
IMAGE = (100 + 900 * (TRUTH > 0)).astype(np.uint16)
TRUE_UM = median_diameter(TRUTH) * PIXEL_UM


def test_labels_come_back_at_full_size() -> None:
    found = segmenter().segment(IMAGE, None, PIXEL_UM, TRUE_UM, SETTINGS)
    assert found.labels.shape == IMAGE.shape
    assert found.labels.dtype == np.uint16
    assert set(np.unique(found.labels)) == set(range(13))
    assert precision(TRUTH, found.labels, 0.93) == 1
    assert found.diameter_um == TRUE_UM


@pytest.mark.parametrize("dtype", ["u1", "u2", ">u2", "i2", "u4", "i4", "f4", ">f4", "f8"])
def test_any_type_of_pixels_gives_the_same_labels(dtype: str) -> None:
    image = (
        (20 + 200 * (TRUTH > 0)).astype(np.dtype(dtype)) if dtype == "u1" else IMAGE.astype(np.dtype(dtype))
    )
    small = image[:140, :230]
    found = segmenter().segment(small, None, PIXEL_UM, TRUE_UM, SETTINGS)
    assert precision(TRUTH[:140, :230], found.labels, 0.9) == 1


@pytest.mark.parametrize("wrong", [0.25, 0.4, 0.7, 1.0, 1.1, 1.6, 2.5, 4.0])
def test_the_diameter_is_found_from_a_wrong_start(wrong: float) -> None:
    found = segmenter(typical_um=TRUE_UM * wrong).segment(IMAGE, None, PIXEL_UM, None, SETTINGS)
    assert found.diameter_um == pytest.approx(TRUE_UM, rel=0.10)
    assert precision(TRUTH, found.labels, 0.9) == 1


def test_a_large_image_is_estimated_from_its_middle() -> None:
    # At 8 px a cell, 1200 px at working scale are 320 px of the image.
    small = [(y, x, 4.5, 4.5, 0) for y in range(250, 460, 35) for x in range(250, 460, 35)]
    large = [(y, x, 40, 40, 0) for y in (60, 640) for x in (60, 160, 260, 360, 460, 560, 640)]
    image = (ellipses((700, 700), small + large) > 0).astype(np.uint8) * 200
    made = segmenter(typical_um=8.0)
    assert made.estimate_diameter(image, None, 1.0, SETTINGS).diameter_um == pytest.approx(9, rel=0.1)
    assert max(max(each.shape[1:]) for each in made.predictor.inputs) <= WINDOW_PX


def test_the_estimate_does_not_depend_on_the_pixel_size() -> None:
    coarse = resize(IMAGE, (IMAGE.shape[1] // 2, IMAGE.shape[0] // 2))
    fine, half = (
        segmenter(typical_um=20).estimate_diameter(image, None, um, SETTINGS).diameter_um
        for image, um in ((IMAGE, PIXEL_UM), (coarse, 2 * PIXEL_UM))
    )
    assert half == pytest.approx(fine, rel=0.05)


@pytest.mark.parametrize("value", [0, 7, 65535])
@pytest.mark.parametrize("diameter", [None, 25.0])
def test_no_contrast_gives_no_labels(value: int, diameter: float | None) -> None:
    image = np.full((90, 70), value, np.uint16)
    found = segmenter(typical_um=25.0, in_channels=2).segment(image, image, PIXEL_UM, diameter, SETTINGS)
    assert found.labels.shape == (90, 70)
    assert found.labels.dtype == np.uint16
    assert not found.labels.any()
    assert found.diameter_um == 25.0


@pytest.mark.parametrize("shape", [(16, 16), (16, 500), (17, 33)])
def test_small_images_are_segmented(shape: tuple[int, int]) -> None:
    image = np.zeros(shape, np.uint8)
    image[4:12, 4:12] = 200
    found = segmenter(typical_um=25.0).segment(image, None, PIXEL_UM, None, Settings(min_cell_area_um2=0))
    assert found.labels.shape == shape


def test_the_second_stain_goes_into_the_second_channel() -> None:
    nucleus = np.zeros_like(IMAGE)
    nucleus[100:200] = 500
    for second in (nucleus, None):
        made = segmenter(in_channels=2)
        made.segment(IMAGE, second, PIXEL_UM, TRUE_UM, SETTINGS)
        [given_image] = made.predictor.inputs
        assert given_image.shape[0] == 2
        assert given_image[1].max() == (0 if second is None else 1)
        made = segmenter(in_channels=1)
        made.segment(IMAGE, second, PIXEL_UM, TRUE_UM, SETTINGS)
        assert made.predictor.inputs[0].shape[0] == 1


def test_the_network_sees_cells_at_its_working_scale() -> None:
    made = segmenter()
    made.segment(IMAGE, None, PIXEL_UM, TRUE_UM, SETTINGS)
    seen = connected(made.predictor.inputs[0][0] > 0.5)
    assert median_diameter(seen) == pytest.approx(30, rel=0.03)


def test_the_smallest_area_is_in_square_micrometres() -> None:
    area_um2 = float(np.median(np.bincount(TRUTH.ravel())[1:])) * PIXEL_UM**2
    for share, count in ((0.8, 12), (1.25, 0)):
        chosen = Settings(min_cell_area_um2=share * area_um2)
        found = segmenter().segment(IMAGE, None, PIXEL_UM, TRUE_UM, chosen)
        assert found.labels.max() == count


def test_the_probability_setting_is_a_probability() -> None:
    # A logit of 1 is a probability of 0.73.
    for probability, count in ((0.72, 12), (0.74, 0)):
        found = segmenter(logit=1.0).segment(
            IMAGE, None, PIXEL_UM, TRUE_UM, Settings(cell_probability=probability)
        )
        assert found.labels.max() == count


@FEW
@given(st.floats(0.02, 50), st.floats(-500, 500))
def test_brightness_and_offset_change_no_label(gain: float, offset: float) -> None:
    part = IMAGE[:140, :230]
    changed = part * np.float32(gain) + np.float32(offset)
    one, other = (
        segmenter().segment(image, None, PIXEL_UM, TRUE_UM, SETTINGS).labels for image in (part, changed)
    )
    assert precision(one, other, 0.97) == 1


def test_turning_the_image_turns_the_labels() -> None:
    part = IMAGE[:270, :270]
    one, other = (
        segmenter().segment(image, None, PIXEL_UM, TRUE_UM, SETTINGS).labels
        for image in (part, np.ascontiguousarray(np.rot90(part)))
    )
    assert precision(np.rot90(one), other, 0.95) == 1


def test_normalise_maps_the_percentiles_to_0_and_1() -> None:
    rng = np.random.default_rng(0)
    image = np.stack([rng.gamma(2, 300, (70, 90)), np.full((70, 90), 12.0)])
    result = normalise(image)
    assert result.dtype == np.float32
    assert np.percentile(result[0], (1, 99)) == pytest.approx((0, 1), abs=1e-5)
    assert not result[1].any()


def test_normalise_samples_large_planes_without_harm() -> None:
    plane = np.random.default_rng(0).integers(0, 4000, (1100, 1000)).astype(np.uint16)
    exact = (plane.astype(float) - np.percentile(plane, 1)) / np.diff(np.percentile(plane, (1, 99)))
    assert np.abs(normalise(plane[None])[0] - exact).max() < 0.01


@FEW
@given(st.floats(0.1, 1e4), st.floats(-100, 100))
def test_normalise_forgets_gain_and_offset(gain: float, offset: float) -> None:
    image = np.random.default_rng(0).uniform(0, 1, (1, 50, 50))
    assert np.allclose(normalise(image), normalise(gain * image + offset), atol=1e-2)


def test_resize_keeps_the_mean_when_shrinking_and_the_values_when_not() -> None:
    image = np.random.default_rng(0).integers(0, 60_000, (120, 90)).astype(np.uint16)
    assert resize(image, (30, 40)).shape == (40, 30)
    assert resize(image, (30, 40)).mean() == pytest.approx(image.mean(), rel=1e-3)
    assert np.array_equal(resize(image, (90, 120)), image)
    assert resize(image, (180, 240)).dtype == np.float32


def test_a_linear_resize_keeps_noise_that_area_means_lose_but_no_single_pixels() -> None:
    image = np.random.default_rng(0).normal(1000, 50, (600, 840)).astype(np.float32)
    for shrink in (1.3, 2.5, 3.5, 6.5, 9.0):
        size = round(840 / shrink), round(600 / shrink)
        plain, sharp = resize(image, size).std(), resize(image, size, linear=True).std()
        assert plain < sharp < 50 / max(1, shrink // 2) * 1.01
    assert np.array_equal(resize(image, (840, 600), linear=True), image)
    assert np.array_equal(resize(image, (900, 650), linear=True), resize(image, (900, 650)))


def test_median_diameter_is_that_of_circles_of_the_same_area() -> None:
    labels = ellipses((100, 200), [(50, 40, 20, 20, 0), (50, 100, 10, 10, 0), (50, 160, 36, 16, 0)])
    assert median_diameter(labels) == pytest.approx(40, rel=0.02)
    assert median_diameter(labels * 7) == median_diameter(labels)
    assert median_diameter(np.zeros((5, 5), int)) == 0


# --- the bundled networks ---

SCENE = SceneParameters(shape=(384, 384), cells_per_field=22, overlap=0.03)


def bundled(name: str) -> FlowNetSegmenter:
    card = need(name)
    kind, network = card.values["kind"], card.load()
    return FlowNetSegmenter(
        Predictor(network),
        card.values["diameter_px"],
        TYPICAL_UM[kind],
        AREA_SETTINGS[kind],
        linear=isinstance(network, CPNet),
    )


@pytest.mark.parametrize("given_diameter", [True, False], ids=["diameter given", "diameter estimated"])
@pytest.mark.parametrize(("name", "seed"), [("cells", 1), ("cells-fast", 1), ("cells-fast", 2)])
def test_the_cells_networks_find_the_cells_of_a_scene(name: str, seed: int, given_diameter: bool) -> None:
    made, scene = bundled(name), Scene.draw(SCENE, seed)
    um = scene.parameters.pixel_size_um
    diameter = median_diameter(scene.cells) * um if given_diameter else None
    found = made.segment(scene.image[0], scene.image[1], um, diameter, SETTINGS)
    assert precision(scene.cells, found.labels, 0.5) > 0.75
    assert found.diameter_um == pytest.approx(median_diameter(scene.cells) * um, rel=0.25)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_nuclei_network_finds_the_nuclei_of_a_scene(seed: int) -> None:
    made, scene = bundled("nuclei"), Scene.draw(replace(SCENE, two_nuclei=0), seed)
    um = scene.parameters.pixel_size_um
    found = made.segment(scene.image[1], None, um, None, SETTINGS)
    assert precision(scene.nuclei, found.labels, 0.5) > 0.75


@pytest.mark.parametrize("kind", ["cells", "cells-fast", "nuclei"])
def test_the_bundled_networks_find_nothing_where_there_is_nothing(kind: str) -> None:
    made = bundled(kind)
    for image in (np.full((200, 240), 300, np.uint16), np.zeros((64, 64), np.uint8)):
        found = made.segment(image, None, 0.325, None, SETTINGS)
        assert not found.labels.any()
        assert found.labels.shape == image.shape


@pytest.mark.parametrize("kind", ["cells", "cells-fast", "nuclei"])
def test_a_brighter_image_has_the_same_cells(kind: str) -> None:
    made, scene = bundled(kind), Scene.draw(SCENE, 3)
    plane = scene.image[1 if kind == "nuclei" else 0][:256, :256]
    one, other = (
        made.segment(image, None, 0.325, 20.0, SETTINGS).labels
        for image in (plane, plane.astype(np.float32) * 8)
    )
    assert one.any()
    assert same_partition(one, other) or precision(one, other, 0.9) > 0.95


def test_a_mirrored_image_is_seen_as_the_mirrored_input() -> None:
    odd = IMAGE[:391, :431]
    seen = []
    for image in (odd, odd[:, ::-1], odd[::-1]):
        made: Any = segmenter(in_channels=2)
        made.segment(np.ascontiguousarray(image), np.ascontiguousarray(image), PIXEL_UM, TRUE_UM, SETTINGS)
        seen.append(made.predictor.inputs[-1])
    assert all(n % 2 == 0 for n in seen[0].shape[1:])
    np.testing.assert_allclose(seen[1][:, :, ::-1], seen[0], atol=1e-4)
    np.testing.assert_allclose(seen[2][:, ::-1], seen[0], atol=1e-4)


def test_sure_cells_have_a_high_confidence_and_nuclei_split_what_was_joined() -> None:
    image, nucleus = np.zeros((2, 200, 300), np.uint16)
    image[60:140, 60:240] = 1000
    for column in (100, 200):
        nucleus[90:110, column - 10 : column + 10] = 1000
    nuclei = connected(nucleus > 0)
    alone, helped = (
        segmenter().segment(image, nucleus, PIXEL_UM, 50.0, SETTINGS, given) for given in (None, nuclei)
    )
    assert alone.labels.max() == 1
    assert alone.nuclei_help is None
    assert helped.labels.max() == 2
    assert list(helped.nuclei_help) == ["split", "split"]
    assert len(helped.confidence) == 2
    sure = segmenter().segment(IMAGE, None, PIXEL_UM, TRUE_UM, SETTINGS).confidence
    assert sure.min() > 0.8


def test_averaging_over_flips_asks_for_four_and_changes_nothing_for_a_perfect_network() -> None:
    one, four = (
        segmenter().segment(IMAGE, None, PIXEL_UM, TRUE_UM, Settings(average_flips=flips))
        for flips in (False, True)
    )
    assert precision(one.labels, four.labels, 0.95) == 1
