"""Disks that are full, processes that are killed, power that is cut: the same command ends as if nothing was.

A few places here; every write of every command with ``make faults``.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fakes
import faults
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from runs import child, content, images

from napari_tam import files
from napari_tam.batches import conclude as concluding
from napari_tam.batches.run import analyse_files
from napari_tam.cli import analyse as cli_analyse
from napari_tam.errors import InputError
from napari_tam.results import folder as results
from napari_tam.results import tables
from napari_tam.results.folder import prepare, read_results
from napari_tam.results.lock import LOCK_FILE, locked
from napari_tam.settings import Settings

if TYPE_CHECKING:
    import subprocess

#: ``make faults`` goes through all places.
ALL = os.environ.get("NAPARI_TAM_FAULTS") == "all"
KILLS = ("SIGKILL", "SIGTERM", "SIGINT") if ALL else ("SIGKILL",)


def places(count: int, first: int = 1, step: int = 1) -> list[int]:
    """Return the writes that are to fail: some, or every one (every `step`th from the `first`)."""
    return list(range(first, count + 1, step)) if ALL else sorted({1, count // 2, count} - {0})


@dataclass(frozen=True)
class Stage:
    """One command: how often it writes, the folder before it (a copy), and what `content` gives after it."""

    name: str
    arguments: list[str]
    writes: int
    before: Path
    after: dict[str, Any]

    def restore(self, folder: Path) -> None:
        """Put the folder back as it was before the command, at the same place: paths are in the tables."""
        shutil.rmtree(folder)
        shutil.copytree(self.before, folder)


def left(folder: Path) -> dict[str, Any]:
    """Return what is in the results folder; of SVG files without the chance that is in their ids."""
    found = content(folder / "out")
    drawn = {
        name: re.sub(rb"[a-z]+[0-9a-f]{10}", b"", found[name]) for name in found if name.endswith(".svg")
    }
    return found | drawn


def undisturbed_stages(folder: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> list[Stage]:
    """Run all commands without a fault."""
    folder.mkdir()
    stages = []
    for name, arguments in faults.commands(folder, every=ALL).items():
        shutil.copytree(folder, kept / name)
        with monkeypatch.context() as patch:
            counted = faults.Writes(patch)
            assert faults.run(patch, arguments) == 0, name
        stages.append(Stage(name, arguments, counted.count, kept / name, left(folder)))
    return stages


# what is the same at every place is tried at every third one
@pytest.mark.parametrize(
    ("number", "step"), [(errno.ENOSPC, 1), (errno.EIO, 3), (errno.EACCES, 3)] if ALL else [(errno.ENOSPC, 1)]
)
def test_a_write_that_fails_is_one_sentence_and_the_same_command_mends_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
    step: int,
) -> None:
    folder = tmp_path / "work"
    for stage in undisturbed_stages(folder, tmp_path / "kept", monkeypatch):
        assert stage.writes
        for at in places(stage.writes, 1, step):
            stage.restore(folder)
            with monkeypatch.context() as patch:
                faults.Writes(patch, at, number)
                # one file that is refused fails its image, a full disk ends the run
                assert faults.run(patch, stage.arguments) in (0, 1, 2), (stage.name, at)
            said = capsys.readouterr()
            assert "Traceback" not in said.err
            assert os.strerror(number) in said.out + said.err, (stage.name, at)
            assert not list(folder.rglob("*.part"))
            assert faults.run(monkeypatch, stage.arguments) == 0, (stage.name, at)
            assert left(folder) == stage.after, (stage.name, at)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals")
@pytest.mark.parametrize("name", ["batch", "uptake"] if ALL else ["batch"])
def test_a_run_that_is_killed_at_a_write_is_mended_by_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = tmp_path / "work"
    stages = undisturbed_stages(folder, tmp_path / "kept", monkeypatch)
    stage = next(each for each in stages if each.name == name)
    for first, kill in enumerate(KILLS, 1):  # each signal at every third write, together at every one
        for at in places(stage.writes, first, 3) if ALL else [stage.writes // 2]:
            stage.restore(folder)
            process = child(faults.KILLED, str(at), kill, *stage.arguments)
            process.communicate(timeout=120)
            ends = {"SIGKILL": (-9,), "SIGTERM": (130,), "SIGINT": (130,)}[kill]
            assert process.returncode in ends, (kill, at)
            assert faults.run(monkeypatch, stage.arguments) == 0, (kill, at)
            assert left(folder) == stage.after, (kill, at)


def analysed(paths: list[Path], out: Path) -> list[str]:
    """Run with `resume`; return the names of the fields that were analysed."""
    outcomes = analyse_files(paths, Settings(), fakes.models(), out, resume=True)
    return [outcome.name for outcome in outcomes if not outcome.kept]


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_a_power_cut_leaves_of_a_field_it_is_analysed_again(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    paths, out = images(folder / "in", 2), folder / "out"
    analysed(paths, out)
    before = content(out)
    damaged = data.draw(
        st.sampled_from(
            [
                out / "fields/cells/i1.parquet", out / "fields/puncta/i1.parquet", out / "fields/i1.json",
                out / "fields/files/i1.json", out / "masks/i1_cells.tif", out / "overlays/i1.png",
            ]
        )
    )  # fmt: skip
    whole = damaged.read_bytes()
    kind = data.draw(st.sampled_from(["empty", "short", "zeros"] if damaged.suffix != ".parquet" else
                                     ["empty", "short", "zeros", "one byte"]))  # fmt: skip
    if kind == "zeros" and damaged.suffix in (".tif", ".png"):
        kind = "short"  # of a large file the size is looked at: its content was on the disk before its name
    # A share, not a place: the files differ by a few bytes from run to run (times, paths).
    at = int(data.draw(st.floats(0, 1, exclude_max=True)) * len(whole))
    damaged.write_bytes(
        {
            "empty": b"",
            "short": whole[:at],
            "zeros": bytes(len(whole)),
            "one byte": whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :],
        }[kind]
    )
    again = analysed(paths, out)
    assert again == ([] if damaged.parent.name == "files" else ["i1"])
    assert content(out) == before


def test_fields_of_an_earlier_version_have_no_marks_and_still_hold(tmp_path: Path) -> None:
    import json

    paths, out = images(tmp_path / "in", 2), tmp_path / "out"
    analysed(paths, out)
    for path in (out / "fields").glob("*.json"):
        values = json.loads(path.read_text())
        del values["files"]
        path.write_text(json.dumps(values))
    assert analysed(paths, out) == []
    (out / "fields/cells/i0.parquet").write_bytes(b"PAR1")
    assert analysed(paths, out) == ["i0"]


def test_a_damaged_part_is_one_sentence(tmp_path: Path) -> None:
    part = tmp_path / "a.parquet"
    part.write_bytes(b"PAR1 and no more")
    with pytest.raises(InputError, match="the table of a field is damaged"):
        tables.assemble([part], _no_cells(), tmp_path / "a.csv", tmp_path / "b.parquet")
    assert not list(tmp_path.glob("*.part"))


def _no_cells() -> Any:
    import pandas as pd

    return pd.DataFrame({"image": pd.Series([], dtype=str)})


def test_content_is_on_the_disk_before_the_name_and_names_before_a_run_says_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[tuple[str, str]] = []
    fsync, replace = os.fsync, os.replace

    def noted_sync(number: int) -> None:
        events.append(("sync", Path(os.readlink(f"/proc/self/fd/{number}")).name))
        fsync(number)

    def noted_replace(first: Any, second: Any) -> None:
        events.append(("name", Path(second).name))
        replace(first, second)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("only Linux says which file a number is")
    monkeypatch.setattr(files.os, "fsync", noted_sync)
    monkeypatch.setattr(files.os, "replace", noted_replace)
    analysed(images(tmp_path / "in", 1), tmp_path / "out")
    for at, (what, name) in enumerate(events):
        if what == "name":
            assert events[at - 1] == ("sync", f"{name}.part")
    done = events.index(("name", "run.json"))
    for folder in results.FOLDERS:
        last = max(at for at, event in enumerate(events) if event == ("sync", Path(folder).name))
        assert last < done
    assert events[-1] == ("sync", "out")


def test_a_table_that_is_too_long_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths, out = images(tmp_path / "in", 2), tmp_path / "out"
    write = tables.assemble

    def too_long(parts: Any, empty: Any, csv_file: Path, parquet_file: Path) -> None:
        if csv_file.name == "cells.csv":
            raise files.OutputError(csv_file, OSError(errno.EFBIG, "File too large"))
        write(parts, empty, csv_file, parquet_file)

    monkeypatch.setattr(tables, "assemble", too_long)
    with pytest.raises(files.OutputError, match="File too large"):
        analysed(paths, out)
    assert tables.read_csv(out / "images.csv")["status"].tolist() == ["ok", "ok"]
    assert '"status": "stopped"' in (out / "run.json").read_text()
    assert pyarrow.parquet.read_table(out / "puncta.parquet").num_rows > 0


@pytest.mark.parametrize("folder", results.FOLDERS)
def test_a_folder_that_cannot_be_written_ends_the_run_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: str
) -> None:
    fakes.write_image(tmp_path / "a.ome.tif")
    replace = os.replace

    def refuse(first: Any, second: Any) -> None:
        if Path(second).parent == tmp_path / "out" / folder:
            raise PermissionError(errno.EACCES, "Permission denied")
        replace(first, second)

    monkeypatch.setattr(files.os, "replace", refuse)
    assert (
        faults.run(monkeypatch, ["analyse", str(tmp_path / "a.ome.tif"), "--out", str(tmp_path / "out")]) == 2
    )
    assert "Permission denied" in capsys.readouterr().err


LOCKED = """
    import sys
    from pathlib import Path
    from napari_tam.errors import InputError
    from napari_tam.results.lock import locked
    try:
        with locked(Path(sys.argv[1])):
            print("free")
    except InputError as error:
        print(error)
