"""Many images: one that fails, one that meets a bug, a full disk, Ctrl+C."""

from __future__ import annotations

import contextlib
import errno
import json
import threading
from typing import TYPE_CHECKING, Any

import fakes
import numpy as np
import pytest

from napari_tam.batches import threads as overlap
from napari_tam.batches.run import ALL_STEPS, BatchProgress, Outcome, analyse_files
from napari_tam.errors import InputError
from napari_tam.pipeline.edits import Edits
from napari_tam.results.edits import save_edits
from napari_tam.results.fingerprint import source_of
from napari_tam.results.folder import read_results
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


def images(folder: Path, number: int) -> list[Path]:
    return [fakes.write_image(folder / f"i{index}.ome.tif") for index in range(number)]


def analyse(paths: list[Path], out: Path, **named: Any) -> list[Outcome]:
    return list(analyse_files(paths, Settings(), fakes.models(named.pop("cells", None)), out, **named))


def status(out: Path) -> dict[str, str]:
    table = read_results(out).images
    assert table["image"].is_unique
    return dict(zip(table["image"], table["status"], strict=True))


def test_every_image_is_in_every_table(tmp_path: Path) -> None:
    paths = images(tmp_path, 3)
    outcomes = analyse(paths, tmp_path / "out")
    assert [outcome.name for outcome in outcomes] == ["i0", "i1", "i2"]
    assert all(outcome.error is None for outcome in outcomes)
    found = read_results(tmp_path / "out")
    for table in (found.images, found.cells, found.puncta):
        assert table["image"].unique().tolist() == ["i0", "i1", "i2"]
    assert found.images["puncta"].sum() == len(found.puncta) == 3 * len(fakes.SPOTS)
    assert found.cells["puncta_count"].sum() + (found.puncta["label"] == 0).sum() == len(found.puncta)


def test_no_cells_and_no_puncta_are_a_result(tmp_path: Path) -> None:
    path = fakes.write_image(tmp_path / "empty.ome.tif", fakes.image([], cells=False))
    [outcome] = analyse([path], tmp_path / "out")
    assert outcome.error is None
    found = read_results(tmp_path / "out")
    assert (found.images["cells"].item(), found.images["puncta"].item()) == (0, 0)
    assert len(found.cells) == 0
    assert "puncta_count" in found.cells
    masks = found.masks("empty")
    assert masks is not None
    assert masks.shape == fakes.SHAPE
    assert (tmp_path / "out" / "overlays" / "empty.png").exists()


def test_a_broken_file_does_not_stop_the_others(tmp_path: Path) -> None:
    paths = images(tmp_path, 3)
    paths[1].write_bytes(b"not a TIFF at all")
    outcomes = analyse(paths, tmp_path / "out")
    assert [outcome.analysis is not None for outcome in outcomes] == [True, False, True]
    assert outcomes[1].error is not None
    assert str(paths[1]) in outcomes[1].error
    assert status(tmp_path / "out") == {"i0": "ok", "i1": "failed", "i2": "ok"}
    table = read_results(tmp_path / "out").images
    assert table["error"].tolist() == ["", outcomes[1].error, ""]
    assert not (tmp_path / "out" / "errors.log").exists()


def test_every_frame_of_a_time_series_is_an_image(tmp_path: Path) -> None:
    series = np.stack([fakes.image(), fakes.image(fakes.SPOTS[:1])])
    path = fakes.write_image(tmp_path / "movie.ome.tif", series, "TCYX")
    outcomes = analyse([path], tmp_path / "out")
    assert [outcome.name for outcome in outcomes] == ["movie_t0000", "movie_t0001"]
    found = read_results(tmp_path / "out")
    assert found.images["puncta"].tolist() == [4, 1]
    assert found.images["frame"].tolist() == [0, 1]


def test_files_of_the_same_name_get_names_of_their_own(tmp_path: Path) -> None:
    for day in ("mon", "tue"):
        (tmp_path / day).mkdir()
        fakes.write_image(tmp_path / day / "a.ome.tif")
    paths = sorted(tmp_path.glob("*/a.ome.tif"))
    assert [outcome.name for outcome in analyse(paths, tmp_path / "out")] == ["mon_a", "tue_a"]
    assert len(list((tmp_path / "out" / "overlays").iterdir())) == 2


