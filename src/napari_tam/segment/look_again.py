"""Looking again for one cell around a place that a person points at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from napari_tam.segment.segmenter import Labels, Plane, Segmenter
    from napari_tam.settings import Settings

#: The window reaches so many diameters to each side: the network sees the neighbours as it did before.
REACH = 1.5

#: One after another these shares of the probability that the settings ask for are tried.
SHARES = (1.0, 0.4, 0.15)

#: A cell has at least this share of the area of a disc with the diameter that was looked for ...
LEAST_AREA = 0.1

#: ... and lies with at most this share of it on cells that are known.
TAKEN = 0.4


def look_again(
    segmenter: Segmenter,
    image: Plane,
    second: Plane | None,
    known: Labels,
    at: tuple[float, float],
    pixel_size_um: float,
    diameter_um: float,
    settings: Settings,
) -> tuple[tuple[slice, slice], npt.NDArray[np.bool_]] | None:
    """Look for the cell at a place, with lower probabilities than the first time until there is one.

    The contrast is that of the surroundings, so that a dim cell in a field of bright ones counts; masks whose
    flows do not fit are kept, as a person says that there is a cell.

    Parameters
    ----------
    segmenter
        The network.
    image, second
        (Y, X) the stain of the cells, and that of the nuclei or None.
    known
        (Y, X) labels of the cells that are known; their pixels are left to them.
    at
        y and x in pixels.
    pixel_size_um
        Edge length of a pixel.
    diameter_um
        That of the field.
    settings
        As for the field.

    Returns
    -------
    A box of the image and the mask in it; None if nothing was found there.
    """
    diameter_px = diameter_um / pixel_size_um
    reach = max(int(REACH * diameter_px), 16)
    y, x = (round(value) for value in at)
    box = (
        slice(max(y - reach, 0), min(y + reach + 1, image.shape[0])),
        slice(max(x - reach, 0), min(x + reach + 1, image.shape[1])),
    )
    taken = known[box] > 0
    place = (y - box[0].start, x - box[1].start)
    least = LEAST_AREA * np.pi / 4 * diameter_px**2
    part: Any = image[box]
    nucleus = None if second is None else second[box]
    for share in SHARES:
        lower = settings.updated(
            cell_probability=settings.cell_probability * share,
            flow_threshold=0.0,
            average_flips=False,  # a person waits, and judges
        )
        found = segmenter.segment(part, nucleus, pixel_size_um, diameter_um, lower)
        label = int(found.labels[place])
        mask = found.labels == label
        if label and (mask & taken).sum() <= TAKEN * mask.sum() and (mask & ~taken).sum() >= least:
            return box, mask & ~taken
    return None
