from __future__ import annotations

import cv2
import numpy as np
import pytest
from bundled import need
from flow_images import blurred_noise, spots_image
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from napari_tam.evaluate.matching import match_points
from napari_tam.networks.predictor import Predictor
from napari_tam.puncta.detect import LIGHT_COLUMNS, Detector, LogDetector, NetworkDetector
from napari_tam.puncta.preparing import filled, lie_in, padding_of, prepare
from napari_tam.settings import Settings

UM, EDGE = 0.1, 192


@pytest.fixture(params=["log", "network"])
def detector(request: pytest.FixtureRequest) -> Detector:
    return LogDetector() if request.param == "log" else NetworkDetector(Predictor(need("puncta").load()))


def photograph(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw 49 puncta over faint haze, on the black level of a camera; and where they are."""
    rng = np.random.default_rng(seed)
    along = np.linspace(12, EDGE - 12, 7)
    places = np.stack(np.meshgrid(along, along), axis=-1).reshape(-1, 2) + rng.uniform(-3, 3, (49, 2))
    light = spots_image((EDGE, EDGE), [(y, x, 60.0, 1.4) for y, x in places], noise=0, background=20)
    light = light + 2 * blurred_noise((EDGE, EDGE), 6, seed)
    return (rng.poisson(np.maximum(light, 1)) + rng.normal(100, 2, light.shape)).round(), places


def found(detector: Detector, image: np.ndarray) -> np.ndarray:
    return detector.detect(image, UM, Settings())[["y_px", "x_px"]].to_numpy(float)


@pytest.mark.parametrize("value", [0, 90])
def test_an_image_in_a_black_mosaic_has_the_same_puncta(detector: Detector, value: int) -> None:
    image, places = photograph()
    mosaic = np.full((2 * EDGE, 3 * EDGE), value, np.uint16)
    mosaic[EDGE // 2 : EDGE // 2 + EDGE, EDGE:-EDGE] = np.maximum(image, value + 1)
    inside = found(detector, mosaic) - [EDGE // 2, EDGE]
    assert len(match_points(places, inside, 2)) == len(places)
    assert len(inside) <= len(found(detector, image.astype(np.uint16))) + 1


def test_a_cell_that_was_cut_out_keeps_its_puncta_and_gets_none_at_its_edge(detector: Detector) -> None:
    image, places = photograph(1)
    y, x = np.indices(image.shape)
    cell = ((y - 96) / 60) ** 2 + ((x - 90) / 80) ** 2 < 1
    cut = np.where(cell, image, 0).astype(np.uint16)
    kept = cv2.erode(cell.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    row, column = np.round(places).astype(int).T
    clear, near = places[kept[row, column]], places[cell[row, column]]
    points = found(detector, cut)
    assert len(match_points(clear, points, 2)) == len(clear)
    assert len(points) <= len(near) + 1


def cut_out(full: int, radius: int = 19, seed: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw cells of that many puncta each, as taken and with nothing beside them; and the puncta."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((256, 256))
    cells, places = np.zeros((256, 256), bool), []
    for middle in np.stack(np.meshgrid(*[np.arange(48, 256, 54)] * 2), axis=-1).reshape(-1, 2):
        cells |= np.hypot(y - middle[0], x - middle[1]) < radius
        away, angle = 13 * np.sqrt(rng.random(full)), rng.uniform(0, 2 * np.pi, full)
        places.append(middle + np.stack([away * np.sin(angle), away * np.cos(angle)], axis=1))
    points = np.concatenate(places)
    light = spots_image((256, 256), [(y, x, 80.0, 1.4) for y, x in points], noise=0, background=0)
    light += 30 * cv2.GaussianBlur(cells.astype(np.float32), (0, 0), 3) + 20
    image = (rng.poisson(light) + rng.normal(100, 2, light.shape)).round()
    return image.astype(np.uint16), np.where(cells, image, 0).astype(np.uint16), points


@pytest.mark.parametrize(("full", "radius"), [(3, 19), (30, 19), (30, 25)])
def test_cells_that_were_cut_out_hold_as_many_puncta_as_before(full: int, radius: int) -> None:
    """However near to each other they lie."""
    detector = NetworkDetector(Predictor(need("puncta").load()))
    as_taken, alone, places = cut_out(full, radius)
    before, after = found(detector, as_taken), found(detector, alone)
    assert len(after) > 0.9 * len(before)
    assert len(match_points(places, after, 3)) > 0.95 * len(after)


def test_noise_beside_a_constant_is_no_hot_pixel_and_a_hot_pixel_is() -> None:
    _, alone, places = cut_out(3)
    alone[50, 52] += 3000
    hot = prepare(alone).hot
    assert [50, 52] in hot.tolist()
    assert len(hot) <= 3
    assert len(places) > len(hot)


@pytest.mark.parametrize("what", ["cut off", "few photons", "cells alone", "saturated", "even", "whole"])
def test_what_is_dark_by_itself_is_no_padding(what: str) -> None:
    rng = np.random.default_rng(2)
    image, _ = photograph(2)
    soft = 400 * np.clip(
        cv2.GaussianBlur((blurred_noise(image.shape, 20, 3) > 0.5).astype(np.float32), (0, 0), 4), 0, 1
    )
    drawn = {
        "cut off": np.maximum(image - np.percentile(image, 60), 0),
        "few photons": rng.poisson(np.full(image.shape, 0.02) + (image > 140)),
        "cells alone": np.maximum(soft + rng.normal(0, 5, soft.shape) - 20, 0),
        "saturated": np.minimum(image, 125),
        "even": np.zeros_like(image),
        "whole": image,
    }[what]
    assert padding_of(drawn.astype(np.float32)) is None


def lying_in_black(seed: int, top: int, left: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw noise between 50 and 60 somewhere in a black image; and the padding around it."""
    image = np.zeros((220, 220), np.float32)
    seen = np.random.default_rng(seed).uniform(50, 60, (height, width)).astype(np.float32)
    image[top : top + height, left : left + width] = seen
    padding = padding_of(image)
    assert padding is not None
    np.testing.assert_array_equal(padding, image == 0)
    return image, padding


@limits(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    top=st.integers(0, 60),
    left=st.integers(0, 60),
    height=st.integers(105, 150),
    width=st.integers(105, 150),
)
def test_padding_is_filled_with_what_was_seen(
    seed: int, top: int, left: int, height: int, width: int
) -> None:
    image, padding = lying_in_black(seed, top, left, height, width)
    seen = image[top : top + height, left : left + width]
    result = filled(image, padding)
    np.testing.assert_array_equal(result[~padding], image[~padding])
    assert np.isin(result, np.append(seen, np.median(seen))).all()
    if top > 0:  # mirrored at the edge, without repeating it
        np.testing.assert_array_equal(result[top - 1, left + 2 : left + width - 2], seen[1, 2:-2])


@limits(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    top=st.integers(1, 110),
    left=st.integers(1, 110),
    height=st.integers(6, 90),
    width=st.integers(6, 90),
)
def test_beside_what_is_small_lie_its_light_and_its_noise(
    seed: int, top: int, left: int, height: int, width: int
) -> None:
    image, padding = lying_in_black(seed, top, left, height, width)
    result = filled(image, padding)
    np.testing.assert_array_equal(result[~padding], image[~padding])
    there = result[padding]
    assert np.median(there) == pytest.approx(np.median(image[~padding]), abs=2.5)
    assert there.std() < 2.2 * image[~padding].std() + 0.5
    assert there.min() > 55 - 40
    if min(height, width) > 12:
        assert there.std() > 0.5 * image[~padding].std()


def test_how_deep_points_lie_in_padding() -> None:
    padding = np.zeros((40, 40), bool)
    padding[:, 20:] = True
    points = np.array([[5.0, 10], [5, 21], [5, 30]])
    assert lie_in(padding, points).tolist() == [False, True, True]
    assert lie_in(padding, points, 4).tolist() == [False, False, True]


@pytest.mark.parametrize("times", [2.0**-16, 2.0**-40])
def test_light_in_small_fractions_is_found_and_measured_alike(detector: Detector, times: float) -> None:
    image, _ = photograph(3)
    whole = detector.candidates(image.astype(np.float32), UM, Settings())
    small = detector.candidates((image * times).astype(np.float32), UM, Settings())
    assert len(whole) == len(small) > 40
    for name in LIGHT_COLUMNS:
        np.testing.assert_allclose(small[name] / times, whole[name], rtol=1e-3, atol=0.02)
    np.testing.assert_allclose(small[["y_px", "x_px", "snr"]], whole[["y_px", "x_px", "snr"]], rtol=1e-3)
