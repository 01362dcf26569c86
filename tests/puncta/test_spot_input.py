from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from flow_images import blurred_noise, spots_image
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from napari_tam.puncta.contrast import Contrast, contrast_at, prominence_in
from napari_tam.puncta.spot_input import (
    PLANES,
    SCALE_PX,
    crowding,
    network_input,
    noise_at_scale,
    normalise_spots,
    pixel_noise,
    repair_hot_pixels,
    response,
    roundness,
)

if TYPE_CHECKING:
    from collections.abc import Callable

FEW = limits(max_examples=8, deadline=None)
SHAPE = (160, 240)
SPOTS = [(20.0 + 40 * i + 0.3 * j, 20.0 + 40 * j - 0.2 * i, 300.0, 1.4) for i in range(4) for j in range(6)]


def noise(shape: tuple[int, int] = (200, 200), sd: float = 7.0) -> np.ndarray:
    return np.random.default_rng(0).normal(0, sd, shape).astype(np.float32)


# --- hot pixels ---


@pytest.mark.parametrize("value", [150, 1000, 65535])
def test_pixels_that_shine_alone_are_replaced_and_no_others(value: int) -> None:
    image = np.clip(np.round(spots_image(SHAPE, SPOTS, noise=4)), 0, 65535).astype(np.uint16)
    places = np.array([(0, 0), (5, 100), (40, 40), (159, 239), (100, 0), (80, 200)])
    spoiled = image.copy()
    spoiled[tuple(places.T)] = value
    repaired, found = repair_hot_pixels(spoiled)
    assert sorted(map(tuple, found)) == sorted(map(tuple, places))
    assert repaired[tuple(places.T)] == pytest.approx(np.full(len(places), 100), abs=8)
    others = np.ones(SHAPE, bool)
    others[tuple(places.T)] = False
    assert np.array_equal(repaired[others], image[others])
    assert spoiled[0, 0] == value  # what was given stays as it was


@pytest.mark.parametrize("sigma", [0.55, 0.8, 1.4, 3.0])
@pytest.mark.parametrize("noise_sd", [0.0, 4.0])
def test_light_that_came_through_a_lens_is_no_hot_pixel(sigma: float, noise_sd: float) -> None:
    rng = np.random.default_rng(3)
    spots = [(y + rng.uniform(-0.5, 0.5), x + rng.uniform(-0.5, 0.5), 900.0, sigma) for y, x, _, _ in SPOTS]
    spots[0] = (20.0, 20.0, 900.0, sigma)  # right on a pixel, where it is narrowest
    _, found = repair_hot_pixels(spots_image(SHAPE, spots, noise=noise_sd))
    assert len(found) == 0


@pytest.mark.parametrize("shape", [(1, 1), (2, 9), (3, 3)])
def test_tiny_planes_pass(shape: tuple[int, int]) -> None:
    plane, found = repair_hot_pixels(np.full(shape, 9, np.uint8))
    assert plane.dtype == np.float32
    assert (plane == 9).all()
    assert len(found) == 0
    assert network_input(plane).shape == (PLANES, *shape)


def test_noise_alone_has_next_to_no_hot_pixels() -> None:
    assert len(repair_hot_pixels(noise((512, 512)))[1]) == 0
    photons = np.random.default_rng(1).poisson(3, (512, 512)).astype(np.uint16)
    assert len(repair_hot_pixels(photons)[1]) <= 2


# --- noise where most pixels are alike ---


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8, 0.97])
def test_a_black_level_that_cuts_the_noise_off_does_not_make_it_vanish(share: float) -> None:
    plain = noise((512, 512))
    cut = np.maximum(plain - np.quantile(plain, share), 0)
    assert pixel_noise(plain) == pytest.approx(7, rel=0.03)
    # The tail of a normal distribution is narrower than the whole, and its half as wide as that.
    assert 0.3 * 7 < pixel_noise(cut) < 1.4 * 7
    assert pixel_noise(cut + 100) == pytest.approx(pixel_noise(cut), rel=1e-4)


