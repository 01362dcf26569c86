from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from bundled import need
from safetensors.torch import load_file, save_file

from napari_tam.cli import doctor
from napari_tam.errors import InputError
from napari_tam.networks import cards
from napari_tam.networks.cards import ModelCard, bundled_cards
from napari_tam.networks.cpnet import CPNet
from napari_tam.networks.engines import openvino_problem
from napari_tam.networks.flownet import FlowNet
from napari_tam.networks.predictor import Predictor
from napari_tam.pipeline.models import available_models, load_models
from napari_tam.puncta.detect import LogDetector, NetworkDetector
from napari_tam.segment.cellpose_models import zoo_names
from napari_tam.segment.segmenter import FlowNetSegmenter
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

torch.set_num_threads(1)

CHANNELS = {"cells": 2, "nuclei": 1, "puncta": 3}
#: The phenotype model has a card, tests and errors of its own.
PLAIN = Settings(phenotype_model="none", device="cpu")


def put(folder: Path, name: str, *, dtype: torch.dtype = torch.float32, **changes: Any) -> FlowNet:
    """Write a tiny untrained network with its card."""
    torch.manual_seed(len(name))
    network = FlowNet(CHANNELS.get(name, 1), (4, 6), 1).eval()
    weights = folder / f"{name}.safetensors"
    save_file(
        {
            key: value.to(dtype) if value.is_floating_point() else value
            for key, value in network.state_dict().items()
        },
        weights,
    )
    card = {
        "name": name, "kind": name, "in_channels": CHANNELS.get(name, 1), "widths": [4, 6], "stem": 1,
        "diameter_px": 30.0, "description": f"{name} of a test",
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
    }  # fmt: skip
    (folder / f"{name}.json").write_text(json.dumps(card | changes), encoding="utf-8")
    return network


