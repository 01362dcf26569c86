"""Markers of drawn cells whose light is known, pixel by pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_images import QUICK, voronoi
from scipy.ndimage import gaussian_filter

from napari_tam.columns import CELL_COLUMNS, marker_columns, marker_summary_columns
from napari_tam.io.field import Field
from napari_tam.measure.cells import measure
from napari_tam.settings import Settings

Labels = npt.NDArray[Any]

BACKGROUND, UM = 100.0, 0.25
NO_PUNCTA = pd.DataFrame({"y_px": [], "x_px": []})


def measured(
    cells: Labels, nuclei: Labels | None = None, rim_um: float = 1.0, **markers: npt.NDArray[Any]
) -> tuple[pd.DataFrame, dict[str, Any]]:
    noise = np.random.default_rng(0).integers(0, 9, cells.shape).astype(np.float32)
    channels = {"cell": noise, "exosome": noise} | {
        f"marker_{name}": light for name, light in markers.items()
    }
    field = Field("f", channels, UM)
    table, _, summary = measure(field, cells, nuclei, NO_PUNCTA, Settings(marker_rim_um=rim_um))
    return table, summary


def squares(*columns: int, side: int = 40) -> Labels:
    """Squares in a row, from these columns on."""
    cells = np.zeros((side + 40, max(columns) + side + 20), np.uint16)
    for label, start in enumerate(columns, start=1):
        cells[20 : 20 + side, start : start + side] = label
    return cells


def test_the_parts_of_a_cell_have_the_light_that_was_drawn() -> None:
    cells = squares(20)
    nuclei = np.zeros_like(cells)
    nuclei[30:40, 30:50] = 1
    light = np.full(cells.shape, BACKGROUND, np.float32)
    light[cells > 0] += 10
    light[nuclei > 0] += 100
    rim = cells > 0
    rim[24:56, 24:56] = False  # 4 px of 0.25 µm
    light[rim] += 40
    table, summary = measured(cells, nuclei, CD86=light)
    row = table.iloc[0].filter(like="marker_CD86").rename(lambda name: name.removeprefix("marker_CD86_"))
    total = 1600 * 10 + 200 * 100 + rim.sum() * 40
    assert summary["marker_CD86_background"] == BACKGROUND
    assert row.to_dict() == pytest.approx(
        {
            "mean": total / 1600,
            "median": 10,
            "integrated": total,
            "nucleus_mean": 110,
            "cytoplasm_mean": (total - 200 * 110) / 1400,
            "rim_mean": 50,
            "spill_over": 0,
        }
    )


def test_the_columns_are_those_that_are_declared() -> None:
    cells = squares(20)
    light = np.where(cells > 0, 200, 100).astype(np.uint16)
    table, summary = measured(cells, A=light, HLA_DR=light)
    names = [column.name for column in (*CELL_COLUMNS, *marker_columns(["A", "HLA_DR"]))]
    assert list(table) == names
    assert [name for name in summary if name.startswith("marker")] == [
        column.name for column in marker_summary_columns(["A", "HLA_DR"])
    ]
    assert table[["marker_A_nucleus_mean", "marker_A_cytoplasm_mean"]].isna().all(axis=None)
    bare, same = measured(cells)
    assert list(bare) == [column.name for column in CELL_COLUMNS]
    pd.testing.assert_frame_equal(table[list(bare)], bare)
    assert same == {name: value for name, value in summary.items() if not name.startswith("marker")}


def test_a_cell_without_a_nucleus_has_no_mean_over_one() -> None:
    cells = squares(20, 80)
    nuclei = np.zeros_like(cells)
    nuclei[30:40, 30:40] = 7
    light = np.where(cells > 0, 200, 100).astype(np.float32)
    table, _ = measured(cells, nuclei, A=light)
    assert table["marker_A_nucleus_mean"].tolist() == pytest.approx([100, np.nan], nan_ok=True)
    assert table["marker_A_cytoplasm_mean"].tolist() == [100, 100]


@pytest.mark.parametrize("sigma", [1.0, 2.0])
@pytest.mark.parametrize("dark", [0.0, 50.0])
def test_light_of_a_neighbour_is_told_from_the_cells_own(sigma: float, dark: float) -> None:
    """A bright, a dark and a lone cell; the blur carries light over the contact, and is known."""
    cells = squares(20, 60, 160)
    own = np.array([0, 1000, dark, dark])[cells]
    light = gaussian_filter(own.astype(np.float64), sigma)
    table, _ = measured(cells, A=(light + BACKGROUND).astype(np.float32))
    rim = cells == 2
    rim[24:56, 64:96] = False
    from_neighbour = gaussian_filter(np.where(cells == 1, 1000.0, 0.0), sigma)
    truth = from_neighbour[rim].sum() / light[rim].sum()
    assert table["marker_A_spill_over"][1] == pytest.approx(truth, abs=0.08)
    assert truth > (0.9 if dark == 0 else 0.2)  # or this test would show nothing
    assert table["marker_A_spill_over"][0] < 0.02
    if dark:
        assert table["marker_A_spill_over"][2] == 0  # touches nothing


def test_without_blur_nothing_spills_over() -> None:
    cells = squares(20, 60)
    light = (BACKGROUND + np.array([0, 1000, 300])[cells]).astype(np.float32)
    table, _ = measured(cells, A=light)
    assert table["marker_A_spill_over"].tolist() == pytest.approx([0, 0], abs=1e-6)


def test_where_no_edge_is_free_the_spill_over_is_not_known() -> None:
    cells = voronoi(np.random.default_rng(3), (60, 60), 5)
    cells = np.where(cells == 0, 1, cells)
    table, _ = measured(cells, A=np.random.default_rng(0).integers(100, 900, cells.shape).astype(np.float32))
    assert table["marker_A_spill_over"].isna().all()
    assert table["marker_A_mean"].notna().all()


@given(seed=st.integers(0, 10**6), gain=st.floats(0.1, 50), offset=st.floats(0, 5000))
@QUICK
def test_gain_and_offset_of_the_camera_change_only_the_unit(seed: int, gain: float, offset: float) -> None:
    rng = np.random.default_rng(seed)
    cells = np.pad(voronoi(rng, (40, 50), 5), 12)
    light = gaussian_filter(rng.uniform(0, 500, cells.shape) * (cells > 0), 1) + 20
    table, _ = measured(cells, A=light.astype(np.float64))
    other, _ = measured(cells, A=(light * gain + offset).astype(np.float64))
    for column in marker_columns(["A"]):
        unit = gain if column.unit else 1
        np.testing.assert_allclose(
            other[column.name], unit * table[column.name], rtol=2e-3, atol=2e-3 * max(unit, 1)
        )


@given(seed=st.integers(0, 10**6))
@QUICK
def test_numbers_are_those_of_plain_numpy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cells = np.pad(voronoi(rng, (40, 50), 5), 12)
    nuclei = np.where(rng.uniform(size=cells.shape) < 0.5, voronoi(rng, cells.shape, 4), 0)
    light = rng.integers(50, 900, cells.shape).astype(np.uint16)
    table, summary = measured(cells, nuclei, A=light)
    above = light - summary["marker_A_background"]
    for row in table.itertuples():
        here = cells == row.label
        assert row.marker_A_median == pytest.approx(np.median(above[here]))
        assert row.marker_A_integrated == pytest.approx(above[here].sum(), rel=1e-5, abs=1)
        for name, part in (("nucleus", nuclei > 0), ("cytoplasm", nuclei == 0)):
            values = above[here & part]
            told = getattr(row, f"marker_A_{name}_mean")
            assert told == pytest.approx(
                values.mean() if len(values) else np.nan, nan_ok=True, rel=1e-5, abs=0.01
            )
