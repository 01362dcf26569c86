"""Several emitters in one spot, their standard errors, and what must stay one object."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest
from scipy.spatial import cKDTree

from napari_tam.evaluate.matching import match_points
from napari_tam.networks import threads
from napari_tam.pipeline.models import load_models
from napari_tam.puncta.crowds.emitters import Emitters, add_light, refine, standard_errors
from napari_tam.puncta.crowds.haze import solve_haze
from napari_tam.puncta.crowds.heights import light_around
from napari_tam.puncta.crowds.resolving import FIT_COLUMNS, one_width, resolve_crowds
from napari_tam.puncta.crowds.splitting import COUNTED_WITHIN, DENSE, log_density, resolve
from napari_tam.puncta.crowds.worth import Tried
from napari_tam.puncta.detect import measure_spots
from napari_tam.puncta.spectrum import spectral_width
from napari_tam.settings import Settings

SIGMA, LEVEL = 1.4, 40.0


def emitters(points: np.ndarray, photons: float | np.ndarray, sigma: float = SIGMA) -> Emitters:
    peak = np.broadcast_to(photons / (2 * np.pi * sigma**2), len(points)).astype(float)
    return Emitters(points, peak, np.full(len(points), sigma), np.arange(len(points)))


def picture(shape: tuple[int, int], true: Emitters, rng: np.random.Generator) -> np.ndarray:
    """Photons of emitters on a flat background."""
    light = np.zeros(shape, np.float32)
    add_light(light, true)
    return rng.poisson(np.maximum(light, 0) + LEVEL).astype(np.float32)


def grid(count: int, step: int, rng: np.random.Generator) -> np.ndarray:
    """Sub-pixel places, more than half a step apart; a strict grid would have a spectrum of lines."""
    place = step * (np.stack(np.divmod(np.arange(count**2), count), axis=1) + 0.5)
    return place + rng.uniform(-step / 4.5, step / 4.5, place.shape)


def table_at(image: np.ndarray, points: np.ndarray) -> pd.DataFrame:
    return measure_spots(image, points, np.full(len(points), 0.9, np.float32), 0.1, Settings())


def test_how_many_lie_around_is_told_by_light_beside_those_of_a_crowd() -> None:
    rng = np.random.default_rng(0)
    dense = rng.uniform(0, 100 * SIGMA, (int(2 * DENSE * 100**2), 2))
    thin = rng.uniform(0, 100 * SIGMA, (int(DENSE / 2 * 100**2), 2))
    thin[:, 1] += 200 * SIGMA
    alone = np.array([[400 * SIGMA, 0.0]])
    all_of_them = emitters(np.concatenate([dense, thin, alone]), 500)
    single = float(np.log(all_of_them.peak[0]))
    around = log_density(light_around(all_of_them, COUNTED_WITHIN * SIGMA), (single, 0.3))
    assert np.median(around[: len(dense)]) == pytest.approx(np.log(2), abs=0.4)
    assert np.median(around[len(dense) : -1]) == pytest.approx(-np.log(2), abs=0.4)
    assert around[-1] < -2.5
    # Seen as half as many, each twice as bright, there are as many.
    halved = replace(
        all_of_them.take(np.arange(0, len(dense), 2)), peak=np.full(len(dense) // 2, 2 * np.exp(single))
    )
    again = log_density(light_around(halved, COUNTED_WITHIN * SIGMA), (single, 0.3))
    assert np.median(again) == pytest.approx(np.log(2), abs=0.4)
    assert (log_density(light_around(halved, COUNTED_WITHIN * SIGMA), (0.0, np.inf)) < -2.5).all()


def tried(**given: float) -> Tried:
    usual = {
        "gain": 20.0, "density": 0.0, "misfit": 1.0, "apart": 1.8, "brighter": 0.1, "fainter": -0.1,
        "seen": 3.0, "moved": 0.0, "unexplained": 1.5,
    }  # fmt: skip
    parts = {name: np.full(2, given.get(name, value)) for name, value in usual.items()}
    return Tried(split=np.array([True, False]), spread=given.get("spread", 0.4), **parts)


@pytest.mark.parametrize(
    ("doubtful", "better"),
    [
        ({"gain": 4.0}, {"gain": 40.0}),  # the image asks for it
        ({"unexplained": 8.0}, {"unexplained": 1.0}),  # what else is there is no texture
        ({"misfit": 100.0}, {"misfit": 0.0}),  # single puncta are Gaussians
        ({"seen": -7.0}, {"seen": 0.0}),  # the network does not rule it out
        ({"fainter": -1.5}, {"fainter": -0.2}),  # it is no fainter than others
    ],
)
def test_a_second_emitter_is_worth_it_the_more_speaks_for_it(
    doubtful: dict[str, float], better: dict[str, float]
) -> None:
    assert (tried(**doubtful).log_odds() < tried(**better).log_odds()).all()


def test_a_further_emitter_is_worth_it_where_others_lie_around() -> None:
    """A split is as likely among few: puncta gather."""
    assert tried(density=-3.0).log_odds()[1] < tried(density=0.5).log_odds()[1]


@pytest.mark.parametrize(("photons", "apart", "least"), [(2000, 1.3, 0.9), (1000, 1.7, 0.9)])
def test_pairs_in_one_spot_are_told_apart_and_singles_are_not(
    photons: float, apart: float, least: float
) -> None:
    rng = np.random.default_rng(3)
    middle = grid(12, 24, rng)
    pair = np.arange(len(middle)) % 8 == 0
    angle = rng.uniform(0, np.pi, pair.sum())
    step = np.stack([np.sin(angle), np.cos(angle)], axis=1) * apart * SIGMA / 2
    places = np.concatenate([middle[~pair], middle[pair] + step, middle[pair] - step])
    image = picture((288, 288), emitters(places, photons), rng)
    found = resolve_crowds(table_at(image, middle), image, 0.1, None)
    inside = found["puncta_in_spot"].to_numpy()
    owner = cKDTree(middle).query(found[["y_px", "x_px"]])[1]
    number = np.bincount(owner, minlength=len(middle))
    assert (number[pair] == 2).mean() >= least
    assert (number[~pair] == 1).mean() >= 0.95
    assert set(inside) <= {1, 2, 3}
    # The light of both is that of both.
    light = np.bincount(owner, found["intensity"], minlength=len(middle))
    assert np.median(light[pair]) == pytest.approx(2 * photons, rel=0.06)
    two = number == 2
    truth = cKDTree(places).query(found.loc[two[owner] & pair[owner], ["y_px", "x_px"]])[0]
    assert np.median(truth) < 0.35 * SIGMA


def test_places_and_heights_are_as_precise_as_their_standard_errors_say() -> None:
    rng = np.random.default_rng(1)
    middle = grid(16, 16, rng)
    beside = middle + np.array([0, 2.0 * SIGMA])
    true = emitters(np.concatenate([middle, beside[::2]]), 1000)
    image = picture((256, 256), true, rng)
    weight = (1 / (cv2.GaussianBlur(image, (0, 0), 1.0))).astype(np.float32)
    rest = image - LEVEL
    add_light(rest, true, -1)
    found = refine(true, rest, weight, np.ones(len(true), bool))
    error = standard_errors(found, weight)
    for column, off in ((1, found.points[:, 0] - true.points[:, 0]), (0, found.peak - true.peak)):
        assert 0.75 < np.sqrt(np.mean((off / error[:, column]) ** 2)) < 1.2


def test_the_fit_of_a_crowd_is_that_of_the_truth() -> None:
    rng = np.random.default_rng(0)
    points = 20 + 24 * rng.random((25, 2))
    true = emitters(points, 3000)
    light = np.zeros((64, 64), np.float32)
    add_light(light, true)
    start = emitters(points + rng.normal(0, 0.2, points.shape), 1000)
    rest = light.copy()
    add_light(rest, start, -1)
    found = refine(start, rest, np.ones_like(light), np.ones(25, bool), rounds=60)
    assert np.abs(rest).max() < 0.02 * light.max()
    assert found.peak.sum() == pytest.approx(true.peak.sum(), rel=0.02)


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.2])
@pytest.mark.parametrize("density", [0.002, 0.03])
def test_the_spectrum_tells_the_width_of_a_punctum_however_crowded(sigma: float, density: float) -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 256, (int(density * 256**2), 2))
    image = picture((256, 256), emitters(points, 2000, sigma), rng)
    assert spectral_width(image, points) == pytest.approx(sigma, rel=0.05)


@pytest.mark.parametrize(
    ("change", "density"),
    [
        ("blurred", 0.004),
        ("blurred", 0.03),
        ("enlarged 2 times", 0.004),
        ("enlarged 2 times", 0.03),
        ("enlarged 3 times", 0.03),
    ],
)
def test_the_spectrum_tells_the_width_where_noise_was_filtered(change: str, density: float) -> None:
    rng = np.random.default_rng(1)
    points = rng.uniform(0, 256, (int(density * 256**2), 2))
    image = picture((256, 256), emitters(points, 2000, 1.5), rng)
    if change == "blurred":
        image, times, sigma = cv2.GaussianBlur(image, (0, 0), 1.2), 1, float(np.hypot(1.5, 1.2))
    else:
        times = int(change.split()[1])
        image = cv2.resize(image, None, fx=times, fy=times, interpolation=cv2.INTER_CUBIC)
        sigma = 1.5 * times
    assert spectral_width(image, points * times) == pytest.approx(sigma, rel=0.1)


@pytest.mark.parametrize("stated", [0.75, 0.9, 1.0, 1.1, 1.25])
def test_a_width_that_is_stated_need_not_be_right_to_a_tenth(stated: float) -> None:
    rng = np.random.default_rng(3)
    points = rng.uniform(8, 192, (300, 2))
    image = picture((200, 200), emitters(points, 1500), rng)
    table = table_at(image, points[::2])
    by_itself = resolve_crowds(table, image, 0.1, None)
    found = resolve_crowds(table, image, 0.1, stated * SIGMA)
    assert len(by_itself) > 1.2 * len(table)
    assert len(found) == pytest.approx(len(by_itself), rel=0.03)


def test_where_rims_or_compression_bend_the_spectrum_it_tells_nothing() -> None:
    rng = np.random.default_rng(0)
    middle = grid(6, 40, rng)
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    rim = 6 * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    image = picture((240, 240), emitters((middle[:, None] + rim).reshape(-1, 2), 900), rng)
    assert spectral_width(image, middle) is None
    # ... and nothing is split.
    found = resolve_crowds(table_at(image, middle), image, 0.1, None)
    assert len(found) == len(middle)


def test_a_bright_clump_that_the_network_saw_as_one_stays_one() -> None:
    rng = np.random.default_rng(0)
    middle = grid(8, 32, rng)
    clump = middle[0] + rng.normal(0, 2.0, (12, 2))
    image = picture((256, 256), emitters(np.concatenate([middle[1:], clump]), 2000), rng)
    found = resolve_crowds(table_at(image, middle), image, 0.1, SIGMA)
    near = np.hypot(*(found[["y_px", "x_px"]].to_numpy() - middle[0]).T) < 8
    assert near.sum() == 1


def test_a_clump_of_which_the_network_saw_a_few_peaks_keeps_these() -> None:
    rng = np.random.default_rng(2)
    middle = grid(8, 32, rng)
    clump = middle[0] + rng.normal(0, 3.0, (30, 2))
    image = picture((256, 256), emitters(np.concatenate([middle[1:], clump]), 2000), rng)
    seen = np.concatenate([middle, middle[:1] + np.array([[3.0, -2.0], [-3.0, 2.0]])])
    found = resolve_crowds(table_at(image, seen), image, 0.1, SIGMA)
    near = np.hypot(*(found[["y_px", "x_px"]].to_numpy() - middle[0]).T) < 12
    assert near.sum() == 3


@pytest.mark.parametrize(("spread", "parted"), [(0.3, True), (1.6, False)])
def test_only_puncta_that_are_alike_tell_that_a_spot_holds_two(spread: float, parted: bool) -> None:
    rng = np.random.default_rng(6)
    middle = grid(10, 26, rng)
    photons = 3000 * np.exp(rng.normal(0, spread, len(middle)))
    second = middle[::3] + np.array([0.0, 2.2])
    true = emitters(np.concatenate([middle, second]), np.concatenate([photons, photons[::3]]))
    image = picture((260, 260), true, rng)
    found = resolve_crowds(table_at(image, middle), image, 0.1, None)
    assert (len(found) > len(middle) + 0.7 * len(second)) if parted else len(found) == len(middle)


def test_haze_and_gradients_under_puncta_are_no_emitters() -> None:
    rng = np.random.default_rng(5)
    middle = grid(8, 32, rng)
    image = np.zeros((256, 256), np.float32)
    add_light(image, emitters(middle, 1500))
    y, x = np.mgrid[:256, :256]
    haze = 60 * np.exp(-((y - 128) ** 2 + (x - 128) ** 2) / 2 / 70**2) + 40 * (x > 100)
    image = rng.poisson(image + LEVEL + cv2.GaussianBlur(haze.astype(np.float32), (0, 0), 3)).astype(
        np.float32
    )
    found = resolve_crowds(table_at(image, middle), image, 0.1, None)
    assert len(found) <= len(middle) + 2


@pytest.mark.parametrize(("odds", "two"), [(None, True), (6.0, True), (0.0, True), (-6.0, False)])
def test_where_the_network_sees_no_punctum_no_further_one_is_fitted(odds: float | None, *, two: bool) -> None:
    more = []
    for seed in range(8, 12):
        rng = np.random.default_rng(seed)
        middle = grid(6, 30, rng)
        second = middle[::2] + np.array([1.6 * SIGMA, 0.0])
        image = picture((180, 180), emitters(np.concatenate([middle, second]), 500), rng) - np.float32(LEVEL)
        network = None if odds is None else np.full(image.shape, odds, np.float16)
        found = resolve(image, emitters(middle, 500), single_sigma=SIGMA, network=network).emitters
        more.append(len(found) - len(middle))
    assert (sum(more) > 4 * len(second) // 2) if two else not any(more)


@pytest.mark.parametrize(("spread", "alike"), [(0.0, True), (0.35, False)])
def test_puncta_of_one_width_are_known_by_their_widths(spread: float, *, alike: bool) -> None:
    rng = np.random.default_rng(2)
    middle = grid(12, 24, rng)
    image = np.full((288, 288), LEVEL, np.float32)
    for place, width in zip(middle, SIGMA * np.exp(rng.normal(0, spread, len(middle))), strict=True):
        add_light(image, emitters(place[None], 2500, width))
    noisy = rng.poisson(image).astype(np.float32)
    found = table_at(noisy, middle)
    points, width, snr = (found[c].to_numpy(float) for c in (["y_px", "x_px"], "sigma_px", "snr"))
    assert one_width(points, width, snr, float(np.median(width))) is alike
    # of a few nothing is known
    assert not one_width(points[:8], width[:8], snr[:8], SIGMA)


def glowing_cells(glow: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Cells that glow, with sharp edges and four puncta each: an image and the places."""
    rng = np.random.default_rng(seed)
    shape = (400, 400)
    light, places = np.full(shape, 15.0, np.float32), []
    y, x = np.mgrid[: shape[0], : shape[1]]
    rough = cv2.GaussianBlur(rng.standard_normal(shape).astype(np.float32), (0, 0), 5)
    for centre in grid(8, 50, rng):
        inside = ((y - centre[0]) / 12) ** 2 + ((x - centre[1]) / 17) ** 2 < 1
        light += inside * glow * (1 + rough / rough.std() / 3).clip(0)
        at = np.argwhere(inside)
        places.append(at[rng.integers(len(at), size=4)] + rng.uniform(-0.5, 0.5, (4, 2)))
    true = np.concatenate(places)
    light = cv2.GaussianBlur(light, (0, 0), 1.2)
    add_light(light, emitters(true, np.exp(rng.normal(np.log(1500), 0.4, len(true)))))
    return rng.poisson(light).astype(np.uint16) * 3, true


