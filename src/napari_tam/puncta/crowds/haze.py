"""Haze under crowds: where no background shows between the puncta, it is solved for together with them.

A smooth background and the heights of emitters that cover it are one linear problem. Taken from the
surroundings alone, the background of a crowded cell lacks what glows inside the cell, and its puncta get
that light: a third too much at 500 photons each (``benchmarks/crowds.py``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from napari_tam.puncta.crowds.emitters import Emitters, add_light, arrays, near_pairs
from napari_tam.puncta.crowds.light_loops import block_sums, matched, pair_sums

if TYPE_CHECKING:
    from napari_tam.puncta.patches import Float

#: Distance of the nodes between which haze is linear, in sigma of a punctum: less, and crowds are taken for
#: haze; more, and the haze of a cell cannot follow its edge.
NODES = 7.0

#: Emitters that would have less than no light are taken out, in so many rounds.
ROUNDS = 4

#: Heights are solved for to this precision, in so many steps at most. (Conjugate gradients: the factors of a
#: matrix of ten thousand that all cover others take minutes.)
PRECISE, STEPS = 1e-6, 500

#: Emitters are drawn within so many sigma.
REACH = 4.0


def solve_haze(
    light: Float,
    emitters: Emitters,
    weight: Float,
    crowded: npt.NDArray[np.bool_],
    sigma: float,
    usual: tuple[float, float] = (0.0, np.inf),
) -> tuple[Float, Emitters]:
    """Fit smooth light under crowds together with the heights of all emitters near them; places stay.

    Parameters
    ----------
    light
        (Y, X) the image without background.
    emitters
        All of them.
    weight
        (Y, X) reciprocal of each pixel's variance.
    crowded
        (N,) which have others nearby: haze is looked for around these.
    sigma
        Width of a single punctum.
    usual
        Median and SD of the log height of single puncta: what emitters that cover each other share hangs on
        it, and so does what is haze.

    Returns
    -------
    (Y, X) haze to add to the background, 0 away from crowds; and the emitters with their new heights.
    """
    from scipy.sparse import bmat, diags
    from scipy.sparse.linalg import cg

    haze = np.zeros_like(light)
    # Haze is constant within blocks that are small beside the nodes' distance: as good, and less to do.
    step = max(1, round(1.5 * sigma))
    hats, blocks = _hats(light.shape, step, NODES * sigma, emitters.points[crowded])
    near = np.asarray(hats[_block_of(emitters.points, blocks, step)].sum(axis=1)).ravel() > 0
    if not near.any():
        return haze, emitters
    rest = light.copy()
    others = emitters.take(~near)
    if len(others):
        add_light(rest, others, -1)
    some = emitters.take(near)
    total = _sums(weight, step, blocks)
    own, cross = _shared(some, weight), _in_blocks(some, weight, step, blocks).T @ hats
    weighted = hats.copy()
    weighted.data *= np.repeat(total, np.diff(hats.indptr))
    ground = (hats.T @ weighted).tocsr()
    points, _, widths = arrays(some)
    wanted = matched(rest, weight, points, widths, REACH)
    pull = hats.T @ _sums(weight * rest, step, blocks)
    height = np.exp(usual[0])
    prior = 1 / (usual[1] * np.maximum(some.peak, height)) ** 2 * crowded[near]
    own, wanted = own + diags(prior), wanted + prior * height
    lit, level = np.ones(len(some), bool), np.zeros(hats.shape[1])
    for _ in range(ROUNDS):
        rows = np.flatnonzero(lit)
        matrix = bmat([[own[rows][:, rows], cross[rows]], [cross[rows].T, ground]], format="csr")
        # A node that hardly any pixel speaks for stays at 0.
        matrix = (matrix + diags(1e-6 * matrix.diagonal() + 1e-12)).tocsr()
        solved, _ = cg(
            matrix, np.concatenate([wanted[rows], pull]), np.concatenate([some.peak[rows], level]),
            rtol=PRECISE, maxiter=STEPS, M=diags(1 / matrix.diagonal()),
        )  # fmt: skip
        level = solved[len(rows) :]
        peak = np.zeros(len(some))
        peak[rows] = solved[: len(rows)]
        if (solved[: len(rows)] > 0).all():
            break
        lit &= peak > 0
    smooth = (hats @ level).reshape(blocks)
    size = (blocks[1] * step, blocks[0] * step)
    haze[:] = cv2.resize(smooth.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)[
        : light.shape[0], : light.shape[1]
    ]
    heights = emitters.peak.copy()
    heights[near] = np.maximum(peak, 1e-6)
    return haze, replace(emitters, peak=heights)


def _hats(
    shape: tuple[int, ...], step: int, apart: float, points: npt.NDArray[np.float64]
) -> tuple[Any, tuple[int, int]]:
    """Bilinear functions, one for each node near a point, (blocks, nodes); and the shape of the blocks."""
    from scipy.sparse import csr_matrix

    blocks = (-(-shape[0] // step), -(-shape[1] // step))
    rows, columns = (_hats_along(count, step / apart) for count in blocks)
    of_row, of_column = np.divmod(_block_of(points, blocks, step), blocks[1])
    near = rows[of_row].T @ columns[of_column] > 0  # (nodes down, nodes across)
    down, across = np.nonzero(near)
    # of each node the blocks in which its function is not 0
    reach = np.arange(int(2 * apart / step) + 2)
    parts = []
    for hat, node in ((rows, down), (columns, across)):
        block = np.argmax(hat[:, node] > 0, axis=0)[:, None] + reach
        inside = block < len(hat)
        block = np.minimum(block, len(hat) - 1)
        parts.append((block, hat[block, node[:, None]] * inside))
    value = parts[0][1][:, :, None] * parts[1][1][:, None, :]
    block = parts[0][0][:, :, None] * blocks[1] + parts[1][0][:, None, :]
    number = np.broadcast_to(np.arange(len(down))[:, None, None], value.shape)
    lit = value > 0
    size = (blocks[0] * blocks[1], len(down))
    return csr_matrix((value[lit], (block[lit], number[lit])), shape=size), blocks


def _hats_along(count: int, per_block: float) -> npt.NDArray[np.float64]:
    """Linear functions of so many blocks along an axis, 1 at one node each and 0 at the others."""
    place = np.arange(count) * per_block
    return np.maximum(0, 1 - np.abs(place[:, None] - np.arange(int(np.ceil(place[-1])) + 1)))


def _block_of(points: npt.NDArray[np.float64], blocks: tuple[int, int], step: int) -> npt.NDArray[np.intp]:
    row, column = np.clip((points + 0.5) // step, 0, np.array(blocks) - 1).astype(np.intp).T
    return np.asarray(row * blocks[1] + column, np.intp)


def _shared(emitters: Emitters, weight: Float) -> Any:
    """Return what emitters of height 1 share of their weighted light, (N, N)."""
    from scipy.sparse import csr_matrix

    n = len(emitters)
    first, second = near_pairs(emitters.points, 2 * REACH * float(emitters.sigma.max()))
    one, other = np.concatenate([first, np.arange(n)]), np.concatenate([second, np.arange(n)])
    points, _, widths = arrays(emitters)
    value = pair_sums(weight, points, widths, one, other, REACH)
    twice = np.concatenate([value, value[: len(first)]])
    return csr_matrix((twice, (np.concatenate([one, second]), np.concatenate([other, first]))), shape=(n, n))


def _in_blocks(emitters: Emitters, weight: Float, step: int, blocks: tuple[int, int]) -> Any:
    """Return the weighted light of emitters of height 1 in every block, (blocks, N)."""
    from scipy.sparse import csr_matrix

    points, _, widths = arrays(emitters)
    block, whose, value = block_sums(weight, points, widths, step, blocks[1], REACH)
    return csr_matrix((value, (block, whose)), shape=(blocks[0] * blocks[1], len(emitters)))


def _sums(image: npt.NDArray[Any], step: int, blocks: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Sum of an image in every block, flat."""
    more = (blocks[0] * step - image.shape[0], blocks[1] * step - image.shape[1])
    padded = cv2.copyMakeBorder(image, 0, more[0], 0, more[1], cv2.BORDER_CONSTANT, value=0)
    means = cv2.resize(padded, blocks[::-1], interpolation=cv2.INTER_AREA)
    return means.ravel().astype(np.float64) * step**2
