"""A folder that is written into: complete images only, restarts, shares that vanish and return."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import fakes
import pytest
import tifffile
from runs import child, content

from napari_tam.batches.conclude import conclude
from napari_tam.batches.run import analyse_files
from napari_tam.batches.watch import ShareAway, Watcher, wait
from napari_tam.cli import watch as cli_watch
from napari_tam.cli.main import main
from napari_tam.cli.watch import Station
from napari_tam.io.layout import read_layout
from napari_tam.results.folder import read_results
from napari_tam.results.lock import locked
from napari_tam.settings import Settings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def watcher(folder: Path, settle: float = 10.0) -> Watcher:
    return Watcher(folder, folder / "out", Settings(), settle)


def station(folder: Path, **named: Any) -> Station:
    return Station(watcher(folder, 0.0), folder / "out", Settings(), fakes.models(), **named)


def names(out: Path) -> list[str]:
    return [str(name) for name in read_results(out).images["image"]]


def test_an_image_is_complete_when_it_was_stable_for_a_while(folder: Path) -> None:
    path = fakes.write_image(folder / "a.ome.tif")
    seen = watcher(folder)
    assert seen.complete(now=0) == []
    assert seen.complete(now=9) == []
    os.utime(path)  # still being written
    assert seen.complete(now=11) == []
    assert seen.complete(now=20) == []
    assert seen.pending() == 1
    assert seen.complete(now=22) == [path]
    assert seen.pending() == 0


def test_a_file_that_grows_slowly_is_never_taken(folder: Path) -> None:
    whole = fakes.write_image(folder.parent / "whole.ome.tif").read_bytes()
    path = folder / "a.ome.tif"
    seen = watcher(folder)
    for step in range(1, 20):
        path.write_bytes(whole[: len(whole) * step // 20])
        assert seen.complete(now=9 * step) == []
    # it stalls: stable, but not readable
    assert seen.complete(now=190) == []
    path.write_bytes(whole)
    assert seen.complete(now=200) == []
    assert seen.complete(now=211) == [path]


def test_what_stays_unreadable_is_told_as_a_failure_in_the_end(folder: Path) -> None:
    path = folder / "a.tif"
    path.write_bytes(b"II*\0")
    seen = watcher(folder)
    assert [seen.complete(now=now) for now in (0, 11, 30, 59)] == [[]] * 4
    assert seen.complete(now=90) == [path]


def test_an_image_whose_channels_are_files_waits_for_all_of_them(folder: Path) -> None:
    planes = fakes.image()
    for site, channels in ((1, (1, 2, 3)), (2, (1, 2))):
        for channel in channels:
            tifffile.imwrite(folder / f"p_B02_s{site}_w{channel}.tif", planes[channel - 1])
    roles = {"cell": "w1", "nucleus": "w2", "exosome": "w3"}
    chosen = Settings(channels=roles, pixel_size_um=fakes.PIXEL_UM)
    seen = Watcher(folder, folder / "out", chosen, 0.0)
    seen.complete(now=0)
    assert [path.name for path in seen.complete(now=1)] == ["p_B02_s1_w1.tif"]
    tifffile.imwrite(folder / "p_B02_s2_w3.tif", planes[2])
    seen.complete(now=2)
    assert [path.name for path in seen.complete(now=3)] == ["p_B02_s1_w1.tif", "p_B02_s2_w1.tif"]


def test_subfolders_count_but_results_and_hidden_ones_do_not(folder: Path) -> None:
    for place in ("plate1", ".hidden", "out/masks"):
        (folder / place).mkdir(parents=True)
        fakes.write_image(folder / place / "a.ome.tif")
    seen = watcher(folder, 0.0)
    seen.complete(now=0)
    assert seen.complete(now=1) == [folder / "plate1" / "a.ome.tif"]


def test_a_folder_that_vanishes_is_waited_for(folder: Path) -> None:
    path = fakes.write_image(folder / "a.ome.tif")
    seen = watcher(folder, 0.0)
    seen.complete(now=0)
    away = folder.rename(folder.parent / "away")
    with pytest.raises(ShareAway):
        seen.complete(now=1)
    away.rename(folder)
    assert seen.complete(now=2) == [path]
    path.unlink()
    assert seen.complete(now=3) == [path]  # its results still count


def test_images_are_analysed_as_they_come_and_the_tables_are_those_of_one_run(folder: Path) -> None:
    post = station(folder)
    out = folder / "out"
    for count, name in enumerate("bac", 1):
        fakes.write_image(folder / f"{name}.ome.tif", fakes.image(fakes.SPOTS[:count]))
        post.look()
        assert post.look() == 1
        assert post.look() == 0
    assert names(out) == ["a", "b", "c"]
    assert read_results(out).images["puncta"].tolist() == [2, 1, 3]


def test_a_restart_keeps_what_was_done_even_of_images_that_were_archived(folder: Path) -> None:
    post = station(folder)
    first = fakes.write_image(folder / "a.ome.tif")
    post.look()
    assert post.look() == 1
    first.unlink()
    fakes.write_image(folder / "b.ome.tif")
    post = station(folder)
    post.stop.set()
    post.run(0.01)
    post.watcher.remember(post._analysed())
    post.look()
    assert post.look() == 1
    assert names(folder / "out") == ["a", "b"]


def test_an_image_that_vanishes_under_the_analysis_is_tried_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fakes.write_image(folder / "a.ome.tif")
    post = station(folder)
    post.look()
    complete = post.watcher.complete
    away = folder.parent / "away"

    def vanish(now: float | None = None) -> list[Path]:
        found = complete(now)
        if not away.exists():
            shutil.move(path, away)
        return found

    monkeypatch.setattr(post.watcher, "complete", vanish)
    post.look()
    assert read_results(folder / "out").images["status"].tolist() == ["failed"]
    monkeypatch.setattr(post.watcher, "complete", complete)
    shutil.copy(away, path)
    post.look()
    post.look()
    assert read_results(folder / "out").images["status"].tolist() == ["ok"]


def test_the_report_is_renewed_at_most_so_often(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []

    class Written:
        path = Path("report.html")

    def write_report(out: Path) -> Any:
        written.append(out)
        return Written

    monkeypatch.setattr("napari_tam.report.build.write_report", write_report)
    layout = folder.parent / "layout.csv"
    layout.write_text("image,condition\na,IL-4\nb,LPS\nc,LPS\n")
    post = station(folder, layout=read_layout(layout), report_every=1000.0)
    for name in "ab":
        fakes.write_image(folder / f"{name}.ome.tif")
        post.look()
        post.look()
    assert len(written) == 1
    assert read_results(folder / "out").cells["condition"].unique().tolist() == ["IL-4", "LPS"]
    post.report(now=True)
    assert len(written) == 2


def test_waiting_ends_at_a_change_or_after_a_while(folder: Path) -> None:
    stop = threading.Event()
    started = time.monotonic()
    wait(folder, 0.2, stop)
    assert 0.1 < time.monotonic() - started < 10
    wait(folder / "away", 0.05, stop)  # no such folder: the time passes
    stop.set()
    wait(folder / "away", 60, stop)


def test_results_that_are_away_are_waited_for_and_not_begun_anew(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = folder.parent / "share" / "out"
    fakes.write_image(folder / "a.ome.tif")
    post = Station(Watcher(folder, out, Settings(), 0.0), out, Settings(), fakes.models())
    share, away = out.parent, folder.parent / "away"

    def until(text: str) -> None:
        deadline = time.monotonic() + 30
        while text not in said:
            assert time.monotonic() < deadline, said
            time.sleep(0.02)
            said.extend(line[20:] for line in capsys.readouterr().err.splitlines())

    def play() -> None:
        try:
            until("a: analysed")
            share.rename(away)
            share.mkdir()  # what a mount leaves behind
            fakes.write_image(folder / "b.ome.tif")
            until(f"{out}: the results are not there; waiting")
            assert not out.exists()
            share.rmdir()
            away.rename(share)
            until("b: analysed")
        except BaseException as error:
            failed.append(error)
        post.stop.set()

    said: list[str] = []
    failed: list[BaseException] = []
    thread = threading.Thread(target=play)
    thread.start()
    with locked(out):
        post.run(0.05)
    thread.join()
    assert not failed
    assert said.count("back again") == 1
    assert names(out) == ["a", "b"]


def test_a_share_that_vanishes_during_the_conclusions_ends_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fakes.write_image(folder / "a.ome.tif")
    post = station(folder)
    tried: list[int] = []

    def away_once(*given: Any) -> Any:
        tried.append(1)
        if len(tried) == 1:
            raise OSError(errno.EIO, "Input/output error")
        post.stop.set()
        return conclude(*given)

    monkeypatch.setattr(cli_watch, "conclude", away_once)
    post.run(0.05)
    assert "Input/output error; waiting" in capsys.readouterr().err
    assert "positive" in read_results(folder / "out").cells


def test_watch_once_analyses_what_is_there_and_ends(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_watch, "load_models", lambda _: fakes.models())
    fakes.write_image(folder / "a.ome.tif")
    out = folder.parent / "out"
    options = ["--settle", "0.05", "--poll", "0.05", "--once"]
    assert main(["watch", str(folder), "--out", str(out), *options]) == 0
    assert names(out) == ["a"]
    assert main(["watch", str(folder / "none"), "--out", str(out), *options]) == 2
    list(analyse_files([folder / "a.ome.tif"], Settings(), fakes.models(), out.parent / "fresh"))
    assert (out / "masks" / "a_cells.tif").read_bytes() == content(out.parent / "fresh")["masks/a_cells.tif"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_one_station_a_folder_and_a_killed_one_leaves_no_lock(folder: Path) -> None:
    code = """
        import sys
        import fakes
        from napari_tam.cli import watch as cli_watch
        from napari_tam.cli.main import main

        cli_watch.load_models = lambda settings: fakes.models()
        sys.exit(main(sys.argv[1:]))
    """
    out = folder.parent / "out"
    arguments = ["watch", str(folder), "--out", str(out), "--settle", "0.1", "--poll", "0.1"]
    fakes.write_image(folder / "a.ome.tif")
    process = child(code, *arguments)
    try:
        deadline = time.monotonic() + 60
        while not (out / "run.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        second = child(code, *arguments, "--once")
        second.communicate(timeout=60)
        assert second.returncode == 2
        process.send_signal(signal.SIGTERM)  # a service manager: as Ctrl+C
        process.communicate(timeout=60)
        assert process.returncode == 0
        process = child(code, *arguments)
        time.sleep(1)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    third = child(code, *arguments, "--once")
    third.communicate(timeout=60)
    assert third.returncode == 0
    assert json.loads((out / "run.json").read_text())["images"] == {"ok": 1}
