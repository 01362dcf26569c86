"""From stacks to planes: projections of images and labels."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from napari_tam.io.field import Field

Labels = npt.NDArray[np.unsignedinteger[Any]]


def project_field(field: Field) -> Field:
    """Return the maximum intensity projection of a volume along z; a plane as it is."""
    if field.z_step_um is None:
        return field
    channels = {role: stack.max(axis=0) for role, stack in field.channels.items()}
    return replace(field, channels=channels, z_step_um=None)


def project_labels(labels: Labels) -> Labels:
    """Return YX labels: of the labels in a column, the one with the most voxels; YX labels as they are.

    A label that would vanish, because others are thicker in all its columns, gets those columns.
    """
    if labels.ndim == 2:
        return labels
    highest = labels.max(axis=0)
    lowest = np.where(labels > 0, labels, np.iinfo(labels.dtype).max).min(axis=0)
    flat: Labels = highest.copy()
    y, x = np.nonzero((highest > 0) & (lowest != highest))
    if not len(y):
        return flat
    column = np.sort(labels[:, y, x], axis=0)
    # Length of the run of equal values that ends at each place; background does not count.
    run = np.zeros(column.shape, np.int32)
    for z in range(len(column)):
        same = column[z] == column[z - 1] if z else np.zeros(len(y), bool)
        run[z] = np.where(column[z] == 0, 0, np.where(same, run[z - 1] + 1, 1))
    flat[y, x] = column[run.argmax(axis=0), np.arange(len(y))]
    present = np.flatnonzero(np.bincount(labels.ravel()))
    for lost in np.setdiff1d(present, np.append(np.unique(flat), 0)):
        flat[(labels == lost).any(axis=0)] = lost
    return flat
