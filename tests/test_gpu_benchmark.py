"""The benchmark for graphics cards works where there is none: its pieces, on a small field."""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from paths import ROOT

from napari_tam.evaluate.matching import count_masks
from napari_tam.networks.cellpose_file import network_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("gpu")


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
