"""Scores: perfect results score 1, and every kind of error costs what it should."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import fakes
import numpy as np
import pandas as pd
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from napari_tam.batches.run import analyse_files
from napari_tam.errors import InputError
from napari_tam.evaluate.matching import count_masks, match_cells, match_points, pearson
from napari_tam.evaluate.score import Cells, pool, score
from napari_tam.results.folder import write_mask
from napari_tam.results.tables import read_csv
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def analysed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a results folder with two images, a and b."""
    folder = tmp_path_factory.mktemp("score")
    paths = [fakes.write_image(folder / f"{name}.ome.tif") for name in "ab"]
    list(analyse_files(paths, Settings(), fakes.models(), folder / "out"))
    return folder / "out"


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    """Return a folder with the truth of image a."""
    fakes.write_truth(tmp_path, "a")
    return tmp_path


def test_perfect_results_score_one(analysed: Path, truth: Path) -> None:
    fakes.write_truth(truth, "b")
    scores = score(analysed, truth)
    assert [each.name for each in scores] == ["a", "b"]
    for each in (*scores, pool(scores)):
        report = each.report()
        images = 2 if each.name == "all" else 1
        ones = {"ap_0.5": 1, "ap_0.75": 1, "ap_0.9": 1, "true": 3 * images, "found": 3 * images}
        assert report["cells"] == ones
        assert report["nuclei"] == ones
        counts = {"true": 4 * images, "found": 4 * images}
        assert report["puncta"] == {"f1": 1, "precision": 1, "recall": 1, **counts}
        assert report["counts"]["count_relative_error"] == 0
        assert report["counts"]["intensity_r"] == pytest.approx(1, abs=1e-3)
        assert report["counts"]["cells_matched"] == 3 * images


@pytest.mark.parametrize(("shift", "f1"), [(2.0, 1.0), (3.0, 1.0), (4.0, 0.0)])
def test_puncta_count_up_to_three_pixels(analysed: Path, truth: Path, shift: float, f1: float) -> None:
    table = pd.read_csv(truth / "a_puncta.csv")
    table["x_px"] += shift
    table.to_csv(truth / "a_puncta.csv", index=False)
    [each] = score(analysed, truth)
    assert each.report()["puncta"]["f1"] == f1


def test_errors_cost_what_they_should(analysed: Path, truth: Path) -> None:
    masks = fakes.discs(fakes.RADIUS)
    masks[80:90, 2:12] = 9  # a cell that was not found
    tifffile.imwrite(truth / "a_masks.tif", masks)
    table = pd.read_csv(truth / "a_puncta.csv")
    extra = pd.DataFrame({"y_px": [22.0, 24.0], "x_px": [40.0, 85.0], "cell": [1, 2]})
    pd.concat([table, extra]).fillna(0).to_csv(truth / "a_puncta.csv", index=False)
    [each] = score(analysed, truth)
    report = each.report()
    assert report["cells"] == {"ap_0.5": 0.75, "ap_0.75": 0.75, "ap_0.9": 0.75, "true": 4, "found": 3}
    assert report["puncta"]["recall"] == pytest.approx(4 / 6)
    assert report["puncta"]["precision"] == 1
    # 2 of 3 and 1 of 2 found; the third cell has none and the fourth was not found
    assert report["counts"]["count_relative_error"] == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert report["counts"]["cells_matched"] == 3
    assert report["counts"]["cells_true"] == 4


@pytest.mark.parametrize("kept", ["masks.tif", "nuclei.tif", "puncta.csv"])
def test_missing_truth_is_none_and_no_error(analysed: Path, truth: Path, kept: str) -> None:
    for path in truth.iterdir():
        if not path.name.endswith(kept):
            path.unlink()
    [each] = score(analysed, truth)
    report = each.report()
    group = {"masks.tif": "cells", "nuclei.tif": "nuclei", "puncta.csv": "puncta"}[kept]
    assert {name for name, part in report.items() if part is not None} == {group}
    assert pool([each]).report() == report


