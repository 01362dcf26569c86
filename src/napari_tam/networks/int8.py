"""Networks in whole numbers: convolutions of eight bits, as far as that loses nothing.

A network's card says within which limits the inputs of its convolutions lie (``int8``, by the hash of a
convolution's weights; ``training/calibrate.py``); a convolution without limits is left as it is. OpenVINO
turns what is rounded on both sides of a convolution into whole numbers. On processors with instructions for
them (AVX-512 VNNI, AVX-VNNI) that takes a third of the time of single precision and two thirds of that of
bfloat16; on others sums of products would be clipped, so that nothing is rounded there (`is_exact`).
"""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_tam.networks.openvino_import import openvino

if TYPE_CHECKING:
    from collections.abc import Mapping

    #: Least and largest value that a convolution's input is rounded between, by the hash of its weights.
    Limits = Mapping[str, tuple[float, float]]

#: Grey values of inputs and of weights: these lie as far below zero as above.
_INPUTS, _WEIGHTS = 256, 255


def convolutions(graph: Any) -> dict[str, Any]:
    """Return the convolutions of a graph by the hash of their weights, in order."""
    found = [node for node in graph.get_ordered_ops() if node.get_type_name() == "Convolution"]
    return {hashlib.sha256(_weights(node).tobytes()).hexdigest()[:16]: node for node in found}


def rounded(graph: Any, limits: Limits) -> Any:
    """Return a graph whose convolutions are computed in whole numbers, as far as their limits are known.

    Weights are rounded by output channel. An input that is never negative has all its 256 values above zero.
    What is rounded for a convolution is rounded for whatever else takes it (sums around a block, a maximum
    over pixels, other convolutions), within the widest limits, so that it is only kept in eight bits: on
    processors quick at convolutions, moving numbers takes more time than these.
    """
    ops = openvino().opset13
    graph = graph.clone()
    widest: dict[Any, tuple[float, float]] = {}
    for name, node in convolutions(graph).items():
        if name not in limits:
            continue
        given = _before_pooling(node.input_value(0))
        low, high = limits[name]
        least, most = widest.get(given, (low, high))
        widest[given] = min(low, least), max(high, most)
        weights = _weights(node)
        top = np.maximum(np.abs(weights).max(axis=(1, 2, 3), keepdims=True), np.float32(1e-8))
        kernel = ops.fake_quantize(ops.constant(weights), -top, top, -top, top, _WEIGHTS)
        node.input(1).replace_source_output(kernel.output(0))
    for given, ends in widest.items():
        takers = list(given.get_target_inputs())
        lowest, highest = map(np.float32, ends)
        inputs = ops.fake_quantize(given, lowest, highest, lowest, highest, _INPUTS)
        for taker in takers:
            taker.replace_source_output(inputs.output(0))
    graph.validate_nodes_and_infer_types()
    return graph


def _before_pooling(given: Any) -> Any:
    """Return what maxima over pixels were taken of: rounded before, they are the same."""
    while given.get_node().get_type_name() == "MaxPool":
        given = given.get_node().input_value(0)
    return given


def _weights(node: Any) -> Any:
    """Return a convolution's weights (outputs, inputs, rows, columns), float32."""
    return np.ascontiguousarray(node.input_value(1).get_node().data, np.float32)


@cache
def is_exact() -> bool:
    """Tell whether this processor adds up products of eight-bit numbers without clipping the sums.

    Asked by doing it: of 288 products of the largest numbers, older instructions clip every sum of two.
    """
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False  # OpenVINO has nothing to gain there
    ov = openvino()
    ops, channels, most = ov.opset13, 32, np.float32(127)
    given = ops.parameter(ov.PartialShape([1, channels, 3, 3]), np.float32)
    top = np.float32(_INPUTS - 1)
    inputs = ops.fake_quantize(given, np.float32(0), top, np.float32(0), top, _INPUTS)
    weights = ops.constant(np.full((channels, channels, 3, 3), most))
    limit = np.full((channels, 1, 1, 1), most)
    kernel = ops.fake_quantize(weights, -limit, limit, -limit, limit, _WEIGHTS)
    result = ops.convolution(inputs, kernel, [1, 1], [0, 0], [0, 0], [1, 1])
    graph = ov.Model([ops.result(result)], [given], "sums")
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = ov.Core().compile_model(graph, "CPU", options)
    total = compiled([np.full((1, channels, 3, 3), top)])[0]
    return bool((np.abs(total - top * most * channels * 9) < 1).all())
