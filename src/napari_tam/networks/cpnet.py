"""CPNet: the network of Cellpose 1 to 3, written for inference (Stringer et al. 2021, Nat Methods).

A residual U-Net whose way up is steered by a style: the mean of the deepest level over the image, as a
unit vector. Its parts are named as in Cellpose's files, so that these load unchanged
(`napari_tam.networks.cellpose_file`). Nothing of napari_tam is imported here: exported packages hold this
file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

if TYPE_CHECKING:
    from collections.abc import Sequence


def unit(inputs: int, outputs: int, size: int = 3, *, relu: bool = True) -> nn.Sequential:
    """Return norm, ReLU and convolution: here the norm comes first."""
    norm, convolution = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, outputs, size, padding=size // 2)
    return nn.Sequential(norm, nn.ReLU(), convolution) if relu else nn.Sequential(norm, convolution)


class StyledUnit(nn.Module):
    """A unit to whose input the style is added, as one number a channel."""

    def __init__(self, channels: int, style: int) -> None:
        super().__init__()
        self.conv = unit(channels, channels)
        self.full = nn.Linear(style, channels)

    def forward(self, x: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        """Run on (N, channels, Y, X) and (N, style)."""
        return cast("torch.Tensor", self.conv(x + self.full(style)[:, :, None, None]))


class Down(nn.Module):
    """Four units around two residual connections."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.proj = unit(inputs, outputs, 1, relu=False)
        self.conv = nn.ModuleDict({f"conv_{n}": unit(outputs if n else inputs, outputs) for n in range(4)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run on (N, inputs, Y, X); returns (N, outputs, Y, X)."""
        conv = self.conv
        x = self.proj(x) + conv["conv_1"](conv["conv_0"](x))
        return cast("torch.Tensor", x + conv["conv_3"](conv["conv_2"](x)))

    def fold_norms(self) -> None:
        """See `CPNet.fold_norms`."""
        _fold_projection(self.proj)
        for before, behind in (("conv_0", "conv_1"), ("conv_2", "conv_3")):
            _fold_behind(self.conv[before], self.conv[behind])


class Up(nn.Module):
    """Four units around two residual connections, three of them styled."""

    def __init__(self, inputs: int, outputs: int, style: int) -> None:
        super().__init__()
        self.proj = unit(inputs, outputs, 1, relu=False)
        units = {f"conv_{n}": StyledUnit(outputs, style) for n in (1, 2, 3)}
        self.conv = nn.ModuleDict({"conv_0": unit(inputs, outputs), **units})

    def forward(
        self, x: torch.Tensor, skip: torch.Tensor, style: torch.Tensor, *, enlarge: bool
    ) -> torch.Tensor:
        """Run on (N, inputs, Y, X), doubled in size if `enlarge`, with `skip` of the way down.

        What looks at single pixels is done before they are doubled: a quarter of the work, the same numbers.
        """
        norm, relu, convolution = cast("nn.Sequential", self.conv["conv_0"])
        entered, shortcut = relu(norm(x)), self.proj(x)
        if enlarge:
            entered, shortcut = _double(entered), _double(shortcut)
        x = shortcut + self.conv["conv_1"](convolution(entered) + skip, style)
        return cast("torch.Tensor", x + self.conv["conv_3"](self.conv["conv_2"](x, style), style))

    def fold_norms(self) -> None:
        """See `CPNet.fold_norms`."""
        _fold_projection(self.proj)
        before, styled = cast("StyledUnit", self.conv["conv_2"]), cast("StyledUnit", self.conv["conv_3"])
        factor, _ = _affine(styled.conv[0])
        _fold_behind(before.conv, styled.conv)
        styled.full.weight.data *= factor[:, None]
        styled.full.bias.data *= factor


def _double(x: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(x, scale_factor=2, mode="nearest")


def _affine(norm: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the factor and the summand (channels,) that a norm is in evaluation."""
    factor = norm.weight.data / (norm.running_var + norm.eps).sqrt()
    return factor, norm.bias.data - norm.running_mean * factor


def _fold_projection(projection: Any) -> None:
    """Fold a norm into the 1 × 1 convolution behind it (a larger one has zeros around it, which differ)."""
    norm, convolution = projection
    factor, summand = _affine(norm)
    convolution.bias.data += convolution.weight.data[:, :, 0, 0] @ summand
    convolution.weight.data *= factor[:, None, None]
    projection[0] = nn.Identity()


def _fold_behind(before: Any, behind: Any) -> None:
    """Fold the norm of a unit into the convolution of the unit before it."""
    before[2] = fuse_conv_bn_eval(before[2], behind[0])
    behind[0] = nn.Identity()


class CPNet(nn.Module):
    """Image channels in, flow y, flow x and probability logit out, at full size.

    Parameters
    ----------
    in_channels
        Channels of the image.
    widths
        Channels of each level, finest first; each level halves the size.
    """

    def __init__(self, in_channels: int = 2, widths: Sequence[int] = (32, 64, 128, 256)) -> None:
        super().__init__()
        self.in_channels, self.widths = in_channels, tuple(widths)
        inputs = (in_channels, *widths[:-1])
        down = {f"res_down_{n}": Down(inputs[n], width) for n, width in enumerate(widths)}
        self.downsample = nn.ModuleDict({"down": nn.ModuleDict(down)})
        deeper = (*widths[1:], widths[-1])
        up = {f"res_up_{n}": Up(deeper[n], width, widths[-1]) for n, width in enumerate(widths)}
        self.upsample = nn.ModuleDict({"up": nn.ModuleDict(up)})
        self.output = unit(widths[0], 3, 1)

    #: How far a pixel's answer depends on the image around it (px), as far as it matters: beyond, up to
    #: 120 px, it changes less than the style does, which is that of each tile.
    reach = 64

    @property
    def multiple(self) -> int:
        """Height and width of the input must be multiples of this."""
        return int(2 ** (len(self.widths) - 1))

    def encode(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Run the way down on (N, in_channels, Y, X), multiples of `multiple`; returns all levels."""
        levels: list[torch.Tensor] = []
        for down in cast("nn.ModuleDict", self.downsample["down"]).values():
            x = down(functional.max_pool2d(x, 2) if levels else x)
            levels.append(x)
        return levels

    def fold_norms(self) -> CPNet:
        """Fold the norms that have a convolution and nothing else before or behind them.

        In place, for inference only. The others are followed by a ReLU, and stay.
        """
        for part in self.modules():
            if isinstance(part, Down | Up):
                part.fold_norms()
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run on (N, in_channels, Y, X), Y and X multiples of `multiple`; returns (N, 3, Y, X)."""
        levels = self.encode(x)
        style = levels[-1].mean((2, 3))
        style = style / (style**2).sum(1, keepdim=True).sqrt()
        x = levels[-1]
        ups = list(cast("nn.ModuleDict", self.upsample["up"]).values())
        for up, skip in zip(reversed(ups), reversed(levels), strict=True):
            x = up(x, skip, style, enlarge=skip is not levels[-1])
        return cast("torch.Tensor", self.output(x))
