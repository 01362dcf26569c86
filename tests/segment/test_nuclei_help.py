from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flow_images import ellipses, perfect_output, precision
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from napari_tam.networks.dynamics import labels_from_flows, tidy
from napari_tam.segment.nuclei_help import FOUND, SPLIT, Helped, bring, help_by_nuclei

#: Two cells that touch, and one by itself.
CELLS = ellipses((80, 130), [(40, 25, 16, 16, 0), (40, 56, 16, 16, 0), (40, 105, 15, 15, 0)])
NUCLEI = ellipses((80, 130), [(40, 22, 5, 5, 0), (40, 60, 5, 5, 0), (40, 105, 5, 5, 0)])
LIMITS: dict[str, Any] = {"threshold": 0.0, "flow_threshold": 0.4, "min_area": 15}


def helped(labels: np.ndarray, output: np.ndarray, nuclei: np.ndarray = NUCLEI) -> Helped:
    return help_by_nuclei(labels, output, nuclei, **LIMITS)


def joined() -> np.ndarray:
    return np.array([0, 1, 1, 2], np.int32)[CELLS]


def test_a_cell_with_two_nuclei_is_split_between_them() -> None:
    found = helped(joined(), perfect_output(joined()))
    assert precision(CELLS, found.labels, 0.85) == 1
    assert sorted(found.how) == ["", SPLIT, SPLIT]
    assert np.array_equal(found.labels > 0, CELLS > 0)
    alone = found.labels[40, 105]
    assert found.how[alone - 1] == ""


def test_cells_with_one_nucleus_each_stay_as_they_are() -> None:
    found = helped(CELLS, perfect_output(CELLS))
    assert np.array_equal(found.labels, CELLS)
    assert not (found.how != "").any()


@pytest.mark.parametrize(
    "second",
    [
        (40, 29, 5, 5, 0),  # touches the first: one nucleus in two pieces, or a cell that divides
        (40, 60, 2, 2, 0),  # a fragment
    ],
)
def test_pieces_of_a_nucleus_split_nothing(second: tuple[float, ...]) -> None:
    nuclei = ellipses(CELLS.shape, [(40, 20, 5, 5, 0), second, (40, 105, 5, 5, 0)])
    found = helped(joined(), perfect_output(joined()), nuclei)
    assert np.array_equal(found.labels, joined())


def test_a_nucleus_in_the_neighbour_for_less_than_half_splits_nothing() -> None:
    labels = np.where(CELLS == 1, 1, 0).astype(np.int32)
    nuclei = ellipses(CELLS.shape, [(40, 22, 5, 5, 0), (40, 42, 5, 5, 0)])  # the second one lies at the edge
    labels[:, 42:] = 0
    assert set(np.unique(helped(labels, perfect_output(labels), nuclei).labels)) == {0, 1}


@pytest.mark.parametrize("logit", [-1.5, -0.5])
def test_a_dim_cell_around_a_nucleus_is_found_on_second_sight(logit: float) -> None:
    output = perfect_output(CELLS)
    output[2, CELLS == 3] = logit
    first, _ = labels_from_flows(output, **LIMITS)
    assert first.max() == 2
    found = helped(first, output)
    assert precision(CELLS, found.labels, 0.85) == 1
    assert list(found.how) == ["", "", FOUND]


def test_what_is_no_cell_at_all_is_not_found_on_second_sight() -> None:
    output = perfect_output(np.where(CELLS == 3, 0, CELLS))
    first, _ = labels_from_flows(output, **LIMITS)
    found = helped(first, output)
    assert np.array_equal(found.labels, first)


def test_dim_cells_without_a_nucleus_stay_out() -> None:
    output = perfect_output(CELLS)
    output[2, CELLS == 3] = -1
    first, _ = labels_from_flows(output, **LIMITS)
    found = helped(first, output, np.where(NUCLEI == 3, 0, NUCLEI))
    assert np.array_equal(found.labels, first)


def test_no_nuclei_and_no_cells() -> None:
    none = np.zeros_like(CELLS)
    found = helped(CELLS, perfect_output(CELLS), none)
    assert np.array_equal(found.labels, CELLS)
    assert len(found.how) == 3
    found = helped(none, perfect_output(none))
    assert not found.labels.any()
    assert len(found.how) == 0


@limits(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_help_gives_numbered_cells_and_never_takes_a_pixel_away(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = [(*rng.uniform(0, 90, 2), *rng.uniform(6, 16, 2), rng.uniform(0, 180)) for _ in range(8)]
    labels = tidy(ellipses((90, 90), rows), 15)
    spots = [(*rng.uniform(0, 90, 2), *rng.uniform(2, 5, 2), 0.0) for _ in range(12)]
    nuclei = ellipses((90, 90), spots)
    output = perfect_output(labels)
    output[2] += rng.normal(0, 1, labels.shape)
    found = helped(labels, output, nuclei)
    numbers = np.unique(found.labels)
    assert np.array_equal(numbers[numbers > 0], np.arange(1, len(found.how) + 1))
    assert (found.labels[labels > 0] > 0).all()
    # every part lies in one of the cells before, or is new
    for number in np.flatnonzero(found.how != FOUND) + 1:
        assert len(np.unique(labels[found.labels == number])) == 1


def test_nuclei_are_brought_to_working_scale_with_their_numbers() -> None:
    small = bring(NUCLEI.astype(np.uint16), (40, 66))
    assert small.shape == (40, 66)
    assert set(np.unique(small)) == {0, 1, 2, 3}
    assert np.bincount(small.ravel())[1:].sum() == pytest.approx(np.count_nonzero(NUCLEI) / 4, rel=0.1)
