from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from cellpose import dynamics
from flow_images import Labels, ellipses, perfect_output, precision, same_partition, scattered_cells
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import label as connected

from napari_tam.networks.dynamics import (
    enlarge,
    final_positions,
    grow_seeds,
    labels_from_flows,
    tidy,
)
from napari_tam.networks.flow_errors import flow_errors, mask_flows

FEW = settings(max_examples=10, deadline=None)
MANY = settings(max_examples=60, deadline=None)

DRAWN = {
    "discs": ellipses(
        (120, 120), [(30, 30, 14, 14, 0), (30, 80, 10, 10, 0), (85, 40, 20, 20, 0), (90, 95, 6, 6, 0)]
    ),
    "ellipses": ellipses((120, 140), [(30, 40, 26, 12, 20), (80, 40, 24, 13, 100), (60, 100, 25, 14, 60)]),
    "spindles 4:1": ellipses(
        (160, 200), [(40, 60, 44, 11, 10), (110, 50, 40, 10, 80), (90, 140, 48, 12, -40)]
    ),
    "touching": ellipses(
        (100, 150), [(50, 30, 18, 18, 0), (50, 65, 18, 18, 0), (50, 100, 18, 18, 0), (50, 126, 9, 9, 0)]
    ),
    "crowd": scattered_cells(1),
    "cut by the border": ellipses((60, 60), [(0, 20, 14, 14, 0), (59, 59, 16, 16, 0), (35, 5, 12, 9, 0)]),
}


def find(output: npt.NDArray[np.float32], **changes: Any) -> Labels:
    return labels_from_flows(output, **{"threshold": 0.0, "flow_threshold": 0.4} | changes)[0]


