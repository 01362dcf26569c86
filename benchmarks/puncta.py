"""Puncta on real images and on known ones, at default settings, beside peers and the network before.

``python benchmarks/puncta.py DATA`` with ``DATA`` the shared data folder (images in ``DATA/data``, small
cases in ``DATA/cases``, reference networks in ``DATA/reference``). ``--bigfish PYTHON`` names an interpreter
that has Big-FISH, which needs other versions of libraries. This project gets the images of a set as a batch,
whose threshold it finds itself; the others get them one by one. The PSD95 tiles are those of the
blocks that were left out of training, and of the field over autofluorescence the two quadrants
(``training/puncta_fields.py``); the composites, the cases and known puncta laid over real cells
(`laid_over`) were never trained on.
"""

from __future__ import annotations

import argparse
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import tifffile
from common import ROOT, publish, table
from laid_over import laid_over

from napari_tam.evaluate.matching import match_points
from napari_tam.pipeline.models import load_models
from napari_tam.puncta.detect import Detector, LogDetector
from napari_tam.puncta.selection import KEPT, select, sure_ones
from napari_tam.puncta.threshold import from_populations
from napari_tam.settings import Settings

sys.path.insert(0, str(ROOT / "training"))

#: The commit before puncta were scaled by their own noise: the detector to compare with.
BEFORE = "558e980"
SETTINGS = Settings()
#: What is measured here, in the tables.
OURS = "this network"
CASES = (
    "hot_pixels", "puncta_jpeg60", "rings", "vesicles_sigma4", "vesicles_sigma4_jpeg60",
    "vesicles_sigma6", "fibres_only", "texture_only",
)  # fmt: skip

Find = Callable[[np.ndarray, float], np.ndarray]

#: Where scores are compared with the share that people marked.
SCORES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)


@dataclass(frozen=True)
class Image:
    """An image, its true puncta, how near a find must be (px) to be one of them, and their width (px)."""

    pixels: np.ndarray
    truth: np.ndarray
    pixel_um: float = 0.1
    radius: float = 3.0
    sigma: float = 1.4


def points(frame: pd.DataFrame) -> np.ndarray:
    """Positions of a table."""
    return frame[["y_px", "x_px"]].to_numpy(float)


def psd95(data: Path) -> Iterator[Image]:
    """Real confocal tiles of blocks that were left out of training."""
    from puncta_fields import psd95 as read

    for field in read(data / "data", held=True):
        yield Image(field.pixels, field.spots[:, :2].astype(float), radius=4.0, sigma=2.2)


def autofluorescence(data: Path) -> Iterator[Image]:
    """RNA spots over autofluorescent clumps: the quadrants of a field that were left out of training."""
    from puncta_fields import autofluorescence as read

    for field in read(data / "data", held=True):
        yield Image(field.pixels, field.spots[:, :2].astype(float))


def composites(data: Path) -> Iterator[Image]:
    """Real macrophages with known puncta laid over them."""
    for path in sorted((data / "data" / "composites").glob("*_puncta.csv")):
        image = tifffile.imread(str(path).replace("_puncta.csv", ".ome.tif"))[2]
        yield Image(image, points(pd.read_csv(path)), 0.325)


def deepspot(data: Path) -> Iterator[Image]:
    """Test images of DeepSpot."""
    for path in sorted((data / "data" / "puncta" / "test").glob("*_puncta.csv")):
        image = tifffile.imread(str(path).replace("_puncta.csv", ".tif"))
        yield Image(image, points(pd.read_csv(path)))


def over_cells(data: Path, kind: str) -> Iterator[Image]:
    """Real cells with known puncta: a few each, or full of them."""
    for pixels, places, width in laid_over(data / "data", kind):
        yield Image(pixels, places, sigma=width)


SETS: dict[str, Callable[[Path], Iterator[Image]]] = {
    "PSD95, blocks left out": psd95,
    "autofluorescence, parts left out": autofluorescence,
    "composites": composites,
    "laid over cells, sparse": partial(over_cells, kind="sparse"),
    "laid over cells, crowded": partial(over_cells, kind="crowded"),
    "DeepSpot test": deepspot,
}


