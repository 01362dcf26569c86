from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import fakes
import numpy as np
import pandas as pd
import pytest
from phenotypes import untrained
from recorder import field, recording

from napari_tam.phenotype.classify import ModelClassifier
from napari_tam.phenotype.remembering import RememberingClassifier
from napari_tam.pipeline.edits import Edits
from napari_tam.pipeline.rerun import KEEPABLE, kept_steps, only_measured, steps_of
from napari_tam.pipeline.runner import run, run_steps
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from napari_tam.pipeline.analysis import Analysis


def rerun(first: Analysis, image: Any, settings: Settings, models: Any, edits: Edits | None = None) -> Any:
    generator = run_steps(image, settings, models, first, edits)
    announced = []
    while True:
        try:
            announced.append(next(generator).step)
        except StopIteration as stop:
            return stop.value, announced


def test_every_setting_enters_known_steps() -> None:
    for name in Settings.model_fields:
        assert set(steps_of(name)) <= set(KEEPABLE)
    assert steps_of("puncta_score") == ()
    assert steps_of("nucleus_diameter_um") == ("nuclei", "cells", "classify")
    assert steps_of("pixel_size_um") == KEEPABLE


def test_a_moved_threshold_enters_no_network_and_gives_what_a_full_run_gives() -> None:
    made, calls = recording()
    image = field()
    first = run(image, Settings(), made)
    calls.clear()
    settings = Settings(puncta_min_snr=60)
    second, announced = rerun(first, image, settings, made)
    assert calls == []
    assert announced == ["measure"] if made.phenotype is None else ["measure", "classify"]
    assert len(second.puncta) == 0 < len(first.puncta)
    full = run(image, settings, made)
    assert second.table.equals(full.table)
    back, _ = rerun(second, image, Settings(), made)
    assert back.table.equals(first.table)
    assert back.puncta.equals(first.puncta)


def test_a_moved_diameter_enters_its_own_network_only() -> None:
    made, calls = recording()
    image = field()
    first = run(image, Settings(), made)
    calls.clear()
    rerun(first, image, Settings(nucleus_diameter_um=5), made)
    assert [name for name, _ in calls] == ["nuclei", "cells"]  # which the nuclei help
    calls.clear()
    rerun(first, image, Settings(cell_diameter_um=15), made)
    assert [name for name, _ in calls] == ["cells"]


def test_another_image_is_analysed_anew() -> None:
    made, calls = recording()
    first = run(field(), Settings(), made)
    calls.clear()
    rerun(first, field(), Settings(), made)
    assert sorted(name for name, _ in calls) == ["cells", "nuclei", "puncta"]


def test_a_view_of_the_same_pixels_is_the_same_image() -> None:
    stack = fakes.image()
    first = run(field(stack), Settings(), fakes.models())
    assert kept_steps(first, field(stack), Settings(), None, first.edits) == frozenset(KEEPABLE)


def test_another_classifier_classifies_anew_and_finds_the_same_cells() -> None:
    made, calls = recording()
    with_model = replace(made, phenotype=ModelClassifier(untrained()))
    image = field()
    first = run(image, Settings(), with_model)
    calls.clear()
    _, announced = rerun(first, image, Settings(), with_model)
    assert announced == ["measure"]
    other = replace(made, phenotype=ModelClassifier(untrained(("A", "B"))))
    second, announced = rerun(first, image, Settings(), other)
    assert announced == ["measure", "classify"]
    assert {"p_a", "p_b"} <= set(second.table)
    assert "p_m1" not in second.table
    assert calls == []


