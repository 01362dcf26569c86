"""What the puncta network is trained on: real fields with marked spots, and drawn ones, crop by crop.

Every crop is a pair of raw grey values and a list of puncta; `napari_tam.puncta.spot_input` turns the first
into what the network sees and `data.spot_target` the second into what it should answer. Everything
depends on a seed and the number of the batch only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pandas as pd
import tifffile
from data import invisible, spot_target
from puncta_cells import crowd_field, hazy_field, wide_field
from puncta_scenes import COLUMNS, IGNORED, Lens, between, drawn_field, filtered

from napari_tam.networks.predictor import MARGIN
from napari_tam.puncta.crowds.emitters import values_at
from napari_tam.puncta.spot_input import network_input, pixel_noise, repair_hot_pixels
from napari_tam.puncta.working_scale import LARGER_PX, MOST_TIMES
from napari_tam.simulate.parameters import random_parameters
from napari_tam.simulate.scene import Scene

if TYPE_CHECKING:
    from pathlib import Path

#: How often each source is drawn.
WEIGHTS = {
    "psd95": 0.20, "autofluorescence": 0.10, "deepspot": 0.06, "scenes": 0.08, "drawn": 0.13, "crowds": 0.11,
    "haze": 0.18, "wide": 0.05, "unmarked": 0.05, "stains": 0.04,
}  # fmt: skip

#: What the network before would say counts for so much beside the truth: what people mark in one set is not
#: what stands out in others, and a network that is taught both forgets the one or the other. The teacher is
#: alone on real images that nobody marked, and silent on haze, which it was not taught.
TEACHER = {
    "psd95": 0.1, "autofluorescence": 0.05, "deepspot": 0.3, "scenes": 0.4, "drawn": 0.25, "crowds": 0.4,
    "haze": 0.0, "wide": 0.2, "unmarked": 1.0, "stains": 0.15,
}  # fmt: skip

#: Tiles of PSD95 that lie in a row may come from one picture: blocks of this many stay together.
BLOCK = 50
#: Every fifth block is kept for validation.
EVERY, FIRST = 5, 2

#: Width (sigma, px) of the spots people marked in PSD95, of DeepSpot's, and of those over autofluorescence.
PSD95_SIGMA, DEEPSPOT_SIGMA, RNA_SIGMA = 2.2, 1.4, 1.3

#: Of the field over autofluorescence two quadrants are trained on, this wide (px): the upper left one, and
#: the lower right one, which has two thirds of their marks.
QUADRANT_PX, LOWER_SHARE = 256, 0.66


#: How often a crop is one of coarse pixels, enlarged; how wide puncta of a kind are (px) where it is not the
#: width of their marks; and how wide they are in coarse pixels.
COARSE, REAL_SIGMA, COARSE_SIGMA = 0.2, {"autofluorescence": 0.8}, (0.45, 1.1)

#: Kinds of which so many are drawn out in one direction.
DRAWN_OUT, ELONGATED = ("drawn", "crowds", "haze"), 0.2

#: How often a real field of a kind is smoothed, as people do before they look (PSD95 is blurred anyway).
FILTERED = {"autofluorescence": 0.3, "deepspot": 0.15, "stains": 0.15}

#: How often a crop is cut off at a black level, or its photons counted.
DETECTOR = 0.1
#: What is wider than this (px) was not seen through coarse pixels.
NARROW_ENOUGH_PX = 2.4
#: A punctum that has less than this share of its height above the black level may be seen or not.
LEFT = 0.5


@dataclass
class Field:
    """Grey values (float32) and puncta (array of `puncta_scenes.COLUMNS`)."""

    pixels: np.ndarray
    spots: np.ndarray


def held_out(tile: int) -> bool:
    """Tell whether a PSD95 tile belongs to a block that is never trained on."""
    return tile // BLOCK % EVERY == FIRST


def psd95(data: Path, *, held: bool) -> list[Field]:
    """Read the PSD95 tiles of the blocks trained on, or of those held out, in order."""
    tiles = tifffile.imread(data / "puncta" / "real" / "psd95_tiles.tif")
    table = pd.read_csv(data / "puncta" / "real" / "psd95_puncta.csv")
    groups = {int(key): rows for key, rows in table.groupby("tile")}
    return [
        Field(tiles[index].astype(np.float32), _spots(groups[index], PSD95_SIGMA))
        for index in range(len(tiles))
        if held_out(index) == held and index in groups
    ]


def deepspot(data: Path, split: str) -> list[Field]:
    """Read DeepSpot's images of a split (``train`` or ``test``)."""
    return [
        Field(
            tifffile.imread(path.with_name(path.name.replace("_puncta.csv", ".tif"))).astype(np.float32),
            _spots(pd.read_csv(path), DEEPSPOT_SIGMA),
        )
        for path in sorted((data / "puncta" / split).glob("*_puncta.csv"))
    ]


