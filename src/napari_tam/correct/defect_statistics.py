"""Pixels of a camera that stand out from their neighbours in the same place of many independent images.

Of each image every pixel gets its height: by how much it exceeds the median of the 3 × 3 pixels around it, in
SD of what such differences are nearby. Two scores of it are added over the images: the height itself, cut at
`STEADY_SD` either way (a pixel that is always a little too bright), and 1 where it is `SPARK_SD` or more (one
that flares up now and then). If nothing is wrong with the camera, what one image shows has no reason to be
at the same place as what another shows. So the sum at a pixel is that of one score drawn from each image, and
its distribution is the convolution of their histograms, whatever noise, puncta and edges of cells do to them.
A pixel is a defect if a sum is so high that among all pixels of the picture `ALLOWED` are expected to be as
high by chance (Bonferroni, over both scores).

One image adds `STEADY_SD` or a single spark at most, so no punctum of one picture makes a defect, however
bright.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.generic]
Float = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]

#: Fewer independent images than this say nothing; the sums are of so many at most.
LEAST_IMAGES, MOST_IMAGES = 8, 32

#: Heights (SD) at which the scores are cut, and from which on a pixel flares; steps in one SD.
STEADY_SD, SPARK_SD, STEPS = 3, 6, 4

#: False defects that are expected in a picture.
ALLOWED = 0.01

#: Where cells gather (the middle of a well) light is so many times as frequent as on average, at most: what
#: exceeds noise counts so often in the histograms.
GATHERED = 2.0

#: A pixel stands out in an image from this height on ...
SEEN_SD = 2.0
#: ... and a defect does so, or flares, in this many images at least; a steady one is higher by this many SD
#: on average over all.
LEAST_SEEN, LEAST_MEAN_SD = 4, 1.0

#: Defects are single pixels and small clusters; what hangs together in more pixels (a scale bar, a scratch)
#: is none, and if more of the picture than this stands out, it is not the camera's pixels.
MOST_TOGETHER, MOST_SHARE = 6, 0.005

#: Edge (px) of the surroundings whose differences a pixel is compared with.
_AROUND_PX = 31

#: Two images that correlate by more than this show the same place. In simulated fields of 160 x 192 and of
#: 512 x 512 px, different places correlate by up to 0.24, the same place by 0.97 or more after new noise, and
#: by 0.5 or more if all has moved by 4 px.
SAME_PLACE = 0.4

#: Longest side (px) of the small pictures that are compared, and the Gaussian widths (px) between which lies
#: what is compared in them.
_SMALL_PX, _SMALL_SD = 64, (1.0, 5.0)


def heights_of(plane: Plane) -> tuple[Float, Float]:
    """Return by how much every pixel stands out from its neighbours.

    Parameters
    ----------
    plane
        (Y, X) of one channel as it was read.

    Returns
    -------
    heights
        (Y, X) in SD of the differences within some 30 px.
    difference
        (Y, X) the same in grey values.
    """
    pixels = plane.astype(np.float32)
    difference = pixels - cv2.medianBlur(pixels, 3)
    size = np.abs(difference)
    usual = 1.4826 * float(np.median(size[:: max(1, size.shape[0] // 512), :: max(1, size.shape[1] // 512)]))
    if usual == 0:  # few grey levels, of which most neighbours have the same
        steps = size[size > 0]
        usual = float(steps.min()) if steps.size else 1.0
    # what is bright counts for little among its surroundings, or it would hide itself
    np.minimum(size, np.float32(4 * usual), out=size)
    around = cv2.blur(size, (_AROUND_PX, _AROUND_PX), borderType=cv2.BORDER_REFLECT)
    # the mean of a normal variable's size is its SD over 1.25
    around = np.maximum(around * np.float32(1.2533), np.float32(0.3 * usual))
    return np.asarray(difference / around, np.float32), np.asarray(difference, np.float32)


@dataclass(frozen=True)
class Found:
    """Defects of one channel.

    Attributes
    ----------
    places
        (N, 2) rows and columns, in the order of the picture.
    seen
        (N,) in how many images each stood out.
    strength
        (N,) by how many grey values it exceeded its neighbours there, on average.
    images
        How many independent images were looked at.
    left_out
        Why there are none although some stood out; empty otherwise.
    """

    places: npt.NDArray[np.intp]
    seen: npt.NDArray[np.int64]
    strength: Floats
    images: int
    left_out: str = ""


class _Score:
    """Whole numbers of every pixel, added over images, and how such a sum is distributed by chance."""

    def __init__(self, shape: tuple[int, int], most: int) -> None:
        self.total = np.zeros(shape, np.int16)
        self._most = most
        self._least = 0
        self._chance: Floats = np.ones(1)

    def add(self, scores: npt.NDArray[np.int8]) -> None:
        """Add an image; scores (Y, X) are between minus and plus the most."""
        self.total += scores
        counts = np.bincount((scores.ravel() + self._most).astype(np.uint8), minlength=2 * self._most + 1)
        # noise goes both ways; what exceeds it is light
        light = np.maximum(counts - counts[::-1], 0) * (np.arange(-self._most, self._most + 1) > 0)
        many = counts + (GATHERED - 1) * light
        self._chance = np.convolve(self._chance, many / many.sum())
        self._least -= self._most

    def limit(self, allowed: float) -> int:
        """Return the sum that no more than `allowed` pixels reach by chance."""
        # from the highest sum down: small numbers first, so that none is lost beside a large one
        expected = np.cumsum(self._chance[::-1])[::-1] * self.total.size
        return self._least + int(np.count_nonzero(expected > allowed))


class Sums:
    """One channel, added over images: 10 bytes a pixel, however many images there are."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.images = 0
        self._steady = _Score(shape, STEADY_SD * STEPS)
        self._sparks = _Score(shape, 1)
        self._seen = np.zeros(shape, np.uint16)
        self._light = np.zeros(shape, np.float32)

    def add(self, plane: Plane) -> None:
        """Add an image (Y, X) that shows another place than those before."""
        heights, difference = heights_of(plane)
        self._sparks.add((heights >= SPARK_SD).astype(np.int8))
        seen = heights >= SEEN_SD
        self._seen += seen
        self._light[seen] += difference[seen]
        self._steady.add(np.rint(np.clip(heights, -STEADY_SD, STEADY_SD) * STEPS).astype(np.int8))
        self.images += 1

    def found(self) -> Found:
        """Return the defects of the images so far."""
        least = max(self._steady.limit(ALLOWED / 2), int(np.ceil(LEAST_MEAN_SD * STEPS * self.images)))
        chosen = (self._steady.total >= least) & (self._seen >= LEAST_SEEN)
        chosen |= self._sparks.total >= max(self._sparks.limit(ALLOWED / 2), LEAST_SEEN)
        if self.images < LEAST_IMAGES:
            return self._of(np.zeros_like(chosen), "too few images that show different places")
        if chosen.mean() > MOST_SHARE:
            share = f"{100 * chosen.mean():.2g} % of the pixels"
            return self._of(np.zeros_like(chosen), f"{share} stand out, too many to be defects of a camera")
        _, label, stats, _ = cv2.connectedComponentsWithStats(chosen.astype(np.uint8), connectivity=8)
        small = stats[:, cv2.CC_STAT_AREA] <= MOST_TOGETHER
        small[0] = False
        return self._of(small[label])

    def _of(self, chosen: npt.NDArray[np.bool_], left_out: str = "") -> Found:
        places = np.argwhere(chosen)
        at = tuple(places.T)
        seen = self._seen[at].astype(np.int64)
        strength = self._light[at].astype(np.float64) / np.maximum(seen, 1)
        return Found(places, seen, strength, self.images, left_out)