def score(images: list[Image], all_found: list[np.ndarray]) -> dict[str, float]:
    """F1, precision and recall over all images, and the median relative error of the count."""
    total, errors = np.zeros(3), []
    for image, found in zip(images, all_found, strict=True):
        total += [len(match_points(image.truth, found, image.radius)), len(found), len(image.truth)]
        errors.append(abs(len(found) - len(image.truth)) / max(len(image.truth), 1))
    hits, found, truth = total
    return {
        "F1": 2 * hits / max(found + truth, 1),
        "precision": hits / max(found, 1),
        "recall": hits / max(truth, 1),
        "count error": float(np.median(errors)),
    }


def cases(find: Find, data: Path) -> dict[str, tuple[int, int, int]]:
    """Truth, false and missed of each small case."""
    result = {}
    for name in CASES:
        image = tifffile.imread(data / "cases" / "puncta" / f"{name}.ome.tif")[2]
        truth = points(pd.read_csv(data / "cases" / "puncta" / f"{name}_truth.csv"))
        found = find(image, 0.16)
        hits = len(match_points(truth, found, 3.0))
        result[name] = (len(truth), len(found) - hits, len(truth) - hits)
    return result


@dataclass
class Ours:
    """A detector of this project, at default settings if no others are given."""

    detector: Detector
    settings: Settings = SETTINGS

    def __call__(self, image: np.ndarray, pixel_um: float) -> np.ndarray:
        """Find puncta."""
        return points(self.detector.detect(image, pixel_um, self.settings))

    def batch(self, images: list[Image]) -> tuple[list[np.ndarray], float, list[pd.DataFrame]]:
        """Find puncta in all images; also returns the threshold that they share, and the candidates."""
        tables = [self.detector.candidates(i.pixels, i.pixel_um, self.settings) for i in images]
        sure = pd.concat([t[sure_ones(t, self.settings.puncta_score)] for t in tables])
        threshold = from_populations(sure["contrast"].to_numpy(float), score=sure["score"].to_numpy(float))
        return [points(select(t, self.settings, threshold)) for t in tables], threshold.value, tables


def calibration(images: list[Image], tables: list[pd.DataFrame]) -> list[tuple[str, int, float, float]]:
    """Return number, mean score and share that people marked, of candidates in each bin of the score."""
    scores, marked = [], []
    for image, candidates in zip(images, tables, strict=True):
        clean = candidates[candidates["reason"] == KEPT].reset_index(drop=True)
        hit = np.zeros(len(clean), bool)
        hit[[j for _, j in match_points(image.truth, points(clean), image.radius)]] = True
        scores.append(clean["score"].to_numpy())
        marked.append(hit)
    every, hits = np.concatenate(scores), np.concatenate(marked)
    rows = []
    for low, high in pairwise(SCORES):
        here = (every > low) & (every <= high)
        if here.any():
            rows.append((f"{low:g} to {high:g}", int(here.sum()), every[here].mean(), hits[here].mean()))
    return rows


def network() -> Detector:
    """Load the bundled network."""
    return load_models(SETTINGS).puncta


#: What runs the detector of the commit `BEFORE`: images in, positions out.
WORKER = """
import pickle, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from napari_tam.detect import NetworkDetector
from napari_tam.flownet import Predictor
from napari_tam.models import ModelCard
from napari_tam.settings import Settings
card = ModelCard.read(Path(sys.argv[1]).parent / "models" / "puncta.json")
detector = NetworkDetector(Predictor(card.load()))
while True:
    try:
        image, pixel_um = pickle.load(sys.stdin.buffer)
    except EOFError:
        break
    found = detector.detect(image, pixel_um, Settings())
    pickle.dump(found[["y_px", "x_px"]].to_numpy(float), sys.stdout.buffer)
    sys.stdout.buffer.flush()
"""


