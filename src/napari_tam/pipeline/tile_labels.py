"""The labels of a large image: in a file, filled tile by tile.

Tiles are adjacent cores, each with a margin around it that is analysed as well. A cell belongs to the tile
whose core has its centre; where two tiles found the same cell, the first one's mask is kept.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import mmap
import os
import tempfile
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from napari_tam.errors import InputError

#: A cell of which more than this share is another one's already is that cell.
SAME = 0.5
#: A cell this close to a seam may be found in both tiles (px).
JITTER_PX = 12


@dataclass(frozen=True)
class Tile:
    """A tile: its core, and the window around it that is analysed (rows and columns)."""

    core: tuple[slice, slice]
    window: tuple[slice, slice]

    @property
    def origin(self) -> tuple[int, int]:
        """First row and column of the window."""
        return self.window[0].start, self.window[1].start

    def holds(self, y: npt.NDArray[Any], x: npt.NDArray[Any], margin: float = 0.0) -> npt.NDArray[np.bool_]:
        """Return which points of the window's coordinates are in the core, or less than `margin` outside."""
        inside = np.ones(len(y), bool)
        for place, core, start in zip((y, x), self.core, self.origin, strict=True):
            whole = place + start
            inside &= (whole >= core.start - 0.5 - margin) & (whole < core.stop - 0.5 + margin)
        return inside


def tiles_of(shape: tuple[int, int], side: int, margin: int) -> list[Tile]:
    """Cut an image into equal cores of at most about `side` pixels, row by row."""
    cuts = [np.linspace(0, n, max(1, round(n / side)) + 1).astype(int).tolist() for n in shape]
    spans = [[slice(a, b) for a, b in itertools.pairwise(each)] for each in cuts]
    made = []
    for rows, columns in itertools.product(*spans):
        window = [
            slice(max(0, s.start - margin), min(n, s.stop + margin))
            for s, n in zip((rows, columns), shape, strict=True)
        ]
        made.append(Tile((rows, columns), (window[0], window[1])))
    return made


def forget(labels: npt.NDArray[Any]) -> None:
    """Let what was read of an array that lies in a file leave memory; it is read again when needed."""
    if isinstance(labels, np.memmap) and hasattr(mmap, "MADV_DONTNEED"):
        labels._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]


class LabelStore:
    """The labels of a whole image in a file, filled tile by tile.

    The file has no name (where the system allows that), so that it vanishes with the process, however that
    ends.

    Raises
    ------
    InputError
        If there is no room for the file.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape
        self.file = _reserve(4 * shape[0] * shape[1])
        self.count, self.pixels, self.cut = 0, 0, 0

    def open(self) -> npt.NDArray[np.uint32]:
        """Map the file; a map of its own for every tile, so that what was read leaves memory."""
        return np.memmap(self.file, np.uint32, "r+", shape=self.shape)

    def close(self) -> None:
        """Close the file; maps of it stay."""
        self.file.close()

    def place(
        self, tile: Tile, labels: npt.NDArray[Any]
    ) -> tuple[npt.NDArray[np.uint32], int, npt.NDArray[np.uint32]]:
        """Put the labels of a tile's window to those that are there.

        Returns
        -------
        merged, first, numbers
            The labels of the window now, the first number of those that are new, and the number that each
            label of the tile got (0: none).
        """
        whole = self.open()
        there = np.array(whole[tile.window])
        n = int(labels.max(initial=0))
        area = np.bincount(labels.ravel(), minlength=n + 1)
        taken = np.bincount(labels[there > 0], minlength=n + 1)
        rows, columns = _centres(labels, area)
        new = (area > 0) & tile.holds(rows, columns, JITTER_PX) & (taken <= SAME * area)
        new[0] = False
        self.cut += int(new[_at_seams(tile, labels, self.shape)].sum())
        first = self.count + 1
        numbers = np.zeros(n + 1, np.uint32)
        numbers[new] = np.arange(first, first + int(new.sum()), dtype=np.uint32)
        merged: npt.NDArray[np.uint32] = np.where(there > 0, there, numbers[labels])
        self.count += int(new.sum())
        for number in numbers[new & (taken > 0)]:
            _keep_largest(merged, int(number))
        whole[tile.window] = merged
        whole.flush()  # type: ignore[attr-defined]
        self.pixels += int(np.count_nonzero(merged)) - int(np.count_nonzero(there))
        return merged, first, numbers


def _reserve(size: int) -> IO[bytes]:
    """Make a file of zeros that has its space: a map onto a full disk kills the process without a message."""
    try:
        with contextlib.ExitStack() as failing:
            file = failing.enter_context(tempfile.TemporaryFile(prefix="napari-tam-"))
            file.truncate(size)
            if hasattr(os, "posix_fallocate"):
                try:
                    os.posix_fallocate(file.fileno(), 0, size)
                except OSError as error:
                    if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # a disk that cannot reserve
                        raise
            failing.pop_all()
    except OSError as error:
        raise InputError(
            f"the labels of a large image need {size / 1e9:.1f} GB ({error.strerror or error})",
            where=tempfile.gettempdir(),
            fix="make room there, or set TMPDIR to a folder with more space",
        ) from error
    return file


def _centres(
    labels: npt.NDArray[Any], area: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the mean row and column of every label."""
    sums = []
    y, x = np.nonzero(labels)
    inside = labels[y, x]
    for place in (y, x):
        total = np.bincount(inside, place, minlength=len(area))
        sums.append(total / np.maximum(area, 1))
    return sums[0], sums[1]


def _at_seams(tile: Tile, labels: npt.NDArray[Any], shape: tuple[int, int]) -> npt.NDArray[Any]:
    """Return the labels that the window cuts (where it does not end with the image)."""
    edges = []
    if tile.window[0].start > 0:
        edges.append(labels[0])
    if tile.window[0].stop < shape[0]:
        edges.append(labels[-1])
    if tile.window[1].start > 0:
        edges.append(labels[:, 0])
    if tile.window[1].stop < shape[1]:
        edges.append(labels[:, -1])
    found: npt.NDArray[Any] = np.unique(np.concatenate([np.zeros(1, labels.dtype), *edges]))
    return found


def _keep_largest(labels: npt.NDArray[np.uint32], number: int) -> None:
    """Leave the largest connected part of a label."""
    from scipy import ndimage

    y, x = np.nonzero(labels == number)
    box = slice(y.min(), y.max() + 1), slice(x.min(), x.max() + 1)
    parts, n = ndimage.label(labels[box] == number)
    if n > 1:
        largest = 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
        labels[box][(parts > 0) & (parts != largest)] = 0
