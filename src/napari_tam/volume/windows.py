"""The voxels around the puncta of a stack."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_tam.puncta.patches import Float

Voxels = npt.NDArray[np.intp]

#: The light of a punctum is summed within this many sigma; its background lies from there to `SHELL`.
APERTURE, SHELL = 3.0, 4.5


#: Numbers held at once in the windows around puncta.
_BATCH = 2_000_000


class Windows:
    """Boxes of a stack around voxels; NaN beyond the stack."""

    def __init__(self, volume: Float, corner: Voxels, reach: Voxels) -> None:
        self.corner, self.shape = corner, volume.shape
        axes = [np.arange(-r, r + 1) for r in reach]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        at = corner[:, None] + grid
        inside = ((at >= 0) & (at < volume.shape)).all(axis=2)
        at = np.clip(at, 0, np.array(volume.shape) - 1)
        self.flat = np.ravel_multi_index(tuple(np.moveaxis(at, -1, 0)), volume.shape)
        self.inside = inside
        #: Voxels in planes of the stack, whether or not y and x are in it.
        self.plane_inside = (corner[:, :1] + grid[:, 0] >= 0) & (corner[:, :1] + grid[:, 0] < volume.shape[0])
        self.pixels = np.where(inside, volume.ravel()[self.flat], np.float32(np.nan))
        self.grid = grid.astype(np.float32)

    def squared(self, shift: Float, sigma: Float) -> Float:
        """Squared scaled distance of each voxel to the points (N, 3) at `shift` from the middle."""
        away = self.grid[None] - shift[:, None]
        along = (away[..., 0] / sigma[:, :1]) ** 2
        return np.asarray(along + (away[..., 1] ** 2 + away[..., 2] ** 2) / sigma[:, 1:] ** 2)

    def light(self, level: Float, others: Float | float = 0.0) -> Float:
        """Light above a level, without that of others; 0 beyond the stack."""
        return np.asarray(np.nan_to_num(self.pixels - level[:, None] - others), np.float32)


def reach_of(sigma: npt.NDArray[np.float64]) -> Voxels:
    """Return how many voxels (z, y, x) a window reaches from its centre for a width in voxels (z and y)."""
    reach = np.ceil(SHELL * sigma).astype(np.intp)
    return np.array([min(reach[0], 12), min(reach[1], 20), min(reach[1], 20)], np.intp)


def batches(count: int, typical: npt.NDArray[np.float64]) -> Iterator[slice]:
    """Yield slices of puncta whose windows fit into memory."""
    size = max(1, _BATCH // int(np.prod(2 * reach_of(typical) + 1)))
    for start, stop in pairwise([*range(0, count, size), count]):
        yield slice(start, stop)
