"""Files of Cellpose 1 to 3 models → CPNets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import torch

from napari_tam.errors import InputError
from napari_tam.networks.cpnet import CPNet

if TYPE_CHECKING:
    from collections.abc import Mapping

_ENTRY = re.compile(r"downsample\.down\.res_down_(\d+)\.proj\.1\.weight")


def network_of(state: Mapping[str, Any]) -> tuple[CPNet, float]:
    """Build the network that a Cellpose 1 to 3 file holds.

    Parameters
    ----------
    state
        Names and tensors of the file. Channels and widths follow from their shapes.

    Returns
    -------
    The network (float32, in evaluation mode), and the diameter (px) that it works at.

    Raises
    ------
    InputError
        If weights are missing or do not fit each other.
    """
    levels = {int(found[1]): state[name] for name in state if (found := _ENTRY.fullmatch(name))}
    try:
        widths = [int(levels[n].shape[0]) for n in range(len(levels))]
        network = CPNet(int(levels[0].shape[1]), widths)
        wanted = {name for name in network.state_dict() if not name.endswith("num_batches_tracked")}
        given = {name: state[name].to(torch.float32) for name in wanted if name in state}
        if lacking := len(wanted - set(given)):
            raise ValueError(f"it lacks {lacking} of the network's {len(wanted)} weights")
        network.load_state_dict(given, strict=False)
        diameter = float(state["diam_mean"].reshape(-1)[0]) if "diam_mean" in state else 30.0
        if not 1 < diameter < 1000:
            raise ValueError(f"its diameter is no length ({diameter:g} px)")
    except (AttributeError, KeyError, IndexError, RuntimeError, TypeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"the weights do not make a Cellpose 1 to 3 network ({reason})") from error
    return network.eval(), diameter
