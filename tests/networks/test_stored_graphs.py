from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_tam.errors import InputError
from napari_tam.networks import stored_graphs
from napari_tam.networks.cards import MODELS_FOLDER, ModelCard, bundled_cards
from napari_tam.networks.engines import openvino_problem
from napari_tam.networks.predictor import Predictor
from napari_tam.networks.stored_graphs import StoredGraph
from napari_tam.phenotype.crops import CROP_CHANNELS, CROP_SIZE
from napari_tam.phenotype.features import FEATURE_NAMES
from napari_tam.phenotype.model import load_phenotype_model
from napari_tam.phenotype.stored_net import StoredNet

pytestmark = pytest.mark.skipif(bool(openvino_problem()), reason="OpenVINO is not here")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(stored_graphs, "cache_folder", lambda: tmp_path / "graphs")
    return tmp_path / "graphs"


def nuclei() -> ModelCard:
    return bundled_cards()["nuclei"]


def answer(network: Any) -> np.ndarray:
    predictor = Predictor(network, engine="openvino")
    return predictor(np.random.default_rng(0).random((predictor.in_channels, 60, 90), np.float32))


@pytest.mark.parametrize("name", sorted(bundled_cards()))
def test_what_is_stored_answers_bit_by_bit_like_the_network(name: str) -> None:
    card = bundled_cards()[name]
    network, stored = card.load(), card.load_for_openvino()
    assert isinstance(stored, StoredGraph)
    for key in ("in_channels", "multiple", "reach"):
        assert getattr(stored, key) == getattr(network, key)
    assert np.array_equal(answer(stored), answer(network))


def test_a_second_time_nothing_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    first = nuclei().load_for_openvino()
    monkeypatch.setattr(ModelCard, "load", lambda _: pytest.fail("it was stored"))
    assert nuclei().load_for_openvino() == first


@pytest.mark.parametrize("damage", ["cut", "changed", "gone", "no json", "json of another kind"])
@pytest.mark.parametrize("end", [".xml", ".bin"])
def test_what_was_damaged_is_made_anew(folder: Path, damage: str, end: str) -> None:
    first = nuclei().load_for_openvino()
    assert isinstance(first, StoredGraph)
    wanted, path = answer(first), first.path.with_suffix(end)
    data = path.read_bytes()
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "changed":
        path.write_bytes(data[:-100] + bytes([data[-100] ^ 1]) + data[-99:])
    elif damage == "gone":
        path.unlink()
    else:
        first.path.with_suffix(".json").write_text("" if damage == "no json" else json.dumps([1]))
    again = nuclei().load_for_openvino()
    assert isinstance(again, StoredGraph)
    assert np.array_equal(answer(again), wanted)
    assert not list(folder.glob("*.part"))
    assert nuclei().load_for_openvino() == again


def test_processes_that_need_a_graph_at_once_have_one(folder: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: nuclei().load_for_openvino(), range(4)))
    assert isinstance(found[0], StoredGraph)
    assert found == [found[0]] * 4
    assert len(list(folder.glob("*.xml"))) == 1


def test_graphs_of_other_versions_go_when_they_are_old(folder: Path) -> None:
    folder.mkdir()
    old, young = folder / f"a-{'0' * 16}.bin", folder / f"b-{'0' * 16}.bin"
    for path in (old, young):
        path.touch()
    os.utime(old, (0, 0))
    own = nuclei().load_for_openvino()
    assert isinstance(own, StoredGraph)
    os.utime(own.path, (0, 0))
    bundled_cards()["puncta"].load_for_openvino()
    assert (old.exists(), young.exists(), own.path.exists()) == (False, True, True)


def test_where_nothing_can_be_stored_the_network_itself_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(stored_graphs, "cache_folder", lambda: tmp_path / "file" / "graphs")
    network = nuclei().load_for_openvino()
    assert isinstance(network, torch.nn.Module)
    assert answer(network).shape == (3, 60, 90)


def test_other_weights_or_another_architecture_are_another_graph(folder: Path, tmp_path: Path) -> None:
    first = nuclei().load_for_openvino()
    for key, value in (("sha256", "0" * 64), ("stem", 2)):
        values = {**nuclei().values, key: value}
        path = tmp_path / "nuclei.json"
        path.write_text(json.dumps(values))
        path.with_suffix(".safetensors").write_bytes(nuclei().weights.read_bytes())
        with pytest.raises(InputError, match=r"differ from the sha256|do not fit"):
            ModelCard.read(path).load_for_openvino()
    assert isinstance(first, StoredGraph)
    assert [path.stem for path in folder.glob("*.xml")] == [first.path.stem]


def test_the_phenotype_network_scores_as_torch_does() -> None:
    stored = load_phenotype_model(MODELS_FOLDER, openvino="full")
    loaded = load_phenotype_model(MODELS_FOLDER)
    assert isinstance(stored.network, StoredNet)
    rng = np.random.default_rng(1)
    crops = rng.random((300, len(CROP_CHANNELS), CROP_SIZE, CROP_SIZE)).astype(np.float32)
    features = (loaded.mean + loaded.sd * rng.normal(0, 3, (300, len(FEATURE_NAMES)))).astype(np.float32)
    found, wanted = stored.score(crops, features), loaded.score(crops, features)
    assert found.logits == pytest.approx(wanted.logits, abs=1e-4)
    assert found.probabilities == pytest.approx(wanted.probabilities, abs=1e-5)
    assert found.distance == pytest.approx(wanted.distance, rel=1e-4)
    assert stored.score(crops[:0], features[:0]).logits.shape == (0, len(stored.classes))


ANALYSE = """
import sys
from napari_tam.cli.main import main
try:
    main(["analyse", sys.argv[1], "--out", sys.argv[2], "--cell-diameter-um=30", "--nucleus-diameter-um=10"])
except SystemExit as end:
    print("STATUS", end.code)
print("LOADED", "torch" in sys.modules)
"""


def test_an_analysis_on_the_processor_imports_no_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "cache"))
    sample = Path(__file__).parents[2] / "sample_data" / "field_01.ome.tif"
    said = [
        subprocess.run(
            [sys.executable, "-c", ANALYSE, str(sample), str(tmp_path / name)],
            capture_output=True, text=True, check=True,
        ).stdout
        for name in ("first", "second")
    ]  # fmt: skip
    assert "LOADED True" in said[0]  # the graphs are made
    assert "LOADED False" in said[1]
    tables = [(tmp_path / name / "cells.csv").read_bytes() for name in ("first", "second")]
    assert tables[0] == tables[1]
