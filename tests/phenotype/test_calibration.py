from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as rules
from hypothesis import strategies as st

from napari_tam.phenotype.calibration import (
    TEMPERATURES,
    balanced_accuracy,
    confusion,
    fit_temperature,
    log_loss,
    reliability,
    softmax,
)


def draw(temperature: float, classes: int = 3, number: int = 20_000, seed: int = 0):
    """Logits that are `temperature` times too large for the outcomes drawn from them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (number, classes))
    chances = softmax(logits)
    truth = (chances.cumsum(axis=1) < rng.random((number, 1))).sum(axis=1)
    return logits * temperature, np.minimum(truth, classes - 1)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_temperature_that_the_logits_were_multiplied_with_is_found(temperature: float) -> None:
    logits, truth = draw(temperature)
    found = fit_temperature(logits, truth)
    assert found == pytest.approx(temperature, rel=0.05)
    assert reliability(softmax(logits, found), truth).error < 0.012


def test_overconfidence_shows_as_calibration_error() -> None:
    logits, truth = draw(5.0)
    assert reliability(softmax(logits), truth).error > 0.1


@rules(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), shift=st.floats(-50, 50), temperature=st.floats(*TEMPERATURES))
def test_probabilities_sum_to_one_and_keep_the_order(seed: int, shift: float, temperature: float) -> None:
    logits = np.random.default_rng(seed).normal(0, 5, (20, 4))
    chances = softmax(logits, temperature)
    assert chances.sum(axis=1) == pytest.approx(1)
    assert (chances.argmax(axis=1) == logits.argmax(axis=1)).all()
    assert softmax(logits + shift, temperature) == pytest.approx(chances, abs=1e-6)


def test_no_other_temperature_has_a_smaller_loss() -> None:
    logits, truth = draw(2.0, number=500)
    best = log_loss(logits, truth, fit_temperature(logits, truth))
    assert all(best <= log_loss(logits, truth, t) + 1e-9 for t in np.geomspace(0.1, 15, 60))


def test_the_bins_hold_every_cell_once() -> None:
    logits, truth = draw(1.0, number=777)
    found = reliability(softmax(logits), truth)
    assert sum(found.count) == 777 == sum(row["cells"] for row in found.rows())


def test_nothing_to_judge_is_no_error() -> None:
    empty, none = np.zeros((0, 2)), np.zeros(0, int)
    assert softmax(empty).shape == (0, 2)
    assert reliability(empty, none).error == 0
    assert np.isnan(balanced_accuracy(none, none))
    assert fit_temperature(empty, none) == 1


def test_balanced_accuracy_and_confusion() -> None:
    truth, found = np.array([0, 0, 0, 0, 1]), np.array([0, 0, 0, 1, 1])
    assert balanced_accuracy(truth, found) == pytest.approx((0.75 + 1) / 2)
    assert confusion(truth, found, 2).tolist() == [[3, 1], [0, 1]]
