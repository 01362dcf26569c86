from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_images import QUICK, voronoi

from napari_tam.measure.regions import Regions

SEEDS = st.integers(0, 10**6)


@QUICK
@given(SEEDS)
def test_sums_maxima_and_boxes_agree_with_each_label_on_its_own(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = voronoi(rng, (31, 47), 6)
    image = rng.integers(0, 4096, labels.shape).astype(np.uint16)
    regions = Regions(labels)
    assert regions.ids.tolist() == sorted(set(labels[labels > 0].tolist()))
    for rank, label in enumerate(regions.ids):
        mask = labels == label
        rows, cols = np.nonzero(mask)
        assert regions.area[rank] == mask.sum()
        assert regions.sums(image)[rank] == image[mask].sum()
        assert regions.maxima(image)[rank] == image[mask].max()
        assert regions.boxes[rank].tolist() == [rows.min(), cols.min(), rows.max() + 1, cols.max() + 1]


@QUICK
@given(SEEDS)
def test_the_runs_put_together_are_the_label_image(seed: int) -> None:
    labels = voronoi(np.random.default_rng(seed), (20, 30), 5)
    regions = Regions(labels)
    again = np.zeros_like(labels)
    runs = zip(regions.run_row, regions.run_col, regions.run_length, regions.run_rank, strict=True)
    for row, col, length, rank in runs:
        again[row, col : col + length] = regions.ids[rank]
    np.testing.assert_array_equal(again, labels)


def test_boundary_and_contacts_of_two_touching_squares() -> None:
    labels = np.zeros((8, 12), np.uint8)
    labels[2:6, 2:6] = 1
    labels[2:6, 6:10] = 2
    regions = Regions(labels)
    boundary = np.zeros(labels.shape, bool)
    boundary.ravel()[regions.boundary] = True
    inner = np.zeros(labels.shape, bool)
    inner[3:5, 3:5] = inner[3:5, 7:9] = True
    np.testing.assert_array_equal(boundary, (labels > 0) & ~inner)
    assert regions.contacts.tolist() == [4, 4]
    assert regions.crossings[:2].sum(axis=0).tolist() == [16, 16]


def test_a_label_that_fills_the_image_has_the_border_as_its_boundary() -> None:
    regions = Regions(np.ones((4, 5), np.int32))
    assert len(regions.boundary) == 14
    assert regions.crossings[:2].sum() == 18
    assert regions.touches_border.tolist() == [True]
    assert regions.sums(np.ones((4, 5))).tolist() == [20]


@pytest.mark.parametrize("dtype", ["uint8", "int32", ">u2", "uint64", "bool"])
def test_any_integer_type_will_do(dtype: str) -> None:
    labels = np.zeros((6, 7), dtype)
    labels[1:3, 1:4] = 1
    regions = Regions(labels)
    assert regions.ids.tolist() == [1]
    assert regions.area.tolist() == [6]
    assert regions.rank_at(np.array([1, 0, -1, 9]), np.array([1, 0, 3, 3])).tolist() == [0, -1, -1, -1]


@pytest.mark.parametrize("background", [True, False])
def test_huge_label_values_are_kept(background: bool) -> None:
    labels = np.full((4, 6), 4_000_000_000, np.uint32)
    labels[:2] = 7
    if background:
        labels[:, 5] = 0
    regions = Regions(labels)
    assert regions.ids.tolist() == [7, 4_000_000_000]
    assert regions.area.tolist() == ([10, 10] if background else [12, 12])


def test_negative_values_are_background() -> None:
    labels = np.array([[-1, -1, 2], [-2, 0, 2]])
    regions = Regions(labels)
    assert regions.ids.tolist() == [2]
    assert regions.rank_of(np.arange(6)).tolist() == [-1, -1, 0, -1, -1, 0]


def test_no_labels_give_empty_arrays() -> None:
    regions = Regions(np.zeros((5, 5), np.uint16))
    assert len(regions) == 0
    assert regions.sums(np.ones((5, 5))).shape == regions.maxima(np.ones((5, 5))).shape == (0,)
    assert regions.boxes.shape == (0, 4)
    assert regions.crossings.shape == (4, 0)
    assert regions.touches_border.shape == regions.contacts.shape == regions.boundary.shape == (0,)


def test_a_stack_is_refused() -> None:
    with pytest.raises(ValueError, match="two axes, not 3"):
        Regions(np.zeros((2, 3, 4), int))
