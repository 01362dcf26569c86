"""FlowNet: a small residual U-Net that predicts Cellpose flows.

Three output channels, as in Cellpose (Stringer et al. 2021, Nat Methods): the flow to the cell
centre in y and x (five times the unit vector), and the logit of the cell probability. Nothing of napari_tam
is imported here: exported packages hold this file.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, cast

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

if TYPE_CHECKING:
    from collections.abc import Sequence


class ConvNorm(nn.Sequential):
    """Convolution, batch norm; the norm is folded into the convolution for inference."""

    def __init__(self, inputs: int, outputs: int, size: int = 3) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False), nn.BatchNorm2d(outputs)
        )


class Block(nn.Module):
    """Two convolutions around a residual connection."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = ConvNorm(inputs, outputs)
        self.second = ConvNorm(outputs, outputs)
        self.project = ConvNorm(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the block on (N, inputs, Y, X); returns (N, outputs, Y, X)."""
        y = self.second(functional.relu(self.first(x), inplace=True))
        return functional.relu(y + self.project(x), inplace=True)


class FlowNet(nn.Module):
    """Residual U-Net: image channels in, flow y, flow x and probability logit out, at full size.

    Parameters
    ----------
    in_channels
        Channels of the image.
    widths
        Channels of each level, finest first; each level halves the size.
    stem
        Pixels of a ``stem × stem`` block are taken together as channels before the first level:
        a stem of 2 makes the network about four times cheaper and loses no resolution.
    """

    def __init__(self, in_channels: int, widths: Sequence[int], stem: int = 1) -> None:
        super().__init__()
        self.in_channels, self.widths, self.stem = in_channels, tuple(widths), stem
        self.enter = ConvNorm(in_channels * stem**2, widths[0])
        self.down = nn.ModuleList(
            Block(inputs, outputs) for inputs, outputs in zip((widths[0], *widths[:-1]), widths, strict=True)
        )
        self.lateral = nn.ModuleList(ConvNorm(c, f, 1) for f, c in pairwise(widths))
        self.up = nn.ModuleList(Block(f, f) for f in widths[:-1])
        self.head = nn.Conv2d(widths[0], 3 * stem**2, 1)

    @property
    def reach(self) -> int:
        """How far the answers of a square that is pooled together depend on the image around it (px).

        Rounded up to `multiple`.
        """
        first, levels = 0, len(self.widths)  # of the pixels that matter to the square's first one
        for level in range(levels):  # what is put together last, down to the deepest block ...
            first = (first // 2 if level else first) - 2
        for _ in range(levels - 1):  # ... and what that saw
            first = 2 * first - 2
        farthest = self.stem * (1 - first)
        return farthest + -farthest % self.multiple

    @property
    def multiple(self) -> int:
        """Height and width of the input must be multiples of this."""
        return int(self.stem * 2 ** (len(self.widths) - 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run on (N, in_channels, Y, X), Y and X multiples of `multiple`; returns (N, 3, Y, X)."""
        if self.stem > 1:
            x = functional.pixel_unshuffle(x, self.stem)
        x = functional.relu(self.enter(x), inplace=True)
        skips: list[torch.Tensor] = []
        for level, block in enumerate(self.down):
            if level:
                x = functional.max_pool2d(x, 2)
            x = block(x)
            skips.append(x)
        x = skips.pop()
        for level in reversed(range(len(self.up))):
            # Project before enlarging: a quarter of the work, the same numbers.
            x = functional.interpolate(self.lateral[level](x), scale_factor=2, mode="nearest")
            x = self.up[level](x + skips.pop())
        x = self.head(x)
        return functional.pixel_shuffle(x, self.stem) if self.stem > 1 else x

    def fold_norms(self) -> FlowNet:
        """Fold every batch norm into its convolution (in place, for inference only)."""
        _fold(self)
        return self


def _fold(network: nn.Module) -> None:
    for name, child in network.named_children():
        if isinstance(child, ConvNorm):
            convolution, norm = cast("nn.Conv2d", child[0]), cast("nn.BatchNorm2d", child[1])
            setattr(network, name, fuse_conv_bn_eval(convolution, norm))
        else:
            _fold(child)