@pytest.mark.parametrize(("glow", "precision", "recall"), [(60, 0.9, 0.92), (120, 0.97, 0.76)])
def test_cells_that_glow_hold_their_puncta_and_no_more(glow: float, precision: float, recall: float) -> None:
    counted = np.zeros(3)
    for seed in (12, 13, 14):
        image, true = glowing_cells(glow, seed)
        table = load_models(Settings()).puncta.detect(image, 0.1, Settings())
        found = table[["y_px", "x_px"]].to_numpy(float)
        counted += [len(match_points(true, found, 3.0)), len(found), len(true)]
    hits, given, there = counted
    assert hits / given > precision
    assert hits / there > recall


def test_no_candidates_and_one_candidate() -> None:
    image = picture((64, 64), emitters(np.array([[32.0, 32.0]]), 2000), np.random.default_rng(0))
    none = resolve_crowds(table_at(image, np.zeros((0, 2))), image, 0.1, None)
    assert not len(none)
    assert set(FIT_COLUMNS) <= set(none)
    one = resolve_crowds(table_at(image, np.array([[32.0, 32.0]])), image, 0.1, None)
    assert len(one) == 1
    assert one["intensity_se"][0] > 0


def test_wide_vesicles_are_never_split() -> None:
    rng = np.random.default_rng(0)
    middle = grid(4, 40, rng)
    seeds = Emitters(middle, np.full(16, 200.0), np.full(16, 4.0), np.arange(16))
    light = np.zeros((160, 160), np.float32)
    add_light(light, seeds)
    noisy = rng.poisson(light + LEVEL).astype(np.float32) - np.float32(LEVEL)
    assert len(resolve(noisy, seeds, single_sigma=SIGMA).emitters) == 16


