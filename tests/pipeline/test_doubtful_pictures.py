"""Zeros around a picture change nothing; what is wrong with a picture is said with a code and a sentence."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import fakes
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_tam.io.arrays import field_of_arrays
from napari_tam.io.check import CODES, look, scaled
from napari_tam.io.window import fill_corners, find_window
from napari_tam.pipeline.runner import run
from napari_tam.puncta.detect import LogDetector
from napari_tam.results.siblings import TWIN, compare_fields, twins
from napari_tam.settings import Settings
from napari_tam.simulate import Scene, SceneParameters

if TYPE_CHECKING:
    from napari_tam.io.field import Field

SETTINGS = Settings(pixel_size_um=fakes.PIXEL_UM, phenotype_model="none")
REAL_PUNCTA = replace(fakes.models(), puncta=LogDetector())


def picture(**changes: Any) -> Field:
    """Return a field with noise (no value is zero), and some channels changed."""
    rng = np.random.default_rng(3)
    planes = fakes.image().astype(np.float64) + 20 + rng.poisson(4, (3, *fakes.SHAPE))
    channels = dict(zip(("cell", "nucleus", "exosome"), planes.astype(np.uint16), strict=True))
    return field_of_arrays({**channels, **changes}, SETTINGS, "a")


def codes(field: Field) -> list[str]:
    return [finding.code for finding in look(field).findings]


@settings(deadline=None, max_examples=12)
@given(
    frame=st.tuples(*[st.integers(0, 60)] * 4),
    role=st.sampled_from([None, "cell", "exosome"]),
)
def test_a_frame_of_zeros_changes_nothing_but_places(frame: tuple[int, ...], role: str | None) -> None:
    top, bottom, left, right = frame
    field = picture()
    framed = {
        name: np.pad(
            channel, ((top, bottom), (left, right)), mode="constant" if role in (None, name) else "edge"
        )
        for name, channel in field.channels.items()
    }
    alone, within = (run(each, SETTINGS, fakes.models()) for each in (field, replace(field, channels=framed)))
    places = {"centroid_y_px": top, "centroid_x_px": left, "y_px": top, "x_px": left}
    for name, move in (("table", places), ("puncta", places)):
        first, second = getattr(alone, name), getattr(within, name)
        moved = second.assign(**{key: second[key] - by for key, by in move.items() if key in second})
        um = {
            key: second[key] - by * fakes.PIXEL_UM
            for key, by in (("y_um", top), ("x_um", left))
            if key in second
        }
        pd.testing.assert_frame_equal(first, moved.assign(**um), rtol=1e-9)
    rows, columns = slice(top, top + fakes.SHAPE[0]), slice(left, left + fakes.SHAPE[1])
    assert np.array_equal(alone.cells, within.cells[rows, columns])
    assert within.cells.shape == next(iter(framed.values())).shape
    assert within.summary["exosome_background"] == alone.summary["exosome_background"]
    assert ("frame" in str(within.summary["findings"])) == any(frame)
    assert ("zeros around the picture" in str(within.summary["notes"])) == any(frame)


def test_zeros_that_are_values_are_no_frame() -> None:
    field = picture()
    dark = np.where(field.channels["exosome"] > 60, field.channels["exosome"], 0)
    assert find_window(replace(field, channels={**field.channels, "exosome": dark})) is None
    assert find_window(replace(field, channels={**field.channels, "exosome": np.zeros_like(dark)})) is None


def test_the_corners_of_a_picture_that_was_turned_are_filled_with_its_background() -> None:
    field = picture()
    rows, columns = np.indices(fakes.SHAPE)
    corner = rows + columns < 22
    turned = {name: np.where(corner, 0, channel) for name, channel in field.channels.items()}
    filled, share = fill_corners(turned)
    assert share == pytest.approx(corner.mean())
    for name, channel in filled.items():
        assert np.array_equal(channel[~corner], field.channels[name][~corner])
        assert 0 < channel[corner].min() <= channel[corner].max() <= np.median(field.channels[name]) + 1
    alone, within = (run(each, SETTINGS, fakes.models()) for each in (field, replace(field, channels=turned)))
    assert within.table["puncta_count"].tolist() == alone.table["puncta_count"].tolist()
    assert within.summary["exosome_background"] == pytest.approx(
        alone.summary["exosome_background"], rel=0.02
    )
    assert within.summary["findings"] == "frame"


def _clipped(channel: np.ndarray) -> np.ndarray:
    return np.where(np.indices(channel.shape)[0] < 20, 65535, channel).astype(np.uint16)


def _half_empty(channel: np.ndarray) -> np.ndarray:
    return np.where(np.indices(channel.shape)[1] % 64 < 32, 0, channel).astype(np.uint16)


#: Every ninth row is brighter.
STRIPED = np.where(np.arange(fakes.SHAPE[0]) % 9, 0, 90)[:, None].astype(np.uint16)

BAD = {
    "same_channels": lambda c: {"exosome": c["cell"].copy()},
    "alike_channels": lambda c: {"exosome": c["cell"] * 2 + 1},
    "clipped": lambda c: {"exosome": _clipped(c["exosome"])},
    "empty_part": lambda c: {"exosome": _half_empty(c["exosome"])},
    "scale": lambda c: {"exosome": c["exosome"].astype(np.float64) * 1e300},
    "swapped": lambda c: {"cell": c["nucleus"], "nucleus": c["cell"]},
    "stripes": lambda c: {"exosome": c["exosome"] + STRIPED},
}  # fmt: skip


def test_a_good_picture_is_not_doubted() -> None:
    assert codes(picture()) == []
    assert set(BAD) | {"frame", "hot_pixels", "camera_defects"} == set(CODES)


@pytest.mark.parametrize("code", BAD)
def test_what_is_wrong_with_a_picture_is_one_code_and_one_sentence(code: str) -> None:
    bad = picture(**BAD[code](picture().channels))
    assert code in codes(bad)
    analysis = run(bad, SETTINGS, fakes.models())
    assert code in str(analysis.summary["findings"]).split()
    sentence = next(each.sentence for each in look(bad).findings if each.code == code)
    assert str(analysis.summary["notes"]).count(sentence) == 1


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 999),
    levels=st.sampled_from([0.02, 0.1, 1.0, 40.0]),
    stripes=st.sampled_from(["none", "rows", "columns", "noise of rows"]),
    strength=st.floats(1.5, 4),
)
def test_stripes_are_told_from_noise_in_pictures_of_few_and_many_grey_levels(
    seed: int, levels: float, stripes: str, strength: float
) -> None:
    rng = np.random.default_rng(seed)
    plane = 100 + fakes.image()[0].astype(np.float64) + rng.normal(0, 4, fakes.SHAPE)
    offset = strength * max(4, 1 / levels)
    if stripes == "rows":
        plane[:: int(rng.integers(2, 12))] += offset
    elif stripes == "columns":
        plane[:, :: int(rng.integers(2, 12))] += offset
    elif stripes == "noise of rows":
        plane += offset * rng.normal(size=(len(plane), 1))
    grey = (plane * levels).clip(0, 65535).astype(np.uint8 if levels < 1 else np.uint16)
    assert ("stripes" in codes(picture(exosome=grey))) == (stripes != "none")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("bits", [8, 16])
def test_simulated_pictures_are_not_doubted_until_their_channels_are_swapped(seed: int, bits: int) -> None:
    scene = Scene.draw(SceneParameters(shape=(256, 256), cells_per_field=12), seed)
    planes = scene.image.astype(np.float64)
    if bits == 8:
        planes = planes / planes.max(axis=(1, 2), keepdims=True) * 255
    cell, nucleus, exosome = planes.astype(f"uint{bits}")
    field = {"cell": cell, "nucleus": nucleus, "exosome": exosome}
    assert codes(field_of_arrays(field, SETTINGS, "a")) == []
    assert codes(field_of_arrays({**field, "cell": nucleus, "nucleus": cell}, SETTINGS, "a")) == ["swapped"]


@pytest.mark.parametrize(("kind", "factor"), [(np.float64, 1e300), (np.float64, -1e200), (np.float32, 1e-38)])
def test_absurd_scales_give_the_puncta_of_the_usual_one(kind: type, factor: float) -> None:
    field = picture()
    channels = {
        name: (channel.astype(np.float64) * factor).astype(kind) for name, channel in field.channels.items()
    }
    found = scaled(channels["exosome"])
    assert found.dtype == np.float32
    assert (found.min(), found.max()) == (0, 1)
    if factor > 0:
        usual, odd = (run(each, SETTINGS, REAL_PUNCTA) for each in (field, replace(field, channels=channels)))
        assert odd.summary["puncta"] == usual.summary["puncta"]


def test_one_hot_pixel_changes_nothing_and_is_said() -> None:
    field = picture()
    hot = field.channels["exosome"].copy()
    hot[50, 100] = 65_000
    alone, within = (run(each, SETTINGS, REAL_PUNCTA) for each in (field, picture(exosome=hot)))
    assert within.summary["puncta"] == alone.summary["puncta"]
    assert within.summary["findings"] == "hot_pixels"
    assert "1 pixel of the exosome channel shone alone and was replaced" in str(within.summary["notes"])


def test_the_same_picture_under_two_names_is_noticed() -> None:
    row = {
        "status": "ok",
        "exosome_background_mean": 3.25,
        "focus_score": 0.5,
        "cell_area_fraction": 0.1,
        "puncta": 4,
    }
    images = pd.DataFrame([{"image": name, **row} for name in ("a", "b", "c")])
    images.loc[2, "exosome_background_mean"] += 1e-9
    assert twins(images) == [["a", "b"]]
    assert twins(images.drop(columns="puncta")) == []
    assert twins(images.iloc[:0]) == []
    told = compare_fields(images.assign(findings="", notes="dim"))
    assert told["notes"].tolist()[:2] == ["dim; the same picture as b", "dim; the same picture as a"]
    assert told["findings"].tolist() == [TWIN if name in "ab" else "" for name in images["image"]]
    again = compare_fields(images.assign(**told))  # said once, however often it is concluded
    assert again.equals(told)
