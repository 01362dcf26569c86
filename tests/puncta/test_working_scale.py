from __future__ import annotations

import cv2
import numpy as np
import pytest
from bundled import need
from flow_images import blurred_noise, spots_image
from scipy.special import ndtr

from napari_tam.evaluate.matching import match_points
from napari_tam.networks.predictor import Predictor
from napari_tam.puncta import working_scale
from napari_tam.puncta.detect import NetworkDetector
from napari_tam.puncta.working_scale import LARGER_PX, MOST_TIMES, WORKING_PX, look
from napari_tam.settings import Settings

UM = 0.1


def bundled() -> NetworkDetector:
    return NetworkDetector(Predictor(need("puncta").load()))


def over_haze(seed: int, sigma: float = 1.8, edge: int = 160) -> tuple[np.ndarray, np.ndarray]:
    """Draw 16 puncta over haze whose bumps are hardly wider, and photons of both; and where they are."""
    rng = np.random.default_rng(seed)
    along = np.linspace(20, edge - 20, 4)
    places = np.stack(np.meshgrid(along, along), axis=-1).reshape(-1, 2) + rng.uniform(-5, 5, (16, 2))
    light = spots_image((edge, edge), [(y, x, 90.0, sigma) for y, x in places], noise=0, background=60)
    light = light + 12 * blurred_noise((edge, edge), 1.2 * sigma, seed)
    photons = rng.poisson(np.maximum(light, 1)).astype(np.float32)
    return cv2.GaussianBlur(photons, (0, 0), 0.6), places


@pytest.mark.parametrize("times", [1, 2, 3, 4])
def test_an_enlarged_image_has_the_same_puncta(times: int) -> None:
    detector = bundled()
    for seed in range(3):
        image, places = over_haze(seed)
        large = cv2.resize(image, None, fx=times, fy=times, interpolation=cv2.INTER_CUBIC)
        found = detector.detect(np.clip(np.round(10 * large), 0, 65535).astype(np.uint16), UM, Settings())
        where = (places + 0.5) * times - 0.5
        assert len(match_points(where, found[["y_px", "x_px"]].to_numpy(float), 2.0 * times)) == 16
        assert len(found) <= 17
        assert np.median(found["sigma_px"]) == pytest.approx(1.9 * times, rel=0.15)


def nuclei(seed: int) -> np.ndarray:
    """Draw 16 nuclei of some 12 by 20 px, with texture, and photons."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:256, :256]
    light = np.zeros((256, 256))
    for y, x in np.argwhere(np.ones((4, 4))) * 64 + 32 + rng.uniform(-8, 8, (16, 2)):
        (a, b), turned = rng.uniform(6, 11, 2), rng.uniform(0, np.pi)
        along = (rows - y) * np.cos(turned) + (columns - x) * np.sin(turned)
        across = (columns - x) * np.cos(turned) - (rows - y) * np.sin(turned)
        light += rng.uniform(0.3, 1) * ((along / a) ** 2 + (across / b) ** 2 < 1)
    light = cv2.GaussianBlur(light, (0, 0), 2) * (1 + 0.15 * blurred_noise(light.shape, 3, seed))
    photons = rng.poisson(20 + 300 * np.maximum(light, 0)) + rng.normal(100, 2, light.shape)
    return (2 * photons).astype(np.uint16)


@pytest.mark.parametrize("seed", range(6))
def test_whole_nuclei_are_no_wide_puncta(seed: int) -> None:
    assert len(bundled().detect(nuclei(seed), UM, Settings())) <= 1


@pytest.mark.parametrize(("seed", "share"), [(0, 75), (1, 75), (2, 15)])
def test_narrow_puncta_among_bright_wide_ones_are_not_lost(seed: int, share: int) -> None:
    rng = np.random.default_rng(seed)
    along = np.arange(30, 500, 52.0)
    places = np.stack(np.meshgrid(along, along), axis=-1).reshape(-1, 2) + rng.uniform(-6, 6, (100, 2))
    wide = rng.permutation(100) < share
    spots = [(y, x, 460.0 if w else 110.0, 6.0 if w else 1.2) for (y, x), w in zip(places, wide, strict=True)]
    light = spots_image((512, 512), spots, noise=0, background=20)
    image = 2 * (rng.poisson(light) + rng.normal(100, 2, light.shape))
    found = bundled().detect(image.astype(np.uint16), UM, Settings())
    hit, which = np.array(match_points(places, found[["y_px", "x_px"]].to_numpy(float), 3)).T
    assert np.isin(np.flatnonzero(~wide), hit).mean() > 0.95
    assert np.isin(np.flatnonzero(wide), hit).mean() > 0.95
    light = found["intensity"].to_numpy()[which[wide[hit]]]
    assert np.median(light) == pytest.approx(2 * 460 * 2 * np.pi * 36, rel=0.1)
    assert np.median(found["sigma_px"].to_numpy()[which[wide[hit]]]) == pytest.approx(6, rel=0.1)


def coarse_crowd(sigma: float, seed: int, edge: int = 160) -> tuple[np.ndarray, np.ndarray]:
    """Draw crowded puncta as coarse pixels see them, with photons and read noise; and where they are."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(3, edge - 4, (round(0.03 * edge**2), 2))
    light = np.full((edge, edge), 15.0)
    ends = np.arange(edge + 1) - 0.5
    for (y, x), photons in zip(places, 800 * np.exp(rng.normal(0, 0.3, len(places))), strict=True):
        down, across = (np.diff(ndtr((ends - centre) / sigma)) for centre in (y, x))
        light += photons * np.outer(down, across)
    return (2 * (rng.poisson(light) + rng.normal(100, 2, light.shape))).astype(np.uint16), places


