"""The compiled loops against what OpenCV and numpy make of the same images."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_tam.puncta.crowds import light_loops
from napari_tam.puncta.crowds.emitters import Emitters, add_light, arrays, refine
from napari_tam.puncta.crowds.proposals import LeftOver, curvature
from napari_tam.puncta.spot_input import SCALE_PX, TELLING, response, rough, thinned

FEW = settings(max_examples=20, deadline=None)
SHAPES = st.tuples(st.integers(3, 90), st.integers(3, 700))


def noise(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 5, shape).astype(np.float32)


def emitters(points: np.ndarray, peak: float = 100.0, sigma: float = 1.4) -> Emitters:
    n = len(points)
    return Emitters(
        np.asarray(points, float), np.full(n, peak), np.full(n, sigma), np.arange(n, dtype=np.intp)
    )


def scattered(n: int, size: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, size, (n, 2))


@FEW
@given(SHAPES, st.integers(0, 99))
def test_sampled_responses_are_those_of_the_whole_image(shape: tuple[int, int], seed: int) -> None:
    image = noise(shape, seed)
    bell = cv2.getGaussianKernel(8 * round(SCALE_PX) + 1, SCALE_PX, cv2.CV_32F).ravel()
    sampled = light_loops.response_samples(image, bell, *(max(1, n // TELLING) for n in shape))
    np.testing.assert_allclose(sampled, thinned(response(image, SCALE_PX)), atol=1e-4)


@FEW
@given(SHAPES, st.integers(0, 99))
def test_roughness_at_places_is_that_of_the_whole_image(shape: tuple[int, int], seed: int) -> None:
    image = noise(shape, seed)
    places = np.random.default_rng(seed).integers(0, image.size, 50)
    np.testing.assert_allclose(
        light_loops.rough_at(image, places), rough(image).ravel()[places], rtol=1e-4, atol=1e-4
    )


def test_light_is_added_and_taken_away_also_across_the_edge() -> None:
    some = emitters(scattered(60, 64, 1))
    image = np.zeros((64, 64), np.float32)
    add_light(image, some)
    y, x = np.mgrid[:64, :64]
    whole = sum(100 * np.exp(-((y - a) ** 2 + (x - b) ** 2) / (2 * 1.4**2)) for a, b in some.points)
    assert np.abs(image - whole).max() < 100 * 60 * np.exp(-(3.0**2) / 2) / 10
    add_light(image, some, -1)
    assert np.abs(image).max() < 1e-3


def test_matched_sums_and_shared_sums_are_sums_over_pixels() -> None:
    some, weight, image = emitters(scattered(12, 40, 2)), noise((40, 40), 3) ** 2, noise((40, 40), 4)
    points, _, sigma = arrays(some)
    y, x = np.mgrid[:40, :40]
    bells = np.array(
        [
            np.exp(-((y - a) ** 2 + (x - b) ** 2) / (2 * 1.4**2))
            * (np.abs(y - round(max(a, 0))) <= 6)
            * (np.abs(x - round(max(b, 0))) <= 6)
            for a, b in points
        ]
    )
    np.testing.assert_allclose(
        light_loops.matched(image, weight, points, sigma, 4.0),
        (bells * image * weight).sum(axis=(1, 2)),
        rtol=1e-3,
        atol=0.05,
    )
    first, second = np.triu_indices(12)
    np.testing.assert_allclose(
        light_loops.pair_sums(weight, points, sigma, first, second, 4.0),
        np.einsum("iyx,jyx,yx->ij", bells, bells, weight)[first, second],
        rtol=1e-3,
        atol=0.05,
    )
    block, whose, value = light_loops.block_sums(weight, points, sigma, 3, 14, 4.0)
    total = np.bincount(whose, value, minlength=12)
    np.testing.assert_allclose(total, (bells * weight).sum(axis=(1, 2)), rtol=1e-3, atol=0.05)
    assert set(block // 14) <= set(range(14))


@pytest.mark.parametrize("size", [20, 100])
def test_peaks_of_what_is_left_are_those_of_a_matched_filter(size: int) -> None:
    rest, weight = noise((size, size), 5), np.full((size, size), 1 / 25, np.float32)
    left = LeftOver(rest, weight, 1.4, 6.0)
    everywhere = np.argwhere(np.ones((size, size))).astype(float)
    found = left.peaks_near(everywhere)
    bell = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.4**2))
    kernel = np.outer(bell, bell).astype(np.float32)
    kernel -= kernel.mean()
    match = cv2.filter2D(rest * weight, cv2.CV_32F, kernel, borderType=cv2.BORDER_CONSTANT)
    norm = cv2.filter2D(weight, cv2.CV_32F, kernel**2, borderType=cv2.BORDER_CONSTANT)
    gain = np.maximum(match, 0) ** 2 / norm
    highest = gain >= cv2.dilate(gain, np.ones((3, 3), np.uint8))
    expected = {tuple(place) for place in np.argwhere(highest & (gain > 6.0))}
    assert {(int(y), int(x)) for y, x in found[:, :2]} == expected
    row, column = found[:, :2].astype(int).T
    np.testing.assert_allclose(found[:, 3], gain[row, column], rtol=1e-3)
    np.testing.assert_allclose(found[:, 2], (match / norm)[row, column], rtol=1e-3)


@FEW
@given(st.integers(0, 999))
def test_what_is_remembered_of_the_rest_is_what_would_be_found_anew(seed: int) -> None:
    rest, weight = noise((150, 150), seed), np.full((150, 150), 1 / 25, np.float32)
    left = LeftOver(rest, weight, 1.4, 6.0)
    looked_at = np.clip(scattered(30, 150, seed), 0, 149)
    left.peaks_near(looked_at[:20])
    changed = emitters(np.clip(scattered(5, 150, seed + 1), 0, 149), peak=30.0)
    add_light(rest, changed)
    left.changed(changed.points, 3.2)
    found = left.peaks_near(looked_at)
    anew = LeftOver(rest, weight, 1.4, 6.0).peaks_near(looked_at)
    assert sorted(map(tuple, found.tolist())) == sorted(map(tuple, anew.tolist()))


def test_a_lengthened_spot_gains_by_second_derivatives_and_a_round_one_by_chance() -> None:
    light = noise((60, 120), 6) / 5
    pair = emitters(np.array([[30, 29.2], [30, 30.8]]), peak=60.0)
    add_light(light, pair)
    add_light(light, emitters(np.array([[30, 90.0]]), peak=110.0))
    both = emitters(np.array([[30, 30.0], [30, 90.0]]), peak=110.0)
    weight = np.ones_like(light)
    rest = light.copy()
    add_light(rest, both, -1)
    gain, wider, shape = curvature(refine(both, rest, weight, np.ones(2, bool)), rest, weight)
    assert gain[0] > 50 * gain[1]
    assert gain[0] >= wider[0]
    assert shape[0, 2] > 3 * abs(shape[0, 0])  # along x


@FEW
@given(SHAPES, st.integers(0, 99))
def test_discs_are_cleared_as_opencv_draws_them(shape: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    centre, radius = rng.integers(0, min(shape), (6, 2)), rng.integers(2, 7, 6)
    found, expected = np.ones((2, *shape), np.float32)
    light_loops.clear_discs(found, centre, radius)
    for (y, x), reach in zip(centre.tolist(), radius.tolist(), strict=True):
        cv2.circle(expected, (x, y), reach, 0, -1)
    np.testing.assert_array_equal(found, expected)
