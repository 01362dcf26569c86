from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as rules
from hypothesis import strategies as st
from phenotypes import UM, ellipses, field_of, measured

from napari_tam.phenotype.crops import CROP_SIZE, CROP_UM, cell_crops
from napari_tam.phenotype.features import FEATURES, shape_features


def crops_of(labels, stain, nuclei=None, um=UM):
    field = field_of(labels, np.random.default_rng(0))
    table = measured(type(field)("a", field.channels, um), labels, nuclei)
    return cell_crops(stain, labels, nuclei, table, um)


@pytest.fixture
def cells():
    rng = np.random.default_rng(3)
    labels = ellipses([1.2, 2.0, 3.0], rng)
    return labels, field_of(labels, rng).channels["cell"]


def test_a_crop_holds_the_area_and_lies_along_x(cells) -> None:
    labels, stain = cells
    crops = crops_of(labels, stain)
    assert crops.shape == (3, 3, CROP_SIZE, CROP_SIZE)
    area = crops[:, 0].sum((1, 2)) * CROP_UM**2
    assert area == pytest.approx(np.bincount(labels.ravel())[1:] * UM**2, rel=0.03)
    ys, xs = np.indices((CROP_SIZE, CROP_SIZE)) - (CROP_SIZE - 1) / 2
    weight = crops[2, 0] / crops[2, 0].sum()
    assert (weight * xs).sum() == pytest.approx(0, abs=0.1)
    assert (weight * ys).sum() == pytest.approx(0, abs=0.1)
    assert (weight * xs**2).sum() / (weight * ys**2).sum() == pytest.approx(3.0**2, rel=0.25)


@pytest.mark.parametrize("um", [0.25, 0.7, 1.4, 3.1])
def test_the_scale_is_in_micrometres(cells, um: float) -> None:
    labels, stain = cells
    # The same cells with larger pixels are larger cells.
    area = crops_of(labels, stain, um=um)[:, 0].sum((1, 2)) * CROP_UM**2
    fits = np.bincount(labels.ravel())[1:] * um**2 < 0.3 * (CROP_SIZE * CROP_UM) ** 2
    assert area[fits] == pytest.approx((np.bincount(labels.ravel())[1:] * um**2)[fits], rel=0.1)


@rules(max_examples=15, deadline=None)
@given(gain=st.floats(0.01, 100), offset=st.floats(0, 1000))
def test_brightness_and_background_of_a_batch_are_gone(gain: float, offset: float) -> None:
    rng = np.random.default_rng(0)
    labels = ellipses([1.3, 2.5], rng)
    stain = field_of(labels, rng).channels["cell"].astype(np.float64)
    plain, other = crops_of(labels, stain), crops_of(labels, stain * gain + offset)
    assert other == pytest.approx(plain, abs=0.02)


def test_the_stain_is_standardised_inside_the_cell_and_zero_outside(cells) -> None:
    stain = crops_of(*cells)[:, 1]
    mask = crops_of(*cells)[:, 0]
    assert (stain[mask == 0] == 0).all()
    assert np.allclose((stain**2).sum((1, 2)) / mask.sum((1, 2)), 1, atol=0.05)


def test_a_constant_stain_is_no_texture(cells) -> None:
    labels, stain = cells
    assert not crops_of(labels, np.full_like(stain, 60_000))[:, 1].any()


def test_neighbours_do_not_enter(cells) -> None:
    labels, stain = cells
    alone = np.where(labels == 2, labels, 0)
    loud = np.where(labels == 2, stain, 9_999)
    both = crops_of(labels, loud)[1]
    assert both == pytest.approx(crops_of(alone, np.where(labels == 2, stain, 0))[0], abs=1e-4)


def test_nuclei_are_cut_to_their_cell_and_zero_without_a_stain(cells) -> None:
    labels, stain = cells
    nuclei = ellipses([1.0, 1.0, 1.0], np.random.default_rng(1))
    assert not crops_of(labels, stain)[:, 2].any()
    crops = crops_of(labels, stain, nuclei)
    assert crops[:, 2].any((1, 2)).all()
    assert (crops[:, 2] <= crops[:, 0] + 1e-5).all()


@pytest.mark.parametrize("turn", [lambda a: np.rot90(a, 1), np.flipud, np.fliplr, np.transpose])
def test_turned_and_mirrored_images_give_the_same_crops_up_to_flips(cells, turn) -> None:
    labels, stain = cells
    plain = crops_of(labels, stain)
    other = crops_of(np.ascontiguousarray(turn(labels)), np.ascontiguousarray(turn(stain)))
    for a, b in zip(plain, other, strict=True):
        flips = [b, b[:, ::-1], b[:, :, ::-1], b[:, ::-1, ::-1]]
        assert min(np.abs(a - flip).max() for flip in flips) < 0.1


def test_a_table_of_other_cells_is_refused(cells) -> None:
    labels, stain = cells
    table = measured(field_of(labels, np.random.default_rng(0)), labels)
    with pytest.raises(ValueError, match="other labels"):
        cell_crops(stain, labels, None, table.iloc[:2], UM)


def test_features_are_finite_for_a_single_pixel_and_without_cells() -> None:
    labels = np.zeros((20, 20), np.uint16)
    labels[5, 5] = 1
    table = measured(field_of(labels, np.random.default_rng(0)), labels)
    assert np.isfinite(shape_features(table)).all()
    assert shape_features(table.iloc[:0]).shape == (0, len(FEATURES))
    empty = np.zeros((20, 20), np.uint16)
    assert crops_of(empty, empty.astype(float)).shape == (0, 3, CROP_SIZE, CROP_SIZE)