@pytest.mark.parametrize("sigma", [0.5, 0.7, 0.9])
def test_narrow_puncta_in_a_crowd_are_found(sigma: float) -> None:
    image, places = coarse_crowd(sigma, 1)
    found = bundled().detect(image, UM, Settings())
    hits = len(match_points(places, found[["y_px", "x_px"]].to_numpy(float), 2.0))
    assert hits > 0.9 * len(places)
    assert len(found) < 1.05 * hits
    light = 2 * 800 * np.exp(0.3**2 / 2) * len(places)
    assert found["intensity"].sum() == pytest.approx(light, rel=0.05)


@pytest.mark.parametrize("known", [None, 0.75])
def test_the_larger_image_makes_puncta_as_wide_as_those_the_network_learnt_from(known: float | None) -> None:
    image, _ = coarse_crowd(0.7, 3)
    seen = look(image.astype(np.float32), Predictor(need("puncta").load()), 4, known)
    assert seen.times == pytest.approx(max(0.75 / LARGER_PX, 1 / MOST_TIMES), rel=0.05)
    assert seen.typical == (known or pytest.approx(0.75, rel=0.07))  # with the width of a pixel
    assert seen.log_odds.shape == image.shape


def test_a_large_image_of_narrow_puncta_is_looked_at_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    image, _ = coarse_crowd(0.7, 2)
    network = Predictor(need("puncta").load())
    whole = look(image.astype(np.float32), network, 4)
    monkeypatch.setattr(working_scale, "PIECE", 120)
    monkeypatch.setattr(working_scale, "OVERLAP", 30)
    pieces = look(image.astype(np.float32), network, 4)
    assert pieces.times == whole.times < 1
    assert pieces.typical == pytest.approx(whole.typical, rel=0.05)
    sure, as_sure = (seen.points[seen.scores > 0.5] for seen in (whole, pieces))
    assert len(match_points(sure, as_sure, 0.5)) > 0.97 * max(len(sure), len(as_sure))
    assert np.corrcoef(whole.log_odds.ravel(), pieces.log_odds.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("sigma", [1.0, 2.5, 5.0])
def test_where_the_width_is_known_the_network_looks_once(sigma: float) -> None:
    seen = []

    def network(planes: np.ndarray) -> np.ndarray:
        seen.append(planes.shape[1:])
        return np.full((3, *planes.shape[1:]), -9, np.float32)

    found = look(over_haze(0)[0], network, 4, sigma)
    assert len(found.points) == 0
    assert found.typical == sigma
    assert found.log_odds.shape == (160, 160)
    assert seen == [(160, 160) if sigma < 3 else (round(160 * WORKING_PX / sigma),) * 2]


def test_an_image_without_puncta_is_looked_at_as_it_is() -> None:
    noise = np.random.default_rng(3).normal(500, 20, (128, 128)).astype(np.float32)
    assert look(noise, Predictor(need("puncta").load()), 4).times == 1
