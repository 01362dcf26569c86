"""The line between puncta and the rest: found, not by chance, and kept where nothing is gained."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_tam.settings import Settings
from napari_tam.train.lines import CONTRAST, FEW_IMAGES, LINES, SCORE, Marked, choose_line
from napari_tam.train.marks import compare


def field(number: int, rng: np.random.Generator, **columns: Any) -> pd.DataFrame:
    """Return candidates on a grid, whose score and contrast are given."""
    at = np.arange(number)
    table = {"y_px": 10.0 * (at // 20), "x_px": 10.0 * (at % 20), "score": 0.9, "contrast": 20.0}
    return pd.DataFrame({**table, "snr": 9.0, "reason": "", **columns})


def marks_of(table: pd.DataFrame, kept: Any) -> Any:
    return table.loc[kept, ["y_px", "x_px"]].to_numpy()


@pytest.mark.parametrize("number", [30, 80])
@pytest.mark.parametrize(
    ("setting", "low", "high", "line"), [(SCORE, 0.3, 0.95, 0.7), (CONTRAST, 3.0, 60.0, 15.0)]
)
def test_the_line_that_was_drawn_is_found(
    number: int, setting: str, low: float, high: float, line: float
) -> None:
    rng = np.random.default_rng(number)
    values = np.exp(rng.uniform(np.log(low), np.log(high), number))
    table = field(number, rng, **{"score" if setting == SCORE else "contrast": values})
    choice = choose_line([compare("", table, marks_of(table, values >= line), Settings(puncta_score=0.3))])
    assert choice.setting == setting
    assert choice.better
    assert choice.value == pytest.approx(line, rel=0.25)
    assert choice.between[0] <= choice.value <= choice.between[1]
    assert choice.chosen.f1 > choice.before.f1 + 0.05
    assert choice.chosen.count_error <= 0.2 < choice.before.count_error


def test_ten_marks_where_the_line_is_do_not_move_it_far() -> None:
    """A person and the program agree but for a tenth of the puncta: nine of ten times that is chance."""
    far = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        table = field(16, rng, score=rng.uniform(0.2, 0.95, 16), contrast=2 ** rng.uniform(1.5, 5, 16))
        meant = (table["score"] >= 0.5).to_numpy() ^ (rng.random(16) < 0.1)
        choice = choose_line([compare("", table, marks_of(table, meant), Settings())])
        moved = choice.better and choice.setting == SCORE
        far.append(abs(choice.value - 0.5) if moved else 0.0)
    assert np.median(far) <= 0.06
    assert max(far) <= 0.25


@settings(max_examples=30)
@given(st.integers(0, 1000))
def test_marks_of_what_is_found_keep_the_settings(seed: int) -> None:
    rng = np.random.default_rng(seed)
    number = int(rng.integers(5, 60))
    table = field(number, rng, score=rng.uniform(0.1, 1, number), contrast=2 ** rng.uniform(1, 6, number))
    kept = (table["score"] >= 0.5).to_numpy()
    if kept.any():
        assert not choose_line([compare("", table, marks_of(table, kept), Settings())]).better


def compared(seed: int) -> Marked:
    rng = np.random.default_rng(seed)
    number = int(rng.integers(5, 40))
    table = field(number, rng, score=rng.uniform(0.1, 1, number), contrast=2 ** rng.uniform(1, 6, number))
    wanted = rng.random(number) < table["score"].to_numpy()
    return compare(f"{seed}", table, marks_of(table, wanted), Settings())


@settings(max_examples=15)
@given(
    st.lists(st.integers(0, 300), min_size=1, max_size=FEW_IMAGES + 1, unique=True),
    st.randoms(use_true_random=False),
)
def test_the_order_of_images_and_marks_changes_nothing(seeds: list[int], random: Any) -> None:
    images = [compared(seed) for seed in seeds]
    if not sum(int(each.counts[0, 0]) for each in images):
        return
    mixed = [
        Marked(each.name, each.items[np.random.default_rng(1).permutation(len(each.items))])
        for each in images
    ]
    random.shuffle(mixed)
    one, other = choose_line(images), choose_line(mixed)
    assert (one.setting, one.value, one.between) == (other.setting, other.value, other.between)
    assert one.gain == pytest.approx(other.gain, abs=1e-9)
    assert 0 <= one.chosen.agreement <= one.chosen.f1 <= 1


def test_an_image_without_anything_changes_nothing() -> None:
    nothing = Marked("", np.zeros((0, LINES, 3), np.uint8))
    some = compared(3)
    assert choose_line([some, nothing]).value == choose_line([some]).value
    assert choose_line([some, nothing, nothing]).images == 3
