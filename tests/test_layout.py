from __future__ import annotations

import pytest

from napari_tam.errors import InputError
from napari_tam.layout import read_layout, well_of


@pytest.mark.parametrize(
    ("name", "well"),
    [("plate1_B02_s3", "B02"), ("B2", "B02"), ("b02_01", "B02"), ("P24", "P24"), ("exp-C11-t2", "C11"),
     ("DAPI", ""), ("field_01", ""), ("AB02", ""), ("B02_C03", ""), ("P1_B02", "B02"),
     ("M2_D1", ""), ("Q01", "")],
)  # fmt: skip
def test_the_well_is_found_in_the_name(name: str, well: str) -> None:
    assert well_of(name) == well


def write(path, text: str):
    path.write_text(text, encoding="utf-8")
    return path


def test_rows_are_found_by_well_pattern_and_both(tmp_path) -> None:
    path = write(tmp_path / "l.csv", "image;well;Condition\np1_*;b2;LPS\np2_*;B02;IL-4\nfield_01;;none\n")
    table = read_layout(path).describe(["p1_B02", "p2_B02_s1", "field_01", "x"])
    assert table["condition"].tolist() == ["LPS", "IL-4", "none", ""]
    assert table["well"].tolist() == ["B02", "B02", "", ""]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("condition\nLPS\n", "no column 'well' or 'image'"),
        ("well,condition\nLPS,B02\n", "'LPS' is no well"),
    ],
)
def test_a_bad_layout_is_one_sentence(tmp_path, text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_layout(write(tmp_path / "l.csv", text))
    with pytest.raises(InputError, match="cannot be read"):
        read_layout(tmp_path / "missing.csv")


def test_two_rows_about_one_image_are_an_error(tmp_path) -> None:
    path = write(tmp_path / "l.csv", "image,condition\na*,x\n*b,y\n")
    with pytest.raises(InputError, match="two rows are about the image ab"):
        read_layout(path).describe(["ab"])
