"""Fine-tuning the small bundled cells network on corrected masks.

A few fields are enough to learn a stain or a shape, and too few to train from scratch: the network starts
from the bundled weights, at a low learning rate, and its batch norms keep their statistics. Whether it became
better is judged on held-out fields; a network that became worse is not written.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import nn

from napari_tam.errors import InputError
from napari_tam.evaluate.matching import count_masks
from napari_tam.evaluate.score import Masks
from napari_tam.networks.cards import AREA_SETTINGS, TYPICAL_UM
from napari_tam.networks.engines import fast_dtype
from napari_tam.networks.flownet import FlowNet
from napari_tam.networks.predictor import Predictor
from napari_tam.progress import Progress
from napari_tam.segment.segmenter import FlowNetSegmenter, median_diameter, normalise
from napari_tam.stopping import checkpoint
from napari_tam.train.flows import Sample, batches, flows, loss, to_scale
from napari_tam.train.judgement import FIGURES, FineTuned

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from napari_tam.networks.cards import ModelCard
    from napari_tam.settings import Settings
    from napari_tam.train.training_set import TrainingField

#: With more groups than this, several share a cross-validation fold.
MAX_FOLDS = 4


@dataclass(frozen=True)
class Recipe:
    """How to fine-tune.

    Attributes
    ----------
    steps, batch, crop
        Number of steps; crops of a step; their edge in pixels at working scale.
    rate
        Highest learning rate; it falls to 0 along a cosine.
    average
        Decay of the averaged weights, which are the result.
    seed
        Same seed, same network.
    """

    steps: int = 120
    batch: int = 4
    crop: int = 128
    rate: float = 4e-4
    average: float = 0.97
    seed: int = 0


def sample_of(field: TrainingField, diameter_px: float, in_channels: int) -> Sample:
    """Bring a field to working scale: as the network sees it in an analysis, with Cellpose's targets."""
    planes = [np.asarray(field.channels["cell"], np.float32)]
    if in_channels > 1:
        nucleus = field.channels.get("nucleus")
        planes.append(np.zeros_like(planes[0]) if nucleus is None else np.asarray(nucleus, np.float32))
    factor = diameter_px / median_diameter(field.cells)
    image, labels = to_scale(np.stack(planes), field.cells, factor)
    return Sample(field.name, field.name, normalise(image), flows(labels))


def folds_of(fields: Sequence[TrainingField]) -> list[list[int]]:
    """Return the fields (by index) that are left out together: each group once, in at most `MAX_FOLDS`."""
    groups = list(dict.fromkeys(field.group for field in fields))
    folds = min(len(groups), MAX_FOLDS)
    return [
        [i for i, field in enumerate(fields) if groups.index(field.group) % folds == fold]
        for fold in range(folds)
    ]


def total_steps(groups: int, recipe: Recipe) -> int:
    """Return the number of `Progress` that `finetune` yields for a number of groups, if all are needed."""
    return ((min(groups, MAX_FOLDS) if groups > 1 else 0) + 1) * recipe.steps


def fit(
    start: FlowNet, samples: Sequence[Sample], recipe: Recipe, device: torch.device
) -> Generator[int, None, FlowNet]:
    """Train a copy of `start` on `samples`, yielding the number of each step; the result is the average."""
    torch.manual_seed(recipe.seed)
    network = FlowNet(start.in_channels, start.widths, start.stem)
    network.load_state_dict(start.state_dict())
    network = cast("FlowNet", network.to(device, memory_format=torch.channels_last))  # type: ignore[call-overload]
    network.train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()  # a handful of crops would spoil the statistics of hundreds of images
    average = torch.optim.swa_utils.AveragedModel(
        network,
        multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(recipe.average),  # type: ignore[no-untyped-call]
    )
    optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.rate, weight_decay=1e-4)
    weights = {sample.group: 1.0 for sample in samples}
    stream = batches(samples, "cells", recipe.crop, recipe.batch, recipe.seed + 1, 0, weights)
    # bfloat16 where it is fast; half precision would need scaled gradients
    low = device.type == "cuda" or fast_dtype(device) == torch.bfloat16
    for step in range(recipe.steps):
        checkpoint()
        yield step
        warm = min(1.0, (step + 1) / 20)
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate * warm * (0.5 + 0.5 * math.cos(math.pi * step / recipe.steps))
        image, target = next(stream)
        image = image.to(device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=low):
            output = network(image[:, : network.in_channels])
        value = loss(output.float(), target.to(device))
        optimiser.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        average.update_parameters(network)
    return cast("FlowNet", average.module.to("cpu").eval())


