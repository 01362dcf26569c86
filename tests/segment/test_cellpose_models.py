from __future__ import annotations

import os
import pickle
from typing import TYPE_CHECKING, Any

import cellpose.models
import numpy as np
import pytest
import torch
from flow_images import ellipses, precision
from paths import SHARED
from skimage.measure import label as connected

from napari_tam.errors import InputError
from napari_tam.networks.cpnet import CPNet
from napari_tam.pipeline import models
from napari_tam.segment.cellpose_models import (
    CellposeSegmenter,
    cellpose_generation,
    cellpose_network,
    zoo_names,
)
from napari_tam.segment.segmenter import median_diameter
from napari_tam.settings import Settings
from napari_tam.simulate.parameters import SceneParameters
from napari_tam.simulate.scene import Scene

if TYPE_CHECKING:
    from pathlib import Path

CPU = torch.device("cpu")
GENERATION = cellpose_generation()
REFERENCE = SHARED / "reference" / "cellpose_generalist_cpnet.pt"

#: Names that tell the generations apart.
STATES = {
    3: {
        "downsample.down.res_down_0.conv.conv_0.0.weight": torch.zeros(2),
        "output.2.weight": torch.zeros(3, 32, 1, 1),
    },
    4: {"W2": torch.eye(192).reshape(192, 3, 8, 8), "encoder.pos_embed": torch.ones(1, 2, 2, 4)},
}


def network(name: str | Path) -> tuple[CPNet, float] | None:
    return cellpose_network(str(name))


def whole(seed: int = 0, in_channels: int = 2) -> dict[str, torch.Tensor]:
    """Return what a file of Cellpose 3 holds."""
    torch.manual_seed(seed)
    sizes = {"diam_mean": torch.tensor([30.0]), "diam_labels": torch.tensor([41.0])}
    return {**CPNet(in_channels, (4, 8)).state_dict(), **sizes}


