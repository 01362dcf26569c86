"""Learn what the fit of crowds knows beforehand: the weights of `worth` and `heights` (`puncta.crowds`).

``python training/crowd_rule.py --data ../shared/data`` draws scenes of puncta that are known, in cells and on
even ground, few and many, lets the bundled network and the fit look at them, and notes of every change that
is tried what `Tried` says of it, and whether it was right: whether both emitters are puncta; and of every
round what all that was found says of how high single puncta are (`heights.Guess`), and how high they are.
Perceptrons learn both, with what is of one scene counting less the more of it there is. As what is kept in
one round decides what is tried in the next, scenes of later rounds are fitted with the weights of before.
Scenes are drawn, or of real textures without puncta, as those that the network is trained on.
"""

from __future__ import annotations

import argparse
import json
import warnings
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest.mock import patch

import cv2
import numpy as np
from puncta_cells import bodies, with_lines
from puncta_fields import real_textures
from puncta_scenes import COLUMNS, Camera, Lens, between, real, render
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import StandardScaler

from napari_tam.evaluate.matching import match_points
from napari_tam.networks.perceptron import Perceptron, stored
from napari_tam.pipeline.models import load_models
from napari_tam.puncta.crowds import heights, splitting
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from napari_tam.puncta.detect import Detector

#: Edge of a scene (px); a punctum is found within so many sigma of it.
EDGE, NEAR = 448, 2.0

#: How often puncta have wide tails, and how often a lens draws them out: one that is no Gaussian is not two.
HALO, DRAWN_OUT = 0.3, 0.4

#: So many scenes have cells; up to the second share they have cells or discs, and the others are even.
IN_CELLS, IN_CELLS_OR_DISCS = 0.7, 0.82

#: How often puncta gather beside others, as in endosomes, so that those that are few are not all alone: in
#: cells and discs, and on even ground.
GATHERED, GATHERED_ALONE = 0.4, 0.6

#: Most puncta a pixel, and how often up to so many times as many.
DENSEST, FULL, FULLER = 0.03, 0.25, 3

#: Of the perceptrons: hidden units, strength of the ridge, learning rate, and epochs of the rules and of the
#: heights.
HIDDEN, ALPHA, RATE, EPOCHS, EPOCHS_HEIGHT = 16, 1.0, 5e-3, 15, 100

#: So many, begun differently, are taken together: what one has by chance counts for less.
MEMBERS = 4

#: What single puncta are like is told by those that are so many times as clear as the noise in a filter of
#: their shape; with fewer than so many it is not known.
CLEAR, LEAST_CLEAR = 6.0, 10


class Scene(NamedTuple):
    """An image and its puncta.

    Attributes
    ----------
    image
        (Y, X) grey values.
    points, height
        (N, 2) places, and (N,) grey values above the background.
    sigma
        Their width (px).
    """

    image: np.ndarray
    points: np.ndarray
    height: np.ndarray
    sigma: float


class Noted(NamedTuple):
    """What was noted of one scene: of the N changes tried, and of the R rounds.

    Attributes
    ----------
    terms, split, right
        (N, T) what counts for each change, whether it was a split, and whether it was right.
    of_height, hidden, covered
        (R, S) what counts for the height of single puncta; (R, 2) the share of `covered` by which the first
        guess of it and of its SD are off; (R,) how much that counts.
    """

    terms: np.ndarray
    split: np.ndarray
    right: np.ndarray
    of_height: np.ndarray
    hidden: np.ndarray
    covered: np.ndarray


