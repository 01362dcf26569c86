from __future__ import annotations

from dataclasses import replace
from typing import Any

import fakes
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from scipy import ndimage

from napari_tam.correct.apply import correct, flatten, mode, rolling_ball, shifted, unmix
from napari_tam.correct.folder import Corrections, FlatField
from napari_tam.errors import InputError
from napari_tam.io.field import Field
from napari_tam.pipeline.runner import run
from napari_tam.settings import Settings

FEW = limits(max_examples=15, deadline=None)
SHAPE = (96, 128)
NONE = Settings()


def field(**planes: npt.NDArray[Any]) -> Field:
    return Field("a field", dict(planes), 0.5, notes=("read",))


def cells_image(seed: int = 0, level: float = 100.0) -> npt.NDArray[np.float64]:
    """Two cells of height 400 on noise of SD 3."""
    plane = np.random.default_rng(seed).normal(level, 3, SHAPE)
    plane[20:50, 20:50] += 400
    plane[60:80, 80:110] += 400
    return plane


def light() -> npt.NDArray[np.float32]:
    y, x = np.indices(SHAPE)
    gain = 1.5 - 0.9 * (((y - 30) / 96) ** 2 + ((x - 80) / 128) ** 2)
    return (gain / gain.mean()).astype(np.float32)


def test_nothing_asked_for_is_the_very_same_field() -> None:
    given_ = field(cell=cells_image(), exosome=cells_image(1))
    done = correct(given_, NONE)
    assert done.field is given_
    assert done.raw_exosomes == {}


def test_a_flat_field_is_undone_and_the_mean_level_and_dark_level_stay() -> None:
    even = cells_image()
    uneven = (even - 40) * light() + 40
    flat = FlatField(light(), 40.0)
    np.testing.assert_allclose(flatten(uneven, flat), even, rtol=1e-5)
    done = correct(field(exosome=uneven, cell=uneven), NONE, Corrections({"exosome": flat})).field
    np.testing.assert_allclose(done.channels["exosome"], even, rtol=1e-5)
    assert done.channels["cell"] is uneven  # no flat field for it
    assert done.notes == ("read", "flat field corrected: exosome")


def test_a_flat_field_of_another_size_is_refused() -> None:
    flat = FlatField(np.ones((10, 20), np.float32), 0.0)
    with pytest.raises(InputError, match="10 × 20 pixels, the image 96 × 128") as caught:
        correct(field(exosome=cells_image()), NONE, Corrections({"exosome": flat}))
    assert str(caught.value).startswith("a field: ")


@pytest.mark.parametrize("shift_um", [(1.0, -2.0), (0.65, 1.3)])
def test_a_channel_is_moved_by_micrometres_and_keeps_its_light(shift_um: tuple[float, float]) -> None:
    y, x = np.indices(SHAPE)

    def spot(row: float, col: float) -> npt.NDArray[np.float64]:
        return np.asarray(100 + 500 * np.exp(-((y - row) ** 2 + (x - col) ** 2) / 8))

    seen = spot(40 - shift_um[0] / 0.5, 60 - shift_um[1] / 0.5)
    done = correct(
        field(cell=spot(40, 60), exosome=seen), Settings(channel_shift_um={"exosome": shift_um})
    ).field
    np.testing.assert_allclose(done.channels["exosome"], spot(40, 60), atol=1.0)
    assert done.channels["exosome"].sum() == pytest.approx(seen.sum(), rel=1e-4)
    assert "exosome channel moved by" in done.notes[-1]


@FEW
@given(st.floats(-3, 3), st.floats(-3, 3))
def test_moving_there_and_back_changes_little(y: float, x: float) -> None:
    smooth = ndimage.gaussian_filter(cells_image(), 3)
    back = shifted(shifted(smooth, (y, x)), (-y, -x))
    inner = (slice(6, -6), slice(6, -6))
    np.testing.assert_allclose(back[inner], smooth[inner], atol=1.0)


def test_bleed_through_is_taken_out_and_the_background_stays() -> None:
    cell = cells_image(0, level=200)
    exosome = np.random.default_rng(1).normal(100, 3, SHAPE)
    exosome[70:73, 30:33] += 300
    mixed = exosome + 0.1 * (cell - 200)
    done = correct(field(cell=cell, exosome=mixed), Settings(bleed_through={"cell_into_exosome": 0.1})).field
    np.testing.assert_allclose(done.channels["exosome"], exosome, atol=0.3)
    assert done.channels["cell"] is cell
    assert done.notes[-1] == "bleed-through removed: 10.00% of cell out of exosome"


@FEW
@given(st.floats(0.01, 0.4), st.floats(0.01, 0.4), st.integers(0, 1000))
def test_mixing_both_ways_is_undone(there: float, back: float, seed: int) -> None:
    one, two = cells_image(seed) - 100, np.roll(cells_image(seed + 1), 25, axis=1) - 100
    seen = {"cell": 100 + one + back * two, "exosome": 100 + two + there * one}
    pure = unmix(seen, {("cell", "exosome"): there, ("exosome", "cell"): back})
    np.testing.assert_allclose(pure["cell"], 100 + one, atol=3)
    np.testing.assert_allclose(pure["exosome"], 100 + two, atol=3)


