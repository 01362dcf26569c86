from __future__ import annotations

import fakes
import numpy as np
import pytest
from bundled import need

from napari_tam.networks.predictor import Predictor
from napari_tam.puncta import detect
from napari_tam.puncta.crowds.resolving import FIT_COLUMNS
from napari_tam.puncta.detect import NetworkDetector
from napari_tam.settings import Settings
from napari_tam.volume.detect import VOLUME_SPOT_COLUMNS, StackDetector, climb

TRUE = np.array([[4.2, 20.4, 30.3], [6.7, 50.0, 60.6], [9.4, 50.3, 60.1], [5.0, 70.2, 100.8]])


def image(seed: int = 0) -> np.ndarray:
    grid = np.indices((14, *fakes.SHAPE))
    stack = np.random.default_rng(seed).normal(10, 3, grid.shape[1:])
    for z, y, x in TRUE:
        far = ((grid[0] - z) / 0.9) ** 2 + ((grid[1] - y) ** 2 + (grid[2] - x) ** 2) / 1.4**2
        stack += 500 * np.exp(-0.5 * far)
    return stack.astype(np.float32)


def test_finds_climb_to_the_maximum_above_them_and_share_it() -> None:
    landscape = np.zeros((9, 9, 9), np.float32)
    landscape[3:6, 4, 4] = [1, 3, 2]
    start = np.array([[3, 4, 4], [5, 5, 4], [0, 0, 0]])
    peaks, scores = climb(landscape, start, np.array([0.4, 0.9, 0.5], np.float32))
    assert peaks.tolist() == [[0, 0, 0], [4, 4, 4]]
    assert scores == pytest.approx([0.5, 0.9])


def test_every_punctum_is_found_once_at_its_place_in_z_too() -> None:
    found = StackDetector(fakes.PeakDetector(), 0.6).detect(image(), 0.2, Settings())
    order = np.argsort(found["x_px"] + 100 * found["z_px"])
    points = found[["z_px", "y_px", "x_px"]].to_numpy()[order]
    wanted = TRUE[np.argsort(TRUE[:, 2] + 100 * TRUE[:, 0])]
    assert points == pytest.approx(wanted, abs=0.25)
    assert found["intensity"].to_numpy() == pytest.approx(500 * (2 * np.pi) ** 1.5 * 0.9 * 1.4**2, rel=0.15)
    assert found["width_z_um"].median() == pytest.approx(2.355 * 0.9 * 0.6, rel=0.1)
    assert found["width_um"].median() == pytest.approx(2.355 * 1.4 * 0.2, rel=0.1)


def test_the_bundled_network_finds_them_as_well_and_no_hot_pixel() -> None:
    spoiled = image()
    spoiled[3, 10, 10] = 65535
    detector = StackDetector(NetworkDetector(Predictor(need("puncta").load())), 0.6)
    for stack in (image(), spoiled):
        found = detector.detect(stack, 0.2, Settings())
        assert np.sort(found["x_px"]) == pytest.approx(np.sort(TRUE[:, 2]), abs=0.25)


def test_a_stack_parts_no_crowds_in_the_picture_of_its_planes(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        pytest.fail("the planes of a stack were fitted as a picture of their own")

    monkeypatch.setattr(detect, "resolve_crowds", never)
    detector = NetworkDetector(Predictor(need("puncta").load()))
    found = StackDetector(detector, 0.6).candidates(image(), 0.2, Settings())
    assert len(found) == len(TRUE)
    with pytest.raises(pytest.fail.Exception, match="as a picture of their own"):
        detector.candidates(image()[4], 0.2, Settings())


def test_an_empty_stack_has_no_puncta_but_all_columns() -> None:
    empty = np.full((5, 64, 64), 10, np.uint16)
    found = StackDetector(fakes.PeakDetector(), 0.6).detect(empty, 0.2, Settings())
    assert len(found) == 0
    assert list(found) == [*VOLUME_SPOT_COLUMNS, *FIT_COLUMNS]
