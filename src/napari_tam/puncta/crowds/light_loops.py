"""Loops over the pixels around emitters: their light, what it leaves, and what of it would explain more.

Arrays of pixels are (Y, X) float32, `points` (N, 2) float64 y and x in pixels, `peak` and `sigma` (N,)
float64. An emitter's window is the square of half edge ``ceil(reach × sigma)`` around its nearest pixel, as
far as it lies in the image.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_tam.compiled import compiled

#: Pixels that the left-over light is looked for in at once, as the edge of a square.
SQUARE = 32


@compiled
def window(centre: float, radius: int, size: int) -> tuple[int, int]:
    """Return the first pixel of a window along an axis, and the one after its last."""
    middle = min(max(round(centre), 0), size - 1)
    return max(middle - radius, 0), min(middle + radius + 1, size)


@compiled
def square(points: Any, i: int, radius: int, shape: Any) -> tuple[int, int, int, int]:
    """Return the window around one of the points: its first row, the one after its last, and its columns."""
    top, bottom = window(points[i, 0], radius, shape[0])
    left, right = window(points[i, 1], radius, shape[1])
    return top, bottom, left, right


@compiled
def bell_along(out: Any, centre: float, sigma: float, low: int, high: int) -> None:
    """Write a Gaussian of height 1 at the pixels from `low` to `high` into the beginning of `out`."""
    scale = -0.5 / (sigma * sigma)
    for k in range(high - low):
        apart = low + k - centre
        out[k] = np.exp(scale * apart * apart)


@compiled
def edge_of(sigma: Any, reach: float) -> int:
    """Return the edge of the largest window."""
    widest = 0.5
    for value in sigma:
        widest = max(widest, value)
    return 2 * int(np.ceil(reach * widest)) + 1


@compiled
def add_bells(image: Any, points: Any, peak: Any, sigma: Any, reach: float, times: float) -> None:
    """Add `times` the light of emitters to an image."""
    across = np.empty(edge_of(sigma, reach), np.float32)
    for i in range(len(peak)):
        radius = int(np.ceil(reach * sigma[i]))
        top, bottom, left, right = square(points, i, radius, image.shape)
        bell_along(across, points[i, 1], sigma[i], left, right)
        scale = -0.5 / (sigma[i] * sigma[i])
        for row in range(top, bottom):
            apart = row - points[i, 0]
            down = np.float32(times * peak[i] * np.exp(scale * apart * apart))
            line = image[row, left:right]
            for k in range(len(line)):
                line[k] += down * across[k]


@compiled
def clear(image: Any, points: Any, sigma: Any, reach: float) -> None:
    """Set an image to 0 in the windows of emitters."""
    for i in range(len(sigma)):
        radius = int(np.ceil(reach * sigma[i]))
        top, bottom, left, right = square(points, i, radius, image.shape)
        image[top:bottom, left:right] = 0


@compiled
def clear_discs(image: Any, centre: Any, radius: Any) -> None:
    """Set an image to 0 within a radius (N,) of pixels (N, 2)."""
    for i in range(len(radius)):
        top, bottom = window(centre[i, 0], radius[i], image.shape[0])
        left, right = window(centre[i, 1], radius[i], image.shape[1])
        for row in range(top, bottom):
            for column in range(left, right):
                if (row - centre[i, 0]) ** 2 + (column - centre[i, 1]) ** 2 <= radius[i] ** 2:
                    image[row, column] = 0


@compiled
def matched(image: Any, weight: Any, points: Any, sigma: Any, reach: float) -> Any:
    """Return the sum of weight × image × bell of height 1 over the window of each emitter, (N,)."""
    total = np.zeros(len(sigma))
    across = np.empty(edge_of(sigma, reach), np.float32)
    for i in range(len(sigma)):
        radius = int(np.ceil(reach * sigma[i]))
        top, bottom, left, right = square(points, i, radius, image.shape)
        bell_along(across, points[i, 1], sigma[i], left, right)
        scale = -0.5 / (sigma[i] * sigma[i])
        for row in range(top, bottom):
            apart = row - points[i, 0]
            line, known, along = image[row, left:right], weight[row, left:right], np.float32(0)
            for k in range(len(line)):
                along += known[k] * line[k] * across[k]
            total[i] += along * np.exp(scale * apart * apart)
    return total


@compiled
def misfits(rest: Any, weight: Any, points: Any, sigma: Any, reach: float) -> Any:
    """Return chi² of what is left in the window of each emitter, (N,)."""
    total = np.zeros(len(sigma))
    for i in range(len(sigma)):
        radius = int(np.ceil(reach * sigma[i]))
        top, bottom, left, right = square(points, i, radius, rest.shape)
        for row in range(top, bottom):
            line, known, along = rest[row, left:right], weight[row, left:right], np.float32(0)
            for k in range(len(line)):
                along += known[k] * line[k] * line[k]
            total[i] += along
    return total


@compiled
def gradients(rest: Any, weight: Any, home: Any, points: Any, peak: Any, sigma: Any, reach: float) -> Any:
    """Return the gradient of the log-likelihood by height, y and x, (N, 3).

    Of the pixels in the windows around `home`.
    """
    result = np.zeros((len(peak), 3))
    across = np.empty(edge_of(sigma, reach), np.float32)
    for i in range(len(peak)):
        radius = int(np.ceil(reach * sigma[i]))
        top, bottom, left, right = square(home, i, radius, rest.shape)
        bell_along(across, points[i, 1], sigma[i], left, right)
        scale = -0.5 / (sigma[i] * sigma[i])
        first = np.float32(left - points[i, 1])
        for row in range(top, bottom):
            apart = row - points[i, 0]
            line, known = rest[row, left:right], weight[row, left:right]
            along, slope = np.float32(0), np.float32(0)
            for k in range(len(line)):
                pull = known[k] * line[k] * across[k]
                along += pull
                slope += pull * (first + np.float32(k))
            down = np.exp(scale * apart * apart)
            result[i, 0] += along * down
            result[i, 1] += along * down * apart
            result[i, 2] += slope * down
        steep = peak[i] / (sigma[i] * sigma[i])
        result[i, 1] *= steep
        result[i, 2] *= steep
    return result


@compiled
def pair_sums(weight: Any, points: Any, sigma: Any, first: Any, second: Any, reach: float) -> Any:
    """Return the sum of weight × bell × bell over the pixels that two windows share, (pairs,)."""
    result = np.zeros(len(first))
    across = np.empty(edge_of(sigma, reach), np.float32)
    other = np.empty(len(across), np.float32)
    for p in range(len(first)):
        i, j = first[p], second[p]
        near, far = int(np.ceil(reach * sigma[i])), int(np.ceil(reach * sigma[j]))
        top, bottom, left, right = square(points, i, near, weight.shape)
        from_row, to_row, from_column, to_column = square(points, j, far, weight.shape)
        top, bottom = max(top, from_row), min(bottom, to_row)
        left, right = max(left, from_column), min(right, to_column)
        if bottom <= top or right <= left:
            continue
        bell_along(across, points[i, 1], sigma[i], left, right)
        bell_along(other, points[j, 1], sigma[j], left, right)
        for k in range(right - left):
            across[k] *= other[k]
        one, two = -0.5 / (sigma[i] * sigma[i]), -0.5 / (sigma[j] * sigma[j])
        for row in range(top, bottom):
            here, there = row - points[i, 0], row - points[j, 0]
            known, along = weight[row, left:right], np.float32(0)
            for k in range(len(known)):
                along += known[k] * across[k]
            result[p] += along * np.exp(one * here * here + two * there * there)
    return result


@compiled
def block_sums(
    weight: Any, points: Any, sigma: Any, step: int, blocks_across: int, reach: float
) -> tuple[Any, Any, Any]:
    """Return the sums of weight × bell in square blocks of `step` pixels, for every emitter and block.

    Returns
    -------
    The blocks (flat), the emitters, and the sums.
    """
    most = (edge_of(sigma, reach) // step + 2) ** 2
    block = np.empty(len(sigma) * most, np.int64)
    whose = np.empty(len(block), np.int64)
    value = np.empty(len(block))
    across = np.empty(edge_of(sigma, reach), np.float32)
    count = 0
    for i in range(len(sigma)):
        radius = int(np.ceil(reach * sigma[i]))
        top, bottom, left, right = square(points, i, radius, weight.shape)
        bell_along(across, points[i, 1], sigma[i], left, right)
        scale = -0.5 / (sigma[i] * sigma[i])
        for down in range(top // step, (bottom - 1) // step + 1):
            for over in range(left // step, (right - 1) // step + 1):
                total = 0.0
                for row in range(max(top, down * step), min(bottom, (down + 1) * step)):
                    apart = row - points[i, 0]
                    along = np.float32(0)
                    for column in range(max(left, over * step), min(right, (over + 1) * step)):
                        along += weight[row, column] * across[column - left]
                    total += along * np.exp(scale * apart * apart)
                block[count], whose[count], value[count] = down * blocks_across + over, i, total
                count += 1
    return block[:count], whose[:count], value[:count]


@compiled
def cholesky(matrix: Any, size: int) -> None:
    """Replace the lower half of a symmetric matrix by its Cholesky factor, up to row `size`."""
    for a in range(size):
        for b in range(a + 1):
            total = matrix[a, b]
            for k in range(b):
                total -= matrix[a, k] * matrix[b, k]
            matrix[a, b] = np.sqrt(max(total, 1e-12)) if a == b else total / matrix[b, b]


@compiled
def flat_misfits(rest: Any, weight: Any, points: Any, sigma: float, reach: float) -> Any:
    """Return chi² within `reach` sigma of places, after a sloping background was fitted there, (N,)."""
    result = np.zeros(len(points))
    radius = int(np.ceil(reach * sigma))
    matrix, pull = np.empty((3, 3)), np.empty(3)
    part = np.empty(3)
    for i in range(len(points)):
        matrix[:], pull[:] = 0, 0
        total = 0.0
        top, bottom, left, right = square(points, i, radius, rest.shape)
        for row in range(top, bottom):
            y = (row - points[i, 0]) / sigma
            for column in range(left, right):
                x = (column - points[i, 1]) / sigma
                if y * y + x * x >= reach * reach:
                    continue
                known, light = weight[row, column], rest[row, column]
                part[0], part[1], part[2] = 1, y, x
                total += known * light * light
                for a in range(3):
                    pull[a] += known * light * part[a]
                    for b in range(a + 1):
                        matrix[a, b] += known * part[a] * part[b]
        more = 1e-6 * max(matrix[0, 0], 1e-12)
        for a in range(3):
            matrix[a, a] += more
        cholesky(matrix, 3)
        for a in range(3):
            for b in range(a):
                pull[a] -= matrix[a, b] * pull[b]
            pull[a] /= matrix[a, a]
            total -= pull[a] * pull[a]
        result[i] = total
    return result


@compiled
def unexplained(rest: Any, weight: Any, points: Any, radius: float) -> Any:
    """Return chi² a pixel within `radius` (px) of places, (N,): about 1 where there is noise alone."""
    result = np.zeros(len(points))
    for i in range(len(points)):
        total, count = 0.0, 0
        top, bottom, left, right = square(points, i, int(np.ceil(radius)), rest.shape)
        for row in range(top, bottom):
            for column in range(left, right):
                if (row - points[i, 0]) ** 2 + (column - points[i, 1]) ** 2 < radius * radius:
                    total += weight[row, column] * rest[row, column] ** 2
                    count += 1
        result[i] = total / max(count, 1)
    return result


@compiled
def curvatures(rest: Any, weight: Any, points: Any, peak: Any, sigma: Any) -> Any:
    """Return what second derivatives of each Gaussian would explain of the rest, (N, 5).

    The fall of chi² by all three, by a wider Gaussian, and the coefficients of yy, yx and xx. Height, place
    and a sloping background are fitted alongside.
    """
    result = np.zeros((len(peak), 5))
    matrix, pull, scale, part = np.empty((9, 9)), np.empty(9), np.empty(9), np.empty(9)
    for i in range(len(peak)):
        matrix[:], pull[:] = 0, 0
        radius = int(np.ceil(3.1 * sigma[i]))
        top, bottom, left, right = square(points, i, radius, rest.shape)
        for row in range(top, bottom):
            y = (row - points[i, 0]) / sigma[i]
            for column in range(left, right):
                x = (column - points[i, 1]) / sigma[i]
                if y * y + x * x >= 9.5:
                    continue
                own = peak[i] * np.exp(-0.5 * (y * y + x * x))
                part[0], part[1], part[2] = 1, y, x
                part[3], part[4], part[5] = own, own * y, own * x
                part[6], part[7], part[8] = own * (y * y - 1), own * y * x, own * (x * x - 1)
                for a in range(9):
                    weighted = weight[row, column] * part[a]
                    pull[a] += weighted * rest[row, column]
                    for b in range(a + 1):
                        matrix[a, b] += weighted * part[b]
        for a in range(9):
            scale[a] = np.sqrt(max(matrix[a, a], 1e-12))
        for a in range(9):
            pull[a] /= scale[a]
            for b in range(a + 1):
                matrix[a, b] /= scale[a] * scale[b]
            matrix[a, a] += 1e-6
        # A wider Gaussian: yy and xx with one coefficient, as a seventh row below the first six.
        both = np.sqrt(scale[6] ** 2 + scale[8] ** 2)
        down, over = scale[6] / both, scale[8] / both
        wide = down * pull[6] + over * pull[8]
        left_of_it = down**2 * matrix[6, 6] + 2 * down * over * matrix[8, 6] + over**2 * matrix[8, 8]
        seventh = part
        for a in range(6):
            seventh[a] = down * matrix[6, a] + over * matrix[8, a]
        cholesky(matrix, 9)
        for a in range(9):
            for b in range(a):
                pull[a] -= matrix[a, b] * pull[b]
            pull[a] /= matrix[a, a]
        for a in range(6):
            for b in range(a):
                seventh[a] -= matrix[a, b] * seventh[b]
            seventh[a] /= matrix[a, a]
            wide -= seventh[a] * pull[a]
            left_of_it -= seventh[a] * seventh[a]
        last = pull[8] / matrix[8, 8]
        middle = (pull[7] - matrix[8, 7] * last) / matrix[7, 7]
        third = (pull[6] - matrix[7, 6] * middle - matrix[8, 6] * last) / matrix[6, 6]
        result[i, 0] = pull[6] ** 2 + pull[7] ** 2 + pull[8] ** 2
        result[i, 1] = wide * wide / max(left_of_it, 1e-12)
        result[i, 2], result[i, 3], result[i, 4] = third / scale[6], middle / scale[7], last / scale[8]
    return result


@compiled
def lit_squares(points: Any, reach: float, rows: int, columns: int) -> Any:
    """Tell which squares of `SQUARE` pixels have pixels within reach of a point."""
    lit = np.zeros((rows // SQUARE + 1, columns // SQUARE + 1), np.bool_)
    far = int(np.ceil(reach)) + 1
    for i in range(len(points)):
        top, bottom, left, right = square(points, i, far, (rows, columns))
        lit[top // SQUARE : (bottom - 1) // SQUARE + 1, left // SQUARE : (right - 1) // SQUARE + 1] = True
    return lit


@compiled
def peaks_left(rest: Any, weight: Any, norm: Any, bell: Any, mean: float, least: float, lit: Any) -> Any:
    """Find where one more bell would explain the rest: places, heights and gains, (M, 4).

    Parameters
    ----------
    norm
        (Y, X) what the matched filter's answer is divided by, to be a height.
    bell
        The profile of the filter, of odd length; `mean` is the mean over its square, taken away from it.
    least
        Fall of chi² below which nothing is a peak.
    lit
        Which squares of `SQUARE` pixels are looked at.
    """
    rows, columns = rest.shape
    half = len(bell) // 2
    edge = SQUARE + 2
    pull = np.empty(edge + 2 * half, np.float32)
    shaped, summed = (
        np.empty((edge + 2 * half, edge), np.float32),
        np.empty((edge + 2 * half, edge), np.float32),
    )
    match, box, gain = (
        np.empty((edge, edge), np.float32),
        np.empty(edge, np.float32),
        np.empty((edge, edge), np.float32),
    )
    found = np.empty((16, 4))
    count = 0
    for down in range(lit.shape[0]):
        for over in range(lit.shape[1]):
            if not lit[down, over]:
                continue
            top, left = down * SQUARE - 1, over * SQUARE - 1
            for r in range(edge + 2 * half):
                row = top - half + r
                shaped[r], summed[r] = 0, 0
                if row < 0 or row >= rows:
                    continue
                pull[:] = 0
                begin, end = max(left - half, 0), min(left + half + edge, columns)
                line, known, into = rest[row, begin:end], weight[row, begin:end], pull[begin - left + half :]
                for c in range(len(line)):
                    into[c] = known[c] * line[c]
                into, plain = shaped[r], summed[r]
                for k in range(len(bell)):
                    line, height = pull[k:], bell[k]
                    for c in range(edge):
                        into[c] += height * line[c]
                        plain[c] += line[c]
            for r in range(edge):
                match[r], box[:] = 0, 0
                row = top + r
                into = match[r]
                for k in range(len(bell)):
                    line, plain, height = shaped[r + k], summed[r + k], bell[k]
                    for c in range(edge):
                        into[c] += height * line[c]
                        box[c] += plain[c]
                for c in range(edge):
                    column = left + c
                    match[r, c] -= mean * box[c]
                    inside = 0 <= row < rows and 0 <= column < columns
                    height = max(match[r, c], np.float32(0))
                    gain[r, c] = height * height / norm[row, column] if inside else np.float32(-1)
            for r in range(1, edge - 1):
                for c in range(1, edge - 1):
                    value = gain[r, c]
                    if value <= least:
                        continue
                    highest = value
                    for a in range(r - 1, r + 2):
                        for b in range(c - 1, c + 2):
                            highest = max(highest, gain[a, b])
                    if value < highest:
                        continue
                    if count == len(found):
                        more = np.empty((2 * count, 4))
                        for at in range(count):
                            for part in range(4):
                                more[at, part] = found[at, part]
                        found = more
                    row, column = top + r, left + c
                    found[count, 0], found[count, 1] = row, column
                    found[count, 2], found[count, 3] = match[r, c] / norm[row, column], value
                    count += 1
    return found[:count]


@compiled
def mirrored(place: int, size: int) -> int:
    """Return the pixel that stands for one beyond the edge, without repeating the edge."""
    if size == 1:
        return 0
    place = abs(place) % (2 * (size - 1))
    return min(place, 2 * (size - 1) - place)


@compiled
def response_samples(pixels: Any, bell: Any, down: int, across: int) -> Any:
    """Return `spot_input.response` at every `down`-th row and `across`-th column.

    The Laplacian of a Gaussian is the sum of two products of profiles: `bell` (of odd length) along one axis
    and its second difference along the other. Beyond the edge the image is mirrored.
    """
    rows, columns = pixels.shape
    half = len(bell) // 2 + 1
    plain, curved = np.zeros(2 * half + 1, np.float32), np.zeros(2 * half + 1, np.float32)
    for k in range(len(bell)):
        plain[k + 1] = bell[k]
        curved[k] += bell[k]
        curved[k + 1] -= 2 * bell[k]
        curved[k + 2] += bell[k]
    result = np.empty(((rows - 1) // down + 1, (columns - 1) // across + 1), np.float32)
    smooth, bent = np.empty(columns + 2 * half, np.float32), np.empty(columns + 2 * half, np.float32)
    for i in range(len(result)):
        smooth[:], bent[:] = 0, 0
        for k in range(2 * half + 1):
            line = pixels[mirrored(i * down + k - half, rows)]
            one, two = plain[k], curved[k]
            flat, round_ = smooth[half:], bent[half:]
            for c in range(columns):
                flat[c] += one * line[c]
                round_[c] += two * line[c]
        for c in range(half):
            left, right = half + mirrored(c - half, columns), half + mirrored(columns + c, columns)
            smooth[c], bent[c] = smooth[left], bent[left]
            smooth[half + columns + c], bent[half + columns + c] = smooth[right], bent[right]
        for j in range(result.shape[1]):
            flat, round_, total = smooth[j * across :], bent[j * across :], np.float32(0)
            for k in range(2 * half + 1):
                total -= curved[k] * flat[k] + plain[k] * round_[k]
            result[i, j] = total
    return result


@compiled
def rough_at(pixels: Any, places: Any) -> Any:
    """Return `spot_input.rough` at the given pixels (flat indices)."""
    rows, columns = pixels.shape
    result = np.empty(len(places), np.float32)
    for i in range(len(places)):
        row, column = divmod(places[i], columns)
        up, down = mirrored(row - 1, rows), mirrored(row + 1, rows)
        left, right = mirrored(column - 1, columns), mirrored(column + 1, columns)
        above = pixels[up, left] - 2 * pixels[up, column] + pixels[up, right]
        here = pixels[row, left] - 2 * pixels[row, column] + pixels[row, right]
        below = pixels[down, left] - 2 * pixels[down, column] + pixels[down, right]
        result[i] = (above - 2 * here + below) / 6
    return result


@compiled
def precision_of(light: Any, constant: float, slope: float, square: float) -> Any:
    """Return 1 / (constant + slope × light + square × light²), where light below 0 counts as none."""
    result = np.empty(light.shape, np.float32)
    one, two, three = np.float32(constant), np.float32(slope), np.float32(square)
    for row in range(len(light)):
        line, into = light[row], result[row]
        for k in range(len(line)):
            value = max(line[k], np.float32(0))
            into[k] = np.float32(1) / (one + (two + three * value) * value)
    return result