def test_a_bug_is_recorded_with_its_traceback_and_the_others_go_on(tmp_path: Path) -> None:
    cells = fakes.FailingSegmenter(ZeroDivisionError("oops\nat night"), at=1)
    outcomes = analyse(images(tmp_path, 2), tmp_path / "out", cells=cells)
    assert status(tmp_path / "out") == {"i0": "failed", "i1": "ok"}
    error = outcomes[0].error
    assert error is not None
    assert "ZeroDivisionError: oops at night" in error
    assert "please report" in error
    log = (tmp_path / "out" / "errors.log").read_text(encoding="utf-8")
    assert "fakes.py" in log
    analyse(images(tmp_path, 2), tmp_path / "out")
    assert not (tmp_path / "out" / "errors.log").exists()


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (MemoryError(), "not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "not enough memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), "not enough memory"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (InputError("is upside down", where="x"), "x: is upside down"),
    ],
)
def test_expected_failures_are_one_sentence_and_no_bug(
    tmp_path: Path, error: Exception, sentence: str
) -> None:
    cells = fakes.FailingSegmenter(error, at=1)
    outcomes = analyse(images(tmp_path, 2), tmp_path / "out", cells=cells)
    assert outcomes[0].error is not None
    assert sentence in outcomes[0].error
    assert "bug" not in outcomes[0].error
    assert status(tmp_path / "out") == {"i0": "failed", "i1": "ok"}


def test_ctrl_c_leaves_whole_tables_and_lists_the_missing(tmp_path: Path) -> None:
    cells = fakes.FailingSegmenter(KeyboardInterrupt(), at=3)
    with pytest.raises(KeyboardInterrupt):
        analyse(images(tmp_path, 4), tmp_path / "out", cells=cells)
    out = tmp_path / "out"
    assert status(out) == {"i0": "ok", "i1": "ok", "i2": "not analysed", "i3": "not analysed"}
    found = read_results(out)
    assert found.cells["image"].unique().tolist() == ["i0", "i1"]
    assert len(found.puncta) == 2 * len(fakes.SPOTS)
    assert json.loads((out / "run.json").read_text())["status"] == "interrupted"
    assert not list(out.rglob("*.part"))


def test_closing_the_generator_between_images_is_an_interruption_too(tmp_path: Path) -> None:
    with contextlib.closing(
        analyse_files(images(tmp_path, 3), Settings(), fakes.models(), tmp_path / "out")
    ) as batch:
        assert next(batch).name == "i0"
    assert status(tmp_path / "out") == {"i0": "ok", "i1": "not analysed", "i2": "not analysed"}


def test_a_half_finished_time_series_is_listed_as_missing(tmp_path: Path) -> None:
    path = fakes.write_image(tmp_path / "movie.ome.tif", np.stack([fakes.image()] * 3), "TCYX")
    cells = fakes.FailingSegmenter(KeyboardInterrupt(), at=2)
    with pytest.raises(KeyboardInterrupt):
        analyse([path], tmp_path / "out", cells=cells)
    assert status(tmp_path / "out") == {"movie_t0000": "ok", "movie": "not analysed"}


def test_a_full_disk_ends_the_run_with_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    paths = images(tmp_path, 3)
    monkeypatch.setattr("tifffile.imwrite", full)
    with pytest.raises(InputError, match="No space left"):
        analyse(paths, tmp_path / "out")
    assert status(tmp_path / "out") == dict.fromkeys(("i0", "i1", "i2"), "not analysed")


def test_a_picture_that_is_open_elsewhere_costs_that_image_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = images(tmp_path, 2)
    calls: list[int] = []

    def locked(analysis: object) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise PermissionError(errno.EACCES, "Permission denied")
        return np.zeros((4, 4, 3), np.uint8)

    monkeypatch.setattr("napari_tam.results.field_store.overlay", locked)
    analyse(paths, tmp_path / "out")
    assert status(tmp_path / "out") == {"i0": "failed", "i1": "ok"}
    assert read_results(tmp_path / "out").cells["image"].unique().tolist() == ["i1"]


def test_the_tables_are_saved_while_a_long_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_tam.results.record.SAVE_EVERY", 0.0)
    monkeypatch.setattr("napari_tam.results.record.SAVE_SHARE", 0.0)
    batch = analyse_files(images(tmp_path, 3), Settings(), fakes.models(), tmp_path / "out")
    next(batch)
    next(batch)
    assert status(tmp_path / "out") == {"i0": "ok", "i1": "not analysed", "i2": "not analysed"}
    assert json.loads((tmp_path / "out" / "run.json").read_text())["status"] == "running"
    batch.close()


