"""Tables as users have them: whatever the separator, encoding, decimal sign or program, the same layout."""

from __future__ import annotations

import csv
import datetime as dt
import io
import zipfile
from typing import TYPE_CHECKING, Any

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_tam.errors import InputError
from napari_tam.io.layout import read_layout
from napari_tam.io.tables import workbook
from napari_tam.io.tables.read import read_text_table

if TYPE_CHECKING:
    from pathlib import Path

ROWS: list[list[Any]] = [
    ["Well", "condition", "dose", "replicate", "control_role"],
    ["B02", "Überstand µ", 2.5, 1, ""],
    ["B03", "medium", 0, 2, "dye only"],
]


def text(separator: str, decimal: str, end: str) -> str:
    def cell(value: Any) -> str:
        return str(value).replace(".", decimal) if isinstance(value, float) else str(value)

    def quoted(value: str) -> str:
        return f'"{value}"' if separator in value else value

    return end.join(separator.join(quoted(cell(value)) for value in row) for row in ROWS) + end


def write_workbook(path: Path, rows: list[list[Any]] = ROWS, title: str = "Tabelle1") -> openpyxl.Workbook:
    book = openpyxl.Workbook()
    book.active.title = title
    for row in rows:
        book.active.append(row)
    book.save(path)
    return book


def check(path: Path) -> None:
    found = read_layout(path).columns_of(["p_B02_s1", "p_B03_s1"])
    assert found["condition"].tolist() == ["Überstand µ", "medium"]
    assert found["dose"].tolist() == [2.5, 0]
    assert found["replicate"].tolist() == ["1", "2"]
    assert found["control_role"].tolist() == ["", "dye_only"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("decimal", [".", ","])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_layout_is_the_same_in_every_form_of_text(
    tmp_path: Path, encoding: str, separator: str, decimal: str, end: str
) -> None:
    path = tmp_path / "layout.csv"
    path.write_bytes(text(separator, decimal, end).encode(encoding))
    check(path)
    path.write_bytes((f"sep={separator}{end}" + text(separator, decimal, end)).encode(encoding))
    check(path)


#: What a cell may hold: anything that a person types, separators and quotation marks included.
CELLS = st.text(st.characters(exclude_categories=["C"]), max_size=8) | st.sampled_from(
    [",", ";;", '"', "2,5", "a;b"]
)


@given(
    st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=5),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.booleans(),
)
def test_whatever_stands_in_the_cells_reads_back(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str]],
    separator: str,
    end: str,
    encoding: str,
    titled: bool,
) -> None:
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=separator, lineterminator=end)
    writer.writerows([*([["Plate, 1"]] if titled else []), ["well", "Condition", "dose"]])
    writer.writerows([[f"B{k:02d}", *row] for k, row in enumerate(rows)])
    path = tmp_path_factory.mktemp("table") / "layout.csv"
    path.write_bytes(stream.getvalue().encode(encoding))
    table = read_text_table(path, "the table", ("well",))
    assert table.columns.tolist() == ["well", "condition", "dose"]
    found = list(zip(table["condition"], table["dose"], strict=True))
    assert found == [(first.strip(), second.strip()) for first, second in rows]


def test_a_workbook_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "layout.xlsx"
    write_workbook(path)
    check(path)


def test_of_several_sheets_the_one_with_wells_is_read(tmp_path: Path) -> None:
    path = tmp_path / "layout.xlsx"
    book = openpyxl.Workbook()
    book.active.append(["notes about the experiment"])
    sheet = book.create_sheet("plate")
    for row in [[], [], *ROWS, []]:
        sheet.append(row)
    book.save(path)
    check(path)


def test_merged_cells_have_the_value_of_the_merged_one(tmp_path: Path) -> None:
    path = tmp_path / "layout.xlsx"
    rows = [["well", "condition"], ["B02", "LPS"], ["B03", None], ["B04", "medium"]]
    book = write_workbook(path, rows)
    book.active.merge_cells("B2:B3")
    book.save(path)
    assert read_layout(path).rows["condition"].tolist() == ["LPS", "LPS", "medium"]


def test_values_read_as_a_person_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "t.xlsx"
    moment = dt.datetime(2026, 11, 29, 13, 30)
    write_workbook(
        path, [["a", None, "b"], [1.0, "x", 0.1 + 0.2], [True, None, dt.date(2026, 11, 29)], [7, "", moment]]
    )
    table = read_text_table(path, "the table")
    assert table.columns.tolist() == ["a", "b"]
    assert table["a"].tolist() == ["1", "True", "7"]
    assert table["b"].tolist() == ["0.3", "2026-11-29", "2026-11-29T13:30:00"]


