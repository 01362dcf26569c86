"""Loops over the pixels around puncta, compiled (`napari_tam.compiled`).

Windows are those of `napari_tam.puncta.patches.Patches`: N squares of P pixels, flat, around whole pixels.
`shift` (N, 2) says how far in y and x each punctum is off the middle of its window.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_tam.compiled import compiled


@compiled
def bell_along(out: Any, shift: Any, sigma: Any) -> None:
    """Write a Gaussian of height 1 along an axis of a window, so far off its middle."""
    scale = -0.5 / (sigma * sigma)
    for k in range(len(out)):
        away = k - len(out) // 2 - shift
        out[k] = np.exp(scale * away * away)


@compiled
def bells(out: Any, shift: Any, peak: Any, sigma: Any) -> None:
    """Write Gaussians of a height and a width (px) each to windows (N, P)."""
    edge = int(np.sqrt(out.shape[1]))
    down, across = np.empty(edge, np.float32), np.empty(edge, np.float32)
    for i in range(len(out)):
        bell_along(down, shift[i, 0], sigma[i])
        bell_along(across, shift[i, 1], sigma[i])
        for k in range(edge):
            height = peak[i] * down[k]
            for m in range(edge):
                out[i, k * edge + m] = height * across[m]


@compiled
def add_bells(image: Any, corner: Any, shift: Any, peak: Any, sigma: Any, edge: int) -> None:
    """Add Gaussians to an image within windows whose first pixels are at `corner` (N, 2)."""
    down, across = np.empty(edge, np.float32), np.empty(edge, np.float32)
    for i in range(len(peak)):
        if peak[i] == 0:
            continue
        bell_along(down, shift[i, 0], sigma[i])
        bell_along(across, shift[i, 1], sigma[i])
        for k in range(edge):
            height = peak[i] * down[k]
            line = image[corner[i, 0] + k, corner[i, 1] : corner[i, 1] + edge]
            for m in range(edge):
                line[m] += height * across[m]


@compiled
def light_of_others(image: Any, out: Any, corner: Any, shift: Any, peak: Any, sigma: Any) -> None:
    """Write what an image has without each one's own Gaussian to windows (N, P), 0 at least."""
    edge = int(np.sqrt(out.shape[1]))
    down, across = np.empty(edge, np.float32), np.empty(edge, np.float32)
    for i in range(len(peak)):
        bell_along(down, shift[i, 0], sigma[i])
        bell_along(across, shift[i, 1], sigma[i])
        for k in range(edge):
            height = peak[i] * down[k]
            line = image[corner[i, 0] + k, corner[i, 1] : corner[i, 1] + edge]
            for m in range(edge):
                out[i, k * edge + m] = max(line[m] - height * across[m], np.float32(0))


@compiled
def bell_sums(out: Any, pixels: Any, level: Any, shift: Any, sigma: Any) -> None:
    """Sum Gaussians of height 1, squared, and times the light above a level, (N, 2).

    Over windows (N, P), as far as they are known.
    """
    edge = int(np.sqrt(pixels.shape[1]))
    down, across = np.empty(edge, np.float32), np.empty(edge, np.float32)
    for i in range(len(pixels)):
        bell_along(down, shift[i, 0], sigma[i])
        bell_along(across, shift[i, 1], sigma[i])
        square, light = 0.0, 0.0
        for k in range(edge):
            for m in range(edge):
                value = pixels[i, k * edge + m]
                if value == value:
                    bell = down[k] * across[m]
                    square += bell * bell
                    light += bell * (value - level[i])
        out[i, 0], out[i, 1] = square, light


@compiled
def sums_within(out: Any, pixels: Any, level: Any, others: Any, shift: Any, radius: Any) -> None:
    """Sum the light of windows (N, P) above a level within a radius (N,), without that of others, (N,)."""
    edge = int(np.sqrt(pixels.shape[1]))
    for i in range(len(pixels)):
        total, most = 0.0, radius[i] * radius[i]
        for k in range(edge):
            y = np.float32(k - edge // 2) - shift[i, 0]
            for m in range(edge):
                x = np.float32(m - edge // 2) - shift[i, 1]
                value = pixels[i, k * edge + m]
                if y * y + x * x <= most and value == value:
                    total += value - level[i] - others[i, k * edge + m]
        out[i] = total


@compiled
def ring_values(out: Any, count: Any, pixels: Any, shift: Any, inner: Any, outer: Any) -> None:
    """Write the values of windows (N, P) that lie between radii (N,) to the beginnings of rows.

    Those that are not known (NaN) are left out; `count` (N,) says how many there are. What is left of each
    row is infinite.
    """
    edge = int(np.sqrt(pixels.shape[1]))
    for i in range(len(pixels)):
        found, least, most = 0, inner[i] * inner[i], outer[i] * outer[i]
        for k in range(edge):
            y = np.float32(k - edge // 2) - shift[i, 0]
            for m in range(edge):
                x = np.float32(m - edge // 2) - shift[i, 1]
                squared = y * y + x * x
                value = pixels[i, k * edge + m]
                if least <= squared <= most and value == value:
                    out[i, found] = value
                    found += 1
        out[i, found:] = np.inf
        count[i] = found


@compiled
def moments(out: Any, light: Any, shift: Any, sigma: Any) -> None:
    """Sum light (N, P) with a Gaussian as the weight: Σw, Σ|w|, Σw y, Σw x and Σw (y² + x²), (N, 5).

    Places are relative to the punctum.
    """
    edge = int(np.sqrt(light.shape[1]))
    across = np.empty(edge, np.float32)
    for i in range(len(light)):
        scale = -0.5 / (sigma[i] * sigma[i])
        for m in range(edge):
            x = m - edge // 2 - shift[i, 1]
            across[m] = np.exp(scale * x * x)
        out[i] = 0
        for k in range(edge):
            y = k - edge // 2 - shift[i, 0]
            down = np.exp(scale * y * y)
            total, size, along, squared = 0.0, 0.0, 0.0, 0.0
            for m in range(edge):
                x = m - edge // 2 - shift[i, 1]
                weight = across[m] * light[i, k * edge + m]
                total += weight
                size += abs(weight)
                along += weight * x
                squared += weight * x * x
            out[i, 0] += down * total
            out[i, 1] += down * size
            out[i, 2] += down * total * y
            out[i, 3] += down * along
            out[i, 4] += down * (squared + total * y * y)


@compiled
def slopes(inner: float, outer: float, out: Any, light: Any, shift: Any, most: Any) -> None:
    """Fit how light (N, P) between two radii rises along y and x, (N, 4): both, and how well each is known.

    The latter is the sum of the squared distances along it. Light counts up to `most` (N,) either way.
    """
    edge = int(np.sqrt(light.shape[1]))
    for i in range(len(light)):
        down, across, of_down, of_across = 0.0, 0.0, 0.0, 0.0
        for k in range(edge):
            y = np.float32(k - edge // 2) - shift[i, 0]
            for m in range(edge):
                x = np.float32(m - edge // 2) - shift[i, 1]
                value = light[i, k * edge + m]
                if inner * inner <= y * y + x * x <= outer * outer and value == value:
                    value = min(max(value, -most[i]), most[i])
                    down += value * y
                    across += value * x
                    of_down += y * y
                    of_across += x * x
        out[i, 0], out[i, 1] = down / max(of_down, 1e-6), across / max(of_across, 1e-6)
        out[i, 2], out[i, 3] = of_down, of_across
