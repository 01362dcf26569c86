"""A small network learns what a large one answers (distillation; Hinton et al. 2015, arXiv:1503.02531).

The teacher sees a crop as it is, the student the same crop with its light varied, so that any picture becomes
training data, and labels count where there are some.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import data
import numpy as np
import torch
from torch.nn import functional

from napari_tam.networks.cards import MODELS_FOLDER, ModelCard
from napari_tam.train.flows import clean_batches, perturb

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from torch import nn

#: How often each group of images is drawn, relative to the others.
WEIGHTS = {
    "bbbc020": 22, "kc167": 9, "n1e115": 9, "n1e115b": 9, "membrane": 5, "cyto_a": 5, "cyto_b": 3,
    "simulated": 20, "dsb": 18,
}  # fmt: skip

#: How much the teacher counts beside the labels: not where these are exact, and alone where they are of
#: something else (nuclei, which are cells without a nuclear stain to the teacher).
TRUST = {"simulated": 0.0, "dsb": 1.0}
REAL = 0.5


def nuclei_as_cells(diameter: float, folder: Path) -> list[data.Sample]:
    """Return the fields of nuclei enlarged to the cells' working scale, their own labels aside."""
    samples = []
    for sample in data.real_nuclei(diameter, folder):
        image = np.concatenate([sample.image, np.zeros_like(sample.image)])
        samples.append(data.Sample(sample.name, "dsb", image, sample.target))
    return samples


def teacher_of(name: str, device: torch.device) -> nn.Module:
    """Load a bundled network (``cells``) to learn from."""
    network = ModelCard.read(MODELS_FOLDER / f"{name}.json").load()
    return network.to(device, memory_format=torch.channels_last).eval().requires_grad_(requires_grad=False)


def taught_batches(
    samples: list[data.Sample],
    teacher: nn.Module,
    size: int,
    batch: int,
    seed: int,
    start: int,
    weights: Mapping[str, float],
    device: torch.device,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield batches without end: varied crops, and the targets that `taught_loss` reads.

    Targets are (batch, 7, size, size): how much the teacher counts, its flow y, flow x (5 times) and
    probability (a logit), then the labels' probability, flow y and flow x.
    """
    for drawn in clean_batches(samples, "cells", size, batch, seed, start, weights):
        with torch.no_grad(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type != "mps"):
            answer = teacher(torch.from_numpy(drawn.images).to(device)).float().cpu()
        trust = torch.tensor([TRUST.get(group, REAL) for group in drawn.groups])
        for image in drawn.images:
            perturb(image, "cells", drawn.rng)
        plane = trust[:, None, None, None].expand(-1, 1, size, size)
        yield (
            torch.from_numpy(drawn.images),
            torch.cat([plane, answer, torch.from_numpy(drawn.targets)], dim=1),
        )


def taught_loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Cellpose's loss against the teacher's answer and against the labels, each crop by its own weights."""
    trust, answer, labels = target[:, 0, 0, 0], target[:, 1:4], target[:, 4:]

    def distance(flow: torch.Tensor, probability: torch.Tensor) -> torch.Tensor:
        cross = functional.binary_cross_entropy_with_logits(output[:, 2], probability, reduction="none")
        return ((output[:, :2] - flow) ** 2).mean(dim=(1, 2, 3)) / 2 + cross.mean(dim=(1, 2))

    learnt = distance(answer[:, :2], answer[:, 2].sigmoid())
    known = distance(5 * labels[:, 1:], (labels[:, 0] > 0.5).float())
    return (trust * learnt + (1 - trust) * known).mean()
