"""Learn when a change of the fit of crowds is worth it: writes the weights of `napari_tam.puncta.worth`.

``python training/crowd_rule.py --data ../shared/data`` draws scenes of puncta that are known, in cells and on
even ground, few and many, lets the bundled network and the fit look at them, and notes of every change that
is tried what `Tried` says of it, and whether it was right: whether both emitters are puncta. Two perceptrons
learn it, with changes of a scene counting less the more are tried in it. As what is kept in one round decides
what is tried in the next, scenes of later rounds are fitted with the weights of before. Scenes are drawn, or
of real textures without puncta, as those that the network is trained on.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import cv2
import numpy as np
from puncta_cells import bodies, with_lines
from puncta_fields import real_textures
from puncta_scenes import COLUMNS, Camera, Lens, between, real, render
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from napari_tam.evaluate.matching import match_points
from napari_tam.pipeline.models import load_models
from napari_tam.puncta import crowds, worth
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from napari_tam.puncta.detect import Detector

#: Edge of a scene (px); a punctum is found within so many sigma of it.
EDGE, NEAR = 448, 2.0

#: How often puncta have wide tails, and how often a lens draws them out: one that is no Gaussian is not two.
HALO, DRAWN_OUT = 0.3, 0.4

#: How often puncta gather beside others, as in endosomes, so that those that are few are not all alone.
GATHERED = 0.4

#: Most puncta a pixel, and how often up to three times as many.
DENSEST, FULL = 0.03, 0.25

#: Of the perceptrons: hidden units, strength of the ridge, learning rate, and epochs.
HIDDEN, ALPHA, RATE, EPOCHS = 16, 1.0, 5e-3, 25


def scene(rng: np.random.Generator, textures: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, float]:
    """Draw puncta of one width in cells, in discs or anywhere: grey values, places (N, 2), width (px)."""
    shape, sigma, base = (EDGE, EDGE), between(rng, 0.9, 2.1), between(rng, 4, 60)
    light, inside = np.full(shape, base, np.float32), np.ones(shape, bool)
    kind = rng.random()
    if kind < 0.75:
        drawn = rng.random() < 0.5
        body = bodies(shape, rng, grained=rng.random() < 0.5) if drawn else real(shape, rng, textures)
        if rng.random() < 0.4:
            body = cv2.GaussianBlur(body, (0, 0), rng.uniform(1, 4))
        if rng.random() < 0.3:
            body = with_lines(body, rng, 1.0)
        glow = body + rng.uniform(0, 0.5) * cv2.GaussianBlur(body, (0, 0), 10)
        light += base * between(rng, 0.2, 15) * glow
        inside = body >= 0.25 * body.max()
    elif kind < 0.87:
        discs = np.zeros(shape, np.float32)
        for _ in range(int(rng.integers(6, 60))):
            centre = tuple(int(v) for v in rng.uniform(0, EDGE, 2))
            cv2.circle(discs, centre, int(rng.uniform(8, 25)), 1, -1)
        light += base * rng.uniform(0, 2) * cv2.GaussianBlur(discs, (0, 0), rng.uniform(1, 6))
        inside = discs > 0
    places = np.argwhere(inside)
    densest = DENSEST * (3 if rng.random() < FULL else 1)
    count = max(70, int(min(between(rng, 80, densest / DENSEST * 3500), densest * len(places))))
    points = places[rng.integers(len(places), size=count)] + rng.uniform(-0.5, 0.5, (count, 2))
    if rng.random() < GATHERED:
        some = rng.random(count) < rng.uniform(0.1, 0.7)
        beside = points[rng.integers(count, size=count)]
        points[some] = (beside + rng.normal(0, sigma * rng.uniform(1, 4), (count, 2)))[some]
    photons = between(rng, 300, 4000) * np.exp(rng.normal(0, rng.uniform(0.05, 0.7), count))
    spots = np.zeros((count, len(COLUMNS)), np.float32)
    spots[:, :2], spots[:, 2] = points, sigma
    shine = render(shape, spots, (photons / (2 * np.pi * sigma**2)).astype(np.float32), rng, rings=False)
    if rng.random() < HALO:  # lenses have wider tails than a Gaussian
        shine += rng.uniform(0.05, 0.5) * cv2.GaussianBlur(shine, (0, 0), sigma * rng.uniform(1, 2.5))
    light += shine
    if rng.random() < DRAWN_OUT:
        (light,), spots = Lens.draw(rng).draw_out([light], spots)
    if rng.random() < 0.25:
        image = Camera.draw(rng, light).photograph(light, rng)
    else:
        image = rng.poisson(light) + rng.normal(0, rng.uniform(0.5, 3), shape)
    return np.clip(between(rng, 1, 8) * image + 100, 0, 65535).astype(np.float32), spots[:, :2], sigma


def tried_in(
    detector: Detector, scenes: Iterable[tuple[np.ndarray, np.ndarray, float]]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield of all changes that are tried their terms, which are splits, which were right, and weights."""
    told = crowds.tried_changes
    for image, truth, sigma in scenes:
        noted: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

        def note(
            now: Any, trial: Any, proposals: Any, *rest: Any,
            truth: np.ndarray = truth, reach: float = NEAR * sigma, noted: list[Any] = noted,
        ) -> worth.Tried:  # fmt: skip
            tried = told(now, trial, proposals, *rest)
            found = np.zeros(len(trial), bool)
            found[[j for _, j in match_points(truth, trial.points, reach)]] = True
            noted.append((tried.terms(), tried.split, found[len(now) :] & found[proposals.at]))
            return tried

        with patch.object(crowds, "tried_changes", note):
            detector.candidates(image, 0.1, Settings())
        weight = 1 / np.sqrt(max(sum(len(split) for _, split, _ in noted), 1))
        yield from ((*each, np.full(len(each[1]), weight)) for each in noted)


