from __future__ import annotations

import fakes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from napari_tam.settings import Settings
from napari_tam.volume.segment import Montage, StackSegmenter, refine_surface, stitch, tidy_volume


@given(st.integers(1, 9), st.integers(1, 7), st.integers(1, 12), st.integers(0, 5))
def test_a_montage_gives_back_its_planes(planes: int, height: int, width: int, gap: int) -> None:
    stack = np.arange(planes * height * width).reshape(planes, height, width)
    montage = Montage.of(stack, gap)
    picture = montage.join(stack, -1)
    assert np.array_equal(montage.split(picture), stack)
    assert (picture >= 0).sum() == stack.size


def numbered(planes: list[np.ndarray]) -> np.ndarray:
    """Give every mask of every plane its own number."""
    stack, highest = np.zeros((len(planes), *planes[0].shape), np.int32), 0
    for z, plane in enumerate(planes):
        stack[z] = np.where(plane > 0, plane + highest, 0)
        highest = max(highest, int(stack[z].max()))
    return stack


def test_masks_that_overlap_enough_are_one_cell() -> None:
    row = np.arange(20)
    planes = [((row >= a) & (row < a + 10)).astype(np.int32)[None] for a in (0, 2, 4)]
    stack = numbered(planes)  # intersection over union of neighbours: 8 / 12
    assert np.unique(stitch(stack, 0.6)).tolist() == [0, 1]
    assert np.unique(stitch(stack, 0.7)).tolist() == [0, 1, 2, 3]


def test_of_two_masks_above_one_only_the_better_continues_it() -> None:
    below = np.ones((1, 10), np.int32)
    above = np.array([[1] * 6 + [2] * 4], np.int32)
    labels = stitch(numbered([below, above]), 0.25)
    assert labels[:, 0].tolist() == [[1] * 10, [1] * 6 + [2] * 4]


def test_an_empty_plane_ends_a_cell() -> None:
    plane = np.ones((1, 4), np.int32)
    labels = stitch(numbered([plane, plane * 0, plane]), 0.25)
    assert labels[:, 0, 0].tolist() == [1, 0, 2]


@pytest.mark.parametrize("thick", [6, 9])
def test_top_and_bottom_of_a_blurred_cell_are_found(thick: int) -> None:
    solid = np.zeros((24, 40, 40))
    solid[8 : 8 + thick, 8:32, 8:32] = 1
    stain = gaussian_filter(solid, (1.5, 1, 1)) * 300 + 100
    too_long = np.zeros(solid.shape, np.int32)
    too_long[4 : 12 + thick, 8:32, 8:32] = 1
    refined = refine_surface(too_long, stain, 0.5, reach=4)
    assert np.array_equal(refined[:, 20, 20] > 0, solid[:, 20, 20] > 0)
    # from too short a mask, too
    short = np.zeros(solid.shape, np.int32)
    short[10:12, 8:32, 8:32] = 1
    assert np.array_equal(refine_surface(short, stain, 0.5, reach=8)[:, 20, 20] > 0, solid[:, 20, 20] > 0)


def test_the_surface_does_not_reach_into_another_cell() -> None:
    labels = np.zeros((10, 20, 20), np.int32)
    labels[1:4, 4:16, 4:16], labels[4:8, 4:16, 4:16] = 1, 2
    refined = refine_surface(labels, np.where(labels > 0, 200.0, 10.0), 0.5, reach=3)
    assert np.array_equal(refined[:, 10, 10], labels[:, 10, 10])


def test_a_cell_is_its_largest_piece_and_specks_are_dropped() -> None:
    labels = np.zeros((3, 10, 10), np.int32)
    labels[0, :5, :5], labels[2, 9, 9], labels[1, 8, 0] = 4, 4, 7
    tidy = tidy_volume(labels, 2)
    assert np.unique(tidy).tolist() == [0, 1]
    assert (tidy > 0).sum() == 25


def test_cells_of_a_stack_are_found_in_three_dimensions() -> None:
    discs = fakes.discs(fakes.RADIUS)
    stack = np.full((7, *fakes.SHAPE), 10, np.uint16)
    stack[2:5] += 200 * (discs > 0).astype(np.uint16)
    segmenter = StackSegmenter(fakes.ThresholdSegmenter(), 0.5, "min_cell_area_um2")
    found = segmenter.segment(stack, None, fakes.PIXEL_UM, None, Settings()).labels
    assert found.shape == stack.shape
    assert found.max() == 3
    assert np.array_equal((found > 0).any(axis=(1, 2)), [False] * 2 + [True] * 3 + [False] * 2)
    assert np.array_equal(found[3] > 0, discs > 0)


def test_a_stack_without_cells_has_none() -> None:
    stack = np.random.default_rng(0).integers(8, 12, (4, 64, 64)).astype(np.uint16)
    segmenter = StackSegmenter(fakes.ThresholdSegmenter(), 0.5, "min_cell_area_um2")
    assert not segmenter.segment(stack, None, 0.5, 16.0, Settings()).labels.any()


def test_noise_in_single_columns_makes_no_holes() -> None:
    labels = np.zeros((8, 40, 40), np.int32)
    labels[1:7, 5:35, 5:35] = 1
    stain = np.where(labels > 0, 200.0, 10.0)
    stain[5:, 18:20, 18:20] = 10.0  # a dark speck at the top
    refined = refine_surface(labels, stain, 0.5, reach=2)
    assert refined[6, 10:30, 10:30].all()
