"""Which objects are wider than a point: vesicles, rings and clumps that the microscope sees as one."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.floating[Any]]

#: Standard error (px) of a Gaussian's sigma, times its signal-to-noise ratio in a pixel: from the Fisher
#: information of height, sigma and a flat background within 3 sigma, π [[1, 1, 2], [1, 2, 4], [2, 4, 9]] for
#: height and sigma of 1, whose inverse has 5 / π for sigma.
WIDTH_ERROR = float(np.sqrt(5 / np.pi))

#: Single puncta differ in width by this share even where there is no noise: pixels, focus, tails.
SPREAD = 0.06

#: A vesicle is wider than a single punctum by so many SD, and by this factor: two puncta that touch are not.
SURE, WIDER = 3.5, 1.3


def width_error(sigma: Numbers, snr: Numbers) -> Numbers:
    """Return the standard errors of the widths of N objects (px): at most the width itself."""
    return np.asarray(np.minimum(WIDTH_ERROR / np.maximum(snr, 1e-9), sigma), np.float64)


def is_vesicle(sigma: Numbers, snr: Numbers, single: float) -> npt.NDArray[np.bool_]:
    """Tell which objects are wider than a point, beyond the error of their width.

    Parameters
    ----------
    sigma, snr
        (N,) widths (px) and signal-to-noise ratios.
    single
        Width of a single punctum.
    """
    error = np.hypot(width_error(sigma, snr), SPREAD * single)
    return np.asarray((sigma - single > SURE * error) & (sigma > WIDER * single), bool)
