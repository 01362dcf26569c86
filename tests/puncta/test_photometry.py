from __future__ import annotations

import numpy as np
import pytest
from flow_images import blurred_noise, spots_image
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_tam.puncta.contrast import Contrast
from napari_tam.puncta.patches import FWHM, Patches, background, gaussian_widths, tilted
from napari_tam.puncta.photometry import (
    CROWDED,
    Photometry,
    crowded,
    fit_peaks,
    is_flank,
    measure,
    overlapping_pairs,
)
from napari_tam.puncta.whole_objects import measure_all

FEW = settings(max_examples=12, deadline=None)
SHAPE = (160, 240)
SIGMA = 1.4
Spot = tuple[float, float, float, float]


def apart(seed: int = 0, sigma: float = SIGMA, low: float = 200, high: float = 600) -> list[Spot]:
    """Draw 24 well separated puncta at sub-pixel places."""
    rng = np.random.default_rng(seed)
    return [
        (
            20 + 40 * i + rng.uniform(-0.5, 0.5),
            20 + 40 * j + rng.uniform(-0.5, 0.5),
            rng.uniform(low, high),
            sigma,
        )
        for i in range(4)
        for j in range(6)
    ]


def light(spots: list[Spot]) -> np.ndarray:
    """Integral of each Gaussian: 2π · height · sigma²."""
    _, _, height, sigma = np.array(spots).T
    return 2 * np.pi * height * sigma**2


def measured(image: np.ndarray, spots: list[Spot], typical: float = SIGMA, *, off: float = 0.4) -> Photometry:
    """Measure at the true places, moved by up to `off` pixels as a detector would leave them."""
    places = np.array(spots)[:, :2]
    return measure(image, places + np.random.default_rng(9).uniform(-off, off, places.shape), typical)


def distance(found: Photometry, spots: list[Spot]) -> np.ndarray:
    return np.hypot(*(found.points - np.array(spots)[:, :2]).T)


@pytest.mark.parametrize("noise", [0.0, 4.0])
@pytest.mark.parametrize("sigma", [1.0, 1.4, 2.0])
def test_puncta_apart_are_measured_right(sigma: float, noise: float) -> None:
    spots = apart(sigma=sigma)
    found = measured(spots_image(SHAPE, spots, noise=noise), spots, sigma)
    assert distance(found, spots).max() < 0.15
    assert found.intensity == pytest.approx(light(spots), rel=0.05)
    assert found.sigma == pytest.approx(np.full(24, sigma), rel=0.10)
    assert found.peak == pytest.approx(np.array(spots)[:, 2], rel=0.10)
    assert found.level == pytest.approx(np.full(24, 100), abs=4)
    if noise:
        assert np.median(found.noise) == pytest.approx(noise, rel=0.15)


@pytest.mark.parametrize("distance_px", [4.0, 5.0, 6.0])
def test_two_puncta_close_together_each_get_their_own_light(distance_px: float) -> None:
    rng = np.random.default_rng(4)
    spots = apart(low=300, high=300)
    turns = rng.uniform(0, 2 * np.pi, len(spots))
    twins = [
        (y + distance_px * np.sin(t), x + distance_px * np.cos(t), h, s)
        for (y, x, h, s), t in zip(spots, turns, strict=True)
    ]
    everyone = spots + twins
    found = measured(spots_image(SHAPE, everyone, noise=4), everyone, off=0.2)
    assert found.intensity == pytest.approx(light(everyone), rel=0.15)
    # Together they are no brighter than both.
    together = found.intensity[:24] + found.intensity[24:]
    assert together == pytest.approx(2 * light(spots), rel=0.08)


def test_a_faint_punctum_beside_a_bright_one_keeps_its_own_light() -> None:
    spots = [(30.2, 30.1, 1000.0, SIGMA), (30.4, 36.1, 150.0, SIGMA), (70.0, 40.0, 150.0, SIGMA)]
    found = measured(spots_image((100, 80), spots, noise=3), spots, off=0.1)
    assert found.intensity == pytest.approx(light(spots), rel=0.2)


@pytest.mark.parametrize("kind", ["gradient", "step", "haze"])
def test_uneven_background_does_not_bias(kind: str) -> None:
    y, x = np.indices(SHAPE)
    haze = {
        "gradient": 50 + 1.5 * x + 0.7 * y,
        "step": 50 + 400.0 * (x > 120),  # 20 px from the nearest punctum
        "haze": 100 + 300 * blurred_noise(SHAPE, 20, 1),
    }[kind]
    spots = apart(low=300)
    plain = measured(spots_image(SHAPE, spots), spots).intensity
    found = measured(spots_image(SHAPE, spots, background=haze), spots)
    assert found.intensity == pytest.approx(plain, rel=0.05)
    assert np.mean(found.intensity / plain) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("times", [2.0, 3.0])
