from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_images import QUICK, disc

from napari_tam.columns import CELL_COLUMNS
from napari_tam.measure.colocalisation import CellPixels, colocalise
from napari_tam.measure.place import boundary_distance
from napari_tam.measure.regions import Regions
from napari_tam.settings import Settings

SHAPE = (120, 240)
CENTRES = ((60, 60), (60, 180))
RADIUS = 50
NOISE = Settings(colocalisation_threshold="noise", colocalisation_k=6)
SEEDS = st.integers(0, 10**6)


def cells() -> npt.NDArray[np.uint16]:
    labels = np.zeros(SHAPE, np.uint16)
    for number, (y, x) in enumerate(CENTRES, 1):
        labels[disc(SHAPE, y, x, RADIUS)] = number
    return labels


def channel(seed: int, spots: Any, height: float = 500.0) -> npt.NDArray[np.float32]:
    """Noise of SD 2 around 100, and square spots of 5 pixels around each (row, column)."""
    plane = np.random.default_rng(seed).normal(100, 2, SHAPE)
    for y, x in spots:
        plane[y - 2 : y + 3, x - 2 : x + 3] += height
    return plane.astype(np.float32)


def found(
    exosome: Any, lysosome: Any, settings: Settings = NOISE, puncta: Any = (), labels: Any = None
) -> dict[str, npt.NDArray[Any]]:
    regions = Regions(cells() if labels is None else labels)
    flat = np.array([y * regions.shape[1] + x for y, x in puncta], np.int64)
    pixels = CellPixels.of(regions, boundary_distance(regions), None) if len(regions) else None
    return colocalise(exosome, lysosome, regions, pixels, flat, settings)


def test_the_same_spots_coincide_and_others_do_not() -> None:
    spots = [(60, 40), (40, 60), (60, 170), (80, 190)]
    apart = [(y, x + 12) for y, x in spots]
    same = found(channel(0, spots), channel(1, spots), puncta=spots)
    assert same["manders_m1"] == pytest.approx([1, 1], abs=0.01)
    assert same["manders_m2"] == pytest.approx([1, 1], abs=0.01)
    assert same["lysosome_overlap"].tolist() == [1, 1]
    assert (same["lysosome_pearson"] > 0.98).all()
    other = found(channel(0, spots), channel(1, apart), puncta=spots)
    assert (other["manders_m1"] < 0.01).all()
    assert other["lysosome_overlap"].tolist() == [0, 0]
    assert (np.abs(other["lysosome_pearson"]) < 0.05).all()


def test_each_coefficient_is_the_share_of_its_own_channel_in_its_own_cell() -> None:
    first, second = [(60, 40), (40, 60), (80, 60), (60, 80)], [(60, 40)]
    exosome = channel(0, [*first, (60, 170)])
    values = found(exosome, channel(1, [*second, (60, 200)]), puncta=[*first, (60, 170)])
    assert values["manders_m1"] == pytest.approx([0.25, 0], abs=0.01)
    assert values["manders_m2"] == pytest.approx([1, 0], abs=0.01)
    assert values["lysosome_overlap"].tolist() == [0.25, 0]
    # Blur of 0.7 px and a threshold of 6 SD: a rim of a pixel around the 5 × 5 spots.
    area = values["lysosome_area_fraction"] * Regions(cells()).area
    assert ((area >= 25) & (area <= 60)).all()


def test_brightness_counts_not_the_number_of_spots() -> None:
    exosome = channel(0, [(60, 40)], 900) + channel(2, [(60, 80)], 300) - 100
    values = found(exosome, channel(1, [(60, 40), (60, 170)]))
    assert values["manders_m1"][0] == pytest.approx(0.75, abs=0.01)
    assert np.isnan(values["manders_m1"][1])  # no exosome light in that cell
    assert np.isnan(values["lysosome_overlap"]).all()  # and no punctum at all


def test_the_control_of_evenly_spread_lysosomes_is_their_share_of_the_area() -> None:
    rng = np.random.default_rng(3)
    mask = rng.random(SHAPE) < 0.2
    lysosome = np.where(mask, 600, 100) + rng.normal(0, 2, SHAPE)
    spots = [(60, 30), (40, 60), (85, 70), (60, 170), (80, 200)]
    values = found(channel(0, spots), lysosome.astype(np.float32), puncta=spots)
    for name in ("manders_m1_random", "lysosome_overlap_random"):
        assert values[name] == pytest.approx(values["lysosome_area_fraction"], abs=0.06)


def test_the_control_keeps_the_distance_from_the_edge() -> None:
    # Lysosomes fill the inner half of the cells; puncta lie there, or outside of it.
    inner = np.zeros(SHAPE, bool)
    for y, x in CENTRES:
        inner |= disc(SHAPE, y, x, RADIUS / 2)
    lysosome = np.where(inner, 600, 100) + np.random.default_rng(0).normal(0, 2, SHAPE)
    spots = [(60, 50), (65, 70), (60, 180), (25, 180), (60, 216)]
    values = found(channel(0, spots), lysosome.astype(np.float32), puncta=spots)
    assert values["lysosome_overlap"] == pytest.approx([1, 1 / 3])
    # Any turn leaves them at their depth, so that the gathering in the middle is no sign of anything.
    assert values["lysosome_overlap_random"] == pytest.approx([1, 1 / 3], abs=0.01)