@pytest.mark.parametrize("mean", [0.01, 0.1, 0.5, 1.0])
def test_where_hardly_a_photon_arrives_the_noise_is_that_of_one(mean: float) -> None:
    counts = np.random.default_rng(0).poisson(mean, (512, 512)).astype(np.float32)
    assert 0.9 < pixel_noise(counts) < 1.6


def test_a_frame_without_light_says_nothing() -> None:
    framed = np.zeros((400, 400), np.float32)
    framed[100:, 150:] = 100 + noise((300, 250))
    assert pixel_noise(framed) < 1.2 * 7


@pytest.mark.parametrize("sigma", [0.9, 1.5, 3.0])
def test_puncta_on_nothing_are_no_noise(sigma: float) -> None:
    image = np.round(spots_image(SHAPE, [(y, x, height, sigma) for y, x, height, _ in SPOTS]))
    assert (image == 100).mean() > 0.3
    assert pixel_noise(image) < 0.02 * 300


# --- noise at the punctum's scale ---


def test_white_noise_is_as_large_at_the_punctums_scale() -> None:
    assert noise_at_scale(noise((512, 512))) == pytest.approx(7, rel=0.03)


@pytest.mark.parametrize("kind", ["averaged", "enlarged", "jpeg"])
def test_noise_that_hangs_together_counts_as_what_a_punctum_meets(kind: str) -> None:
    plain = noise((512, 512))
    if kind == "averaged":
        image = cv2.GaussianBlur(plain, (0, 0), 1.0)
    elif kind == "enlarged":
        image = cv2.resize(plain[:256, :256], (512, 512), interpolation=cv2.INTER_LINEAR)
    else:
        grey = np.clip(100 + plain, 0, 255).astype(np.uint8)
        image = cv2.imdecode(cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], 0).astype(
            np.float32
        )
    neighbours = image[1:, 1:] - image[:-1, :-1]
    assert noise_at_scale(image) > 1.5 * np.median(np.abs(neighbours)) * 1.4826 / np.sqrt(2)
    # Its maxima stand out no more than those of white noise do.
    tops = [np.percentile(network_input(plane)[2], 99.9) for plane in (plain, image)]
    assert tops[1] == pytest.approx(tops[0], rel=0.25)