def test_aggregates_are_measured_in_full_among_single_puncta(times: float) -> None:
    spots = apart()
    for index, height in ((5, 900.0), (15, 1400.0), (20, 600.0)):
        spots[index] = (*spots[index][:2], height, times * SIGMA)
    found = measured(spots_image(SHAPE, spots, noise=4), spots)
    wide = [5, 15, 20]
    assert found.intensity[wide] == pytest.approx(light(spots)[wide], rel=0.15)
    assert found.sigma[wide] == pytest.approx(np.full(3, times * SIGMA), rel=0.10)
    single = np.delete(np.arange(24), wide)
    assert found.intensity[single] == pytest.approx(light(spots)[single], rel=0.06)


def test_a_single_punctum_beside_an_aggregate_keeps_its_own_light() -> None:
    spots = [
        (40.2, 40.1, 1500.0, 3.5),
        (40.0, 52.3, 300.0, SIGMA),
        (80.0, 30.0, 300.0, SIGMA),
        (20.0, 80.0, 300.0, SIGMA),
    ]
    found = measured(spots_image((110, 110), spots, noise=3), spots)
    assert found.intensity == pytest.approx(light(spots), rel=0.15)


def test_haze_that_looks_like_no_gaussian_is_not_measured_as_an_aggregate() -> None:
    # A plateau of haze, ten times as wide as a punctum, with a punctum on it.
    y, x = np.indices((120, 120))
    plateau = 100 + 60 * np.clip((22 - np.hypot(y - 60, x - 60)) / 4, 0, 1)
    spots = [(60.3, 60.2, 300.0, SIGMA), (20.0, 20.0, 300.0, SIGMA), (95.0, 100.0, 300.0, SIGMA)]
    found = measured(spots_image((120, 120), spots, background=plateau, noise=3), spots)
    assert found.intensity == pytest.approx(light(spots), rel=0.1)
    # Where there is haze only, nothing much is measured, however wide one looks.
    nothing = measure(
        spots_image((120, 120), spots[1:], background=plateau, noise=3), np.array([[60.0, 60.0]]), SIGMA
    )
    assert abs(nothing.intensity[0]) < 0.25 * light(spots)[0]


def test_a_ridge_of_haze_is_no_aggregate() -> None:
    y, x = np.indices((120, 120))
    ridge = 80 * np.exp(-(((y - 60) / 12) ** 2) - ((x - 60) / 4) ** 2)
    spots = [(60.0, 60.0, 60.0, SIGMA), (20.0, 20.0, 300.0, SIGMA), (100.0, 100.0, 300.0, SIGMA)]
    found = measured(spots_image((120, 120), spots, background=100 + ridge, noise=3), spots)
    # No more than a single punctum may have; four times as wide where it is taken for an aggregate.
    assert found.sigma[0] <= CROWDED[1] * SIGMA * 1.001


@FEW
@given(st.integers(0, 1000), st.floats(0.1, 50), st.floats(0, 1000))
def test_twice_the_exposure_is_twice_the_intensity(seed: int, gain: float, offset: float) -> None:
    spots = apart(seed)
    image = spots_image(SHAPE, spots, noise=4, seed=seed)
    one, other = measured(image, spots), measured(image * np.float32(gain) + np.float32(offset), spots)
    # Single precision numbers hold an offset with seven digits.
    tolerance = {"rel": 2e-3, "abs": 1e-3 * gain * float(np.median(one.intensity)) + 0.02 * offset}
    assert other.intensity == pytest.approx(gain * one.intensity, **tolerance)
    assert other.sigma == pytest.approx(one.sigma, rel=0.02)
    assert other.points == pytest.approx(one.points, abs=0.02)


def test_turning_the_image_turns_the_places_and_nothing_else() -> None:
    spots = apart()
    image = spots_image(SHAPE, spots, noise=4)
    places = np.array(spots)[:, :2]
    # np.rot90: a pixel at (y, x) goes to (width - 1 - x, y).
    one = measure(image, places, SIGMA)
    other = measure(
        np.ascontiguousarray(np.rot90(image)),
        np.stack([SHAPE[1] - 1 - places[:, 1], places[:, 0]], axis=1),
        SIGMA,
    )
    assert other.points[:, 0] == pytest.approx(SHAPE[1] - 1 - one.points[:, 1], abs=1e-3)
    assert other.points[:, 1] == pytest.approx(one.points[:, 0], abs=1e-3)
    assert other.intensity == pytest.approx(one.intensity, rel=1e-3)