def scene(rng: np.random.Generator, textures: list[np.ndarray]) -> Scene:
    """Draw puncta of one width in cells, in discs or anywhere."""
    shape, sigma, base = (EDGE, EDGE), between(rng, 0.9, 2.1), between(rng, 4, 60)
    light, inside = np.full(shape, base, np.float32), np.ones(shape, bool)
    kind = rng.random()
    if kind < IN_CELLS:
        drawn = rng.random() < 0.5
        body = bodies(shape, rng, grained=rng.random() < 0.5) if drawn else real(shape, rng, textures)
        if rng.random() < 0.4:
            body = cv2.GaussianBlur(body, (0, 0), rng.uniform(1, 4))
        if rng.random() < 0.3:
            body = with_lines(body, rng, 1.0)
        glow = body + rng.uniform(0, 0.5) * cv2.GaussianBlur(body, (0, 0), 10)
        light += base * between(rng, 0.2, 15) * glow
        inside = body >= 0.25 * body.max()
    elif kind < IN_CELLS_OR_DISCS:
        discs = np.zeros(shape, np.float32)
        for _ in range(int(rng.integers(6, 60))):
            centre = tuple(int(v) for v in rng.uniform(0, EDGE, 2))
            cv2.circle(discs, centre, int(rng.uniform(8, 25)), 1, -1)
        light += base * rng.uniform(0, 2) * cv2.GaussianBlur(discs, (0, 0), rng.uniform(1, 6))
        inside = discs > 0
    places = np.argwhere(inside)
    densest = DENSEST * (FULLER if rng.random() < FULL else 1)
    count = max(70, int(min(between(rng, 80, densest / DENSEST * 3500), densest * len(places))))
    points = places[rng.integers(len(places), size=count)] + rng.uniform(-0.5, 0.5, (count, 2))
    if rng.random() < (GATHERED if kind < IN_CELLS_OR_DISCS else GATHERED_ALONE):
        some = rng.random(count) < rng.uniform(0.1, 0.7)
        beside = points[rng.integers(count, size=count)]
        points[some] = (beside + rng.normal(0, sigma * rng.uniform(1, 4), (count, 2)))[some]
    photons = between(rng, 300, 4000) * np.exp(rng.normal(0, rng.uniform(0.05, 0.7), count))
    spots = np.zeros((count, len(COLUMNS)), np.float32)
    spots[:, :2], spots[:, 2] = points, sigma
    height = (photons / (2 * np.pi * sigma**2)).astype(np.float32)
    shine = render(shape, spots, height, rng, rings=False)
    if rng.random() < HALO:  # lenses have wider tails than a Gaussian
        shine += rng.uniform(0.05, 0.5) * cv2.GaussianBlur(shine, (0, 0), sigma * rng.uniform(1, 2.5))
    light += shine
    if rng.random() < DRAWN_OUT:
        (light,), spots = Lens.draw(rng).draw_out([light], spots)
    if rng.random() < 0.25:
        image = Camera.draw(rng, light).photograph(light, rng)
    else:
        image = rng.poisson(light) + rng.normal(0, rng.uniform(0.5, 3), shape)
    gain = between(rng, 1, 8)
    grey = np.clip(gain * image + 100, 0, 65535).astype(np.float32)
    return Scene(grey, spots[:, :2], gain * height, sigma)


def noted_of(detector: Detector, drawn: Scene) -> Noted:
    """Look at a scene, and note what was tried in it."""
    told, usual_among, variance_of = splitting.tried_changes, splitting.usual_among, splitting.pixel_variance
    changes: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    rounds: list[tuple[np.ndarray, np.ndarray, float]] = []
    noise = [np.inf]

    def variance(*given: Any) -> Any:
        known = variance_of(*given)
        noise[0] = np.sqrt(known.constant)
        return known

    def usual(emitters: Any, sigma: float) -> tuple[float, float]:
        height = drawn.height * (drawn.sigma / sigma) ** 2
        clear = np.log(height[height * np.sqrt(np.pi) * sigma > CLEAR * noise[0]])
        if min(len(clear), len(emitters)) >= LEAST_CLEAR:
            guess = heights.first_guess(emitters, sigma)
            off = np.array(
                [np.median(clear) - guess.middle, np.log(max(clear.std(), 0.05) / max(guess.spread, 0.05))]
            )
            share = np.clip(off / max(guess.covered, 0.05), *heights.FURTHEST)
            rounds.append((guess.terms, share, guess.covered))
        return usual_among(emitters, sigma)

    def note(now: Any, trial: Any, proposals: Any, *rest: Any) -> Any:
        tried = told(now, trial, proposals, *rest)
        found = np.zeros(len(trial), bool)
        found[[j for _, j in match_points(drawn.points, trial.points, NEAR * drawn.sigma)]] = True
        changes.append((tried.terms(), tried.split, found[len(now) :] & found[proposals.at]))
        return tried

    with patch.multiple(splitting, tried_changes=note, usual_among=usual, pixel_variance=variance):
        detector.candidates(drawn.image, 0.1, Settings())
    columns = [*zip(*changes, strict=True)] or [[np.zeros((0, 13))], [np.zeros(0, bool)], [np.zeros(0, bool)]]
    of_heights = [*zip(*rounds, strict=True)] or [np.zeros((0, 15)), np.zeros((0, 2)), np.zeros(0)]
    return Noted(*map(np.concatenate, columns), *map(np.array, of_heights))


