"""Train a FlowNet: ``python training/train_flownet.py cells --steps 9000``.

Targets, augmentation and loss are those of `napari_tam.train.flows`; with ``--teacher cells`` it learns what
that network answers as well (`distil`). Seeded; writes a checkpoint every few minutes and continues from it
when started again.
"""

from __future__ import annotations

import argparse
import json
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import data
import torch
from distil import WEIGHTS as TAUGHT
from distil import nuclei_as_cells, taught_batches, taught_loss, teacher_of
from safetensors.torch import load_file
from training_loop import checkpoint_of, fit

from napari_tam.networks.flownet import FlowNet
from napari_tam.puncta.spot_input import PLANES
from napari_tam.train.flows import batches, loss, prefetch

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Architecture and working scale of the three networks (`puncta` is trained by ``train_puncta.py``).
NETWORKS = {
    "cells": {"in_channels": 2, "widths": (32, 64, 128, 192), "stem": 1, "diameter_px": 30.0},
    "nuclei": {"in_channels": 1, "widths": (16, 32, 64, 128), "stem": 1, "diameter_px": 17.0},
    "puncta": {"in_channels": PLANES, "widths": (32, 64, 96, 128), "stem": 2, "diameter_px": 1.0},
}

#: How often each group of images is drawn, relative to the others.
WEIGHTS = {
    "simulated": 10, "bbbc020": 8, "kc167": 3, "n1e115": 3, "n1e115b": 3, "membrane": 2, "cyto_a": 2,
    "cyto_b": 1, "dsb": 20,
}  # fmt: skip


def load(
    kind: str, diameter: float, leave_out: list[str], simulated: int, seed: int, folder: Path
) -> tuple[list, list]:
    """Return training and validation samples; validation is never drawn."""
    if kind == "cells":
        samples = data.real_cells(diameter, folder) + data.simulated("cells", diameter, simulated, seed)
        held = {s.name for s in samples if any(s.name.startswith(prefix) for prefix in leave_out)}
    else:
        samples = data.real_nuclei(diameter, folder) + data.simulated("nuclei", diameter, simulated, seed)
        held = data.held_out_nuclei([s.name for s in samples if s.group == "dsb"])
    return [s for s in samples if s.name not in held], [s for s in samples if s.name in held]


def train(args: argparse.Namespace) -> None:
    """Train, checkpoint, and write the averaged weights."""
    shape = NETWORKS[args.network]
    device = torch.device(args.device)
    torch.manual_seed(args.seed)
    if args.threads:
        torch.set_num_threads(args.threads)
    diameter = args.diameter or shape["diameter_px"]
    samples, held = load(args.network, diameter, args.leave_out, args.simulated, args.seed, args.data)
    teacher = teacher_of(args.teacher, device) if args.teacher else None
    if teacher is not None:
        samples += nuclei_as_cells(diameter, args.data)
    print(f"{args.network}: {len(samples)} fields to train on, {len(held)} held out", flush=True)
    network = FlowNet(shape["in_channels"], shape["widths"], shape["stem"]).to(
        device, memory_format=torch.channels_last
    )
    if args.init and not checkpoint_of(args.out).exists():
        network.load_state_dict(given_weights(Path(args.init)))
    weights = (WEIGHTS if teacher is None else TAUGHT) | (
        {} if args.macrophages is None else {"bbbc020": args.macrophages}
    )
    draw = (args.crop, args.batch, args.seed + 1)

    def stream_from(start: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        if teacher is None:
            stream = batches(samples, args.network, *draw, start, weights)
        else:
            stream = taught_batches(samples, teacher, *draw, start, weights, device)
        # No batch too many: Cellpose's augmentation draws from a state that a later training would share.
        return prefetch(islice(stream, max(0, args.steps - start)))

    def record(steps: int) -> None:
        places = ("out", "device", "threads", "data", "minutes", "init")
        known = {key: value for key, value in vars(args).items() if key not in places}
        known |= {"diameter": diameter, "steps_done": steps}
        Path(args.out).with_suffix(".json").write_text(json.dumps(known, indent=1))

    goal = loss if teacher is None else taught_loss
    fit(network, args, stream_from, goal, half=device.type != "mps", on_save=record)


def given_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read weights to start from, of a training (.pt) or bundled (.safetensors)."""
    if path.suffix != ".safetensors":
        return torch.load(path, weights_only=True)
    return {name: v.float() if v.is_floating_point() else v for name, v in load_file(path).items()}


def read_arguments(given: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", choices=("cells", "nuclei"))
    parser.add_argument("--out", required=True, help="where the weights go (.pt)")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--crop", type=int, default=160)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--simulated", type=int, default=250, help="simulated fields")
    parser.add_argument("--leave-out", nargs="*", default=[], help="prefixes of fields kept for validation")
    parser.add_argument("--macrophages", type=int, help="weight of the BBBC020 fields")
    parser.add_argument("--teacher", help="name of the bundled network to learn from")
    parser.add_argument("--init", help="weights to start from (.pt, .safetensors)")
    parser.add_argument("--data", type=Path, default=data.SHARED, help="the images beside the project")
    parser.add_argument("--minutes", type=float, help="stop, with a checkpoint, after so long")
    parser.add_argument("--diameter", type=float, help="working scale: diameter of an object in pixels")
    parser.add_argument("--average", type=float, default=0.998, help="decay of the averaged weights")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="torch threads; 0: all")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args(given)


if __name__ == "__main__":
    train(read_arguments())
