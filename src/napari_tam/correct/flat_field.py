"""The flat field of a microscope: from a uniform reference, or from many fields of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from napari_tam.correct.folder import FlatField
from napari_tam.errors import InputError
from napari_tam.io.check import saturation_level

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


Plane = npt.NDArray[np.generic]

Floats = npt.NDArray[np.float64]

#: An estimate from real fields needs at least so many, and is better with `GOOD_FIELDS`.
LEAST_FIELDS, GOOD_FIELDS = 8, 20

#: The flat field is estimated on a grid of blocks, each made of sub-blocks whose means are its samples.
GRID, SUB_BLOCKS = 12, 6

#: Degree of the polynomial surface; with few fields the lower one.
DEGREE, LOW_DEGREE = 4, 2

#: Quantiles of the intensities that are compared between the blocks.
QUANTILES = tuple(np.linspace(0.05, 0.95, 10))

#: A flat field that falls below this share of its mean cannot be corrected.
LEAST_GAIN = 0.1

#: A reference image is smoothed with a Gaussian of this share of its shorter side.
REFERENCE_SMOOTHING = 0.01

#: More clipped pixels than this make a reference useless.
MOST_CLIPPED = 0.001


def reference_flat_field(planes: Sequence[Plane], dark: float, *, where: object = None) -> FlatField:
    """Return the flat field from images of something uniform (a fluorescent slide, a dye solution).

    Their mean, less `dark`, lightly smoothed and divided by its own mean.

    Raises
    ------
    InputError
        If they differ in size, are clipped, or are not brighter than `dark` everywhere.
    """
    _same_size(planes, where)
    for plane in planes:
        level = saturation_level(plane)
        if level is not None and float((plane == level).mean()) > MOST_CLIPPED:
            raise InputError(
                "the reference is overexposed", where=where, fix="take it with a shorter exposure"
            )
    total = np.mean([plane.astype(np.float64) for plane in planes], axis=0)
    sigma = max(1.0, REFERENCE_SMOOTHING * min(total.shape))
    smooth = np.asarray(cv2.GaussianBlur(total, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)) - dark
    facts = {"method": "reference", "images": len(planes)}
    return _flat_field(smooth, dark, facts, where)


def estimate_flat_field(
    planes: Sequence[Plane], dark: float | None = None, *, where: object = None
) -> FlatField:
    """Return the flat field from many fields of cells, none of which need be uniform.

    Over many fields every place of the image sees the same distribution of cells. If q_k(p) is the
    k-th quantile of the intensities at place p over all fields, then
    ``q_k(p) = dark + L(p) · (m_k - dark)`` with m_k its mean over all places and L the relative illumination
    (mean 1), a polynomial surface. L is fitted by least squares to blocks of the image and ten quantiles,
    each weighted by how well it follows the surface; `dark`, unless it is given, is the value that makes the
    fit most likely. The uncertainty in the facts is half the relative difference (root mean square) between
    the surfaces of the even and the odd fields.

    Parameters
    ----------
    planes
        YX images of one channel, at least `LEAST_FIELDS`, with cells at different places.
    dark
        Intensity without light, if it is known: of an image taken with the shutter closed.
    where
        What the planes are, for messages.

    Raises
    ------
    InputError
        If there are too few, they differ in size, or the light is too uneven.
    """
    if len(planes) < LEAST_FIELDS:
        raise InputError(
            f"a flat field cannot be estimated from {len(planes)} fields of cells",
            where=where,
            fix=f"give {LEAST_FIELDS} or more (better {GOOD_FIELDS}), or something uniform (--reference)",
        )
    _same_size(planes, where)
    samples = np.stack([_samples(plane) for plane in planes])
    degree = DEGREE if len(planes) >= GOOD_FIELDS else LOW_DEGREE
    found, level = _fit_surface(samples, dark, degree)
    halves = [_fit_surface(samples[start::2], level, degree)[0] for start in (0, 1)]
    grid = _basis((GRID, GRID), degree)
    uneven = [grid @ half for half in halves]
    uncertainty = float(np.sqrt(np.mean(((uneven[0] - uneven[1]) / (grid @ found)) ** 2))) / 2
    height, width = planes[0].shape
    surface = (_basis((height, width), degree) @ found).reshape(height, width)
    facts = {
        "method": "many fields",
        "images": len(planes),
        "degree": degree,
        "dark_given": dark is not None,
        "uncertainty": round(uncertainty, 4),
    }
    return _flat_field(surface, level, facts, where)


def _flat_field(surface: Floats, dark: float, facts: Mapping[str, Any], where: object) -> FlatField:
    mean = float(surface.mean())
    if mean <= 0 or float(surface.min()) < LEAST_GAIN * mean:
        raise InputError(
            "the light falls to less than a tenth of its mean, which cannot be corrected",
            where=where,
            fix="check the images, and that the dark level is below all of their intensities",
        )
    gain = (surface / mean).astype(np.float32)
    own = {
        **facts,
        "shape": list(gain.shape),
        "brightest_to_darkest": round(float(gain.max() / gain.min()), 3),
    }
    return FlatField(gain, float(dark), own)


def _same_size(planes: Sequence[Plane], where: object) -> None:
    sizes = sorted({plane.shape for plane in planes})
    if len(sizes) > 1:
        listing = ", ".join(f"{height} × {width}" for height, width in sizes)
        raise InputError(f"the images have different sizes ({listing})", where=where, fix="give those of one")


def _samples(plane: Plane) -> Floats:
    """Return the means of sub-blocks: one row per block (in image order), one column per sub-block."""
    side = GRID * SUB_BLOCKS
    small = np.asarray(cv2.resize(plane.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA))
    blocks = small.reshape(GRID, SUB_BLOCKS, GRID, SUB_BLOCKS).transpose(0, 2, 1, 3)
    return blocks.reshape(GRID * GRID, SUB_BLOCKS**2).astype(np.float64)


def _basis(shape: tuple[int, int], degree: int) -> Floats:
    """Return Legendre polynomials in y and x of a total degree at every pixel centre (pixels, terms)."""
    from numpy.polynomial.legendre import legvander

    places = [(np.arange(n) + 0.5) / n * 2 - 1 for n in shape]
    y, x = (legvander(place, degree) for place in places)  # type: ignore[no-untyped-call]
    terms = [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]
    return np.stack([np.outer(y[:, i], x[:, j]).ravel() for i, j in terms], axis=1)


def _fit_surface(samples: Floats, dark: float | None, degree: int) -> tuple[Floats, float]:
    """Return the surface's coefficients and the dark level."""
    from scipy.optimize import minimize_scalar

    pooled = samples.transpose(1, 0, 2).reshape(samples.shape[1], -1)
    quantiles = np.quantile(pooled, QUANTILES, axis=1)
    basis = _basis((GRID, GRID), degree)
    middle = quantiles.mean(axis=1)

    def fit(level: float) -> tuple[Floats, float]:
        """Fit all quantiles at once; also return the misfit (minus the log likelihood)."""
        height = middle - level
        weight = 1 / np.maximum(height, 1e-9) ** 2
        for _ in range(4):
            # One surface for all quantiles: the weighted mean of their relative brightness.
            relative = (weight * height) @ (quantiles - level) / float(weight @ height**2)
            found = np.linalg.lstsq(basis, relative, rcond=None)[0]
            residual = quantiles - level - height[:, None] * (basis @ found)
            variance = np.maximum((residual**2).mean(axis=1), 1e-12)
            weight = 1 / variance
        return found, float(np.log(variance).sum())

    if dark is None:
        lowest = float(quantiles.min())
        dark = float(minimize_scalar(lambda level: fit(level)[1], bounds=(0, lowest), method="bounded").x)
    return fit(dark)[0], dark
