"""Parts of a batch as jobs of their own: together they are the batch."""

from __future__ import annotations

from pathlib import Path

import fakes
import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs import child, content, images

from napari_tam.batches import part as part_module
from napari_tam.batches.part import analyse_part, part_of
from napari_tam.batches.run import analyse_files
from napari_tam.errors import InputError
from napari_tam.io.layout import Layout, read_layout
from napari_tam.results.lock import locked, locked_part, one_after_another
from napari_tam.settings import Settings

#: A part in a process of its own.
JOB = """
    import sys
    from pathlib import Path
    import fakes
    from napari_tam.batches.part import analyse_part
    from napari_tam.settings import Settings
    folder, out, number, count = sys.argv[1:]
    paths = sorted(Path(folder).iterdir())
    part = (int(number), int(count))
    found = list(analyse_part(part, paths, Settings(), fakes.models(), Path(out)))
    print(*(outcome.name for outcome in found))
"""


@given(st.integers(0, 40), st.integers(1, 12))
def test_parts_are_the_whole_and_share_nothing(files: int, count: int) -> None:
    paths = [Path(f"i{index}") for index in range(files)]
    parts = [part_of(paths, number, count) for number in range(1, count + 1)]
    assert sorted(path for part in parts for path in part) == sorted(paths)
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1


def parts_then_whole(paths: list[Path], out: Path, count: int, layout: Layout | None = None) -> None:
    for number in range(count, 0, -1):
        list(analyse_part((number, count), paths, Settings(), fakes.models(), out, layout=layout))
        assert not (out / "cells.csv").exists()
    outcomes = list(analyse_files(paths, Settings(), fakes.models(), out, resume=True, layout=layout))
    assert all(outcome.kept for outcome in outcomes)


@pytest.mark.parametrize("count", [1, 3, 9])
def test_parts_give_the_same_bytes_as_a_batch_without(tmp_path: Path, count: int) -> None:
    paths = images(tmp_path / "in", 6)
    paths[2].write_bytes(b"no image")
    list(analyse_files(paths, Settings(), fakes.models(), tmp_path / "whole"))
    parts_then_whole(paths, tmp_path / "parts", count)
    assert content(tmp_path / "parts") == content(tmp_path / "whole")


def test_the_threshold_is_that_of_the_whole_batch(tmp_path: Path) -> None:
    """Only the first image is of a control well: who has not got it uses what it taught all the same."""
    paths = images(tmp_path / "in", 5)
    rows = [f"i{index},LPS,{index},{'dye_only' if index == 0 else ''}\n" for index in range(5)]
    (tmp_path / "layout.csv").write_text("image,condition,replicate,control_role\n" + "".join(rows))
    layout = read_layout(tmp_path / "layout.csv")
    list(analyse_files(paths, Settings(), fakes.models(), tmp_path / "whole", layout=layout))
    parts_then_whole(paths, tmp_path / "parts", 5, layout)
    assert content(tmp_path / "parts") == content(tmp_path / "whole")


def test_parts_at_the_same_time(tmp_path: Path) -> None:
    paths, out = images(tmp_path / "in", 9), tmp_path / "parts"
    jobs = [child(JOB, str(tmp_path / "in"), str(out), str(number), "3") for number in (1, 2, 3)]
    told = [job.communicate(timeout=120)[0].split() for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0, 0]
    assert sorted(name for names in told for name in names) == [f"i{index}" for index in range(9)]
    list(analyse_files(paths, Settings(), fakes.models(), out, resume=True))
    list(analyse_files(paths, Settings(), fakes.models(), tmp_path / "whole"))
    assert content(out) == content(tmp_path / "whole")


def test_only_the_first_part_looks_for_the_threshold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths, out = images(tmp_path / "in", 6), tmp_path / "out"
    found = []
    learn = part_module.learn

    def watched(*given: object, **named: object) -> object:
        learnt = learn(*given, **named)  # type: ignore[arg-type]
        found.append(len(learnt.known))
        return learnt

    monkeypatch.setattr(part_module, "learn", watched)
    for number in (2, 1, 3):
        list(analyse_part((number, 3), paths, Settings(), fakes.models(), out))
    assert found[0] > 0
    assert found[1:] == [0, 0]


def test_a_part_that_is_started_again_keeps_what_it_found(tmp_path: Path) -> None:
    paths, out = images(tmp_path / "in", 6), tmp_path / "out"
    stopped = analyse_part((1, 2), paths, Settings(), fakes.models(), out, jobs=1)
    next(stopped)
    stopped.close()
    again = list(analyse_part((1, 2), paths, Settings(), fakes.models(), out, jobs=1))
    assert [outcome.name for outcome in again] == ["i0", "i2", "i4"]
    assert again[0].kept


def refused(tmp_path: Path, part: tuple[int, int]) -> str:
    with pytest.raises(InputError) as caught:
        list(analyse_part(part, images(tmp_path / "in", 2), Settings(), fakes.models(), tmp_path / "out"))
    return str(caught.value)


def test_a_whole_run_and_parts_keep_out_of_each_others_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr("napari_tam.results.lock._MOMENT", 0.1)
    with locked(out):
        assert "another napari-tam is writing this folder" in refused(tmp_path, (1, 2))
    with locked_part(out, 1, 2):
        with pytest.raises(InputError, match=r"parts of a run are being analysed in this folder \(1-of-2\)"):
            list(analyse_files(images(tmp_path / "in", 2), Settings(), fakes.models(), out))
        assert "part 1 of 2 is being analysed already" in refused(tmp_path, (1, 2))
        assert "parts of another number" in refused(tmp_path, (1, 3))
        with locked_part(out, 2, 2), one_after_another(out):
            pass
    # a part that was killed leaves a lock file that nobody holds
    with locked(out):
        assert not (out / ".parts").exists()