def test_the_order_of_the_puncta_does_not_matter() -> None:
    spots = apart()
    spots += [(y + 3, x + 4, 200.0, s) for y, x, _, s in spots]
    image, places = spots_image(SHAPE, spots, noise=4), np.array(spots)[:, :2]
    order = np.random.default_rng(1).permutation(len(spots))
    assert measure(image, places[order], SIGMA).intensity == pytest.approx(
        measure(image, places, SIGMA).intensity[order], rel=1e-3
    )


@pytest.mark.parametrize("depth", [-0.4, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0])
def test_light_that_the_border_cuts_off_is_made_up_for(depth: float) -> None:
    places = [(depth, 30.3), (50.1, depth), (99 - depth, 40.0), (70.2, 79 - depth), (50.0, 40.0)]
    spots = [(y, x, 400.0, SIGMA) for y, x in places]
    found = measured(spots_image((100, 80), spots, noise=2), spots, off=0.1)
    assert distance(found, spots).max() < 0.2
    assert found.intensity == pytest.approx(light(spots), rel=0.12)
    assert found.sigma == pytest.approx(np.full(5, SIGMA), rel=0.05)


def test_a_punctum_in_the_corner_is_measured() -> None:
    spots = [(0.0, 0.0, 400.0, SIGMA), (99.0, 79.0, 400.0, SIGMA)]
    found = measured(spots_image((100, 80), spots, noise=2), spots, off=0.1)
    assert found.intensity == pytest.approx(light(spots), rel=0.2)


@pytest.mark.parametrize("typical", [SIGMA, 4.0])
def test_an_image_smaller_than_the_window_is_measured(typical: float) -> None:
    spots = [(8.0, 8.0, 400.0, SIGMA)]
    found = measured(spots_image((16, 16), spots), spots, typical)
    assert np.isfinite(found.intensity).all()
    assert np.isfinite(found.noise).all()
    if typical == SIGMA:
        assert found.intensity == pytest.approx(light(spots), rel=0.15)


def test_a_flat_image_has_no_light() -> None:
    found = measure(np.full((60, 60), 500, np.float32), np.array([[20.0, 20.0], [40.0, 30.0]]), SIGMA)
    assert np.abs(found.intensity).max() < 1e-2
    assert np.abs(found.noise).max() < 1e-2


def test_the_annulus_tells_level_and_noise_and_leaves_neighbours_out() -> None:
    rng = np.random.default_rng(3)
    image = rng.normal(50, 6, (200, 200)).astype(np.float32)
    patches = Patches(image, rng.uniform(30, 170, (200, 2)), 10)
    level, noise = background(patches, 5.0, 9.0)
    assert level.mean() == pytest.approx(50, abs=0.3)
    assert noise.mean() == pytest.approx(6, rel=0.05)
    others = np.full_like(patches.pixels, 20)
    assert background(patches, 5.0, 9.0, others)[0] == pytest.approx(level - 20, abs=1e-3)


@FEW
@given(st.floats(0.9, 3.0), st.floats(-0.5, 0.5), st.floats(-0.5, 0.5))
def test_adaptive_moments_find_width_and_place_of_a_gaussian(sigma: float, dy: float, dx: float) -> None:
    image = spots_image((41, 41), [(20 + dy, 20 + dx, 100.0, sigma)], background=0)
    patches = Patches(image, np.array([[20.0, 20.0]]), 14)
    zero = np.zeros(1, np.float32)
    found = gaussian_widths(patches, zero, zero + 1.4, zero + 0.5, zero + 6, rounds=12)
    assert found[0] == pytest.approx(sigma, rel=0.05)
    assert patches.points[0] == pytest.approx((20 + dy, 20 + dx), abs=0.02)


def test_peaks_are_fitted_together_and_never_negative() -> None:
    spots = [(20.0, 20.0, 100.0, 1.5), (20.0, 23.0, 40.0, 1.5), (40.0, 40.0, 70.0, 1.5)]
    image = spots_image((60, 60), spots, background=0)
    sigma, level = np.full(4, 1.5, np.float32), np.zeros(4, np.float32)
    # The fourth stands where there is nothing but the flank of the first.
    places = np.array([*[s[:2] for s in spots], (17.0, 18.0)])
    peak = fit_peaks(Patches(image, places, 8), level, sigma, rounds=400)
    assert peak == pytest.approx([100, 40, 70, 0], abs=1.5)
    assert (peak >= 0).all()