def judge(
    network: FlowNet,
    fields: Sequence[TrainingField],
    diameter_px: float,
    typical_um: float,
    settings: Settings,
    device: torch.device,
) -> list[dict[str, float]]:
    """Segment fields as an analysis does, and return the `FIGURES` of each (average precision)."""
    segmenter = FlowNetSegmenter(Predictor(network, device), diameter_px, typical_um, AREA_SETTINGS["cells"])
    figures = []
    for field in fields:
        checkpoint()
        found = segmenter.segment(
            field.channels["cell"],
            field.channels.get("nucleus"),
            field.pixel_size_um,
            settings.cell_diameter_um,
            settings,
        )
        scores = Masks(*count_masks(field.cells, found.labels)).report()
        figures.append({name: float(scores[name] or 0.0) for name in FIGURES})
    return figures


def finetune(
    fields: Sequence[TrainingField],
    card: ModelCard,
    recipe: Recipe,
    settings: Settings,
    device: torch.device,
    *,
    allow_single_group: bool = False,
) -> Generator[Progress, None, FineTuned]:
    """Fine-tune a network and judge it on left-out fields, yielding a `Progress` before each step.

    Each group of fields is left out once: the bundled network and one trained on the others segment it as an
    analysis does, with the diameter of `settings` or estimated. If the mean AP@0.5 of the left-out fields did
    not fall, the result is a network trained on all fields.

    Parameters
    ----------
    fields
        What to learn from.
    card
        The network to start from.
    recipe
        How to train.
    settings
        Thresholds and cell diameter of the analysis that judges.
    device
        Where to train.
    allow_single_group
        Train although nothing can be left out; it is then unknown whether the network is better.

    Raises
    ------
    InputError
        If there are fewer than two groups.
    """
    start, diameter_px = card.load(), float(card.values["diameter_px"])
    if not isinstance(start, FlowNet):
        raise InputError("only small networks (FlowNets) can be trained here", where=card.path)
    folds = folds_of(fields)
    if len(folds) < 2 and not allow_single_group:
        raise InputError(
            f"{len(fields)} field(s), all of one image: nothing can be left out to tell "
            "whether the network becomes better",
            fix="correct a second image, or add --allow-single-group",
        )
    samples = [sample_of(field, diameter_px, start.in_channels) for field in fields]
    total = total_steps(len(folds), recipe)
    done = 0

    def trained(chosen: Sequence[int], what: str) -> Generator[Progress, None, FlowNet]:
        nonlocal done
        steps = fit(start, [samples[i] for i in chosen], recipe, device)
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                return cast("FlowNet", stop.value)
            yield Progress(what, done, total)
            done += 1

    rows: list[dict[str, Any]] = []
    for number, left_out in enumerate(folds if len(folds) > 1 else [], 1):
        rest = [i for i in range(len(fields)) if i not in left_out]
        network = yield from trained(rest, f"train without part {number} of {len(folds)}")
        held = [fields[i] for i in left_out]
        before = judge(start, held, diameter_px, _typical_um(card), settings, device)
        typical = typical_diameter_um([fields[i] for i in rest])
        after = judge(network, held, diameter_px, typical, settings, device)
        for field, was, now in zip(held, before, after, strict=True):
            cells = len(np.unique(field.cells)) - int((field.cells == 0).any())
            rows.append({"image": field.name, "cells": cells, "before": was, "after": now})
    report: dict[str, Any] = {"folds": len(folds) if rows else 0, "fields": rows}
    for when in ("before", "after"):
        means = (
            {name: float(np.mean([row[when][name] for row in rows])) for name in FIGURES} if rows else None
        )
        report[when] = means
    values = _card(card, fields, recipe, report)
    if rows and report["after"][FIGURES[0]] < report["before"][FIGURES[0]]:
        return FineTuned(None, values, report)
    network = yield from trained(range(len(fields)), "train on all fields")
    return FineTuned(network, values, report)


def typical_diameter_um(fields: Sequence[TrainingField]) -> float:
    """Return the median of the fields' median cell diameters in µm: where the search for one starts."""
    return float(np.median([median_diameter(field.cells) * field.pixel_size_um for field in fields]))


def _typical_um(card: ModelCard) -> float:
    return float(card.values.get("typical_um", TYPICAL_UM["cells"]))


def _card(
    card: ModelCard, fields: Sequence[TrainingField], recipe: Recipe, report: dict[str, Any]
) -> dict[str, Any]:
    old = card.values
    kept = ("kind", "input", "in_channels", "widths", "stem", "diameter_px", "parameters")
    terms = str(old.get("terms", "")) or "those of the network it started from"
    judged = (
        "judged on left-out fields"
        if report["folds"]
        else "NOT judged on left-out fields: all are of one image"
    )
    return {
        "name": str(old["name"]),
        "description": f"'{old['name']}' fine-tuned on {len(fields)} corrected fields; {judged}",
        **{name: old[name] for name in kept if name in old},
        "typical_um": round(typical_diameter_um(fields), 3),
        "training_data": [*old.get("training_data", []), *(f"own field {field.name}" for field in fields)],
        "terms": f"{terms} (inherited); and those of your images",
        "started_from": {"name": old["name"], "sha256": old["sha256"]},
        "training": {**asdict(recipe), "fields": len(fields), "date": date.today().isoformat()},
        "accuracy": report,
    }
