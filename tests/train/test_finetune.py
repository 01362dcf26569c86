from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from flow_images import scattered_cells
from safetensors.torch import save_file

from napari_tam.cli.main import main
from napari_tam.errors import InputError
from napari_tam.networks import cards
from napari_tam.networks.cards import ModelCard
from napari_tam.networks.flownet import FlowNet
from napari_tam.pipeline.models import load_models
from napari_tam.segment.segmenter import FlowNetSegmenter, median_diameter
from napari_tam.settings import Settings
from napari_tam.stopping import Interrupted, set_cancel_check
from napari_tam.train import finetune as module
from napari_tam.train.finetune import Recipe, finetune, folds_of, sample_of, total_steps
from napari_tam.train.judgement import save, verdict
from napari_tam.train.training_set import TrainingField, write_training_set

if TYPE_CHECKING:
    from pathlib import Path

torch.set_num_threads(1)

QUICK = Recipe(steps=2, batch=1, crop=48)
CPU = torch.device("cpu")


def field(seed: int, group: str = "") -> TrainingField:
    """Draw cells of about 12 px that are bright on dark."""
    labels = scattered_cells(seed, (64, 72), 6, 6).astype(np.uint32)
    image = (labels > 0) * 200 + np.random.default_rng(seed).normal(50, 5, labels.shape)
    planes = {"cell": image.astype(np.uint16), "nucleus": image.astype(np.uint16)}
    return TrainingField(f"f{seed}", group or f"f{seed}", planes, labels, 2.0)


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelCard:
    """Stands for the bundled network: tiny and untrained."""
    folder = tmp_path / "bundled"
    folder.mkdir()
    monkeypatch.setattr(cards, "MODELS_FOLDER", folder)
    torch.manual_seed(1)
    kinds = {"cells": "cells", cards.SMALL_CELLS: "cells", "nuclei": "nuclei", "puncta": "puncta"}
    for name, kind in kinds.items():
        channels = 2 if kind == "cells" else 1
        save_file(FlowNet(channels, (4, 6)).eval().state_dict(), folder / f"{name}.safetensors")
        about = {
            "name": name, "kind": kind, "in_channels": channels, "widths": [4, 6], "stem": 1,
            "diameter_px": 12.0, "terms": "for tests only", "training_data": ["noise"],
            "sha256": hashlib.sha256((folder / f"{name}.safetensors").read_bytes()).hexdigest(),
        }  # fmt: skip
        (folder / f"{name}.json").write_text(json.dumps(about), encoding="utf-8")
    return ModelCard.read(folder / f"{cards.SMALL_CELLS}.json")


def drive(work: Any) -> tuple[Any, list[Any]]:
    progress = []
    while True:
        try:
            progress.append(next(work))
        except StopIteration as stop:
            return stop.value, progress


def fixed_figures(monkeypatch: pytest.MonkeyPatch, before: float, after: float) -> None:
    """Judge the network that training starts from as `before`, any other one as `after`."""
    first: list[bytes] = []

    def judge(network: Any, fields: Any, *_: Any) -> list[dict[str, float]]:
        weights = b"".join(value.numpy().tobytes() for value in network.state_dict().values())
        first.append(weights)
        return [{"ap_0.5": before if weights == first[0] else after, "ap_0.75": 0.1} for _ in fields]

    monkeypatch.setattr(module, "judge", judge)


def test_every_group_is_left_out_once_and_never_torn_apart() -> None:
    fields = [field(i, group) for i, group in enumerate("aabcdeff")]
    folds = folds_of(fields)
    assert sorted(i for fold in folds for i in fold) == list(range(8))
    assert len(folds) == 4
    where = {fields[i].group: number for number, fold in enumerate(folds) for i in fold}
    assert all(where[fields[i].group] == number for number, fold in enumerate(folds) for i in fold)
    assert folds_of(fields[:2]) == [[0, 1]]


def test_a_sample_is_at_working_scale() -> None:
    sample = sample_of(field(1), 24.0, 2)
    assert median_diameter(sample.target[0].astype(int)) == pytest.approx(24, rel=0.1)
    assert sample.image.shape == (2, *sample.target.shape[1:])
    only = replace(field(1), channels={"cell": field(1).channels["cell"]})
    assert not sample_of(only, 24.0, 2).image[1].any()


def test_training_lowers_the_loss_keeps_the_norms_and_is_repeatable(card: ModelCard) -> None:
    samples = [sample_of(field(i), 12.0, 2) for i in range(2)]
    recipe = Recipe(steps=40, batch=2, crop=48, rate=2e-2, average=0.5)
    start = card.load()
    network, _ = drive(module.fit(start, samples, recipe, CPU))
    again, _ = drive(module.fit(start, samples, recipe, CPU))
    for key, value in network.state_dict().items():
        assert torch.equal(value, again.state_dict()[key])
        if "running" in key:
            assert torch.equal(value, start.state_dict()[key])
    image, target = next(module.batches(samples, "cells", 48, 4, 99, 0, {s.group: 1 for s in samples}))
    with torch.inference_mode():
        before, after = (float(module.loss(net.eval()(image), target)) for net in (start, network))
    assert after < 0.8 * before


