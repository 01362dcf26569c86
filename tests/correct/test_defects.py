"""The list of defects, and images without them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_tam.correct.defects import (
    CODE,
    Defect,
    Defects,
    mended,
    read_defects,
    without_defects,
    write_defects,
)
from napari_tam.errors import InputError
from napari_tam.io.field import Field

if TYPE_CHECKING:
    from pathlib import Path

PIXELS = (Defect("exosome", 40, 50, 3, 4, 20, 24, 41.5), Defect("exosome", 40, 50, 3, 5, 9, 24, 400.0))


def field(shape: tuple[int, ...] = (40, 50), dtype: type = np.uint16) -> Field:
    rng = np.random.default_rng(0)
    channels = {role: rng.integers(90, 110, shape).astype(dtype) for role in ("cell", "exosome")}
    return Field("a", channels, 0.5, z_step_um=1.0 if len(shape) > 2 else None)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
@pytest.mark.parametrize("shape", [(40, 50), (3, 40, 50)])
def test_defects_get_the_median_of_good_pixels_and_nothing_else_changes(
    shape: tuple[int, ...], dtype: type
) -> None:
    image = field(shape, dtype)
    before = {role: channel.copy() for role, channel in image.channels.items()}
    image.channels["exosome"][..., 3, 4:6] = 255
    given = image.channels["exosome"].copy()
    found, (finding,) = without_defects(image, Defects(PIXELS))
    assert finding.code == CODE
    assert "2 in exosome" in finding.sentence
    assert np.array_equal(image.channels["exosome"], given)  # what was read stays
    assert found.channels["cell"] is image.channels["cell"]
    result = found.channels["exosome"]
    assert result.dtype == dtype
    mask = Defects(PIXELS).mask("exosome", (40, 50))
    assert mask.sum() == 2
    assert np.array_equal(result[..., ~mask], before["exosome"][..., ~mask])
    window = result[..., 2:5, 3:6]
    good = np.delete(window.reshape(*shape[:-2], 9), [4, 5], axis=-1).astype(float)
    assert np.allclose(result[..., 3, 4], np.median(good, axis=-1), atol=0.5)


@given(st.sets(st.tuples(st.integers(0, 7), st.integers(0, 8)), max_size=72))
def test_any_defects_are_replaced_by_values_of_good_pixels(places: set[tuple[int, int]]) -> None:
    plane = np.full((8, 9), 10, np.uint16)
    at = np.array(sorted(places), np.intp).reshape(-1, 2)
    plane[tuple(at.T)] = 60_000
    result = mended(plane, at)
    near = len(places) < 10  # a hole may be wider than what is looked at
    assert not near or (result == 10).all()


def test_without_defects_the_very_same_field_comes_back() -> None:
    image = field()
    for known in (None, Defects(), Defects((Defect("lysosome", 40, 50, 1, 1, 9, 24, 9.0),))):
        found, findings = without_defects(image, known)
        assert found is image
        assert not findings


def test_images_of_another_size_stay_and_say_so() -> None:
    image = field((30, 50))
    found, findings = without_defects(image, Defects(PIXELS))
    assert found.channels == image.channels
    assert not findings
    assert "30 × 50" in found.notes[-1]


def test_the_list_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "defects.csv"
    digest = write_defects(path, PIXELS)
    known = read_defects(path)
    assert known.pixels == PIXELS
    assert known.sha256 == digest
    assert known.of("exosome", (40, 50)).tolist() == [[3, 4], [3, 5]]


GOOD = "channel,height_px,width_px,y_px,x_px,seen,images,strength\n"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (b"\xff\xfe\x00", "cannot be read"),
        (b"a,b\n1,2\n", "line 2 is no defect"),
        ((GOOD + "exosome,40,50,x,4,9,24,1\n").encode(), "line 2 is no defect"),
        ((GOOD + "exosome,40,50,40,4,9,24,1\n").encode(), "outside its image"),
        ((GOOD + "exosome,40,50,1,-1,9,24,1\n").encode(), "outside its image"),
        ((GOOD + "exosome,40,50\n").encode(), "line 2 is no defect"),
    ],
)
def test_a_list_that_is_none_is_refused_in_a_sentence(tmp_path: Path, text: bytes, word: str) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(text)
    with pytest.raises(InputError, match=word):
        read_defects(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_defects(tmp_path / "gone.csv")