def crowded_cell(haze: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, Emitters]:
    """Image, haze alone, and 60 puncta in a cell of 40 px that glows by itself."""
    y, x = np.mgrid[:96, :96]
    glow = haze * cv2.GaussianBlur((np.hypot(y - 48, x - 48) < 20).astype(float), (0, 0), 4)
    radius, angle = 19 * np.sqrt(rng.random(60)), rng.uniform(0, 2 * np.pi, 60)
    true = emitters(48 + np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1), 500)
    light = np.zeros((96, 96), np.float32)
    add_light(light, true)
    return rng.poisson(light + glow + LEVEL).astype(np.float32) - LEVEL, glow, true


@pytest.mark.parametrize("haze", [0.0, 20.0, 60.0])
def test_haze_under_a_crowd_is_told_from_its_puncta(haze: float) -> None:
    for seed in range(3):
        light, glow, true = crowded_cell(haze, np.random.default_rng(seed))
        weight = (1 / (cv2.GaussianBlur(light, (0, 0), 1.0) + LEVEL)).astype(np.float32)
        crowded = np.ones(60, bool)
        level, found = solve_haze(light, true, weight, crowded, SIGMA)
        area = 2 * np.pi * SIGMA**2
        assert area * found.peak.sum() == pytest.approx(60 * 500, rel=0.12)
        assert level[40:56, 40:56].mean() == pytest.approx(glow[40:56, 40:56].mean(), abs=6)


