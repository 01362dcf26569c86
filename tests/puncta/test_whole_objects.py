"""Objects far wider than the puncta around them."""

from __future__ import annotations

import numpy as np
import pytest
from flow_images import spots_image

from napari_tam.puncta.contrast import Contrast
from napari_tam.puncta.photometry import Photometry, is_flank
from napari_tam.puncta.whole_objects import are_gaussian, measure_all, scores_of_whole


@pytest.mark.parametrize("times", [5, 6, 7])
def test_objects_many_times_as_wide_as_a_punctum_are_measured_whole_and_once(times: int) -> None:
    rng = np.random.default_rng(times)
    along = np.arange(60, 480, 110.0)
    grid = np.stack(np.meshgrid(along, along), axis=-1).reshape(-1, 2)
    wide = [(y, x, rng.uniform(60, 120), times * 1.2) for y, x in grid + rng.uniform(-2, 2, grid.shape)]
    narrow = [(y + 55, x + 55, rng.uniform(150, 300), 1.2) for y, x in grid]
    image = spots_image((500, 500), wide + narrow, noise=6.0, background=30)
    truth = np.array(wide + narrow)
    # on the wide ones a detector sees some bumps of noise as well
    twins = np.array(wide)[:, :2] + rng.choice([-1, 1], grid.shape) * rng.uniform(1.5, 2.5, grid.shape)
    places = np.concatenate([truth[:, :2] + rng.uniform(-0.4, 0.4, truth[:, :2].shape), twins])
    found = measure_all(Contrast(image), places, 1.2)
    flank = is_flank(found.points, found.peak, found.sigma)
    apart = np.hypot(*(found.points[:, None] - truth[None, : len(wide), :2]).T).T
    for number, (_, _, height, sigma) in enumerate(wide):
        here = np.flatnonzero(~flank & (apart[:, number] < 2 * sigma))
        assert len(here) == 1
        assert found.sigma[here[0]] == pytest.approx(sigma, rel=0.15)
        assert found.intensity[here[0]] == pytest.approx(2 * np.pi * height * sigma**2, rel=0.15)
    own = found.intensity[len(wide) : len(truth)]
    heights = np.array(narrow)[:, 2]
    np.testing.assert_allclose(own, 2 * np.pi * heights * 1.2**2, rtol=0.15)
    scores = np.linspace(0.3, 0.9, len(places)).astype(np.float32)  # those of the bumps are higher
    whole = scores_of_whole(scores, found)[~flank]
    assert np.sort(whole)[-len(wide) :] == pytest.approx(scores[-len(wide) :])


def test_a_whole_nucleus_is_no_wide_punctum() -> None:
    rows, columns = np.mgrid[:120, :120]
    nucleus = 300.0 * (np.hypot(rows - 60, columns - 60) < 14)
    image = (nucleus + np.random.default_rng(0).normal(100, 10, nucleus.shape)).astype(np.float32)
    places = np.array([[60.0, 60.0], [56.0, 63.0], [10.0, 10.0]])
    found = measure_all(Contrast(image), places, 1.2)
    assert (found.sigma < 5).all()
    assert (found.intensity < 0.1 * nucleus.sum()).all()


@pytest.mark.parametrize("sigma", [4.0, 8.0])
def test_light_that_is_no_gaussian_is_told_from_one_though_there_is_noise(sigma: float) -> None:
    rows, columns = np.mgrid[:160, :160] - 80.0
    gaussian = np.exp(-0.5 * (rows**2 + columns**2) / sigma**2)
    edge = (columns < sigma / 2) * (np.abs(rows) < 3 * sigma)
    ring = np.exp(-0.5 * ((np.hypot(rows, columns) - 2 * sigma) / (sigma / 2)) ** 2)
    for shape, is_one in ((gaussian, True), (edge, False), (ring, False)):
        noise = np.random.default_rng(0).normal(100, 20, shape.shape)
        image = (100 * shape + noise).astype(np.float32)
        one = (
            np.array([[80.0, 80.0]]),
            *(np.array([value], np.float32) for value in (0, 100, 100, 20, sigma)),
        )
        assert are_gaussian(image, Photometry(*one)).tolist() == [is_one]
