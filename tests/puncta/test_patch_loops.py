"""The compiled loops over windows give what the same sums give in numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_tam.puncta import patch_loops

FEW = settings(max_examples=25, deadline=None)
SEEDS = st.integers(0, 10_000)


class Windows:
    """Some windows of drawn values, of which a few are not known, and all that goes with them."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.edge, count = int(2 * rng.integers(1, 8) + 1), int(rng.integers(1, 6))
        self.pixels = rng.normal(50, 20, (count, self.edge**2)).astype(np.float32)
        self.pixels[rng.random(self.pixels.shape) < 0.2 * rng.integers(2)] = np.nan
        self.shift = rng.uniform(-1.2, 1.2, (count, 2)).astype(np.float32)
        self.sigma = rng.uniform(0.6, 4, count).astype(np.float32)
        self.peak = rng.uniform(0, 300, count).astype(np.float32)
        self.level = rng.uniform(30, 60, count).astype(np.float32)
        self.radius = rng.uniform(0.5, self.edge, count).astype(np.float32)
        away = np.arange(self.edge) - self.edge // 2
        y, x = (grid.ravel() for grid in np.meshgrid(away, away, indexing="ij"))
        self.y, self.x = y - self.shift[:, :1].astype(float), x - self.shift[:, 1:].astype(float)
        self.squared = self.y**2 + self.x**2
        self.bell = np.exp(-0.5 * self.squared / self.sigma[:, None].astype(float) ** 2)

    def whole(self) -> np.ndarray:
        """Return the values, 0 where they are not known."""
        return np.nan_to_num(self.pixels).astype(float)


def close(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-3)


@FEW
@given(SEEDS)
def test_a_window_holds_its_gaussian(seed: int) -> None:
    some = Windows(seed)
    found = np.empty_like(some.pixels)
    patch_loops.bells(found, some.shift, some.peak, some.sigma)
    close(found, some.peak[:, None] * some.bell)


@FEW
@given(SEEDS)
def test_the_light_of_others_is_that_of_all_less_ones_own(seed: int) -> None:
    some = Windows(seed)
    corner = np.random.default_rng(seed).integers(0, 12, (len(some.peak), 2))
    size = 12 + some.edge
    each = np.zeros((len(some.peak), size, size))
    for one, (down, right), bell, peak in zip(each, corner, some.bell, some.peak, strict=True):
        one[down : down + some.edge, right : right + some.edge] = peak * bell.reshape(some.edge, some.edge)
    image = np.zeros((size, size), np.float32)
    patch_loops.add_bells(image, corner, some.shift, some.peak, some.sigma, some.edge)
    close(image, each.sum(axis=0))
    found = np.empty_like(some.pixels)
    patch_loops.light_of_others(image, found, corner, some.shift, some.peak, some.sigma)
    for number, (down, right) in enumerate(corner):
        others = np.delete(each, number, axis=0).sum(axis=0)
        close(found[number], others[down : down + some.edge, right : right + some.edge].ravel())


@FEW
@given(SEEDS)
def test_sums_leave_out_what_is_not_known(seed: int) -> None:
    some = Windows(seed)
    known, light = ~np.isnan(some.pixels), some.whole() - some.level[:, None]
    sums = np.empty((len(some.peak), 2))
    patch_loops.bell_sums(sums, some.pixels, some.level, some.shift, some.sigma)
    close(sums, np.stack([(known * some.bell**2).sum(1), (known * some.bell * light).sum(1)], axis=1))
    within, others = np.empty(len(some.peak), np.float32), some.bell.astype(np.float32)
    patch_loops.sums_within(within, some.pixels, some.level, others, some.shift, some.radius)
    inside = known & (some.squared <= some.radius[:, None] ** 2)
    np.testing.assert_allclose(within, ((light - others) * inside).sum(axis=1), rtol=1e-3, atol=0.05)


@FEW
@given(SEEDS)
def test_a_ring_has_the_values_between_its_radii(seed: int) -> None:
    some = Windows(seed)
    found, count = np.empty_like(some.pixels), np.empty(len(some.peak), np.intp)
    inner = some.radius / 2
    patch_loops.ring_values(found, count, some.pixels, some.shift, inner, some.radius)
    inside = (some.squared >= inner[:, None] ** 2) & (some.squared <= some.radius[:, None] ** 2)
    for row, number, pixels, ring in zip(found, count, some.pixels, inside, strict=True):
        values = pixels[ring & ~np.isnan(pixels)]
        assert number == len(values)
        assert np.array_equal(row[:number], values)
        assert np.isinf(row[number:]).all()


@FEW
@given(SEEDS)
def test_moments_are_those_of_weighted_light(seed: int) -> None:
    some = Windows(seed)
    light = (some.whole() - 50).astype(np.float32)
    sums = np.empty((len(some.peak), 5))
    patch_loops.moments(sums, light, some.shift, some.sigma)
    weight = some.bell * light
    parts = (weight, np.abs(weight), weight * some.y, weight * some.x, weight * some.squared)
    np.testing.assert_allclose(sums, np.stack([part.sum(1) for part in parts], axis=1), rtol=1e-3, atol=0.05)


@FEW
@given(SEEDS, st.floats(-3, 3), st.floats(-3, 3))
def test_a_plane_has_its_slope_whatever_is_not_known(seed: int, down: float, right: float) -> None:
    some = Windows(seed)
    plane = np.where(np.isnan(some.pixels), np.nan, down * some.y).astype(np.float32)
    rise = np.empty((len(some.peak), 4))
    most = np.full(len(some.peak), 1e6, np.float32)
    patch_loops.slopes(0.0, 99.0, rise, plane, some.shift, most)
    known = ~np.isnan(some.pixels)
    close(rise[:, 2], (known * some.y**2).sum(axis=1))
    several = (rise[:, 2] > 1) & known.any(axis=1)
    assert rise[several, 0] == pytest.approx(down, abs=1e-3 + 1e-3 * abs(down))
    # No light counts for more than so much either way.
    patch_loops.slopes(0.0, 99.0, rise, (right * some.x).astype(np.float32), some.shift, 0 * most)
    assert not rise[:, :2].any()
