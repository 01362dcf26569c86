"""Perceptrons that are read from a text file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
from sklearn.neural_network import MLPRegressor

from napari_tam.networks import perceptron
from napari_tam.networks.perceptron import Perceptron, stored

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_it_says_what_the_one_that_learnt_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    terms = rng.normal(size=(300, 4))
    truth = np.stack([terms[:, 0] * terms[:, 1], terms.sum(axis=1)], axis=1)
    model = MLPRegressor(hidden_layer_sizes=(8,), activation="tanh", max_iter=2000, tol=1e-3, random_state=0)
    model.fit(terms, truth)
    hidden, out = (np.vstack(pair) for pair in zip(model.coefs_, model.intercepts_, strict=True))
    written = {"one": {"hidden": hidden.tolist(), "out": out.tolist()}}
    (tmp_path / "weights.json").write_text(json.dumps(written), encoding="utf-8")
    monkeypatch.setattr(perceptron, "files", lambda _: tmp_path)
    read = stored("of this test", "weights.json")["one"]
    assert isinstance(read, Perceptron)
    np.testing.assert_allclose(read(terms), model.predict(terms), rtol=1e-6, atol=1e-9)
    assert read(terms[:0]).shape == (0, 2)
