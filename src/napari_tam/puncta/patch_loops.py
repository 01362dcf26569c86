"""Loops over the pixels around puncta, compiled (`napari_tam.compiled`)."""

from __future__ import annotations

from typing import Any

from napari_tam.compiled import compiled


@compiled
def add_windows(image: Any, corner: Any, light: Any) -> None:
    """Add windows (N, size, size) to an image where their first pixels (N, 2) are."""
    for i in range(len(corner)):
        for row in range(light.shape[1]):
            line, more = image[corner[i, 0] + row, corner[i, 1] :], light[i, row]
            for k in range(len(more)):
                line[k] += more[k]
