from __future__ import annotations

import numpy as np
import pandas as pd

from napari_tam._napari._column_colours import MISSING, colour_column, colour_rows
from napari_tam.phenotype.colours import CLASS_COLOURS, phenotype_colours


def test_classes_are_apart_and_uncertain_is_grey() -> None:
    colouring = colour_rows(pd.Series(["M2", "uncertain", "M1", "M2"]))
    assert dict(colouring.legend) == {"M1": CLASS_COLOURS[0], "M2": CLASS_COLOURS[1], "uncertain": MISSING}
    assert colouring.rgba[0].tolist() == colouring.rgba[3].tolist() != colouring.rgba[2].tolist()


def test_a_phenotype_has_the_same_colour_in_every_picture_whichever_are_there() -> None:
    table = pd.DataFrame({"phenotype": ["M2", "M2"], "p_m1": [0.1, 0.2], "p_m2": [0.9, 0.8]})
    expected = phenotype_colours(["M1", "M2"])["M2"]
    assert dict(colour_column(table, "phenotype").legend) == {"M2": expected}
    assert expected == CLASS_COLOURS[1]


def test_numbers_run_along_the_scale_and_missing_ones_are_grey() -> None:
    colouring = colour_rows(pd.Series([0.0, 1.0, np.nan, 2.0]))
    brightness = colouring.rgba[:, :3] @ [0.2126, 0.7152, 0.0722]
    assert brightness[0] < brightness[1] < brightness[3]  # viridis: brighter is more
    np.testing.assert_allclose(colouring.rgba[2, :3], int(MISSING[1:3], 16) / 255)
    assert [text for text, _ in colouring.legend] == ["0.04", "1", "1.96"]


def test_equal_numbers_flags_and_no_rows_have_colours() -> None:
    assert colour_rows(pd.Series([3, 3])).rgba.shape == (2, 4)
    assert len(colour_rows(pd.Series([True, False])).legend) == 2
    assert colour_rows(pd.Series([pd.NA, True], dtype="boolean")).rgba.shape == (2, 4)
    assert colour_rows(pd.Series([], dtype=float)).rgba.shape == (0, 4)
    assert colour_rows(pd.Series([], dtype=str)).rgba.shape == (0, 4)