def test_turns_are_seeded_and_can_be_left_out() -> None:
    spots = [(60, 40), (40, 60), (60, 170)]
    exosome, lysosome = channel(0, spots), channel(1, [(60, 42), (80, 60), (62, 170)])
    one, other = (found(exosome, lysosome) for _ in range(2))
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name])
    none = found(exosome, lysosome, NOISE.updated(colocalisation_randomisations=0))
    assert np.isnan(none["manders_m1_random"]).all()
    np.testing.assert_array_equal(none["manders_m1"], one["manders_m1"])


@pytest.mark.parametrize("rule", ["otsu", "costes", "noise"])
def test_every_rule_finds_clear_spots_and_none_in_noise(rule: str) -> None:
    settings = Settings(colocalisation_threshold=rule, colocalisation_k=6)
    spots = [(60, 40), (40, 60), (60, 170), (80, 190)]
    clear = found(channel(0, spots), channel(1, spots), settings)
    assert clear["manders_m1"] == pytest.approx([1, 1], abs=0.02)
    assert ((clear["exosome_threshold"] > 103) & (clear["exosome_threshold"] < 500)).all()
    empty = found(channel(0, spots), channel(1, ()), settings)
    assert (empty["lysosome_area_fraction"] < 0.01).all()
    assert (np.nan_to_num(empty["manders_m1"]) < 0.05).all()


def test_flat_channels_have_no_correlation_and_no_light() -> None:
    flat = np.full(SHAPE, 7, np.uint16)
    for settings in (NOISE, Settings(), Settings(colocalisation_threshold="costes")):
        values = found(flat, flat, settings)
        for name in ("lysosome_pearson", "manders_m1", "manders_m2", "manders_m1_random"):
            assert np.isnan(values[name]).all()


def test_without_cells_there_is_nothing_and_all_columns_are_listed() -> None:
    flat = np.zeros(SHAPE, np.uint16)
    assert found(flat, flat, labels=flat) == {}
    listed = {column.name for column in CELL_COLUMNS if column.group == "partners"}
    assert set(found(channel(0, ()), channel(1, ()))) == listed


@QUICK
@given(SEEDS, st.floats(0.1, 50), st.floats(-50, 50))
def test_gain_and_offset_change_nothing(seed: int, gain: float, offset: float) -> None:
    rng = np.random.default_rng(seed)
    spots = [(int(y), int(x)) for y, x in rng.integers(20, 100, (6, 2))]
    exosome, lysosome = channel(seed, spots), channel(seed + 1, spots[:4])
    one = found(exosome, lysosome, puncta=spots[:1])
    other = found(exosome * np.float32(gain) + np.float32(offset), lysosome, puncta=spots[:1])
    for name in ("lysosome_pearson", "manders_m1", "manders_m2", "manders_m1_random", "lysosome_overlap"):
        np.testing.assert_allclose(one[name], other[name], atol=0.02)


@QUICK
@given(SEEDS)
def test_exchanging_the_channels_exchanges_the_coefficients(seed: int) -> None:
    spots = [(int(y), int(x)) for y, x in np.random.default_rng(seed).integers(20, 100, (8, 2))]
    exosome, lysosome = channel(seed, spots[:6]), channel(seed + 1, spots[3:])
    one, other = found(exosome, lysosome), found(lysosome, exosome)
    np.testing.assert_allclose(one["lysosome_pearson"], other["lysosome_pearson"], atol=1e-6)
    np.testing.assert_allclose(one["manders_m1"], other["manders_m2"])
    np.testing.assert_allclose(one["manders_m1_random"], other["manders_m2_random"])


def test_with_a_nucleus_the_control_keeps_the_distance_from_it() -> None:
    # A nucleus off the centre with lysosomes around it, and puncta among them.
    labels, nuclei, near = cells(), np.zeros(SHAPE, np.uint16), np.zeros(SHAPE, bool)
    for y, x in CENTRES:
        nuclei[disc(SHAPE, y, x + 20, 8)] = 1
        near |= disc(SHAPE, y, x + 20, 20) & (nuclei == 0)
    lysosome = np.where(near, 600, 100) + np.random.default_rng(0).normal(0, 2, SHAPE)
    spots = [(60, 92), (72, 80), (60, 188), (48, 200)]
    regions = Regions(labels)
    flat = np.array([y * SHAPE[1] + x for y, x in spots])
    distance, plane = boundary_distance(regions), lysosome.astype(np.float32)
    with_it, without = (
        colocalise(channel(0, spots), plane, regions, CellPixels.of(regions, distance, given_), flat, NOISE)
        for given_ in (nuclei, None)
    )
    assert with_it["lysosome_overlap_random"] == pytest.approx([1, 1], abs=0.1)
    assert (without["lysosome_overlap_random"] < 0.8).all()
