"""The remembering classifier says what the plain one says, and asks the network about new cells only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from phenotypes import ellipses, field_of

from napari_tam.measure.cells import measure
from napari_tam.phenotype.classify import load_classifier
from napari_tam.phenotype.model import PhenotypeModel
from napari_tam.phenotype.remembering import RememberingClassifier
from napari_tam.settings import Settings

if TYPE_CHECKING:
    import pytest


def test_only_new_cells_are_scored_and_all_as_by_the_plain_classifier(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(2)
    labels = ellipses([1.1, 1.6, 2.4, 1.2, 2.0, 1.4], rng)
    field, settings = field_of(labels, rng), Settings()
    plain = load_classifier("phenotype")
    assert plain is not None
    remembering = RememberingClassifier(plain.model, plain.device)
    asked: list[int] = []
    score = PhenotypeModel.score

    def counted(self: Any, crops: Any, *given: Any) -> Any:
        asked.append(len(crops))
        return score(self, crops, *given)

    monkeypatch.setattr(PhenotypeModel, "score", counted)

    def both(cells: Any) -> list[pd.DataFrame]:
        spots = pd.DataFrame({"y_px": [], "x_px": []}, dtype=float)
        table, _, _ = measure(field, cells, None, spots, settings)
        return [each.classify(field, cells, None, table, settings) for each in (plain, remembering)]

    pd.testing.assert_frame_equal(*both(labels))
    count = len(np.unique(labels)) - 1
    assert asked == [count, count]
    asked.clear()
    fewer = labels.copy()
    fewer[:, : labels.shape[1] // 2][labels[:, : labels.shape[1] // 2] == 1] = 0  # one is cut or gone
    pd.testing.assert_frame_equal(*both(fewer), rtol=1e-6, atol=1e-6)
    assert sum(asked[1:]) <= 1
    asked.clear()
    pd.testing.assert_frame_equal(*both(np.zeros_like(labels)))
    pd.testing.assert_frame_equal(*both(labels), rtol=1e-6, atol=1e-6)


def test_another_nucleus_is_another_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    labels = ellipses([1.1, 1.6, 2.4], rng)
    field, settings = field_of(labels, rng), Settings()
    plain = load_classifier("phenotype")
    assert plain is not None
    remembering = RememberingClassifier(plain.model, plain.device)
    nuclei = np.where(labels == 2, 1, 0)
    asked: list[int] = []
    score = RememberingClassifier.score

    def counted(self: Any, crops: Any, *given: Any) -> Any:
        asked.append(len(crops))
        return score(self, crops, *given)

    monkeypatch.setattr(RememberingClassifier, "score", counted)
    for of_now in (nuclei, np.where(labels == 1, 1, nuclei), np.where(labels == 1, 1, nuclei)):
        spots = pd.DataFrame({"y_px": [], "x_px": []}, dtype=float)
        table, _, _ = measure(field, labels, of_now, spots, settings)
        expected = plain.classify(field, labels, of_now, table, settings)
        found = remembering.classify(field, labels, of_now, table, settings)
        pd.testing.assert_frame_equal(found, expected, rtol=1e-6, atol=1e-6)
    assert asked == [3, 1]


def test_the_same_labels_in_another_picture_are_other_cells() -> None:
    rng = np.random.default_rng(4)
    labels, settings = ellipses([1.1, 1.6, 2.4], rng), Settings()
    plain = load_classifier("phenotype")
    assert plain is not None
    remembering = RememberingClassifier(plain.model, plain.device)
    for _ in range(2):
        field = field_of(labels, rng)
        table, _, _ = measure(field, labels, None, pd.DataFrame(), settings)
        found = remembering.classify(field, labels, None, table, settings)
        pd.testing.assert_frame_equal(found, plain.classify(field, labels, None, table, settings))


def test_pictures_that_are_looked_at_in_turns_are_all_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    settings = Settings()
    plain = load_classifier("phenotype")
    assert plain is not None
    remembering = RememberingClassifier(plain.model, plain.device)
    pictures = []
    for ratios in ([1.1, 1.6], [1.2, 2.0, 1.4]):
        labels = ellipses(ratios, rng)
        field = field_of(labels, rng)
        pictures.append((field, labels, measure(field, labels, None, pd.DataFrame(), settings)[0]))
    first = [remembering.classify(field, cells, None, table, settings) for field, cells, table in pictures]
    monkeypatch.setattr(RememberingClassifier, "score", None)  # it is not asked any more
    for (field, cells, table), known in reversed(list(zip(pictures, first, strict=True))):
        pd.testing.assert_frame_equal(remembering.classify(field, cells, None, table, settings), known)
