"""Training the phenotype model, with grouped cross-validation.

Cells of one well, donor or plate resemble each other, so a model is judged on groups that it has not seen;
the accuracy of a random split of the same cells is reported too, to show by how much it overestimates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from napari_tam.errors import InputError
from napari_tam.phenotype.calibration import balanced_accuracy, fit_temperature
from napari_tam.phenotype.likeness import Likeness
from napari_tam.phenotype.model import PhenotypeModel
from napari_tam.phenotype.morphology_net import MorphologyNet, run_network
from napari_tam.train.folds import group_folds, random_folds
from napari_tam.train.validation import validation

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_tam.train.validation import LabelledCells

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

#: Share of held-out cells whose distance counts as "like training".
LIKE_QUANTILE = 0.99


#: Shares of the training cells at which the learning curve is taken, besides all.
CURVE = (0.25, 0.5)

#: How often the judgement is repeated with shuffled classes.
SHUFFLES = 3

#: A class with fewer cells than this cannot be learnt.
FEWEST = 10


@dataclass(frozen=True)
class Recipe:
    """How a network is fitted.

    Attributes
    ----------
    steps, batch, rate
        Steps of AdamW, cells in each, and its highest learning rate (one cycle).
    seed
        Same seed, same model (on the same machine).
    """

    steps: int = 200
    batch: int = 64
    rate: float = 2e-3
    seed: int = 0


def fit(cells: LabelledCells, recipe: Recipe, start: PhenotypeModel | None = None) -> PhenotypeModel:
    """Fit a network; every class counts the same, however many cells it has.

    Parameters
    ----------
    cells
        The training cells.
    recipe
        How.
    start
        A model whose network is fine-tuned; its last layer is kept if the classes are the same. From
        scratch when None.

    Returns
    -------
    PhenotypeModel
        Not yet calibrated (temperature 1, no cell is unlike).
    """
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    if start is None:
        network = MorphologyNet(len(cells.classes))
        mean = cells.features.mean(axis=0)
        sd = np.maximum(cells.features.std(axis=0), 1e-3)
    else:
        network = MorphologyNet(len(cells.classes), start.trained.widths, start.trained.hidden)
        known = start.trained.state_dict()
        if start.classes != cells.classes:
            known |= {name: value for name, value in network.state_dict().items() if name.startswith("head")}
        network.load_state_dict(known)
        mean, sd = start.mean, start.sd
    features = torch.from_numpy(np.asarray((cells.features - mean) / sd, np.float32))
    crops = torch.from_numpy(np.asarray(cells.crops, np.float32))
    truth = torch.tensor(cells.truth)  # a copy: a column of a table cannot be written
    chance = 1 / np.bincount(cells.truth, minlength=len(cells.classes))[cells.truth]
    chance /= chance.sum()
    network.train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, total_steps=recipe.steps)
    for _ in range(recipe.steps):
        chosen = torch.from_numpy(rng.choice(len(cells), recipe.batch, p=chance))
        images, given = vary(crops[chosen], features[chosen], rng)
        loss = functional.cross_entropy(network(images, given, flips=((),)), truth[chosen])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    network.eval()
    given_all = features.numpy()
    _, pooled = run_network(network, cells.crops, given_all)
    vectors = np.concatenate([given_all, pooled], axis=1)
    typical = np.asarray(cells.crops, np.float32).mean(axis=0)
    likeness = Likeness.fit(vectors, cells.truth, len(cells.classes))
    return PhenotypeModel(
        network,
        cells.classes,
        np.asarray(mean, np.float32),
        np.asarray(sd, np.float32),
        (typical + typical[:, ::-1] + typical[:, :, ::-1] + typical[:, ::-1, ::-1]) / 4,
        likeness,
    )


def vary(
    crops: torch.Tensor, features: torch.Tensor, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Vary a batch: mirror images, a pixel's shift, a noisy or missing stain, a missing nucleus."""
    n = len(crops)
    for axis in (2, 3):
        flip = torch.from_numpy(rng.random(n) < 0.5)
        crops = torch.where(flip[:, None, None, None], crops.flip(axis), crops)
    crops = crops.roll((int(rng.integers(-1, 2)), int(rng.integers(-1, 2))), (2, 3))
    keep = torch.ones(n, 3, 1, 1)
    keep[:, 1, 0, 0] = torch.from_numpy((rng.random(n) > 0.15).astype(np.float32))
    keep[:, 2, 0, 0] = torch.from_numpy((rng.random(n) > 0.25).astype(np.float32))
    crops = crops * keep
    noise = torch.from_numpy(rng.standard_normal(crops[:, 1].shape, np.float32))
    level = torch.from_numpy(rng.uniform(0, 0.5, (n, 1, 1)).astype(np.float32))
    crops[:, 1] += crops[:, 0] * noise * level
    jitter = torch.from_numpy(0.1 * rng.standard_normal(features.shape, np.float32))
    return crops, features + jitter