def test_pairs_are_the_puncta_whose_light_overlaps_each_once() -> None:
    places = np.array([[0.0, 0], [0, 3], [0, 30], [0, 36.1], [50, 50]])
    sigma = np.array([1, 1, 2, 1, 1], np.float32)
    first, second = overlapping_pairs(places, sigma)
    # 3·sqrt(1² + 1²) = 4.2 px; 3·sqrt(2² + 1²) = 6.7 px.
    assert {frozenset(pair) for pair in zip(first.tolist(), second.tolist(), strict=True)} == {
        frozenset({0, 1}),
        frozenset({2, 3}),
    }
    assert len(first) == 2
    peak = np.array([100, 100, 100, 10, 100], np.float32)
    # The third is not crowded by a neighbour of a tenth of its height.
    assert crowded(places, peak, sigma).tolist() == [True, True, False, True, False]


def test_fwhm_is_that_of_a_gaussian() -> None:
    assert np.exp(-0.5 * (FWHM / 2) ** 2) == pytest.approx(0.5)


@pytest.mark.parametrize("slope", [4.0, 12.0, -25.0])
def test_a_slope_moves_no_punctum_and_is_no_noise(slope: float) -> None:
    spots = apart()
    y, x = np.indices(SHAPE)
    plane = 8000 + slope * (x - 0.6 * y)
    found = measured(spots_image(SHAPE, spots, background=plane, noise=4), spots)
    assert distance(found, spots).max() < 0.15
    assert found.sigma == pytest.approx(np.full(24, SIGMA), rel=0.10)
    assert found.intensity == pytest.approx(light(spots), rel=0.06)
    assert np.median(found.noise) == pytest.approx(4, rel=0.15)


@pytest.mark.parametrize("slope", [0.3, 2.0])
def test_pixels_that_equal_the_level_have_a_say_in_the_slope(slope: float) -> None:
    down = np.arange(400.0)[:, None]
    plane = np.round(100 + slope * down + np.random.default_rng(0).normal(0, 0.7, (400, 400)))
    places = np.stack(np.meshgrid(*[np.arange(20.0, 380, 20)] * 2), axis=-1).reshape(-1, 2)
    patches = Patches(plane.astype(np.float32), places, 8)
    ground = background(patches, 4.5, 7.0)
    sloped = tilted(patches, 4.5, 7.0, ground, np.zeros_like(patches.pixels)).reshape(-1, 17, 17)
    assert np.diff(sloped, axis=1).mean() == pytest.approx(slope, rel=0.03)
    assert np.diff(sloped, axis=2).mean() == pytest.approx(0, abs=0.01)


def test_what_has_no_light_of_its_own_beside_a_brighter_one_is_its_flank() -> None:
    points = np.array([[10.0, 10.0], [10.0, 12.0], [10.0, 20.0], [50.0, 50.0]])
    peak, sigma = np.array([100.0, 2.0, 2.0, 0.0]), np.full(4, 1.4)
    assert is_flank(points, peak, sigma).tolist() == [False, True, False, False]
    assert is_flank(points[:1], peak[:1], sigma[:1]).tolist() == [False]


def test_a_fainter_one_without_a_dip_is_a_flank_and_one_with_a_dip_is_not() -> None:
    sigma = np.full(2, 1.4)
    for away, flank in ((1.5, True), (3.0, False)):
        points = np.array([[10.0, 10.0], [10.0, 10.0 + away]])
        assert is_flank(points, np.array([100.0, 22.0]), sigma).tolist() == [False, flank]


def test_a_candidate_on_a_flank_takes_no_light_from_its_neighbours() -> None:
    spots = apart()
    image = spots_image(SHAPE, spots, noise=4)
    places = np.array(spots)[:, :2]
    with_flanks = np.concatenate([places, places[::3] + 1.2])
    found = measure_all(Contrast(image), with_flanks, SIGMA)
    alone = measure_all(Contrast(image), places, SIGMA)
    assert is_flank(found.points, found.peak, found.sigma).sum() == 8
    assert found.intensity[:24] == pytest.approx(alone.intensity, rel=0.02)
    assert found.points[:24] == pytest.approx(alone.points, abs=0.05)
