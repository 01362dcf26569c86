"""Running a network on planes of any size, tile by tile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

import numpy as np
import numpy.typing as npt

from napari_tam.networks.engines import Engine, OpenVinoEngine, TorchEngine, choose_engine, torch_dtype
from napari_tam.networks.tiles import tiles
from napari_tam.stopping import checkpoint

if TYPE_CHECKING:
    import torch

    from napari_tam.networks.cpnet import CPNet
    from napari_tam.networks.engines import Device, Precision
    from napari_tam.networks.flownet import FlowNet
    from napari_tam.networks.int8 import Limits
    from napari_tam.networks.stored_graphs import StoredGraph

#: Width (px) of the empty margin around an image.
MARGIN = 16

#: Edge (px) of the largest tile. A FlowNet's answer is the same in tiles of any size, and a camera of up to
#: 1,104 px is one of these; a CPNet has a style of each tile.
TILE, TILE_OF_CPNET = 1152, 768


class Predictor:
    """A trained network made ready to run.

    Parameters
    ----------
    network
        The network, which stays as it was; or what is stored of one, for OpenVINO only.
    device
        Where to run; the processor when None.
    engine
        What runs it: see `napari_tam.networks.engines.choose_engine`.
    dtype
        Data type of torch; `fast_dtype` of the device when None. Where it is given, torch runs the network.
    precision
        ``full``: single precision everywhere.
    limits
        Of convolutions in whole numbers, see `napari_tam.networks.int8`.
    tile, overlap
        Largest tile that is run at once, and how far tiles reach into each other (pixels, rounded
        up to what the network pools together). With an overlap of at least the network's ``reach``, its
        default, tiling changes nothing; of a CPNet little, whose style is that of each tile.

    Raises
    ------
    InputError
        If the engine cannot be used.
    """

    def __init__(
        self,
        network: FlowNet | CPNet | StoredGraph,
        device: Device | None = None,
        *,
        engine: Literal["auto", "torch", "openvino"] = "auto",
        dtype: torch.dtype | None = None,
        precision: Precision = "auto",
        limits: Limits | None = None,
        tile: int = TILE_OF_CPNET,
        overlap: int | None = None,
    ) -> None:
        device = device or "cpu"
        name = choose_engine("torch" if dtype else engine, device)
        if name == "openvino":
            self.engine: Engine = OpenVinoEngine(network, limits, precision)
        else:
            dtype = dtype or torch_dtype(device, precision)
            self.engine = TorchEngine(cast("FlowNet | CPNet", network), device, dtype)
        self.multiple, self.in_channels, self.tile = network.multiple, network.in_channels, tile
        overlap = network.reach if overlap is None else overlap
        self.overlap = overlap + -overlap % self.multiple

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
        # It is as wide on both sides, up to what the network pools together: of a mirrored image (of an even
        # size) the same pixels are then pooled.
        spare = [2 * MARGIN + -(n + 2 * MARGIN) % self.multiple for n in image.shape[1:]]
        inside = (
            slice(None),
            *(slice(n // 2, n // 2 + m) for n, m in zip(spare, image.shape[1:], strict=True)),
        )
        top, left = (n // 2 for n in spare)
        shape = (image.shape[1] + spare[0], image.shape[2] + spare[1])
        output = np.empty((3, *shape), np.float32)
        for tile in tiles(shape, self.tile, self.overlap, self.multiple):
            checkpoint()
            # Its sides are multiples of what the network pools together, as the plane's are.
            result = self.engine(np.ascontiguousarray(_framed(image, tile.outer, (top, left))))
            y, x = (
                slice(inner.start - outer.start, inner.stop - outer.start)
                for inner, outer in zip(tile.inner, tile.outer, strict=True)
            )
            output[:, tile.inner[0], tile.inner[1]] = result[:, y, x]
        self.engine.rest()
        return output[inside]


def _framed(
    image: npt.NDArray[np.float32], part: tuple[slice, slice], frame: tuple[int, int]
) -> npt.NDArray[np.float32]:
    """Return a part of an image within a frame of zeros, whose upper and left sides are so wide.

    Of the part alone: a framed copy of a large image would take as much memory again.
    """
    y, x = (range(side.start - width, side.stop - width) for side, width in zip(part, frame, strict=True))
    rows, columns = (
        slice(max(0, along.start), min(n, along.stop))
        for along, n in zip((y, x), image.shape[1:], strict=True)
    )
    if (rows.stop - rows.start, columns.stop - columns.start) == (len(y), len(x)):
        return image[:, rows, columns]
    result = np.zeros((len(image), len(y), len(x)), np.float32)
    inside = (
        slice(rows.start - y.start, rows.stop - y.start),
        slice(columns.start - x.start, columns.stop - x.start),
    )
    result[:, *inside] = image[:, rows, columns]
    return result