class Places:
    """Tells whether an image shows the same place as one before: cells stay where they are.

    Frames of a movie, planes of a stack, and a plate that was imaged twice show the same puncta in the same
    pixels. They are known by what they show and not by their names.
    """

    def __init__(self) -> None:
        self._known: list[Floats] = []

    def is_new(self, plane: Plane) -> bool:
        """Whether an image (Y, X; one channel) shows a place of its own, which is then known."""
        small = _small(plane)
        alike = [float((small * other).mean()) for other in self._known if other.shape == small.shape]
        if max(alike, default=0.0) > SAME_PLACE:
            return False
        self._known.append(small)
        return True


def _small(plane: Plane) -> Floats:
    """Return a small picture, of mean 0 and SD 1, without uneven light and single pixels."""
    pixels = cv2.medianBlur(plane.astype(np.float32), 3)
    times = min(1.0, _SMALL_PX / max(pixels.shape))
    size: Any = tuple(max(1, round(n * times)) for n in pixels.shape[::-1])
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.float64)
    fine, wide = (cv2.GaussianBlur(small, (0, 0), sd, borderType=cv2.BORDER_REFLECT) for sd in _SMALL_SD)
    small = fine - wide
    spread = 1.4826 * float(np.median(np.abs(small - np.median(small))))
    if spread > 0:  # what is brightest says no more than all others
        small = np.clip(small, -4 * spread, 4 * spread)
    small -= small.mean()
    sd = float(small.std())
    return np.asarray(small / sd if sd > 0 else small, np.float64)
