from __future__ import annotations

import numpy as np
from flow_images import ellipses, perfect_output

from napari_tam.networks.flow_errors import flow_errors
from napari_tam.segment.confidence import confidence

CELLS = ellipses((60, 130), [(30, 25, 16, 16, 0), (30, 65, 16, 16, 0), (30, 105, 15, 15, 0)])


def test_confidence_falls_with_probability_and_with_flows_that_disagree() -> None:
    output = perfect_output(CELLS)
    output[2, CELLS == 2] = 0.0  # a probability of one half
    output[0, CELLS == 3] *= -1  # up is down
    sure, half, wrong = confidence(CELLS, output, flow_errors(CELLS, output[:2] / 5))
    assert sure > 0.95
    assert 0.45 < half <= 0.5
    assert wrong < 0.1


def test_masks_too_thin_to_judge_have_none_and_no_masks_give_nothing() -> None:
    output = perfect_output(CELLS)
    assert list(confidence(CELLS, output, np.full(3, np.inf, np.float32))) == [0, 0, 0]
    assert len(confidence(np.zeros_like(CELLS), output, np.zeros(0, np.float32))) == 0
