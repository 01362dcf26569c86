"""What programs rely on: the exit status, and with --json one object on stdout, whatever happens."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fakes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paths import ROOT, SOURCE

from napari_tam.cli import analyse as cli_analyse
from napari_tam.cli import plan as cli_plan
from napari_tam.cli import uptake as cli_uptake
from napari_tam.cli.commands import COMMANDS
from napari_tam.cli.console import Answer, answer_programs
from napari_tam.cli.main import main
from napari_tam.pipeline import models as pipeline_models
from napari_tam.results.folder import read_results

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = (ROOT / "docs" / "scripts.md").read_text(encoding="utf-8")
LAYOUT = "image,condition,replicate,control_role\na,LPS,1,\nb,medium,1,dye_only\n"
FOR_PROGRAMS = [each.name for each in COMMANDS if each.for_programs]


@pytest.fixture(autouse=True)
def fake_models(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (cli_analyse, cli_plan, pipeline_models):
        monkeypatch.setattr(module, "load_models", lambda _settings: fakes.models())
    for module in (cli_analyse, cli_uptake):
        monkeypatch.setattr(module, "print_report", lambda _folder: None)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    fakes.write_image(folder / "a.ome.tif")
    fakes.write_image(folder / "b.ome.tif", fakes.image(fakes.SPOTS[:1]))
    fakes.write_truth(folder, "a")
    (tmp_path / "layout.csv").write_text(LAYOUT)
    return folder


@pytest.fixture
def results(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    out = tmp_path / "results"
    layout = tmp_path / "layout.csv"
    assert main(["batch", str(images), "--out", str(out), "--layout", str(layout)]) == 0
    capsys.readouterr()
    return out


def told(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    """Run a command with ``--json``; return its object, which is all that is on stdout."""
    capsys.readouterr()
    status = main([*map(str, words), "--json"])
    out = capsys.readouterr().out

    def no(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    values: dict[str, Any] = json.loads(out, parse_constant=no)
    assert out.isascii()
    assert values["exit_status"] == status
    on_page = set(re.findall(r"`(\w+)`", PAGE.partition("| name | commands |")[2]))
    assert set(values) <= on_page, "a name that docs/scripts.md does not tell"
    return values


@pytest.mark.parametrize("command", ["analyse", "batch"])
def test_a_run_tells_counts_failures_and_files(
    command: str,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (images / "c.tif").write_bytes(b"broken")
    monkeypatch.chdir(tmp_path)  # paths that are told are absolute, those that are given need not be
    out = tmp_path / "out"
    values = told(capsys, command, "in", "--out", "out")
    assert values["exit_status"] == 1
    assert (values["analysed"], values["of_an_earlier_run"], values["cells"]) == (2, 0, 6)
    assert values["puncta"] == [{"label": "", "in_cells": 4, "outside": 1, "threshold": 1.0}]
    [failed] = values["failed"]
    table = read_results(out).images.set_index("image")
    assert failed["image"] == "c"
    assert failed["error"] == table.loc["c", "error"]
    assert Path(failed["source"]) == images / "c.tif"
    assert Path(values["results"]) == out.resolve()
    assert {"cells", "puncta", "images"} <= set(values["files"])
    assert all(Path(path).is_absolute() and Path(path).is_file() for path in values["files"].values())
    assert any("no layout" in note for note in values["notes"])
    again = told(capsys, "batch", images, "--out", out)
    assert (again["of_an_earlier_run"], again["exit_status"]) == (2, 1)


def test_what_people_read_goes_to_stderr_then(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["batch", str(images), "--out", str(tmp_path / "one")])
    usual = capsys.readouterr()
    main(["batch", str(images), "--out", str(tmp_path / "two"), "--json"])
    both = capsys.readouterr()
    assert "2 analysed" in usual.out
    assert both.err.replace("two", "one") == usual.out
    json.loads(both.out)


def test_a_dry_run_tells_the_plan(images: Path, results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fakes.write_image(images / "c.ome.tif")
    values = told(capsys, "batch", images, "--out", results, "--dry-run")
    assert [(Path(each["source"]).name, each["todo"]) for each in values["plan"]] == [
        ("a.ome.tif", "keep"), ("b.ome.tif", "keep"), ("c.ome.tif", "analyse"),
    ]  # fmt: skip


@pytest.mark.parametrize("fails", [False, True])
def test_whoever_prints_on_the_way_stdout_is_the_programs(fails: bool) -> None:
    code = f"""
import os, subprocess, sys
from napari_tam.cli import models
from napari_tam.cli.main import main
from napari_tam.errors import InputError
def noisy(_arguments):
    print("python")
    os.write(1, b"library in C\\n")
    subprocess.run([sys.executable, "-c", "print('another process')"], check=True)
    if {fails}:
        raise InputError("no")
    return 0
