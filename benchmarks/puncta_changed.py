"""Puncta in the same images as others would have taken or saved them.

``python benchmarks/puncta_changed.py ../shared [--bigfish PYTHON]``: coarser and finer pixels, 8 bit, JPEG,
gamma, filters, black borders, a background that was cut off, cells that were cut out. The puncta stay where
they are. F1 of all detectors of `puncta.py` at default settings, on a part of its images and on drawn cells
full of puncta; Big-FISH alone is told the width of a spot.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from common import publish, table
from crowds import LEVEL, UM, camera, cells
from puncta import SETS, BigFish, Image, arguments, finders, score

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Drawn cells, each full of puncta: seeds, photons of a punctum, least and most, diameter and sigma (px).
FULL = "cells full of puncta"
SEEDS, PHOTONS, PUNCTA, DIAMETER, SIGMA = range(60_050, 60_053), 800.0, (20, 60), 25, 1.4

#: Margin of noise around drawn cells, and what is left beyond the edge of cells that are cut out (px).
MARGIN_PX, BESIDE_PX = 60, 5

#: One in so many images of each set.
EVERY = {
    "PSD95, blocks left out": 8,
    "autofluorescence, parts left out": 1,
    "composites": 1,
    "laid over cells, sparse": 4,
    "laid over cells, crowded": 4,
    "DeepSpot test": 12,
    FULL: 1,
}

#: Edge (px) beyond which an image is cut off, after it was enlarged.
MOST_PX = 1300

#: In coarser pixels a find may be this much (px) nearer to a punctum only, however coarse they are.
NEAREST_PX = 2.0


def resized(image: Image, times: float) -> Image:
    """Make an image's pixels coarser or finer; places of puncta and how near a find must be go with them."""
    edge = round(MOST_PX / times)
    pixels = image.pixels[:edge, :edge].astype(np.float32)
    truth = image.truth[(image.truth < np.array(pixels.shape) - 0.5).all(axis=1)]
    method = cv2.INTER_CUBIC if times > 1 else cv2.INTER_AREA
    other = cv2.resize(pixels, None, fx=times, fy=times, interpolation=method)
    scale = np.array(other.shape) / np.array(pixels.shape)
    return replace(
        image,
        pixels=whole_numbers(other),
        truth=(truth + 0.5) * scale - 0.5,
        pixel_um=image.pixel_um / times,
        radius=max(image.radius * times, NEAREST_PX),
        sigma=image.sigma * times,
    )


def whole_numbers(pixels: np.ndarray) -> np.ndarray:
    """Round to what a file of 16 bits holds."""
    return np.clip(np.round(pixels), 0, 65535).astype(np.uint16)


def eight_bit(pixels: np.ndarray, lowest: float = 0, highest: float = 100) -> np.ndarray:
    """Stretch the grey values between two percentiles over 8 bits, as programs do that show them."""
    low, high = np.percentile(pixels, (lowest, highest))
    return np.clip(np.round((pixels - low) / max(float(high - low), 1e-9) * 255), 0, 255).astype(np.uint8)


def jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    """Save as JPEG and read it again."""
    _, data = cv2.imencode(".jpg", eight_bit(pixels, 0.1, 99.9), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)


def gamma(pixels: np.ndarray, power: float) -> np.ndarray:
    """Change the contrast by a power of the grey values."""
    low, high = float(pixels.min()), float(np.percentile(pixels, 99.9))
    return whole_numbers(np.clip((pixels - low) / max(high - low, 1e-9), 0, None) ** power * 20000)


def in_black(pixels: np.ndarray) -> np.ndarray:
    """Put an image into the corner of a black one of four times its area."""
    result = np.zeros((2 * pixels.shape[0], 2 * pixels.shape[1]), np.uint16)
    result[: pixels.shape[0], : pixels.shape[1]] = pixels
    return result


def less_background(pixels: np.ndarray) -> np.ndarray:
    """Take a blurred copy away, and cut off what is below 0."""
    return whole_numbers(np.maximum(pixels - cv2.GaussianBlur(pixels, (0, 0), 25), 0))


def denoised(pixels: np.ndarray) -> np.ndarray:
    """Filter by non-local means."""
    return cv2.fastNlMeansDenoising(eight_bit(pixels, 0.1, 99.9), None, 10, 7, 15)


