"""Puncta in the same images, enlarged: ``python benchmarks/puncta_scales.py ../shared [--bigfish PYTHON]``.

A finer sampling of the same picture holds the same puncta, twice to four times as wide. F1 of all detectors
of `puncta.py` at default settings, on a part of its images; Big-FISH alone is told the width of a spot.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from common import publish, table
from puncta import SETS, BigFish, Image, arguments, finders, score

#: One in so many images of each set, and how much larger they are made.
EVERY = {
    "PSD95, blocks left out": 6,
    "autofluorescence, parts left out": 1,
    "composites": 1,
    "DeepSpot test": 5,
}
TIMES = (1, 2, 3, 4)

#: Edge (px) beyond which an enlarged image is cut off.
MOST_PX = 1800


def enlarged(image: Image, times: int) -> Image:
    """Interpolate an image; the places of its puncta, and how near a find must be, grow with it."""
    edge = MOST_PX // times
    pixels = image.pixels[:edge, :edge].astype(np.float32)
    truth = image.truth[(image.truth < np.array(pixels.shape) - 0.5).all(axis=1)]
    large = cv2.resize(pixels, None, fx=times, fy=times, interpolation=cv2.INTER_CUBIC)
    return replace(
        image,
        pixels=np.clip(np.round(large), 0, 65535).astype(np.uint16),
        truth=(truth + 0.5) * times - 0.5,
        pixel_um=image.pixel_um / times,
        radius=image.radius * times,
        sigma=image.sigma * times,
    )


def run(data: Path, bigfish: Path | None) -> None:
    """Measure, print and keep."""
    found = finders(data, bigfish)
    rows, values = [], {}
    for name, every in EVERY.items():
        images = list(SETS[name](data))[::every]
        values[name] = {}
        for times in TIMES:
            large = [enlarged(image, times) for image in images]
            result = {}
            for who, find in found.items():
                if isinstance(find, BigFish):
                    find.sigma = large[0].sigma
                result[who] = score(large, [find(image.pixels, image.pixel_um) for image in large])["F1"]
            rows.append([name, times, *map(float, result.values())])
            values[name][times] = {who: round(float(f1), 4) for who, f1 in result.items()}
    lines = ["F1 at default settings; a find within 3 px (PSD95: 4 px) of the image as it was counts.", ""]
    lines += table(["images", "times", *found], rows)
    publish(Path(__file__).stem, lines, values)


if __name__ == "__main__":
    given = arguments(__doc__).parse_args()
    run(given.data, given.bigfish)
