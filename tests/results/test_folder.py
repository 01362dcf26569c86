"""The results folder: whole files, safe tables, masks with their pixel size."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import fakes
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

import napari_tam
from napari_tam.columns import CELL_COLUMNS, PUNCTA_COLUMNS
from napari_tam.errors import InputError
from napari_tam.files import OutputError, replacing
from napari_tam.io.images import read_fields
from napari_tam.pipeline.runner import run
from napari_tam.results.field_store import Stamp
from napari_tam.results.folder import mask_path, prepare, read_mask, read_results, write_mask
from napari_tam.results.record import Record, failure_row, image_row
from napari_tam.results.tables import read_csv, rows_table, stack, write_csv
from napari_tam.settings import Settings

STAMP = Stamp(None, "")


def record_of(tmp_path: Path, names: tuple[str, ...] = ("a",)) -> tuple[Record, Path]:
    """Analyse an image per name and return the record and its folder."""
    out = tmp_path / "out"
    paths = {fakes.write_image(tmp_path / f"{index}.ome.tif"): name for index, name in enumerate(names)}
    record = Record(out, Settings(), fakes.models(), paths, ["napari-tam", "analyse"])
    for path, name in paths.items():
        [field] = read_fields(path, Settings(), name=name)
        analysis = run(field, Settings(), fakes.models())
        row = record.parts.write(analysis, image_row(analysis, 0.5), STAMP, pictures=True)
        record.add(row, analysis.seconds)
        record.finish_file(path)
    return record, out


def test_a_saved_run_reads_back_as_it_was(tmp_path: Path) -> None:
    record, out = record_of(tmp_path, ("a", "b"))
    record.save("complete")
    found = read_results(out)
    assert found.images["image"].tolist() == ["a", "b"]
    assert found.images["status"].tolist() == ["ok", "ok"]
    assert found.images["cells"].tolist() == [3, 3]
    assert found.images["puncta_outside"].tolist() == [1, 1]
    assert found.cells["puncta_count"].tolist() == [2, 1, 0] * 2
    assert found.puncta["label"].tolist() == [1, 2, 1, 0] * 2
    assert list(found.puncta.columns[:4]) == ["image", "label", "y_px", "x_px"]
    cells = found.masks("a")
    assert cells is not None
    np.testing.assert_array_equal(cells, fakes.discs(fakes.RADIUS))
    assert (out / "overlays" / "b.png").read_bytes().startswith(b"\x89PNG")
    assert not list(out.rglob("*.part"))


def test_the_two_forms_of_the_cell_table_hold_the_same(tmp_path: Path) -> None:
    record, out = record_of(tmp_path)
    record.save("complete")
    wide = pd.read_parquet(out / "cells.parquet")
    assert wide["nucleus_count"].tolist() == [1, 1, 1]
    assert list(wide.columns) == [column.name for column in CELL_COLUMNS]
    pd.testing.assert_frame_equal(read_csv(out / "cells.csv"), wide, check_dtype=False)


def test_the_record_says_what_was_used(tmp_path: Path) -> None:
    record, out = record_of(tmp_path)
    record.save("complete")
    run_json = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert run_json["command"] == ["napari-tam", "analyse"]
    assert run_json["images"] == {"ok": 1}
    assert run_json["models"] == {"cells": "0" * 64}
    assert run_json["versions"]["numpy"] == np.__version__
    assert run_json["versions"]["napari-tam"] == napari_tam.__version__
    assert {"cells", "nuclei", "puncta", "measure"} <= set(run_json["seconds_by_step"])
    assert any("guessed" in note for note in run_json["notes"])
    assert Settings.from_yaml(out / "settings.yaml") == Settings()


def test_a_run_without_any_image_has_complete_tables(tmp_path: Path) -> None:
    record = Record(tmp_path, Settings(), fakes.models(), {tmp_path / "a.tif": "a"})
    record.add(
        record.parts.write_failure("a", failure_row("a", tmp_path / "a.tif", "it is broken", 0.1), STAMP)
    )
    record.finish_file(tmp_path / "a.tif")
    record.save("complete")
    found = read_results(tmp_path)
    assert list(found.cells.columns) == [column.name for column in CELL_COLUMNS]
    assert list(found.puncta.columns) == [column.name for column in PUNCTA_COLUMNS]
    assert len(found.cells) == len(found.puncta) == 0
    assert found.images["error"].tolist() == ["it is broken"]


def test_a_failure_removes_what_an_earlier_run_left(tmp_path: Path) -> None:
    record, out = record_of(tmp_path)
    assert mask_path(out, "a", "nuclei").exists()
    row = record.parts.write_failure("a", failure_row("a", tmp_path / "0.ome.tif", "gone", 0.1), STAMP)
    assert row["status"] == "failed"
    assert [path.name for path in out.rglob("a*")] == ["a.json"]


# What a process does that gets Ctrl+C while it writes its tables; not the one that runs the tests, which a
# signal at the wrong moment ends.
PRESSED = """
import signal, sys
from pathlib import Path

import test_folder
from napari_tam import files

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
record, out = test_folder.record_of(Path(sys.argv[1]))
write_json = files.write_json


def pressed(path, value):
    signal.raise_signal(signal.SIGINT)
    write_json(path, value)


files.write_json = pressed
try:
    record.save("complete")
