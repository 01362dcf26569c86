"""Types and phenotypes of cells whose markers are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from marked_cells import cells_of, images_of

from napari_tam.celltypes.agreement import agreement, kappa
from napari_tam.celltypes.marked import mark
from napari_tam.celltypes.types import analysed
from napari_tam.columns import AGREEMENT_COLUMNS, CELL_TYPE_COLUMNS
from napari_tam.errors import InputError
from napari_tam.settings import Settings

TYPES = {"macrophage": "CD11b+", "tumour": "EpCAM+ CD11b-"}
GATES = {"CD11b": 10.0, "EpCAM": 10.0, "CD206": 10.0}


def culture(**about: str) -> pd.DataFrame:
    """One cell of each kind: CD11b only, EpCAM only, both, none; and CD11b unknown."""
    return cells_of(
        about.pop("image", "i"),
        {
            "CD11b": np.array([20.0, 0.0, 20.0, 0.0, np.nan]),
            "EpCAM": np.array([0.0, 20.0, 20.0, 0.0, 20.0]),
            "CD206": np.array([20.0, 0.0, 0.0, 20.0, 20.0]),
        },
        about.pop("role", ""),
        **about,
    )


def test_every_cell_gets_the_type_whose_rule_fits() -> None:
    cells = culture()
    marked = mark(cells, images_of(cells), Settings(types=TYPES, gates=GATES))
    assert marked.cells["cell_type"].tolist() == ["macrophage", "tumour", "macrophage", "none", ""]
    both = Settings(types=TYPES | {"tumour": "EpCAM+"}, gates=GATES)
    names = mark(cells, images_of(cells), both).cells["cell_type"].tolist()
    # of the last cell it is known that it is a tumour cell, but not that it is no macrophage
    assert names == ["macrophage", "tumour", "ambiguous", "none", ""]
    assert marked.images.iloc[0].to_dict() == {
        "cells_of_type_macrophage": 2, "cells_of_type_tumour": 1,
        "cells_of_type_ambiguous": 0, "cells_of_type_none": 1,
    }  # fmt: skip


def test_all_types_are_counted_by_replicate_and_only_those_asked_for_are_analysed() -> None:
    cells = pd.concat(
        [
            culture(image="a", condition="LPS", replicate="1"),
            culture(image="b", condition="LPS", replicate="1"),
            culture(image="c", role="unstained"),
        ],
        ignore_index=True,
    )
    settings = Settings(types=TYPES, gates=GATES)
    marked = mark(cells, images_of(cells), settings)
    table = marked.tables["cell_types"]
    assert list(table) == [column.name for column in CELL_TYPE_COLUMNS]
    assert dict(zip(table["cell_type"], table["cells"], strict=True)) == {
        "macrophage": 4, "tumour": 2, "ambiguous": 0, "none": 2,
    }  # fmt: skip
    assert table["fraction"].tolist() == [0.5, 0.25, 0, 0.25]
    assert (marked.cells["cell_type"][10:] == "").all()  # nobody knows what unstained cells are
    cells["cell_type"] = marked.cells["cell_type"]
    assert analysed(cells, settings).nonzero()[0].tolist() == [0, 2, 5, 7]
    some = settings.updated(analyse_types="tumour, macrophage")
    assert analysed(cells, some).sum() == 6
    assert analysed(cells, Settings()).sum() == 10  # without rules all but the markers' own controls


def test_without_markers_nothing_is_added() -> None:
    cells = culture()[["image", "label", "condition", "plate", "control_role"]]
    marked = mark(cells, images_of(cells), Settings())
    assert marked.cells.empty and marked.images.empty and not marked.tables and not marked.notes
    assert analysed(cells, Settings()).all()


def test_phenotypes_by_markers() -> None:
    cells = culture()
    settings = Settings(marker_phenotypes={"M1": "EpCAM+", "M2": "CD206+"}, gates=GATES)
    found = mark(cells, images_of(cells), settings).cells["marker_phenotype"].tolist()
    assert found == ["M2", "M1", "M1", "M2", "double positive"]
    settings = Settings(marker_phenotypes={"M1": "EpCAM+ CD206-", "M2": "EpCAM- CD206+ CD11b+"}, gates=GATES)
    found = mark(cells, images_of(cells), settings).cells["marker_phenotype"].tolist()
    assert found == ["M2", "M1", "M1", "double negative", "double negative"]


@pytest.mark.parametrize("field", ["types", "marker_phenotypes"])
def test_a_rule_with_a_marker_that_was_not_measured_is_told(field: str) -> None:
    cells = culture()
    settings = Settings(**{field: {"macrophage": "CD68+", "other": "EpCAM+"}})
    with pytest.raises(
        InputError, match=r"macrophage \(CD68\+\) names the marker CD68, which is not measured"
    ):
        mark(cells, images_of(cells), settings)


def test_a_rule_that_no_cell_fits_is_told() -> None:
    cells = culture()
    settings = Settings(types=TYPES | {"dendritic": "CD11b- EpCAM- CD206-"}, gates=GATES)
    assert mark(cells, images_of(cells), settings).notes == (
        "no cell is called dendritic: no cell fits its rule (CD11b- EpCAM- CD206-)",
    )
    missing = mark(cells, images_of(cells), Settings(types=TYPES))
    assert any("its gates are missing" in note for note in missing.notes)
    assert (missing.cells["cell_type"] == "").all()


def called(shape: list[str], markers: list[str], unit: list[str], condition: str = "LPS") -> pd.DataFrame:
    n = len(shape)
    cells = cells_of("i", {"A": np.zeros(n)}, condition=condition)
    return cells.assign(phenotype=shape, marker_phenotype=markers, replicate=unit)


RULES = Settings(marker_phenotypes={"M1": "A+", "M2": "A-"})


def test_agreement_is_that_of_the_confusion() -> None:
    # Cohen's own kind of table: 20 and 15 agree, 5 and 10 do not; kappa 0.4
    pairs = [("M1", "M1")] * 20 + [("M1", "M2")] * 5 + [("M2", "M1")] * 10 + [("M2", "M2")] * 15
    pairs += [("uncertain", "M1"), ("M1", "double positive"), ("M2", "")] * 7
    shape, markers = (list(each) for each in zip(*pairs, strict=True))
    table = agreement(called(shape, markers, ["1"] * len(pairs)), RULES)
    assert list(table) == [column.name for column in AGREEMENT_COLUMNS]
    whole = table[table["condition"] == ""]
    assert whole["cells"].tolist() == [20, 5, 10, 15]
    assert set(whole["known"]) == {50} and set(whole["agree"]) == {0.7}
    assert whole["kappa"].iloc[0] == pytest.approx(0.4)
    assert whole["kappa_low"].isna().all()  # one replicate says nothing about the next
    assert set(table["condition"]) == {"", "LPS"}


def test_the_interval_of_kappa_is_that_of_replicates() -> None:
    rng = np.random.default_rng(1)
    shape, markers, unit = [], [], []
    for number, right in enumerate((0.95, 0.6, 0.9, 0.7, 0.85, 0.75)):
        truth = rng.random(400) < 0.5
        same = rng.random(400) < right
        shape += ["m1" if t else "m2" for t in truth]
        markers += ["M1" if t == s else "M2" for t, s in zip(truth, same, strict=True)]
        unit += [str(number)] * 400
    row = agreement(called(shape, markers, unit), RULES).iloc[0]
    # expected kappa: 2 × share right - 1, whose mean over replicates varies with their SD / √6
    values = 2 * np.array([0.95, 0.6, 0.9, 0.7, 0.85, 0.75]) - 1
    assert row["kappa"] == pytest.approx(values.mean(), abs=0.03)
    half = 1.96 * values.std() / np.sqrt(6)
    assert row["kappa_high"] - row["kappa_low"] == pytest.approx(2 * half, rel=0.2)
    assert row["units"] == 6


def test_agreement_by_chance_and_without_choice() -> None:
    assert kappa(np.array([[25, 25], [25, 25]])) == 0
    assert kappa(np.array([[5, 0], [0, 5]])) == 1
    assert np.isnan(kappa(np.array([[5, 0], [0, 0]]))) and np.isnan(kappa(np.zeros((2, 2), int)))
