"""Train the puncta network: ``python training/train_puncta.py --data DATA --out runs/puncta.pt``.

``DATA`` is the folder of images beside the project (``shared/data``). Seeded; a checkpoint every three
minutes, and an interrupted run goes on from it. Sources, splits and what is done to each crop are in
`puncta_fields` and `puncta_scenes`; targets and loss are those of the other networks.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from puncta_fields import Source
from safetensors.torch import load_file
from train_flownet import NETWORKS
from training_loop import fit, rate

from napari_tam.networks.flownet import FlowNet
from napari_tam.train.flows import loss, prefetch

if TYPE_CHECKING:
    from collections.abc import Iterator


def start_from(network: FlowNet, path: Path) -> None:
    """Take over the weights of a network that saw fewer planes; the new ones begin at zero."""
    given = load_file(path)
    first = "enter.0.weight"
    known = given[first].shape[1]
    whole = torch.zeros_like(network.state_dict()[first])
    whole[:, :known] = given[first].float()
    network.load_state_dict({name: value.float() if value.is_floating_point() else value
                             for name, value in given.items()} | {first: whole})  # fmt: skip


def batches(
    source: Source, args: argparse.Namespace, start: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield (planes, target); batch number `n` depends on the seed and `n` only."""
    for step in range(start, args.steps):
        crops = [
            source.crop(np.random.default_rng([args.seed, step, index]), args.crop)
            for index in range(args.batch)
        ]
        yield tuple(torch.from_numpy(np.stack(part)) for part in zip(*crops, strict=True))


def train(args: argparse.Namespace) -> None:
    """Train, checkpoint, and write the averaged weights."""
    torch.manual_seed(args.seed)
    if args.threads:
        torch.set_num_threads(args.threads)
    cv2.setNumThreads(1)
    shape, device = NETWORKS["puncta"], torch.device(args.device)
    network = FlowNet(shape["in_channels"], shape["widths"], shape["stem"])
    if args.init:
        start_from(network, args.init)
    network.to(device, memory_format=torch.channels_last)
    source = Source(args.data, args.seed, args.scenes)

    def record(steps: int) -> None:
        known = {key: getattr(args, key) for key in ("steps", "seed", "batch", "crop", "rate", "scenes")}
        known |= {"diameter": shape["diameter_px"], "steps_done": steps}
        args.out.with_suffix(".json").write_text(json.dumps(known, indent=1))

    fit(
        network,
        args,
        lambda start: prefetch(batches(source, args, start), depth=2),
        loss,
        rate=rate,
        half=device.type == "cuda",
        on_save=record,
    )


def read_arguments(given: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder of images beside the project")
    parser.add_argument("--out", type=Path, required=True, help="where the weights go (.pt)")
    parser.add_argument("--init", type=Path, help="weights to start from (.safetensors)")
    parser.add_argument("--steps", type=int, default=3300)
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--rate", type=float, default=8e-4)
    parser.add_argument("--scenes", type=int, default=240, help="simulated fields of macrophages")
    parser.add_argument("--average", type=float, default=0.998, help="decay of the averaged weights")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="torch threads; 0: all")
    parser.add_argument("--minutes", type=float, help="stop, with a checkpoint, after so long")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args(given)


if __name__ == "__main__":
    train(read_arguments())
