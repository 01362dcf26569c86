"""Learn what the fit of crowds in stacks knows beforehand: the weights of `napari_tam.volume.worth`.

``python training/stack_rule.py`` draws stacks of puncta that are known, as ``benchmarks/puncta_stacks.py``
does but of other seeds and of all sorts, lets the bundled network and the fit look at them, and notes of each
emitter that is tried what `Tried` says of it, and whether it was right: whether both are puncta. Perceptrons
learn it, one for splits and one for further emitters, with what is of one stack counting less the more of it
there is. As what is kept decides what is tried next, stacks of later rounds are fitted with the weights of
before.
"""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import cv2
import numpy as np
from crowd_rule import each_alike, learnt_rules, tell_kept, written
from puncta_scenes import between
from scipy.optimize import linear_sum_assignment

from napari_tam.pipeline.models import load_models
from napari_tam.settings import Settings
from napari_tam.volume import crowds, worth
from napari_tam.volume.detect import StackDetector

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import puncta_stacks

#: How often each lens is drawn.
LENSES = {"Gaussian": 0.5, "hourglass": 0.15, "confocal": 0.2, "lobes": 0.05, "aberrated": 0.1}

#: How often puncta lie in cells, and in how many.
IN_CELLS, CELLS = 0.6, 6

#: An emitter is right if puncta are as near (sigma, at least of a voxel) to it and to the one beside it;
#: who is near what is told among all within the second of these.
NEAR, AMONG = 2.0, 5.0

#: Seeds of the benchmark's stacks lie below.
FIRST_SEED = 100_000


class Noted(NamedTuple):
    """What was noted of one stack, of the N emitters tried.

    Attributes
    ----------
    terms, split, right
        (N, T) what counts, (N,) whether it was a split, and (N,) whether it was right.
    """

    terms: np.ndarray
    split: np.ndarray
    right: np.ndarray


def drawn(rng: np.random.Generator, seed: int) -> tuple[puncta_stacks.Kind, puncta_stacks.Drawn]:
    """Draw a stack of some kind."""
    cells = CELLS if rng.random() < IN_CELLS else 0
    count = int(between(rng, 60, 1200)) // CELLS * CELLS
    lens = str(rng.choice(list(LENSES), p=list(LENSES.values())))
    along = between(rng, 0.8, 3) if lens == "Gaussian" else 2.0
    glow = between(rng, 3, 60) if cells else 0.0
    kind = puncta_stacks.Kind(count, between(rng, 400, 8000), along, rng.uniform(0.9, 2), lens, cells, glow)
    with patch.multiple(puncta_stacks, SPREAD=rng.uniform(0.05, 0.6), LEVEL=between(rng, 4, 30)):
        return kind, puncta_stacks.draw(kind, FIRST_SEED + seed)


def noted_of(seed: tuple[int, ...]) -> Noted:
    """Draw a stack, look at it, and note what was tried in it."""
    cv2.setNumThreads(1)
    kind, stack = drawn(np.random.default_rng(seed), int(np.dot(seed, (7, 1000, 1)[: len(seed)])))
    told = crowds.tried_change
    changes: list[tuple[list[float], bool, bool]] = []

    def note(now: Any, trial: Any, proposals: Any, index: int, scale: Any, known: Any) -> Any:
        tried, points = told(now, trial, proposals, index, scale, known), trial.emitters.points
        pair = int(proposals.beside[index]), len(points) - 1
        changes.append((tried.terms(), tried.split, are_right(points, pair, stack.points, scale)))
        return tried

    models = load_models(Settings(phenotype_model="none"))
    detector = StackDetector(models.puncta, puncta_stacks.step_of(kind))
    with patch.object(crowds, "tried_change", note):
        detector.detect(stack.stack, puncta_stacks.UM, Settings())
    columns = [*zip(*changes, strict=True)] or [np.zeros((0, 14)), np.zeros(0, bool), np.zeros(0, bool)]
    return Noted(*map(np.array, columns))


def are_right(points: np.ndarray, pair: tuple[int, int], true: np.ndarray, scale: np.ndarray) -> bool:
    """Tell whether both of a pair of emitters are puncta, each of which can be one emitter only."""
    place = points[pair[1]]
    emitters = np.flatnonzero(np.linalg.norm((points - place) / scale, axis=1) < AMONG)
    emitters = np.union1d(emitters, pair)
    puncta = true[np.linalg.norm((true - place) / scale, axis=1) < AMONG + 1]
    apart = (puncta[:, None] - points[emitters][None]) / (NEAR * np.maximum(scale, 1))
    far = np.linalg.norm(apart, axis=2)
    one, other = linear_sum_assignment(np.where(far > 1, 9, far))
    return bool(np.isin(pair, emitters[other[far[one, other] <= 1]]).all())


def learn(given: argparse.Namespace) -> None:
    """Draw stacks, round by round, and write the weights."""
    noted = list[Noted]()
    for turn in range(given.rounds):
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            noted += pool.map(noted_of, [(given.seed, turn, n) for n in range(given.stacks)])
        noted = [one for one in noted if len(one.split)]
        terms, split, right = (np.concatenate(part) for part in zip(*noted, strict=True))
        weight = each_alike([len(one.split) for one in noted])
        known = learnt_rules(terms, split, right, weight, given.seed, batch=500)
        tell_kept(written(known, *worth.WEIGHTS), terms, split, right)


def main() -> None:
    """Read the command line, and learn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stacks", type=int, default=120, help="of each round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seed", type=int, default=5)
    learn(parser.parse_args())


if __name__ == "__main__":
    main()
