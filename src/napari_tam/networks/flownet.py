"""FlowNet: a small residual U-Net that predicts Cellpose flows, and its fast inference.

Three output channels, as in Cellpose (Stringer et al. 2021, Nat Methods): the flow to the cell
centre in y and x (five times the unit vector), and the logit of the cell probability.
"""

from __future__ import annotations

from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from napari_tam.errors import InputError
from napari_tam.stopping import checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


#: Width (px) of the empty margin around an image.
MARGIN = 16


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


def fold_norms(network: nn.Module) -> nn.Module:
    """Fold every batch norm into its convolution (in place, for inference only)."""
    for name, child in network.named_children():
        if isinstance(child, ConvNorm):
            convolution, norm = cast("nn.Conv2d", child[0]), cast("nn.BatchNorm2d", child[1])
            setattr(network, name, fuse_conv_bn_eval(convolution, norm))
        else:
            fold_norms(child)
    return network


def choose_device(name: str = "auto") -> torch.device:
    """Turn a device setting into a torch device.

    Raises
    ------
    InputError
        If the named device does not exist here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()  # 'meta' computes, but gives nothing back
    except Exception as error:  # each kind of device fails in its own way
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"the device '{name}' cannot be used ({reason})",
            where="device",
            fix="use 'auto' or 'cpu'",
        ) from error
    return device


def fast_dtype(device: torch.device) -> torch.dtype:
    """Return the data type in which convolutions run fastest on a device at sufficient precision.

    Half precision on a GPU; bfloat16 on processors with native support (2.5 times faster there); float32
    otherwise, where bfloat16 would be emulated.
    """
    if device.type == "cuda":
        return torch.float16
    if device.type == "cpu":
        capability = torch.backends.cpu.get_cpu_capability()
        native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
        if native and "AVX512" in capability:
            return torch.bfloat16
    return torch.float32


@dataclass(frozen=True)
class Tile:
    """A tile to compute (`outer`) and the part of it to keep (`inner`), as y and x slices."""

    outer: tuple[slice, slice]
    inner: tuple[slice, slice]


def tiles(shape: tuple[int, int], size: int, overlap: int, multiple: int = 1) -> Iterator[Tile]:
    """Cut a plane into tiles of about equal size whose outer parts overlap.

    Parameters
    ----------
    shape
        Height and width of the plane.
    size
        Largest height and width of an outer part (for ``size > 2 * overlap + multiple``).
    overlap
        How far an outer part reaches beyond the inner one, except at the plane's edge.
    multiple
        Tiles start at multiples of this (`overlap` being one), so that a network which pools sees
        the same pixels together in every tile.

    Yields
    ------
    Tile
        Their inner parts cover every pixel once.
    """

    def cuts(length: int) -> list[tuple[slice, slice]]:
        if length <= size:
            return [(slice(0, length), slice(0, length))]
        largest = max(multiple, (size - 2 * overlap) // multiple * multiple)
        step = int(np.ceil(length / np.ceil(length / largest) / multiple)) * multiple
        return [
            (slice(max(0, a - overlap), min(length, a + step + overlap)), slice(a, min(length, a + step)))
            for a in range(0, length, step)
        ]

    for outer_y, inner_y in cuts(shape[0]):
        for outer_x, inner_x in cuts(shape[1]):
            yield Tile((outer_y, outer_x), (inner_y, inner_x))


class Predictor:
    """A trained FlowNet made ready to run: norms folded, channels last, fastest data type.

    Parameters
    ----------
    network
        The network; it is copied, and stays as it was.
    device
        Where to run; the processor when None.
    dtype
        Data type; `fast_dtype` of the device when None.
    tile, overlap
        Largest tile that is run at once, and how far tiles reach into each other (pixels, rounded
        up to what the network pools together). With an overlap of at least the radius of the receptive field
        (47 px for the bundled ones), tiling changes nothing.
    """

    def __init__(
        self,
        network: FlowNet,
        device: torch.device | None = None,
        *,
        dtype: torch.dtype | None = None,
        tile: int = 768,
        overlap: int = 48,
    ) -> None:
        self.device = device or torch.device("cpu")
        self.dtype = dtype or fast_dtype(self.device)
        self.multiple, self.in_channels, self.tile = network.multiple, network.in_channels, tile
        self.overlap = overlap + -overlap % self.multiple
        folded = fold_norms(deepcopy(network).eval()).to(self.device, self.dtype)
        # The stubs of torch lack this overload.
        self.network = cast("nn.Module", folded.to(memory_format=torch.channels_last))  # type: ignore[call-overload]

    def __call__(self, image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Predict flows and probability logits.

        Parameters
        ----------
        image
            CYX float32, normalised as the network was trained.

        Returns
        -------
        CYX float32: flow y, flow x (five times the unit vector), probability logit.
        """
        # In training, an object cut by the image's border has nothing beyond it; one cut by a crop's
        # edge goes on there, and its flow points out. A margin of zeros tells the two apart.
        margin = MARGIN + -MARGIN % self.multiple
        inside = (slice(None), *(slice(margin, margin + n) for n in image.shape[1:]))
        image = np.pad(image, [(0, 0), (margin, margin), (margin, margin)])
        shape = (image.shape[1], image.shape[2])
        output = np.empty((3, *shape), np.float32)
        with torch.inference_mode():
            for tile in tiles(shape, self.tile, self.overlap, self.multiple):
                checkpoint()
                result = self._run(image[:, tile.outer[0], tile.outer[1]])
                y, x = (
                    slice(inner.start - outer.start, inner.stop - outer.start)
                    for inner, outer in zip(tile.inner, tile.outer, strict=True)
                )
                output[:, tile.inner[0], tile.inner[1]] = result[:, y, x]
        return output[inside]

    def _run(self, crop: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        height, width = crop.shape[1:]
        batch = torch.from_numpy(np.ascontiguousarray(crop))[None].to(self.device, self.dtype)
        pad = (-width % self.multiple, -height % self.multiple)
        if any(pad):
            # Reflection needs a pad smaller than the image; tiny crops repeat their edge instead.
            mode = "reflect" if pad[0] < width and pad[1] < height else "replicate"
            batch = functional.pad(batch.float(), (0, pad[0], 0, pad[1]), mode=mode).to(self.dtype)
        out = self.network(batch.contiguous(memory_format=torch.channels_last))
        return np.asarray(out[0, :, :height, :width].float().cpu().numpy())


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Use this many torch threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
