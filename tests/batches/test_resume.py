"""A run that was killed or is repeated: the same bytes, nothing twice, only what is affected again."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import fakes
import numpy as np
import pandas as pd
import pytest
from runs import child, content, images

from napari_tam.batches.conclude import conclude
from napari_tam.batches.run import analyse_files
from napari_tam.errors import InputError
from napari_tam.files import OutputError
from napari_tam.io.images import read_fields
from napari_tam.results import folder as results
from napari_tam.results.folder import read_mask, read_results, write_mask
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


class Counting(fakes.ThresholdSegmenter):
    calls = 0

    def segment(self, *given: Any, **named: Any) -> Any:
        self.calls += 1
        return super().segment(*given, **named)


def again(paths: list[Path], out: Path, settings: Settings | None = None, **named: Any) -> int:
    """Run with `resume` and return how many fields were analysed."""
    models = fakes.models(named.pop("cells", None), named.pop("nuclei", None))
    models.hashes.update(named.pop("hashes", {}))
    outcomes = analyse_files(paths, settings or Settings(), models, out, resume=True, **named)
    return sum(not outcome.kept for outcome in outcomes)


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    paths, out = images(tmp_path / "in", 3), tmp_path / "out"
    assert again(paths, out) == 3
    before = content(out)
    assert again(paths, out) == 0
    assert content(out) == before
    assert json.loads((out / "run.json").read_text())["images_of_an_earlier_run"] == 3


@pytest.mark.parametrize(
    ("change", "analysed"),
    [
        ({"puncta_score": 0.4}, 3),
        ({"perinuclear_distance_um": 3.0}, 3),
        ({"positive_quantile": 0.9, "comparison_min_cells": 1.0, "track_max_missed": 0}, 0),
        ({"device": "cpu"}, 0),
        ({"overlays": False}, 0),
    ],
)
def test_a_changed_setting_repeats_only_what_depends_on_it(
    tmp_path: Path, change: dict[str, Any], analysed: int
) -> None:
    paths, out = images(tmp_path / "in", 3), tmp_path / "out"
    again(paths, out)
    assert again(paths, out, Settings(**change)) == analysed
    list(analyse_files(paths, Settings(**change), fakes.models(), tmp_path / "fresh"))
    assert content(out) == content(tmp_path / "fresh")


@pytest.mark.parametrize(
    ("change", "cells", "nuclei"),
    [
        ({"puncta_score": 0.4}, 0, 0),
        ({"phenotype_model": "none"}, 0, 0),
        ({"min_cell_area_um2": 21.0}, 3, 0),
        ({"min_nucleus_area_um2": 6.0}, 3, 3),
        ({"flow_threshold": 0.5}, 3, 3),
        ({"channels": {"cell": 0, "nucleus": 1, "exosome": 2}}, 3, 3),
        ({"pixel_size_um": 0.5}, 3, 3),
    ],
)
def test_masks_that_still_hold_are_not_found_again(
    tmp_path: Path, change: dict[str, Any], cells: int, nuclei: int
) -> None:
    paths, out = images(tmp_path / "in", 3), tmp_path / "out"
    again(paths, out)
    counted = Counting(), Counting()
    assert again(paths, out, Settings(**change), cells=counted[0], nuclei=counted[1]) == 3
    assert (counted[0].calls, counted[1].calls) == (cells, nuclei)
    list(analyse_files(paths, Settings(**change), fakes.models(), tmp_path / "fresh"))
    assert content(out) == content(tmp_path / "fresh")


@pytest.mark.parametrize("damage", ["changed", "removed", "no image"])
def test_masks_that_somebody_changed_are_found_again(tmp_path: Path, damage: str) -> None:
    paths, out = images(tmp_path / "in", 3), tmp_path / "out"
    again(paths, out)
    mask = out / "masks" / "i1_cells.tif"
    if damage == "changed":
        write_mask(mask, np.ones_like(read_mask(mask)), 0.5)
    elif damage == "removed":
        mask.unlink()
    else:
        mask.write_bytes(b"no image")
    cells = Counting()
    assert again(paths, out, Settings(puncta_score=0.4), cells=cells) == 3
    assert cells.calls == 1
    list(analyse_files(paths, Settings(puncta_score=0.4), fakes.models(), tmp_path / "fresh"))
    assert content(out) == content(tmp_path / "fresh")


def test_masks_of_another_network_or_image_are_not_taken(tmp_path: Path) -> None:
    paths, out = images(tmp_path / "in", 2), tmp_path / "out"
    again(paths, out)
    cells, nuclei = Counting(), Counting()
    again(paths, out, hashes={"cells": "1" * 64}, cells=cells, nuclei=nuclei)
    assert (cells.calls, nuclei.calls) == (2, 0)
    fakes.write_image(paths[0], fakes.image(fakes.SPOTS[:3]))
    assert again(paths, out, hashes={"cells": "1" * 64}, cells=cells) == 1
    assert cells.calls == 3


def test_another_network_is_another_result(tmp_path: Path) -> None:
    paths, out = images(tmp_path / "in", 2), tmp_path / "out"
    again(paths, out)
    assert again(paths, out, hashes={"cells": "1" * 64}) == 2


def test_a_new_version_is_another_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths, out = images(tmp_path / "in", 2), tmp_path / "out"
    again(paths, out)
    monkeypatch.setattr("napari_tam.results.fingerprint.__version__", "99")
    assert again(paths, out) == 2


def test_only_a_changed_image_is_analysed_again(tmp_path: Path) -> None:
    paths, out = images(tmp_path / "in", 3), tmp_path / "out"
    again(paths, out)
    os.utime(paths[0])  # touched, but the same
    shutil.copy(paths[1], tmp_path / "copy")
    os.replace(tmp_path / "copy", paths[1])
    assert again(paths, out) == 0
    fakes.write_image(paths[2], fakes.image(fakes.SPOTS[:3]))
    assert again(paths, out) == 1
    assert read_results(out).images["puncta"].tolist() == [0, 1, 3]


def test_a_removed_mask_or_picture_is_made_again(tmp_path: Path) -> None:
    paths, out = images(tmp_path / "in", 3), tmp_path / "out"
    again(paths, out)
    before = content(out)
    (out / "masks" / "i0_cells.tif").unlink()
    (out / "overlays" / "i2.png").unlink()
    assert again(paths, out) == 2
    assert content(out) == before


def test_failures_are_kept_until_they_are_to_be_tried_again(tmp_path: Path) -> None:
    paths, out = images(tmp_path / "in", 3), tmp_path / "out"
    failing = fakes.models(fakes.FailingSegmenter(MemoryError(), at=2))
    list(analyse_files(paths, Settings(), failing, out))
    assert again(paths, out) == 0
    assert read_results(out).images["status"].tolist() == ["ok", "failed", "ok"]
    assert again(paths, out, retry_failed=True) == 1
    assert read_results(out).images["status"].tolist() == ["ok"] * 3
    list(analyse_files(paths, Settings(), fakes.models(), tmp_path / "fresh"))
    assert content(out) == content(tmp_path / "fresh")


def test_an_image_that_was_away_is_tried_again_by_itself(tmp_path: Path) -> None:
    paths, out = images(tmp_path / "in", 2), tmp_path / "out"
    hidden = paths[0].rename(tmp_path / "hidden")
    again(paths, out)
    table = read_results(out).images
    assert table["status"].tolist() == ["failed", "ok"]
    assert "No such file" in table["error"][0]
    hidden.rename(paths[0])
    assert again(paths, out) == 1
    assert read_results(out).images["status"].tolist() == ["ok", "ok"]


@pytest.mark.parametrize("jobs", [0, 2])
def test_the_frames_of_a_movie_are_resumed_one_by_one(tmp_path: Path, jobs: int) -> None:
    frames = np.stack([fakes.image(fakes.SPOTS[:count]) for count in range(4)])
    path = fakes.write_image(tmp_path / "movie.ome.tif", frames, "TCYX")
    out = tmp_path / "out"
    with contextlib.closing(analyse_files([path], Settings(), fakes.models(), out, jobs=0)) as batch:
        next(batch)
        next(batch)
    assert again([path], out, jobs=jobs) == 2
    assert again([path], out, jobs=jobs) == 0
    list(analyse_files([path], Settings(), fakes.models(), tmp_path / "fresh"))
    assert content(out) == content(tmp_path / "fresh")


def test_threads_give_the_same_bytes_in_the_same_order(tmp_path: Path) -> None:
    paths = images(tmp_path / "in", 7)
    paths[3].write_bytes(b"no image")
    first = list(analyse_files(paths, Settings(), fakes.models(), tmp_path / "a"))
    second = list(analyse_files(paths, Settings(), fakes.models(), tmp_path / "b", jobs=3))
    assert [outcome.name for outcome in first] == [outcome.name for outcome in second]
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_with_little_memory_one_image_is_analysed_at_a_time(tmp_path: Path) -> None:
    paths = images(tmp_path / "in", 6)
    busy, most = 0, 0
    two = threading.Event()

    class Watching(fakes.ThresholdSegmenter):
        patience = 0.05

        def segment(self, *given: Any, **named: Any) -> Any:
            nonlocal busy, most
            busy += 1
            most = max(most, busy)
            if busy > 1:
                two.set()
            two.wait(self.patience)  # for another image, which may come
            busy -= 1
            return super().segment(*given, **named)

    watching = Watching()
    models = fakes.models(watching)
    list(analyse_files(paths, Settings(), models, tmp_path / "out", jobs=4, memory_gb=1e-6))
    assert most == 1
    watching.patience = 20
    list(analyse_files(paths, Settings(), models, tmp_path / "out", jobs=4))
    assert most > 1


def test_a_file_stays_open_until_what_is_read_piece_by_piece_is_analysed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_open: list[bool] = []
    state = {"open": False}

    def fields(path: Path, settings: Settings, **named: Any) -> Any:
        state["open"] = True
        yield from read_fields(path, settings, name=named["name"])
        state["open"] = False

    class Looking(fakes.ThresholdSegmenter):
        def segment(self, *given: Any, **named: Any) -> Any:
            time.sleep(0.1)
            is_open.append(state["open"])
            return super().segment(*given, **named)

    monkeypatch.setattr("napari_tam.batches.work.read_fields", fields)
    monkeypatch.setattr("napari_tam.batches.work._is_read", lambda _field: False)
    paths = images(tmp_path / "in", 2)
    list(analyse_files(paths, Settings(), fakes.models(Looking()), tmp_path / "out", jobs=2))
    assert is_open == [True, True]
    # a run that is closed meanwhile does not wait for it
    with contextlib.closing(
        analyse_files(paths, Settings(), fakes.models(Looking()), tmp_path / "out", jobs=2)
    ) as batch:
        next(batch)


def test_closing_a_threaded_run_keeps_what_is_done(tmp_path: Path) -> None:
    paths, out = images(tmp_path / "in", 8), tmp_path / "out"
    with contextlib.closing(analyse_files(paths, Settings(), fakes.models(), out, jobs=2)) as batch:
        assert next(batch).name == "i0"
    table = read_results(out).images
    assert table["image"].is_unique
    assert table["status"][0] == "ok"
    assert len(table) == 8
    ready = (table["status"] == "ok").sum()
    assert again(paths, out) <= 8 - ready
    assert read_results(out).images["status"].tolist() == ["ok"] * 8


def test_the_tables_are_the_same_when_they_are_put_together_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = images(tmp_path / "in", 4)
    again(paths, tmp_path / "a")
    monkeypatch.setattr("napari_tam.results.tables.PIECE", 2)
    again(paths, tmp_path / "b")
    for name in ("cells.csv", "puncta.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    for name in ("cells", "puncta"):
        whole, pieces = (pd.read_parquet(tmp_path / run / f"{name}.parquet") for run in "ab")
        pd.testing.assert_frame_equal(whole, pieces)
        dataset = pd.read_parquet(tmp_path / "a" / "fields" / name)
        assert len(dataset) == len(whole)


def test_two_runs_cannot_write_one_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    code = """
        import sys, time
        from pathlib import Path
        from napari_tam.results.lock import locked
        with locked(Path(sys.argv[1])):
            print("HELD", flush=True)
            time.sleep(60)
    """
    process = child(code, str(out))
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "HELD\n"
        with pytest.raises(InputError, match="another napari-tam is writing this folder"):
            again(images(tmp_path / "in", 1), out)
    finally:
        process.kill()
        process.communicate()
    assert again(images(tmp_path / "in", 1), out) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("jobs", [0, 2])
def test_a_run_that_is_killed_twice_ends_with_the_same_bytes(tmp_path: Path, jobs: int) -> None:
    paths, out = images(tmp_path / "in", 12), tmp_path / "out"
    code = """
        import sys, time
        from pathlib import Path
        import fakes
        from napari_tam.batches.run import analyse_files
        from napari_tam.settings import Settings

        class Slow(fakes.ThresholdSegmenter):
            def segment(self, *given):
                time.sleep(0.02)
                return super().segment(*given)

        jobs, out, *paths = sys.argv[1:]
        batch = analyse_files([Path(path) for path in paths], Settings(), fakes.models(Slow()), Path(out),
                              resume=True, jobs=int(jobs))
        for outcome in batch:
            if not outcome.kept:
                print(outcome.name, flush=True)
    """
    seen: list[str] = []
    for _ in range(2):
        process = child(code, str(jobs), str(out), *map(str, paths))
        assert process.stdout is not None
        seen += [process.stdout.readline().strip() for _ in range(3)]
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert len(set(seen)) == len(seen) == 6
    assert again(paths, out) <= 6
    conclude(out, Settings())
    list(analyse_files(paths, Settings(), fakes.models(), tmp_path / "fresh"))
    conclude(tmp_path / "fresh", Settings())
    assert content(out) == content(tmp_path / "fresh")


def test_what_could_not_be_written_is_tried_again_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, out = images(tmp_path / "in", 2), tmp_path / "out"
    write = results.write_mask

    def refuse(path: Path, *given: Any, **named: Any) -> None:
        if path.name == "i0_cells.tif":
            raise OutputError(path, PermissionError(errno.EACCES, "Permission denied"))
        write(path, *given, **named)

    with monkeypatch.context() as patch:
        patch.setattr("napari_tam.results.folder.write_mask", refuse)
        again(paths, out)
    assert read_results(out).images["status"].tolist() == ["failed", "ok"]
    assert again(paths, out) == 1
    assert read_results(out).images["status"].tolist() == ["ok", "ok"]