@pytest.fixture(autouse=True)
def empty_zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A zoo without any downloaded or registered model, and without a way to fetch one."""
    folder = tmp_path / "zoo"
    folder.mkdir()

    def no_network(*_: Any, **__: Any) -> None:
        raise OSError("no network in tests")

    monkeypatch.setattr(cellpose.models, "MODEL_DIR", folder)
    monkeypatch.setattr(cellpose.models, "MODEL_LIST_PATH", os.fspath(folder / "gui_models.txt"))
    monkeypatch.setattr("urllib.request.urlopen", no_network)
    monkeypatch.setattr("cellpose.utils.download_url_to_file", no_network)
    return folder


def saved(path: Path, content: object, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def assert_damaged(path: Path, reason: str) -> None:
    """Check that a file of weights is refused with the reason, by itself and among the other networks."""
    with pytest.raises(InputError, match=f"the weights are damaged .*is {reason}"):
        network(path)
    with pytest.raises(InputError, match="the weights are damaged"):
        models.load_models(Settings(cells_model=str(path), nuclei_model="none"))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
@pytest.mark.parametrize("every", [True, False], ids=["all tensors", "one tensor"])
def test_weights_that_no_training_leaves_are_refused(tmp_path: Path, value: float, every: bool) -> None:
    state = whole()
    assert network(saved(tmp_path / "good.pt", state)) is not None
    layers = [name for name, tensor in state.items() if tensor.ndim == 4]
    for name in layers if every else layers[-1:]:
        state[name] = torch.full_like(state[name], value)
    assert_damaged(saved(tmp_path / "bad.pt", state), "all zero" if value == 0 else "not finite")


def transformer() -> dict[str, torch.Tensor]:
    """Return what a file of Cellpose 4 holds, of one small block: its names and numbers of axes."""
    torch.manual_seed(0)
    shapes = {
        "encoder.patch_embed.proj.weight": (8, 3, 8, 8),
        "encoder.blocks.0.norm1.weight": (8,),
        "encoder.blocks.0.attn.qkv.weight": (24, 8),
        "encoder.blocks.0.mlp.lin1.weight": (32, 8),
        "encoder.neck.0.weight": (4, 8, 1, 1),
        "out.weight": (192, 4, 1, 1),
    }
    drawn = {name: torch.rand(shape) - 0.5 for name, shape in shapes.items()}
    zero = {
        "encoder.blocks.0.attn.rel_pos_h": torch.zeros(3, 4),
        "encoder.blocks.0.attn.qkv.bias": torch.zeros(24),
        "diam_mean": torch.tensor([30.0]),
    }
    return {**STATES[4], **drawn, **zero}


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
@pytest.mark.parametrize("layer", ["all", "encoder.blocks.0.mlp.lin1.weight", "out.weight", "W2"])
def test_weights_of_cellpose_4_that_no_training_leaves_are_refused(
    tmp_path: Path, value: float, layer: str, kind: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_tam.segment.cellpose_models.cellpose_generation", lambda: 4)
    state = {name: tensor.to(kind) for name, tensor in transformer().items()}
    assert network(saved(tmp_path / "good.pt", state)) is None
    for name in [name for name, tensor in state.items() if tensor.ndim > 1 or layer != "all"]:
        if layer in ("all", name):
            state[name] = torch.full_like(state[name], value)
    assert_damaged(saved(tmp_path / "bad.pt", state), "all zero" if value == 0 else "not finite")


@pytest.mark.parametrize("value", [float("nan"), 0.0])
def test_weights_that_cellpose_4_fetched_itself_are_looked_at_as_well(
    monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    class Fetched(FakeCellpose):
        def __init__(self, **given: Any) -> None:
            super().__init__(**given)
            self.net = torch.nn.Linear(4, 4)
            torch.nn.init.constant_(self.net.weight, value)

    monkeypatch.setattr(cellpose.models, "CellposeModel", Fetched)
    monkeypatch.setattr("napari_tam.segment.cellpose_models._weights_file", lambda name: None)
    with pytest.raises(InputError, match="the weights are damaged"):
        CellposeSegmenter("cpsam", "cells", CPU, 25.0, "min_cell_area_um2")


class Evil:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.fspath(self.mark),)


def test_the_generation_is_that_of_the_installed_cellpose() -> None:
    assert GENERATION in (3, 4)
    known = list(dict.fromkeys(cellpose.models.MODEL_NAMES))
    assert zoo_names()[: len(known)] == known
    assert len(zoo_names()) == len(set(zoo_names()))


@pytest.mark.parametrize("name", ["cyto33", "no/such/file.pt", "", "celll"])
def test_an_unknown_name_is_an_error_that_lists_the_known_ones(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Cellpose itself would go on with another model.
    monkeypatch.setattr(cellpose.models, "CellposeModel", None)
    with pytest.raises(InputError, match="neither a file nor a model that Cellpose") as caught:
        network(name)
    assert all(known in str(caught.value) for known in zoo_names())
    assert "bundled" in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"not a model\n", bytes(range(256)) * 40, b"PK\x03\x04" + b"\0" * 200, b"\x80\x02}q\x00."],
)
def test_a_file_that_is_no_model_is_an_input_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"model\.pt: this is no Cellpose model file") as caught:
        network(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("new", [True, False])
def test_code_in_a_file_is_not_run(tmp_path: Path, new: bool) -> None:
    mark = tmp_path / "it was run"
    evil = saved(tmp_path / "evil.pt", {**STATES[3], "x": Evil(mark)}, _use_new_zipfile_serialization=new)
    plain = tmp_path / "plain.pt"
    plain.write_bytes(pickle.dumps({"downsample.x": Evil(mark)}))
    for path in (evil, plain):
        with pytest.raises(InputError, match=r"no Cellpose model file .*nothing in it was run") as caught:
            network(path)
        # Torch's own text tells how to load it all the same.
        assert "weights_only" not in str(caught.value)
    assert not mark.exists()
    # The mark does appear where code is allowed to run.
    torch.load(evil, weights_only=False)
    assert mark.exists()


def test_a_truncated_model_is_an_input_error(tmp_path: Path) -> None:
    whole = saved(tmp_path / "whole.pt", {**STATES[3], "big": torch.zeros(5000)}).read_bytes()
    for share in (0.1, 0.5, 0.9, 0.99):
        path = tmp_path / "part.pt"
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(InputError, match="no Cellpose model file"):
            network(path)


@pytest.mark.parametrize(
    "content",
    [
        {},
        {1: torch.zeros(1)},
        {"weight": torch.zeros(3)},
        torch.zeros(4),
        [torch.zeros(1)],
        None,
        "text",
        {"enter.0.weight": 1},
    ],
    ids=repr,
)
def test_weights_of_something_else_are_an_input_error(tmp_path: Path, content: object) -> None:
    with pytest.raises(InputError, match="it holds no Cellpose network"):
        network(saved(tmp_path / "other.pt", content))


def test_a_bundled_network_is_no_cellpose_file(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"enter.0.weight": torch.zeros(3)}, tmp_path / "cells.safetensors")
    with pytest.raises(InputError, match="no Cellpose model file"):
        network(tmp_path / "cells.safetensors")


@pytest.mark.parametrize("new", [True, False])
def test_a_model_of_cellpose_4_needs_it(tmp_path: Path, new: bool) -> None:
    path = saved(tmp_path / "model.pt", STATES[4], _use_new_zipfile_serialization=new)
    if GENERATION >= 4:
        assert network(path) is None
    else:
        with pytest.raises(
            InputError, match=r"belongs to Cellpose 4, but Cellpose 3.*is installed"
        ) as caught:
            network(path)
        assert "cellpose>=4" in str(caught.value)
        assert "bundled" in str(caught.value)


@pytest.mark.parametrize("new", [True, False])
def test_a_file_of_cellpose_3_works_with_any_cellpose(tmp_path: Path, new: bool) -> None:
    state = whole()
    found = network(saved(tmp_path / "model.pt", state, _use_new_zipfile_serialization=new))
    assert found is not None
    assert found[1] == 30
    assert all(torch.equal(value, state[key]) for key, value in found[0].state_dict().items())


def test_half_a_model_is_an_input_error_and_not_filled_with_random_numbers(tmp_path: Path) -> None:
    state = whole()
    # Cellpose's first models had no diameters stored.
    old = {name: value for name, value in state.items() if not name.startswith("diam")}
    assert network(saved(tmp_path / "old.pt", old)) is not None
    half = {name: value for name, value in state.items() if "upsample" not in name}
    with pytest.raises(InputError, match=r"half\.pt: .*it lacks \d+ of the network's \d+ weights"):
        network(saved(tmp_path / "half.pt", half))
    wrong = {**state, "output.0.weight": torch.zeros(7)}
    with pytest.raises(InputError, match="no Cellpose model file"):
        network(saved(tmp_path / "wrong.pt", wrong))


def test_a_network_for_other_channels_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="takes 3 channels, not a cell stain and a nuclear stain"):
        network(saved(tmp_path / "model.pt", whole(in_channels=3)))


def test_a_registered_model_is_found_by_its_name(empty_zoo: Path) -> None:
    (empty_zoo / "gui_models.txt").write_text("mine\n")
    assert "mine" in zoo_names()
    saved(empty_zoo / "mine", whole())
    found = network("mine")
    assert found is not None
    assert found[1] == 30


@pytest.mark.skipif(GENERATION >= 4, reason="the zoo of Cellpose 3")
def test_the_zoos_nuclei_have_a_diameter_of_their_own(empty_zoo: Path) -> None:
    saved(empty_zoo / "nucleitorch_0", whole())
    found = network("nuclei")
    assert found is not None
    assert found[1] == 17


@pytest.mark.skipif(GENERATION >= 4, reason="Cellpose 4 fetches them itself")
def test_weights_that_cannot_be_fetched_are_an_input_error() -> None:
    name = zoo_names()[0]
    with pytest.raises(
        InputError, match=rf"weights of '{name}' are not on this machine .*no network in tests"
    ):
        network(name)


# --- segmentation by Cellpose 4, with a stand-in for its model ---


class FakeCellpose:
    """Takes Cellpose's arguments, and finds what is bright."""

    diam_mean = 30.0

    def __init__(self, **given: Any) -> None:
        self.given = given
        self.net = torch.nn.Identity()
        self.calls: list[tuple[np.ndarray, dict[str, Any]]] = []

    def eval(self, x: np.ndarray, **options: Any) -> tuple[np.ndarray, ...]:
        self.calls.append((x, options))
        plane = x if x.ndim == 2 else x[..., 0]
        return connected(plane > (float(plane.max()) + float(plane.min())) / 2).astype(np.uint16), None, None


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(cellpose.models, "CellposeModel", FakeCellpose)

    def make(kind: str = "cells", typical_um: float = 25.0) -> CellposeSegmenter:
        path = saved(tmp_path / "model.pt", STATES[4])
        return CellposeSegmenter(str(path), kind, CPU, typical_um, "min_cell_area_um2")

    return make