@pytest.mark.parametrize("texture", [0.0, 1.5, 4.0, 12.0])
@pytest.mark.parametrize("each", [0, 2000, 8000])  # pixels a punctum
def test_noise_texture_and_a_few_puncta_are_no_crowd(texture: float, each: int) -> None:
    image = noise((512, 512), 3)
    if texture:
        image += 60 * blurred_noise(image.shape, texture, 1)
    rng = np.random.default_rng(3)
    places = rng.uniform(5, 507, (image.size // each if each else 0, 2))
    image += spots_image(image.shape, [(y, x, 60.0, 1.4) for y, x in places])
    assert crowding(response(image, SCALE_PX)) == 0


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("each", [30, 50])
def test_puncta_without_number_are_no_noise(sigma: float, each: int) -> None:
    rng = np.random.default_rng(4)
    places = rng.uniform(2, 254, (256 * 256 // each, 2))
    heights = 100 * np.exp(rng.normal(0, 0.3, len(places)))
    spots = [(y, x, height, sigma) for (y, x), height in zip(places, heights, strict=True)]
    image = spots_image((256, 256), spots, noise=4)
    assert crowding(response(image, SCALE_PX)) > 0.9
    assert noise_at_scale(image) < 3 * 4


@FEW
@given(st.floats(0.01, 100), st.floats(-100, 100))
def test_gain_and_offset_change_nothing(gain: float, offset: float) -> None:
    image = spots_image((64, 96), SPOTS[:4], noise=5)
    other = image * np.float32(gain) + np.float32(offset)
    assert np.allclose(normalise_spots(image), normalise_spots(other), atol=0.02, rtol=0.01)
    assert np.allclose(network_input(image), network_input(other), atol=0.02, rtol=0.01)


def test_the_noise_becomes_a_third_and_neither_haze_nor_puncta_change_that() -> None:
    plain = normalise_spots(100 + noise())
    assert plain.std() == pytest.approx(1 / 3, rel=0.05)
    assert np.median(plain) == pytest.approx(0, abs=0.02)
    uneven = 100 + noise() + 80 * blurred_noise((200, 200), 15, 1)
    differences = [np.abs(n[1:] - n[:-1]).mean() for n in (plain, np.sinh(normalise_spots(uneven)))]
    assert differences[1] == pytest.approx(differences[0], rel=0.1)


def test_the_first_plane_is_the_image_and_the_others_say_what_stands_out() -> None:
    image = spots_image(SHAPE, SPOTS, noise=5)
    planes = network_input(image)
    assert np.allclose(planes[0], normalise_spots(image), atol=1e-5)
    at = tuple(np.round(np.array(SPOTS)[:, :2]).astype(int).T)
    for plane in planes[1:]:
        assert plane[at].min() > 4 * plane.std()


def test_networks_of_before_see_the_planes_that_they_were_trained_on() -> None:
    image = spots_image(SHAPE, SPOTS, noise=5)
    planes = network_input(image)
    assert len(planes) == PLANES
    assert np.array_equal(network_input(image, 3), planes[:3])
    assert np.array_equal(network_input(image, 1), normalise_spots(image)[None])


def test_roundness_is_that_of_bumps_alone() -> None:
    y, x = np.mgrid[:101, :101].astype(np.float32) - 50
    ridge, edge = np.exp(-0.5 * (0.6 * y + 0.8 * x) ** 2 / 4), 1 / (1 + np.exp(-(0.6 * y + 0.8 * x)))
    bump = roundness(100 * np.exp(-0.5 * (y**2 + x**2) / 4), 1.4)
    for flat in (ridge, edge, 0.3 * x + y, x * y / 99):
        assert roundness(100 * flat.astype(np.float32), 1.4)[20:-20, 20:-20].max() < 0.04 * bump.max()
    # The second difference at the top of a Gaussian of variance 4 that was blurred by 1.4.
    variance = 4 + 1.4**2
    assert bump[50, 50] == pytest.approx(100 * 4 / variance * 2 * (1 - np.exp(-0.5 / variance)), rel=1e-3)
    assert np.unravel_index(bump.argmax(), bump.shape) == (50, 50)


def test_an_edge_beside_a_punctum_blinds_all_planes_but_the_round_one() -> None:
    alone = spots_image(SHAPE, [(80.0, 120.0, 60.0, 1.4)], noise=3)
    beside = alone + np.where(np.arange(240) < 100, 900, 0).astype(np.float32)
    shares = [b[78:83, 118:123].max() / a[78:83, 118:123].max()
              for a, b in zip(network_input(alone)[1:], network_input(beside)[1:], strict=True)]  # fmt: skip
    assert max(shares[:2]) < 0.8
    assert shares[2] > 0.9


def test_the_same_texture_stands_out_no_more_when_it_is_stronger() -> None:
    texture = blurred_noise((256, 256), 2.0, 5)
    weak, strong = (network_input(100 + noise((256, 256), 0.2) + h * texture) for h in (50, 500))
    assert np.percentile(strong[2], 99.9) == pytest.approx(np.percentile(weak[2], 99.9), rel=0.05)


def test_flat_images_become_zero_and_nothing_is_infinite() -> None:
    flat = np.full((20, 30), 77, np.float32)
    assert not normalise_spots(flat).any()
    assert not network_input(flat).any()
    almost = np.full((40, 40), 10, np.float32)
    almost[20, 20] = 200
    assert np.isfinite(network_input(almost)).all()


# --- contrast ---


def prominence_at(image: np.ndarray, places: np.ndarray, sigma: float) -> np.ndarray:
    return prominence_in(response(image, sigma), places)


def test_puncta_stand_out_and_texture_does_not_however_strong_it_is() -> None:
    texture = 100 + 400 * blurred_noise(SHAPE, 2.0, 3) + noise(SHAPE, 2.0)
    image = texture + spots_image(SHAPE, SPOTS, background=0.0)
    places = np.array(SPOTS)[:, :2]
    between = places + 20
    assert contrast_at(image, places, 1.4).min() > 1.5 * contrast_at(image, between, 1.4).max()
    assert contrast_at(5 * image, places, 1.4) == pytest.approx(contrast_at(image, places, 1.4), rel=1e-3)


def test_neighbours_do_not_hide_each_other() -> None:
    alone = spots_image(SHAPE, SPOTS[:1], noise=4)
    crowd = [(y + dy, x + dx, h, s) for y, x, h, s in SPOTS for dy in (0, 7, 14) for dx in (0, 7, 14)]
    together = spots_image(SHAPE, crowd, noise=4)
    at = np.array(SPOTS[:1])[:, :2]
    assert contrast_at(together, at, 1.4)[0] > 0.2 * contrast_at(alone, at, 1.4)[0]


@pytest.mark.parametrize("measure", [contrast_at, prominence_at])
def test_in_a_flat_image_nothing_stands_out(measure: Callable[..., np.ndarray]) -> None:
    flat = np.full((40, 40), 7, np.float32)
    assert measure(flat, np.array([[3.0, 4.0], [-0.5, 39.4]]), 1.4).tolist() == [0, 0]


def test_a_faint_punctum_is_prominent_alone_and_not_beside_bright_ones() -> None:
    faint, bright = [(150.0, 60.0, 40.0, 1.4)], [(y, x, 3000.0, 1.4) for y, x, *_ in SPOTS]
    at = np.array(faint)[:, :2]
    alone = spots_image(SHAPE, faint, noise=4)
    beside = spots_image(SHAPE, faint + bright, noise=4)
    assert prominence_at(alone, at, 1.4)[0] > 5
    assert prominence_at(beside, at, 1.4)[0] < 1
    # The bright ones are no texture, so its contrast stays.
    assert contrast_at(beside, at, 1.4)[0] > 0.5 * contrast_at(alone, at, 1.4)[0]


@FEW
@given(factor=st.floats(0.01, 1000), offset=st.floats(0, 1000))
def test_prominence_hangs_neither_on_gain_nor_on_offset(factor: float, offset: float) -> None:
    image = spots_image((96, 96), [(40.0, 40.0, 90.0, 1.4)], noise=4)
    at = np.array([[40.0, 40.0], [10.0, 80.0]])
    expected = prominence_at(image, at, 1.4)
    changed = (factor * image + offset).astype(np.float32)
    assert prominence_at(changed, at, 1.4) == pytest.approx(expected, rel=0.02, abs=0.02)


@pytest.mark.parametrize("sigma", [0.8, 1.4, 2.0, 6.0])
@pytest.mark.parametrize("height", [3, 40, 128, 129, 300])
def test_strips_filter_as_the_whole_plane(sigma: float, height: int) -> None:
    image = np.random.default_rng(0).normal(0, 1, (height, 50)).astype(np.float32)
    whole = -cv2.Laplacian(cv2.GaussianBlur(image, (0, 0), sigma), cv2.CV_32F)
    np.testing.assert_allclose(response(image, sigma), whole, atol=1e-6)


def test_a_width_is_filtered_once_and_says_the_same_as_alone() -> None:
    image = spots_image(SHAPE, SPOTS, noise=5).astype(np.float32)
    places = np.array([spot[:2] for spot in SPOTS])
    contrast = Contrast(image)
    for sigma in (1.4, 5.0, 1.4, 11.0):
        assert np.array_equal(contrast.at(places, sigma), contrast_at(image, places, sigma))
    assert contrast.answer(5.0) is contrast.answer(5.0)
    assert contrast.around(1.4) is contrast.around(1.4)
