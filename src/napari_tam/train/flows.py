"""What training a FlowNet needs: Cellpose's targets, augmentation and loss.

Targets are those of `cellpose.dynamics.labels_to_flows`, the augmentation is
`cellpose.transforms.random_rotate_and_resize` with more variation of light, and the loss is the mean
squared error of five times the flows, halved, plus the binary cross-entropy of the probability
(Stringer et al. 2021, Nat Methods). Used by ``training/`` for the bundled networks, and by
`napari_tam.train.finetune` for a user's own images.
"""

from __future__ import annotations

import queue
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Float32 = npt.NDArray[np.float32]
Integers = npt.NDArray[np.integer[Any]]
T = TypeVar("T")


@dataclass
class Sample:
    """A training field at working scale.

    `image` is CYX float32, normalised; `target` is (4, Y, X) float32: labels, probability, flow y
    and flow x (unit vectors). For puncta a fifth plane weights the loss (0: ignored).
    """

    name: str
    group: str
    image: Float32
    target: Float32


def to_scale(
    image: npt.NDArray[Any], labels: Integers, factor: float
) -> tuple[Float32, npt.NDArray[np.int32]]:
    """Resize a CYX image and its YX labels."""
    size = (max(1, round(labels.shape[1] * factor)), max(1, round(labels.shape[0] * factor)))
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    planes = [cv2.resize(plane.astype(np.float32), size, interpolation=method) for plane in image]
    small = cv2.resize(labels.astype(np.float32), size, interpolation=cv2.INTER_NEAREST)
    return np.stack(planes).astype(np.float32, copy=False), small.astype(np.int32)


def flows(labels: Integers) -> Float32:
    """Cellpose's targets of YX labels: labels, probability, flow y, flow x."""
    if not labels.any():
        return np.zeros((4, *labels.shape), np.float32)
    from cellpose import dynamics

    targets = dynamics.labels_to_flows([labels.astype(np.int32)], device=torch.device("cpu"))
    return np.asarray(targets[0], np.float32)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed numpy's global state, from which Cellpose's augmentation draws, and put it back."""
    before = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before)


def perturb(image: Float32, kind: str, rng: np.random.Generator) -> Float32:
    """Vary what microscopes and stains vary, in place (CYX): light, contrast, blur, noise, no nucleus."""
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


@dataclass
class Batch:
    """Crops before their light is varied: NCYX images and targets, each crop's group, and what draws on."""

    images: Float32
    targets: Float32
    groups: list[str]
    rng: np.random.Generator


def batches(
    samples: Sequence[Sample],
    kind: str,
    size: int,
    batch: int,
    seed: int,
    start: int,
    weights_of: Mapping[str, float],
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield (image, target) batches without end: those of `clean_batches`, each crop's light varied."""
    for drawn in clean_batches(samples, kind, size, batch, seed, start, weights_of):
        for image in drawn.images:
            perturb(image, kind, drawn.rng)
        yield torch.from_numpy(drawn.images), torch.from_numpy(drawn.targets)


def clean_batches(
    samples: Sequence[Sample],
    kind: str,
    size: int,
    batch: int,
    seed: int,
    start: int,
    weights_of: Mapping[str, float],
) -> Iterator[Batch]:
    """Yield batches without end; batch number `n` depends on seed and `n` only.

    Parameters
    ----------
    samples
        What is drawn from.
    kind
        ``cells``, ``nuclei`` or ``puncta``.
    size
        Edge of a crop (px).
    batch
        Crops in a batch.
    seed, start
        Of the draws; number of the first batch.
    weights_of
        How often each group is drawn, relative to the others.
    """
    from cellpose.transforms import random_rotate_and_resize

    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.group, []).append(sample)
    names = sorted(groups)
    weights = np.array([weights_of[name] for name in names], float)
    weights /= weights.sum()
    step = start
    while True:
        rng = np.random.default_rng([seed, step])
        drawn = int(rng.integers(2**31))
        chosen = []
        for name in rng.choice(names, batch, p=weights):
            chosen.append(groups[name][rng.integers(len(groups[name]))])
        # Mostly near working scale; wide, because a first pass must cope with an unknown size.
        spread = 0.25 if kind == "puncta" else 0.35
        factor = np.exp(np.clip(rng.normal(0, spread, batch), -0.8, 0.8))
        if kind == "puncta":
            factor = np.where(rng.random(batch) < 0.5, 1.0, factor)
        with _seeded(drawn):
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
        yield Batch(images, targets, [s.group for s in chosen], rng)
        step += 1


def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Cellpose's loss; a first target plane of weights (puncta) is honoured."""
    weight = target[:, :-3] if target.shape[1] > 3 else torch.ones(1)
    flow = ((output[:, :2] - 5 * target[:, -2:]) ** 2 * weight).mean()
    probability = functional.binary_cross_entropy_with_logits(
        output[:, 2:], (target[:, -3:-2] > 0.5).float(), reduction="none"
    )
    return flow / 2 + (probability * weight).mean()


def prefetch(iterator: Iterator[T], depth: int = 4) -> Iterator[T]:
    """Run an iterator in a thread, a few items ahead; what goes wrong there is raised here."""
    box: queue.Queue[Any] = queue.Queue(depth)

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