TRUTH = ellipses(
    (220, 260), [(50, 60, 30, 26, 0), (60, 190, 28, 28, 0), (160, 70, 33, 26, 40), (165, 190, 30, 25, 70)]
)
IMAGE = (300 + 2000 * (TRUTH > 0)).astype(np.uint16)
TRUE_UM = median_diameter(TRUTH) * 0.5


def test_the_models_labels_come_back_at_full_size(fake: Any) -> None:
    found = fake().segment(IMAGE, None, 0.5, TRUE_UM, Settings())
    assert found.labels.shape == IMAGE.shape
    assert precision(TRUTH, found.labels, 0.9) == 1
    assert found.diameter_um == TRUE_UM


@pytest.mark.parametrize("wrong", [0.4, 0.8, 1.5, 3.0])
def test_the_diameter_is_estimated_from_a_wrong_start(fake: Any, wrong: float) -> None:
    made = fake(typical_um=wrong * TRUE_UM)
    found = made.segment(IMAGE, None, 0.5, None, Settings())
    assert found.diameter_um == pytest.approx(TRUE_UM, rel=0.15)
    assert precision(TRUTH, found.labels, 0.9) == 1


def test_the_second_stain_reaches_the_model(fake: Any) -> None:
    second = np.roll(IMAGE, 40, axis=0)
    for given_second in (None, second):
        made = fake()
        made.segment(IMAGE, given_second, 0.5, TRUE_UM, Settings(cell_probability=0.7, flow_threshold=0.3))
        [(image, options)] = made.model.calls
        assert options["cellprob_threshold"] == pytest.approx(np.log(0.7 / 0.3))
        assert options["flow_threshold"] == 0.3
        assert image.shape[2] == 3
        assert image[..., 1].any() == (given_second is not None)


