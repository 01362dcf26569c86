"""``make bench`` tells what has become slower, and nothing else."""

from __future__ import annotations

import importlib
import json
from typing import TYPE_CHECKING, Any

import cv2
import pytest
import torch
from paths import ROOT

from napari_tam.networks import threads

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STEPS = {"field to tables": 2.0, "of it networks": 0.7, "cells": 0.6, "puncta": 1.0, "classify": 0.03}


@pytest.fixture
def regression(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("regression")


def run(engine: str = "openvino 2026.4.1, int8, bf16", **changed: float) -> dict[str, Any]:
    ratios = {**STEPS, "imports and networks": 0.9}
    return {"engine": engine, "fixed_work_s": 1.0, "ratios": {**ratios, **changed}}


def test_a_run_like_the_one_before_is_not_slower(regression: Any) -> None:
    rows, slower = regression.compare(run(), run())
    assert slower == []
    assert {str(row[0]) for row in rows} >= set(STEPS)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"field to tables": 2.4}, ["field to tables", "the rest of it"]),
        ({"field to tables": 2.15}, []),  # within what is tolerated
        ({"imports and networks": 1.1}, ["imports and networks"]),
        ({"puncta": 1.25}, []),
        ({"puncta": 1.35}, ["puncta"]),
        ({"classify": 0.05}, []),  # too little to be told from noise
        ({"cells": 0.2, "field to tables": 1.6}, []),
    ],
)
def test_what_is_slower_is_named(regression: Any, changed: dict[str, float], told: list[str]) -> None:
    assert regression.compare(run(**changed), run())[1] == told


def test_networks_are_compared_with_those_of_the_same_engine(regression: Any) -> None:
    slow = {"of it networks": 2.1, "field to tables": 3.4, "cells": 1.5}
    assert regression.compare(run("openvino 2027.0.0, int8, bf16", **slow), run())[1] == [
        "field to tables",
        "of it networks",
        "cells",
    ]
    assert regression.compare(run("torch 2.13.0, f32", **slow), run())[1] == []
    more = {**slow, "field to tables": 4.4}  # also without its networks
    assert regression.compare(run("torch 2.13.0, f32", **more), run())[1] == ["the rest of it"]


def test_the_exit_status_says_it(
    regression: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(regression, "RESULTS", tmp_path)
    monkeypatch.setattr("sys.argv", ["regression.py"])
    monkeypatch.setattr(regression, "measure", lambda: run(puncta=1.5))
    assert regression.main() == 2  # nothing to compare with
    about = {"commit": "c0ffee1", "date": "2026-11-29", "machine": "a machine"}
    for known, status in ((run(), 1), (run(puncta=1.4), 0)):
        (tmp_path / "regression.json").write_text(json.dumps({"run": about, **known}))
        assert regression.main() == status
    assert "slower: puncta" in capsys.readouterr().out


@pytest.fixture
def threads_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_num_threads(), cv2.getNumThreads()
    monkeypatch.setattr(threads, "_process", {"count": 0})
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])


def test_a_field_is_measured_step_by_step_as_in_the_committed_run(
    regression: Any, threads_as_before: None
) -> None:
    found = regression.measure(side=128, turns=1)
    kept = json.loads((ROOT / "benchmarks/results/regression.json").read_text(encoding="utf-8"))
    assert set(found["ratios"]) == set(kept["ratios"])
    assert all(ratio > 0 for ratio in found["ratios"].values())
    ratios = found["ratios"]
    parts = ("correct", "nuclei", "cells", "puncta", "measure", "classify")
    assert sum(ratios[name] for name in parts) == pytest.approx(ratios["field to tables"])
