from __future__ import annotations

import cv2
import numpy as np
import pandas as pd
import pytest
from bundled import need
from flow_images import blurred_noise, spots_image
from hypothesis import HealthCheck, given
from hypothesis import settings as limits
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from napari_tam.evaluate.matching import match_points
from napari_tam.networks.predictor import Predictor
from napari_tam.puncta.detect import (
    CANDIDATE_COLUMNS,
    ROSE,
    SPOT_COLUMNS,
    Detector,
    LogDetector,
    NetworkDetector,
    measure_spots,
    without_doubles,
)
from napari_tam.puncta.flows import LOWEST_SCORE, centres_from_flows
from napari_tam.puncta.patches import FWHM
from napari_tam.puncta.selection import KEPT, REASONS, select
from napari_tam.settings import Settings

FEW = limits(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SHAPE = (160, 240)
SIGMA = 1.4
UM = 0.1
SETTINGS = Settings()
Spot = tuple[float, float, float, float]


def apart(seed: int = 0, sigma: float = SIGMA) -> list[Spot]:
    """Draw 24 well separated puncta at sub-pixel places, of 200 to 600 grey values."""
    rng = np.random.default_rng(seed)
    return [
        (
            20 + 40 * i + rng.uniform(-0.5, 0.5),
            20 + 40 * j + rng.uniform(-0.5, 0.5),
            rng.uniform(200, 600),
            sigma,
        )
        for i in range(4)
        for j in range(6)
    ]


def camera(image: np.ndarray) -> np.ndarray:
    return np.clip(np.round(image), 0, 65535).astype(np.uint16)


def matched(found: pd.DataFrame, spots: list[Spot]) -> tuple[np.ndarray, pd.DataFrame]:
    """Distance from each true punctum to the nearest found one, and the rows of those."""
    distance, index = cKDTree(found[["y_px", "x_px"]].to_numpy()).query(np.array(spots)[:, :2])
    assert len(set(index)) == len(spots)
    return distance, found.iloc[index].reset_index(drop=True)


@pytest.fixture(params=["log", "network"])
def detector(request: pytest.FixtureRequest) -> Detector:
    if request.param == "log":
        return LogDetector()
    return NetworkDetector(Predictor(need("puncta").load()))


@pytest.mark.parametrize("noise", [0.0, 4.0])
@pytest.mark.parametrize("sigma", [1.0, 1.4, 2.0])
def test_24_puncta_in_24_out_with_their_place_light_and_width(
    detector: Detector, sigma: float, noise: float
) -> None:
    spots = apart(sigma=sigma)
    found = detector.detect(camera(spots_image(SHAPE, spots, noise=noise)), UM, SETTINGS)
    assert len(found) == 24
    distance, rows = matched(found, spots)
    height = np.array(spots)[:, 2]
    assert distance.max() < 0.15
    assert rows["intensity"].to_numpy() == pytest.approx(2 * np.pi * height * sigma**2, rel=0.06)
    assert rows["peak"].to_numpy() == pytest.approx(height, rel=0.10)
    assert rows["sigma_px"].to_numpy() == pytest.approx(np.full(24, sigma), rel=0.10)
    assert rows["width_um"].to_numpy() == pytest.approx(np.full(24, FWHM * sigma * UM), rel=0.10)
    assert rows["background"].to_numpy() == pytest.approx(np.full(24, 100), abs=4)
    if noise:
        assert rows["snr"].to_numpy() == pytest.approx(height / noise, rel=0.5)


def test_every_candidate_table_is_complete_and_within_bounds(detector: Detector) -> None:
    image = camera(spots_image(SHAPE, apart(), noise=6, background=100 + 50 * blurred_noise(SHAPE, 8, 2)))
    table = detector.candidates(image, UM, SETTINGS)
    assert set(CANDIDATE_COLUMNS) <= set(table)
    assert set(table["reason"]) <= {KEPT, *REASONS}
    table = table[table["reason"] == KEPT].drop(columns="reason")
    assert all(kind == np.float64 for kind in table.dtypes)
    assert np.isfinite(table.to_numpy()).all()
    assert table["score"].between(LOWEST_SCORE if isinstance(detector, NetworkDetector) else 1 / 3, 1).all()
    assert table["y_px"].between(-0.5, SHAPE[0] - 0.5).all()
    assert table["x_px"].between(-0.5, SHAPE[1] - 0.5).all()


@pytest.mark.parametrize("value", [0, 7, 300, 65535])
def test_a_constant_image_has_no_puncta_and_a_complete_table(detector: Detector, value: int) -> None:
    found = detector.detect(np.full((64, 80), value, np.uint16), UM, SETTINGS)
    assert found.empty
    assert tuple(found)[: len(SPOT_COLUMNS)] == SPOT_COLUMNS
    assert all(kind == np.float64 for kind in found.dtypes)


@pytest.mark.parametrize("photons", [1, 10, 1000])
def test_pure_noise_has_next_to_no_puncta(detector: Detector, photons: int) -> None:
    image = np.random.default_rng(photons).poisson(photons, (256, 256)).astype(np.uint16)
    # One false punctum in a field of 2,000 that fit is a tolerable rate.
    assert len(detector.detect(image, UM, SETTINGS)) <= 1


@pytest.mark.parametrize("kind", ["gradient", "step"])
def test_uneven_background_hides_and_adds_no_punctum(detector: Detector, kind: str) -> None:
    y, x = np.indices(SHAPE)
    background = 50 + x + 0.5 * y if kind == "gradient" else 60 + 150.0 * (x > 120)
    spots = apart()
    found = detector.detect(camera(spots_image(SHAPE, spots, background=background, noise=4)), UM, SETTINGS)
    assert len(found) == 24
    distance, rows = matched(found, spots)
    assert distance.max() < 0.15
    assert rows["intensity"].to_numpy() == pytest.approx(
        2 * np.pi * np.array(spots)[:, 2] * SIGMA**2, rel=0.07
    )


def test_the_network_tells_puncta_apart_that_are_4_px_apart() -> None:
    made = NetworkDetector(Predictor(need("puncta").load()))
    spots = [(y, x, 300.0, s) for y, x, _, s in apart()]
    turns = np.random.default_rng(4).uniform(0, 2 * np.pi, 24)
    twins = [
        (y + 4 * np.sin(t), x + 4 * np.cos(t), h, s) for (y, x, h, s), t in zip(spots, turns, strict=True)
    ]
    found = made.detect(camera(spots_image(SHAPE, spots + twins, noise=4)), UM, SETTINGS)
    assert len(found) == 48
    distance, rows = matched(found, spots + twins)
    assert distance.max() < 0.5
    assert rows["intensity"].to_numpy() == pytest.approx(np.full(48, 2 * np.pi * 300 * SIGMA**2), rel=0.15)


def test_aggregates_are_found_and_measured_in_full(detector: Detector) -> None:
    spots = apart()
    for index in (5, 15):
        spots[index] = (*spots[index][:2], 900.0, 3 * SIGMA)
    found = detector.detect(camera(spots_image(SHAPE, spots, noise=4)), UM, SETTINGS)
    assert len(found) == 24
    rows = matched(found, spots)[1].iloc[[5, 15]]
    assert rows["intensity"].to_numpy() == pytest.approx(
        np.full(2, 2 * np.pi * 900 * (3 * SIGMA) ** 2), rel=0.15
    )
    assert rows["sigma_px"].to_numpy() == pytest.approx(np.full(2, 3 * SIGMA), rel=0.15)


def bundled() -> NetworkDetector:
    return NetworkDetector(Predictor(need("puncta").load()))


def test_single_hot_pixels_are_not_counted_and_change_nothing_else(detector: Detector) -> None:
    image = camera(spots_image(SHAPE, apart(), noise=4))
    spoiled = image.copy()
    y, x = np.random.default_rng(2).integers(0, SHAPE, (30, 2)).T
    spoiled[y, x] = np.geomspace(300, 65535, 30)
    # A hot pixel on a punctum is light of the punctum for all that anybody knows.
    near = cKDTree(np.array(apart())[:, :2]).query(np.stack([y, x], 1))[0] < 8
    spoiled[y[near], x[near]] = image[y[near], x[near]]
    one, other = (detector.detect(plane, UM, SETTINGS) for plane in (image, spoiled))
    assert len(one) == len(other) == 24
    distance, rows = matched(other, list(one[["y_px", "x_px", "peak", "sigma_px"]].itertuples(index=False)))
    assert distance.max() < 0.05
    assert rows["intensity"].to_numpy() == pytest.approx(one["intensity"].to_numpy(), rel=0.05)


@pytest.mark.parametrize("each", [2000, 200, 100, 60, 40])  # pixels a punctum
def test_a_field_full_of_puncta_is_no_empty_one(each: int) -> None:
    shape, rng = (192, 192), np.random.default_rng(each)
    places = rng.uniform(2, 190, (shape[0] * shape[1] // each, 2))
    spots = [(y, x, 150 * np.exp(rng.normal(0, 0.3)), 1.3) for y, x in places]
    found = bundled().detect(camera(spots_image(shape, spots, noise=8)), UM, SETTINGS)
    right = len(match_points(places, found[["y_px", "x_px"]].to_numpy(), 3))
    assert right > 0.95 * len(found)
    assert right > (0.8 if each > 50 else 0.6) * len(places)


@pytest.mark.parametrize("sigma", [4.0, 6.0])
def test_a_wide_vesicle_is_one(sigma: float) -> None:
    spots = [(y, x, 300.0, sigma) for y, x, _, _ in apart()]
    found = bundled().detect(camera(spots_image(SHAPE, spots, noise=8)), UM, SETTINGS)
    assert len(found) == 24
    assert matched(found, spots)[0].max() < 1


def test_a_vesicle_with_a_bright_rim_is_one() -> None:
    y, x = np.indices(SHAPE)
    image = spots_image(SHAPE, [], noise=8, background=100.0)
    for cy, cx, _, _ in apart():
        image += 300 * np.exp(-0.5 * ((np.hypot(y - cy, x - cx) - 5) / 1.3) ** 2).astype(np.float32)
    found = bundled().detect(camera(image), UM, SETTINGS)
    assert 23 <= len(found) <= 25
    assert np.median(cKDTree(np.array(apart())[:, :2]).query(found[["y_px", "x_px"]])[0]) < 1


@pytest.mark.parametrize("kind", ["texture", "fibres", "jpeg"])
def test_what_is_no_punctum_is_not_counted(kind: str) -> None:
    rng = np.random.default_rng(8)
    plain = rng.normal(size=(256, 256)).astype(np.float32)
    wide = {"texture": (4, 4), "fibres": (40, 1.2), "jpeg": (0.8, 0.8)}[kind]
    blurred = cv2.GaussianBlur(plain, (0, 0), sigmaX=wide[0], sigmaY=wide[1])
    blurred *= {"texture": 50, "fibres": 100, "jpeg": 8}[kind] / blurred.std()
    image = camera(np.clip(150 + blurred + rng.normal(0, 4, plain.shape), 0, 255))
    if kind == "jpeg":
        data = cv2.imencode(".jpg", image.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
        image = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
    assert len(bundled().detect(image, UM, SETTINGS)) <= 2


def test_hot_pixels_are_told_among_the_candidates(detector: Detector) -> None:
    image = camera(spots_image(SHAPE, apart(), noise=4))
    image[100, 100] = image[33, 44] = 60000
    table = detector.candidates(image, UM, SETTINGS)
    hot = table[table["reason"] == "hot pixel"]
    assert sorted(zip(hot["y_px"], hot["x_px"], strict=True)) == [(33, 44), (100, 100)]
    assert len(select(table, SETTINGS)) == 24


@pytest.mark.parametrize("ring", [False, True])
def test_wide_vesicles_among_fine_puncta_stand_out(ring: bool) -> None:
    spots = apart(sigma=1.2)
    wide = [(40.0, 40.0), (80.0, 120.0), (120.0, 200.0)]
    image = spots_image(SHAPE, spots, noise=4)
    y, x = np.indices(SHAPE)
    for row, column in wide:
        away = np.hypot(y - row, x - column)
        image += 300 * np.exp(-0.5 * ((away - 7 * ring) / (1.5 if ring else 5)) ** 2)
    places = np.array([s[:2] for s in spots] + wide)
    table = measure_spots(camera(image), places, np.ones(len(places), np.float32), UM, SETTINGS)
    assert (table["contrast"] > 12).all()


def test_the_contrast_of_noise_is_that_of_its_extremes() -> None:
    image = camera(np.random.default_rng(2).normal(500, 20, (256, 256)))
    table = LogDetector().candidates(image, UM, SETTINGS)
    assert table["contrast"].between(1, 6).all()


@FEW
@given(gain=st.floats(0.1, 20), offset=st.floats(0, 500), seed=st.integers(0, 1000))
def test_exposure_scales_the_intensities_and_leaves_the_count(
    detector: Detector, gain: float, offset: float, seed: int
) -> None:
    image = spots_image(SHAPE, apart(seed), noise=4, seed=seed)
    one = detector.detect(image, UM, SETTINGS)
    other = detector.detect(image * np.float32(gain) + np.float32(offset), UM, SETTINGS)
    assert len(other) == len(one) == 24
    # The order may differ where two lie in the same row but for a hair.
    distance, other = matched(other, list(one[["y_px", "x_px", "peak", "sigma_px"]].itertuples(index=False)))
    assert distance.max() < 0.02
    assert other["intensity"].to_numpy() == pytest.approx(gain * one["intensity"].to_numpy(), rel=0.01)
    # The noise is a median over some forty pixels: a hair in place exchanges one for another.
    assert other["snr"].to_numpy() == pytest.approx(one["snr"].to_numpy(), rel=0.15)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_turning_the_image_changes_no_count_and_no_intensity(detector: Detector, turns: int) -> None:
    image = camera(spots_image(SHAPE, apart(3), noise=4))
    one = detector.detect(image, UM, SETTINGS)
    other = detector.detect(np.ascontiguousarray(np.rot90(image, turns)), UM, SETTINGS)
    assert len(one) == len(other) == 24
    assert np.sort(other["intensity"]) == pytest.approx(np.sort(one["intensity"]), rel=0.02)


@pytest.mark.parametrize("dtype", ["u1", "u2", ">u2", "i4", "f4", "f8"])
def test_any_type_of_pixels_gives_the_same_puncta(detector: Detector, dtype: str) -> None:
    image = np.clip(np.round(spots_image(SHAPE, apart(), noise=4) / 4), 0, 255)
    reference = detector.detect(image.astype(np.float32), UM, SETTINGS)
    before = image.astype(np.dtype(dtype))
    given_image = before.copy()
    found = detector.detect(given_image, UM, SETTINGS)
    assert np.array_equal(given_image, before)
    assert len(reference) == 24
    pd.testing.assert_frame_equal(found, reference, rtol=1e-4)


@pytest.mark.parametrize("shape", [(16, 16), (16, 300), (33, 17)])
def test_small_images_are_no_special_case(detector: Detector, shape: tuple[int, int]) -> None:
    spots = [(8.2, 8.1, 500.0, SIGMA)]
    found = detector.detect(camera(spots_image(shape, spots, noise=2)), UM, SETTINGS)
    assert len(found) == 1
    assert matched(found, spots)[0].max() < 0.3


def test_puncta_at_the_border_are_counted_once(detector: Detector) -> None:
    spots = [
        (0.3, 60.0, 500.0, SIGMA),
        (100.0, 1.2, 500.0, SIGMA),
        (158.6, 200.0, 500.0, SIGMA),
        (80.0, 120.0, 500.0, SIGMA),
    ]
    found = detector.detect(camera(spots_image(SHAPE, spots, noise=3)), UM, SETTINGS)
    assert len(found) == 4
    distance, rows = matched(found, spots)
    assert distance.max() < 1.3
    # Half of the light may be missing in the image; it is made up for.
    assert rows["intensity"].to_numpy() == pytest.approx(np.full(4, 2 * np.pi * 500 * SIGMA**2), rel=0.35)


def test_a_given_spot_width_is_used_by_log() -> None:
    spots = apart(sigma=2.5)
    image = camera(spots_image(SHAPE, spots, noise=4))
    found = LogDetector().detect(image, UM, Settings(spot_sigma_um=0.25))
    assert len(found) == 24
    assert np.median(found["sigma_px"]) == pytest.approx(2.5, rel=0.05)


@FEW
@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 100)), max_size=40),
    st.floats(0.05, 0.95),
    st.floats(0, 50),
)
def test_select_is_monotone_in_both_thresholds(
    rows: list[tuple[float, float]], score: float, snr: float
) -> None:
    table = pd.DataFrame({name: np.arange(len(rows), dtype=float) for name in SPOT_COLUMNS})
    table["score"], table["snr"] = [r[0] for r in rows], [r[1] for r in rows]
    table = table.astype(float).assign(reason=KEPT)
    kept = select(table, Settings(puncta_score=score, puncta_min_snr=snr))
    assert list(kept.index) == list(range(len(kept)))
    assert len(kept) == sum(s >= score and n >= snr for s, n in rows)
    for changes in ({"puncta_score": min(0.99, score * 1.5)}, {"puncta_min_snr": snr + 5}):
        stricter = select(table, Settings(**{"puncta_score": score, "puncta_min_snr": snr} | changes))
        assert set(stricter["y_px"]) <= set(kept["y_px"])
    assert tuple(kept)[: len(SPOT_COLUMNS)] == SPOT_COLUMNS


