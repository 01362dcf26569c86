from __future__ import annotations

from typing import TYPE_CHECKING

import fakes
import numpy as np
import pytest
from bundled import need
from scipy.ndimage import gaussian_filter
from scipy.optimize import linear_sum_assignment
from scipy.special import erf

from napari_tam.networks.predictor import Predictor
from napari_tam.puncta.crowds.emitters import REACH
from napari_tam.puncta.crowds.resolving import FIT_COLUMNS
from napari_tam.puncta.detect import NetworkDetector
from napari_tam.settings import Settings
from napari_tam.volume.detect import StackDetector
from napari_tam.volume.emitters import Parted
from napari_tam.volume.light_loops import add_light, refine, widening
from napari_tam.volume.precision import standard_errors

if TYPE_CHECKING:
    import pandas as pd

SIGMA = np.array([1.5, 1.3])
STEP_UM, PIXEL_UM = 0.3, 0.1
SHAPE = (16, 160, 160)
AXES = ["z_px", "y_px", "x_px"]


def grid_of_points(seed: int = 0) -> np.ndarray:
    """Places of 81 puncta that stand alone, not at whole voxels."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:9, :9]
    flat = np.stack([np.full(81, 7.0), 12 + 17.0 * rows.ravel(), 12 + 17.0 * columns.ravel()], axis=1)
    return flat + rng.uniform([-2, -2, -2], [2, 2, 2], (81, 3))


def stack_of(
    points: np.ndarray,
    photons: np.ndarray,
    seed: int = 0,
    *,
    hourglass: bool = False,
    wider: np.ndarray | None = None,
) -> np.ndarray:
    """Draw puncta with photons and read noise; `wider` (N,): so many times as wide."""
    rng = np.random.default_rng(seed)
    times = np.ones(len(points)) if wider is None else wider
    light = np.full(SHAPE, 10.0)
    for place, strength, size in zip(points, photons, times, strict=True):
        if hourglass:
            far = (np.arange(SHAPE[0]) - place[0]) / 2
            along, widths = np.full(SHAPE[0], 1 / 6), 1.3 * np.sqrt(1 + far**2)
        else:
            along, widths = bell(place[0], size * SIGMA[0], SHAPE[0]), np.full(SHAPE[0], size * SIGMA[1])
        for z, (share, width) in enumerate(zip(along, widths, strict=True)):
            sides = [bell(place[axis], width, SHAPE[axis]) for axis in (1, 2)]
            light[z] += strength * share * np.outer(*sides)
    return (rng.poisson(light) + rng.normal(70, 1, SHAPE)).astype(np.float32)


def bell(centre: float, width: float, size: int) -> np.ndarray:
    edges = (np.arange(size + 1) - 0.5 - centre) / (np.sqrt(2) * width)
    return np.diff(erf(edges)) / 2


def found_in(stack: np.ndarray) -> pd.DataFrame:
    return StackDetector(fakes.PeakDetector(), STEP_UM).candidates(stack, PIXEL_UM, Settings())


def distances(true: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Distance of each true place to the find that is its own, in sigma."""
    apart = np.linalg.norm((true[:, None] - found[None]) / SIGMA[[0, 1, 1]], axis=2)
    first, second = linear_sum_assignment(apart)
    result = np.full(len(true), np.inf)
    result[first] = apart[first, second]
    return result


@pytest.mark.parametrize("direction", [(0, 1, 0), (0, 0.7, 0.7), (1, 0, 0), (0.6, 0.6, 0.5)])
def test_two_puncta_in_one_spot_are_counted_twice_with_their_own_light(direction: tuple[float, ...]) -> None:
    singles = grid_of_points()
    apart = 2.2 * np.array(direction) * SIGMA[[0, 1, 1]]
    pairs = singles[20:60:4]
    points = np.vstack([singles, pairs + apart])
    photons = np.full(len(points), 2500.0)
    found = found_in(stack_of(points, photons))
    assert len(found) == len(points)
    assert np.max(distances(points, found[AXES].to_numpy())) < 0.7
    assert found["intensity"].sum() == pytest.approx(photons.sum(), rel=0.04)
    two = found["puncta_in_spot"] == 2
    assert two.sum() == 2 * len(pairs)
    assert found["intensity"][two].median() == pytest.approx(2500, rel=0.12)
    assert found["intensity_se"][two].between(20, 400).all()


