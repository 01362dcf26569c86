from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from label_images import disc
from scipy import ndimage

from napari_tam.io.check import saturation_level
from napari_tam.measure.intensity import (
    background,
    contrast_to_noise,
    focus_score,
    laplacian,
    noise,
    saturated,
    saturated_pixels,
)
from napari_tam.measure.place import boundary_distance
from napari_tam.measure.regions import Regions


def level_of(image: npt.NDArray[Any], labels: npt.NDArray[Any]) -> Any:
    regions = Regions(labels)
    return background(image, regions, boundary_distance(regions))


def test_background_leaves_out_cells_and_the_haze_around_them() -> None:
    cells = disc((100, 100), 50, 50, 20)
    image = np.where(disc((100, 100), 50, 50, 24), 5000, 100).astype(np.uint16)
    image[0, 0] = 9000  # debris moves the mean, not the median
    level = level_of(image, cells)
    outside = image[~disc((100, 100), 50, 50, 26.5)]
    assert level.method == "outside cells"
    assert level.notes == ()
    assert level.median == 100
    assert level.mean == pytest.approx(outside.mean(), rel=0.002)
    assert level.mean > 100


def test_background_without_cells_is_the_whole_image() -> None:
    image = np.arange(100, dtype=np.uint16).reshape(10, 10)
    level = level_of(image, np.zeros((10, 10), int))
    assert (level.median, level.mean) == (49.5, 49.5)


def test_background_of_a_confluent_image_is_a_low_percentile_and_says_so() -> None:
    image = np.arange(10_000, dtype=np.float32).reshape(100, 100)
    level = level_of(image, np.ones((100, 100), int))
    assert level.method == "percentile"
    assert level.median == level.mean == pytest.approx(np.percentile(image, 1))
    assert len(level.notes) == 1


@pytest.mark.parametrize(
    ("dtype", "top", "pixels", "level"),
    [
        ("uint8", 255, 1, 255),
        ("uint16", 65535, 1, 65535),
        ("uint16", 4095, 30, 4095),
        ("uint16", 4095, 3, None),
        ("uint16", 1023, 30, 1023),
        ("uint16", 16383, 30, 16383),
        ("uint16", 4094, 30, None),
        ("float32", 4095, 30, 4095),
        ("float32", 1, 30, 1),
        ("float32", 1, 1, None),
        ("uint16", 1, 30, None),
        (">u2", 4095, 30, 4095),
    ],
)
def test_saturation_level(dtype: str, top: int, pixels: int, level: float | None) -> None:
    image = np.zeros((50, 50), dtype)
    image.flat[:pixels] = top
    assert saturation_level(image) == level


def test_clipped_pixels_are_counted_in_each_cell_and_the_image() -> None:
    labels = np.zeros((10, 20), np.uint8)
    labels[:, :10] = 1
    labels[:, 10:] = 2
    image = np.full((10, 20), 7, np.uint8)
    assert saturated(image) == (None, 0)
    assert saturated_pixels(image, Regions(labels), None).tolist() == [0, 0]
    image[:5, 10:] = 255
    assert saturated(image) == (255, 0.25)
    assert saturated_pixels(image, Regions(labels), 255).tolist() == [0, 50]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "uint32", "float32", "float64", ">u2", ">f4"])
def test_focus_score_is_the_variance_of_the_laplacian_inside(dtype: str) -> None:
    rng = np.random.default_rng(0)
    labels = disc((40, 40), 15, 18, 12).astype(np.uint8)
    image = rng.integers(50, 200, labels.shape).astype(dtype)
    mean = np.array([image[labels > 0].mean(dtype=float)])
    inner = ndimage.binary_erosion(labels)
    expected = ndimage.laplace(image.astype(float))[inner]
    found = focus_score(laplacian(image), Regions(labels), mean)
    assert found == pytest.approx(expected.var() / mean[0] ** 2, rel=1e-5)


def test_focus_score_falls_with_blur_and_does_not_see_exposure_or_the_outline() -> None:
    rng = np.random.default_rng(0)
    labels = disc((80, 80), 40, 40, 30).astype(np.uint8)
    sharp = rng.uniform(100, 200, labels.shape)
    scores = []
    for image in (sharp, 2 * sharp, np.where(labels, sharp, 0), ndimage.gaussian_filter(sharp, 1)):
        mean = Regions(labels).sums(image) / labels.sum()
        scores.append(float(focus_score(laplacian(image), Regions(labels), mean)[0]))
    assert scores[1] == pytest.approx(scores[0], rel=1e-5)
    assert scores[2] == pytest.approx(scores[0], rel=1e-5)
    assert scores[3] < scores[0] / 10


def test_focus_score_is_missing_where_it_has_no_meaning() -> None:
    labels = np.zeros((10, 10), np.uint8)
    labels[1, 1:4] = 1  # no inner pixel
    labels[4:9, 4:9] = 2  # mean 0
    assert np.isnan(focus_score(laplacian(np.zeros((10, 10))), Regions(labels), np.array([1.0, 0.0]))).all()


@pytest.mark.parametrize("sd", [1.0, 7.0])
def test_noise_is_its_sd_whatever_else_is_in_the_image(sd: float) -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(100, sd, (200, 200))
    assert noise(laplacian(image)) == pytest.approx(sd, rel=0.03)
    image[50:150, 50:150] += 500
    image += np.arange(200)
    assert noise(laplacian(image)) == pytest.approx(sd, rel=0.04)
    assert noise(laplacian(3 * image)) == pytest.approx(3 * noise(laplacian(image)), rel=1e-4)


def test_contrast_to_noise_is_the_height_above_the_background_in_noise_sds() -> None:
    rng = np.random.default_rng(1)
    labels = np.zeros((120, 120), np.uint16)
    labels[30:60, 30:60], labels[80:110, 80:110] = 1, 2
    regions = Regions(labels)
    image = np.array([200.0, 220.0, 300.0])[labels] + rng.normal(0, 5, labels.shape)
    mean = regions.sums(image) / regions.area
    level = background(image, regions, boundary_distance(regions)).median
    found = contrast_to_noise(mean, level, noise(laplacian(image)))
    assert found == pytest.approx([4, 20], rel=0.08)
    still = contrast_to_noise(np.array([220.0, 200.0]), 200.0, 0.0)
    assert still[0] == np.inf
    assert np.isnan(still[1])