def test_detect_is_select_on_candidates(detector: Detector) -> None:
    image = camera(spots_image(SHAPE, apart(), noise=40))
    strict = Settings(puncta_score=0.8, puncta_min_snr=5)
    candidates = detector.candidates(image, UM, SETTINGS)
    pd.testing.assert_frame_equal(detector.detect(image, UM, strict), select(candidates, strict))


def test_no_candidates_give_a_complete_table() -> None:
    table = measure_spots(np.zeros((20, 20)), np.zeros((0, 2)), np.zeros(0, np.float32), UM, SETTINGS)
    assert table.empty
    assert tuple(table)[: len(SPOT_COLUMNS)] == SPOT_COLUMNS
    assert select(table.assign(reason=KEPT), SETTINGS).empty


def test_doubtful_candidates_do_not_set_the_width() -> None:
    spots = apart(sigma=2.0)
    image = spots_image(SHAPE, spots, noise=10)
    noise = np.random.default_rng(1).uniform(5, 150, (400, 2))
    places = np.concatenate([np.array(spots)[:, :2], noise])
    scores = np.concatenate([np.full(24, 0.9), np.full(400, 0.25)]).astype(np.float32)
    table = measure_spots(image, places, scores, UM, SETTINGS)
    assert np.median(table["sigma_px"][:24]) == pytest.approx(2.0, rel=0.05)


