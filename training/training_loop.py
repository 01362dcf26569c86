"""The loop that trains every FlowNet: learning rate, averaged weights, log, checkpoints to go on from."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from napari_tam.networks.flownet import FlowNet

#: Steps between two lines of the log.
REPORT = 100

#: Seconds between two checkpoints.
SAVE_EVERY = 180


def checkpoint_of(out: str | Path) -> Path:
    """Return where the state of an unfinished training lies, beside its weights."""
    return Path(out).with_suffix(".checkpoint.pt")


def rate(args: argparse.Namespace, step: int) -> float:
    """Learning rate: a short rise, then a cosine to nearly nothing."""
    warm = min(1.0, (step + 1) / 200)
    return float(args.rate * warm * (0.5 + 0.5 * math.cos(math.pi * step / args.steps)) + 1e-6)


def fit(
    network: FlowNet,
    args: argparse.Namespace,
    stream_from: Callable[[int], Iterator[tuple[torch.Tensor, torch.Tensor]]],
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    *,
    rate: Callable[[argparse.Namespace, int], float] = rate,
    half: bool,
    on_save: Callable[[int], None] = lambda _steps: None,
    fixed_norms: bool = False,
) -> None:
    """Train a network, or go on from its checkpoint, and write the averaged weights.

    With ``args.minutes`` it ends after so long, with a checkpoint to go on from.

    Parameters
    ----------
    network
        On its device, with the weights to start from.
    args
        ``steps``, ``rate``, ``average`` (decay of the averaged weights), ``minutes`` (None: as long as it
        takes), ``device`` and ``out`` (.pt).
    stream_from
        Number of a step → the batches from that step on: images and targets.
    loss, rate
        What is made small, and the learning rate of a step.
    half
        Whether the network runs in bfloat16 (float16 would need scaled gradients).
    on_save
        Is told after how many steps weights were written.
    fixed_norms
        Keep what batch norms know, as of weights that are trained on with other images.
    """
    device = torch.device(args.device)
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(args.average), use_buffers=True
    )
    optimiser = torch.optim.AdamW(network.parameters(), lr=args.rate, weight_decay=1e-4)
    start, checkpoint = 0, checkpoint_of(args.out)
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        start = state["step"]
        print(f"continuing from step {start}", flush=True)
    stream = stream_from(start)
    begun = saved = clock = time.time()
    running = 0.0
    network.train()
    if fixed_norms:
        for part in network.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.eval()
    for step in range(start, args.steps):
        for group in optimiser.param_groups:
            group["lr"] = rate(args, step)
        image, target = next(stream)
        image = image.to(device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
            output = network(image)
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
        over = args.minutes is not None and time.time() - begun > 60 * args.minutes
        if over or time.time() - saved > SAVE_EVERY or step + 1 == args.steps:
            state = {
                "network": network.state_dict(), "average": average.state_dict(),
                "optimiser": optimiser.state_dict(), "step": step + 1,
            }  # fmt: skip
            torch.save(state, checkpoint.with_suffix(".part"))
            checkpoint.with_suffix(".part").replace(checkpoint)
            torch.save(average.module.state_dict(), args.out)
            saved = time.time()
            on_save(step + 1)
        if over:
            return