def test_haze_is_looked_for_under_crowds_only() -> None:
    light, _, true = crowded_cell(30.0, np.random.default_rng(1))
    weight = np.full_like(light, 1 / LEVEL)
    level, found = solve_haze(light, true, weight, np.zeros(60, bool), SIGMA)
    assert not level.any()
    assert found.peak.tolist() == true.peak.tolist()
    one = np.zeros(60, bool)
    one[0] = True
    level, _ = solve_haze(light, true, weight, one, SIGMA)
    y, x = np.mgrid[:96, :96]
    far = np.hypot(y - true.points[0, 0], x - true.points[0, 1]) > 40
    assert level.any()
    assert not level[far].any()


def test_the_number_of_threads_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(12)
    centres = rng.uniform(30, 610, (40, 2))
    points = np.concatenate([centres[rng.integers(0, 40, 1500)] + rng.normal(0, 9, (1500, 2)), centres])
    image = picture((640, 640), emitters(points, rng.uniform(300, 2000, len(points))), rng)
    detector, tables = load_models(Settings()).puncta, []
    for count in (1, 2, 5):
        monkeypatch.setattr(threads, "_process", {"count": count})
        tables.append(detector.candidates(image, 0.1, Settings()))
    assert (tables[0]["puncta_in_spot"] > 1).sum() > 100
    for table in tables[1:]:
        pd.testing.assert_frame_equal(table, tables[0], check_exact=True)


