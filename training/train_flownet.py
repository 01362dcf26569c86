"""Train a FlowNet: ``python training/train_flownet.py cells --steps 9000``.

Cellpose's targets (`labels_to_flows`), augmentation (`random_rotate_and_resize`) and loss (mean
squared error of five times the flows, plus binary cross-entropy of the probability, halved).
Seeded; writes a checkpoint every few minutes and continues from it when started again.
"""

from __future__ import annotations

import argparse
import json
import math
import queue
import threading
import time
from itertools import islice
from pathlib import Path

import cv2
import data
import numpy as np
import torch
from cellpose.transforms import random_rotate_and_resize
from torch.nn import functional

from napari_tam.flownet import FlowNet

#: Architecture and working scale of the three networks.
NETWORKS = {
    "cells": {"in_channels": 2, "widths": (32, 64, 128, 192), "stem": 1, "diameter_px": 30.0},
    "nuclei": {"in_channels": 1, "widths": (16, 32, 64, 128), "stem": 1, "diameter_px": 17.0},
    "puncta": {"in_channels": 1, "widths": (32, 64, 64), "stem": 2, "diameter_px": 1.0},
}

#: How often each group of images is drawn, relative to the others.
WEIGHTS = {
    "simulated": 10, "bbbc020": 8, "kc167": 3, "n1e115": 3, "n1e115b": 3, "membrane": 2, "cyto_a": 2,
    "cyto_b": 1, "dsb": 20, "deepspot": 7,
}  # fmt: skip


def load(kind: str, diameter: float, leave_out: list[str], simulated: int, seed: int) -> tuple[list, list]:
    """Return training and validation samples; validation is never drawn."""
    if kind == "cells":
        samples = data.real_cells(diameter) + data.simulated("cells", diameter, simulated, seed)
        held = {s.name for s in samples if any(s.name.startswith(prefix) for prefix in leave_out)}
    elif kind == "nuclei":
        samples = data.real_nuclei(diameter) + data.simulated("nuclei", diameter, simulated, seed)
        held = data.held_out_nuclei([s.name for s in samples if s.group == "dsb"])
    else:
        samples = data.real_puncta("train")
        samples = samples + data.simulated_puncta(simulated, seed, data.textures())
        held = {s.name for s in data.real_puncta("train")[::8]}
    return [s for s in samples if s.name not in held], [s for s in samples if s.name in held]


