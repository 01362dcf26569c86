from __future__ import annotations

import numpy as np
import pandas as pd

from napari_tam.edit import Review
from napari_tam.edit.review import changed_labels


def test_the_least_certain_comes_first_and_what_is_done_is_counted() -> None:
    table = pd.DataFrame(
        {"label": [3, 5, 7, 9, 11], "segmentation_confidence": [0.5, 0.9, 0.1, float("nan"), 0.3]}
    )
    review = Review.of(table)
    assert review.order == (7, 11, 3)
    assert review.next(set()) == 7
    assert review.next(set(), after=7) == 11
    review.accepted.add(7)
    assert review.next(set(), after=3) == 11
    assert review.looked_at({3, 5}) == {3, 7}
    assert review.next({3, 11}) is None


def test_changed_labels_are_those_that_gained_or_lost_a_pixel() -> None:
    before = np.zeros((6, 6), np.uint16)
    before[:2, :2], before[3:, 3:] = 1, 2
    now = before.copy()
    now[0, 0], now[0, 5] = 0, 4
    assert changed_labels(before, now) == {1, 4}
    assert changed_labels(before, before) == set()
