from __future__ import annotations

from importlib.metadata import version

import numpy as np
import pytest
import torch

from napari_tam.errors import InputError
from napari_tam.networks.cellpose_file import network_of
from napari_tam.networks.cpnet import CPNet
from napari_tam.networks.predictor import Predictor

# Small images: more threads would only wait for each other.
torch.set_num_threads(1)


def untrained(in_channels: int = 2, widths: tuple[int, ...] = (8, 12, 16), seed: int = 0) -> CPNet:
    """Return a network whose norms have seen something."""
    torch.manual_seed(seed)
    made = CPNet(in_channels, widths)
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.7, 1.4)
            torch.nn.init.uniform_(module.bias, -0.3, 0.3)
            torch.nn.init.uniform_(module.running_mean, -0.3, 0.3)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    return made.eval()


@pytest.mark.skipif(int(version("cellpose").split(".")[0]) > 3, reason="Cellpose 4 lacks this network")
@pytest.mark.parametrize(
    ("in_channels", "widths", "shape"),
    [(2, (32, 64, 128, 256), (48, 64)), (1, (8, 16), (10, 6)), (3, (4, 8, 12, 16, 20), (32, 16))],
)
def test_it_computes_what_cellposes_own_network_computes(
    in_channels: int, widths: tuple[int, ...], shape: tuple[int, int]
) -> None:
    from cellpose.resnet_torch import CPnet

    reference = CPnet([in_channels, *widths], 3, 3).eval()
    ours = untrained(in_channels, widths)
    reference.load_state_dict(ours.state_dict(), strict=False)
    back, diameter = network_of(reference.state_dict())
    assert (back.in_channels, back.widths, diameter) == (in_channels, widths, 30.0)
    image = torch.rand(1, in_channels, *shape)
    with torch.inference_mode():
        wanted = reference(image)[0]
        assert wanted.abs().max() > 0.1
        for network in (ours, back):
            assert (network(image) - wanted).abs().max() < 1e-4 * wanted.abs().max()


def test_a_predictor_runs_it() -> None:
    image = np.random.default_rng(0).normal(size=(2, 45, 31)).astype(np.float32)
    output = Predictor(untrained())(image)
    assert output.shape == (3, 45, 31)
    assert np.isfinite(output).all()


def test_folding_the_norms_changes_nothing() -> None:
    network, image = untrained(), torch.rand(1, 2, 24, 40)
    with torch.inference_mode():
        before = network(image)
        norms = sum(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())
        folded = network.fold_norms()
        assert sum(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules()) < 0.65 * norms
        assert (folded(image) - before).abs().max() < 1e-4 * before.abs().max()


def test_the_diameter_comes_from_the_file() -> None:
    state = {**untrained().state_dict(), "diam_mean": torch.tensor([17.0]), "diam_labels": torch.ones(1)}
    assert network_of(state)[1] == 17


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda state: state.pop("output.2.bias"), "lacks 1 of"),
        (lambda state: state.clear(), "0"),
        (lambda state: state.update({"output.2.bias": torch.zeros(4)}), "size mismatch|state_dict"),
        (lambda state: state.update({"output.2.bias": "evil"}), "str"),
        (lambda state: state.update({"downsample.down.res_down_0.proj.1.weight": 3}), "shape"),
        (lambda state: state.update({"diam_mean": torch.tensor([0.0])}), "no length"),
        (lambda state: state.update({"diam_mean": torch.tensor([float("nan")])}), "no length"),
        (lambda state: state.update({"diam_mean": torch.zeros(0)}), "index"),
    ],
)
def test_a_broken_file_is_an_input_error(change, reason: str) -> None:
    state = dict(untrained().state_dict())
    change(state)
    with pytest.raises(
        InputError, match=rf"(?s)do not make a Cellpose 1 to 3 network .*({reason})"
    ) as caught:
        network_of(state)
    assert "\n" not in str(caught.value)