def held_out(
    cells: LabelledCells,
    folds: Ints,
    recipe: Recipe,
    start: PhenotypeModel | None = None,
    share: float = 1.0,
) -> tuple[Floats, npt.NDArray[np.float64]]:
    """Judge every cell by a model that was fitted without its fold.

    Parameters
    ----------
    cells, recipe, start
        See `fit`.
    folds
        Fold of every cell.
    share
        Share of the training cells to use.

    Returns
    -------
    logits, distance
        One row per cell; see `napari_tam.phenotype.model.Scores`.
    """
    logits = np.zeros((len(cells), len(cells.classes)), np.float32)
    distance = np.zeros(len(cells))
    rng = np.random.default_rng(recipe.seed)
    for fold in range(int(folds.max()) + 1):
        train, test = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        if share < 1:
            few = [
                rng.permutation(part)[: max(5, round(share * len(part)))] for part in _by_class(cells, train)
            ]
            train = np.concatenate(few)
        model = fit(cells.where(train), replace(recipe, seed=recipe.seed + fold), start)
        scores = model.score(cells.crops[test], cells.features[test])
        logits[test], distance[test] = scores.logits, scores.distance
    return logits, distance


def _shuffled(
    cells: LabelledCells, folds: Ints, recipe: Recipe, start: PhenotypeModel | None
) -> dict[str, float]:
    """Judge models of shuffled classes as the real one is judged: what leaks into the judgement shows here.

    Classes are shuffled among the cells of each group, `SHUFFLES` times: every group keeps its mixture.
    """
    found = []
    for number in range(SHUFFLES):
        rng = np.random.default_rng([recipe.seed, number, 1])
        truth = cells.truth.copy()
        for group in np.unique(cells.groups):
            at = np.flatnonzero(cells.groups == group)
            truth[at] = truth[rng.permutation(at)]
        other = replace(cells, truth=truth)
        logits, _ = held_out(other, folds, replace(recipe, seed=recipe.seed + 100 * (number + 1)), start)
        found.append(balanced_accuracy(truth, logits.argmax(axis=1)))
    return {
        "balanced_accuracy": round(float(np.mean(found)), 4),
        "chance": round(1 / len(cells.classes), 4),
        "times": SHUFFLES,
    }


def _by_class(cells: LabelledCells, at: Ints) -> list[Ints]:
    return [at[cells.truth[at] == k] for k in range(len(cells.classes))]