def test_corrected_masks_are_measured_and_not_segmented_again() -> None:
    made, calls = recording()
    image = field()
    first = run(image, Settings(), made)
    calls.clear()
    cells = first.cells.copy()
    cells[cells == 2] = 0
    edits = Edits(cells=cells)
    second, _ = rerun(first, image, Settings(), made, edits)
    assert calls == []
    assert second.table["label"].tolist() == [1, 3]
    assert "cells corrected by hand" in second.summary["notes"]
    # ... nor when a setting of the segmentation moves
    third, _ = rerun(second, image, Settings(cell_diameter_um=9), made, edits)
    np.testing.assert_array_equal(third.cells, cells)
    assert calls == []
    # without the corrections it is segmented
    fourth, _ = rerun(third, image, Settings(), made)
    assert [name for name, _ in calls] == ["cells"]
    assert fourth.table.equals(first.table)


@pytest.mark.parametrize("threshold", [3, 60])
def test_added_and_removed_puncta_survive_a_moved_threshold(threshold: float) -> None:
    image = field()
    first = run(image, Settings(), fakes.models())
    at = first.puncta[["y_px", "x_px"]].to_numpy()
    edits = Edits(added=np.array([[70.0, 60.0]]), removed=at[:1])
    second, _ = rerun(first, image, Settings(puncta_min_snr=threshold), fakes.models(), edits)
    left = [] if threshold == 60 else at[1:].tolist()
    assert second.puncta[["y_px", "x_px"]].to_numpy().tolist() == [*left, [70.0, 60.0]]
    assert second.puncta["label"].iloc[-1] == 3


def test_one_correction_after_another_gives_what_an_analysis_with_all_of_them_gives() -> None:
    made, calls = recording()
    plain = replace(made, phenotype=ModelClassifier(untrained()))
    quick = replace(made, phenotype=RememberingClassifier(untrained()))
    image = field()
    known = run(image, Settings(), quick)
    assert known.nuclei is not None
    cells, nuclei = known.cells.copy(), known.nuclei.copy()
    edits = Edits()
    for step in ("delete", "grow", "nucleus", "punctum"):
        if step == "delete":
            cells = np.where(cells == 2, 0, cells)
        elif step == "grow":
            rows, columns = np.nonzero(cells == 1)
            cells = cells.copy()
            cells[rows.min() : rows.max() + 3, columns.min() : columns.max() + 2] = 1
        elif step == "nucleus":
            nuclei = np.where(nuclei == 1, 0, nuclei)
        else:
            edits = replace(edits, added=np.array([[70.0, 60.0]]))
        edits = replace(edits, cells=cells, nuclei=nuclei)
        calls.clear()
        assert only_measured(known, image, Settings(), quick.phenotype, edits)
        known, _ = rerun(known, image, Settings(), quick, edits)
        assert calls == []
        whole = run_with(image, plain, edits)
        pd.testing.assert_frame_equal(known.table, whole.table, rtol=1e-6)
        measured = [name for name in whole.table if not name.startswith("p_")]
        assert known.table[measured].equals(whole.table[measured])
        assert known.puncta.equals(whole.puncta)
        for name, value in whole.summary.items():
            close = pytest.approx(value, rel=1e-6, nan_ok=True) if isinstance(value, float) else value
            assert known.summary[name] == close, name


def run_with(image: Any, models: Any, edits: Edits) -> Analysis:
    generator = run_steps(image, Settings(), models, None, edits)
    while True:
        try:
            next(generator)
        except StopIteration as stop:
            analysis: Analysis = stop.value
            return analysis


def test_more_than_measuring_is_told_apart() -> None:
    made, _ = recording()
    image = field()
    first = run(image, Settings(), made)
    cells = Edits(cells=first.cells.copy())
    assert only_measured(first, image, Settings(), None, cells)
    assert not only_measured(first, image, Settings(cell_diameter_um=9), object(), cells)
    assert not only_measured(first, image, Settings(spot_sigma_um=0.3), None, cells)
    assert not only_measured(replace(first, measured=None), image, Settings(), None, cells)
    second, _ = rerun(first, image, Settings(), made, cells)
    assert not only_measured(second, image, Settings(), None, Edits())  # discarded: they are segmented again
    marked = replace(image, channels={**image.channels, "lysosome": image.channels["exosome"]})
    assert not only_measured(run(marked, Settings(), made), marked, Settings(), None, cells)
