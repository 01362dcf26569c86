"""Puncta on real images and on known ones, at default settings, beside peers and the network before.

``python benchmarks/puncta.py DATA`` with ``DATA`` the shared data folder (images in ``DATA/data``, small
cases in ``DATA/cases``, reference networks in ``DATA/reference``). The PSD95 tiles are those of the
blocks that were left out of training (``training/puncta_fields.py``); the field over
autofluorescence, the composites and the cases were never trained on.
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
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import tifffile
from common import ROOT, publish, table

from napari_tam.evaluate.matching import match_points
from napari_tam.networks.cards import ModelCard
from napari_tam.networks.predictor import Predictor
from napari_tam.puncta.detect import LogDetector, NetworkDetector
from napari_tam.settings import Settings

sys.path.insert(0, str(ROOT / "training"))

#: The commit before puncta were scaled by their own noise: the detector to compare with.
BEFORE = "558e980"
SETTINGS = Settings()
CASES = (
    "hot_pixels", "puncta_jpeg60", "rings", "vesicles_sigma4", "vesicles_sigma4_jpeg60",
    "vesicles_sigma6", "fibres_only", "texture_only",
)  # fmt: skip

Find = Callable[[np.ndarray, float], np.ndarray]


@dataclass(frozen=True)
class Image:
    """An image, its true puncta, and how near a find must be (px) to be one of them."""

    pixels: np.ndarray
    truth: np.ndarray
    pixel_um: float = 0.1
    radius: float = 3.0


def points(frame: pd.DataFrame) -> np.ndarray:
    """Positions of a table."""
    return frame[["y_px", "x_px"]].to_numpy(float)


def psd95(data: Path) -> Iterator[Image]:
    """Real confocal tiles of blocks that were left out of training."""
    from puncta_fields import psd95 as read

    for field in read(data / "data", held=True):
        yield Image(field.pixels, field.spots[:, :2].astype(float), radius=4.0)


def autofluorescence(data: Path) -> Iterator[Image]:
    """One real field of RNA spots over autofluorescent clumps."""
    folder = data / "data" / "puncta" / "real"
    truth = points(pd.read_csv(folder / "autofluorescence_puncta.csv"))
    yield Image(tifffile.imread(folder / "autofluorescence.tif")[1], truth)


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


SETS: dict[str, Callable[[Path], Iterator[Image]]] = {
    "PSD95, blocks left out": psd95,
    "autofluorescence": autofluorescence,
    "composites": composites,
    "DeepSpot test": deepspot,
}


def score(find: Find, images: list[Image]) -> dict[str, float]:
    """F1, precision and recall over all images, and the median relative error of the count."""
    total, errors = np.zeros(3), []
    for image in images:
        found = find(image.pixels, image.pixel_um)
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


def ours(detector: NetworkDetector | LogDetector) -> Find:
    """Wrap a detector of this project at default settings."""
    return lambda image, pixel_um: points(detector.detect(image, pixel_um, SETTINGS))


def network() -> NetworkDetector:
    """Load the bundled network."""
    return NetworkDetector(Predictor(ModelCard.read(ROOT / "models" / "puncta.json").load()))


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


def finders(data: Path) -> dict[str, Find]:
    """Everything to compare; U-FISH only where onnxruntime is installed."""
    found: dict[str, Find] = {"this network": ours(network()), f"commit {BEFORE}": Before()}
    found |= {"LoG of the project": ours(LogDetector()), "LoG above 3 SD": log_3sd}
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


def run(data: Path, *, quick: bool = False) -> None:
    """Measure, print and keep."""
    sets = {name: list(read(data)) for name, read in SETS.items()}
    rows, values, small = [], {}, []
    found = finders(data)
    for name, find in found.items():
        values[name] = {}
        for where, images in sets.items():
            result = score(find, images[::4] if quick else images)
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
    lines += ["", "Small cases: false + missed", ""]
    lines += table(["detector", *CASES, "of the truth"], small)
    lines += [
        "",
        "Seconds for a 2048² channel with 5,000 puncta",
        "",
        *table(["detector", "s"], [list(row) for row in times.items()]),
    ]
    publish(Path(__file__).stem, lines, values)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="the shared data folder")
    parser.add_argument("--quick", action="store_true", help="a quarter of the images")
    given = parser.parse_args()
    if not (given.data / "data" / "puncta").is_dir():
        raise SystemExit(f"there are no images in {given.data / 'data' / 'puncta'}")
    run(given.data, quick=given.quick)
