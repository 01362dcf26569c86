"""A gate without a control: the valley between two populations of cells."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

#: Fewer cells than this show no populations.
LEAST_CELLS = 50
#: The smaller population holds at least this share of the cells.
LEAST_SHARE = 0.02
#: Means of two populations are apart by at least so many SDs (root mean square of both).
LEAST_APART = 2.0
#: Light below this share of the bright cells' (99th percentile) is dark; its logarithm would only be noise.
DARK = 0.01

#: What such a gate is called.
RULE = "suggested: valley of two Gaussians of log intensity"


def suggested_gate(values: npt.NDArray[np.float64]) -> tuple[float, str]:
    """Return the gate between two populations of cells, and why there is none.

    A mixture of two Gaussians is fitted to the natural logarithms of the intensities; the gate is where a
    cell belongs to both with equal probability, between their means. There are two populations if the mixture
    explains the cells better than one Gaussian (Bayesian information criterion), both are of some size, and
    their means are two SDs apart (Ashman et al. 1994, Astron J 108:2348).

    Parameters
    ----------
    values
        Background-corrected intensities, one a cell; those that are dark (below 1 % of the bright ones', or
        negative) are taken as that dark.

    Returns
    -------
    gate, reason
        NaN and a reason; or the gate and an empty text.
    """
    from sklearn.mixture import GaussianMixture

    values = values[np.isfinite(values)]
    if len(values) < LEAST_CELLS:
        return np.nan, f"{len(values)} cells are too few to see two populations ({LEAST_CELLS} are the least)"
    top = float(np.percentile(values, 99))
    lit = values[values > DARK * top]
    if top <= 0 or len(lit) < LEAST_CELLS:
        return np.nan, "the cells have no light of it"
    logs = np.log(lit)[:, None]
    one, two = (GaussianMixture(k, n_init=3, random_state=0).fit(logs) for k in (1, 2))
    low, high = np.argsort(two.means_.ravel())
    means, sds, weights = two.means_.ravel(), np.sqrt(two.covariances_.ravel()), two.weights_
    apart = (means[high] - means[low]) / np.sqrt((sds[low] ** 2 + sds[high] ** 2) / 2)
    if two.bic(logs) >= one.bic(logs) or apart < LEAST_APART or weights.min() < LEAST_SHARE:
        return np.nan, "the cells are one population"
    between = np.linspace(means[low], means[high], 2001)
    chance = two.predict_proba(between[:, None])[:, high]
    return float(np.exp(between[int(np.argmax(chance >= 0.5))])), ""
