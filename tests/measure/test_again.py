"""A field that is measured again after corrections has the tables of one that is measured anew."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_images import QUICK, disc

from napari_tam.edit import add, delete, grow, merge, shrink
from napari_tam.errors import InputError
from napari_tam.io.field import Field
from napari_tam.measure.again import measure_again
from napari_tam.measure.cells import Tables, measure_field
from napari_tam.measure.local import Around
from napari_tam.settings import Settings
from napari_tam.simulate.parameters import SceneParameters
from napari_tam.simulate.scene import Scene

SETTINGS = Settings()
PIXEL_UM = 0.65
EDITS = ("merge", "split", "delete", "add", "grow", "shrink", "nucleus", "punctum", "far", "nothing")

Labels = npt.NDArray[Any]
State = tuple[Labels, Labels, pd.DataFrame]


def scene(seed: int) -> Scene:
    parameters = SceneParameters(shape=(220, 260), pixel_size_um=PIXEL_UM, cells_per_field=14)
    return Scene.draw(parameters, seed)


def field_of(drawn: Scene, kind: str) -> Field:
    """Return a simulated field with 16-bit channels, or floating-point ones as after a correction."""
    image = drawn.image if kind == "integers" else drawn.image.astype(np.float32) * np.float32(1.0137) - 3
    return Field("field", dict(zip(("cell", "nucleus", "exosome"), image, strict=True)), PIXEL_UM)


def spots_of(drawn: Scene, rng: np.random.Generator) -> pd.DataFrame:
    count = 150
    y, x = (rng.uniform(-0.5, n - 0.5, count) for n in drawn.cells.shape)
    numbers = {name: rng.uniform(1, 50, count) for name in ("intensity", "width_um", "snr")}
    return pd.DataFrame({"y_px": y, "x_px": x, "score": 0.9, **numbers, "reason": "kept"})


def edited(edit: str, state: State, rng: np.random.Generator) -> State:
    """Correct something at random; an edit that is not possible changes nothing."""
    cells, nuclei, spots = state
    present = np.unique(cells)[1:]
    some = rng.permutation(present)[:2].tolist()
    height, width = cells.shape
    y, x = rng.integers(0, height), rng.integers(0, width)
    new = int(cells.max()) + 1
    cells = cells.copy()
    try:
        if edit == "split" and some:
            rows, columns = np.nonzero(cells == some[0])
            beyond = columns > columns.mean() if rng.random() < 0.5 else rows > rows.mean()
            cells[rows[beyond], columns[beyond]] = new
        elif edit == "nucleus":
            nuclei = nuclei.copy()
            nuclei[disc(cells.shape, y, x, rng.choice([9, 40]))] = rng.choice(
                [0, int(nuclei.max()) + 1, int(nuclei.max())]
            )
        elif edit == "punctum":
            more = spots.iloc[:3].assign(y_px=spots["y_px"][:3] * 0.93, x_px=float(x))
            kept = spots[rng.random(len(spots)) > 0.05]
            spots = pd.concat([kept, more], ignore_index=True)
        elif edit == "far":  # a cell that is in two pieces, at two ends of the image
            cells[2:9, 3:12] = cells[-9:, -8:] = rng.choice([0, new, *some])
        elif edit == "add":
            top, left = max(y - 9, 0), max(x - 9, 0)
            mask = disc((18, 18), 9, 9, 8)[: height - top, : width - left]
            patch = add(cells, (slice(top, top + 18), slice(left, left + 18)), mask, new)
            return put(cells, patch), nuclei, spots
        elif edit in ("merge", "delete", "grow", "shrink"):
            do = {"merge": merge, "delete": delete, "grow": grow, "shrink": shrink}[edit]
            return put(cells, do(cells, some)), nuclei, spots
    except InputError:
        pass
    return cells, nuclei, spots


def put(cells: Labels, patch: Any) -> Labels:
    where, values = patch.changes(cells)
    cells[where] = values
    return cells


def assert_same(again: Tables, whole: Tables) -> None:
    pd.testing.assert_frame_equal(again.table, whole.table, check_exact=True)
    pd.testing.assert_frame_equal(again.puncta, whole.puncta, check_exact=True)
    assert list(again.summary) == list(whole.summary)
    np.testing.assert_equal(again.summary, whole.summary)
    for name, level in whole.measured.levels.items():
        np.testing.assert_equal(again.measured.levels[name].median, level.median)


@QUICK
@given(
    st.integers(0, 30),
    st.sampled_from(["integers", "floats"]),
    st.lists(st.lists(st.sampled_from(EDITS), min_size=1, max_size=3), min_size=1, max_size=4),
)
def test_corrections_in_any_order_give_the_tables_of_a_whole_measurement(
    seed: int, kind: str, steps: list[list[str]]
) -> None:
    rng, drawn = np.random.default_rng(seed), scene(seed)
    field = field_of(drawn, kind)
    state = drawn.cells, drawn.nuclei, spots_of(drawn, rng)
    known = measure_field(field, *state, SETTINGS)
    for edits in steps:
        for edit in edits:
            state = edited(edit, state, rng)
        known = measure_field(field, *state, SETTINGS, earlier=known.measured)
        assert_same(known, measure_field(field, *state, SETTINGS))


@pytest.mark.parametrize("kind", ["integers", "floats"])
def test_of_an_image_without_nuclei_and_of_no_cells(kind: str) -> None:
    drawn = scene(3)
    field, spots = field_of(drawn, kind), spots_of(drawn, np.random.default_rng(3))
    nothing = np.zeros_like(drawn.cells)
    known = measure_field(field, drawn.cells, None, spots, SETTINGS)
    for cells in (nothing, drawn.cells, np.ones_like(drawn.cells)):
        known = measure_field(field, cells, None, spots, SETTINGS, earlier=known.measured)
        assert_same(known, measure_field(field, cells, None, spots, SETTINGS))


@pytest.mark.parametrize("role", ["lysosome", "marker_CD86"])
def test_columns_that_depend_on_all_cells_are_those_of_a_whole_measurement(role: str) -> None:
    drawn = scene(4)
    field, spots = field_of(drawn, "integers"), spots_of(drawn, np.random.default_rng(4))
    field.channels[role] = drawn.image[2].copy()
    known = measure_field(field, drawn.cells, drawn.nuclei, spots, SETTINGS)
    cells = np.where(drawn.cells == 2, 0, drawn.cells)
    known = measure_field(field, cells, drawn.nuclei, spots, SETTINGS, earlier=known.measured)
    assert_same(known, measure_field(field, cells, drawn.nuclei, spots, SETTINGS))


def test_only_a_part_of_the_image_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = scene(5)
    spots = spots_of(drawn, np.random.default_rng(5))
    known = measure_field(field_of(drawn, "integers"), drawn.cells, drawn.nuclei, spots, SETTINGS).measured
    looked: list[int] = []
    of = Around.of

    def counted(cells: Labels, *given: Any) -> Around:
        looked.append(cells.size)
        return of(cells, *given)

    monkeypatch.setattr(Around, "of", counted)
    y, x = known.y, known.x
    measure_again(known, drawn.cells.copy(), drawn.nuclei.copy(), y, x)
    assert looked == []
    measure_again(known, np.where(drawn.cells == 2, 0, drawn.cells), drawn.nuclei, y, x)
    assert len(looked) == 1
    assert looked[0] < 0.6 * drawn.cells.size