def autofluorescence(data: Path, *, held: bool) -> list[Field]:
    """Read the two quadrants of the field over autofluorescence that are trained on, or the other two."""
    folder = data / "puncta" / "real"
    pixels = tifffile.imread(folder / "autofluorescence.tif")[1].astype(np.float32)
    spots = _spots(pd.read_csv(folder / "autofluorescence_puncta.csv"), RNA_SIGMA)
    fields = []
    for top in (0, QUADRANT_PX):
        corner = np.array([top, QUADRANT_PX - top if held else top])
        inside = ((spots[:, :2] >= corner - 0.5) & (spots[:, :2] < corner + QUADRANT_PX - 0.5)).all(axis=1)
        part = tuple(slice(start, start + QUADRANT_PX) for start in corner)
        fields.append(Field(pixels[part], spots[inside] - np.array([*corner, 0, 0], np.float32)))
    return fields


def unmarked(data: Path) -> list[tuple[Field, float]]:
    """Read real images of puncta that nobody marked, and how often each is drawn beside others."""
    real, more = data / "real", data / "unlabelled"
    weighed = [
        (tifffile.imread(real / "hela_cells.ome.tif")[0], 3.0),
        (tifffile.imread(real / "xy_16bit__autophagosomes.tif"), 1.0),
    ]
    for number in (1, 2):
        planes = tifffile.imread(real / f"nuclear_condensates_{number}_zstack.tif")[:, 1]
        weighed += [(plane, 0.8) for plane in planes]
    for name, often in (
        ("deepblink_c1", 0.7), ("deepblink_c2", 0.7), ("spotiflow_hybiss", 2.0), ("spotiflow_terra", 2.0),
    ):  # fmt: skip
        weighed.append((tifffile.imread(more / f"{name}.tif"), often))
    return _without_marks(weighed)


def stains(data: Path) -> list[tuple[Field, float]]:
    """Read planes of other stains, in which a bright speck may be a punctum but no filament or rim is."""
    more = data / "unlabelled"
    hela = tifffile.imread(data / "real" / "hela_cells.ome.tif")
    planes = [*hela[1:], *tifffile.imread(more / "bpae_actin_mito_nuclei.tif")[:3]]
    planes += list(tifffile.imread(more / "u2os_cell_painting.tif")[:3])
    weighed = [(plane, 1.0) for plane in planes]
    for number in (1, 2):
        stack = tifffile.imread(data / "real" / f"nuclear_condensates_{number}_zstack.tif")[:, 0]
        weighed += [(plane, 0.3) for plane in stack]
    return _without_marks(weighed)


def _without_marks(weighed: list[tuple[np.ndarray, float]]) -> list[tuple[Field, float]]:
    """Fields of planes that nobody marked, each with how often it is drawn."""
    none = np.zeros((0, len(COLUMNS)), np.float32)
    return [(Field(pixels.astype(np.float32), none), often) for pixels, often in weighed]


def _spots(table: pd.DataFrame, sigma: float) -> np.ndarray:
    spots = np.zeros((len(table), len(COLUMNS)), np.float32)
    spots[:, :2], spots[:, 2] = table[["y_px", "x_px"]].to_numpy(), sigma
    return spots


def scenes(count: int, seed: int) -> list[Field]:
    """Exosome channels of simulated fields of macrophages."""
    fields = []
    for index in range(count):
        scene = Scene.draw(random_parameters(rng := np.random.default_rng([seed, index]), (256, 256)), rng)
        pixels, table = scene.image[2].astype(np.float32), scene.puncta
        spots = np.zeros((len(table), len(COLUMNS)), np.float32)
        spots[:, :3] = table[["y_px", "x_px", "sigma_px"]]
        spots[:, 3] = IGNORED * invisible(pixels, table, scene.parameters.gain)
        fields.append(Field(pixels, spots))
    return fields


