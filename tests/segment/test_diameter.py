from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_tam.segment.diameter import Trial, estimate


def network(true_um: float, count: int = 50, reach: float = 2.0):
    """Stand for a network that finds cells of a size: pieces or clumps of them far from its scale."""

    def look(assumed: float) -> Trial:
        off = np.log(assumed / true_um)
        beyond = np.sign(off) * max(0.0, abs(off) - np.log(reach))
        return Trial(assumed, float(true_um * np.exp(beyond)), count, float(np.exp(-(off**2))))

    return look


@given(st.floats(5, 200), st.floats(0.3, 3.3))
def test_the_scales_agree_on_the_true_size_wherever_the_search_starts(true: float, wrong: float) -> None:
    found = estimate(true * wrong, network(true))
    assert found.diameter_um == pytest.approx(true, rel=0.12)
    if 0.6 < wrong < 1.7:
        assert not found.doubt


def test_pieces_found_at_a_small_scale_do_not_outvote_whole_cells() -> None:
    # Ramified cells: at the typical diameter, their parts are about as large as assumed, but fit badly.
    trials = {10: (9, 0.05), 20: (21, 0.1), 40: (42, 0.3), 80: (50, 0.25), 160: (100, 0.02)}

    def look(assumed: float) -> Trial:
        found, support = trials[round(assumed)]
        return Trial(assumed, found, 40, support)

    assert estimate(20.0, look).diameter_um == pytest.approx(42, rel=0.15)


def test_nothing_found_leaves_the_typical_diameter() -> None:
    found = estimate(25.0, lambda assumed: Trial(assumed, 0.0, 0, 0.0))
    assert found.diameter_um == 25.0


def test_few_cells_and_scales_that_disagree_are_said() -> None:
    assert "3 objects" in estimate(25.0, network(25.0, count=3)).doubt
    # Every scale finds what it assumes: nothing tells which is right.
    found = estimate(25.0, lambda assumed: Trial(assumed, assumed, 40, 0.2))
    assert "disagree" in found.doubt


def test_the_search_ends_also_when_every_scale_points_beyond() -> None:
    assert estimate(25.0, lambda assumed: Trial(assumed, 3 * assumed, 40, 0.2)).diameter_um < 25 * 3 * 2**4
