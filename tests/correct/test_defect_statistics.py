"""Pixels that stand out in the same place of many images: what is found, and what never is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_tam.correct.defect_statistics import LEAST_IMAGES, LEAST_SEEN, Found, Places, Sums
from napari_tam.simulate.parameters import SceneParameters
from napari_tam.simulate.scene import Scene

if TYPE_CHECKING:
    from collections.abc import Iterable

SHAPE = (160, 192)
FIELD = SceneParameters(shape=SHAPE, cells_per_field=6, free_per_field=6.0)


def fields(seed: int, number: int = 24, parameters: SceneParameters = FIELD) -> list[np.ndarray]:
    """Draw fields of different places (C, Y, X), with the channels cell, nucleus and exosome."""
    return [Scene.draw(parameters, np.random.default_rng([seed, index])).image for index in range(number)]


def learnt(planes: Iterable[np.ndarray]) -> Found:
    sums = Sums(SHAPE)
    for plane in planes:
        sums.add(plane)
    return sums.found()


def places(found: Found) -> set[tuple[int, int]]:
    return {(int(y), int(x)) for y, x in found.places}


def spots(rng: np.random.Generator, number: int) -> np.ndarray:
    """Return places (N, 2) that are at least 6 px apart."""
    grid = np.argwhere(np.ones((SHAPE[0] // 6, SHAPE[1] // 6))) * 6 + 2
    chosen: np.ndarray = rng.permutation(grid)[:number]
    return chosen


def noise_of(plane: np.ndarray) -> float:
    step = np.diff(plane.astype(float), axis=1)
    return float(1.4826 * np.median(np.abs(step - np.median(step))) / 2**0.5)


@pytest.fixture(scope="module")
def plate() -> list[np.ndarray]:
    return [image[2] for image in fields(3)]


@pytest.mark.parametrize("strength", [3, 5, 10, 30, 300])
def test_defects_of_a_plate_are_found_and_nothing_else(plate: list[np.ndarray], strength: float) -> None:
    """A defect of 3 SD of the noise is too dim for any look at a single image."""
    at = spots(np.random.default_rng(1), 60)
    bad = []
    for plane in plate:
        light = plane.astype(float)
        light[tuple(at.T)] += strength * noise_of(plane)
        bad.append(np.clip(light.round(), 0, 65535).astype(np.uint16))
    found, truth = places(learnt(bad)), {(int(y), int(x)) for y, x in at}
    assert found <= truth
    assert len(found) >= 0.95 * len(truth)


def test_small_clusters_are_found(plate: list[np.ndarray]) -> None:
    at = spots(np.random.default_rng(2), 40)
    truth = {(int(y) + dy, int(x) + dx) for y, x in at for dy, dx in ((0, 0), (0, 1), (1, 0))}
    rows, columns = np.array(sorted(truth)).T
    bad = []
    for plane in plate:
        bad.append(plane.astype(float))
        bad[-1][rows, columns] += 8 * noise_of(plane)
    found = places(learnt(bad))
    assert found <= truth
    assert len(found) >= 0.95 * len(truth)


def test_what_shines_in_half_of_the_images_is_found(plate: list[np.ndarray]) -> None:
    rng = np.random.default_rng(3)
    at = spots(rng, 60)
    bad = []
    for plane in plate:
        bad.append(plane.astype(float))
        bad[-1][tuple(at[rng.random(len(at)) < 0.6].T)] += 15 * noise_of(plane)
    found = learnt(bad)
    truth = {(int(y), int(x)) for y, x in at}
    assert places(found) <= truth
    assert len(found.places) >= 0.8 * len(truth)
    # how often, and how strong
    assert 0.5 < found.seen.mean() / found.images < 0.75
    usual = 15 * float(np.mean([noise_of(plane) for plane in plate]))
    assert abs(np.median(found.strength) / usual - 1) < 0.15


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("puncta", [4.0, 40.0])
def test_puncta_at_places_of_their_own_are_never_defects(seed: int, puncta: float) -> None:
    crowd = SceneParameters(shape=SHAPE, cells_per_field=6, puncta_per_cell=puncta)
    for channel in np.stack(fields(100 + seed, parameters=crowd), axis=1):
        assert not len(learnt(channel).places)


@settings(max_examples=6)
@given(
    number=st.integers(0, LEAST_SEEN - 1),
    height=st.floats(50, 60_000),
    sigma=st.sampled_from([0.3, 0.8, 1.3]),
    first=st.integers(0, 20),
)
def test_a_punctum_of_a_few_images_is_never_a_defect(
    number: int, height: float, sigma: float, first: int
) -> None:
    """Also not if it is a single bright pixel, and by chance at the same place of three images."""
    rng = np.random.default_rng(first)
    planes = [rng.poisson(100, SHAPE).astype(float) for _ in range(24)]
    rows, columns = np.indices(SHAPE)
    spot = height * np.exp(-((rows - 50) ** 2 + (columns - 60) ** 2) / (2 * sigma**2))
    for plane in planes[first : first + number]:
        plane += spot
    assert not len(learnt(planes).places)


def test_the_order_of_the_images_does_not_matter(plate: list[np.ndarray]) -> None:
    bad = [plane.astype(float) for plane in plate]
    for plane in bad:
        plane[20, 30] += 200
    one, other = learnt(bad), learnt(bad[::-1])
    assert places(one) == places(other) == {(20, 30)}
    assert np.array_equal(one.seen, other.seen)


def test_too_few_images_say_nothing(plate: list[np.ndarray]) -> None:
    bad = [plane.astype(float) for plane in plate]
    for plane in bad:
        plane[20, 30] += 5000
    few = learnt(bad[: LEAST_IMAGES - 1])
    assert not len(few.places)
    assert "too few" in few.left_out
    assert places(learnt(bad[:LEAST_IMAGES])) == {(20, 30)}


@pytest.mark.parametrize("kind", ["scale bar", "pattern", "constant"])
def test_what_is_no_pixel_of_a_camera_is_left_alone(plate: list[np.ndarray], kind: str) -> None:
    bad = [plane.astype(float) for plane in plate]
    for plane in bad:
        if kind == "scale bar":
            plane[150, 100:160] = 4000
        elif kind == "pattern":
            plane[::4, ::4] += 300
        else:
            plane[:] = 7
    assert not len(learnt(bad).places)


def test_few_grey_levels_are_no_defects() -> None:
    rng = np.random.default_rng(0)
    planes = [rng.poisson(0.2, SHAPE).astype(np.uint8) for _ in range(24)]
    assert not len(learnt(planes).places)
    for plane in planes:
        plane[20, 30] += 9
    assert places(learnt(planes)) == {(20, 30)}


# --- which images count ---


def test_fields_of_different_places_all_count() -> None:
    known = Places()
    assert all(known.is_new(image[0]) for image in fields(7, 32))


def test_defects_do_not_make_different_places_alike() -> None:
    known, at = Places(), spots(np.random.default_rng(4), 200)
    for image in fields(8, 24):
        plane = image[0].astype(float)
        plane[tuple(at.T)] += 20_000
        assert known.is_new(plane)


@pytest.mark.parametrize("moved", [0, 2, 4])
def test_an_image_of_the_same_place_does_not_count_again(moved: int) -> None:
    """Noise, light and bleaching differ; cells crawl by up to 1.3 µm."""
    rng = np.random.default_rng(5)
    for image in fields(9, 8):
        known = Places()
        first = image[0].astype(float)
        assert known.is_new(first)
        later = np.roll(first, (moved, -moved), (0, 1)) * np.linspace(0.5, 0.9, SHAPE[1])
        assert not known.is_new(later + rng.normal(0, 10, SHAPE))