def check_cells(cells: LabelledCells, *, allow_single_group: bool = False) -> None:
    """Check that there is enough to train on and to judge by.

    Raises
    ------
    InputError
        If a class has too few cells, or there is one group only, or leaving a group out would leave
        a class without cells.
    """
    counts = np.bincount(cells.truth, minlength=len(cells.classes))
    for name, count in zip(cells.classes, counts, strict=True):
        if count < FEWEST:
            raise InputError(
                f"the class {name} has {count} usable cells, and {FEWEST} are the least",
                fix="label more cells, or leave the class out",
            )
    if allow_single_group and len(np.unique(cells.groups)) == 1:
        return
    if len(np.unique(cells.groups)) < 2:
        raise InputError(
            f"all cells are of one {cells.grouped_by} ({cells.groups[0]}), so nothing can tell whether the "
            "model works on another one",
            fix="add cells of a second replicate, donor or plate, or accept that with --allow-single-group",
        )
    folds = group_folds(cells.groups)
    for fold in range(int(folds.max()) + 1):
        left = np.bincount(cells.truth[folds != fold], minlength=len(cells.classes))
        if (left == 0).any():
            raise InputError(
                f"the class {cells.classes[int(left.argmin())]} is only in one {cells.grouped_by} "
                f"({', '.join(map(str, np.unique(cells.groups[folds == fold])))}), so it cannot be told "
                f"from that {cells.grouped_by}",
                fix="every class must be in two of them or more; or choose other groups with --group",
            )


def train(
    cells: LabelledCells,
    recipe: Recipe | None = None,
    start: PhenotypeModel | None = None,
    *,
    allow_single_group: bool = False,
    min_probability: float = 0.8,
    shuffle: bool = False,
    tell: Callable[[str], None] = lambda _text: None,
) -> tuple[PhenotypeModel, dict[str, Any]]:
    """Cross-validate, calibrate on the cells held out, and fit the final model on all cells.

    Parameters
    ----------
    cells, recipe, start
        See `fit`.
    allow_single_group
        Go on with a single group: the figures are then those of a random split, and marked so.
    min_probability
        Least probability of a call, for the figures (the setting `phenotype_min_probability`).
    shuffle
        Repeat the judgement with shuffled classes, for the report.
    tell
        Called with what is done now.

    Returns
    -------
    model, report
        The model carries the report on its card as `validation`.

    Raises
    ------
    InputError
        See `check_cells`.
    """
    check_cells(cells, allow_single_group=allow_single_group)
    recipe = recipe or Recipe()
    single = len(np.unique(cells.groups)) == 1
    folds = random_folds(cells.truth, 3, recipe.seed) if single else group_folds(cells.groups)
    count = int(folds.max()) + 1
    tell(f"cross-validation, {count} folds by {'random split' if single else cells.grouped_by}")
    logits, distance = held_out(cells, folds, recipe, start)
    curve = []
    for share in CURVE:
        tell(f"learning curve, {share:.0%} of the cells")
        part, _ = held_out(cells, folds, recipe, start, share)
        curve.append((share, balanced_accuracy(cells.truth, part.argmax(axis=1))))
    curve.append((1.0, balanced_accuracy(cells.truth, logits.argmax(axis=1))))
    mixed = logits
    if not single:
        tell("the same by a random split, for comparison")
        mixed, _ = held_out(cells, random_folds(cells.truth, count, recipe.seed), recipe, start)
    more = {}
    if shuffle:
        tell("the same with classes shuffled within each group, which nothing can learn")
        more["shuffled"] = _shuffled(cells, folds, recipe, start)
    tell("the final model, on all cells")
    unlike = float(np.quantile(distance, LIKE_QUANTILE))
    temperature = fit_temperature(logits, cells.truth)
    report = validation(cells, folds, logits, distance, mixed, unlike, min_probability)
    report |= {
        "grouped_by": "nothing: a single group" if single else cells.grouped_by,
        "independent": not single,
        "folds": count,
        **more,
        "learning_curve": [
            {"share_of_training_cells": share, "balanced_accuracy": round(value, 4)} for share, value in curve
        ],
    }
    model = replace(fit(cells, recipe, start), temperature=temperature, unlike_above=unlike)
    model.card["unlike"] = {"quantile_of_held_out_cells": LIKE_QUANTILE}
    model.card["validation"] = report
    return model, report