# --- flows to centres ---


def converging(shape: tuple[int, int], centres: list[tuple[float, float]], radius: float = 3.0) -> np.ndarray:
    """Flows as the network is taught them: unit vectors to the centre, shrinking within 1 px of it."""
    output = np.zeros((3, *shape), np.float32)
    output[2] = -8
    for cy, cx in centres:
        window = tuple(slice(max(0, int(c - radius)), int(c + radius) + 2) for c in (cy, cx))
        y, x = np.mgrid[window]
        dy, dx = cy - y, cx - x
        distance = np.hypot(dy, dx)
        part, inside = output[:, *window], distance < radius
        part[0][inside] = (5 * dy / np.maximum(distance, 1))[inside]
        part[1][inside] = (5 * dx / np.maximum(distance, 1))[inside]
        part[2][inside] = 2.0
    return output


@FEW
@given(st.lists(st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5)), min_size=12, max_size=12))
def test_flows_lead_to_the_sub_pixel_centres(offsets: list[tuple[float, float]]) -> None:
    centres = [(10 + 15 * (i // 4) + dy, 10 + 15 * (i % 4) + dx) for i, (dy, dx) in enumerate(offsets)]
    points, scores = centres_from_flows(converging((60, 70), centres))
    assert len(points) == 12
    assert cKDTree(points).query(np.array(centres))[0].max() < 0.1
    assert scores == pytest.approx(np.full(12, 1 / (1 + np.exp(-2))), rel=1e-4)


@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_one_symmetric_punctum_is_counted_once(offset: float) -> None:
    for dy, dx in ((0, 0), (offset, 0), (0, offset), (offset, offset)):
        points, _ = centres_from_flows(converging((30, 30), [(15 + dy, 15 + dx)]))
        assert points == pytest.approx(np.array([[15 + dy, 15 + dx]]), abs=0.1)


def test_pixels_below_the_lowest_score_and_lone_pixels_are_no_puncta() -> None:
    output = converging((30, 40), [(10, 10)])
    output[2][output[2] > 0] = np.log(LOWEST_SCORE / (1 - LOWEST_SCORE)) - 0.01
    output[2, 20, 30] = 5
    points, scores = centres_from_flows(output)
    assert points.shape == (0, 2)
    assert scores.shape == (0,)


def test_many_pixels_are_sampled_in_parts() -> None:
    # More foreground than one call of OpenCV's remap takes.
    centres = [(8.0 + 8 * i, 8.0 + 8 * j) for i in range(40) for j in range(40)]
    points, _ = centres_from_flows(converging((340, 340), centres))
    assert len(points) == 1600


@given(seed=st.integers(0, 10**6), reach=st.floats(0.5, 8))
@limits(max_examples=40, deadline=None)
def test_of_candidates_in_reach_of_each_other_the_best_stays(seed: int, reach: float) -> None:
    rng = np.random.default_rng(seed)
    points, scores = rng.uniform(0, 30, (40, 2)), rng.random(40).astype(np.float32)
    kept, theirs = without_doubles(points, scores, reach)
    assert theirs.max() == scores.max()
    away = np.hypot(*(kept[:, None] - kept[None]).transpose(2, 0, 1))
    assert (away[np.triu_indices(len(kept), 1)] > reach).all()
    left = np.hypot(*(points[:, None] - kept[None]).transpose(2, 0, 1))
    assert (np.where(left <= reach, theirs, -1).max(axis=1) >= scores).all()  # it, or a better one


@pytest.mark.parametrize("sigma", [3.0, 4.5, 6.0])
@pytest.mark.parametrize("height", [15.0, 60.0])
def test_a_wide_faint_punctum_is_one(sigma: float, height: float) -> None:
    spots = [(y, x, height, sigma) for y in (40.0, 100.0) for x in (40.0, 110.0, 180.0)]
    found = bundled().detect(camera(spots_image((140, 220), spots, noise=10)), UM, SETTINGS)
    assert len(found) == 6
    assert matched(found, spots)[0].max() < 0.5 * sigma


def test_with_averaged_flips_a_mirrored_image_has_the_same_puncta() -> None:
    image = camera(spots_image(SHAPE, apart(), background=100 + 60 * blurred_noise(SHAPE, 6, 2), noise=8))
    both = Settings(average_flips=True)
    found, turned = (bundled().detect(each, UM, both) for each in (image, image[::-1, ::-1].copy()))
    assert len(found) == len(turned) >= 20
    places = np.array(SHAPE) - 1 - turned[["y_px", "x_px"]].to_numpy()
    away, same = cKDTree(places).query(found[["y_px", "x_px"]].to_numpy())
    assert away.max() < 0.01
    assert turned["score"].to_numpy()[same] == pytest.approx(found["score"].to_numpy(), abs=1e-3)


# --- what detectors, programs and cells do to an image ---


def few_counted(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.poisson(np.maximum(image - 100, 0) / 20 + 0.1)


def black_level(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.maximum(image - np.percentile(image, rng.uniform(50, 95)), 0)


def background_removed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.maximum(image - cv2.GaussianBlur(image, (0, 0), 10) - rng.uniform(5, 15), 0)


def grey_values(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return 15 * (image - image.min()) / np.ptp(image)


def bright_lines(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    image = image.copy()
    image[:, rng.integers(0, image.shape[1], 2)] += 120
    return image


@pytest.mark.parametrize("change", [few_counted, black_level, background_removed, grey_values, bright_lines])
def test_puncta_are_the_same_however_the_image_was_taken(change) -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        plain = spots_image(SHAPE, apart(seed), noise=8).astype(np.float32)
        found = bundled().detect(camera(change(plain, rng)), UM, SETTINGS)
        hits = match_points(np.array(apart(seed))[:, :2], found[["y_px", "x_px"]].to_numpy(float), 3.0)
        assert len(hits) >= 23
        assert len(found) - len(hits) <= 3


@pytest.mark.parametrize("change", [few_counted, black_level, background_removed, grey_values])
def test_without_puncta_there_are_none_however_the_image_was_taken(change) -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        plain = (100 + rng.normal(0, 8, (256, 256))).astype(np.float32)
        assert len(bundled().detect(camera(change(plain, rng)), UM, SETTINGS)) <= 3


@pytest.mark.parametrize(("much", "most"), [(0.0, 0), (0.1, 12), (0.2, 60)])
def test_the_grain_of_cells_is_hardly_taken_for_puncta(much: float, most: int) -> None:
    rng = np.random.default_rng(2)
    cells = np.zeros((256, 256), np.float32)
    for y, x in ((60, 60), (80, 190), (190, 110)):
        cv2.ellipse(cells, (x, y), (44, 32), 30, 0, 360, 1.0, -1)
    grain = np.exp(much * blurred_noise(cells.shape, 1.7, 3) / blurred_noise(cells.shape, 1.7, 3).std())
    light = 5 + 80 * cv2.GaussianBlur(cells, (0, 0), 3) * grain  # its grain has some 1,500 peaks
    image = 2 * (rng.poisson(light) + rng.normal(0, 2, light.shape)) + 100
    assert len(bundled().detect(camera(image), UM, SETTINGS)) <= most


def test_a_bump_of_noise_is_named_and_left_out() -> None:
    spots = [(y, x, 15.0, 3.0) for y in (40.0, 100.0) for x in (40.0, 110.0, 180.0)]
    table = bundled().candidates(camera(spots_image((140, 220), spots, noise=10)), UM, SETTINGS)
    light = table["snr"] * np.sqrt(np.pi) * table["sigma_px"]
    assert (light[table["reason"] == KEPT] >= ROSE).all()
    assert (light[table["reason"] == "snr"] < ROSE).all()
    assert (table["reason"] == "snr").any()