def test_a_formula_counts_by_its_saved_result_only(tmp_path: Path) -> None:
    path = tmp_path / "layout.xlsx"
    write_workbook(path, [["well", "dose"], ["B02", 1], ["B03", "=2*B2"]])
    with pytest.raises(InputError, match=r"formulas whose results were not saved \(Tabelle1: B3\)"):
        read_layout(path)


def rewritten(path: Path, old: bytes, new: bytes) -> None:
    """Replace bytes of the first sheet, as another program may write them."""
    with zipfile.ZipFile(path) as packed:
        parts = {item.filename: packed.read(item) for item in packed.infolist()}
    name = "xl/worksheets/sheet1.xml"
    assert old in parts[name]
    parts[name] = parts[name].replace(old, new)
    with zipfile.ZipFile(path, "w") as packed:
        for each, content in parts.items():
            packed.writestr(each, content)


def with_result(path: Path, result: bytes, kind: str) -> None:
    """Write a layout whose B3 is a formula with a saved result of a kind (str: text, e: error, n: number)."""
    write_workbook(path, [["well", "condition"], ["B02", "LPS"], ["B03", "=X1"]])
    old = b'<c r="B3"><f>X1</f><v></v></c>'
    rewritten(path, old, b'<c r="B3" t="%s"><f>X1</f><v>%s</v></c>' % (kind.encode(), result))


@pytest.mark.parametrize(
    ("result", "kind", "value"), [(b"IL-4", "str", "IL-4"), (b"", "str", ""), (b"7", "n", "7")]
)
def test_of_a_formula_the_saved_result_is_read(tmp_path: Path, result: bytes, kind: str, value: str) -> None:
    with_result(tmp_path / "layout.xlsx", result, kind)
    assert read_layout(tmp_path / "layout.xlsx").rows["condition"].tolist() == ["LPS", value]


def test_an_error_of_a_formula_is_no_condition(tmp_path: Path) -> None:
    with_result(tmp_path / "layout.xlsx", b"#N/A", "e")
    with pytest.raises(InputError, match=r"errors of formulas \(Tabelle1: B3 #N/A\)"):
        read_layout(tmp_path / "layout.xlsx")


def test_formulas_and_sizes_of_other_sheets_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "layout.xlsx"
    book = openpyxl.Workbook()
    book.active.append(["dilutions", "=2*B2"])
    sheet = book.create_sheet("plate")
    for row in ROWS:
        sheet.append(row)
    book.save(path)
    check(path)


@pytest.mark.parametrize("corner", ["A1048576", "XFD1048576", "XFD1"])
def test_a_format_far_away_makes_no_table_of_thousands_of_millions_of_cells(
    tmp_path: Path, corner: str
) -> None:
    path = tmp_path / "layout.xlsx"
    book = write_workbook(path)
    book.active[corner].font = openpyxl.styles.Font(bold=True)
    book.save(path)
    check(path)


@pytest.mark.parametrize(("area", "fits"), [("G9:ZZ12", True), ("G9:XFD1048576", False)])
def test_merged_cells_far_away_are_left_and_too_many_refused(tmp_path: Path, area: str, fits: bool) -> None:
    path = tmp_path / "layout.xlsx"
    write_workbook(path)
    areas = f'</sheetData><mergeCells count="1"><mergeCell ref="{area}" /></mergeCells>'
    rewritten(path, b"</sheetData>", areas.encode())
    if fits:
        check(path)
    else:
        with pytest.raises(InputError, match="merged cells"):
            read_layout(path)


def test_a_sheet_of_too_many_cells_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "layout.xlsx"
    write_workbook(path)
    monkeypatch.setattr(workbook, "MOST_CELLS", 14)  # three rows of five
    with pytest.raises(InputError, match="too large"):
        read_layout(path)