def learnt(terms: np.ndarray, right: np.ndarray, weight: np.ndarray, seed: int) -> dict[str, Any]:
    """Fit a perceptron to terms (N, T), and return its weights as `worth.Rule` has them."""
    scale = StandardScaler().fit(terms)
    model = MLPClassifier(
        (HIDDEN,), activation="tanh", alpha=ALPHA, batch_size=1000, learning_rate_init=RATE,
        max_iter=EPOCHS, random_state=seed,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # so many epochs and no more
        model.fit(scale.transform(terms), right, sample_weight=weight / weight.mean())
    hidden = model.coefs_[0] / scale.scale_[:, None]
    constant = model.intercepts_[0] - scale.mean_ @ hidden
    out = np.append(model.coefs_[1][:, 0], model.intercepts_[1])
    return {"hidden": np.round([*hidden, constant], 4).tolist(), "out": np.round(out, 4).tolist()}


def learn(detector: Detector, data: Path, given: argparse.Namespace) -> None:
    """Draw scenes, round by round, and write the weights."""
    textures, noted = real_textures(data), []
    for turn in range(given.rounds):
        drawn = (scene(np.random.default_rng([given.seed, turn, n]), textures) for n in range(given.scenes))
        noted += list(tried_in(detector, drawn))
        terms, split, right, weight = (np.concatenate(part) for part in zip(*noted, strict=True))
        parts = {"split": split, "further": ~split}
        known = {
            name: learnt(terms[some], right[some], weight[some], given.seed) for name, some in parts.items()
        }
        Path(worth.__file__).with_name(worth.FILE).write_text(json.dumps(known) + "\n", encoding="utf-8")
        worth.rules.cache_clear()
        for (name, some), rule in zip(parts.items(), worth.rules(), strict=True):
            kept, good = rule.log_odds(terms[some]) > 0, right[some]
            numbers = (len(good), good.sum(), kept.sum(), (kept & good).sum())
            print("{}: {} tried, {} right; {} kept, {} right".format(name, *numbers), flush=True)


def main() -> None:
    """Read the command line, and learn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder of images beside the project")
    parser.add_argument("--scenes", type=int, default=200, help="of each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=5)
    given = parser.parse_args()
    learn(load_models(Settings()).puncta, given.data, given)


if __name__ == "__main__":
    main()
