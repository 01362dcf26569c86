"""Channels of a network get the same range, and the network stays what it was."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from paths import TRAINING
from torch import nn

from napari_tam.networks import int8
from napari_tam.networks.engines import openvino_problem
from napari_tam.networks.flownet import FlowNet
from napari_tam.networks.openvino_graph import graph_of
from napari_tam.networks.openvino_import import openvino

pytestmark = pytest.mark.skipif(not TRAINING.exists(), reason="the training scripts are not here")

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(TRAINING)
    import equalise as scaling
sys.modules.pop("equalise", None)


def uneven(widths: tuple[int, ...], stem: int) -> FlowNet:
    """Return a network whose channels have ranges far apart, which those that take them make up for."""
    torch.manual_seed(1)
    network = FlowNet(2, widths, stem)
    for norms, takers in scaling.streams(network):
        factor = torch.exp2(torch.randint(-4, 1, (len(norms[0].weight),)))
        for norm in norms:
            nn.init.uniform_(norm.running_var, 0.5, 1.5)
            norm.bias.data = 0.2 * torch.randn(len(norm.bias)) * factor
            norm.weight.data = norm.weight.data * factor
        for taker in takers:
            taker.weight.data = taker.weight.data / factor[:, None, None]
    return network.eval()


def error_of_rounding(network: FlowNet, given: list[np.ndarray]) -> float:
    """Return the squared error of the answers in whole numbers, over their variance."""
    graph = graph_of(network, [1, network.in_channels, -1, -1])
    limits = {}
    ranges = list(scaling.ranges_of_inputs(network, given).values())
    for name, found in zip(int8.convolutions(graph), ranges, strict=True):
        limits[name] = (-float(found.max()), float(found.max()))
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    exact, whole = (
        openvino().Core().compile_model(each, "CPU", options)([given[0]])[0]
        for each in (graph, int8.rounded(graph, limits))
    )
    return float(((whole - exact) ** 2).mean() / exact.var())


@pytest.mark.skipif(bool(openvino_problem()), reason="OpenVINO is not here")
@pytest.mark.parametrize(("widths", "stem"), [((8, 12, 16), 1), ((8, 12, 12), 2), ((8, 8, 8, 8), 1)])
def test_answers_stay_the_same_to_the_bit_and_whole_numbers_come_nearer(
    widths: tuple[int, ...], stem: int
) -> None:
    network = uneven(widths, stem)
    given = [np.random.default_rng(seed).normal(size=(1, 2, 64, 64)).astype(np.float32) for seed in range(3)]
    error = error_of_rounding(network, given)
    with torch.no_grad():
        before = network(torch.from_numpy(given[0]))
        scaling.equalise(network, given)
        after = network(torch.from_numpy(given[0]))
    assert torch.equal(before, after)
    assert error_of_rounding(network, given) < 0.7 * error


def test_every_norm_and_every_convolution_but_the_first_is_of_one_stream() -> None:
    network = FlowNet(2, (8, 12, 12, 16), 2)
    pairs = list(scaling.streams(network))
    norms = [id(norm) for norms, _ in pairs for norm in norms]
    takers = [id(taker) for _, takers in pairs for taker in takers]
    known = {
        kind: {id(m) for m in network.modules() if isinstance(m, kind)}
        for kind in (nn.Conv2d, nn.BatchNorm2d)
    }
    assert len(norms) == len(set(norms))
    assert set(norms) == known[nn.BatchNorm2d]
    assert len(takers) == len(set(takers))
    assert set(takers) == known[nn.Conv2d] - {id(network.enter[0])}
