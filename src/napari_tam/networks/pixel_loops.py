"""Loops over the pixels of what a network answers, compiled (`napari_tam.compiled`)."""

from __future__ import annotations

from typing import Any

from napari_tam.compiled import compiled


@compiled
def put_beside(pixels: Any, blocks: Any) -> None:
    """Write blocks (N, S, S, Y, X) to the pixels that they are: (N, Y · S, X · S)."""
    count, size, _, height, width = blocks.shape
    for n in range(count):
        for y in range(height):
            for row in range(size):
                line = pixels[n, y * size + row]
                for column in range(size):
                    values = blocks[n, row, column, y]
                    for x in range(width):
                        line[x * size + column] = values[x]
