"""The picture of a result: everything in its place and colour, at any size."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import cv2
import fakes
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from napari_tam.io.field import Field
from napari_tam.pipeline.analysis import Analysis
from napari_tam.results.overlay import (
    CELL_OUTLINE,
    INSIDE,
    NUCLEUS_OUTLINE,
    OUTSIDE,
    composite,
    encode_png,
    overlay,
    scale_bar_um,
)
from napari_tam.settings import Settings


def analysis_of(
    data: npt.NDArray[Any],
    cells: npt.NDArray[Any],
    nuclei: npt.NDArray[Any] | None,
    puncta: list[tuple[float, float, int]],
) -> Analysis:
    roles = ("cell", "nucleus", "exosome")
    field = Field("a", dict(zip(roles, data, strict=True)), 0.5)
    table = pd.DataFrame(puncta, columns=["y_px", "x_px", "label"])
    return Analysis(field, Settings(), cells, nuclei, pd.DataFrame(), table, {}, {})


def is_colour(picture: npt.NDArray[Any], colour: tuple[int, int, int]) -> npt.NDArray[np.bool_]:
    # smooth lines are not quite of their colour
    return np.asarray((np.abs(picture.astype(int) - colour) < 60).all(axis=-1))


def test_outlines_lie_on_the_edges_of_cells_and_nuclei() -> None:
    cells, nuclei = np.zeros((2, 600, 700), np.uint16)
    cells[100:200, 300:500], cells[200:300, 300:500] = 1, 2
    nuclei[120:150, 320:350] = 1
    picture = overlay(analysis_of(np.zeros((3, 600, 700), np.uint16), cells, nuclei, []), numbers=False)
    yellow, blue = is_colour(picture, CELL_OUTLINE), is_colour(picture, NUCLEUS_OUTLINE)
    assert yellow[100, 300:500].all()
    assert yellow[199:201, 300:500].all()  # where the two touch
    assert yellow[100:300, [300, 499]].all()
    assert yellow.sum() == 2 * (2 * 200 + 2 * 98)
    assert blue[[120, 149], 320:350].all()
    assert blue.sum() == 4 * 29


def test_puncta_inside_and_outside_have_their_own_colour_and_place() -> None:
    empty = np.zeros((600, 700), np.uint16)
    picture = overlay(analysis_of(np.zeros((3, 600, 700)), empty, None, [(100, 200, 3), (300, 150, 0)]))
    for colour, y, x in ((INSIDE, 100, 200), (OUTSIDE, 300, 150)):
        rows, columns = np.nonzero(is_colour(picture, colour)[:500])
        assert (rows.mean(), columns.mean()) == pytest.approx((y, x), abs=0.3)
        assert 6 <= np.ptp(rows) <= 10  # a ring of about 4 px radius
        assert not is_colour(picture, colour)[y, x]  # open: the punctum itself is seen


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((768, 1024), (768, 1024)),
        ((2048, 2048), (1536, 1536)),
        ((1000, 4000), (384, 1536)),
        ((96, 128), (384, 512)),
    ],
)
def test_the_picture_has_a_size_for_reading(shape: tuple[int, int], expected: tuple[int, int]) -> None:
    cells = np.zeros(shape, np.uint16)
    data = np.zeros((3, *shape), np.uint8)
    assert overlay(analysis_of(data, cells, None, [])).shape == (*expected, 3)


def test_marks_follow_their_place_when_the_picture_is_made_smaller() -> None:
    cells = np.zeros((3072, 3072), np.uint32)
    cells[1000:1400, 2000:2400] = 70_000
    picture = overlay(
        analysis_of(np.zeros((3, 3072, 3072), np.uint8), cells, None, [(500.5, 700.5, 1)]), numbers=False
    )
    rows, columns = np.nonzero(is_colour(picture, CELL_OUTLINE))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (500, 699, 1000, 1199)
    rows, columns = np.nonzero(is_colour(picture, INSIDE)[:600, :600])
    assert (rows.mean(), columns.mean()) == pytest.approx((250, 350), abs=0.3)


def test_each_channel_has_its_colour() -> None:
    data = np.zeros((3, 90, 90), np.uint16)
    for role in range(3):
        data[role, :, 30 * role : 30 * role + 20] = 1000
    roles = ("cell", "nucleus", "exosome")
    picture = composite(Field("a", dict(zip(roles, data, strict=True)), 1.0), (90, 90)).astype(int)
    grey, blue, magenta, black = (picture[45, x] for x in (10, 40, 70, 85))
    assert grey.min() == grey.max() > 100
    assert blue.argmax() == 2
    assert blue[0] == 0
    assert magenta[0] == 255
    assert magenta[1] == 0
    assert black.max() == 0


@pytest.mark.parametrize("dtype", [np.uint8, ">u2", np.uint32, np.int16, np.float32, np.float64])
@pytest.mark.parametrize(
    ("height", "tolerance"),
    [(600, 0), pytest.param(1700, 1, id="made smaller, which rounds integers")],
)
def test_any_pixel_type_gives_the_same_picture(dtype: Any, height: int, tolerance: int) -> None:
    values = np.random.default_rng(0).integers(0, 200, (3, height, 500))
    cells = np.zeros((height, 500), np.uint16)
    pictures = [overlay(analysis_of(values.astype(kind), cells, None, [])) for kind in (np.uint16, dtype)]
    assert np.abs(pictures[0].astype(int) - pictures[1]).mean() <= tolerance


def test_a_constant_or_missing_channel_is_black_and_no_error() -> None:
    field = Field("a", {"cell": np.full((50, 50), 7, np.uint8), "exosome": np.zeros((50, 50))}, 1.0)
    assert composite(field, (50, 50)).max() == 0


@pytest.mark.parametrize(
    ("width_um", "bar"), [(333.0, 50.0), (80.0, 20.0), (79.0, 10.0), (40.0, 10.0), (4.0, 1.0), (0.5, 0.1)]
)
def test_the_scale_bar_is_a_round_length_of_at_most_a_quarter(width_um: float, bar: float) -> None:
    assert scale_bar_um(width_um) == pytest.approx(bar)


def test_the_scale_bar_is_as_long_as_it_says() -> None:
    cells = np.zeros((768, 1024), np.uint16)
    picture = overlay(analysis_of(np.zeros((3, 768, 1024), np.uint8), cells, None, []))
    white = is_colour(picture, (255, 255, 255))
    longest = max(len(run) for row in white for run in "".join("x" if w else " " for w in row).split())
    assert longest * 0.5 == scale_bar_um(1024 * 0.5) == 100


def test_the_png_holds_the_picture() -> None:
    cells = fakes.discs(fakes.RADIUS)
    picture = overlay(analysis_of(fakes.image(), cells, fakes.discs(5), [(20, 26, 1)]))
    read = cv2.imdecode(np.frombuffer(encode_png(picture), np.uint8), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(read, picture)


@pytest.mark.parametrize(("side", "written"), [(100, True), (12, False)])
def test_numbers_are_written_in_large_cells_only(side: int, written: bool) -> None:
    cells = np.zeros((600, 600), np.uint16)
    cells[100 : 100 + side, 100 : 100 + side] = 7
    result = analysis_of(np.zeros((3, 600, 600), np.uint8), cells, None, [])
    changed = (overlay(result) != overlay(result, numbers=False)).any(axis=-1)
    assert changed.any() == written
    assert not changed[cells == 0].any()


def test_a_large_field_is_drawn_at_once() -> None:
    random = np.random.default_rng(0)
    data = random.poisson(100, (3, 2048, 2048)).astype(np.uint16)
    cells = np.kron(np.arange(1, 401, dtype=np.uint16).reshape(20, 20), np.ones((103, 103), np.uint16))
    puncta = [(y, x, 1) for y, x in random.uniform(0, 2048, (5000, 2)).tolist()]
    result = analysis_of(data, cells[:2048, :2048], cells[:2048, :2048], puncta)
    overlay(result)
    started = time.process_time()
    encode_png(overlay(result))
    assert time.process_time() - started < 1.5  # of the processor; 0.25 s on an idle machine


def test_a_volume_is_shown_as_its_projection() -> None:
    data, cells = np.zeros((3, 600, 600), np.uint16), np.zeros((600, 600), np.uint16)
    cells[100:200, 300:500] = 1
    flat = overlay(analysis_of(data, cells, None, [(150, 400, 1)]))
    deep = analysis_of(np.repeat(data[:, None], 4, axis=1), np.repeat(cells[None], 4, axis=0), None, [])
    field = dataclasses.replace(deep.field, z_step_um=0.5)
    table = pd.DataFrame([(2, 150, 400, 1)], columns=["z_px", "y_px", "x_px", "label"])
    shown = overlay(dataclasses.replace(deep, field=field, puncta=table))
    np.testing.assert_array_equal(shown, flat)
