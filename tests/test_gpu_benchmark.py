"""The benchmark for graphics cards works where there is none: its pieces, on a small field."""

from __future__ import annotations

import importlib
import importlib.util
import textwrap
from argparse import Namespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from paths import ROOT

from napari_tam.evaluate.matching import count_masks
from napari_tam.networks.cellpose_file import network_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # several would wait for each other where others use the cores
    yield importlib.import_module("gpu")
    torch.set_num_threads(before)


def squares(*boxes: tuple[int, int, int]) -> np.ndarray:
    labels = np.zeros((60, 60), np.int32)
    for number, (y, x, size) in enumerate(boxes, start=1):
        labels[y : y + size, x : x + size] = number
    return labels


def test_precision_is_cellposes(gpu: Any) -> None:
    true = squares((2, 2, 10), (20, 2, 10), (40, 40, 10), (2, 30, 8))
    found = squares((40, 41, 10), (2, 2, 10), (20, 6, 10))  # overlaps of 90/110, 1 and 60/140
    counts = gpu.agreement(true, found)
    assert counts == [4, 3, 2, 2, 1]
    of_cellpose = count_masks(true, found)
    assert counts == [*of_cellpose[:2], *of_cellpose[2]]
    assert gpu.precision([counts, [1, 1, 1, 0, 0]]) == [3 / 6, 2 / 7, 1 / 8]


def test_what_is_missing_is_called_as_it_is_installed(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert gpu.missing() == []
    find = importlib.util.find_spec
    monkeypatch.setattr(
        gpu.importlib.util, "find_spec", lambda name: None if name in ("cv2", "yaml") else find(name)
    )
    assert gpu.missing() == ["opencv-python-headless", "pyyaml"]


def test_cellpose_gets_the_bundled_network(gpu: Any, tmp_path: Path) -> None:
    state = torch.load(gpu.cellpose_file(tmp_path / "cells.pt"), weights_only=True)
    network, diameter = network_of(state)
    bundled = gpu.bundled_network().eval()
    image = torch.from_numpy(np.random.default_rng(0).random((1, 2, 64, 64), np.float32))
    with torch.inference_mode():
        assert torch.equal(network(image), bundled(image))
    assert diameter == 30


def test_fields_go_from_files_to_tables_and_are_right(gpu: Any, tmp_path: Path) -> None:
    paths = gpu.draw(tmp_path / "fields", 5, 192)
    assert len({path.read_bytes() for path in paths}) == 4  # the fifth is a copy
    out = tmp_path / "out"
    how = {"paths": [str(path) for path in paths[:2]], "device": "cpu", "size": 192, "seconds": 1000.0}
    how |= {"diameters": gpu.diameters(paths), "out": str(out)}
    found = gpu.in_threads(how)
    assert (found["fields"], found["failed"]) == (2, [])
    assert found["engine"].startswith("torch")
    assert 0 < found["card_s_per_field"] < 60
    assert found["peak_mb"] is None and found["usage"] is None  # not there, and not made up
    assert {path.name for path in out.iterdir()} >= {"cells.csv", "puncta.csv", "images.csv"}
    assert gpu.found_cells(out, paths)[0] > 0.6


def found_by_all() -> dict[str, Any]:
    """What the parts could have found: two fields a second, of which the card works 0.1 s each."""
    part = {"fields": 40, "seconds": 20.0, "card_s_per_field": 0.1, "ap": [0.9, 0.8, 0.1], "usage": 0.25}
    part |= {"peak_mb": 900.0, "engine": "torch", "jobs": 4, "one_field_s": 1.0, "tiles_s_per_field": 0.2}
    part |= {"steps": {"cells": 0.5}, "batches": {"cells": {"1": 10.0, "4": 11.0}}}
    seconds = {"cells": [4.0, 5.0, 6.0], "nuclei": [3.0, 2.0, 2.5], "puncta and table": [10.0]}
    peer = {"seconds": seconds, "ap": [0.9, 0.8, 0.2], "peak_mb": 2000.0}
    um = {"cell_diameter_um": 20.0, "nucleus_diameter_um": 9.0}
    return {
        "threads": part,
        "processes": {**part, "fields": 80},
        "cellpose": peer,
        "diameters": um,
        "minutes": 7.5,
    }


def test_the_report_says_what_was_found(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    values = found_by_all()
    rows = gpu.rows_of(values)
    assert [row[1] for row in rows] == ["2.000", "4.000", "0.200", "0.133", "0.057"]
    assert [row[5] for row in rows[:2]] == ["80%", "60%"]
    assert gpu.times_cellpose(values)[0].endswith(
        "20.0 x cells, 30.0 x with nuclei, 70.0 x with puncta and table"
    )
    given = Namespace(fields=48, size=2048, processes=16)
    text = "\n".join(gpu.report(values, given, "cpu"))
    assert text.startswith("NOT RUN ON A GRAPHICS CARD")
    monkeypatch.setattr(gpu, "device_name", lambda device: "a card")
    text = "\n".join(gpu.report(values, given, "cuda"))
    assert text.startswith("device: a card")
    assert "a kernel was running in 25% of the time (processes, nvidia-smi)" in text
    values |= {"cellpose": {"problem": "Cellpose 3 is not installed"}, "processes": {"problem": "it broke"}}
    text = "\n".join(gpu.report(values, given, "cuda"))
    assert "cellpose: Cellpose 3 is not installed" in text and "processes: it broke" in text


def test_the_driver_is_asked_about_the_card_that_is_used(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [gpu.driver_id(device) for device in ("cuda", "cuda:1")] == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-5f2e")
    assert [gpu.driver_id(device) for device in ("cuda", "cuda:1")] == ["3", "GPU-5f2e"]


SCRIPT = """
    import sys, time
    sys.path.insert(0, sys.argv.pop())
    from children import answer, wait_to_begin
    def double(how):
        wait_to_begin()
        return {"twice": 2 * how["number"]}
    def fail(how):
        raise SystemExit(3)
    def last(how):
        time.sleep(60)
    answer({"double": double, "fail": fail, "last": last})
"""


def test_parts_answer_or_say_why_not(gpu: Any, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(SCRIPT).replace("sys.argv.pop()", repr(str(ROOT / "benchmarks"))), encoding="utf-8"
    )
    double, fail, last = (gpu.Child(str(script), name, {"number": 21}) for name in ("double", "fail", "last"))
    assert double.ready.wait(60)
    double.begin()
    assert double.finish(60) == {"twice": 42}
    with pytest.raises(RuntimeError, match="'fail' ended with exit status 3"):
        fail.finish(60)
    with pytest.raises(RuntimeError, match="'last' did not end in time"):
        last.finish(0)
