from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from napari_tam.puncta.threshold import (
    CLEAR,
    HIGHEST,
    LOWEST,
    Threshold,
    from_controls,
    from_populations,
)


def contrasts(faint: int, clear: int, seed: int = 0, *, at: float = 4.8, beyond: float = 16.0) -> np.ndarray:
    """Contrasts of bumps around `at`, and of puncta around `beyond`."""
    rng = np.random.default_rng(seed)
    return np.exp2(
        np.concatenate([rng.normal(np.log2(at), 0.25, faint), rng.normal(np.log2(beyond), 0.6, clear)])
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("faint", "clear"), [(300, 300), (80, 300), (400, 120)])
def test_the_threshold_lies_in_the_valley_between_two_populations(faint: int, clear: int, seed: int) -> None:
    values = contrasts(faint, clear, seed)
    found = from_populations(values, ("a", "b"))
    assert found.rule == "populations"
    assert 5.5 < found.value < 11
    assert found.populations is not None
    assert found.populations[0] == pytest.approx(4.8, rel=0.2)
    assert found.populations[1] == pytest.approx(16, rel=0.25)
    assert (found.images, found.puncta) == (("a", "b"), faint + clear)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", ["normal", "skewed", "broad", "exponential"])
def test_one_population_has_no_threshold(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = {
        "normal": lambda: rng.normal(3, 0.8, 800),
        "skewed": lambda: 2.0 + np.abs(rng.normal(0, 1.2, 800)),
        "broad": lambda: 2 + 4 * rng.beta(2, 2, 800),
        "exponential": lambda: 2.2 + rng.exponential(0.8, 800),
    }[kind]()
    found = from_populations(np.exp2(values))
    assert (found.value, found.rule) == (LOWEST, "none")
    assert found.reason


def test_few_bright_ones_are_aggregates_and_take_the_others_not_away() -> None:
    assert from_populations(contrasts(900, 60, beyond=60.0)).rule == "none"


def test_two_populations_of_clear_puncta_are_both_kept() -> None:
    assert from_populations(contrasts(300, 300, at=20.0, beyond=90.0)).rule == "none"


@pytest.mark.parametrize(("sure", "rule"), [(0.97, "none"), (0.8, "populations")])
def test_fainter_puncta_that_are_clear_to_the_network_are_kept(sure: float, rule: str) -> None:
    values = contrasts(120, 300)
    found = from_populations(values, score=np.where(values < 8, sure, 0.99))
    assert found.rule == rule
    assert found.populations is not None
    assert ("both are clear" in found.reason) == (rule == "none")


@pytest.mark.parametrize("count", [0, 1, 99])
def test_few_puncta_tell_no_threshold(count: int) -> None:
    found = from_populations(contrasts(count // 2, count - count // 2))
    assert found.rule == "none"
    assert "too few" in found.reason


@limits(deadline=None, max_examples=40)
@given(st.lists(st.floats(-100, 1e4), max_size=300), st.integers(0, 10**6))
def test_any_values_give_a_threshold_within_bounds_whatever_their_order(
    values: list[float], seed: int
) -> None:
    found = from_populations(np.array(values))
    assert LOWEST <= found.value <= CLEAR
    mixed = np.random.default_rng(seed).permutation(np.array(values))
    assert from_populations(mixed).value == found.value


@limits(deadline=None)
@given(st.lists(st.floats(0.1, 200), max_size=80), st.integers(1, 50), st.floats(0, 3))
def test_cells_of_controls_keep_no_more_than_is_allowed(
    values: list[float], cells: int, allowed: float
) -> None:
    contrast = np.array(values)
    found = from_controls(contrast, cells, allowed)
    assert LOWEST <= found.value <= HIGHEST
    left = (contrast >= found.value).sum() if found.value > LOWEST else len(contrast)
    if found.value < HIGHEST:
        assert left <= allowed * cells
    else:
        assert "highest" in found.reason or left <= allowed * cells


def test_no_more_is_taken_away_than_the_controls_ask_for() -> None:
    found = from_controls(np.array([5.0, 6.0, 7.0, 8.0, 9.0]), 10, 0.2, ("c",))
    assert found.value == pytest.approx(7.01)
    assert found.images == ("c",)


def test_a_threshold_survives_its_file() -> None:
    one = from_populations(contrasts(300, 300), ("x", "y"))
    assert Threshold.from_dict(json.loads(json.dumps(one.as_dict()))) == one
    assert Threshold.from_dict(json.loads(json.dumps(Threshold().as_dict()))) == Threshold()
