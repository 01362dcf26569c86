"""Give the channels of a network the same range, so that eight bits do for all (cross-layer equalization).

A channel that is multiplied before a rectifier, and divided by as much in all convolutions that take it,
changes nothing of what a network answers (Nagel et al. 2019, Data-Free Quantization through Weight
Equalization and Bias Correction, https://arxiv.org/abs/1906.04721). Rounded to 256 values a layer, one of a
small range gains. Factors are powers of two: in single precision the network stays the same to the bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from napari_tam.networks.flownet import FlowNet

#: A channel is enlarged 32 times at most.
LEAST = 1 / 32


def equalise(network: FlowNet, given: list[np.ndarray]) -> None:
    """Scale the channels of a network in place, by what it makes of some inputs ((1, C, Y, X) each)."""
    ranges = ranges_of_inputs(network, given)
    for sources, takers in streams(network):
        inputs = torch.stack([ranges[taker] for taker in takers]).amax(0)
        weights = torch.stack([_share(taker) for taker in takers]).amax(0)
        factor = torch.sqrt(_relative(inputs) / _relative(weights))
        factor = torch.exp2(torch.log2(_relative(factor).clamp(LEAST)).round())
        with torch.no_grad():
            for norm in sources:
                norm.weight /= factor
                norm.bias /= factor
            for taker in takers:
                taker.weight *= factor[None, :, None, None]


def streams(network: FlowNet) -> Iterator[tuple[list[nn.BatchNorm2d], list[nn.Conv2d]]]:
    """Yield norms that write the same channels, as these are added up, and convolutions that take them."""
    levels = len(network.widths)
    # Where a block does not project, its channels are those that it is given.
    of = list(range(levels))
    for level in range(1, levels):
        if isinstance(network.down[level].project, nn.Identity):
            of[level] = of[level - 1]
    sources: list[list[nn.BatchNorm2d]] = [[] for _ in range(levels)]
    takers: list[list[nn.Conv2d]] = [[] for _ in range(levels)]
    sources[0].append(network.enter[1])
    takers[0].append(network.head)
    for level, block in enumerate(network.down):
        above = of[max(0, level - 1)]
        takers[above].append(block.first[0])
        sources[of[level]].append(block.second[1])
        if not isinstance(block.project, nn.Identity):
            takers[above].append(block.project[0])
            sources[of[level]].append(block.project[1])
        yield [block.first[1]], [block.second[0]]
    for level, (lateral, block) in enumerate(zip(network.lateral, network.up, strict=True)):
        takers[of[level + 1]].append(lateral[0])
        sources[of[level]] += [lateral[1], block.second[1]]
        takers[of[level]].append(block.first[0])
        yield [block.first[1]], [block.second[0]]
    for level in sorted(set(of)):
        yield sources[level], takers[level]


def ranges_of_inputs(network: FlowNet, given: list[np.ndarray]) -> dict[nn.Module, torch.Tensor]:
    """Return the largest absolute value of each channel that each convolution is given."""
    found: dict[nn.Module, torch.Tensor] = {}

    def note(layer: nn.Module, args: tuple[torch.Tensor]) -> None:
        most = args[0].abs().amax((0, 2, 3))
        found[layer] = torch.maximum(found.get(layer, most), most)

    hooks = [
        layer.register_forward_pre_hook(note) for layer in network.modules() if isinstance(layer, nn.Conv2d)
    ]
    network.eval()
    with torch.no_grad():
        for batch in given:
            network(torch.from_numpy(batch))
    for hook in hooks:
        hook.remove()
    return found


def _share(layer: nn.Conv2d) -> torch.Tensor:
    """Return the largest weight of each input channel, each output's weights relative to its largest one."""
    weights = layer.weight.detach().abs()
    return (weights / weights.amax((1, 2, 3), keepdim=True)).amax((0, 2, 3))


def _relative(values: torch.Tensor) -> torch.Tensor:
    """Return values relative to the largest one; a thousandth at least."""
    return (values / values.max()).clamp(1e-3)