def turned(output: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Rotate a network's output by 90°: the image and the arrows."""
    y, x, logit = np.rot90(output, axes=(1, 2))
    return np.stack([-x, y, logit])


def mirrored(output: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    y, x, logit = output[:, :, ::-1]
    return np.stack([y, -x, logit])


def imperfect(labels: Labels, seed: int) -> npt.NDArray[np.float32]:
    """Flows as a network gives them: right on the whole, with smooth errors."""
    rng = np.random.default_rng(seed)
    output = perfect_output(labels)
    for plane, size in zip(output, (2.0, 2.0, 3.0), strict=True):
        plane += size * 3 * cv2.GaussianBlur(rng.normal(size=plane.shape).astype(np.float32), (0, 0), 2)
    return output


@pytest.mark.parametrize("name", DRAWN)
def test_cellposes_own_targets_give_back_the_labels(name: str) -> None:
    truth = DRAWN[name]
    found = find(perfect_output(truth))
    assert precision(truth, found, 0.9) == 1
    assert found.max() == truth.max()
    assert found.dtype == np.int32


@FEW
@given(st.integers(0, 10_000), st.floats(5, 20))
def test_cellposes_own_targets_give_back_any_crowd(seed: int, size: float) -> None:
    truth = scattered_cells(seed, (130, 140), size)
    assert precision(truth, find(perfect_output(truth)), 0.9) == 1


@pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")
@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_cellposes_dynamics_on_imperfect_flows(seed: int) -> None:
    output = imperfect(scattered_cells(seed), seed)
    # Both 3.1 and 4.2 take these arguments (`interp` is version 3's alone).
    theirs = dynamics.compute_masks(
        output[:2], output[2], niter=200, cellprob_threshold=0.0, flow_threshold=0.4, min_size=15,
        device=torch.device("cpu"),
    )  # fmt: skip
    ours = find(output)
    assert theirs.max() > 10
    assert precision(theirs, ours, 0.8) > 0.9
    assert precision(theirs, ours, 0.5) > 0.93


@pytest.mark.parametrize("name", DRAWN)
def test_flows_of_masks_are_cellposes(name: str) -> None:
    labels = np.ascontiguousarray(DRAWN[name], np.int32)
    theirs = dynamics.masks_to_flows_gpu(labels, device=torch.device("cpu"))[0]
    np.testing.assert_allclose(mask_flows(labels), theirs, atol=1e-9)


@FEW
@given(st.integers(0, 10_000))
def test_flows_of_any_crowd_are_cellposes(seed: int) -> None:
    labels = np.ascontiguousarray(scattered_cells(seed), np.int32)
    theirs = dynamics.masks_to_flows_gpu(labels, device=torch.device("cpu"))[0]
    np.testing.assert_allclose(mask_flows(labels), theirs, atol=1e-9)


def test_flows_of_no_masks_and_of_single_pixels_are_zero() -> None:
    assert not mask_flows(np.zeros((5, 7), np.int32)).any()
    assert not mask_flows(np.eye(1, 9, 4, dtype=np.int32)).any()


def test_a_mask_with_reversed_flows_is_in_error_by_four() -> None:
    labels = DRAWN["discs"]
    flow = perfect_output(labels)[:2] / 5
    assert flow_errors(labels, flow).max() < 0.1
    flow[:, labels == 3] *= -1
    errors = flow_errors(labels, flow)
    # The squared length of twice a unit vector.
    assert errors[2] == pytest.approx(4, abs=0.3)
    assert np.delete(errors, 2).max() < 0.1


def test_flow_quality_drops_the_mask_whose_flows_swirl_and_renumbers() -> None:
    labels = DRAWN["discs"]
    output = perfect_output(labels)
    # Arrows turned by 60° still spiral into the centre, but no cell looks like that: error 2 - 2 cos 60° = 1.
    cos, sin = np.cos(np.pi / 3), np.sin(np.pi / 3)
    y, x = output[:2, labels == 1]
    output[:2, labels == 1] = np.stack([cos * y + sin * x, cos * x - sin * y])
    assert precision(labels, find(output, flow_threshold=0), 0.8) == 1
    assert precision(labels, find(output, flow_threshold=2), 0.8) == 1
    kept = find(output)
    assert set(np.unique(kept)) == {0, 1, 2, 3}
    assert not kept[labels == 1].any()


def test_flow_errors_of_labels_too_thin_to_judge_are_infinite() -> None:
    labels = np.zeros((20, 20), np.int32)
    labels[3, 3:10] = 1  # no pixel on an even row
    labels[10:18, 4:16] = 3
    errors = flow_errors(labels, perfect_output(labels)[:2] / 5)
    assert len(errors) == 3
    assert np.isinf(errors[:2]).all()
    assert errors[2] < 0.5


@pytest.mark.parametrize("change", [turned, mirrored])
@pytest.mark.parametrize("seed", [0, 1])
def test_turning_or_mirroring_the_image_turns_or_mirrors_the_labels(change: Any, seed: int) -> None:
    truth = scattered_cells(seed)
    move = np.rot90 if change is turned else np.fliplr
    exact = perfect_output(truth)
    assert same_partition(find(change(exact)), move(find(exact)))
    rough = imperfect(truth, seed)
    assert precision(move(find(rough)), find(change(rough)), 0.8) > 0.9


@FEW
@given(st.integers(0, 10_000))
def test_labels_are_whole_numbered_and_on_the_foreground(seed: int) -> None:
    output = imperfect(scattered_cells(seed, (90, 100), 12), seed)
    labels = find(output, min_area=20)
    numbers, areas = np.unique(labels[labels > 0], return_counts=True)
    assert list(numbers) == list(range(1, labels.max() + 1))
    assert (areas >= 20).all()
    assert connected(labels, connectivity=2).max() == labels.max()
    # Nothing but filled holes lies off the foreground.
    outside = (labels > 0) & (output[2] <= 0)
    assert outside.sum() <= 0.05 * (labels > 0).sum()


def test_nothing_above_the_threshold_gives_no_labels() -> None:
    output = np.full((3, 30, 40), -3, np.float32)
    assert find(output).shape == (30, 40)
    assert not find(output).any()
    assert not find(perfect_output(DRAWN["discs"]), threshold=9.0).any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (2, 3), (5, 5)])
def test_tiny_images_are_no_special_case(shape: tuple[int, int]) -> None:
    output = np.zeros((3, *shape), np.float32)
    output[2] = 5
    labels = find(output, flow_threshold=0, min_area=1)
    assert labels.shape == shape


def test_small_masks_are_dropped() -> None:
    output = perfect_output(DRAWN["discs"])
    area = np.bincount(DRAWN["discs"].ravel())[4]
    assert find(output, min_area=area).max() == 4
    assert find(output, min_area=area + 1).max() == 3


