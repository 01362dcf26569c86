"""What the page tells of dots and wells: the right cell, the right picture, little enough, and only text."""

from __future__ import annotations

import base64
import io
import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import plates
import pytest
from PIL import Image

from napari_tam.report import pictures
from napari_tam.report.build import encode
from napari_tam.report.figures.phenotype import elongation, uptake_by_phenotype
from napari_tam.report.figures.plate import plate_map
from napari_tam.report.figures.superplot import superplot_count
from napari_tam.report.page import render
from napari_tam.report.pointing import told
from napari_tam.report.reading import read_data
from napari_tam.report.spots import WHOLE, Pointed, pointed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

    from napari_tam.report.data import ReportData
    from napari_tam.report.style import Drawn


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ReportData:
    folder = plates.write_plate(tmp_path_factory.mktemp("pointing") / "run")
    plates.paint_overlays(folder)
    return read_data(folder)


def seen(drawn: Drawn) -> tuple[Pointed, npt.NDArray[np.uint8]]:
    """Return the places of a figure and its picture."""
    content = encode(drawn.figure, "png")
    found = pointed(drawn)
    assert found is not None
    return found, np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def shown_at(picture: npt.NDArray[np.uint8], x: int, y: int) -> npt.NDArray[np.uint8]:
    height, width = picture.shape[:2]
    row, column = round(y * height / WHOLE), round(x * width / WHOLE)
    return picture[row - 1 : row + 2, column - 1 : column + 2]


def opened(address: str) -> npt.NDArray[np.int_]:
    kind, _, content = address.partition(",")
    assert re.fullmatch(r"data:image/(webp|jpeg);base64", kind)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB"), int)


@pytest.mark.parametrize("draw", [superplot_count, uptake_by_phenotype, elongation])
def test_at_every_place_there_is_a_dot_of_that_cell(
    data: ReportData, draw: Callable[[ReportData], Drawn]
) -> None:
    drawn = draw(data)
    found, picture = seen(drawn)
    keys = [key for column in found.columns for _, _, key, _ in column.places]
    assert len(keys) == len(set(keys))
    hit = []
    for column in found.columns:
        assert [y for _, y, _, _ in column.places] == sorted(y for _, y, _, _ in column.places)
        for x, y, key, texts in column.places:
            hit.append(shown_at(picture, x, y).min() < 230)
            assert float(texts[0]) == data.cells["puncta_count"][key]
    assert np.mean(hit) > 0.95  # all but those below the white symbol of a mean
    # higher values are higher up, at the same distance for the same difference
    at = {key: y for column in found.columns for _, y, key, _ in column.places}
    counts = data.cells["puncta_count"][list(at)]
    assert np.corrcoef(counts, list(at.values()))[0, 1] == pytest.approx(-1, abs=1e-6)


def test_dots_beyond_the_axes_and_blank_paper_have_no_place(data: ReportData) -> None:
    drawn = superplot_count(data)
    found, picture = seen(drawn)
    keys = {key for column in found.columns for _, _, key, _ in column.places}
    top = drawn.figure.axes[0].get_ylim()[1]
    assert keys == set(data.cells.index[data.cells["puncta_count"] <= top])
    assert (shown_at(picture, 9000, 9700) == 255).all()


def test_the_places_of_wells_are_their_squares(data: ReportData) -> None:
    found, picture = seen(plate_map(data))
    assert found.size is not None
    assert [len(column.places) for column in found.columns[:2]] == [3, 3]  # B, C and D of columns 2 and 3
    for column in found.columns:
        for x, y, (_, well), texts in column.places:  # type: ignore[misc]
            for side in (-0.4, 0.4):  # its corners are in the square, and what is beyond is not
                corner = shown_at(picture, round(x + side * found.size[0]), round(y + side * found.size[1]))
                assert np.ptp(corner.astype(int), axis=(0, 1)).max() <= 3
            assert shown_at(picture, x, round(y - 0.532 * found.size[1]))[1, 1].min() >= 225
            assert well in set(found.table["well"])
            assert texts[0] != "-"


def test_the_picture_of_a_cell_is_of_that_cell(data: ReportData) -> None:
    cells = data.cells[data.cells["image"] == "plate1_C05"]
    centres = cells[["centroid_y_px", "centroid_x_px"]].to_numpy()
    apart = np.abs(centres[:, None] - centres[None]).max(axis=2) + 1e3 * np.eye(len(cells))
    alone = cells.index[apart.min(axis=1) > 25]
    assert len(alone) >= 5
    found = pictures.cell_pictures(data, cells)
    assert set(found) == set(cells.index)
    for index in alone:
        picture = opened(found[index])
        assert picture.shape == (64, 64, 3)
        expected = plates.colour_of(int(data.cells["label"][index]))
        np.testing.assert_allclose(picture[30:34, 30:34].mean(axis=(0, 1)), expected, atol=40)


