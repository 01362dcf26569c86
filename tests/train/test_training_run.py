"""The training's one entry point: stages of a file, done once, gone on with after a stop."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
import yaml
from paths import TRAINING

from napari_tam.train.flows import clean_batches, loss

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(not TRAINING.exists(), reason="the training scripts are not here")

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(TRAINING)
    import distil
    import run as training
for name in ("data", "distil", "run", "training_loop"):
    sys.modules.pop(name, None)

PLACES = {"runs": TRAINING, "models": TRAINING, "data": TRAINING, "left_out": TRAINING}


def start(*arguments: str, cache: Path | str = os.devnull) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TRAINING / "run.py"), *arguments]
    env = os.environ | {"TRAINING_CACHE": str(cache)}
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, env=env)


def stages_file(folder: Path, stages: dict[str, object]) -> Path:
    path = folder / "stages.yaml"
    path.write_text(yaml.safe_dump(stages, sort_keys=False))
    return path


def test_every_stage_is_something_that_its_script_takes() -> None:
    stages = training.read_stages(TRAINING / "stages.yaml", PLACES)
    assert len({stage.name for stage in stages}) == len(stages)
    for stage in stages:
        taken = (TRAINING / stage.script).read_text()
        asked = [part for part in stage.arguments if part.startswith("--")]
        if stage.trains:
            asked += ["--data", "--out", "--device", "--threads", "--minutes"]
        for option in asked:
            assert f'add_argument("{option}"' in taken, (stage.name, option)


def test_a_stage_that_names_weights_comes_after_the_stage_that_makes_them() -> None:
    made: set[str] = set()
    for stage in training.read_stages(TRAINING / "stages.yaml", PLACES | {"runs": "RUNS"}):
        used = {part for part in stage.arguments if part.startswith("RUNS/")}
        if stage.script == "weights_of_commit.py":
            made |= used
        assert used <= made, stage.name
        made |= {f"RUNS/{stage.name}.pt"} if stage.trains else set()


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ({"a": {"script": "export.py", "nedds": []}}, "stage a has nedds"),
        ({"a": {"script": "no.py"}}, "stage a has no script"),
        ({"a": {}}, "stage a has no script"),
    ],
)
def test_a_stage_that_cannot_be_run_is_one_sentence(
    tmp_path: Path, stages: dict[str, object], said: str
) -> None:
    ended = start("--settings", str(stages_file(tmp_path, stages)), "--list")
    assert ended.returncode == 1
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_unknown_stage_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    ended = start("--list", "phenotpye", "--runs", str(tmp_path))
    assert ended.returncode == 1
    assert "no stage phenotpye" in ended.stderr
    assert "phenotype" in ended.stderr.split("there are")[1]


def test_only_what_the_stages_read_is_packed(tmp_path: Path) -> None:
    for name in ("cells", "nuclei", "puncta", "other"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "a.tif").write_bytes(bytes(1000))
    ended = start("--pack", str(tmp_path / "packed"), "--data", str(tmp_path / "data"), "student", "nuclei")
    assert ended.returncode == 0, ended.stderr
    assert {path.name for path in (tmp_path / "packed").iterdir()} == {"cells", "nuclei"}


def test_a_training_that_ran_out_of_time_is_gone_on_with_and_then_done(tmp_path: Path) -> None:
    stages = {
        "small": {
            "script": "train_flownet.py",
            "name": "cells",
            "trains": True,
            "options": {"steps": 2, "batch": 1, "crop": 32, "simulated": 1, "average": 0.5},
        }
    }
    told = ["--settings", str(stages_file(tmp_path, stages)), "--data", str(tmp_path)]
    told += ["--runs", str(tmp_path / "runs"), "--threads", "1"]
    cache = tmp_path / "cache"
    ended = start(*told, "--minutes", "0.00001", cache=cache)
    assert (ended.returncode, "out of time" in ended.stdout) == (3, True), ended.stderr + ended.stdout
    assert json.loads((tmp_path / "runs" / "small.json").read_text())["steps_done"] == 1
    assert (ended := start(*told, cache=cache)).returncode == 0, ended.stdout + ended.stderr
    assert "small: done after" in ended.stdout
    assert json.loads((tmp_path / "runs" / "small.json").read_text())["steps_done"] == 2
    assert "small: done before" in start(*told, cache=cache).stdout


def test_a_script_that_fails_ends_the_run_and_shows_its_log(tmp_path: Path) -> None:
    stages = {"copy": {"script": "export.py", "name": "cells", "options": {"weights": "nowhere.pt"}}}
    ended = start("--settings", str(stages_file(tmp_path, stages)), "--runs", str(tmp_path / "runs"))
    assert ended.returncode == 1
    assert "copy: failed" in ended.stderr
    assert "nowhere.pt" in ended.stderr
    assert not json.loads((tmp_path / "runs" / "copy.stage.json").read_text()).get("done")


# --- the student's loss ---


def target(trust: float) -> torch.Tensor:
    torch.manual_seed(3)
    answer = torch.randn(2, 3, 8, 8)
    labels = torch.cat([torch.randint(0, 2, (2, 1, 8, 8)).float(), torch.randn(2, 2, 8, 8)], dim=1)
    return torch.cat([torch.full((2, 1, 8, 8), trust), answer, labels], dim=1)


def test_labels_alone_give_cellposes_loss() -> None:
    torch.manual_seed(1)
    output, given = torch.randn(2, 3, 8, 8), target(0.0)
    assert torch.allclose(distil.taught_loss(output, given), loss(output, given[:, 4:]), rtol=1e-5)


def test_a_trusted_teachers_own_answer_is_the_least_loss() -> None:
    given = target(1.0)
    best = distil.taught_loss(given[:, 1:4], given)
    torch.manual_seed(2)
    for _ in range(5):
        assert distil.taught_loss(given[:, 1:4] + 0.3 * torch.randn(2, 3, 8, 8), given) > best


def test_the_teacher_sees_the_crop_before_its_light_is_varied() -> None:
    labels = np.zeros((64, 64), np.int32)
    labels[20:44, 20:44] = 1
    image = np.stack([labels * 1.0, labels * 0.5]).astype(np.float32)
    samples = [distil.data.Sample("a", "cells", image, distil.data.flows(labels))]
    seen: list[torch.Tensor] = []

    class Teacher(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(x.clone())
            return torch.zeros(len(x), 3, *x.shape[2:])

    given = (samples, Teacher(), 48, 4, 5, 0, {"cells": 1.0}, torch.device("cpu"))
    images, _ = next(distil.taught_batches(*given))
    clean = next(clean_batches(samples, "cells", 48, 4, 5, 0, {"cells": 1.0}))
    assert torch.equal(seen[0], torch.from_numpy(clean.images))
    assert not torch.equal(seen[0], images)