@pytest.mark.parametrize("direction", [(0, 1, 0), (1, 0, 0), (0.6, 0.6, 0.5)])
def test_two_that_leave_one_peak_are_told_by_being_as_bright_as_two(direction: tuple[float, ...]) -> None:
    singles = grid_of_points(5)
    apart = np.array(direction) / np.linalg.norm(direction) * SIGMA[[0, 1, 1]]
    pairs = singles[:60:3]
    points = np.vstack([singles, pairs + 1.3 * apart])
    photons = np.full(len(points), 10_000.0)
    found = found_in(stack_of(points, photons))
    assert len(singles) + 0.7 * len(pairs) <= len(found) <= len(points)
    assert (distances(points, found[AXES].to_numpy()) < 0.7).sum() > len(singles) + 0.6 * len(pairs)
    assert found["intensity"].sum() == pytest.approx(photons.sum(), rel=0.04)


def test_single_ones_stay_single_and_as_they_were_measured() -> None:
    points = grid_of_points(1)
    found = found_in(stack_of(points, np.full(len(points), 2500.0)))
    assert len(found) == len(points)
    assert (found["puncta_in_spot"] == 1).all()
    assert found["sigma_px"].std() > 0  # its own, not the typical one


def test_light_that_spreads_like_an_hourglass_is_no_second_punctum() -> None:
    points = grid_of_points(2)
    stack = stack_of(points, np.full(len(points), 9000.0), hourglass=True)
    found = found_in(stack)
    assert len(found) <= 1.05 * len(points)
    assert (distances(points, found[AXES].to_numpy()) < 1.5).mean() > 0.95


def seen_in(stack: np.ndarray) -> pd.DataFrame:
    """Return what the bundled network finds."""
    detector = StackDetector(NetworkDetector(Predictor(need("puncta").load())), STEP_UM)
    return detector.detect(stack.astype(np.float32), PIXEL_UM, Settings())


@pytest.mark.parametrize("wider", [-0.06, 0.0, 0.04, 0.08])
def test_how_much_wider_puncta_are_is_told_with_its_error(wider: float) -> None:
    points = grid_of_points(9)
    count = len(points)
    home, peak, sigma = np.round(points), np.full(count, 500.0), np.tile(SIGMA, (count, 1))
    rest = np.random.default_rng(9).normal(0, 5, SHAPE).astype(np.float32)
    add_light(rest, home, points, peak, sigma * np.exp([0, wider]), REACH, 1.0)
    add_light(rest, home, points, peak, sigma, REACH, -1.0)
    told, variance = widening(rest, np.full(SHAPE, 0.04, np.float32), home, points, peak, sigma, REACH).T
    assert np.mean(told) == pytest.approx(wider, abs=0.2 * abs(wider) + 1e-3)
    assert np.std(told) == pytest.approx(np.sqrt(np.mean(variance)), rel=0.25)


@pytest.mark.parametrize("spread", [0.25, 0.4])
def test_balls_of_all_sizes_are_not_parted(spread: float) -> None:
    rng = np.random.default_rng(8)
    points = rng.uniform([4, 8, 8], [11, 152, 152], (120, 3))
    wider, photons = np.exp(rng.normal(0, spread, 120)), 6000 * np.exp(rng.normal(0, 0.3, 120))
    found = seen_in(np.round(stack_of(points, photons, wider=wider)))
    assert 0.85 * len(points) <= len(found) <= 1.03 * len(points)
    assert (distances(points, found[AXES].to_numpy()) < 2).sum() > 0.95 * len(found)


