"""``napari-tam batch``: plan, resume, failures, clusters, as a user sees them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import fakes
import numpy as np
import pytest
import tifffile

from napari_tam.batches.plan import look_into
from napari_tam.cli import analyse as cli_analyse
from napari_tam.cli import plan as cli_plan
from napari_tam.cli.main import main
from napari_tam.results.folder import read_results
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def fake_models(monkeypatch: pytest.MonkeyPatch) -> None:
    for command in (cli_analyse, cli_plan):
        monkeypatch.setattr(command, "load_models", lambda _: fakes.models())


def run(*arguments: object) -> int:
    try:
        return main(["batch", *map(str, arguments)])
    except SystemExit as stop:
        return int(stop.code or 0)


def plate(folder: Path) -> Path:
    folder.mkdir()
    for name in ("B02", "B03", "B04"):
        fakes.write_image(folder / f"{name}.ome.tif")
    return folder


def test_the_same_command_goes_on_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, out = plate(tmp_path / "in"), tmp_path / "out"
    assert run(images, "--out", out, "--dry-run") == 0
    assert "3 to analyse, 0 done already; nothing was written" in capsys.readouterr().out
    assert not out.exists()
    assert run(images / "B02.ome.tif", "--out", out) == 0
    capsys.readouterr()
    assert run(images, "--out", out) == 0
    assert "3 analysed (1 of them by an earlier run)" in capsys.readouterr().out
    assert read_results(out).cells["image"].unique().tolist() == ["B02", "B03", "B04"]


def test_a_run_that_ends_before_its_first_table_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def pressed(*_: object, **__: object) -> Iterator[None]:
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(cli_analyse, "analyse_batch", pressed)
    assert run(plate(tmp_path / "in"), "--out", tmp_path / "out") == 130
    said = capsys.readouterr()
    assert "interrupted: before the first image" in said.err
    assert "the same command goes on from here" in said.err
    assert "cells.csv" not in said.out


def test_a_dry_run_of_what_was_never_analysed_loads_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = []
    monkeypatch.setattr(cli_plan, "load_models", loaded.append)
    assert run(plate(tmp_path / "in"), "--out", tmp_path / "out", "--dry-run") == 0
    assert "3 to analyse" in capsys.readouterr().out
    assert not loaded


def test_a_dry_run_looks_into_images_and_says_which_would_fail(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, out = plate(tmp_path / "in"), tmp_path / "out"
    (images / "B03.ome.tif").write_bytes(b"broken")
    channels = np.zeros((3, 64, 64), np.uint16)
    names = {"axes": "CYX", "Labels": ["CD11b", "DAPI", "PKH26"]}
    tifffile.imwrite(images / "B05.tif", channels, imagej=True, metadata=names)
    assert run(images, "--out", out, "--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    first, second, headers, _ = lines[-4:]
    assert first.startswith("fails    ") and "B03.ome.tif: this is not a TIFF image" in first
    assert second.startswith("fails    ") and "B05.tif: the file does not tell its pixel size" in second
    assert headers == "headers  of all of them were read: 2 would fail"
    assert run(images, "--out", out, "--dry-run", "--pixel-size", "0.5") == 0
    assert "1 would fail" in capsys.readouterr().out


def test_a_few_of_many_images_are_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    monkeypatch.setattr("napari_tam.io.images.check_headers", lambda path, _: looked.append(path.name))
    paths = [tmp_path / f"{number}.tif" for number in range(1000)]
    assert look_into(paths, Settings()) == (8, [])
    assert (len(set(looked)), looked[0], looked[-1]) == (8, "0.tif", "999.tif")
    assert look_into(paths[:3], Settings()) == (3, [])
    assert look_into(paths[:1], Settings()) == (1, [])
    assert look_into([], Settings()) == (0, [])


def test_looking_ends_where_it_takes_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(np.arange(0, 10, 0.4).tolist())
    monkeypatch.setattr("napari_tam.batches.plan.time.monotonic", lambda: next(clock))
    monkeypatch.setattr("napari_tam.io.images.check_headers", lambda path, _: None)
    assert look_into([tmp_path / f"{number}.tif" for number in range(1000)], Settings()) == (3, [])


def test_a_dry_run_says_how_the_first_image_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, out = plate(tmp_path / "in"), tmp_path / "out"
    assert run(images, "--out", out, "--dry-run") == 0
    said = capsys.readouterr().out
    first = f"first    {images / 'B02.ome.tif'}: 128 x 96 px of 0.5 µm; cell = 0: CD11b, nucleus = 1: DAPI, "
    assert f"{first}exosome = 2: exosome\n" in said
    tifffile.imwrite(images / "A01.tif", fakes.image(), photometric="minisblack")  # tells neither
    assert run(images, "--out", out, "--dry-run", "--channels", "cell=0,exosome=2") == 0
    assert "A01.tif: the file does not tell its pixel size" in capsys.readouterr().out
    assert run(images, "--out", out, "--dry-run", "--pixel-size", 0.5) == 0
    assert "A01.tif: cannot tell which channel is the cell" in capsys.readouterr().out
    assert not out.exists()


def test_a_layout_whose_control_has_another_name_is_told_before_and_after(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layout = tmp_path / "layout.csv"
    layout.write_text("Well,Condition,Control\nB02,a,dye only\nB03,a,\nB04,a,\n", encoding="utf-8")
    given = (plate(tmp_path / "in"), "--out", tmp_path / "out", "--layout", layout)
    assert run(*given, "--dry-run") == 0
    assert "layout   the column 'control' of the layout is not read" in capsys.readouterr().out
    assert run(*given) == 0
    assert "note     the column 'control' of the layout is not read" in capsys.readouterr().out


@pytest.mark.parametrize("every", [0.0, 60.0])
def test_a_log_says_now_and_then_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], every: float
) -> None:
    monkeypatch.setattr(cli_plan, "LOG_EVERY_S", every)
    assert run(plate(tmp_path / "in"), "--out", tmp_path / "out") == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("so far")]
    assert lines == ([] if every else [f"so far   {number} of 3 files" for number in (1, 2, 3)])


def test_a_dry_run_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, out = plate(tmp_path / "in"), tmp_path / "out"
    (images / "B04.ome.tif").write_bytes(b"broken")
    assert run(images, "--out", out) == 1
    fakes.write_image(images / "B03.ome.tif", fakes.image(()))
    (out / "masks" / "B02_cells.tif").unlink()
    capsys.readouterr()
    assert run(images, "--out", out, "--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("B02.ome.tif (a mask, picture or table is missing)")
    assert lines[1].endswith("B03.ome.tif (the image changed)")
    assert lines[2].startswith("keep ")
    assert "(failed: " in lines[2]
    run(images, "--out", out, "--dry-run", "--retry-failed", "--min-cell-area", "30")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("(other settings, networks or version)")
    run(images, "--out", out, "--dry-run", "--retry-failed")
    assert capsys.readouterr().out.splitlines()[2].endswith("B04.ome.tif (failed before)")


def test_failures_are_told_again_and_tried_again_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    images, out = plate(tmp_path / "in"), tmp_path / "out"
    failing = fakes.models(fakes.FailingSegmenter(MemoryError(), at=1))
    for command in (cli_analyse, cli_plan):
        monkeypatch.setattr(command, "load_models", lambda _: failing)
    assert run(images, "--out", out, "--jobs", 1) == 1
    assert run(images, "--out", out) == 1
    assert "not enough memory" in capsys.readouterr().err
    assert run(images, "--out", out, "--retry-failed") == 0
    assert read_results(out).images["status"].tolist() == ["ok"] * 3


def test_with_a_layout_the_report_is_written(tmp_path: Path) -> None:
    images, out = plate(tmp_path / "in"), tmp_path / "out"
    layout = tmp_path / "layout.csv"
    layout.write_text("well,condition,control_role\nB02,IL-4,\nB03,LPS,\nB04,dye,dye_only\n")
    assert run(images, "--out", out, "--layout", layout) == 0
    before = (out / "cells.csv").read_bytes()
    assert (out / "report.html").exists()
    assert run(images, "--out", out, "--layout", layout) == 0
    assert (out / "cells.csv").read_bytes() == before


@pytest.mark.parametrize("words", [("--jobs", "0"), ("--memory", "-1"), ("--memory", "much")])
def test_what_is_no_number_is_refused(
    tmp_path: Path, words: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(plate(tmp_path / "in"), "--out", tmp_path / "out", *words) == 2
    assert f"'{words[1]}' is not a" in capsys.readouterr().err


def test_without_dask_a_cluster_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert run(plate(tmp_path / "in"), "--out", tmp_path / "out", "--cluster", "local:2") == 2
    assert "pip install 'napari-tam[cluster]'" in capsys.readouterr().err


def test_a_plate_of_which_only_the_empty_control_is_there_has_a_report(tmp_path: Path) -> None:
    images, out = tmp_path / "in", tmp_path / "out"
    images.mkdir()
    fakes.write_image(images / "dye.ome.tif", fakes.image(()))
    layout = tmp_path / "layout.csv"
    layout.write_text("image,condition,replicate,control_role\ndye,dye,1,dye_only\n")
    assert run(images, "--out", out, "--layout", layout) == 0  # and warns of nothing
    assert "of the treated cells positive" not in (out / "report.html").read_text(encoding="utf-8")


def test_parts_leave_the_tables_to_the_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, out = plate(tmp_path / "in"), tmp_path / "out"
    (images / "B04.ome.tif").write_bytes(b"broken")
    assert run(images, "--out", out, "--part", "1/2") == 1
    said = capsys.readouterr()
    assert "part     1 of 2: 1 analysed, 1 failed" in said.out
    assert "B04.ome.tif" in said.err
    assert run(images, "--out", out, "--part", "2/2") == 0
    assert run(images, "--out", out, "--part", "4/4") == 0
    assert "no image is left for it, of 3" in capsys.readouterr().out
    assert not (out / "images.csv").exists()
    assert run(images, "--out", out) == 1
    assert "2 analysed (2 of them by an earlier run), 1 failed" in capsys.readouterr().out
    assert read_results(out).cells["image"].unique().tolist() == ["B02", "B03"]


def test_a_part_answers_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, out = plate(tmp_path / "in"), tmp_path / "out"
    assert run(images, "--out", out, "--part", "1/2", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["analysed"], told["of_an_earlier_run"], told["failed"]) == (2, 0, [])


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--part", "0/2"], "3/20 is the third of twenty"),
        (["--part", "3/2"], "3/20 is the third of twenty"),
        (["--part", "1"], "3/20 is the third of twenty"),
        (["--part", "1/2", "--fresh"], "--part and --fresh do not go together"),
        (["--part", "1/2", "--cluster", "local:2"], "--part and --cluster do not go together"),
        (["--part", "1/2", "--dry-run"], "--part and --dry-run do not go together"),
    ],
)
def test_a_part_that_makes_no_sense_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], why: str
) -> None:
    assert run(plate(tmp_path / "in"), "--out", tmp_path / "out", *options) == 2
    assert why in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("relative", [False, True])
def test_images_that_fail_for_the_same_reason_are_told_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, relative: bool
) -> None:
    images = plate(tmp_path / "in")
    if relative:  # as most people give them
        monkeypatch.chdir(tmp_path)
        images = Path("in")
    for number in range(7):
        fakes.write_image(images / f"C{number + 1:02d}.ome.tif", fakes.image()[:1])  # a single channel
    (images / "D01.tif").write_bytes(b"broken")
    assert run(images, "--out", tmp_path / "out") == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("failed")]
    alike, (other,) = [line for line in lines if "D01" not in line], [line for line in lines if "D01" in line]
    assert len(alike) == 4
    assert all(f"C0{number}.ome.tif: " in line for number, line in enumerate(alike[:3], 1))
    reason = alike[0].split("C01.ome.tif: ")[1]
    assert alike[3] == f"failed   4 more: {reason}"
    assert reason not in other
    assert (read_results(tmp_path / "out").images["status"] == "failed").sum() == 8  # the table has all


def test_recursive_takes_images_below_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = plate(tmp_path / "in")
    plate(images / "day2")
    assert run(images, "--out", tmp_path / "out", "--dry-run") == 0
    said = capsys.readouterr().out
    assert "3 to analyse" in said
    assert "--recursive takes them (day2)" in said
    assert run(images, "--out", tmp_path / "out", "--recursive") == 0
    names = read_results(tmp_path / "out").images["image"]
    assert len(set(names)) == 6