def test_a_network_that_is_not_worse_is_written_and_analyse_takes_it(
    card: ModelCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed_figures(monkeypatch, 0.5, 0.625)
    fields = [field(i) for i in range(2)]
    model, progress = drive(finetune(fields, card, QUICK, Settings(), CPU))
    assert [p.done for p in progress] == list(range(total_steps(2, QUICK)))
    assert {p.total for p in progress} == {len(progress)} == {6}
    assert model.adopted
    assert (model.report["before"]["ap_0.5"], model.report["after"]["ap_0.5"]) == (0.5, 0.625)
    assert "0.500 before, 0.625 after" in verdict(model)
    out = tmp_path / "mine"
    save(model, out)
    written = ModelCard.read(out / "cells.json").values
    assert "for tests only" in written["terms"]  # the terms of the network it started from go on
    assert written["training_data"] == ["noise", "own field f0", "own field f1"]
    assert written["started_from"]["sha256"] == card.values["sha256"]
    assert written["accuracy"]["fields"][0]["after"]["ap_0.5"] == 0.625
    assert "0.625" in (out / "report.txt").read_text(encoding="utf-8")
    loaded = load_models(Settings(cells_model=str(out), phenotype_model="none", device="cpu"))
    assert isinstance(loaded.cells, FlowNetSegmenter)
    assert loaded.cells.typical_um == pytest.approx(
        np.median([2 * median_diameter(f.cells) for f in fields]), abs=0.001
    )
    assert loaded.hashes[str(out)] == written["sha256"]


def test_a_worse_network_is_not_written(
    card: ModelCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fixed_figures(monkeypatch, 0.5, 0.375)
    write_training_set(iter([field(0), field(1)]), tmp_path / "set")
    out = tmp_path / "mine"
    assert main(["train", "cells", str(tmp_path / "set"), "--out", str(out), "--steps", "1"]) == 1
    said = capsys.readouterr().out
    assert "not written: on left-out fields the fine-tuned network is worse (mean AP@0.5 0.375)" in said
    assert not out.exists()


def test_fields_of_one_image_are_refused_unless_that_is_wanted(
    card: ModelCard, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_training_set(iter([field(0)]), tmp_path / "set")
    given = ["train", "cells", str(tmp_path / "set"), "--out", str(tmp_path / "mine"), "--steps", "1"]
    assert main(given) == 2
    assert "nothing can be left out" in capsys.readouterr().err
    assert main([*given, "--allow-single-group"]) == 0
    written = ModelCard.read(tmp_path / "mine" / "cells.json").values
    assert "NOT judged" in written["description"]
    assert written["accuracy"]["after"] is None


def test_options_of_the_other_training_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "out")]
    assert main(["train", "cells", str(tmp_path), *out, "--controls", "M1=a"]) == 2
    assert "--controls belongs to 'napari-tam train phenotype'" in capsys.readouterr().err
    assert main(["train", "phenotype", str(tmp_path), *out, "--steps", "3"]) == 2
    assert "--steps belongs to 'napari-tam train cells'" in capsys.readouterr().err


def test_cancel_stops_within_a_step(card: ModelCard) -> None:
    work = finetune([field(0), field(1)], card, QUICK, Settings(), CPU)
    next(work)
    set_cancel_check(lambda: True)
    try:
        with pytest.raises(Interrupted):
            next(work)
    finally:
        set_cancel_check(None)


def test_the_judge_gives_a_perfect_segmentation_one(monkeypatch: pytest.MonkeyPatch, card: ModelCard) -> None:
    one = field(3)
    found = type("Found", (), {"labels": one.cells})
    monkeypatch.setattr(FlowNetSegmenter, "segment", lambda *_: found)
    assert module.judge(card.load(), [one], 12.0, 25.0, Settings(), CPU) == [{"ap_0.5": 1.0, "ap_0.75": 1.0}]


def test_a_model_folder_that_cannot_be_used_is_told(card: ModelCard, tmp_path: Path) -> None:
    def loaded(name: Path) -> None:
        load_models(Settings(cells_model=str(name), phenotype_model="none", device="cpu"))

    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match=r"there is no model for cells in the folder \(no cells\.json\)"):
        loaded(empty)
    model, _ = drive(finetune([field(0)], card, QUICK, Settings(), CPU, allow_single_group=True))
    save(model, tmp_path / "mine")
    weights = tmp_path / "mine" / "cells.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(
        InputError, match=r"differ from the sha256 on their card.*copy the whole model folder"
    ):
        loaded(tmp_path / "mine")
    path = tmp_path / "mine" / "cells.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    for change, message in (
        ({"kind": "nuclei"}, "the model finds nuclei, not cells"),
        ({"diameter_px": -3}, "diameter_px is no length"),
    ):
        path.write_text(json.dumps(values | change), encoding="utf-8")
        with pytest.raises(InputError, match=message):
            loaded(tmp_path / "mine")