def test_settings_go_before_the_calibration_and_missing_channels_are_told() -> None:
    both = field(cell=cells_image(), exosome=cells_image(1))
    known = Corrections(bleed_through={"cell_into_exosome": 0.2}, channel_shift_um={"exosome": (1.0, 0.0)})
    asked = Settings(bleed_through={"lysosome_into_exosome": 0.1}, channel_shift_um={"exosome": (2.0, 0.0)})
    notes = correct(both, asked, known).field.notes
    assert "exosome channel moved by 2 µm in y and 0 µm in x" in notes
    assert "bleed-through not removed, as a channel is missing: lysosome_into_exosome" in notes
    assert "20.00% of cell out of exosome" in correct(both, NONE, known).field.notes[-1]


def test_channels_that_are_nearly_the_same_cannot_be_told_apart() -> None:
    same = Settings(bleed_through={"cell_into_exosome": 0.99, "exosome_into_cell": 0.99})
    with pytest.raises(InputError, match="cannot be told apart"):
        correct(field(cell=cells_image(), exosome=cells_image(1)), same)


@pytest.mark.parametrize("covered", [0.0, 0.3, 0.6])
def test_the_mode_is_the_background_while_cells_leave_some(covered: float) -> None:
    plane = np.random.default_rng(0).normal(100, 3, (200, 200))
    rows = int(covered * 200)
    plane[:rows] += np.random.default_rng(1).gamma(4, 60, (rows, 200)) + 20
    assert mode(plane) == pytest.approx(100, abs=1)
    assert mode(np.full(SHAPE, 5, np.uint8)) == 5


def test_the_background_of_the_measured_channels_is_subtracted() -> None:
    given_ = field(cell=cells_image(), exosome=cells_image(1), lysosome=cells_image(2, level=300))
    done = correct(given_, Settings(background_method="mode")).field
    assert done.channels["cell"] is given_.channels["cell"]
    for role in ("exosome", "lysosome"):
        assert np.median(done.channels[role][:15]) == pytest.approx(0, abs=0.7)
    assert done.notes[-1] == "background subtracted (mode): exosome, lysosome"


def test_a_rolling_ball_takes_the_slope_and_leaves_the_spots() -> None:
    y, x = np.indices((160, 160))
    slope = 200 + 0.8 * x + 0.3 * y
    spots = np.zeros((160, 160))
    spots[40:44, 40:44] = spots[100:104, 90:94] = 600
    left = (slope + spots) - rolling_ball(slope + spots, 25)
    assert np.abs(left[spots == 0][::7]).max() < 15
    assert left[spots > 0].min() > 570
    # Twice the exposure is twice the background.
    twice = rolling_ball(2 * (slope + spots), 25)
    np.testing.assert_allclose(twice, 2 * rolling_ball(slope + spots, 25), rtol=1e-3)


def test_the_pipeline_measures_the_corrected_and_judges_saturation_on_the_raw_image() -> None:
    data = fakes.image().astype(np.uint16)
    data[2][20:28, 90:98] = 65535
    planes = dict(zip(("cell", "nucleus", "exosome"), data, strict=True))
    image = Field("a", planes, fakes.PIXEL_UM)
    gain = np.full(fakes.SHAPE, 1.0, np.float32)
    gain[:, :64], gain[:, 64:] = 0.5, 1.5
    models = replace(fakes.models(), corrections=Corrections({"exosome": FlatField(gain, 0.0)}))
    one = run(image, NONE, fakes.models())
    other = run(image, NONE, models)
    assert other.table["saturated_fraction"].tolist() == one.table["saturated_fraction"].tolist()
    assert one.table["saturated_fraction"].max() > 0
    assert other.summary["saturated_fraction"] == one.summary["saturated_fraction"] == 64 / data[2].size
    assert "flat field corrected" in str(other.summary["notes"])
    assert other.table["exosome_mean"][0] == pytest.approx(2 * one.table["exosome_mean"][0])
    moved = run(image, Settings(channel_shift_um={"exosome": (2.0, 0.0)}), fakes.models())
    assert moved.table["saturated_fraction"].sum() == pytest.approx(one.table["saturated_fraction"].sum())
    assert np.array_equal(planes["exosome"], data[2])  # the image is left as it was


def test_every_plane_of_a_stack_is_corrected_alike() -> None:
    asked = Settings(
        channel_shift_um={"exosome": (0.7, -0.4)}, background_method="rolling_ball", background_radius_um=15
    )
    known = Corrections({"exosome": FlatField(light(), 40.0)})
    plane = cells_image().astype(np.float32)
    one = correct(field(cell=plane, exosome=plane), asked, known)
    stack = np.stack([plane] * 3)
    three = correct(field(cell=stack, exosome=stack), asked, known)
    for z in range(3):
        np.testing.assert_allclose(
            three.field.channels["exosome"][z], one.field.channels["exosome"], atol=0.1
        )
        np.testing.assert_array_equal(three.raw_exosomes["exosome"][z], one.raw_exosomes["exosome"])
