"""Laws of the corrections: nothing else changes, nothing is lost, labels stay unique and in one piece."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_tam.edit import (
    Patch,
    add,
    add_outlined,
    delete,
    grow,
    keep_inside,
    merge,
    shrink,
    split_by_line,
    split_by_nuclei,
)
from napari_tam.edit.drawn import inside, labels_under
from napari_tam.edit.patch import new_label
from napari_tam.errors import InputError

SIDE = 48
EIGHT = np.ones((3, 3))


def pieces(mask: Any) -> int:
    return int(ndimage.label(mask, EIGHT)[1])


@st.composite
def crowds(draw: Any) -> Any:
    """Cells that touch: each pixel of some discs belongs to the nearest centre."""
    centres = draw(
        st.lists(
            st.tuples(st.integers(0, SIDE - 1), st.integers(0, SIDE - 1)), min_size=2, max_size=8, unique=True
        )
    )
    radius = draw(st.integers(5, 14))
    rows, columns = np.indices((SIDE, SIDE))
    distance = np.stack([np.hypot(rows - y, columns - x) for y, x in centres])
    labels = np.where(distance.min(0) <= radius, distance.argmin(0) + 1, 0).astype(np.uint16)
    for label in range(1, len(centres) + 1):  # the law is about cells in one piece
        parts, count = ndimage.label(labels == label, EIGHT)
        if count > 1:
            largest = 1 + np.bincount(parts.ravel())[1:].argmax()
            labels[(parts != largest) & (parts > 0)] = 0
    return labels


places = st.tuples(st.floats(-4, SIDE + 4), st.floats(-4, SIDE + 4))


def others_unchanged(before: Any, after: Any, touched: Any) -> bool:
    """Whether all labels that are not touched have the same pixels, and no more."""
    rest = [label for label in np.unique(before) if label and label not in touched]
    return all(np.array_equal(before == label, after == label) for label in rest)


@given(crowds(), st.lists(places, min_size=2, max_size=4))
@settings(max_examples=80, deadline=None)
def test_a_split_loses_no_pixel_changes_no_other_cell_and_is_undone_by_merging(image: Any, line: Any) -> None:
    try:
        patch = split_by_line(image, np.array(line))
    except InputError:
        assume(False)
    after = patch.apply(image)
    np.testing.assert_array_equal(after > 0, image > 0)
    new = sorted(set(np.unique(after)) - set(np.unique(image)))
    assert new
    assert min(new) > image.max()
    for label in patch.labels:
        assert pieces(after == label) == 1
    assert others_unchanged(image, after, patch.labels)
    origin = {number: int(image[after == number][0]) for number in new}
    assert all((image[after == number] == origin[number]).all() for number in new)
    for label in set(origin.values()):
        after = merge(after, [label, *(n for n in new if origin[n] == label)]).apply(after).copy()
        [back] = set(np.unique(after[image == label]))
        after[after == back] = label
    np.testing.assert_array_equal(after, image)


@given(st.integers(14, 34), st.integers(12, 20), st.booleans())
@settings(max_examples=30, deadline=None)
def test_cells_merged_and_split_by_their_border_are_what_they_were(
    column: int, half: int, upright: bool
) -> None:
    image = np.zeros((SIDE, SIDE), np.uint8)
    image[24 - half : 24 + half, 6:column] = 1
    image[24 - half : 24 + half, column:42] = 2
    line = np.array([[0.0, column - 0.5], [SIDE - 1.0, column - 0.5]])
    if not upright:
        image, line = image.T, line[:, ::-1]
    together = merge(image, [1, 2]).apply(image)
    assert len(np.unique(together)) == 2
    apart = split_by_line(together, line).apply(together)
    near = ndimage.binary_dilation(image == 1, iterations=2) & ndimage.binary_dilation(
        image == 2, iterations=2
    )
    a, b = (np.unique(apart[(image == k) & ~near]).tolist() for k in (1, 2))
    assert len(a) == len(b) == 1
    assert a != b


@given(crowds(), st.data())
@settings(max_examples=60, deadline=None)
def test_merged_cells_are_one_piece_and_no_other_changes(image: Any, data: Any) -> None:
    known = [int(label) for label in np.unique(image) if label]
    wanted = data.draw(st.lists(st.sampled_from(known), min_size=2, max_size=4, unique=True))
    try:
        patch = merge(image, wanted)
    except InputError:
        assume(False)
    after = patch.apply(image)
    [kept] = patch.labels
    assert kept in wanted
    assert pieces(after == kept) == 1
    assert (after == kept)[np.isin(image, wanted)].all()
    assert set(np.unique(image[after != image])) <= {0, *wanted}
    assert others_unchanged(image, after, wanted)


@given(crowds(), st.data())
@settings(max_examples=60, deadline=None)
def test_growing_and_shrinking_never_touch_a_neighbour(image: Any, data: Any) -> None:
    known = [int(label) for label in np.unique(image) if label]
    wanted = data.draw(st.lists(st.sampled_from(known), min_size=1, max_size=4, unique=True))
    larger = grow(image, wanted).apply(image)
    assert others_unchanged(image, larger, wanted)
    assert set(np.unique(image[larger != image])) <= {0}
    for label in wanted:
        reach = ndimage.binary_dilation(image == label)
        assert (larger == label)[image == label].all()
        assert reach[larger == label].all()
        assert pieces(larger == label) == 1
    try:
        patch = shrink(larger, wanted)
    except InputError:
        assume(False)
    smaller = patch.apply(larger)
    assert others_unchanged(larger, smaller, wanted)
    for label in wanted:
        assert pieces(smaller == label) == 1
        assert (larger == label)[smaller == label].all()


@given(crowds(), st.data())
@settings(max_examples=40, deadline=None)
def test_a_cell_alone_that_grew_and_shrank_holds_what_it_was(image: Any, data: Any) -> None:
    label = data.draw(st.sampled_from([int(label) for label in np.unique(image) if label]))
    alone = np.where(image == label, image, 0)
    larger = grow(alone, [label]).apply(alone)
    back = shrink(larger, [label]).apply(larger)
    assert (back == label)[alone == label].all()


@given(crowds(), st.lists(places, min_size=3, max_size=6))
@settings(max_examples=60, deadline=None)
def test_an_added_cell_takes_background_only_and_goes_again_when_it_is_deleted(
    image: Any, outline: Any
) -> None:
    try:
        patch = add_outlined(image, np.array(outline), above=60)
    except InputError:
        assume(False)
    after = patch.apply(image)
    [label] = patch.labels
    assert label > 60
    assert set(np.unique(image[after == label])) == {0}
    assert pieces(after == label) == 1
    np.testing.assert_array_equal(delete(after, [label]).apply(after), image)


@given(crowds(), st.lists(places, min_size=3, max_size=6))
@settings(max_examples=40, deadline=None)
def test_kept_inside_are_whole_cells_with_most_of_their_pixels_there(image: Any, outline: Any) -> None:
    try:
        after = keep_inside(image, np.array(outline)).apply(image)
    except InputError:
        assume(False)
    points = np.argwhere(image > 0)
    for label in np.unique(image[image > 0]):
        cell = points[image[tuple(points.T)] == label]
        share = inside(cell, np.array(outline)).mean()
        if abs(share - 0.5) > 0.2:  # what lies on the very line is a matter of rounding
            assert (after == label).any() == (share > 0.5)
        assert np.array_equal(after == label, image == label) or not (after == label).any()


def test_a_cell_with_two_nuclei_is_split_between_them() -> None:
    rows, columns = np.indices((40, 60))
    image = np.zeros((40, 60), np.uint16)
    image[np.hypot(rows - 20, columns - 18) < 13] = 5
    image[np.hypot(rows - 20, columns - 42) < 13] = 5
    image[0:3, 0:3] = 9
    nuclei = np.zeros_like(image)
    nuclei[18:22, 14:19] = 1
    nuclei[18:22, 41:46] = 2
    nuclei[19:21, 55:60] = 3  # more of it outside
    patch = split_by_nuclei(image, nuclei, [5, 9])
    after = patch.apply(image)
    assert set(patch.labels) == {5, 9, 10}
    np.testing.assert_array_equal(after > 0, image > 0)
    left, right = after[20, 16], after[20, 44]
    assert {left, right} == {5, 10}
    assert (after[:, :29][image[:, :29] == 5] == left).all()
    assert (after[:, 32:][image[:, 32:] == 5] == right).all()
    with pytest.raises(InputError, match="none of the selected cells has two nuclei"):
        split_by_nuclei(image, np.where(nuclei == 1, nuclei, 0), [5])


def test_cells_that_a_small_gap_separates_are_merged_with_it_and_distant_ones_are_not() -> None:
    image = np.zeros((20, 40), np.uint8)
    image[5:15, 2:10], image[5:15, 13:20], image[5:15, 30:36] = 1, 2, 3
    after = merge(image, [2, 1]).apply(image)
    assert (after[6:14, 2:20] == 1).all()
    with pytest.raises(InputError, match="the cells 1, 3 do not touch"):
        merge(image, [1, 3])
    image[5:15, 10:13] = 7  # a neighbour in between keeps its pixels
    with pytest.raises(InputError, match="do not touch"):
        merge(image, [1, 2])


def test_a_line_splits_only_what_is_selected_and_only_right_through() -> None:
    image = np.zeros((30, 50), np.uint8)
    image[5:25, 2:22], image[5:25, 25:45] = 1, 2
    line = np.array([[15.0, 0.0], [15.0, 49.0]])
    assert labels_under(image, line) == [1, 2]
    assert split_by_line(image, line).labels == (1, 2, 3, 4)
    assert split_by_line(image, line, [2]).labels == (2, 3)
    with pytest.raises(InputError, match="cuts no cell in two"):
        split_by_line(image, np.array([[15.0, 0.0], [15.0, 18.0]]))
    with pytest.raises(InputError, match="runs over no cell"):
        split_by_line(image, np.array([[1.0, 0.0], [1.0, 18.0]]))
    with pytest.raises(InputError, match="outside of the image"):
        split_by_line(image, np.array([[-9.0, 0.0], [-9.0, 18.0]]))


def test_a_cell_in_two_pieces_is_split_only_where_the_line_cuts() -> None:
    image = np.zeros((30, 50), np.uint8)
    image[5:25, 2:22], image[5:25, 25:45] = 1, 1
    with pytest.raises(InputError, match="cuts no cell"):
        split_by_line(image, np.array([[0.0, 10.0], [15.0, 10.0]]))
    after = split_by_line(image, np.array([[0.0, 10.0], [29.0, 10.0]])).apply(image)
    assert set(np.unique(after)) == {0, 1, 2}
    assert len(np.unique(after[5:25, 25:45])) == 1


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda image: merge(image, [1]), "only one cell"),
        (lambda image: merge(image, []), "no cell is selected"),
        (lambda image: delete(image, [8]), "no cell 8"),
        (lambda image: delete(image, [0]), "no cell 0"),
        (lambda image: shrink(image, [2]), "cell 2 would vanish"),
        (lambda image: add(image, (slice(0, 4), slice(0, 4)), np.ones((4, 4), bool)), "no room"),
        (lambda image: add_outlined(image, np.array([[90.0, 90], [90, 95], [95, 95]])), "nothing inside"),
        (lambda image: new_label(np.full((2, 2), 255, np.uint8)), "used up at 255"),
    ],
)
def test_what_cannot_be_done_is_told(act: Any, said: str) -> None:
    image = np.zeros((12, 12), np.uint8)
    image[:5, :5], image[8:10, 8:10] = 1, 2
    with pytest.raises(InputError, match=said):
        act(image)


def test_a_patch_is_as_large_as_the_cells_and_names_the_pixels_that_change() -> None:
    image = np.zeros((500, 500), np.uint16)
    image[100:120, 200:230] = 4
    patch = delete(image, [4])
    assert patch.values.shape == (20, 30)
    (rows, columns), values = patch.changes(image)
    assert len(rows) == 600
    assert not values.any()
    changed = image.copy()
    changed[rows, columns] = values
    np.testing.assert_array_equal(changed, patch.apply(image))
    assert isinstance(patch, Patch)


def test_a_cell_at_the_border_of_the_image_shrinks_inside_only() -> None:
    image = np.zeros((20, 20), np.uint8)
    image[0:10, 5:15] = 1
    after = shrink(image, [1]).apply(image)
    assert (after[0:9, 6:14] == 1).all()
    assert int(after.sum()) == 9 * 8
