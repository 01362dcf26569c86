from __future__ import annotations

import json

import numpy as np
import pytest
from phenotypes import labelled, untrained

from napari_tam.errors import InputError
from napari_tam.phenotype.likeness import Likeness
from napari_tam.phenotype.model import check_classes, load_phenotype_model


@pytest.fixture
def folder(tmp_path):
    untrained().save(tmp_path / "model")
    return tmp_path / "model"


def test_a_model_comes_back_as_it_was_saved(folder) -> None:
    cells, model = labelled(12, 0), untrained()
    back = load_phenotype_model(folder)
    for path in (folder / "phenotype.json", folder / "phenotype.safetensors"):
        assert load_phenotype_model(path).classes == back.classes == model.classes
    before, after = (m.score(cells.crops, cells.features) for m in (model, back))
    assert np.array_equal(before.probabilities, after.probabilities)
    assert np.array_equal(before.distance, after.distance)
    assert next(iter(json.loads((folder / "phenotype.json").read_text()))) == "description"


def test_the_network_is_small() -> None:
    assert sum(p.numel() for p in untrained().network.parameters()) < 100_000


def test_flipped_crops_give_the_same_scores() -> None:
    cells, model = labelled(12, 0), untrained()
    plain = model.score(cells.crops, cells.features)
    for axes in ((2,), (3,), (2, 3)):
        flipped = model.score(np.ascontiguousarray(np.flip(cells.crops, axes)), cells.features)
        assert flipped.logits == pytest.approx(plain.logits, abs=1e-5)


def edit(folder, **changes) -> None:
    path = folder / "phenotype.json"
    card = json.loads(path.read_text(encoding="utf-8"))
    for name, value in changes.items():
        if value is None:
            del card[name]
        else:
            card[name] = value
    path.write_text(json.dumps(card), encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"sha256": "0" * 64}, "differ from the sha256"),
        ({"classes": ["M1", "M2", "M3"]}, "do not fit their card"),
        ({"classes": ["M1", "m1"]}, "same column"),
        ({"classes": 3}, "damaged"),
        ({"temperature": None}, "lacks temperature"),
        ({"temperature": "warm"}, "do not fit their card"),
        ({"temperature": -1}, "above 0"),
        ({"kind": "cells"}, "that of a 'cells' network"),
        (
            {"crop": {"size_px": 48, "um_per_px": 0.5, "channels": ["outline", "stain", "nucleus"]}},
            "another scale",
        ),
        ({"features": []}, "other features"),
        ({"network": {"widths": [8, 8], "hidden": [8, 8]}}, "do not fit their card"),
    ],
)
def test_a_bad_card_is_one_clear_sentence(folder, changes, sentence) -> None:
    edit(folder, **changes)
    with pytest.raises(InputError, match=sentence) as caught:
        load_phenotype_model(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_damaged_and_missing_files(folder, tmp_path) -> None:
    weights = folder / "phenotype.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(InputError, match="sha256"):
        load_phenotype_model(folder)
    weights.unlink()
    with pytest.raises(InputError, match="not a phenotype model"):
        load_phenotype_model(folder)
    with pytest.raises(InputError, match="not a phenotype model"):
        load_phenotype_model(tmp_path)
    untrained().save(folder)
    (folder / "phenotype.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        load_phenotype_model(folder)


@pytest.mark.parametrize("classes", [("M1",), ("M1", "uncertain"), ("a b", "a_b"), ("+", "M1")])
def test_class_names_that_cannot_be_told_apart_are_refused(classes) -> None:
    with pytest.raises(InputError):
        check_classes(classes)


def test_distance_grows_away_from_the_classes_and_counts_correlation() -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1], 500)
    base = rng.normal(0, 1, (1000, 2)) @ np.array([[1, 0.95], [0, 0.3]])
    points = (base + truth[:, None] * 10).astype(np.float32)
    likeness = Likeness.fit(points, truth, 2)
    assert np.quantile(likeness.distance(points), 0.5) < 1.2
    along, across = likeness.distance(np.array([[1.5, 1.5], [1.5, -1.5]], np.float32))
    assert across > 2 * along
    assert likeness.distance(np.array([[5.0, 5.0]], np.float32))[0] > 3
