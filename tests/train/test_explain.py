from __future__ import annotations

import numpy as np
import pytest
from phenotypes import ellipses, field_of, measured, trained, untrained

from napari_tam.phenotype.crops import cell_crops
from napari_tam.train.explain import explain_cell


@pytest.fixture(scope="module")
def cells():
    rng = np.random.default_rng(0)
    labels = ellipses([1.1, 2.8], rng)
    field = field_of(labels, rng)
    table = measured(field, labels)
    return table, cell_crops(field.channels["cell"], labels, None, table, field.pixel_size_um)


@pytest.mark.parametrize("classes", [("M1", "M2"), ("a", "b", "c")])
def test_the_pushes_add_up_to_the_difference_from_the_typical_cell(cells, classes) -> None:
    table, crops = cells
    for k in range(len(table)):
        found = explain_cell(untrained(classes), crops[k], table.iloc[[k]])
        assert found.start + found.pushes["push"].sum() == pytest.approx(found.log_odds, abs=1e-4)
        rest = found.pushes["push"].iloc[-1]
        assert abs(rest) < 0.05 * max(0.1, found.pushes["push"].abs().sum())
        chance = found.probability
        if len(classes) == 2:
            assert np.log(chance / (1 - chance)) == pytest.approx(found.log_odds, abs=1e-3)


def test_shape_pushes_a_long_cell_to_the_class_of_long_cells(cells) -> None:
    table, crops = cells
    found = explain_cell(trained(), crops[1], table.iloc[[1]])
    assert found.class_name == "M2"
    pushes = found.pushes.set_index("part")["push"]
    assert pushes["aspect_ratio"] > 0
    assert pushes.drop("rest").sum() > 0
    assert found.map.shape == crops.shape[2:]