def test_n_doublings_are_two_to_the_n_steps() -> None:
    inside = np.ones((40, 60), bool)
    flow = np.zeros((2, 40, 60), np.float32)
    flow[1] = 0.75
    for doublings in range(5):
        y, x = final_positions(flow, inside, doublings).reshape(2, 40, 60)
        rows, columns = np.indices((40, 60))
        assert np.abs(y - rows).max() < 1e-3
        # Steps end at the border of the image.
        assert np.abs(x - np.minimum(columns + 0.75 * 2**doublings, 59)).max() < 1e-2


def test_pixels_stay_where_nothing_flows_and_off_the_foreground_nothing_does() -> None:
    flow = np.ones((2, 20, 20), np.float32)
    inside = np.zeros((20, 20), bool)
    inside[5, 5:8] = True
    ends = final_positions(flow * 0, inside, 7)
    assert np.allclose(ends, np.stack(np.nonzero(inside)), atol=1e-4)
    # The first step leads off the foreground, and there it ends.
    assert final_positions(flow, inside, 7).max() < 9.01


def test_a_seed_needs_more_than_ten_positions() -> None:
    for count, found in ((10, 0), (11, 1)):
        ends = np.concatenate([np.full((2, count), 7.0), np.full((2, 3), 20.0)], axis=1).astype(np.float32)
        numbers = grow_seeds(ends, (30, 30))
        assert numbers[:count].max() == found
        assert not numbers[count:].any()


def test_two_equal_peaks_side_by_side_are_one_seed() -> None:
    ends = np.concatenate([np.full((2, 20), 7.0), np.full((2, 20), 8.0)], axis=1).astype(np.float32)
    assert len(set(grow_seeds(ends, (30, 30)))) == 1


def test_tidy_keeps_the_largest_piece_fills_holes_and_drops_what_is_small() -> None:
    labels = np.zeros((30, 40), np.int32)
    labels[2:12, 2:12] = 5
    labels[5:7, 5:7] = 0  # a hole
    labels[20:22, 2:4] = 5  # a second piece
    labels[15:25, 20:30] = 9
    labels[2:4, 30:32] = 7  # small
    clean = tidy(labels, min_area=10)
    expected = np.zeros_like(labels)
    expected[2:12, 2:12] = 1
    expected[15:25, 20:30] = 2
    assert np.array_equal(clean, expected)
    assert clean.dtype == labels.dtype


@pytest.mark.parametrize(("outer", "inner"), [(1, 2), (2, 1)])
def test_a_cell_inside_another_is_kept_whatever_the_numbers(outer: int, inner: int) -> None:
    labels = np.zeros((40, 40), np.int32)
    labels[5:35, 5:35] = outer
    labels[14:26, 14:26] = 0
    labels[16:24, 16:24] = inner
    clean = tidy(labels, min_area=10)
    assert set(np.unique(clean)) == {0, 1, 2}
    assert (clean[16:24, 16:24] == inner).all()
    assert (clean[5:35, 5:35] > 0).all()
    assert (clean == inner).sum() == 64


@pytest.mark.parametrize(("outer", "speck"), [(1, 2), (2, 1)])
def test_a_speck_inside_a_cell_becomes_part_of_it(outer: int, speck: int) -> None:
    labels = np.zeros((30, 30), np.int32)
    labels[5:25, 5:25] = outer
    labels[10:12, 10:12] = speck
    clean = tidy(labels, min_area=10)
    assert (clean[5:25, 5:25] == 1).all()


@MANY
@given(st.integers(0, 10_000), st.integers(1, 30))
def test_tidy_numbers_without_gaps_in_one_piece_each_and_is_done_after_one_pass(
    seed: int, min_area: int
) -> None:
    rng = np.random.default_rng(seed)
    smooth = cv2.GaussianBlur(rng.normal(size=(40, 50)).astype(np.float32), (0, 0), 1.5)
    labels = np.digitize(smooth, np.quantile(smooth, [0.4, 0.6, 0.8, 0.95])).astype(np.int32) * 3
    clean = tidy(labels, min_area)
    numbers, areas = np.unique(clean[clean > 0], return_counts=True)
    assert list(numbers) == list(range(1, len(numbers) + 1))
    assert connected(clean, connectivity=2).max() == len(numbers)
    assert np.array_equal(tidy(clean, min(areas, default=0)), clean)


