from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_tam.errors import InputError
from napari_tam.pipeline.edits import Edits, puncta_edits
from napari_tam.results.edits import read_edits, save_edits

if TYPE_CHECKING:
    from pathlib import Path

FOUND = np.array([[10.0, 10.0], [20.0, 20.5], [30.25, 30.0]])


def test_what_was_added_and_removed_is_found() -> None:
    now = np.array([[10.0, 10.0], [30.25, 30.0], [44.0, 4.0]])
    added, removed = puncta_edits(FOUND, now, Edits().removed)
    assert added.tolist() == [[44.0, 4.0]]
    assert removed.tolist() == [[20.0, 20.5]]


def test_what_was_removed_earlier_stays_removed_unless_it_is_put_back() -> None:
    before = Edits(removed=np.array([[50.0, 50.0], [10.0, 10.0]]))
    _, removed = puncta_edits(FOUND, FOUND, before.removed)
    assert removed.tolist() == [[50.0, 50.0]]


def test_nothing_changed_is_no_correction() -> None:
    added, removed = puncta_edits(FOUND, FOUND.copy(), Edits().removed)
    assert not Edits(added=added, removed=removed).any


def test_corrections_come_back_from_disk(tmp_path: Path) -> None:
    labels = np.zeros((8, 9), np.uint16)
    labels[2:4, 3:6] = 7
    edits = Edits(cells=labels, added=FOUND[:1] + 1 / 3, removed=FOUND[1:])
    save_edits(tmp_path, "a", edits, 0.5)
    back = read_edits(tmp_path, "a", (8, 9))
    assert back is not None
    np.testing.assert_array_equal(back.cells, labels)
    assert back.nuclei is None
    np.testing.assert_array_equal(back.added, edits.added)
    np.testing.assert_array_equal(back.removed, edits.removed)
    save_edits(tmp_path, "a", Edits(), 0.5)
    assert read_edits(tmp_path, "a", (8, 9)) is None
    assert list((tmp_path / "edits").iterdir()) == []


def test_a_mask_of_another_size_is_told(tmp_path: Path) -> None:
    save_edits(tmp_path, "a", Edits(nuclei=np.ones((4, 4), np.uint16)), 0.5)
    with pytest.raises(InputError, match=r"the corrected mask is \(4, 4\), the image \(8, 9\)"):
        read_edits(tmp_path, "a", (8, 9))


def test_a_damaged_table_is_told(tmp_path: Path) -> None:
    (tmp_path / "edits").mkdir()
    (tmp_path / "edits" / "a_puncta.csv").write_text("x\n1\n")
    with pytest.raises(InputError, match="cannot be read"):
        read_edits(tmp_path, "a", (8, 9))