def perturb(image: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    """Vary what microscopes and stains vary: light, contrast, blur, noise, a missing nucleus."""
    for plane in image:
        if kind == "puncta":
            if rng.random() < 0.3:
                plane *= rng.uniform(0.7, 1.3)
            if rng.random() < 0.2:
                plane += rng.uniform(-0.3, 0.3)
            continue
        if rng.random() < 0.5:
            np.copyto(plane, np.sign(plane) * np.abs(plane) ** rng.uniform(0.6, 1.6))
        if rng.random() < 0.6:
            plane *= rng.uniform(0.6, 1.5)
            plane += rng.uniform(-0.1, 0.1)
        if rng.random() < 0.3:
            ramp = np.linspace(rng.uniform(0.5, 1), rng.uniform(0.5, 1), plane.shape[1], dtype=np.float32)
            plane *= ramp if rng.random() < 0.5 else ramp[:, None][: plane.shape[0]]
        if rng.random() < 0.35:
            np.copyto(plane, cv2.GaussianBlur(plane, (0, 0), rng.uniform(0.4, 1.8)))
        if rng.random() < 0.4:
            plane += rng.standard_normal(plane.shape, dtype=np.float32) * rng.uniform(0.01, 0.15)
    if kind == "cells" and rng.random() < 0.25:
        image[1] = 0
    return image


def batches(
    samples: list, kind: str, size: int, batch: int, seed: int, start: int, weights_of: dict[str, int]
):
    """Yield (image, target) batches for ever; batch number `n` depends on seed and `n` only."""
    groups: dict[str, list] = {}
    for sample in samples:
        groups.setdefault(sample.group, []).append(sample)
    names = sorted(groups)
    weights = np.array([weights_of[name] for name in names], float)
    weights /= weights.sum()
    step = start
    while True:
        rng = np.random.default_rng([seed, step])
        np.random.seed(rng.integers(2**31))  # Cellpose's augmentation draws from the global state
        chosen = []
        for name in rng.choice(names, batch, p=weights):
            chosen.append(groups[name][rng.integers(len(groups[name]))])
        # Mostly near working scale; wide, because a first pass must cope with an unknown size.
        spread = 0.25 if kind == "puncta" else 0.35
        factor = np.exp(np.clip(rng.normal(0, spread, batch), -0.8, 0.8))
        if kind == "puncta":
            factor = np.where(rng.random(batch) < 0.5, 1.0, factor)
        images, targets, _ = random_rotate_and_resize(
            [s.image for s in chosen],
            [s.target[[4, 1, 2, 3]] if kind == "puncta" else s.target[1:] for s in chosen],
            rescale=1 / factor,
            scale_range=0.0,
            xy=(size, size),
            rotate=kind != "puncta" or rng.random() < 0.5,
        )
        if kind == "puncta":
            outside = images[:, 0] == 0
            targets[:, 0][outside & (targets[:, 0] == 0)] = 1  # padding is background, not ignored
        for image in images:
            perturb(image, kind, rng)
        yield torch.from_numpy(images), torch.from_numpy(targets)
        step += 1


def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Cellpose's loss; a first target plane of weights (puncta) is honoured."""
    weight = target[:, :-3] if target.shape[1] > 3 else torch.ones(1)
    flow = ((output[:, :2] - 5 * target[:, -2:]) ** 2 * weight).mean()
    probability = functional.binary_cross_entropy_with_logits(
        output[:, 2:], (target[:, -3:-2] > 0.5).float(), reduction="none"
    )
    return flow / 2 + (probability * weight).mean()


def prefetch(iterator, depth: int = 4):
    """Run an iterator in a thread, a few items ahead; what goes wrong there is raised here."""
    box: queue.Queue = queue.Queue(depth)

    def work() -> None:
        try:
            for item in iterator:
                box.put((item, None))
            box.put((None, StopIteration()))
        except BaseException as error:
            box.put((None, error))

    threading.Thread(target=work, daemon=True).start()
    while True:
        item, error = box.get()
        if isinstance(error, StopIteration):
            return
        if error is not None:
            raise error
        yield item


def train(args: argparse.Namespace) -> None:
    """Train, checkpoint, and write the averaged weights."""
    shape = NETWORKS[args.network]
    device = torch.device(args.device)
    torch.manual_seed(args.seed)
    if args.threads:
        torch.set_num_threads(args.threads)
    diameter = args.diameter or shape["diameter_px"]
    samples, held = load(args.network, diameter, args.leave_out, args.simulated, args.seed)
    print(f"{args.network}: {len(samples)} fields to train on, {len(held)} held out", flush=True)
    network = FlowNet(shape["in_channels"], shape["widths"], shape["stem"]).to(
        device, memory_format=torch.channels_last
    )
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(args.average), use_buffers=True
    )
    optimiser = torch.optim.AdamW(network.parameters(), lr=args.rate, weight_decay=1e-4)
    start, checkpoint = 0, Path(args.out).with_suffix(".checkpoint.pt")
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        start = state["step"]
        print(f"continuing from step {start}", flush=True)
    elif args.init:
        weights = torch.load(args.init, weights_only=True)
        network.load_state_dict(weights)
        average.module.load_state_dict(weights)
    kind = torch.bfloat16  # half precision would need scaled gradients
    clock, running, saved = time.time(), 0.0, time.time()
    weights = WEIGHTS | {"bbbc020": args.macrophages}
    stream = batches(samples, args.network, args.crop, args.batch, args.seed + 1, start, weights)
    # No batch too many: Cellpose's augmentation draws from a state that a later training would share.
    stream = prefetch(islice(stream, max(0, args.steps - start)))
    network.train()
    for step in range(start, args.steps):
        warm = min(1.0, (step + 1) / 200)
        rate = args.rate * warm * (0.5 + 0.5 * math.cos(math.pi * step / args.steps)) + 1e-6
        for group in optimiser.param_groups:
            group["lr"] = rate
        image, target = next(stream)
        image = image.to(device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, dtype=kind, enabled=device.type != "mps"):
            output = network(image)
        value = loss(output.float(), target.to(device))
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        average.update_parameters(network)
        running += float(value.detach())
        if (step + 1) % 100 == 0:
            print(
                f"step {step + 1} loss {running / 100:.4f} {(time.time() - clock) / 100:.3f} s/step",
                flush=True,
            )
            running, clock = 0.0, time.time()
        if time.time() - saved > 240 or step + 1 == args.steps:
            state = {
                "network": network.state_dict(), "average": average.state_dict(),
                "optimiser": optimiser.state_dict(), "step": step + 1,
            }  # fmt: skip
            torch.save(state, checkpoint.with_suffix(".part"))
            checkpoint.with_suffix(".part").replace(checkpoint)
            torch.save(average.module.state_dict(), args.out)
            saved = time.time()
    record = {key: value for key, value in vars(args).items() if key not in ("out", "device", "threads")}
    record["diameter"] = diameter
    Path(args.out).with_suffix(".json").write_text(json.dumps(record, indent=1))


def read_arguments(given: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("--out", required=True, help="where the weights go (.pt)")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--crop", type=int, default=160)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--simulated", type=int, default=250, help="simulated fields")
    parser.add_argument("--leave-out", nargs="*", default=[], help="prefixes of fields kept for validation")
    parser.add_argument(
        "--macrophages", type=int, default=WEIGHTS["bbbc020"], help="weight of the BBBC020 fields"
    )
    parser.add_argument("--init", help="weights to start from")
    parser.add_argument("--diameter", type=float, help="working scale: diameter of an object in pixels")
    parser.add_argument("--average", type=float, default=0.998, help="decay of the averaged weights")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="torch threads; 0: all")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args(given)


if __name__ == "__main__":
    train(read_arguments())
