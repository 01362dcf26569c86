from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_tam.puncta.selection import KEPT, REASONS, false_share, reasons, select, threshold_for
from napari_tam.puncta.threshold import LOWEST, Threshold
from napari_tam.settings import Settings


def candidates(**columns: list[object]) -> pd.DataFrame:
    count = len(next(iter(columns.values())))
    usual: dict[str, list[object]] = {
        "score": [0.9] * count,
        "contrast": [20.0] * count,
        "snr": [10.0] * count,
        "reason": [KEPT] * count,
    }
    return pd.DataFrame(usual | columns)


def test_every_candidate_has_the_first_reason_that_applies() -> None:
    table = candidates(
        score=[0.9, 0.4, 0.9, 0.9, 0.9, 0.4],
        contrast=[20, 3, 3, 20, 20, 20],
        snr=[10, 1, 1, 1, 10, 10],
        reason=[KEPT, KEPT, KEPT, KEPT, "flank", "hot pixel"],
    )
    settings = Settings(puncta_min_snr=5)
    found = reasons(table, settings, Threshold(8.0)).tolist()
    assert found == [KEPT, "score", "contrast", "snr", "flank", "hot pixel"]
    assert set(found) == {KEPT, *REASONS}
    kept = select(table, settings, Threshold(8.0))
    assert len(kept) == 1
    assert "reason" not in kept


def test_the_lowest_threshold_keeps_what_has_no_contrast_at_all() -> None:
    table = candidates(contrast=[-5.0, 0.5, 3.0])
    assert len(select(table, Settings(puncta_threshold=1))) == 3
    assert len(select(table, Settings(puncta_threshold=2))) == 1


def test_a_threshold_of_the_settings_comes_first() -> None:
    rng = np.random.default_rng(0)
    both = np.exp2(np.concatenate([rng.normal(2.3, 0.3, 200), rng.normal(4.5, 0.6, 300)]))
    table = candidates(contrast=list(both), score=[0.8] * 500)
    assert threshold_for(table, Settings()).rule == "populations"
    assert threshold_for(table.assign(score=0.99), Settings()).rule == "none"  # the fainter ones are clear
    found = threshold_for(table, Settings(puncta_threshold=30))
    assert (found.value, found.rule) == (30, "given")
    # What is left out for another reason has no say.
    assert threshold_for(table.assign(reason="flank"), Settings()).value == LOWEST
    assert threshold_for(table.assign(score=0.3), Settings()).value == LOWEST


@pytest.mark.parametrize(("scores", "share"), [([1.0, 1.0], 0.0), ([0.5, 0.7], 0.4), ([0.9], 0.1)])
def test_the_false_share_is_what_the_scores_leave(scores: list[float], share: float) -> None:
    assert false_share(pd.DataFrame({"score": scores})) == pytest.approx(share)


def test_no_puncta_have_no_false_share() -> None:
    assert np.isnan(false_share(pd.DataFrame({"score": []})))


@pytest.mark.parametrize("text", ["auto", None])
def test_auto_is_unset_in_a_file(text: str | None) -> None:
    assert Settings.from_values({"puncta_threshold": text}).puncta_threshold is None


def test_reasons_are_words_and_name_no_setting() -> None:
    assert not [text for text in REASONS.values() if any(name in text for name in Settings.model_fields)]