def in_cells(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Places of so many puncta in four cells, and (Z, Y, X) the cells as a lens shows them."""
    z, y, x = np.indices(SHAPE)
    bodies = [(7.5, 45, 45), (7.5, 45, 115), (7.5, 115, 45), (7.5, 115, 115)]
    cells = sum(((z - a) / 6) ** 2 + ((y - b) / 24) ** 2 + ((x - c) / 24) ** 2 < 1 for a, b, c in bodies)
    inside = np.argwhere(np.asarray(cells, bool))
    places = inside[rng.integers(len(inside), size=count)] + rng.uniform(-0.5, 0.5, (count, 3))
    return places, gaussian_filter(np.asarray(cells, float), SIGMA[[0, 1, 1]])


@pytest.mark.parametrize("cut", [0, 50, 85])
def test_full_cells_are_counted_though_their_background_was_cut_off(cut: int) -> None:
    points, cells = in_cells(600, np.random.default_rng(1))
    rng = np.random.default_rng(cut)
    stack = stack_of(points, 2500 * np.exp(rng.normal(0, 0.3, len(points)))) + rng.poisson(15 * cells)
    if cut:
        stack = np.clip(stack - np.percentile(stack, cut), 0, None)
    found = seen_in(np.round(stack))
    assert len(found) == pytest.approx(len(points), rel=0.1)
    assert (distances(points, found[AXES].to_numpy()) < 2).mean() > 0.88


def test_a_stack_that_does_not_show_a_whole_punctum_is_not_parted() -> None:
    points = grid_of_points(3)
    points = np.vstack([points, points[::8] + np.array([0, 2.6, 0])])
    thin = stack_of(points, np.full(len(points), 2500.0))[5:10]
    assert found_in(thin)[list(FIT_COLUMNS)].isna().all(axis=None)


def test_puncta_fainter_than_the_noise_of_a_voxel_but_clear_in_many_are_found() -> None:
    points = grid_of_points(4)
    stack = stack_of(
        points, np.full(len(points), 550.0)
    )  # a peak of 14 photons on 10, some 16 times its noise
    detector = StackDetector(NetworkDetector(Predictor(need("puncta").load())), STEP_UM)
    found = detector.detect(stack, PIXEL_UM, Settings())
    assert len(found) <= 1.05 * len(points)
    assert (found["snr"] < 5).mean() > 0.8
    assert (distances(points, found[AXES].to_numpy()) < 1.5).mean() > 0.95


def emitters(points: np.ndarray, peak: float) -> Parted:
    n = len(points)
    return Parted(
        np.round(points),
        points.copy(),
        np.full(n, peak),
        np.tile(SIGMA, (n, 1)),
        np.arange(n),
        np.ones(n, bool),
    )


def test_standard_errors_are_the_scatter_of_the_fit() -> None:
    rng, noise, peak = np.random.default_rng(0), 2.0, 40.0
    points = grid_of_points(5)
    truth = emitters(points, peak)
    clean = np.zeros(SHAPE, np.float32)
    add_light(clean, truth.home, truth.points, truth.peak, truth.sigma, 5.0, 1.0)
    weight = np.full(SHAPE, 1 / noise**2, np.float32)
    errors = []
    for _ in range(6):
        now = emitters(points + rng.normal(0, 0.2, points.shape), peak)
        rest = clean + rng.normal(0, noise, SHAPE).astype(np.float32)
        add_light(rest, now.home, now.points, now.peak, now.sigma, REACH, -1.0)
        which = np.arange(len(now))
        refine(rest, weight, now.home, now.points, now.peak, now.sigma, which, REACH, 10)
        errors.append(np.column_stack([now.peak - peak, now.points - points]))
    scatter = np.concatenate(errors).std(axis=0)
    expected = standard_errors(truth, weight, SIGMA).mean(axis=0)
    assert scatter[1:] == pytest.approx(expected[1:], rel=0.15)
    assert 0.7 < scatter[0] / expected[0] < 1  # which counts in that the background is not known


def test_standard_errors_of_two_that_overlap_are_larger() -> None:
    alone = emitters(np.array([[8.0, 40, 40]]), 40.0)
    two = emitters(np.array([[8.0, 40, 40], [8, 41.5, 40]]), 40.0)
    weight = np.ones(SHAPE, np.float32)
    assert (
        standard_errors(two, weight, SIGMA)[0, [0, 2]]
        > 1.5 * standard_errors(alone, weight, SIGMA)[0, [0, 2]]
    ).all()


def test_light_of_puncta_in_a_flat_cell_that_glows_is_theirs() -> None:
    points = grid_of_points(6)
    photons = np.full(len(points), 2500.0)
    rng = np.random.default_rng(7)
    stack = stack_of(points, photons)
    slab = np.exp(-0.5 * ((np.arange(SHAPE[0]) - 7) / 2.5) ** 2)  # little higher than they
    stack += rng.poisson(np.broadcast_to(25 * slab[:, None, None], SHAPE)) - 25
    found = found_in(stack)
    apart = distances(points, found[AXES].to_numpy())
    assert (apart < 1).mean() > 0.95
    clear = found[found["snr"] > 4]
    assert clear["intensity"].median() == pytest.approx(2500, rel=0.15)


def test_the_light_of_a_cell_that_glows_is_not_that_of_its_puncta() -> None:
    rng = np.random.default_rng(3)
    points, cells = in_cells(60, rng)
    photons = 1500 * np.exp(rng.normal(0, 0.3, 60))
    stack = stack_of(points, photons) + rng.poisson(40 * cells)
    found = seen_in(stack)
    assert 0.8 * 60 <= len(found) <= 1.35 * 60
    # Twice as much and more, before the background was taken from near them.
    assert found["intensity"].sum() == pytest.approx(photons.sum(), rel=0.4)
