"""A cell that was missed is found around a click, on the bundled network, and nothing where there is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_tam.segment.look_again import look_again
from napari_tam.segment.segmenter import Segmentation
from napari_tam.settings import Settings

UM = 0.5


class Bright:
    """Finds what is brighter than the probability says, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, float, tuple[int, ...]]] = []

    def segment(
        self, image: Any, second: Any, um: float, diameter: Any, settings: Settings, nuclei: Any = None
    ) -> Segmentation:
        from scipy.ndimage import label

        self.asked.append((settings.cell_probability, settings.flow_threshold, image.shape))
        labels, _ = label(image > 200 * settings.cell_probability)
        return Segmentation(labels.astype(np.uint16), float(diameter))


def disc(y: float, x: float, radius: float) -> Any:
    rows, columns = np.indices((200, 240))
    return np.hypot(rows - y, columns - x) <= radius


def test_a_dim_cell_is_found_with_a_lower_probability_in_a_window_around_the_click() -> None:
    image = np.where(disc(60, 60, 10), 150.0, 0) + np.where(disc(100, 200, 10), 50.0, 0)
    known, network = disc(60, 60, 10).astype(np.uint16), Bright()
    found = look_again(network, image, None, known, (103.2, 198.7), UM, 10.0, Settings())
    assert found is not None
    box, mask = found
    whole = np.zeros(image.shape, bool)
    whole[box] = mask
    np.testing.assert_array_equal(whole, disc(100, 200, 10))
    assert [asked[0] for asked in network.asked] == pytest.approx([0.5, 0.2])
    assert {asked[1] for asked in network.asked} == {0.0}
    assert max(network.asked[0][2]) <= 61


def test_where_nothing_or_a_known_cell_lies_nothing_is_found() -> None:
    image = np.where(disc(60, 60, 10), 150.0, 0) + np.where(disc(100, 200, 2), 50.0, 0)
    known = disc(60, 56, 8).astype(np.uint16)
    for place in ((20.0, 20.0), (100.0, 200.0), (60.0, 67.0), (0.0, 239.0)):
        assert look_again(Bright(), image, None, known, place, UM, 10.0, Settings()) is None


def test_a_new_cell_leaves_its_neighbours_their_pixels() -> None:
    image = np.where(disc(60, 60, 10) | disc(60, 74, 10), 150.0, 0)
    known = np.where(disc(60, 60, 10), np.uint16(1), np.uint16(0))
    known[disc(60, 80, 2)] = 2
    image = np.where(known == 1, 0.0, image)
    found = look_again(Bright(), image, None, known, (60.0, 76.0), UM, 10.0, Settings())
    assert found is not None
    box, mask = found
    assert not (mask & (known[box] > 0)).any()
    assert mask.sum() > 200


def test_cells_of_a_sample_that_are_taken_away_are_found_again_by_the_bundled_network() -> None:
    import tifffile
    from paths import ROOT

    from napari_tam.io.images import read_fields
    from napari_tam.pipeline.models import load_models

    settings = Settings()
    field = next(read_fields(ROOT / "sample_data" / "field_01.ome.tif", settings))
    truth = tifffile.imread(ROOT / "sample_data" / "field_01_masks.tif")
    network = load_models(settings.updated(phenotype_model="none")).cells
    whole = [label for label in np.unique(truth) if label and not _at_border(truth == label)][::5]
    overlaps = []
    for label in whole:
        known = np.where(truth == label, 0, truth)
        y, x = np.argwhere(truth == label).mean(0)
        channels = field.channels
        found = look_again(
            network, channels["cell"], channels["nucleus"], known, (y, x), field.pixel_size_um, 20.0, settings
        )
        mask = np.zeros(truth.shape, bool)
        if found is not None:
            mask[found[0]] = found[1]
        overlaps.append((mask & (truth == label)).sum() / (mask | (truth == label)).sum())
    assert len(overlaps) >= 4
    assert np.mean(np.array(overlaps) > 0.6) >= 0.8, overlaps


def _at_border(mask: Any) -> bool:
    return bool(mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())
