from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import fakes
import numpy as np
import pytest
from phenotypes import untrained
from recorder import field, recording

from napari_tam.phenotype.classify import ModelClassifier
from napari_tam.pipeline.edits import Edits
from napari_tam.pipeline.rerun import KEEPABLE, kept_steps, steps_of
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