class Before:
    """The project as it was at the commit `BEFORE`, in a process of its own."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        archive = subprocess.run(
            ["git", "archive", BEFORE, "src", "models"], cwd=ROOT, capture_output=True, check=True
        )
        subprocess.run(["tar", "-x", "-C", self.folder.name], input=archive.stdout, check=True)
        command = [sys.executable, "-c", WORKER, str(Path(self.folder.name) / "src")]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __call__(self, image: np.ndarray, pixel_um: float) -> np.ndarray:
        """Find puncta."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        pickle.dump((image, pixel_um), self.process.stdin)
        self.process.stdin.flush()
        return pickle.load(self.process.stdout)


def log_3sd(image: np.ndarray, pixel_um: float) -> np.ndarray:
    """Maxima of a Laplacian of Gaussian (1.5 px) above three SD of its response in the image."""
    del pixel_um
    response = -cv2.Laplacian(cv2.GaussianBlur(image.astype(np.float32), (0, 0), 1.5), cv2.CV_32F)
    highest = cv2.dilate(response, np.ones((3, 3), np.uint8))
    return np.argwhere((response >= highest) & (response > 3 * response.std())).astype(float)


class UFish:
    """U-FISH v1.0 (Xu et al. 2025), its own scaling and spot calling at their defaults."""

    def __init__(self, weights: Path) -> None:
        import onnxruntime

        self.session = onnxruntime.InferenceSession(str(weights), providers=["CPUExecutionProvider"])

    def __call__(self, image: np.ndarray, pixel_um: float) -> np.ndarray:
        """Find spots."""
        from scipy.ndimage import laplace
        from skimage.morphology import local_maxima

        values = image.astype(np.float32)
        big, top = float(np.quantile(values, 0.9999)), float(values.max())
        low, high = (0.0, big) if top - big > big else (float(values.min()), top)
        scaled = np.clip((values - low) / max(high - low, 1e-9), 0, 1) * 255
        pad = [(0, -n % 16) for n in scaled.shape]
        whole = np.pad(scaled, pad, mode="reflect")[None, None].astype(np.float32)
        answer = self.session.run(None, {self.session.get_inputs()[0].name: whole})[0][0, 0]
        answer = -laplace(answer[: image.shape[0], : image.shape[1]])
        return np.argwhere(local_maxima(answer, connectivity=2) & (answer > 0.5)).astype(float)


#: What runs Big-FISH (Imbert et al. 2022) on planes and stacks, its threshold found by itself; with the width
#: of a spot given along each axis.
BIG_FISH = """
import pickle, sys, warnings
warnings.filterwarnings("ignore")
import numpy as np
from bigfish import detection
while True:
    try:
        image, dense, voxel, radius = pickle.load(sys.stdin.buffer)
    except EOFError:
        break
    size = {"voxel_size": voxel, "spot_radius": radius}
    try:
        found = detection.detect_spots(image, **size)
        if dense and len(found):
            found, _, _ = detection.decompose_dense(image.astype(np.uint16), found, **size)
    except Exception:
        found = np.zeros((0, image.ndim))
    pickle.dump(np.asarray(found, float)[:, :image.ndim], sys.stdout.buffer)
    sys.stdout.buffer.flush()
"""


