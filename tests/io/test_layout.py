from __future__ import annotations

import pytest

from napari_tam.errors import InputError
from napari_tam.io.layout import read_layout, well_of


@pytest.mark.parametrize(
    ("name", "well"),
    [("plate1_B02_s3", "B02"), ("B2", "B02"), ("b02_01", "B02"), ("P24", "P24"), ("exp-C11-t2", "C11"),
     ("DAPI", ""), ("field_01", ""), ("AB02", ""), ("B02_C03", ""), ("P1_B02", "B02"),
     ("M2_D1", ""), ("Q01", ""), ("M1_exo_01", ""), ("M2", ""), ("M01_s1", "M01"), ("wellM1_x", "M01"),
     ("M3_s1", "M03"), ("M1_B02", "B02")],
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


def test_the_column_well_may_say_m1(tmp_path) -> None:
    table = read_layout(write(tmp_path / "l.csv", "well,condition\nM1,LPS\n")).describe(["M01_s1", "M1_exo"])
    assert table["condition"].tolist() == ["LPS", ""]


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


def test_numbers_and_roles_are_read(tmp_path) -> None:
    text = "well;dose;time;control_role;replicate\nB02;1,5;4;Dye-only;1\nB03;;0.5;M1;01\n"
    table = read_layout(write(tmp_path / "l.csv", text)).columns_of(["x_B02", "x_B03", "x_C01"])
    assert table["dose"].tolist()[0] == 1.5
    assert table["dose"].isna().tolist() == [False, True, True]
    assert table["time"].tolist()[:2] == [4, 0.5]
    assert table["control_role"].tolist() == ["dye_only", "m1", ""]
    assert table["replicate"].tolist() == ["1", "01", ""]
    assert table["well"].tolist() == ["B02", "B03", "C01"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("well,condition\nB02,a\nb2,b\nC01,c\nC01,c\n", "more than one row for B02, C01"),
        ("well,control_role\nB02,dye_onyl\n", r"'dye_onyl' is no control_role \(did you mean 'dye_only'\?\)"),
        ("well,dose\nB02,10 ug\n", r"'10 ug' is no number \(column dose\)"),
        ("well,time\nB02,inf\n", r"'inf' is no number \(column time\)"),
        ("well,condition\n", "the layout has no row"),
        ("well,condition\n,LPS\n", "the layout has no row"),
        ("well,plate,condition\nB02,p1,a\nB02,p1,b\n", "more than one row for p1 B02"),
    ],
)
def test_what_is_wrong_with_a_row_is_one_sentence(tmp_path, text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as error:
        read_layout(write(tmp_path / "l.csv", text))
    assert "\n" not in str(error.value)


def test_the_same_wells_of_several_plates_are_told_apart_by_the_names(tmp_path) -> None:
    text = "well,plate,condition\nB02,P1,a\nB02,P2,b\nB03,P1,c\n"
    layout = read_layout(write(tmp_path / "l.csv", text))
    table = layout.describe(["P1_B02", "exp_p2_B02_s1", "P1_B03", "P2_B03"])
    assert table["condition"].tolist() == ["a", "b", "c", ""]
    with pytest.raises(InputError, match=r"two rows are about the image B02.*the plate's name must be part"):
        layout.describe(["B02"])
    numbered = read_layout(write(tmp_path / "n.csv", "well,plate,condition\nB02,1,a\nB02,2,b\n"))
    assert numbered.describe(["plate2_B02_1", "plate-01_B02_2"])["condition"].tolist() == ["b", "a"]


def test_rows_about_no_image_are_listed(tmp_path) -> None:
    text = "well,image,condition\nB02,,a\nH12,,b\n,day9_*,c\n"
    layout = read_layout(write(tmp_path / "l.csv", text))
    with pytest.raises(InputError, match=r"2 rows of the layout are about no image: H12, day9_\*"):
        layout.check(["x_B02"])
    with pytest.raises(InputError, match="1 row of the layout is about no image: H12"):
        layout.check(["x_B02"], patterns=False)
    layout.check(["x_B02", "x_H12", "day9_1"])


def test_a_layout_written_and_read_again_is_the_same(tmp_path) -> None:
    text = 'well,condition,dose,control_role\nb2,"LPS, IFNg",1.50,dye only\nB03,IL-4,,\n'
    first = read_layout(write(tmp_path / "l.csv", text))
    again = read_layout(write(tmp_path / "m.csv", first.to_csv()))
    assert again.rows.equals(first.rows)


@pytest.mark.parametrize(
    ("heads", "read"),
    [("Dose (µg/ml),Control role", ("dose", "control_role")),
     ("dose [nM],Control-Role", ("dose", "control_role")),
     ("dose,dose (µg)", ("dose", "dose (µg)")), ("dose (a),dose (b)", ("dose (a)", "dose (b)"))],
)  # fmt: skip
def test_units_and_blanks_in_the_names_of_columns_do_not_matter(tmp_path, heads: str, read) -> None:
    layout = read_layout(write(tmp_path / "l.csv", f"well,{heads}\nB02,10,\n"))
    assert tuple(layout.rows.columns) == ("well", *read)


def test_columns_that_nothing_reads_are_told(tmp_path) -> None:
    layout = read_layout(
        write(tmp_path / "l.csv", "well,Condition,Control,Donr\nB02,a,Dye only,1\nB03,a,,1\n")
    )
    control, donor = layout.doubts()
    assert "'control' of the layout is not read" in control
    assert "'Dye only'" in control
    assert "call the column control_role" in control
    assert donor == "the column 'donr' of the layout is not read (did you mean 'donor'?)"
    assert layout.misplaced_control() == control
    fine = read_layout(write(tmp_path / "l.csv", "well,condition,control_role\nB02,a,dye only\n"))
    assert fine.doubts() == []
    said = read_layout(write(tmp_path / "l.csv", "well,control_role,remark\nB02,,unstained\n"))
    assert said.misplaced_control() == ""