"""


def _asked(out: Path) -> str:
    process = child(LOCKED, str(out))
    return process.communicate(timeout=60)[0]


def test_the_lock_is_held_until_all_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes.write_image(tmp_path / "a.ome.tif")
    out, asked = tmp_path / "out", []
    conclude = concluding._conclude

    def meanwhile(*given: Any) -> Any:
        found = conclude(*given)
        asked.append(_asked(out))
        return found

    monkeypatch.setattr(concluding, "_conclude", meanwhile)
    assert faults.run(monkeypatch, ["analyse", str(tmp_path / "a.ome.tif"), "--out", str(out)]) == 0
    assert faults.run(monkeypatch, ["uptake", str(out)]) == 0
    concluding.conclude(out, Settings())
    assert len(asked) == 3
    assert all("another napari-tam is writing this folder" in text for text in asked)
    assert _asked(out) == "free\n"


def test_nothing_is_made_before_the_lock_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes.write_image(tmp_path / "a.ome.tif")
    held = []

    def noted(out: Path) -> None:
        held.append(_asked(out) != "free\n")
        prepare(out)

    monkeypatch.setattr(cli_analyse, "prepare", noted)
    monkeypatch.setattr(results, "prepare", noted)
    assert (
        faults.run(monkeypatch, ["analyse", str(tmp_path / "a.ome.tif"), "--out", str(tmp_path / "out")]) == 0
    )
    assert len(held) == 2
    assert all(held)


def test_looking_at_what_is_no_results_folder_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a results folder"):
        concluding.conclude(tmp_path / "none", Settings())
    assert not (tmp_path / "none").exists()


def test_many_threads_that_begin_at_once_end_in_one_run_or_a_sentence(tmp_path: Path) -> None:
    paths, out, ends = images(tmp_path / "in", 1), tmp_path / "out", []

    def begin() -> None:
        try:
            ends.append(analysed(paths, out) != [])
        except InputError as error:
            ends.append("another napari-tam" in str(error))
        except Exception as error:
            ends.append(error)

    threads = [threading.Thread(target=begin) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(end in (True, False) for end in ends)
    assert len(read_results(out).cells) == 3
    assert (out / LOCK_FILE).exists()
    with locked(out):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM for another process")
@pytest.mark.parametrize("stage", ["start", "conclusion"])
def test_sigterm_ends_a_run_like_ctrl_c_at_every_stage(tmp_path: Path, stage: str) -> None:
    fakes.write_image(tmp_path / "a.ome.tif")
    code = """
        import sys, time
        import fakes
        from napari_tam.cli import analyse as cli_analyse
        from napari_tam.cli.main import main

        def busy(*given):
            print("BUSY", flush=True)
            time.sleep(60)

        if sys.argv[1] == "start":
            cli_analyse.load_models = busy
        else:
            cli_analyse.load_models = lambda settings: fakes.models()
            cli_analyse.conclude = busy
        sys.exit(main(sys.argv[2:]))
    """
    process = child(code, stage, "analyse", str(tmp_path / "a.ome.tif"), "--out", str(tmp_path / "out"))
    assert _terminated(process) == 130


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM for another process")
@pytest.mark.parametrize(
    ("kind", "training", "reading"),
    [
        ("cells", "napari_tam.train.finetune.finetune", "napari_tam.train.training_set.read_training_fields"),
        ("phenotype", "napari_tam.train.phenotype.train", "napari_tam.train.known_cells.read_labelled"),
    ],
)
def test_sigterm_ends_a_training_and_leaves_no_model(
    tmp_path: Path, kind: str, training: str, reading: str
) -> None:
    code = """
        import sys, time
        from unittest.mock import MagicMock, patch
        from napari_tam.cli.main import main

        def busy(*given, **named):
            print("BUSY", flush=True)
            time.sleep(60)

        fields = MagicMock()
        fields.__len__.return_value = 1
        fields.__iter__.return_value = iter([MagicMock(group="a")])
        with patch(sys.argv[1], busy), patch(sys.argv[2], lambda *given, **named: fields):
            sys.exit(main(sys.argv[3:]))
    """
    (tmp_path / "labels.csv").write_text("image,label,class\n")
    labels = ["--labels", str(tmp_path / "labels.csv")] if kind == "phenotype" else []
    command = ["train", kind, str(tmp_path), *labels, "--out", str(tmp_path / "model")]
    process = child(code, training, reading, *command)
    assert _terminated(process) == 130
    assert not (tmp_path / "model").exists() or not list((tmp_path / "model").iterdir())


def _terminated(process: subprocess.Popen[str]) -> int:
    """End a process with SIGTERM once it says that it is busy; return its exit status."""
    try:
        assert process.stdout is not None
        while (said := process.stdout.readline()) != "BUSY\n":
            assert said, "it ended before"
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    return process.returncode


def test_a_name_that_is_no_utf8_is_one_failed_row(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    paths = images(folder, 1)
    odd = Path(os.fsdecode(os.fsencode(folder) + b"/m\xfcller.ome.tif"))
    try:
        odd.write_bytes(paths[0].read_bytes())
    except (OSError, UnicodeError):
        pytest.skip("this system has no such names")
    command = [sys.executable, "-m", "napari_tam", "analyse", str(odd)]
    for _ in range(2):
        outcomes = list(
            analyse_files(
                [odd, *paths], Settings(), fakes.models(), tmp_path / "out", command=command, resume=True
            )
        )
        assert [outcome.error is None for outcome in outcomes] == [False, True]
    table = read_results(tmp_path / "out").images
    assert table["status"].tolist() == ["failed", "ok"]
    assert table["image"].tolist() == ["m�ller", "i0"]
    assert "no UTF-8 text" in table["error"][0]
    concluding.conclude(tmp_path / "out", Settings())