@pytest.mark.parametrize("ending", [".csv", ".xlsx"])
def test_titles_may_stand_above_the_names(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"layout{ending}"
    titles: list[list[Any]] = [["Plate 1, LPS; 24 h"], ["read by", "A. Person"]]
    if ending == ".xlsx":
        write_workbook(path, [*titles, *ROWS])
    else:
        above = "\n".join(",".join(f'"{cell}"' for cell in row) for row in titles)
        path.write_text(f"{above}\n\n{text(';', ',', chr(10))}", encoding="utf-8")
    check(path)


def test_remarks_beside_a_table_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "layout.csv"
    path.write_text("well;condition;;\nB02;LPS;;pipetted twice\nB03;medium;\n")
    rows = read_layout(path).rows
    assert rows.to_dict("list") == {"well": ["B02", "B03"], "condition": ["LPS", "medium"]}


@pytest.mark.parametrize(
    "content",
    [
        "well,condition,dose\nB02,LPS,2,5\nB03,LPS,0,5\n",  # all rows
        "well,condition,dose\nB02,LPS,2\nB03,LPS,0,5\n",  # some
        "image,condition\na,x,y\n",
        "well,dose,\nB02,2,5\n",  # a column without a name at the end
    ],
)
def test_a_decimal_comma_between_commas_is_refused_and_shifts_nothing(tmp_path: Path, content: str) -> None:
    path = tmp_path / "layout.csv"
    path.write_text(content)
    line = 3 if "B02,LPS,2\n" in content else 2
    with pytest.raises(InputError, match=f"line {line} has more values.*semicolons"):
        read_layout(path)


@pytest.mark.parametrize("ending", [".csv", ".xlsx"])
def test_a_column_that_is_there_twice_is_refused(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"layout{ending}"
    if ending == ".xlsx":
        write_workbook(path, [["well", "Dose", "dose"], ["B02", 1, 2]])
    else:
        path.write_text("well,dose,dose\nB02,1,2\n")
    with pytest.raises(InputError, match="'dose' is there twice"):
        read_layout(path)


@pytest.mark.parametrize("value", [dt.date(2026, 5, 1), "01.05.2026", "5/1/26", "1. Mai", "01-May"])
def test_a_dose_that_became_a_date_is_told_as_such(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "layout.xlsx"
    write_workbook(path, [["well", "dose"], ["B02", value]])
    with pytest.raises(InputError, match="took it for a date"):
        read_layout(path)
    write_workbook(path, [["well", "dose"], ["B02", "10 ugml"]])
    with pytest.raises(InputError, match="without its unit"):
        read_layout(path)


def damaged(path: Path, kind: str) -> None:
    if kind == "empty":
        openpyxl.Workbook().save(path)
    elif kind == "cut":
        path.write_bytes(path.read_bytes()[:-200])
    elif kind == "no zip":
        path.write_bytes(b"B02;LPS\n")
    elif kind == "no workbook":
        with zipfile.ZipFile(path, "w") as packed:
            packed.writestr("a.txt", "x")
    else:
        with zipfile.ZipFile(path) as packed:
            parts = {item.filename: packed.read(item) for item in packed.infolist()}
        name = "xl/worksheets/sheet1.xml"
        lol = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">' + b"".join(
            b'<!ENTITY %c "%s">' % (98 + k, b"&%c;" % (97 + k) * 10) for k in range(9)
        )
        parts[name] = (
            lol + b"]><worksheet>&j;</worksheet>" if kind == "entities" else b"<worksheet><sheetData>"
        )
        with zipfile.ZipFile(path, "w") as packed:
            for each, content in parts.items():
                packed.writestr(each, content)


@pytest.mark.parametrize("kind", ["empty", "cut", "no zip", "no workbook", "cut xml", "entities"])
def test_a_damaged_workbook_is_one_sentence(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "layout.xlsx"
    write_workbook(path)
    damaged(path, kind)
    with pytest.raises(InputError) as caught:
        read_layout(path)
    assert "layout.xlsx" in str(caught.value)
    assert len(str(caught.value)) < 300


def test_what_unpacks_to_too_much_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "layout.xlsx"
    write_workbook(path)
    monkeypatch.setattr(workbook, "MOST_BYTES", 1000)
    with pytest.raises(InputError, match="too large"):
        read_layout(path)


@pytest.mark.parametrize("name", ["layout.xls", "layout.ods"])
def test_other_workbooks_are_refused_with_what_to_do(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError, match=r"save it as \.xlsx"):
        read_layout(tmp_path / name)


@pytest.mark.parametrize("content", [b"well\0condition\n", b"\x89PNG\r\n\x1a\n\0\0\0", b"\x81\x8d\xff\n"])
def test_what_is_no_text_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "layout.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match="the layout"):
        read_layout(path)