@pytest.mark.parametrize("side_px", [300, 1024])
def test_overlays_of_another_size_than_the_image_give_the_same_window(tmp_path: Path, side_px: int) -> None:
    folder = plates.write_plate(tmp_path / "run")
    plates.paint_overlays(folder, side_px)
    own = read_data(folder)
    cells = own.cells[own.cells["image"] == "plate1_C05"].iloc[-1:]  # drawn last: on top
    [address] = pictures.cell_pictures(own, cells).values()
    expected = plates.colour_of(int(cells["label"].iloc[0]))
    np.testing.assert_allclose(opened(address)[31:33, 31:33].mean(axis=(0, 1)), expected, atol=40)


def test_pictures_stay_within_their_room_and_are_of_all_parts_of_the_table(
    data: ReportData, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = pictures.cell_pictures(data, data.cells)
    room = sum(map(len, every.values())) // 3
    monkeypatch.setattr(pictures, "CELL_LETTERS", room)
    some = pictures.cell_pictures(data, data.cells)
    assert 0.8 * room < sum(map(len, some.values())) <= room
    assert set(some) < set(every)
    assert set(data.cells["image"][list(some)]) == set(data.cells["image"][list(every)])
    monkeypatch.setattr(pictures, "CELL_LETTERS", 10)
    assert pictures.cell_pictures(data, data.cells) == {}
    monkeypatch.setattr(pictures, "FIELD_LETTERS", room)
    names = sorted(data.analysed["image"])
    assert 0 < sum(map(len, pictures.field_pictures(data, names).values())) <= room


def test_without_overlays_or_with_damaged_ones_there_is_text_alone(tmp_path: Path) -> None:
    folder = plates.write_plate(tmp_path / "run")
    for path in (folder / "overlays").iterdir():
        path.write_bytes(b"no picture")
    own = read_data(folder)
    found = told(own, {"a": seen(superplot_count(own))[0]})
    assert all(picture == "" for *_, picture in found["cells"])
    assert found["note"] == f"0 of {len(found['cells'])} cells have a picture."


def test_a_well_tells_its_numbers_and_what_is_wrong_with_its_fields(data: ReportData) -> None:
    found = told(data, {"plate_map": seen(plate_map(data))[0]})
    wells = {well["name"]: well for well in found["wells"]}
    bad = wells["C02"]
    here = data.cells[data.cells["image"] == plates.bad_image()]
    assert dict(bad["facts"])["cells"] == "24"
    assert float(dict(bad["facts"])["puncta per cell"]) == pytest.approx(
        here["puncta_count"].mean(), rel=5e-3
    )
    assert bad["group"] == "medium (dye only)"
    [(name, verdict, picture)] = [found["fields"][number] for number in bad["fields"]]
    assert name == plates.bad_image()
    assert "saturated (2 % of the exosome pixels)" in verdict
    assert max(opened(picture).shape) == pictures.FIELD_PX
    [other] = wells["C05"]["fields"]
    assert found["fields"][other][1] == "passed all checks"
    failed = next(field for field in found["fields"] if field[0].startswith("=cmd|"))
    assert failed[1].startswith("not analysed: bad.tif: the image cannot be read")


@pytest.mark.parametrize(
    "name", ["</script><script>alert(1)</script>", "<!--<script>", "a\u2028b]]>", "\\u003c"]
)
def test_a_name_stays_text_in_the_page(data: ReportData, name: str) -> None:
    page = render(data, [], [], {"figures": {}, "cells": [[name, 1, [], ""]]})
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL)
    assert len(scripts) == 2
    assert json.loads(scripts[0])["cells"][0][0] == name
    assert not re.search("[<>&\u2028]", scripts[0])


def test_the_script_is_the_one_that_the_page_allows(data: ReportData) -> None:
    import hashlib

    page = render(data, [], [], {"figures": {}})
    own = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert len(own) == 1
    digest = base64.b64encode(hashlib.sha256(own[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page


def test_cells_beyond_the_number_that_the_page_knows_are_said(
    data: ReportData, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_tam.report import pointing

    found = seen(superplot_count(data))[0]
    every: Any = told(data, {"a": found})
    monkeypatch.setattr(pointing, "MOST_CELLS", 50)
    some: Any = told(data, {"a": found})
    assert len(some["cells"]) == 50
    assert f"50 of {len(every['cells'])} cells answer." in some["note"]
    for _, places in some["figures"]["a"]["columns"]:
        for _, _, number, text in places:
            image, label, *_ = some["cells"][number]
            row = data.cells[(data.cells["image"] == image) & (data.cells["label"] == label)]
            assert float(text) == row["puncta_count"].item()
    assert len({image for image, *_ in some["cells"]}) > 15


def test_a_phenotype_tells_its_reason(data: ReportData) -> None:
    found = told(data, {"a": seen(superplot_count(data))[0]})
    texts = pd.Series([sentences[0] for _, _, sentences, _ in found["cells"]])
    assert set(texts) == {"M1", "M2", "uncertain (border)", "uncertain (low probability)"}
