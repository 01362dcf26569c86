from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import fakes
import numpy as np
import pandas as pd
import pytest
from flow_images import spots_image
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from recorder import ROLES, field, recording

from napari_tam.columns import CELL_COLUMNS, PUNCTA_COLUMNS
from napari_tam.errors import InputError
from napari_tam.io.field import Field
from napari_tam.networks import threads
from napari_tam.pipeline.analysis import Analysis
from napari_tam.pipeline.runner import run, run_steps
from napari_tam.pipeline.steps import STEPS
from napari_tam.progress import Progress
from napari_tam.puncta.detect import LogDetector
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from napari_tam.segment.segmenter import Segmentation

FEW = limits(max_examples=10, deadline=None)
SETTINGS = Settings()


def test_each_step_is_announced_before_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cores", lambda: 1)  # with more, one is begun before its turn
    made, calls = recording()
    generator = run_steps(field(), SETTINGS, made)
    seen = []
    for expected_calls in (0, 0, 1, 2, 3):
        seen.append(next(generator))
        assert len(calls) == expected_calls
    with pytest.raises(StopIteration) as stop:
        while True:
            seen.append(next(generator))
    assert seen == [Progress(step, number, len(STEPS)) for number, step in enumerate(STEPS)]
    assert [name for name, _ in calls] == ["nuclei", "cells", "puncta"]
    assert isinstance(stop.value.value, Analysis)
    assert list(stop.value.value.seconds) == list(STEPS)
    assert all(seconds >= 0 for seconds in stop.value.value.seconds.values())


def test_every_network_gets_its_channel_and_diameter() -> None:
    made, calls = recording()
    chosen = Settings(cell_diameter_um=21, nucleus_diameter_um=8)
    image = field()
    run(image, chosen, made)
    given_to = dict(calls)
    cell, nucleus, exosome = (image.channels[role] for role in ROLES)
    assert given_to["cells"][0] is cell
    assert given_to["cells"][1] is nucleus
    assert given_to["cells"][2:5] == (fakes.PIXEL_UM, 21, chosen)
    assert given_to["cells"][5].max() == len(fakes.CELLS)  # the nuclei, to help
    assert given_to["nuclei"][0] is nucleus
    assert given_to["nuclei"][1:] == (None, fakes.PIXEL_UM, 8, chosen)
    assert given_to["puncta"][0] is exosome
    assert given_to["puncta"][1:] == (fakes.PIXEL_UM, chosen)


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        (("cell", "nucleus"), "a field: no channel for the role exosome"),
        (("nucleus", "exosome"), "a field: no channel for the role cell"),
        (("nucleus",), "a field: no channel for the role cell and exosome"),
    ],
)
def test_a_missing_role_is_an_input_error_before_anything_runs(roles: tuple[str, ...], message: str) -> None:
    made, calls = recording()
    with pytest.raises(InputError, match=message) as caught:
        next(run_steps(field(roles=roles), SETTINGS, made))
    assert "--channels" in str(caught.value)
    assert not calls


def test_without_a_nuclear_stain_the_cells_are_analysed_all_the_same() -> None:
    made, calls = recording()
    analysis = run(field(roles=("cell", "exosome")), SETTINGS, made)
    assert analysis.nuclei is None
    given_to = dict(calls)
    assert sorted(given_to) == ["cells", "puncta"]
    assert given_to["cells"][1] is None
    assert len(analysis.table) == 3
    assert list(analysis.seconds) == list(STEPS)


def test_the_analysis_counts_what_is_in_the_image() -> None:
    analysis = run(field(), SETTINGS, fakes.models())
    assert analysis.table["label"].tolist() == [1, 2, 3]
    assert analysis.table["puncta_count"].tolist() == [2, 1, 0]
    owners = dict(zip(fakes.SPOTS, fakes.CELL_OF_SPOT, strict=True))
    places = zip(analysis.puncta["y_px"], analysis.puncta["x_px"], strict=True)
    assert analysis.puncta["label"].tolist() == [owners[place] for place in places]
    assert analysis.summary["cells"] == 3
    assert analysis.summary["cell_diameter_um"] == 16.0
    assert analysis.field.name == "a field"
    assert analysis.settings is SETTINGS


def test_an_empty_image_is_a_result_with_complete_tables() -> None:
    analysis = run(field(fakes.image((), cells=False)), SETTINGS, fakes.models())
    assert not analysis.cells.any()
    assert analysis.table.empty
    assert analysis.puncta.empty
    full = run(field(), SETTINGS, fakes.models())
    assert list(analysis.table) == list(full.table)
    assert list(analysis.table)[: len(CELL_COLUMNS)] == [column.name for column in CELL_COLUMNS]
    assert set(analysis.puncta) >= {column.name for column in PUNCTA_COLUMNS}
    assert analysis.summary["cells"] == 0


@FEW
@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 15)), max_size=25, unique=True))
def test_every_punctum_is_counted_once_in_a_cell_or_outside(places: list[tuple[int, int]]) -> None:
    spots = [(8.0 * y + 4, 8.0 * x + 4) for y, x in places]
    analysis = run(field(fakes.image(spots)), SETTINGS, fakes.models())
    labels = analysis.cells[analysis.puncta["y_px"].astype(int), analysis.puncta["x_px"].astype(int)]
    assert len(analysis.puncta) == len(spots)
    assert analysis.puncta["label"].tolist() == labels.tolist()
    outside = int((labels == 0).sum())
    assert analysis.table["puncta_count"].sum() + outside == len(spots)
    assert analysis.summary["puncta"] == len(spots)
    assert analysis.summary["puncta_outside"] == outside
    inside = analysis.puncta.loc[analysis.puncta["label"] > 0, "intensity"].sum()
    assert analysis.table["puncta_intensity_sum"].sum() == pytest.approx(inside)