def real_textures(data: Path) -> list[np.ndarray]:
    """Read real fields without puncta: nuclei (CC0), cell painting (CC0), actin and nuclei (CC BY 4.0)."""
    nuclei = [p for p in sorted((data / "nuclei").glob("*.tif")) if not p.name.endswith("_masks.tif")]
    fields = [tifffile.imread(p) for p in nuclei[::4]]
    for name, channels in (("u2os_cell_painting", (0, 1, 2)), ("bpae_actin_mito_nuclei", (0, 1, 2))):
        picture = tifffile.imread(data / "unlabelled" / f"{name}.tif")
        # Few and varied: each as often as a score of the nuclei.
        fields += [picture[channel] for channel in channels for _ in range(8)]
    return [f.astype(np.float32) for f in fields if min(f.shape) >= 100]


@dataclass
class Source:
    """All sources, and crops drawn from them."""

    data: Path
    seed: int
    scene_count: int = 240
    fields: dict[str, list[Field]] = field(init=False)
    weighed: dict[str, list[tuple[Field, float]]] = field(init=False)
    textures: list[np.ndarray] = field(init=False)

    def __post_init__(self) -> None:
        """Read or draw what crops are taken from."""
        self.fields = {
            "psd95": psd95(self.data, held=False),
            "deepspot": deepspot(self.data, "train"),
            "scenes": scenes(self.scene_count, self.seed),
            "autofluorescence": autofluorescence(self.data, held=False),
        }
        self.weighed = {"unmarked": unmarked(self.data), "stains": stains(self.data)}
        self.textures = real_textures(self.data)

    def field(
        self, kind: str, rng: np.random.Generator, size: int, lens: Lens | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw a field of a kind, or take one and vary it: grey values and puncta (`COLUMNS`).

        Those of `DRAWN_OUT` may be seen through a lens that draws puncta out.
        """
        if kind == "drawn":
            return drawn_field(rng, self.textures, lens)
        if kind == "crowds":
            return crowd_field(rng, lens)
        if kind == "haze":
            return hazy_field(rng, self.textures, lens)
        if kind == "wide":
            return wide_field(rng)
        if kind in self.weighed:
            often = np.array([share for _, share in self.weighed[kind]])
            chosen, _ = self.weighed[kind][rng.choice(len(often), p=often / often.sum())]
            return vary(Field(*part(chosen.pixels, chosen.spots, rng, size + 48)), kind, rng, size)
        fields = self.fields[kind]
        if kind == "autofluorescence":
            chosen = fields[int(rng.random() < LOWER_SHARE)]
            wide = int(1.4 * (size + 48))
            return vary(Field(*part(chosen.pixels, chosen.spots, rng, wide)), kind, rng, size)
        return vary(fields[rng.integers(len(fields))], kind, rng, size)

    def crop(self, rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray, float]:
        """Draw a crop: what the network sees (3, size, size), target (4, size, size), a teacher's share."""
        kind = str(rng.choice(list(WEIGHTS), p=list(WEIGHTS.values())))
        lens = Lens.draw(rng) if kind in DRAWN_OUT and rng.random() < ELONGATED else None
        pixels, spots = self.field(kind, rng, size, lens)
        if rng.random() < 0.7:  # mostly a part: quicker, and more kinds of surroundings
            pixels, spots = part(pixels, spots, rng, size + 48)
        share = TEACHER[kind] if lens is None else 0.0  # a teacher may see two in one
        if share < 1 and rng.random() < COARSE:
            pixels, spots = mirrored(*coarse(pixels, spots, REAL_SIGMA.get(kind), rng), size)
            share *= 0.5
        if share < 1 and rng.random() < DETECTOR:  # which a teacher may not know
            pixels, spots = (cut_off if rng.random() < 0.6 else counted)(pixels, spots, rng)
            share = 0.0
        pixels = hot_pixels(pixels, rng)
        planes = network_input(repair_hot_pixels(pixels)[0])
        target = _target(spots, pixels.shape)
        # As in `Predictor`: beyond an image there is nothing, and what it cuts off ends there.
        margin = [(0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)]
        weight = np.pad(target[:1], margin, constant_values=1)
        planes, target = np.pad(planes, margin), np.concatenate([weight, np.pad(target[1:], margin)])
        top, left = (int(rng.integers(n - size + 1)) for n in planes.shape[1:])
        window = (slice(None), slice(top, top + size), slice(left, left + size))
        planes, target = planes[window], target[window]
        return *turned(planes, target, int(rng.integers(8))), share


def part(
    pixels: np.ndarray, spots: np.ndarray, rng: np.random.Generator, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Cut out a part of at most `size`; puncta beyond it stay on the list, as their flanks reach in."""
    top, left = (int(rng.integers(max(0, n - size) + 1)) for n in pixels.shape)
    return pixels[top : top + size, left : left + size], spots - np.array([top, left, 0, 0], np.float32)


def _target(spots: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Weight, probability, flow y, flow x."""
    table = pd.DataFrame(spots[:, :3], columns=["y_px", "x_px", "sigma_px"])
    return spot_target((shape[0], shape[1]), table, spots[:, 3] == IGNORED)[[4, 1, 2, 3]]


def turned(planes: np.ndarray, target: np.ndarray, which: int) -> tuple[np.ndarray, np.ndarray]:
    """Turn and mirror a crop (one of eight ways); its flows turn with it."""
    if which & 1:
        planes, target = planes[:, ::-1], target[:, ::-1] * _signs(2)
    if which & 2:
        planes, target = planes[:, :, ::-1], target[:, :, ::-1] * _signs(3)
    if which & 4:
        planes, target = planes.transpose(0, 2, 1), target.transpose(0, 2, 1)[[0, 1, 3, 2]]
    return np.ascontiguousarray(planes), np.ascontiguousarray(target)


def _signs(flipped: int) -> np.ndarray:
    signs = np.ones((4, 1, 1), np.float32)
    signs[flipped] = -1
    return signs


def vary(chosen: Field, kind: str, rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Blur, resize and add noise to a real field, within what a microscope might have done."""
    pixels, spots = chosen.pixels, chosen.spots
    factor = 1.0
    if rng.random() < 0.5:
        low, high = (0.45, 1.3) if kind == "psd95" else (0.65, 2.2)
        factor = between(rng, low, high)
    if kind == "psd95" and rng.random() < 0.3:
        pixels = cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.3, 1.3))
    if factor != 1.0:
        shape = tuple(max(1, round(n * factor)) for n in pixels.shape)
        method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        scale = np.array(shape) / np.array(pixels.shape)
        pixels = cv2.resize(pixels, shape[::-1], interpolation=method)
        spots = spots.copy()
        spots[:, :2] = (spots[:, :2] + 0.5) * scale - 0.5
        spots[:, 2] *= float(scale.mean())
    if rng.random() < FILTERED.get(kind, 0.0):
        pixels, spots = filtered(pixels, spots, rng)
    pixels, spots = mirrored(pixels, spots, size)
    if rng.random() < 0.2:
        spread = np.median(np.abs(pixels - np.median(pixels)))
        noise = rng.standard_normal(pixels.shape, dtype=np.float32)
        pixels = pixels + noise * float(spread) * rng.uniform(0.05, 0.4)
    return pixels, spots


def mirrored(pixels: np.ndarray, spots: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Mirror a small field at its lower and right border until it is `size` wide."""
    for axis in (0, 1):
        while pixels.shape[axis] < size:
            length = pixels.shape[axis]
            more = min(length, size - length)
            width = [(0, 0), (0, 0)]
            width[axis] = (0, more)
            pixels = np.pad(pixels, width, mode="symmetric")
            twin = spots.copy()
            twin[:, axis] = 2 * length - 1 - twin[:, axis]
            spots = np.concatenate([spots, twin])
    return pixels, spots


def coarse(
    pixels: np.ndarray, spots: np.ndarray, sigma: float | None, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Take a picture again with coarse pixels, and enlarge it as `napari_tam.puncta.working_scale` does.

    `sigma` is the width of its puncta (px), if it is not that in `spots`. Wide ones stay as they are.
    """
    width = sigma or (float(np.median(spots[:, 2])) if len(spots) else 1.4)
    if width > NARROW_ENOUGH_PX:
        return pixels, spots
    after = min(width, between(rng, *COARSE_SIGMA))
    times = after / width
    larger = min(LARGER_PX / after, MOST_TIMES) * float(np.exp(rng.normal(0, 0.08)))
    scale = np.ones(2)
    for factor, method in ((times, cv2.INTER_AREA), (larger, cv2.INTER_CUBIC)):
        size = [max(1, round(n * factor)) for n in pixels.shape]
        scale = scale * size / np.array(pixels.shape)
        pixels = cv2.resize(pixels, size[::-1], interpolation=method)
    spots = spots.copy()
    spots[:, :2] = (spots[:, :2] + 0.5) * scale - 0.5
    spots[:, 2] *= float(scale.mean()) * (width / np.median(spots[:, 2]) if len(spots) else 1)
    return np.asarray(pixels, np.float32), spots


def cut_off(pixels: np.ndarray, spots: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Take the background away and clip at 0, as programs do, or detectors whose black level is too high."""
    level = cv2.GaussianBlur(pixels, (0, 0), float(rng.uniform(7, 40)))
    noise = pixel_noise(pixels)
    if rng.random() < 0.5:
        below = level + noise * rng.uniform(-0.5, 2.5)
    else:
        below = np.full_like(pixels, np.percentile(pixels, rng.uniform(20, 98)))
    after = np.maximum(pixels - below, 0).astype(np.float32)
    spots = spots.copy()
    before = _highest_at(pixels, spots) - values_at(level, spots[:, :2])
    spots[_highest_at(after, spots) < LEFT * before, 3] = IGNORED
    return after, spots


def counted(pixels: np.ndarray, spots: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Take a picture again with few photons, which a detector counts one by one."""
    low, high = np.percentile(pixels, (1, 99.9))
    light = np.maximum(pixels - low, 0) / max(float(high - low), 1e-6) * between(rng, 4, 40)
    light = (light + between(rng, 0.01, 0.5)).astype(np.float32)
    level = values_at(cv2.GaussianBlur(light, (0, 0), 8), spots[:, :2])
    height, width = _highest_at(cv2.GaussianBlur(light, (0, 0), 0.7), spots) - level, spots[:, 2]
    clear = (height * np.sqrt(np.pi) * width > 8 * np.sqrt(level + 0.1)) & (height * width**2 > 3)
    spots = spots.copy()
    spots[~clear, 3] = IGNORED
    electrons = rng.poisson(light).astype(np.float32)
    if rng.random() < 0.4:  # multiplied, each by its own luck
        electrons = np.where(electrons > 0, rng.gamma(np.maximum(electrons, 1e-3)), 0)
        electrons += rng.normal(0, rng.uniform(0.02, 0.3), light.shape)
    return electrons.astype(np.float32), spots


def _highest_at(image: np.ndarray, spots: np.ndarray) -> np.ndarray:
    """Highest value within 3 x 3 pixels around each punctum."""
    return values_at(cv2.dilate(image, np.ones((3, 3), np.uint8)), spots[:, :2])


def hot_pixels(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Let some pixels of a camera shine, now and then two side by side, or a whole line."""
    if rng.random() > 0.25:
        return pixels
    pixels = pixels.copy()
    top = float(pixels.max() - np.median(pixels)) + 1
    if rng.random() < 0.2:
        lines = pixels if rng.random() < 0.5 else pixels.T
        some = rng.integers(0, len(lines), int(rng.integers(1, 4)))
        lines[some] += np.float32(top * np.exp(rng.uniform(np.log(0.05), 0)))
    count = int(rng.integers(1, 40))
    y, x = (rng.integers(0, n - 1, count) for n in pixels.shape)
    height = top * np.exp(rng.uniform(np.log(0.1), np.log(30), count))
    pixels[y, x] += height.astype(np.float32)
    twin = rng.random(count) < rng.choice([0.1, 0.6])
    pixels[y[twin], x[twin] + 1] += height[twin].astype(np.float32) * 0.8
    return pixels
