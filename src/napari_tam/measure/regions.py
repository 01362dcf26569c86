"""Regions: a label image as runs of equal pixels, so that sums over all labels cost one pass.

A 2048² field holds 4 million pixels but only some 30,000 horizontal runs of one label. Areas,
moments, bounding boxes and the points of convex hulls follow from the runs alone; sums of an
intensity need one `ufunc.reduceat` over the image. There is no loop over pixels or labels.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Label values above this are compacted first, because a look-up table that long is a waste.
_LARGEST_TABLE = 1 << 24


class Regions:
    """All labels of one image.

    Arrays with one entry per label are in the order of `ids`; that position is a label's *rank*.

    Parameters
    ----------
    labels
        YX integers; 0 (and below) is background. Values need not be contiguous.
    origin
        Where the first pixel lies in the whole image, of a part of one: centroids are given in the whole.

    Attributes
    ----------
    ids
        The label values present, ascending (n,).
    labels, labels_of
        The label image (compacted when its values are huge), and each label's value in it.
    shape
        Height and width in pixels.
    run_rank, run_row, run_col, run_length
        Rank, row, first column and length of every horizontal run, in image order.

    Raises
    ------
    ValueError
        If `labels` is not two-dimensional.
    """

    def __init__(self, labels: npt.NDArray[Any], origin: tuple[int, int] = (0, 0)) -> None:
        self.origin = origin
        if labels.ndim != 2:
            raise ValueError(f"a label image has two axes, not {labels.ndim}")
        self.shape: tuple[int, int] = (labels.shape[0], labels.shape[1])
        self.labels = np.ascontiguousarray(labels)
        names: Ints | None = None
        if labels.size and labels.max() > _LARGEST_TABLE:
            names, inverse = np.unique(np.maximum(labels, 0), return_inverse=True)
            if names[0] != 0:
                names, inverse = np.append(0, names), inverse + 1
            self.labels = inverse.reshape(labels.shape)
        # A frame of background makes every run end inside its row and every edge a difference.
        self._padded = np.pad(self.labels, 1).ravel()
        self._width = self.shape[1] + 2
        change = self._changes[0]
        start = change[self._padded[change + 1] > 0] + 1
        end = change[self._padded[change] > 0] + 1
        value = self._padded[start].astype(np.int64)
        self.labels_of: Ints = np.unique(value)
        self._table = np.full(int(self.labels_of[-1]) + 1 if len(self) else 1, -1, np.int64)
        self._table[self.labels_of] = np.arange(len(self))
        self.ids: Ints = self.labels_of if names is None else names[self.labels_of].astype(np.int64)
        self.run_rank: Ints = self._table[value]
        self.run_row: Ints = start // self._width - 1
        self.run_col: Ints = start % self._width - 1
        self.run_length: Ints = end - start

    def __len__(self) -> int:
        """Return the number of labels."""
        return len(self.labels_of)

    def _rank(self, value: npt.NDArray[Any]) -> Ints:
        rank: Ints = self._table[np.maximum(value, 0)]
        return rank

    def rank_at(self, row: Ints, col: Ints) -> Ints:
        """Return the rank of the label at some pixels; -1 on background and outside the image."""
        height, width = self.shape
        inside = (row >= 0) & (row < height) & (col >= 0) & (col < width)
        rank = np.full(len(row), -1, np.int64)
        rank[inside] = self.rank_of(row[inside] * width + col[inside])
        return rank

    def rank_of(self, flat: Ints) -> Ints:
        """Return the rank of the label at flat positions in the image; -1 on background."""
        return self._rank(self.labels.reshape(-1)[flat])

    @cached_property
    def area(self) -> Floats:
        """Number of pixels of each label."""
        return self.over_runs(self.run_length)

    def over_runs(self, values: npt.NDArray[Any]) -> Floats:
        """Sum one value per run into one value per label."""
        return np.bincount(self.run_rank, values, minlength=len(self)).astype(np.float64, copy=False)

    @cached_property
    def runs_by_label(self) -> tuple[Ints, Ints]:
        """Run indices grouped by rank, and where each label's group starts (n + 1 offsets)."""
        order = np.argsort(self.run_rank, kind="stable")
        first = np.searchsorted(self.run_rank[order], np.arange(len(self) + 1))
        return order, first.astype(np.int64)

    @cached_property
    def boxes(self) -> Ints:
        """Bounding boxes (n, 4): first row, first column, last row + 1, last column + 1."""
        order, first = self.runs_by_label
        if not len(self):
            return np.zeros((0, 4), np.int64)
        row, col, end = self.run_row[order], self.run_col[order], (self.run_col + self.run_length)[order]
        at = first[:-1]
        return np.stack(
            [row[at], np.minimum.reduceat(col, at), row[first[1:] - 1] + 1, np.maximum.reduceat(end, at)],
            axis=1,
        )

    @cached_property
    def _bounds(self) -> Ints:
        """Flat start and end of every run, interleaved as `ufunc.reduceat` wants them."""
        start = self.run_row * self.shape[1] + self.run_col
        bounds: Ints = np.stack([start, start + self.run_length], axis=1).ravel()
        # An end at the very end of the image is implied, and no valid index.
        return bounds[:-1] if len(bounds) and bounds[-1] == self.labels.size else bounds

    def sums(self, image: npt.NDArray[Any]) -> Floats:
        """Sum a YX image over each label (float64)."""
        if not len(self):
            return np.zeros(0)
        flat = np.ascontiguousarray(image).ravel()
        return self.over_runs(np.add.reduceat(flat, self._bounds, dtype=np.float64)[::2])

    def maxima(self, image: npt.NDArray[Any]) -> Floats:
        """Return the maximum of a YX image over each label."""
        if not len(self):
            return np.zeros(0)
        per_run = np.maximum.reduceat(np.ascontiguousarray(image).ravel(), self._bounds)[::2]
        order, first = self.runs_by_label
        return np.maximum.reduceat(per_run[order], first[:-1]).astype(np.float64)

    # --- edges between pixels of different labels -------------------------------------------

    @cached_property
    def _steps(self) -> tuple[int, int, int, int]:
        """Flat distance to the right, lower, lower right and lower left neighbour (padded)."""
        return 1, self._width, self._width + 1, self._width - 1

    @cached_property
    def _changes(self) -> list[Ints]:
        """Padded positions whose neighbour in each of the four directions has another value."""
        flat = self._padded
        return [np.flatnonzero(flat[:-step] != flat[step:]) for step in self._steps]

    @cached_property
    def crossings(self) -> Floats:
        """Number of edges of each label (4, n) towards horizontal, vertical and diagonal neighbours."""
        counts = []
        for step, change in zip(self._steps, self._changes, strict=True):
            ends = self._padded[np.concatenate([change, change + step])]
            counts.append(np.bincount(self._rank(ends[ends > 0]), minlength=len(self)))
        return np.array(counts, np.float64)

    @cached_property
    def contacts(self) -> Floats:
        """Number of pixel edges that each label shares with other labels."""
        total = np.zeros(len(self))
        for step, change in zip(self._steps[:2], self._changes[:2], strict=True):
            ends = np.stack([self._padded[change], self._padded[change + step]])
            ends = ends[:, (ends > 0).all(axis=0)]
            total += np.bincount(self._rank(ends.ravel()), minlength=len(self))
        return total

    @cached_property
    def boundary(self) -> Ints:
        """Flat positions (ascending) of pixels with a 4-neighbour outside their label.

        Beyond the image counts as outside.
        """
        mark = np.zeros(self._padded.size, bool)
        for step, change in zip(self._steps[:2], self._changes[:2], strict=True):
            mark[change] = True
            mark[change + step] = True
        at = np.flatnonzero(mark)
        at = at[self._padded[at] > 0]
        return (at // self._width - 1) * self.shape[1] + at % self._width - 1

    @cached_property
    def touches_border(self) -> npt.NDArray[np.bool_]:
        """Whether a label has a pixel in the image's outermost rows or columns."""
        rim = np.concatenate([self.labels[0], self.labels[-1], self.labels[:, 0], self.labels[:, -1]])
        touches = np.zeros(len(self), bool)
        touches[self._rank(rim[rim > 0])] = True
        return touches