except KeyboardInterrupt:
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        print("stopped", test_folder.status(out))
"""


def status(out: Path) -> str:
    """Return the status that `run.json` gives."""
    return str(json.loads((out / "run.json").read_text(encoding="utf-8"))["status"])


def test_ctrl_c_waits_until_the_tables_are_whole(tmp_path: Path) -> None:
    here = Path(__file__).parent
    paths = [str(here), str(here.parent / "helpers"), os.environ.get("PYTHONPATH", "")]
    ended = subprocess.run(
        [sys.executable, "-c", PRESSED, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ended.stdout.split(), ended.returncode) == (["stopped", "complete"], 0), ended.stderr


@pytest.mark.parametrize(("labels", "dtype"), [(300, np.uint16), (70_000, np.uint32)])
def test_masks_keep_labels_and_pixel_size(tmp_path: Path, labels: int, dtype: type) -> None:
    mask = np.arange(labels + 1, dtype=np.uint32)
    mask = np.resize(mask, (400, 300))
    write_mask(tmp_path / "m.tif", mask, 0.325)
    with tifffile.TiffFile(tmp_path / "m.tif") as tif:
        assert tif.series[0].dtype == dtype
        assert tif.pages[0].compression != 1
        pixels = tifffile.xml2dict(tif.ome_metadata)["OME"]["Image"]["Pixels"]
    assert (pixels["PhysicalSizeX"], pixels["PhysicalSizeXUnit"]) == (0.325, "µm")
    assert (pixels["PhysicalSizeY"], pixels["PhysicalSizeYUnit"]) == (0.325, "µm")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.tif"), mask)


def test_a_large_mask_is_written_at_once(tmp_path: Path) -> None:
    mask = np.kron(np.arange(1, 401, dtype=np.uint16).reshape(20, 20), np.ones((102, 102), np.uint16))
    write_mask(tmp_path / "m.tif", mask, 0.3)
    started = time.process_time()
    write_mask(tmp_path / "m.tif", mask, 0.3)
    assert time.process_time() - started < 0.2  # of the processor; 0.02 s on an idle machine
    assert (tmp_path / "m.tif").stat().st_size < mask.nbytes / 20


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "cannot be read"), (b"II*\0....", "not a label image"), (None, "not a label image")],
)
def test_a_bad_mask_is_one_sentence(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "m.tif"
    if content is None:
        tifffile.imwrite(path, np.ones((5, 5), np.float32))
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match=reason) as caught:
        read_mask(path)
    assert "\n" not in str(caught.value)


def test_a_failed_write_leaves_the_old_file_and_no_part(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as part:
        part.write_text("half of the n")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_full_disk_is_told_apart_from_a_file_in_use(tmp_path: Path) -> None:
    for code, fatal in ((errno.ENOSPC, True), (errno.EACCES, False)):
        with pytest.raises(OutputError, match="cannot be written") as caught, replacing(tmp_path / "a"):
            raise OSError(code, os.strerror(code))
        assert caught.value.fatal is fatal


def test_the_output_cannot_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("I am a file")
    with pytest.raises(InputError, match="is a file, not a folder"):
        prepare(tmp_path / "out")
    with pytest.raises(InputError, match="cannot be written"):
        prepare(tmp_path / "out" / "deeper")


def test_an_unwritable_folder_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "write_bytes", refuse)  # a test may run as root, who may write anywhere
    with pytest.raises(InputError, match="Permission denied"):
        prepare(tmp_path / "out")


FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "'=1", "a=b", "001", "NA", "", 'q"u,o\nte', "µ"]


def test_no_spreadsheet_runs_a_name_as_a_formula(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    write_csv(path, rows_table([{"image": name, "n": i} for i, name in enumerate(FORMULAS)], ["image"]))
    raw = pd.read_csv(path, keep_default_na=False, dtype=str)["image"]
    assert not [name for name in raw if name[:1] and name[:1] in "=+-@\t\r"]
    assert read_csv(path)["image"].tolist() == FORMULAS
    assert path.read_bytes().startswith(b"image,n\n")  # names of columns without quotes


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0")), min_size=1))
def test_any_name_survives_the_table(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    path = tmp_path_factory.mktemp("names") / "t.csv"
    write_csv(path, rows_table([{"image": name, "n": 1} for name in names], ["image"]))
    assert read_csv(path)["image"].tolist() == names


def test_numbers_are_not_changed_by_the_escape(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", pa.table({"x": [-1.5, None, 2.0], "n": [-3, 4, 5]}))
    assert (tmp_path / "t.csv").read_text() == "x,n\n-1.5,-3\n,4\n2,5\n"


def test_tables_with_other_columns_are_stacked() -> None:
    frames = [pd.DataFrame({"a": [1], "b": [2.5]}), pd.DataFrame({"a": [0.5]}), pd.DataFrame({"a": []})]
    assert stack(frames).to_pydict() == {"a": [1.0, 0.5], "b": [2.5, None]}


def test_a_folder_without_results_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a results folder"):
        read_results(tmp_path)
    (tmp_path / "images.csv").write_text("")
    with pytest.raises(InputError, match="cannot be read"):
        read_results(tmp_path)


def test_masks_of_volumes_keep_their_planes_and_voxel_size(tmp_path: Path) -> None:
    mask = np.arange(5 * 20 * 30, dtype=np.uint16).reshape(5, 20, 30) % 300
    write_mask(tmp_path / "m.tif", mask, 0.2, 0.5)
    with tifffile.TiffFile(tmp_path / "m.tif") as tif:
        assert tif.series[0].axes == "ZYX"
        size = tifffile.xml2dict(tif.ome_metadata)["OME"]["Image"]["Pixels"]
    assert (size["PhysicalSizeX"], size["PhysicalSizeZ"], size["PhysicalSizeZUnit"]) == (0.2, 0.5, "µm")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.tif"), mask)