def learnt(
    kind: type[MLPClassifier | MLPRegressor], terms: np.ndarray, truth: np.ndarray, weight: np.ndarray,
    seed: int, *, batch: int, epochs: int,
) -> dict[str, Any]:  # fmt: skip
    """Fit perceptrons to terms (N, T), and return the weights of their mean as `Perceptron` has them."""
    scale = StandardScaler().fit(terms)
    hidden, out, constant = [], [], 0.0
    for member in range(MEMBERS):
        model = kind(
            hidden_layer_sizes=(HIDDEN,), activation="tanh", alpha=ALPHA, batch_size=batch,
            learning_rate_init=RATE, max_iter=epochs, random_state=seed + member,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # so many epochs and no more
            model.fit(scale.transform(terms), truth, sample_weight=weight / weight.mean())
        inner = model.coefs_[0] / scale.scale_[:, None]
        hidden.append(np.vstack([inner, model.intercepts_[0] - scale.mean_ @ inner]))
        out.append(model.coefs_[1] / MEMBERS)
        constant += model.intercepts_[1] / MEMBERS
    parts = {"hidden": np.hstack(hidden), "out": np.vstack([*out, np.atleast_2d(constant)])}
    return {name: np.round(weights, 4).tolist() for name, weights in parts.items()}


def learnt_rules(
    terms: np.ndarray, split: np.ndarray, right: np.ndarray, weight: np.ndarray, seed: int, *, batch: int
) -> dict[str, Any]:
    """Fit a rule for splits and one for further emitters: `learnt` of each."""
    parts = {"split": split, "further": ~split}
    return {
        name: learnt(MLPClassifier, terms[some], right[some], weight[some], seed, batch=batch, epochs=EPOCHS)
        for name, some in parts.items()
    }


def written(known: dict[str, Any], package: str, file: str) -> dict[str, Perceptron]:
    """Write weights into a package, and return what it has from now on."""
    files(package).joinpath(file).write_text(json.dumps(known) + "\n", encoding="utf-8")
    stored.cache_clear()
    return stored(package, file)


def tell_kept(rules: dict[str, Perceptron], terms: np.ndarray, split: np.ndarray, right: np.ndarray) -> None:
    """Print of how many changes that were tried how many are kept, and are right."""
    for name, some in {"split": split, "further": ~split}.items():
        kept, good = rules[name](terms[some])[:, 0] > 0, right[some]
        numbers = (len(good), good.sum(), kept.sum(), (kept & good).sum())
        print("{}: {} tried, {} right; {} kept, {} right".format(name, *numbers), flush=True)


def each_alike(counts: list[int]) -> np.ndarray:
    """Return weights of changes, so many of each scene: what is of one counts less the more there is."""
    return np.concatenate([np.full(n, 1 / np.sqrt(max(n, 1))) for n in counts])


def learn(detector: Detector, data: Path, given: argparse.Namespace) -> None:
    """Draw scenes, round by round, and write the weights."""
    textures, noted = real_textures(data), list[Noted]()
    for turn in range(given.rounds):
        for n in range(given.scenes):
            noted.append(noted_of(detector, scene(np.random.default_rng([given.seed, turn, n]), textures)))
        terms, split, right, of_height, hidden, covered = (
            np.concatenate(part) for part in zip(*noted, strict=True)
        )
        weight, weight_of_height = (each_alike([len(one[k]) for one in noted]) for k in (0, 3))
        known = learnt_rules(terms, split, right, weight, given.seed, batch=1000)
        known["height"] = learnt(
            MLPRegressor,
            of_height,
            hidden,
            weight_of_height * covered**2,
            given.seed,
            batch=200,
            epochs=EPOCHS_HEIGHT,
        )
        rules = written(known, *heights.WEIGHTS)
        tell_kept(rules, terms, split, right)
        told = rules["height"](of_height)
        before, after = (
            np.sqrt(np.mean((covered[:, None] * off) ** 2, axis=0)).round(3)
            for off in (hidden, hidden - told)
        )
        print(f"log height and log SD {before} off at first, then {after}", flush=True)


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