def cut_off(pixels: np.ndarray) -> np.ndarray:
    """Take away what seven pixels in ten are below."""
    return whole_numbers(np.maximum(pixels - np.percentile(pixels, 70), 0))


#: Changes of grey values: (Y, X) float32 in, what a file holds out.
OF_VALUES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "8 bit": eight_bit,
    "8 bit, 1 % black, 1 % white": partial(eight_bit, lowest=1, highest=99),
    "8 bit, 35 % black": partial(eight_bit, lowest=35, highest=99.8),
    "JPEG 90": partial(jpeg, quality=90),
    "JPEG 60": partial(jpeg, quality=60),
    "gamma 0.5": partial(gamma, power=0.5),
    "gamma 2": partial(gamma, power=2.0),
    "tiny fractions": lambda pixels: pixels * np.float32(1e-9),
    "in black": in_black,
    "background taken away": less_background,
    "background cut off": cut_off,
    "blurred by 1 px": lambda pixels: whole_numbers(cv2.GaussianBlur(pixels, (0, 0), 1)),
    "median of 3 x 3": lambda pixels: whole_numbers(cv2.medianBlur(pixels, 3)),
    "non-local means": denoised,
}


def cut_out(image: Image) -> Image:
    """Leave nothing beside what is bright: cells that were cut out by hand or by their masks."""
    pixels = image.pixels.astype(np.float32)
    smooth = np.log(np.maximum(cv2.GaussianBlur(pixels, (0, 0), 5), 1e-6))
    grey = cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    _, bright = cv2.threshold(grey, 0, 1, cv2.THRESH_OTSU)
    kept = cv2.dilate(bright, np.ones((2 * BESIDE_PX + 1,) * 2, np.uint8)) > 0
    row, column = np.clip(np.round(image.truth), 0, np.array(pixels.shape) - 1).astype(int).T
    alone = np.where(kept, np.maximum(pixels, 1), 0)
    return replace(image, pixels=whole_numbers(alone), truth=image.truth[kept[row, column]])


def full_cells(data: Path) -> Iterator[Image]:
    """Draw cells full of puncta, with a margin of noise around them."""
    del data
    for seed in SEEDS:
        field = cells(seed, PHOTONS, *PUNCTA, DIAMETER, SIGMA)
        shape = tuple(n + 2 * MARGIN_PX for n in field.image.shape)
        wide = camera(np.full(shape, LEVEL), np.random.default_rng(seed))
        wide[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX] = field.image
        yield Image(wide, field.points + MARGIN_PX, UM, sigma=SIGMA)


def values_changed(image: Image, change: Callable[[np.ndarray], np.ndarray]) -> Image:
    """Change an image's grey values."""
    return replace(image, pixels=change(image.pixels.astype(np.float32)))


CHANGES: dict[str, Callable[[Image], Image]] = {"as it is": lambda image: image}
CHANGES |= {f"pixels x {1 / times:.3g}": partial(resized, times=times) for times in (0.5, 0.6, 0.75)}
CHANGES |= {f"enlarged x {times}": partial(resized, times=times) for times in (2, 3, 4)}
CHANGES |= {name: partial(values_changed, change=change) for name, change in OF_VALUES.items()}
CHANGES["cells cut out"] = cut_out


def run(data: Path, bigfish: Path | None) -> None:
    """Measure, print and keep."""
    found = finders(data, bigfish)
    del found["with average_flips"]  # four times as long, and another question
    rows, values = [], {}
    for name, every in EVERY.items():
        images = list((SETS | {FULL: full_cells})[name](data))[::every]
        values[name] = {}
        for what, change in CHANGES.items():
            changed = [change(image) for image in images]
            result = {}
            for who, find in found.items():
                places = []
                for image in changed:
                    if isinstance(find, BigFish):
                        find.sigma = image.sigma
                    places.append(find(image.pixels, image.pixel_um))
                result[who] = score(changed, places)["F1"]
            rows.append([name, what, *map(float, result.values())])
            values[name][what] = {who: round(float(f1), 4) for who, f1 in result.items()}
    lines = [
        "F1 at default settings; a find within 3 px (PSD95: 4 px) of the image as it was counts,"
        f" in coarser pixels within {NEAREST_PX:g} px.",
        "",
    ]
    lines += table(["images", "change", *found], rows)
    publish(Path(__file__).stem, lines, values)


if __name__ == "__main__":
    given = arguments(__doc__).parse_args()
    run(given.data, given.bigfish)
