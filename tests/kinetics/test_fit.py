"""Curves of known rate, and curves that tell none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_tam.kinetics.fit import UptakeFit, best_log_rate, fit_uptake, log_rates

TIME = np.arange(20) / 6.0


def curve(rate: float, plateau: float = 12.0, offset: float = 3.0) -> np.ndarray:
    return offset + plateau * (1 - np.exp(-rate * TIME))


@settings(max_examples=50, deadline=None)
@given(st.floats(0.3, 6.0), st.floats(0.1, 1e6), st.floats(-1e3, 1e3))
def test_a_curve_without_noise_gives_its_parameters(rate: float, plateau: float, offset: float) -> None:
    fit = fit_uptake(TIME, curve(rate, plateau, offset))
    tolerance = 1e-4 * (1 + abs(offset) / plateau)
    assert fit.note == ""
    assert fit.rate == pytest.approx(rate, rel=tolerance)
    assert fit.plateau == pytest.approx(plateau, rel=tolerance)
    assert fit.offset == pytest.approx(offset, abs=tolerance * plateau)
    assert fit.half_time == pytest.approx(np.log(2) / rate, rel=tolerance)
    assert np.allclose(fit.curve(TIME), curve(rate, plateau, offset), rtol=1e-3, atol=1e-3 * plateau)


def test_the_rate_does_not_depend_on_when_the_clock_is_started() -> None:
    noise = np.random.default_rng(0).normal(0, 0.2, len(TIME))
    first, later = fit_uptake(TIME, curve(0.9) + noise), fit_uptake(TIME + 5, curve(0.9) + noise)
    assert first.half_time == pytest.approx(later.half_time, rel=1e-4)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    fits = [fit_uptake(TIME, curve(1.0) + rng.normal(0, 0.5, len(TIME))) for _ in range(200)]
    held = np.mean([fit.low < np.log(2) < fit.high for fit in fits])
    assert 0.90 <= held <= 0.99


def test_weights_let_points_count() -> None:
    value = curve(1.0)
    value[7] += 30
    weight = np.ones_like(value)
    weight[7] = 1e-12
    assert fit_uptake(TIME, value, weight).rate == pytest.approx(1.0, rel=1e-3)
    value[7] = np.nan
    assert fit_uptake(TIME, value).rate == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize(
    ("value", "note"),
    [
        (np.full(20, 4.0), "no rise that can be told from none"),
        (np.zeros(20), "no rise that can be told from none"),
        (np.random.default_rng(3).normal(5, 1, 20), "no rise that can be told from none"),
        (2 * TIME, "still rising: the half-time is longer than the 3.17 observed"),
        (-curve(1.0), "it falls"),
        (np.where(TIME > 0, 5.0, 0.0), "all of the rise is within the first step of 0.167"),
        (np.where(TIME < 0.4, curve(1.0), np.nan), "3 times: 4 or more are needed"),
    ],
)
def test_what_tells_no_rate_gives_none_and_says_why(value: np.ndarray, note: str) -> None:
    fit = fit_uptake(TIME, value)
    assert fit.note == note
    assert np.isnan([fit.rate, fit.plateau, fit.half_time, fit.low, fit.high]).all()


def test_many_curves_at_once_give_the_rates_of_each() -> None:
    rates = np.array([0.5, 1.0, 2.5])
    curves = np.array([curve(rate) for rate in rates])
    weights = np.ones_like(curves)
    weights[1, 4] = 0.0
    curves[1, 4] = 1e6  # not looked at
    found = np.exp(best_log_rate(log_rates(TIME), TIME, curves, weights))
    assert found == pytest.approx(rates, rel=2e-3)


def test_an_empty_fit_has_no_curve() -> None:
    assert np.isnan(UptakeFit().curve(TIME)).all()
