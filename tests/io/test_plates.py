"""Plates by names, and the layout that a user fills in."""

from __future__ import annotations

from pathlib import Path

import openpyxl
import pytest

from napari_tam.cli.main import main
from napari_tam.io.layout import read_layout
from napari_tam.io.plates import plate_of, template


@pytest.mark.parametrize(
    ("image", "source", "files", "plate"),
    [
        ("plate7_B02_s1", "in/TimePoint_1/plate7_B02_s1_w1.TIF", "auto", "plate7"),
        ("exp_B02_s1", "exp_B02_s1_w1.TIF", "auto", "exp"),
        ("AssayPlate1_B03_s1", "AssayPlate1_B03_T0001F001L01A01Z01C01.tif", "auto", "AssayPlate1"),
        ("P1_B02", "P1_B02.ome.tif", "auto", "P1"),
        ("Plate-12 B02", "Plate-12 B02.tif", "auto", "Plate-12"),
        ("B02_plate3", "B02_plate3.nd2", "auto", "plate3"),
        ("LPS_B02", "LPS_B02.tif", "auto", ""),
        ("P1_P2_B02", "P1_P2_B02.tif", "auto", ""),
        ("P1", "P1.tif", "auto", ""),
        ("x9_B02_s1", "x9-B02-1-DAPI.tif", "{plate}-{well}-{site}-{channel}.tif", "x9"),
        ("screen_B02_0", "in/screen.ome.zarr", "auto", "screen"),
        ("screen", "in/screen.ome.zarr", "auto", ""),
    ],
)
def test_the_plate_is_what_the_names_tell(image: str, source: str, files: str, plate: str) -> None:
    assert plate_of(image, source, files) == plate


def test_a_template_has_a_row_a_well_and_is_a_layout_of_the_images(tmp_path: Path) -> None:
    names = [
        f"{plate}_{well}_s{site}" for plate in ("P1", "P2") for well in ("B02", "C11") for site in (1, 2)
    ]
    path = tmp_path / "layout.csv"
    path.write_text(template({Path(f"{name}.tif"): name for name in [*names, "a,b", "control"]}))
    layout = read_layout(path)
    assert layout.rows[["plate", "well", "image"]].to_numpy().tolist() == [
        ["", "", "a,b"], ["", "", "control"],
        ["P1", "B02", ""], ["P1", "C11", ""], ["P2", "B02", ""], ["P2", "C11", ""],
    ]  # fmt: skip
    layout.check([*names, "a,b", "control"])
    assert layout.columns_of(names)["plate"].tolist() == ["P1"] * 4 + ["P2"] * 4
    assert (layout.columns_of(names)["condition"] == "").all()


def test_the_command_writes_it_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("P1_B02.tif", "P1_B03.tif"):
        (tmp_path / name).write_bytes(b"")
    out = tmp_path / "layout.csv"
    assert main(["layout", str(tmp_path), "--out", str(out)]) == 0
    assert "2 rows" in capsys.readouterr().out
    text = out.read_text()
    assert text.splitlines()[0] == "well,plate,condition,dose,time,donor,replicate,control_role"
    out.write_text("mine")
    assert main(["layout", str(tmp_path), "--out", str(out)]) == 2
    assert out.read_text() == "mine"
    assert main(["layout", str(tmp_path), "--out", str(out), "--force"]) == 0
    assert out.read_text() == text


def test_the_layout_to_fill_in_can_be_a_workbook(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("P1_B02_s1", "P1_B03_s1", "=1+1"):
        (tmp_path / f"{name}.tif").touch()
    text, book = tmp_path / "layout.csv", tmp_path / "layout.xlsx"
    for out in (text, book):
        assert main(["layout", str(tmp_path / "*.tif"), "--out", str(out)]) == 0
    assert main(["layout", str(tmp_path / "*.tif"), "--out", str(book)]) == 2
    assert "--force" in capsys.readouterr().err
    assert read_layout(book).rows.to_dict("list") == read_layout(text).rows.to_dict("list")
    assert "=1+1" in set(read_layout(book).rows["image"])
    filled = openpyxl.load_workbook(book)
    assert {cell.number_format for row in filled.active.iter_rows() for cell in row} == {"@"}
    assert main(["layout", str(tmp_path / "*.tif"), "--out", str(tmp_path / "layout.xls")]) == 2
    assert not (tmp_path / "layout.xls").exists()