@pytest.mark.parametrize("factor", [2, 3.37, 4, 6.5])
@pytest.mark.parametrize("turn", [0, 37])
def test_enlarged_outlines_are_those_of_a_large_drawing(factor: float, turn: float) -> None:
    # A cell of 30 px, the working scale; pixel s of the small image covers factor·s … factor·(s+1).
    small = ellipses((60, 70), [(28, 33, 19, 12, turn)])
    shape = (round(60 * factor), round(70 * factor))
    y, x = ((c + 0.5) * n / m - 0.5 for c, n, m in ((28, shape[0], 60), (33, shape[1], 70)))
    large = ellipses(shape, [(y, x, 19 * factor, 12 * factor, turn)])
    found = enlarge(small, shape)
    assert found.shape == shape
    assert found.dtype == np.uint16
    assert precision(large, found, 0.97) == 1
    # Smooth: no longer than the drawn one, where steps would add a quarter.
    around = [
        cv2.arcLength(
            cv2.findContours((image > 0).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0][0],
            True,
        )
        for image in (large, found)
    ]
    assert around[1] == pytest.approx(around[0], rel=0.03)


def test_touching_cells_stay_apart_and_share_the_border() -> None:
    small = ellipses((60, 80), [(30, 40, 24, 24, 0)])
    small[:, 40:] *= 2
    big = enlarge(small, (240, 320))
    assert set(np.unique(big)) == {0, 1, 2}
    assert (big[120, 30 * 4 : 40 * 4 - 1] == 1).all()
    assert (big[120, 40 * 4 + 1 : 50 * 4] == 2).all()
    # No gap of background opens between them.
    assert (big[80:160, 158:162] > 0).all()


@MANY
@given(st.integers(0, 10_000), st.floats(1, 6), st.floats(1, 6))
def test_enlarging_loses_no_label_and_adds_none(seed: int, tall: float, wide: float) -> None:
    rng = np.random.default_rng(seed)
    smooth = cv2.GaussianBlur(rng.normal(size=(40, 50)).astype(np.float32), (0, 0), 1.2)
    labels = tidy(connected(smooth > 0.25, connectivity=1).astype(np.int32), 4)
    big = enlarge(labels, (round(40 * tall), round(50 * wide)))
    assert set(np.unique(big)) == set(np.unique(labels))
    assert (big > 0).mean() == pytest.approx((labels > 0).mean(), abs=0.1)


@pytest.mark.parametrize("factor", [0.5, 0.1, 0.02])
def test_shrinking_keeps_the_labels_as_far_as_there_is_room(factor: float) -> None:
    labels = DRAWN["discs"]
    small = enlarge(labels, (max(1, round(120 * factor)), max(1, round(120 * factor))))
    assert set(np.unique(small)) - {0} <= {1, 2, 3, 4}
    assert len(np.unique(small)) == 5 if factor > 0.05 else small.any()


def test_many_labels_get_a_type_that_holds_them() -> None:
    labels = np.arange(300 * 300, dtype=np.int32).reshape(300, 300)
    assert enlarge(labels, (300, 300)).dtype == np.uint32
    assert np.array_equal(enlarge(labels, (300, 300)), labels)
    assert enlarge(labels % 60_000, (300, 300)).dtype == np.uint16


def test_no_labels_stay_none() -> None:
    assert not enlarge(np.zeros((10, 12), np.int32), (35, 40)).any()


def test_enlarging_turns_with_the_image() -> None:
    labels = scattered_cells(3, (60, 70), 9)
    one, other = np.rot90(enlarge(labels, (180, 210))), enlarge(np.rot90(labels), (210, 180))
    assert np.mean(one != other) < 0.002


@pytest.mark.parametrize("seed", [0, 1])
def test_where_the_flow_error_decides_it_is_the_same_in_the_mirrored_image(seed: int) -> None:
    labels = np.ascontiguousarray(scattered_cells(seed), np.int32)
    rng = np.random.default_rng(seed)
    flow = (perfect_output(labels)[:2] / 5 + rng.normal(0, 0.4, (2, *labels.shape))).astype(np.float32)
    assert not any(n % 2 for n in labels.shape)
    plain = flow_errors(labels, flow, (0.0, 9.0))
    mirror = np.ascontiguousarray(flow[:, :, ::-1]) * np.array([1, -1], np.float32)[:, None, None]
    turned = flow_errors(np.ascontiguousarray(labels[:, ::-1]), mirror, (0.0, 9.0))
    np.testing.assert_allclose(turned, plain, atol=0.02)
    assert np.abs(flow_errors(labels, flow) - plain).max() < 0.1
