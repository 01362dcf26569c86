"""Train the puncta network: ``python training/train_puncta.py --data DATA --out runs/puncta.pt``.

``DATA`` is the folder of images beside the project (``shared/data``). Seeded; a checkpoint every three
minutes, and an interrupted run goes on from it. Sources, splits and what is done to each crop are in
`puncta_fields` and `puncta_scenes`; targets and loss are those of the other networks.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from puncta_fields import Source
from safetensors.torch import load_file
from train_flownet import NETWORKS

from napari_tam.networks.flownet import FlowNet
from napari_tam.train.flows import loss, prefetch

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Steps between two lines of the log.
REPORT = 100


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
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(1)
    shape, device = NETWORKS["puncta"], torch.device(args.device)
    network = FlowNet(shape["in_channels"], shape["widths"], shape["stem"])
    if args.init:
        start_from(network, args.init)
    network.to(device, memory_format=torch.channels_last)
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(args.average), use_buffers=True
    )
    optimiser = torch.optim.AdamW(network.parameters(), lr=args.rate, weight_decay=1e-4)
    start, checkpoint = 0, args.out.with_suffix(".checkpoint.pt")
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        start = state["step"]
        print(f"continuing from step {start}", flush=True)
    stream = prefetch(batches(Source(args.data, args.seed, args.scenes), args, start), depth=2)
    saved = clock = time.time()
    running = 0.0
    network.train()
    for step in range(start, args.steps):
        for group in optimiser.param_groups:
            group["lr"] = rate(args, step)
        planes, target = next(stream)
        planes = planes.to(device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            output = network(planes)
        value = loss(output.float(), target.to(device))
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        average.update_parameters(network)
        running += float(value.detach())
        if (step + 1) % REPORT == 0:
            pace = (time.time() - clock) / REPORT
            print(f"step {step + 1} loss {running / REPORT:.4f} {pace:.3f} s/step", flush=True)
            running, clock = 0.0, time.time()
        if time.time() - saved > 180 or step + 1 == args.steps:
            state = {
                "network": network.state_dict(), "average": average.state_dict(),
                "optimiser": optimiser.state_dict(), "step": step + 1,
            }  # fmt: skip
            torch.save(state, checkpoint.with_suffix(".part"))
            checkpoint.with_suffix(".part").replace(checkpoint)
            torch.save(average.module.state_dict(), args.out)
            saved = time.time()
            record = {key: getattr(args, key) for key in ("steps", "seed", "batch", "crop", "rate", "scenes")}
            record["diameter"], record["steps_done"] = shape["diameter_px"], step + 1
            args.out.with_suffix(".json").write_text(json.dumps(record, indent=1))


def rate(args: argparse.Namespace, step: int) -> float:
    """Learning rate: a short rise, then a cosine to nearly nothing."""
    warm = min(1.0, (step + 1) / 200)
    return float(args.rate * warm * (0.5 + 0.5 * math.cos(math.pi * step / args.steps)) + 1e-6)


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
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args(given)


if __name__ == "__main__":
    train(read_arguments())
