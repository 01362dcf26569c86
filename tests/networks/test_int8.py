"""Convolutions in whole numbers: as exact as eight bits are, and only where sums are not clipped."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from bundled import need
from flow_images import spots_image

from napari_tam.errors import InputError
from napari_tam.evaluate.matching import match_points
from napari_tam.networks import engines, int8
from napari_tam.networks.cards import bundled_cards
from napari_tam.networks.engines import OpenVinoEngine, openvino_problem
from napari_tam.networks.flownet import FlowNet
from napari_tam.networks.openvino_graph import graph_of
from napari_tam.networks.predictor import Predictor
from napari_tam.puncta.flows import centres_from_flows
from napari_tam.puncta.spot_input import network_input

needs_whole_numbers = pytest.mark.skipif(
    bool(openvino_problem()) or not int8.is_exact(), reason="this processor clips sums"
)


def _network():
    import torch

    torch.manual_seed(0)
    return FlowNet(1, [16, 32], 1).eval()


def _graph(network):
    return graph_of(network, [1, 1, -1, -1])


def _limits(network, top=8.0):
    return dict.fromkeys(int8.convolutions(_graph(network)), (-top, top))


def _noise(seed=0):
    return np.random.default_rng(seed).normal(size=(1, 64, 64)).astype(np.float32)


@needs_whole_numbers
def test_rounding_changes_little_and_changes_something():
    network, image = _network(), _noise()
    exact, whole = (OpenVinoEngine(network, limits, "auto")(image) for limits in (None, _limits(network)))
    assert 0 < np.abs(whole - exact).mean() < 0.1 * exact.std()


def test_what_is_rounded_for_a_convolution_is_rounded_for_all_that_take_it():
    """Else it is kept twice, in eight bits and as it was: moving it takes longer than convolutions do."""
    network = _network()
    graph = int8.rounded(_graph(network), _limits(network))
    for node in graph.get_ordered_ops():
        takers = [taker.get_node() for taker in node.output(0).get_target_inputs()] if node.outputs() else []
        kinds = {taker.get_type_name() for taker in takers}
        if "FakeQuantize" in kinds:
            assert len(takers) == 1, (node, kinds)
        if node.get_type_name() == "Convolution":
            given, weights = (value.get_node().get_type_name() for value in node.input_values())
            assert weights == "FakeQuantize"
            assert given in ("FakeQuantize", "MaxPool")


def test_the_widest_limits_hold_where_two_convolutions_take_the_same():
    network = FlowNet(1, [8, 12], 1).eval()  # a wider level is projected: of the same maxima
    graph = _graph(network)
    names = {node.get_friendly_name(): name for name, node in int8.convolutions(graph).items()}
    takers = [
        [names[taker.get_node().get_friendly_name()] for taker in node.output(0).get_target_inputs()]
        for node in graph.get_ordered_ops()
        if node.get_type_name() == "MaxPool"
    ]
    (shared,) = takers
    assert len(shared) == 2
    rounded = int8.rounded(graph, {shared[0]: (0.0, 3.0), shared[1]: (-1.0, 2.0)})
    ends = [
        [float(value.get_node().data.ravel()[0]) for value in node.input_values()[1:3]]
        for node in rounded.get_ordered_ops()
        if node.get_type_name() == "FakeQuantize" and node.input_value(0).get_node().get_type_name() == "Relu"
    ]
    assert ends == [[-1.0, 3.0]]


@needs_whole_numbers
def test_the_hash_of_its_weights_tells_a_convolution(monkeypatch):
    network, other, image = _network(), _network(), _noise()
    for parameter in other.parameters():
        parameter.data *= 1.1
    # limits of other weights are none
    strange = OpenVinoEngine(network, _limits(other))(image)
    np.testing.assert_array_equal(strange, OpenVinoEngine(network)(image))


def test_where_sums_are_clipped_nothing_is_rounded(monkeypatch):
    monkeypatch.setattr(engines, "is_exact", lambda: False)
    network, image = _network(), _noise()
    given = OpenVinoEngine(network, _limits(network))(image)
    np.testing.assert_array_equal(given, OpenVinoEngine(network)(image))
    assert "int8" not in engines.describe("openvino", "cpu")


def test_full_precision_is_single_precision_everywhere(monkeypatch):
    monkeypatch.setattr(engines, "is_exact", lambda: True)
    network, image = _network(), _noise()
    import torch

    with torch.no_grad():
        truth = network(torch.from_numpy(image)[None])[0].numpy()
    given = OpenVinoEngine(network, _limits(network), "full")(image)
    np.testing.assert_allclose(given, truth, atol=1e-4)
    assert engines.describe("openvino", "cpu", "full").endswith(", f32")
    assert engines.describe("torch", "cpu", "full").endswith(", f32")
    assert Predictor(network, engine="torch", precision="full").engine.dtype == torch.float32


@pytest.mark.skipif(sys.platform != "linux", reason="oneDNN is told by its own variable")
def test_clipped_sums_are_noticed():
    """An older processor, which oneDNN is told that it has: sums of two products are clipped there."""
    code = "from napari_tam.networks.int8 import is_exact; print(is_exact())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"},
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("name", sorted(bundled_cards()))
def test_limits_of_the_bundled_networks_are_of_their_weights(name):
    card = need(name)
    network = card.load().eval()
    known = int8.convolutions(graph_of(network, [1, network.in_channels, -1, -1]))
    assert set(card.limits) <= set(known)
    assert all(low < high for low, high in card.limits.values())
    if name != "cells-fast":  # the networks that run by default
        assert len(card.limits) > 0.8 * len(known)


@needs_whole_numbers
@pytest.mark.parametrize("height", [300.0, 3000.0, 30_000.0])
def test_bright_and_crowded_puncta_are_found_as_in_single_precision(height):
    rng = np.random.default_rng(3)
    angle, away = rng.uniform(0, 2 * np.pi, 240), 90 * np.sqrt(rng.random(240))
    places = 128 + away[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    light = height * np.exp(rng.normal(0, 0.6, 240))
    spots = [(y, x, bright, 1.6) for (y, x), bright in zip(places, light, strict=True)]
    planes = network_input(spots_image((256, 256), spots, noise=10))
    card = need("puncta")
    exact, whole = (
        centres_from_flows(
            Predictor(card.load(), engine="openvino", limits=limits, precision=precision)(planes)
        )
        for limits, precision in ((None, "full"), (card.limits, "auto"))
    )
    found = [points[scores >= 0.5] for points, scores in (exact, whole)]
    assert len(found[0]) > 60
    assert len(match_points(*found, 2.0)) > 0.95 * len(found[0])
    assert len(found[1]) < 1.05 * len(found[0])


@pytest.mark.parametrize(
    "strange", [3, {"a": 1}, {"a": [2, 1]}, {"a": [0]}, {"a": ["0", "1"]}, {"a": [0, float("nan")]}]
)
def test_strange_limits_are_refused(strange):
    card = need("nuclei")
    damaged = type(card)(card.path, {**card.values, "int8": strange})
    with pytest.raises(InputError, match="int8 holds no limits"):
        _ = damaged.limits


@needs_whole_numbers
@pytest.mark.parametrize("name", ["cells", "nuclei", "puncta"])
def test_rounded_networks_answer_as_the_exact_ones(name):
    card = need(name)
    image = np.random.default_rng(1).random((card.values["in_channels"], 96, 96), np.float32)
    if name == "puncta":  # of noise it says next to nothing: flows of a thousandth
        image = network_input(spots_image((96, 96), [(30, 40, 400, 1.5), (60, 20, 900, 1.5)], noise=10))
    network = card.load_for_openvino()
    whole = Predictor(network, limits=card.limits)(image)
    exact = Predictor(network, precision="full")(image)
    for one, other in zip(whole, exact, strict=True):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.98