def test_progress_names_every_step_of_every_image(tmp_path: Path) -> None:
    told: list[BatchProgress] = []
    analyse(images(tmp_path, 2), tmp_path / "out", on_progress=told.append)
    steps = [(each.index, each.step.step) for each in told if each.step.step not in ("read", "threshold")]
    assert steps == [(index, step) for index in (0, 1) for step in ALL_STEPS[1:]]
    assert {each.files for each in told} == {2}
    done = [
        each.index + each.step.done / each.step.total
        for each in told
        if each.step.step not in ("read", "threshold")
    ]
    assert done == sorted(done)


def test_without_pictures_none_is_left_from_before(tmp_path: Path) -> None:
    paths, out = images(tmp_path, 1), tmp_path / "out"
    analyse(paths, out)
    assert list((out / "overlays").iterdir())
    list(analyse_files(paths, Settings(overlays=False), fakes.models(), out))
    assert not list((out / "overlays").iterdir())


@pytest.mark.parametrize("jobs", [0, 2])
def test_a_results_folder_that_is_removed_ends_the_run_with_one_sentence(tmp_path: Path, jobs: int) -> None:
    paths, out = images(tmp_path, 6), tmp_path / "out"
    batch = analyse_files(paths, Settings(), fakes.models(), out, jobs=jobs)
    next(batch)
    out.rename(tmp_path / "gone")
    with pytest.raises(InputError, match="cannot be written"):
        list(batch)


@pytest.mark.parametrize("jobs", [0, 2])
def test_an_input_that_is_removed_during_the_run_costs_that_image_only(tmp_path: Path, jobs: int) -> None:
    paths, out = images(tmp_path, 8), tmp_path / "out"
    batch = analyse_files(paths, Settings(), fakes.models(), out, jobs=jobs)
    next(batch)
    paths[7].unlink()
    *_, last = batch
    assert last.error is not None
    assert "No such file" in last.error
    assert status(out) == {f"i{k}": "ok" if k < 7 else "failed" for k in range(8)}


def test_an_input_that_may_not_be_read_costs_that_image_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = images(tmp_path, 2)

    def look(path: Path, *_: object) -> Any:
        if path == paths[0]:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return source_of(path)

    monkeypatch.setattr("napari_tam.batches.work.source_of", look)
    outcomes = analyse(paths, tmp_path / "out")
    assert outcomes[0].error is not None
    assert "it cannot be read (Permission denied)" in outcomes[0].error
    assert status(tmp_path / "out") == {"i0": "failed", "i1": "ok"}


def test_a_full_disk_in_a_thread_leaves_what_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, out = images(tmp_path, 6), tmp_path / "out"
    batch = analyse_files(paths, Settings(), fakes.models(), out, jobs=2)
    assert next(batch).name == "i0"

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr("tifffile.imwrite", full)
        with pytest.raises(InputError, match="No space left"):
            list(batch)
    found = status(out)
    assert found["i0"] == "ok"
    assert found["i5"] == "not analysed"
    list(analyse_files(paths, Settings(), fakes.models(), out, resume=True))
    assert status(out) == dict.fromkeys((f"i{k}" for k in range(6)), "ok")


def test_correcting_an_image_by_hand_makes_its_result_a_new_one(tmp_path: Path) -> None:
    paths, out = images(tmp_path, 2), tmp_path / "out"
    analyse(paths, out)
    save_edits(out, "i1", Edits(removed=np.array([fakes.SPOTS[0]])), fakes.PIXEL_UM)
    outcomes = analyse(paths, out, resume=True)
    assert [outcome.kept for outcome in outcomes] == [True, False]
    assert read_results(out).images["puncta"].tolist() == [4, 3]


def test_a_card_is_shared_by_a_few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, processor, card in ((1, 1, 1), (2, 2, 2), (16, 16, 4)):
        monkeypatch.setattr(overlap, "cores", lambda cores=cores: cores)
        assert (overlap.default_jobs("cpu"), overlap.default_jobs("cuda:1")) == (processor, card)


def test_threads_share_the_cores() -> None:
    import cv2
    import torch

    before = torch.get_num_threads(), cv2.getNumThreads()
    with overlap.executor(2, threading.Event()) as pool:
        assert pool.submit(torch.get_num_threads).result() == max(1, before[0] // 2)
        assert pool.submit(cv2.getNumThreads).result() == max(1, before[1] // 2)
    assert (torch.get_num_threads(), cv2.getNumThreads()) == before
