from __future__ import annotations

import numpy as np
import pytest
from flow_images import perfect_output, scattered_cells

from napari_tam.networks.averaging import MIRRORED, averaged, mirror, mirrored_output


@pytest.mark.parametrize("axes", MIRRORED)
def test_the_flows_of_the_mirrored_cells_are_the_mirrored_flows(axes: tuple[bool, bool]) -> None:
    cells = scattered_cells(0)
    turned = perfect_output(mirror(cells[None].astype(np.float32), axes)[0].astype(np.int32))
    difference = np.abs(mirrored_output(turned, axes) - perfect_output(cells))
    assert np.mean(difference) < 0.05


def lopsided(image: np.ndarray) -> np.ndarray:
    """Stand for a network that knows left from right and up from down."""
    plane = image[0]
    return np.stack([plane * np.arange(plane.shape[0])[:, None], plane * 2 + 1, np.roll(plane, 1, axis=1)])


@pytest.mark.parametrize("axes", MIRRORED)
def test_averaged_the_mirrored_image_gives_the_mirrored_output(axes: tuple[bool, bool]) -> None:
    image = np.random.default_rng(0).random((2, 20, 31)).astype(np.float32)
    plain = averaged(lopsided, image)
    turned = averaged(lopsided, mirror(image, axes))
    np.testing.assert_allclose(mirrored_output(turned, axes), plain, rtol=1e-5, atol=1e-6)