class BigFish:
    """Big-FISH in a process of its own, with or without its decomposition of dense regions."""

    def __init__(self, python: Path, *, dense: bool) -> None:
        self.dense, self.sigma = dense, 1.4
        self.process = subprocess.Popen(
            [str(python), "-c", BIG_FISH], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def __call__(self, image: np.ndarray, pixel_um: float) -> np.ndarray:
        """Find spots in a plane."""
        del pixel_um
        return self.find(image, (100, 100), (100 * self.sigma, 100 * self.sigma))

    def find(self, image: np.ndarray, voxel: tuple[float, ...], radius: tuple[float, ...]) -> np.ndarray:
        """Find spots of this width in a plane or stack, both in nm along each axis."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        pickle.dump((image, self.dense, voxel, radius), self.process.stdin)
        self.process.stdin.flush()
        return pickle.load(self.process.stdout)


def finders(data: Path, bigfish: Path | None) -> dict[str, Find]:
    """Everything to compare; U-FISH only where onnxruntime is installed, Big-FISH where it is named."""
    found: dict[str, Find] = {OURS: Ours(network()), f"commit {BEFORE}": Before()}
    found |= {"with average_flips": Ours(network(), Settings(average_flips=True))}
    found |= {"LoG of the project": Ours(LogDetector()), "LoG above 3 SD": log_3sd}
    if bigfish is not None:
        found["Big-FISH"] = BigFish(bigfish, dense=False)
        found["Big-FISH, dense"] = BigFish(bigfish, dense=True)
    try:
        found["U-FISH v1.0"] = UFish(data / "reference" / "v1.0-alldata-ufish_c32.onnx")
    except ImportError:
        print("U-FISH is left out: onnxruntime is not installed")
    return found


def speed(found: dict[str, Find]) -> dict[str, float]:
    """Seconds for a 2048² channel with 5,000 puncta; the best of three rounds, one after another."""
    rng = np.random.default_rng(0)
    image = np.zeros((2048, 2048), np.float32)
    y, x = rng.integers(0, 2048, (2, 5000))
    image[y, x] = rng.uniform(1500, 6000, 5000)
    image = rng.poisson(cv2.GaussianBlur(image, (0, 0), 1.4) + 40).astype(np.uint16)
    best = dict.fromkeys(found, np.inf)
    for _ in range(3):
        for name, find in found.items():
            start = time.perf_counter()
            find(image, 0.1)
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def run(data: Path, bigfish: Path | None, *, quick: bool = False) -> None:
    """Measure, print and keep."""
    sets = {name: list(read(data))[:: 4 if quick else 1] for name, read in SETS.items()}
    rows, values, small, honest, chosen = [], {}, [], [], []
    found = finders(data, bigfish)
    for name, find in found.items():
        values[name] = {}
        for where, images in sets.items():
            if isinstance(find, Ours):
                places, threshold, tables = find.batch(images)
                chosen.append(f"{name}, {where}: {threshold:g}")
                if name == OURS:
                    honest += [[where, *row] for row in calibration(images, tables)]
            else:
                if isinstance(find, BigFish):
                    find.sigma = images[0].sigma
                places = [find(image.pixels, image.pixel_um) for image in images]
            result = score(images, places)
            values[name][where] = {k: round(float(v), 4) for k, v in result.items()}
            rows.append([where, name, *map(float, result.values())])
        result = cases(find, data)
        values[name]["cases"] = {k: dict(zip(("truth", "false", "missed"), v, strict=True))
                                 for k, v in result.items()}  # fmt: skip
        wrong, truth = sum(f + m for _, f, m in result.values()), sum(t for t, _, _ in result.values())
        small.append([name, *(f"{f}+{m}" for _, f, m in result.values()), wrong / truth])
    times = speed(found)
    for name, seconds in times.items():
        values[name]["seconds"] = round(seconds, 3)
    order = list(SETS)
    rows.sort(key=lambda row: order.index(row[0]))
    lines = ["At default settings; a find within 3 px (PSD95: 4 px) counts.", ""]
    lines += table(["images", "detector", "F1", "precision", "recall", "median count error"], rows)
    lines += ["", "Thresholds for the contrast (1: none): " + "; ".join(chosen)]
    lines += ["", "Score against truth: candidates of this network, and the share that people marked", ""]
    lines += table(["images", "score", "candidates", "mean score", "marked"], honest)
    lines += ["", "Small cases: false + missed", ""]
    lines += table(["detector", *CASES, "of the truth"], small)
    lines += [
        "",
        "Seconds for a 2048² channel with 5,000 puncta",
        "",
        *table(["detector", "s"], [list(row) for row in times.items()]),
    ]
    publish(Path(__file__).stem, lines, values)


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Return what the command line takes, of all benchmarks of `finders`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("data", type=Path, help="the shared data folder")
    parser.add_argument("--bigfish", type=Path, help="a Python interpreter with Big-FISH")
    return parser


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--quick", action="store_true", help="a quarter of the images")
    given = parser.parse_args()
    if not (given.data / "data" / "puncta").is_dir():
        raise SystemExit(f"there are no images in {given.data / 'data' / 'puncta'}")
    run(given.data, given.bigfish, quick=given.quick)
