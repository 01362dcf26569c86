from __future__ import annotations

import threading

import numpy as np
import pytest

from napari_tam.networks.flownet import FlowNet
from napari_tam.networks.predictor import Predictor
from napari_tam.stopping import Interrupted, checkpoint, set_cancel_check


def test_only_the_thread_that_was_asked_stops() -> None:
    done: list[str] = []

    def work(name: str, asked: bool) -> None:
        set_cancel_check(lambda: asked)
        try:
            checkpoint()
            done.append(name)
        except Interrupted:
            done.append(f"{name} stopped")

    for name, asked in (("a", True), ("b", False)):
        thread = threading.Thread(target=work, args=(name, asked))
        thread.start()
        thread.join()
    checkpoint()
    assert done == ["a stopped", "b"]


def test_a_network_stops_after_the_tile_that_it_is_at(monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = Predictor(FlowNet(1, [4, 4], 1), tile=64, overlap=8)
    tiles: list[int] = []
    engine = predictor.engine

    class Counting:
        def __call__(self, crop: np.ndarray) -> np.ndarray:
            tiles.append(1)
            return engine(crop)

        def rest(self) -> None:
            engine.rest()

    monkeypatch.setattr(predictor, "engine", Counting())
    set_cancel_check(lambda: len(tiles) == 2)
    try:
        with pytest.raises(Interrupted):
            predictor(np.zeros((1, 300, 300), np.float32))
    finally:
        set_cancel_check(None)
    assert len(tiles) == 2