@FEW
@given(st.floats(0.2, 5), st.integers(0, 100))
def test_exposure_scales_the_intensities_and_leaves_the_counts(gain: float, seed: int) -> None:
    spots = [(y, x, fakes.AMPLITUDE, fakes.SIGMA) for y, x in fakes.SPOTS]
    data = fakes.image().astype(np.float32)
    data[2] = spots_image(fakes.SHAPE, spots, noise=5, seed=seed)
    one, other = (
        run(
            field(np.stack([*data[:2], exposure * data[2]])),
            SETTINGS,
            replace(fakes.models(), puncta=LogDetector()),
        )
        for exposure in (np.float32(1), np.float32(gain))
    )
    assert one.table["puncta_count"].tolist() == other.table["puncta_count"].tolist() == [2, 1, 0]
    for column in ("puncta_intensity_sum", "exosome_mean"):
        assert other.table[column].to_numpy() == pytest.approx(gain * one.table[column].to_numpy(), rel=0.02)


@FEW
@given(st.permutations([1, 2, 3]))
def test_the_numbers_of_the_cells_change_nothing_but_the_order(numbers: list[int]) -> None:
    class Renumbered(fakes.ThresholdSegmenter):
        def segment(self, *given: Any, **named: Any) -> Segmentation:
            found = super().segment(*given, **named)
            return replace(found, labels=np.array([0, *numbers], np.uint16)[found.labels])

    one = run(field(), SETTINGS, fakes.models()).table
    other = run(field(), SETTINGS, fakes.models(Renumbered())).table
    order = [other.index[other["label"] == number][0] for number in numbers]
    moved = other.loc[order].reset_index(drop=True)
    pd.testing.assert_frame_equal(moved.drop(columns="label"), one.drop(columns="label"))


def test_turning_the_image_changes_no_count() -> None:
    data = fakes.image()
    one = run(field(data), SETTINGS, fakes.models())
    other = run(field(np.ascontiguousarray(np.rot90(data, axes=(1, 2)))), SETTINGS, fakes.models())
    for column in ("puncta_count", "area_um2"):
        assert sorted(one.table[column]) == pytest.approx(sorted(other.table[column]))
    assert one.summary["puncta_outside"] == other.summary["puncta_outside"]


def test_an_abandoned_analysis_goes_no_further() -> None:
    made, calls = recording()
    generator = run_steps(field(), SETTINGS, made)
    next(generator)
    next(generator)
    next(generator)
    generator.close()
    assert {name for name, _ in calls} - {"puncta"} == {"nuclei"}  # puncta may have been begun beside


def test_the_image_is_left_as_it_was() -> None:
    data = fakes.image()
    before = data.copy()
    run(field(data), SETTINGS, fakes.models())
    assert np.array_equal(data, before)


def test_a_volume_goes_the_same_way_and_is_called_by_its_projection() -> None:
    volume = Field("a stack", dict(zip(ROLES, fakes.stack(), strict=True)), fakes.PIXEL_UM, z_step_um=0.6)
    seen: list[tuple[int, ...]] = []

    class Classifier:
        classes = ("M1", "M2")

        def classify(
            self, flat: Field, cells: np.ndarray, nuclei: np.ndarray, table: pd.DataFrame, *_: Any
        ) -> pd.DataFrame:
            seen.extend([flat.channels["cell"].shape, cells.shape, nuclei.shape])
            names = {"phenotype": "uncertain", "phenotype_reason": "", "p_m1": 0.5, "p_m2": 0.5}
            return pd.DataFrame(names, index=table.index)

    analysis = run(volume, SETTINGS, replace(fakes.models(), phenotype=Classifier()))
    assert seen == [fakes.SHAPE] * 3
    assert analysis.cells.shape == (7, *fakes.SHAPE)
    assert len(analysis.table) == 3
    assert sorted(analysis.table["puncta_count"]) == [0, 1, 2]
    puncta = analysis.puncta
    assert puncta["z_px"].to_numpy() == pytest.approx(3, abs=0.1)
    assert (analysis.summary["puncta_in_cells"], analysis.summary["puncta_outside"]) == (3, 1)
    assert list(analysis.seconds) == list(STEPS)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [(16.0, False), (24.0, False), (11.0, False), (27.0, True), (8.0, True), (None, False)],
)
def test_cells_far_from_the_diameter_that_they_were_looked_for_with_are_noted(
    wanted: float | None, said: bool
) -> None:
    class Given(fakes.ThresholdSegmenter):
        def segment(
            self, image: Any, second: Any, pixel: float, um: float | None, *more: Any
        ) -> Segmentation:
            return replace(super().segment(image, second, pixel, um, *more), diameter_um=um or 16.0)

    once = field()
    twice = replace(once, channels={role: np.tile(plane, (1, 2)) for role, plane in once.channels.items()})
    analysis = run(twice, Settings(cell_diameter_um=wanted), fakes.models(Given()))
    assert len(analysis.table) == 6
    assert ("the cells found are 16 µm across" in str(analysis.summary["notes"])) is said