def untrained_cpnet() -> CPNet:
    torch.manual_seed(0)
    return CPNet(2, (4, 6)).eval()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for models/ of the package, with three tiny networks."""
    monkeypatch.setattr(cards, "MODELS_FOLDER", tmp_path)
    for name in CHANNELS:
        put(tmp_path, name)
    return tmp_path


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_network_comes_back_as_it_was_written(tmp_path: Path, dtype: torch.dtype) -> None:
    network = put(tmp_path, "cells", dtype=dtype)
    card = ModelCard.read(tmp_path / "cells.json")
    loaded = card.load()
    assert card.hash() == card.values["sha256"]
    assert all(value.dtype in (torch.float32, torch.int64) for value in loaded.state_dict().values())
    image = np.random.default_rng(0).normal(size=(2, 20, 24)).astype(np.float32)
    one, other = (Predictor(net, dtype=torch.float32)(image) for net in (network, loaded))
    assert np.abs(one - other).max() < (1e-6 if dtype == torch.float32 else 1e-2)


def test_changed_weights_are_an_input_error(folder: Path) -> None:
    weights = folder / "cells.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(InputError, match=r"cells\.safetensors: the weights differ from the sha256"):
        load_models(PLAIN)


def test_missing_weights_are_an_input_error(folder: Path) -> None:
    (folder / "nuclei.safetensors").unlink()
    with pytest.raises(
        InputError, match=r"nuclei\.safetensors: the weights of a bundled network are missing"
    ):
        load_models(PLAIN)


@pytest.mark.parametrize(
    "changes",
    [
        {"widths": [4, 8]},
        {"in_channels": 3},
        {"stem": 2},
        {"widths": []},
        {"widths": "ab"},
        {"stem": None},
        {"widths": [4, -1]},
    ],
    ids=str,
)
def test_weights_that_do_not_fit_their_card_are_an_input_error(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    put(tmp_path, "cells", **changes)
    with pytest.raises(
        InputError, match=r"cells\.safetensors: the weights do not fit their card \(."
    ) as caught:
        ModelCard.read(tmp_path / "cells.json").load()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no weights", b"\xff" * 300])
def test_weights_that_are_no_safetensors_are_an_input_error(tmp_path: Path, content: bytes) -> None:
    put(tmp_path, "cells", sha256=hashlib.sha256(content).hexdigest())
    (tmp_path / "cells.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="the weights do not fit their card"):
        ModelCard.read(tmp_path / "cells.json").load()


@pytest.mark.parametrize(
    "content", ["", "{", "\udcff", "[1, 2]", "null", '"text"', "{}", '{"name": "cells"}']
)
def test_a_card_that_is_none_is_an_input_error(tmp_path: Path, content: str) -> None:
    path = tmp_path / "cells.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=r"cells\.json: the model card (cannot be read|lacks)"):
        ModelCard.read(path)


def test_a_missing_card_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the model card cannot be read"):
        ModelCard.read(tmp_path / "cells.json")


def test_what_a_card_lacks_is_named(tmp_path: Path) -> None:
    put(tmp_path, "cells")
    path = tmp_path / "cells.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    del values["stem"], values["sha256"]
    path.write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(InputError, match="the model card lacks sha256, stem"):
        ModelCard.read(path)


def test_the_cards_of_a_folder_are_found_by_name(folder: Path) -> None:
    (folder / f"{cards.PHENOTYPE}.json").write_text("{}")  # another kind of card
    assert list(bundled_cards()) == ["cells", "nuclei", "puncta"]


def test_load_models_gives_what_the_settings_ask_for(folder: Path) -> None:
    loaded = load_models(PLAIN)
    assert isinstance(loaded.cells, FlowNetSegmenter)
    assert isinstance(loaded.puncta, NetworkDetector)
    assert loaded.phenotype is None
    assert loaded.device == "cpu"
    assert loaded.cells.predictor.in_channels == 2
    assert loaded.cells.area_setting == "min_cell_area_um2"
    assert loaded.nuclei.area_setting == "min_nucleus_area_um2"  # type: ignore[attr-defined]
    expected = {
        name: hashlib.sha256((folder / f"{name}.safetensors").read_bytes()).hexdigest() for name in CHANNELS
    }
    assert loaded.hashes == expected


def test_a_package_without_its_networks_says_so_at_the_first_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cards, "MODELS_FOLDER", tmp_path / "models")
    message = "this installation of napari-tam came without its networks"
    with pytest.raises(InputError, match=message):
        load_models(PLAIN)
    found = list(doctor.checks())
    assert [check.text for check in found if message in check.text and check.status == "problem"]


def test_a_card_of_the_other_architecture_makes_its_network(tmp_path: Path) -> None:
    network = untrained_cpnet()
    weights = tmp_path / "cells.safetensors"
    save_file(network.state_dict(), weights)
    card = {"name": "cells", "kind": "cells", "architecture": "CPNet", "in_channels": 2, "widths": [4, 6],
            "diameter_px": 30.0, "sha256": hashlib.sha256(weights.read_bytes()).hexdigest()}  # fmt: skip
    (tmp_path / "cells.json").write_text(json.dumps(card), encoding="utf-8")
    loaded = ModelCard.read(tmp_path / "cells.json").load()
    assert isinstance(loaded, CPNet)
    assert all(torch.equal(loaded.state_dict()[key], value) for key, value in network.state_dict().items())


def test_a_second_network_for_cells_is_used_by_its_name(folder: Path) -> None:
    put(folder, "cells-fast", kind="cells", in_channels=1, diameter_px=36.0)
    loaded = load_models(PLAIN.updated(cells_model="cells-fast"))
    assert loaded.cells.diameter_px == 36  # type: ignore[attr-defined]
    assert "cells-fast" in loaded.hashes
    assert "cells" not in loaded.hashes
    with pytest.raises(InputError, match="'cells-fast' finds cells, not nuclei"):
        load_models(PLAIN.updated(nuclei_model="cells-fast"))


@pytest.mark.parametrize(("engine", "begins"), [("auto", ""), ("torch", "torch "), ("openvino", "openvino ")])
def test_what_runs_the_networks_is_chosen_and_on_record(folder: Path, engine: Any, begins: str) -> None:
    if engine == "openvino" and openvino_problem():
        pytest.skip("OpenVINO is not here")
    loaded = load_models(PLAIN.updated(engine=engine))
    assert loaded.engine.startswith(begins)
    assert re.fullmatch(r"(torch \S+|openvino \S+(, int8)?), (b?f\d\d)", loaded.engine)


def test_asking_for_openvino_means_the_processor(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if openvino_problem():
        pytest.skip("OpenVINO is not here")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert load_models(PLAIN.updated(device="auto", engine="openvino")).device == "cpu"


def test_log_needs_no_puncta_network(folder: Path) -> None:
    for path in folder.glob("puncta.*"):
        path.unlink()
    loaded = load_models(PLAIN.updated(puncta_method="log"))
    assert isinstance(loaded.puncta, LogDetector)
    assert set(loaded.hashes) == {"cells", "nuclei"}
    with pytest.raises(InputError, match="the bundled network 'puncta' is missing"):
        load_models(PLAIN)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"cells_model": "nuclei"},
            "cells_model: the bundled network 'nuclei' finds nuclei, not cells.*use 'cells'",
        ),
        ({"cells_model": "puncta"}, "cells_model: the bundled network 'puncta' finds puncta, not cells"),
        (
            {"nuclei_model": "cells"},
            "nuclei_model: the bundled network 'cells' finds cells, not nuclei.*'nuclei'",
        ),
        ({"cells_model": "nothing"}, "'nothing' is neither a file nor a model"),
        ({"device": "cuda:77"}, "device: the device 'cuda:77' cannot be used"),
    ],
)
def test_what_cannot_be_loaded_is_an_input_error(folder: Path, values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_models(PLAIN.updated(**values))


def test_a_users_own_file_goes_on_record(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "own.pt"
    path.write_bytes(b"weights")
    network = untrained_cpnet()
    monkeypatch.setattr(
        "napari_tam.segment.cellpose_models.cellpose_network",
        lambda name: (network, 17.0) if name == str(path) else None,
    )
    monkeypatch.setattr(
        "napari_tam.segment.cellpose_models.CellposeSegmenter", lambda *values: ("theirs", *values[:2])
    )
    loaded = load_models(PLAIN.updated(cells_model=str(path), nuclei_model="a zoo name"))
    assert isinstance(loaded.cells, FlowNetSegmenter)
    assert loaded.cells.diameter_px == 17
    assert loaded.nuclei == ("theirs", "a zoo name", "nuclei")
    assert loaded.hashes[str(path)] == hashlib.sha256(b"weights").hexdigest()
    assert set(loaded.hashes) == {str(path), "puncta"}


def test_available_models_are_listed_with_their_state(folder: Path) -> None:
    (folder / "nuclei.safetensors").write_bytes(b"changed")
    (folder / "puncta.safetensors").unlink()
    # Cellpose 3 has a 'nuclei' of its own.
    listed = {info.name: info for info in available_models() if info.source == "bundled"}
    assert [listed[name].ok for name in CHANNELS] == [True, False, False]
    assert listed["cells"].description == "cells of a test"
    assert listed["puncta"].sha256 == ""
    assert [info.name for info in available_models() if info.source == "cellpose zoo"] == zoo_names()


@pytest.mark.parametrize(
    ("name", "kind"), [(name, name) for name in CHANNELS] + [(cards.SMALL_CELLS, "cells")]
)
def test_the_bundled_networks_load_and_run(name: str, kind: str) -> None:
    card = need(name)
    network = card.load()
    assert card.values["kind"] == kind
    assert card.values["name"] == name
    assert network.in_channels == card.values["in_channels"]
    assert sum(p.numel() for p in network.parameters()) < (7e6 if name == "cells" else 2e6)
    output = Predictor(network)(np.zeros((network.in_channels, 40, 52), np.float32))
    assert output.shape == (3, 40, 52)
    # An empty image has nothing in it.
    assert (output[2] < 0).all()


def test_the_bundled_networks_are_small() -> None:
    for name in CHANNELS:
        need(name)
    assert sum(path.stat().st_size for path in cards.MODELS_FOLDER.iterdir()) < 25e6


def changed(folder: Path, kind: str) -> str:
    """Damage one tensor of the network in a folder, with a card that fits; return the tensor's name."""
    weights = folder / "cells.safetensors"
    state = load_file(weights)
    name = next(name for name, value in state.items() if value.ndim == 4 and "down" in name)
    if kind == "variance":
        name = next(name for name in state if name.endswith("running_var"))
        state[name][0] = -1.0
    elif kind == "zero":
        state[name] = torch.zeros_like(state[name])
    else:
        state[name].view(-1)[-1] = float(kind)
    save_file(state, weights)
    card = json.loads((folder / "cells.json").read_text())
    card["sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    (folder / "cells.json").write_text(json.dumps(card))
    return name


@pytest.mark.parametrize("kind", ["nan", "inf", "-inf", "zero", "variance"])
def test_weights_that_no_training_leaves_are_refused(folder: Path, kind: str) -> None:
    name = changed(folder, kind)
    with pytest.raises(InputError, match=rf"the weights are damaged \({name.replace('.', '[.]')} is"):
        load_models(PLAIN)


@pytest.mark.parametrize("value", [1e5, 0, -30, 2.9, float("nan"), "30", True, None])
@pytest.mark.parametrize("key", ["diameter_px", "typical_um"])
def test_a_card_whose_lengths_no_cell_has_is_one_sentence(tmp_path: Path, key: str, value: object) -> None:
    if (key, value) == ("typical_um", 2.9):
        value = 0.1
    put(tmp_path, "cells", **{"diameter_px": 30.0, "typical_um": 25.0} | {key: value})
    with pytest.raises(InputError, match=f"the card's {key} is no length of a cell"):
        cards.own_card(str(tmp_path), "cells")


@pytest.mark.parametrize("name", ["cells_model", "nuclei_model", "phenotype_model", "corrections"])
@pytest.mark.parametrize("value", ["m" * 5000, "a/" * 3000, "m" * 256, "a\0b"])
def test_a_name_that_no_file_can_have_is_one_short_sentence(name: str, value: str) -> None:
    with pytest.raises(InputError, match="can be no name of a model") as raised:
        Settings().updated(**{name: value})
    assert len(str(raised.value)) < 400
