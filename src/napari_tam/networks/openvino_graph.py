"""A torch network → an OpenVINO model, by running its `forward` on symbols.

Torch's operations ask their arguments whether they would rather do it themselves (``__torch_function__``); a
`Symbol` does, and notes the operation in OpenVINO's graph. So a network is described once, by its
`forward`, and nothing is traced (``torch.jit``, which OpenVINO's own converter uses, is deprecated and slow).
Only what the networks here consist of is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from napari_tam.networks.openvino_import import openvino

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from openvino import Model

ov = openvino()
ops = ov.opset13


class Symbol:
    """An output of the graph that stands where a network expects a tensor."""

    def __init__(self, node: Any) -> None:
        self.node = node.output(0) if isinstance(node, ov.Node) else node

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], _types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Do what torch was asked to do to a symbol."""
        try:
            known = _KNOWN[function]
        except KeyError:
            raise NotImplementedError(f"{function} has no counterpart for OpenVINO here") from None
        options = {name: _node(value) for name, value in (kwargs or {}).items()}
        return cls(known(*map(_node, args), **options))

    def __add__(self, other: Any) -> Symbol:
        """Sum."""
        return Symbol(ops.add(self.node, _node(other)))

    def __truediv__(self, other: Any) -> Symbol:
        """Quotient."""
        return Symbol(ops.divide(self.node, _node(other)))

    def __pow__(self, power: int) -> Symbol:
        """Power."""
        return Symbol(ops.power(self.node, _constant(power)))

    def __getitem__(self, index: tuple[Any, ...]) -> Symbol:
        """Add axes of length 1 (``x[:, :, None, None]``); nothing else is known."""
        if any(item not in (None, slice(None)) for item in index):
            raise NotImplementedError(f"an index {index} has no counterpart for OpenVINO here")
        axes = [place for place, item in enumerate(index) if item is None]
        return Symbol(ops.unsqueeze(self.node, np.array(axes)))

    def mean(self, axes: Sequence[int]) -> Symbol:
        """Mean over axes."""
        return Symbol(ops.reduce_mean(self.node, np.array(axes)))

    def sum(self, axis: int, keepdim: bool = False) -> Symbol:
        """Sum over an axis."""
        return Symbol(ops.reduce_sum(self.node, np.array([axis]), keep_dims=keepdim))

    def sqrt(self) -> Symbol:
        """Square root."""
        return Symbol(ops.sqrt(self.node))

    def dim(self) -> int:
        """Count axes."""
        return len(self.node.get_partial_shape())


def _node(value: Any) -> Any:
    """Return what OpenVINO takes in place of a symbol or tensor; other values as they are."""
    if isinstance(value, Symbol):
        return value.node
    return _constant(value) if isinstance(value, torch.Tensor) else value


def _constant(value: Any) -> Any:
    array: npt.NDArray[Any] = np.asarray(
        value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value, np.float32
    )
    return ops.constant(np.ascontiguousarray(array))


def _column(vector: Any) -> Any:
    """Return (C,) as (C, 1, 1)."""
    return ops.unsqueeze(vector, np.array([1, 2]))


def _conv2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    if groups != 1:
        raise NotImplementedError("a convolution in groups has no counterpart for OpenVINO here")
    step, pad, spread = (
        [value] * 2 if isinstance(value, int) else list(value) for value in (stride, padding, dilation)
    )
    node = x.get_node()
    if node.get_type_name() == "SpaceToDepth" and [step, spread] == [[1, 1], [1, 1]]:
        size = node.get_attributes()["block_size"]
        x, weight = node.input_value(0), _constant(_on_pixels(weight.output(0).get_node().data, size))
        step, pad = [size] * 2, [size * width for width in pad]
    result = ops.convolution(x, weight, step, pad, pad, spread)
    return result if bias is None else ops.add(result, _column(bias))


def _on_pixels(weights: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """Return the weights of a convolution of blocks as those of one of pixels, which steps by a block.

    The same sums, in a fifth less of the network's time: nothing is put in another order for them.
    """
    outputs, channels, height, width = weights.shape
    blocks = weights.reshape(outputs, -1, size, size, height, width).transpose(0, 1, 4, 2, 5, 3)
    return blocks.reshape(outputs, channels // size**2, height * size, width * size)


def _batch_norm(
    x: Any, mean: Any, variance: Any, weight: Any, bias: Any, *, training: bool, eps: float, **_options: Any
) -> Any:
    if training:
        raise NotImplementedError("a network in training has no counterpart for OpenVINO")
    return ops.batch_norm_inference(x, weight, bias, mean, variance, eps)


def _max_pool(x: Any, size: int, **options: Any) -> Any:
    if options.get("padding") or options.get("ceil_mode"):
        raise NotImplementedError("a padded maximum has no counterpart for OpenVINO here")
    return ops.max_pool(x, [size] * 2, [1, 1], [0, 0], [0, 0], [size] * 2)


def _interpolate(x: Any, *, scale_factor: int, mode: str, **_options: Any) -> Any:
    if mode != "nearest":
        raise NotImplementedError(f"the interpolation '{mode}' has no counterpart for OpenVINO here")
    scales = np.array([scale_factor] * 2, np.float32)
    return ops.interpolate(
        x,
        scales,
        mode="nearest",
        shape_calculation_mode="scales",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
        axes=np.array([2, 3]),
    )


_KNOWN: dict[Any, Callable[..., Any]] = {
    torch.conv2d: _conv2d,
    functional.batch_norm: _batch_norm,
    functional.interpolate: _interpolate,
    functional.linear: lambda x, weight, bias: ops.add(ops.matmul(x, weight, False, True), bias),
    functional.max_pool2d: _max_pool,
    functional.pixel_shuffle: lambda x, size: ops.depth_to_space(x, "depth_first", size),
    functional.pixel_unshuffle: lambda x, size: ops.space_to_depth(x, "depth_first", size),
    functional.relu: lambda x, **_options: ops.relu(x),
}


def graph_of(network: Callable[[Any], Any], shape: list[int]) -> Model:
    """Return the graph of a network.

    Parameters
    ----------
    network
        In evaluation mode; or another function of one tensor.
    shape
        Shape of its input; -1 for axes of any length.

    Raises
    ------
    NotImplementedError
        If the network does something that is not known here.
    """
    given = ops.parameter(ov.PartialShape(shape), np.float32, name="image")
    result = network(Symbol(given))
    return ov.Model([ops.result(result.node)], [given], getattr(network, "__name__", type(network).__name__))
