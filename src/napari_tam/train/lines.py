"""Where the line between puncta and the rest lies best, by a person's marks: the one rule for it.

Two numbers order the candidates: the network's score, and how far they stand out (contrast). People draw the
line on either: some leave out what the network is unsure of, others what is faint. Every line that can be
drawn on one of them, the other as it is in the settings, is tried; the one at which puncta and marks agree
best is chosen: by F1, times the root of the smaller count over the larger one. F1 alone takes rather too many
than too few where bright and faint run into each other, and what is reported are counts. Ten marks must not
decide by chance, so

- the settings have a say as that of `PRIOR` marks;
- the agreement is smoothed over neighbouring lines;
- the line is the mean over resampled marks and finds (bagging: Breiman 1996, Mach Learn 24:123);
- it is judged by marks and finds that were not in the resample, or of three images on by images that had no
  say; where these gain nothing, the settings are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_tam.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_tam.settings import Settings

Counts = npt.NDArray[np.intp]
Doubles = npt.NDArray[np.float64]

#: The settings that a line is drawn by.
SCORE, CONTRAST = "puncta_score", "puncta_threshold"

#: The lines that are tried on each; a contrast of 1 keeps everything.
SCORES = np.round(np.arange(0.2, 0.985, 0.02), 2)
CONTRASTS = np.array([float(f"{2 ** (step / 8):.3g}") for step in range(49)])

#: Setting → its lines among all; the first of all are the settings as they are.
FAMILIES = {
    SCORE: slice(1, 1 + len(SCORES)),
    CONTRAST: slice(1 + len(SCORES), 1 + len(SCORES) + len(CONTRASTS)),
}
LINES = 1 + len(SCORES) + len(CONTRASTS)

#: Lines that the agreement is smoothed over, and the marks that the settings stand for.
SMOOTH, PRIOR = 5, 5

#: Resamples of the marks.
RESAMPLES = 100

#: The line on the contrasts must gain so much more than that on the scores.
MORE = 0.01

#: A line is proposed from so many marks on; with fewer marks, or images, than the others it says little.
ENOUGH, FEW_MARKS, FEW_IMAGES = 10, 50, 3


@dataclass(frozen=True)
class Marked:
    """An image with its marks.

    Attributes
    ----------
    name
        Of the image.
    items
        (N, lines, 3), 0 or 1: what each mark, and each candidate beside them, adds to the marks, to the
        puncta found, and to the pairs of both, with each line.
    outside
        Marks that lie outside its marked regions: they do not count.
    """

    name: str
    items: npt.NDArray[np.uint8]
    outside: int = 0

    @property
    def counts(self) -> Counts:
        """(lines, 3) marks, puncta found, and pairs."""
        counts: Counts = self.items.sum(axis=0, dtype=np.intp)
        return counts


@dataclass(frozen=True)
class Figures:
    """How puncta agree with marks.

    Attributes
    ----------
    f1
        Of all.
    count_error
        Median relative error of the count of an image (or resample).
    agreement
        What lines are chosen by: F1 of all, lowered where their counts differ.
    """

    f1: float
    count_error: float
    agreement: float


@dataclass(frozen=True)
class Choice:
    """A line, and how well it does.

    Attributes
    ----------
    setting, value
        The setting that draws it, and its value.
    between
        Between which values it was with 9 of 10 resamples of the marks.
    images, marks
        How many it was chosen by.
    chosen, before, left_out
        Figures with it; with the settings as they are; and of what had no say: from `FEW_IMAGES` on each
        image with the line that the others tell, else marks that were not in the resample.
    gain
        By how much the agreement of what had no say is higher than with the settings as they are.
    """

    setting: str
    value: float
    between: tuple[float, float]
    images: int
    marks: int
    chosen: Figures
    before: Figures
    left_out: Figures
    gain: float

    @property
    def better(self) -> bool:
        """Whether what had no say gains by it."""
        return self.gain > 0

    @property
    def few(self) -> bool:
        """Whether there were too few marks or images to rely on it."""
        return self.marks < FEW_MARKS or self.images < FEW_IMAGES

    def settings(self, settings: Settings) -> Settings:
        """Return the settings with this line."""
        return settings.updated(**{self.setting: self.value})


def lines_of(score: float, contrast: float) -> tuple[Doubles, Doubles]:
    """Return score and contrast of every line, where they are these in the settings."""
    scores, contrasts = np.full(LINES, score), np.full(LINES, contrast)
    scores[FAMILIES[SCORE]], contrasts[FAMILIES[CONTRAST]] = SCORES, CONTRASTS
    return scores, contrasts


def choose_line(marked: Sequence[Marked], families: Sequence[str] = (SCORE, CONTRAST)) -> Choice:
    """Choose the line at which puncta and marks agree best.

    Parameters
    ----------
    marked
        The images.
    families
        The settings that may draw it.

    Raises
    ------
    InputError
        If there is no mark.
    """
    if not sum(int(each.counts[0, 0]) for each in marked):
        raise InputError("no punctum is marked", fix="mark images in which some are")
    resampled = _Resampled(marked)
    others = []
    if len(marked) >= FEW_IMAGES:
        others = [_Resampled([one for one in marked if one is not each]) for each in marked]
    choices = {family: _choose(marked, resampled, others, family) for family in families}
    best = max(families, key=lambda family: choices[family].gain - MORE * (family == CONTRAST))
    return choices[best]


def _choose(
    marked: Sequence[Marked], resampled: _Resampled, others: Sequence[_Resampled], family: str
) -> Choice:
    counts = np.stack([each.counts for each in marked])
    start, values = FAMILIES[family].start, SCORES if family == SCORE else CONTRASTS
    best = resampled.best(family)
    line = start + round(float(best.mean()))
    if others:
        lines = [start + round(float(each.best(family).mean())) for each in others]
        own = np.stack([each[at] for each, at in zip(counts, lines, strict=True)]).astype(np.float64)
        usual = counts[:, 0].astype(np.float64)
    else:
        own, usual = resampled.aside(start + np.round(best).astype(int)), resampled.aside(0)
    low, high = values[np.round(np.quantile(best, (0.05, 0.95))).astype(int)]
    left_out = _figures(own)
    return Choice(
        family,
        float(values[line - start]),
        (float(low), float(high)),
        len(marked),
        int(counts[:, 0, 0].sum()),
        _figures(counts[:, line]),
        _figures(counts[:, 0]),
        left_out,
        left_out.agreement - _figures(usual).agreement,
    )


class _Resampled:
    """Marks and finds of images, resampled: what each resample has, and what it has not."""

    def __init__(self, marked: Sequence[Marked]) -> None:
        self._items = _sorted(np.concatenate([each.items for each in marked]))
        number = len(self._items)
        same = (self._items[1:] == self._items[:-1]).all(axis=(1, 2)) if number else np.zeros(0, bool)
        self._first = np.flatnonzero(np.concatenate([[True], ~same])) if number else np.zeros(0, np.intp)
        rng = np.random.default_rng(0)
        weights = np.zeros((RESAMPLES, 0), np.intp)
        if number:
            weights = rng.multinomial(number, np.full(number, 1 / number), RESAMPLES)
        self._drawn, self._left = self._weighed(weights), self._weighed(weights == 0)

    def best(self, family: str) -> Doubles:
        """Return the index of the best line of a family for each resample."""
        part = FAMILIES[family]
        return _best(self._drawn[:, part] + _prior(self._items, part))

    def aside(self, lines: Any) -> Doubles:
        """Return (resamples, 3) the counts of what is in none of each, with a line or one for each."""
        left: Doubles = self._left[np.arange(RESAMPLES), lines]
        return left

    def _weighed(self, weights: npt.NDArray[Any]) -> Doubles:
        """Return (resamples, lines, 3) counts with weights (resamples, N)."""
        counts = np.zeros((len(weights), LINES, 3))
        if not len(self._items):
            return counts
        # items that are alike count together
        share = np.add.reduceat(weights, self._first, axis=1, dtype=np.float32)
        unlike = self._items[self._first].astype(np.float32)
        counts[..., 0] = (share @ unlike[:, 0, 0])[:, None]  # a mark is one with every line
        for column in (1, 2):
            # no matrix product: on a busy computer its threads wait for one another, ten times as long
            counts[..., column] = np.einsum("rn,nl->rl", share, np.ascontiguousarray(unlike[..., column]))
        return counts


def _prior(items: npt.NDArray[np.uint8], part: slice) -> Doubles:
    """Return the counts (lines, 3) of `PRIOR` marks of which the settings as they are find all."""
    found = items[..., 1].sum(axis=0, dtype=np.float64)
    usual, found = found[0], found[part]
    counts = np.stack([np.full(len(found), usual), found, np.minimum(found, usual)], axis=-1)
    prior: Doubles = counts * (PRIOR / max(usual, 1))
    return prior


def _best(counts: Doubles) -> Doubles:
    """Return the index of the line with the best smoothed agreement of each of (K, lines, 3) counts."""
    padded = np.pad(_agreement(counts), ((0, 0), (SMOOTH // 2, SMOOTH // 2)), "edge")
    smooth = np.lib.stride_tricks.sliding_window_view(padded, SMOOTH, axis=1).mean(axis=-1)
    # where many are as good, the one in the middle is furthest from what would be worse
    first = smooth >= smooth.max(axis=1, keepdims=True) - 1e-9
    middle: Doubles = (first * np.arange(first.shape[1])).sum(axis=1) / first.sum(axis=1)
    return middle


def _agreement(counts: Doubles) -> Doubles:
    """Return how counts (…, 3) of marks, finds and pairs agree, 0 to 1."""
    marks, found, hits = counts[..., 0], counts[..., 1], counts[..., 2]
    even = np.minimum(marks, found) / np.maximum(np.maximum(marks, found), 1e-9)
    agreement: Doubles = 2 * hits / np.maximum(marks + found, 1e-9) * np.sqrt(even)
    return agreement


def _sorted(items: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return items in an order that does not depend on that of images and marks."""
    packed = np.packbits(items.reshape(len(items), items.shape[1] * items.shape[2]), axis=1)
    ordered: npt.NDArray[np.uint8] = items[np.lexsort(packed.T[::-1])]
    return ordered


def _figures(counts: npt.NDArray[np.generic]) -> Figures:
    """Return the figures of images, or of resamples, (K, 3) as in `Marked.counts`."""
    numbers = counts.astype(np.float64)
    whole = numbers.sum(axis=0)
    some = numbers[numbers[:, 0] > 0]
    error = np.abs(some[:, 1] - some[:, 0]) / some[:, 0]
    f1 = 2 * whole[2] / max(whole[0] + whole[1], 1)
    return Figures(float(f1), float(np.median(error)) if len(some) else 0.0, float(_agreement(whole)))