def test_two_in_one_place_share_their_light_as_single_ones_would_have_it() -> None:
    rng = np.random.default_rng(4)
    middle = grid(8, 20, rng)
    true = emitters(np.concatenate([middle, middle + np.array([0.15 * SIGMA, 0.0])]), 1000)
    light = picture((160, 160), true, rng) - np.float32(LEVEL)
    weight = np.full(light.shape, 1 / (2 * LEVEL), np.float32)
    usual = (float(np.log(true.peak[0])), 0.3)
    _, found = solve_haze(light, true, weight, np.ones(len(true), bool), SIGMA, usual)
    assert np.abs(np.log(found.peak / true.peak)).max() < 0.5
    one, other = found.peak[: len(middle)], found.peak[len(middle) :]
    assert np.mean(one + other) == pytest.approx(2 * true.peak[0], rel=0.05)


@pytest.mark.parametrize(("photons", "density"), [(2000, 0.08), (800, 0.06)])
def test_a_full_field_of_alike_puncta_is_counted(photons: float, density: float) -> None:
    rng = np.random.default_rng(6)
    points = 10 + rng.uniform(0, 90 * SIGMA, (int(density * 90**2), 2))
    image = picture((147, 147), emitters(points, photons * np.exp(rng.normal(0, 0.2, len(points)))), rng)
    light = cv2.GaussianBlur(image, (0, 0), 0.7 * SIGMA)
    peaks = np.argwhere((light == cv2.dilate(light, np.ones((3, 3)))) & (light > LEVEL + 4 * np.sqrt(LEVEL)))
    seen = emitters(peaks.astype(float), photons)
    found = resolve(image - np.float32(LEVEL), seen, single_sigma=SIGMA).emitters
    assert len(seen) < 0.65 * len(points)
    assert len(found) == pytest.approx(len(points), rel=0.2)
    assert len(match_points(points, found.points, 2 * SIGMA)) > 0.93 * len(found)
