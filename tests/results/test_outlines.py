"""Outlines: their area is the number of pixels, and filling them gives the mask back."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_tam.results.outlines import outlines, signed_area


def filled(polygons: list[list[npt.NDArray[np.int32]]], shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Return the pixels whose centre is inside (even-odd over all rings)."""
    rows, columns = np.indices(shape) + 0.5
    inside = np.zeros(shape, bool)
    for ring in (ring for polygon in polygons for ring in polygon):
        for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            if x0 == x1:
                inside ^= ((y0 > rows) != (y1 > rows)) & (columns < x0)
    return inside


@settings(max_examples=150, deadline=None)
@given(
    hnp.arrays(
        np.uint16,
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9),
        elements=st.integers(0, 2),
    )
)
def test_the_outlines_of_any_labels_hold_exactly_their_pixels(labels: npt.NDArray[np.uint16]) -> None:
    found = dict(outlines(labels))
    assert sorted(found) == [n for n in np.unique(labels).tolist() if n]
    for number, polygons in found.items():
        mask = labels == number
        np.testing.assert_array_equal(filled(polygons, labels.shape), mask)
        assert sum(signed_area(ring) for polygon in polygons for ring in polygon) == mask.sum()
        parts, _ = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
        assert len(polygons) == parts - 1
        for outer, *holes in polygons:
            assert signed_area(outer) > 0
            assert all(signed_area(hole) < 0 for hole in holes)
            assert filled([[outer], *[[hole] for hole in holes]], labels.shape).sum() > 0


def test_a_straight_edge_has_two_corners() -> None:
    labels = np.zeros((9, 12), np.uint8)
    labels[2:6, 3:10] = 4
    [(number, [[ring]])] = list(outlines(labels))
    assert number == 4
    assert sorted(map(tuple, ring.tolist())) == [(3, 2), (3, 6), (10, 2), (10, 6)]


def test_an_island_in_a_hole_is_a_polygon_of_its_own() -> None:
    labels = np.zeros((11, 11), np.uint8)
    labels[1:10, 1:10] = 1
    labels[3:8, 3:8] = 0
    labels[5, 5] = 1
    [(_, polygons)] = list(outlines(labels))
    assert sorted(len(polygon) for polygon in polygons) == [1, 2]
