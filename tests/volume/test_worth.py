from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_tam.networks.perceptron import stored
from napari_tam.volume.worth import WEIGHTS, Tried, likelihood

#: One more emitter as it is tried in a crowd: 1.2 sigma away, both of usual height.
FURTHER = Tried(
    split=False, gain=60, likelier=0, misfit=2, strength=2000, apart=1.2, axial=0.2, brighter=0.0,
    fainter=0.0, spread=0.3, moved=0.4, around=15,
)  # fmt: skip
#: ... and two in the place of one that was twice as bright, 0.8 sigma apart.
SPLIT = replace(FURTHER, split=True, gain=25, likelier=5, apart=0.8, moved=0.65)


@pytest.mark.parametrize("tried", [FURTHER, SPLIT])
def test_what_explains_more_is_likelier(tried: Tried) -> None:
    odds = [replace(tried, gain=gain).log_odds() for gain in (3, 20, 100, 400)]
    assert odds == sorted(odds)
    assert odds[-1] > 0


def test_a_faint_one_beside_a_bright_one_that_is_alone_is_part_of_it() -> None:
    assert replace(FURTHER, gain=15, misfit=6, fainter=-2, moved=0.1, around=0).log_odds() < 0


@pytest.mark.parametrize("tried", [FURTHER, SPLIT])
def test_what_the_shape_of_single_ones_explains_is_no_second_one(tried: Tried) -> None:
    assert replace(tried, misfit=tried.gain).log_odds() < tried.log_odds()


def test_what_is_as_bright_as_two_is_likelier_two() -> None:
    as_one = replace(SPLIT, brighter=-0.7, fainter=-0.7, likelier=-5)
    assert as_one.log_odds() < SPLIT.log_odds()


def test_in_a_crowd_two_in_one_place_are_likelier() -> None:
    assert replace(SPLIT, around=0).log_odds() < replace(SPLIT, around=60).log_odds()


@given(
    numbers=st.lists(st.floats(-1e6, 1e6), min_size=11, max_size=11),
    split=st.booleans(),
)
@settings(max_examples=50, deadline=None)
def test_whatever_is_tried_has_odds(numbers: list[float], split: bool) -> None:
    names = [field.name for field in fields(Tried)][1:]
    given_ = dict(zip(names, numbers, strict=True))
    positive = {name: abs(given_[name]) for name in ("misfit", "strength", "apart", "around", "spread")}
    tried = Tried(split, **(given_ | positive | {"axial": abs(given_["axial"]) / 1e6}))
    assert np.isfinite(tried.log_odds())


def test_the_weights_are_for_what_is_asked() -> None:
    known = stored(*WEIGHTS)
    assert set(known) == {"split", "further"}
    for rule in known.values():
        assert rule(np.array([SPLIT.terms()])).shape == (1, 1)


def test_the_usual_height_is_the_likeliest() -> None:
    usual = 3.0, 0.4
    heights = np.exp([3.0, 3.4, 2.2, 30.0])
    assert [likelihood(heights[i : i + 1], usual) for i in range(4)] == pytest.approx([0, -1, -4, -16])
    assert likelihood(heights, usual) == pytest.approx(-21)
