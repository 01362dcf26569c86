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
from torch.nn import functional
from train_flownet import NETWORKS
from training_loop import fit, rate

from napari_tam.networks.flownet import FlowNet
from napari_tam.train.flows import prefetch

if TYPE_CHECKING:
    from collections.abc import Iterator


#: Weight in the loss of a pixel whose truth is not known, beside one that is.
UNKNOWN = 0.3


def start_from(network: FlowNet, path: Path) -> None:
    """Take over the weights of a network that saw fewer planes, had fewer levels, or fewer channels a level.

    The network answers as the given one at first: what is new begins at zero, or where nothing takes it yet.
    """
    given, state = load_file(path), network.state_dict()
    deepest = len(network.widths) - 2
    for name, value in state.items():
        if name in given:
            if value.ndim == 4:  # new channels keep what was drawn, so that they differ from each other
                value[: len(given[name])] = 0
            known = tuple(slice(n) for n in given[name].shape)
            value[known] = given[name].to(value.dtype)
        elif name.endswith("project.0.weight"):  # channels were handed on as they were, there being as many
            value[: value.shape[1]] = torch.eye(value.shape[1])[:, :, None, None]
        elif name in (f"lateral.{deepest}.1.weight", f"up.{deepest}.second.1.weight"):
            value.zero_()
    network.load_state_dict(state)


def network_of(path: Path) -> FlowNet:
    """Load a network, whatever planes and levels it has, folded for inference."""
    given = load_file(path)
    levels = sum(name.startswith("down.") and name.endswith("first.0.weight") for name in given)
    widths = [given[f"down.{level}.first.0.weight"].shape[0] for level in range(levels)]
    stem = NETWORKS["puncta"]["stem"]
    network = FlowNet(given["enter.0.weight"].shape[1] // stem**2, widths, stem)
    network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in given.items()})
    return network.eval().fold_norms()


def batches(
    source: Source, args: argparse.Namespace, start: int, teacher: FlowNet | None = None
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield (planes, target); batch number `n` depends on the seed and `n` only."""
    for step in range(start, args.steps):
        crops = [
            source.crop(np.random.default_rng([args.seed, step, index]), args.crop)
            for index in range(args.batch)
        ]
        *parts, shares = zip(*crops, strict=True)
        planes, target = (torch.from_numpy(np.stack(part)) for part in parts)
        if teacher is not None:
            known = next(teacher.parameters()).device
            target = taught(teacher, planes.to(known), target.to(known), torch.tensor(shares), 2 + step % 2)
        yield planes, target


@torch.no_grad()
def taught(
    teacher: FlowNet, planes: torch.Tensor, target: torch.Tensor, shares: torch.Tensor, flip: int
) -> torch.Tensor:
    """Mix a target (weight, probability, flows) with what a teacher says of the crop and of its mirror image.

    Parameters
    ----------
    shares
        (N,) weight of the teacher; where the truth is not known it is alone, with the weight `UNKNOWN`.
    flip
        The axis that the crop is mirrored along, 2 or 3.
    """
    planes = planes[:, : teacher.in_channels]
    mirrored = teacher(planes.flip(flip)).flip(flip)
    mirrored[:, flip - 2] *= -1
    plain = teacher(planes)
    chance = (torch.sigmoid(plain[:, 2:]) + torch.sigmoid(mirrored[:, 2:])) / 2
    answer = torch.cat([chance, (plain[:, :2] + mirrored[:, :2]) / 10], 1)  # flows are five times as long
    known = target[:, :1] > 0
    share = torch.where(known, shares.to(target)[:, None, None, None], 1.0)
    weight = torch.where(known, 1.0, UNKNOWN)
    return torch.cat([weight, (1 - share) * target[:, 1:] + share * answer], 1)


def soft_loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """`napari_tam.train.flows.loss` for probabilities between 0 and 1."""
    weight, chance, flows = target[:, :1], target[:, 1:2], target[:, 2:]
    flow = ((output[:, :2] - 5 * flows) ** 2 * weight).mean()
    probability = functional.binary_cross_entropy_with_logits(output[:, 2:], chance, reduction="none")
    return flow / 2 + (probability * weight).mean()


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
    teacher = None
    if args.teacher:
        teacher = network_of(args.teacher).to(device, memory_format=torch.channels_last)
    source = Source(args.data, args.seed, args.scenes)

    def record(steps: int) -> None:
        known = {key: getattr(args, key) for key in ("steps", "seed", "batch", "crop", "rate", "scenes")}
        known |= {"diameter": shape["diameter_px"], "steps_done": steps}
        args.out.with_suffix(".json").write_text(json.dumps(known, indent=1))

    fit(
        network,
        args,
        lambda start: prefetch(batches(source, args, start, teacher), depth=2),
        soft_loss,
        rate=rate,
        half=device.type == "cuda",
        on_save=record,
        fixed_norms=args.init is not None,
    )


def read_arguments(given: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder of images beside the project")
    parser.add_argument("--out", type=Path, required=True, help="where the weights go (.pt)")
    parser.add_argument("--init", type=Path, help="weights to start from (.safetensors)")
    parser.add_argument("--teacher", type=Path, help="weights whose answers count too (.safetensors)")
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--rate", type=float, default=6e-4)
    parser.add_argument("--scenes", type=int, default=240, help="simulated fields of macrophages")
    parser.add_argument("--average", type=float, default=0.998, help="decay of the averaged weights")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="torch threads; 0: all")
    parser.add_argument("--minutes", type=float, help="stop, with a checkpoint, after so long")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args(given)


if __name__ == "__main__":
    train(read_arguments())
