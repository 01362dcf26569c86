"""How high single puncta are, in images where many cover others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from napari_tam.networks.perceptron import stored
from napari_tam.puncta.crowds.emitters import Emitters
from napari_tam.puncta.crowds.heights import (
    LEAST_KNOWN,
    LEAST_SPREAD,
    WEIGHTS,
    first_guess,
    light_around,
    spread_of_loneliest,
    usual_among,
)
from napari_tam.puncta.crowds.worth import Tried

SIGMA = 1.4


def emitters(points: np.ndarray, photons: np.ndarray, sigma: float = SIGMA) -> Emitters:
    peak = photons / (2 * np.pi * sigma**2)
    return Emitters(points, peak, np.full(len(points), sigma), np.arange(len(points)))


def scattered(seed: int, density: float, spread: float) -> Emitters:
    """So many in a square of one sigma, anywhere."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 200 * SIGMA, (int(density * 200**2), 2))
    return emitters(points, 500 * np.exp(rng.normal(0, spread, len(points))))


@given(
    density=st.floats(0.004, 0.05),
    spread=st.floats(0.05, 0.5),
    seed=st.integers(0, 2**31),
    photons=st.floats(100, 5000),
)
@settings(max_examples=30, deadline=None)
def test_the_height_of_single_puncta_is_told_where_many_cover_others(
    density: float, spread: float, seed: int, photons: float
) -> None:
    true = scattered(seed, density, spread)
    points, light = true.points, true.peak * photons / 500 * (2 * np.pi * SIGMA**2)
    # What lies nearer than 1.2 sigma to another is seen as one, with the light of both.
    order, taken, seen = np.argsort(-light), np.zeros(len(points), bool), []
    tree = cKDTree(points)
    for index in order:
        if taken[index]:
            continue
        near = [j for j in tree.query_ball_point(points[index], 1.2 * SIGMA) if not taken[j]]
        taken[near] = True
        seen.append((index, light[near].sum()))
    kept = np.array([index for index, _ in seen])
    found = replace(true.take(kept), peak=np.array([whole for _, whole in seen]) / (2 * np.pi * SIGMA**2))
    middle, _ = usual_among(found, SIGMA)
    assert middle == pytest.approx(np.log(photons / (2 * np.pi * SIGMA**2)), abs=0.3)


@given(times=st.floats(1e-3, 1e4), wider=st.floats(0.2, 5), seed=st.integers(0, 100))
@settings(max_examples=25, deadline=None)
def test_neither_the_units_of_light_nor_those_of_length_matter(times: float, wider: float, seed: int) -> None:
    found = scattered(seed, 0.02, 0.4)
    other = Emitters(found.points * wider, found.peak * times, found.sigma * wider, found.parent)
    middle, spread = usual_among(found, SIGMA)
    again = usual_among(other, SIGMA * wider)
    assert again == pytest.approx((middle + np.log(times), spread), abs=0.02)
    lonely = spread_of_loneliest(found, SIGMA)
    assert spread_of_loneliest(other, SIGMA * wider) == pytest.approx(lonely, abs=0.02)


def test_of_puncta_that_are_alike_and_alone_each_is_single() -> None:
    points = 20 * SIGMA * np.stack(np.divmod(np.arange(400), 20), axis=1)
    found = emitters(points, np.full(400, 500.0))
    middle, spread = usual_among(found, SIGMA)
    assert middle == pytest.approx(np.log(found.peak[0]))
    assert spread == LEAST_SPREAD
    assert spread_of_loneliest(found, SIGMA) == 0
    assert (light_around(found, 19 * SIGMA) == 0).all()


def test_of_a_few_puncta_nothing_is_known() -> None:
    few = scattered(0, 0.02, 0.3).take(np.arange(LEAST_KNOWN - 1))
    assert usual_among(few, SIGMA) == (0.0, np.inf)
    assert spread_of_loneliest(few, SIGMA) == np.inf


def test_the_weights_are_for_what_is_asked() -> None:
    known = stored(*WEIGHTS)
    one = np.ones(1)
    changes = Tried(one > 0, one, one, one, one, one, one, 0.3, one, one, one)
    asked = {"split": changes.terms(), "further": changes.terms()}
    asked["height"] = first_guess(scattered(0, 0.02, 0.3), SIGMA).terms[None]
    assert {name: each(asked[name]).shape for name, each in known.items()} == {
        "split": (1, 1), "further": (1, 1), "height": (1, 2),
    }  # fmt: skip