def test_without_any_truth_it_is_an_error(analysed: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no truth for any of the 2 analysed images"):
        score(analysed, tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        score(analysed, tmp_path / "none")


def test_a_truth_of_another_size_or_without_positions_is_an_error(analysed: Path, truth: Path) -> None:
    (truth / "a_puncta.csv").write_text("y,x\n1,2\n")
    with pytest.raises(InputError, match="lack the columns y_px and x_px"):
        score(analysed, truth)
    tifffile.imwrite(truth / "a_masks.tif", np.ones((9, 9), np.uint16))
    with pytest.raises(InputError, match="another size"):
        score(analysed, truth)


def test_the_truth_is_found_by_the_file_where_the_folder_was_put_in_front(tmp_path: Path) -> None:
    for day in ("mon", "tue"):
        (tmp_path / day).mkdir()
        fakes.write_image(tmp_path / day / "a.ome.tif")
    fakes.write_truth(tmp_path / "mon", "a")
    paths = sorted(tmp_path.glob("*/a.ome.tif"))
    list(analyse_files(paths, Settings(), fakes.models(), tmp_path / "out"))
    assert read_csv(tmp_path / "out" / "images.csv")["image"].tolist() == ["mon_a", "tue_a"]
    assert score(tmp_path / "out", tmp_path / "mon")[0].name == "mon_a"


def test_relabelling_changes_no_mask_score() -> None:
    true = fakes.discs(fakes.RADIUS).astype(np.int64)
    found = np.where(true > 0, 1000 - 300 * true, 0)
    assert count_masks(true, found) == (3, 3, (3, 3, 3))
    assert count_masks(true, np.zeros_like(true)) == (3, 0, (0, 0, 0))
    assert count_masks(np.zeros_like(true), np.zeros_like(true)) == (0, 0, (0, 0, 0))
    assert dict(match_cells(true, found).tolist()) == {1: 700, 2: 400, 3: 100}


def test_cells_that_overlap_by_less_than_half_are_not_the_same() -> None:
    true, found = np.zeros((2, 10, 40), np.int64)
    true[:, :10], true[:, 20:30] = 1, 2
    found[:, 3:13], found[:, 24:34] = 5, 6  # overlaps of 7/13 and 6/14
    assert match_cells(true, found).tolist() == [[1, 5]]


def test_a_cell_that_was_cut_in_halves_has_one_partner() -> None:
    true, found = np.ones((10, 10), np.int64), np.ones((10, 10), np.int64)
    found[:, 5:] = 2
    assert len(match_cells(true, found)) == 1


points = st.lists(st.tuples(st.floats(0, 30), st.floats(0, 30)), max_size=25).map(
    lambda rows: np.array(rows, float).reshape(-1, 2)
)


@settings(max_examples=60, deadline=None)
@given(points, points)
def test_points_are_paired_as_many_as_possible_and_then_the_closest(true: Any, found: Any) -> None:
    pairs = match_points(true, found)
    distance = np.linalg.norm(true[:, None] - found[None], axis=-1)
    chosen = distance[pairs[:, 0], pairs[:, 1]]
    assert (chosen <= 3 + 1e-9).all()
    for side in (0, 1):
        assert len(np.unique(pairs[:, side])) == len(pairs)
    cost = np.where(distance <= 3, distance - 1e4, 0)  # the same, slowly
    best = linear_sum_assignment(cost)
    taken = distance[best][distance[best] <= 3]
    assert len(pairs) == len(taken)
    assert chosen.sum() == pytest.approx(taken.sum(), abs=1e-4)


def test_ten_thousand_puncta_are_matched_at_once() -> None:
    random = np.random.default_rng(0)
    true = random.uniform(0, 2048, (10_000, 2))
    found = random.permutation(true + random.normal(0, 0.5, true.shape))
    started = time.process_time()
    assert len(match_points(true, found)) >= 9990
    assert time.process_time() - started < 5


def test_intensities_are_compared_by_their_integral() -> None:
    assert pearson(np.array([1.0, 2, 4]), np.array([10.0, 20, 40])) == pytest.approx(1)
    assert pearson(np.array([1.0, 2]), np.array([3.0, 3])) is None
    assert pearson(np.array([1.0]), np.array([1.0])) is None
    nothing = np.zeros(0)
    report = Cells(0, nothing, nothing, nothing, nothing).report()
    assert report["count_relative_error"] is None


def test_a_failed_image_is_not_scored(analysed: Path, truth: Path, tmp_path: Path) -> None:
    paths = [fakes.write_image(tmp_path / "a.ome.tif"), tmp_path / "c.ome.tif"]
    paths[1].write_bytes(b"")
    list(analyse_files(paths, Settings(), fakes.models(), tmp_path / "out"))
    write_mask(truth / "c_masks.tif", fakes.discs(5), 1.0)
    assert [each.name for each in score(tmp_path / "out", truth)] == ["a"]