models.models = noisy
sys.exit(main(["models", "--json"]))
"""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment, timeout=60
    )
    assert json.loads(done.stdout)["exit_status"] == done.returncode == (2 if fails else 0)
    assert {"python", "library in C", "another process"} <= set(done.stderr.splitlines())


@pytest.mark.parametrize("first", [False, True])
def test_an_interrupted_run_tells_what_is_missing(
    first: bool, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    real = cli_analyse.analyse_batch

    def pressed(*words: Any, **named: Any) -> Iterator[Any]:
        run = real(*words, **named)
        try:
            if not first:
                yield next(run)
            raise KeyboardInterrupt
        finally:
            run.close()

    monkeypatch.setattr(cli_analyse, "analyse_batch", pressed)
    values = told(capsys, "analyse", images, "--out", tmp_path / "out")
    assert values["exit_status"] == 130
    assert values["analysed"] == int(not first)
    assert values["not_analysed"] == ([] if first else ["b"])


def test_tests_scores_networks_and_checks_are_told(
    images: Path, results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    values = told(capsys, "compare", results)
    assert [Path(path).name for path in values["files"].values()] == ["comparisons.csv", "replicates.csv"]
    rows = values["comparisons"]
    assert rows and all(row["p"] is None for row in rows)  # a single replicate: no test
    values = told(capsys, "score", results, images)
    assert values["all"]["puncta"]["true"] == len(fakes.SPOTS)
    assert set(values["images"]) == {"a"}
    found = [pipeline_models.ModelInfo("cells", "cells", "bundled", "macrophages", "0" * 64, ok=False)]
    monkeypatch.setattr(pipeline_models, "available_models", lambda: found)
    [model] = told(capsys, "models")["models"]
    assert model == {
        "name": "cells", "kind": "cells", "source": "bundled", "description": "macrophages",
        "sha256": "0" * 64, "ok": False,
    }  # fmt: skip
    monkeypatch.setattr("napari_tam.cli.doctor._plugin", lambda: iter(()))
    values = told(capsys, "doctor")
    assert values["exit_status"] == 1  # the network is damaged
    assert {"problem", "ok"} <= {check["status"] for check in values["checks"]}
    assert values["installed"].startswith("napari-tam ")
    assert told(capsys, "verify", results)["as_recorded"] is True


def test_scores_go_to_a_file_as_before(
    images: Path, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", str(results), str(images), "--json", str(tmp_path / "s.json")]) == 0
    assert "cells" in capsys.readouterr().out
    written = json.loads((tmp_path / "s.json").read_text())
    values = told(capsys, "score", results, images)
    assert {name: values[name] for name in ("images", "all")} == written


@pytest.mark.parametrize("command", FOR_PROGRAMS)
def test_wrong_use_is_an_object_too(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    values = told(capsys, command, "--no-such-option")
    assert values["exit_status"] == 2
    assert "--help" in values["error"]


def test_an_unusable_input_is_an_object_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = told(capsys, "batch", tmp_path / "\u00b5 none", "--out", tmp_path / "out")
    assert values["exit_status"] == 2
    assert "\u00b5 none: there is no such file or folder" in values["error"]


@pytest.mark.parametrize("command", [each.name for each in COMMANDS])
def test_wrong_use_of_every_command_is_status_2(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--no-such-option"]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)


@pytest.mark.parametrize("command", [each.name for each in COMMANDS])
def test_every_command_that_is_interrupted_has_status_130(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def pressed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("napari_tam.cli.commands.Command.__call__", pressed)
    monkeypatch.setattr("napari_tam.cli.commands.Command.add_options", lambda *_: None)
    assert main([command]) == 130
    assert capsys.readouterr() == ("", "interrupted\n")


def test_help_tells_the_status_of_commands_that_can_end_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    for each in COMMANDS:
        with pytest.raises(SystemExit) as ended:
            main([each.name, "--help"])
        assert ended.value.code == 0
        text = " ".join(capsys.readouterr().out.split())
        assert (f"1 {each.failing}, 2 wrong use" in text) == bool(each.failing)
        assert bool(re.search(r"--json\b", text)) == each.for_programs


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_whatever_is_told_reads_back(value: Any) -> None:
    import contextlib
    import io

    with contextlib.redirect_stdout(io.StringIO()) as stream:
        answer_programs(Answer(0, {"value": value}))

    def same(found: Any, true: Any) -> bool:
        if isinstance(true, float) and not math.isfinite(true):
            return found is None
        if isinstance(true, list):
            return len(found) == len(true) and all(map(same, found, true))
        if isinstance(true, dict):
            return set(found) == set(true) and all(same(found[name], true[name]) for name in true)
        return type(found) is type(true) and bool(found == true)

    assert same(json.loads(stream.getvalue())["value"], value)


def test_numbers_of_numpy_and_names_that_are_no_utf8_can_be_told(capsys: pytest.CaptureFixture[str]) -> None:
    values = {"a": np.float64("nan"), "b": np.int64(3), "c": Path("x\udcff"), "d": np.bool_(True)}
    answer_programs(Answer(0, values))
    found = json.loads(capsys.readouterr().out)
    assert (found["a"], found["b"], found["c"], found["d"]) == (None, 3, "x\ufffd", True)