def test_no_contrast_gives_no_labels(fake: Any) -> None:
    found = fake().segment(np.full((50, 60), 9, np.uint8), None, 0.5, None, Settings())
    assert found.labels.shape == (50, 60)
    assert not found.labels.any()


def test_small_objects_are_dropped_by_their_area_in_micrometres(fake: Any) -> None:
    area = float(np.median(np.bincount(TRUTH.ravel())[1:])) * 0.25
    found = fake().segment(IMAGE, None, 0.5, TRUE_UM, Settings(min_cell_area_um2=1.3 * area))
    assert not found.labels.any()


# --- a real Cellpose network ---


@pytest.mark.skipif(not REFERENCE.exists(), reason="the reference network (../shared) is not here")
def test_the_reference_network_finds_the_cells_of_a_scene() -> None:
    scene = Scene.draw(SceneParameters(shape=(256, 256), cells_per_field=10, overlap=0, clustering=0), 3)
    um = scene.parameters.pixel_size_um
    loaded = models.load_models(
        Settings(cells_model=str(REFERENCE), puncta_method="log", phenotype_model="none", device="cpu")
    )
    found = loaded.cells.segment(
        scene.image[0], scene.image[1], um, median_diameter(scene.cells) * um, Settings()
    )
    assert found.labels.shape == scene.cells.shape
    assert precision(scene.cells, found.labels, 0.5) > 0.7
    assert len(loaded.hashes[str(REFERENCE)]) == 64
    assert not loaded.cells.segment(np.full((64, 64), 5, np.uint16), None, um, 20.0, Settings()).labels.any()
