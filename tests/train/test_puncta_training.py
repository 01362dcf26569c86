from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from paths import TRAINING
from safetensors.torch import save_file

from napari_tam.networks.flownet import FlowNet

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(not TRAINING.exists(), reason="the training scripts are not here")

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(TRAINING)
    import puncta_fields
    import puncta_scenes
    import train_puncta
# The scripts' names are common ones.
for script in ("data", "puncta_fields", "puncta_scenes", "train_flownet", "train_puncta", "training_loop"):
    sys.modules.pop(script, None)

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the least that training reads: tiles of three blocks, one DeepSpot image, some textures."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for name in ("puncta/real", "puncta/train", "nuclei", "unlabelled"):
        (root / name).mkdir(parents=True)
    tifffile.imwrite(
        root / "puncta/real/psd95_tiles.tif", rng.integers(90, 200, (150, 128, 128)).astype(np.uint16)
    )
    table = pd.DataFrame({"tile": np.arange(150), "y_px": 60.0, "x_px": 20.0})
    table.to_csv(root / "puncta/real/psd95_puncta.csv", index=False)
    tifffile.imwrite(root / "puncta/train/a.tif", rng.integers(90, 200, (256, 256)).astype(np.uint16))
    table[["y_px", "x_px"]].head(1).to_csv(root / "puncta/train/a_puncta.csv", index=False)
    tifffile.imwrite(root / "nuclei/a.tif", rng.integers(0, 255, (120, 140)).astype(np.uint8))
    for name in ("u2os_cell_painting", "bpae_actin_mito_nuclei"):
        tifffile.imwrite(
            root / f"unlabelled/{name}.tif",
            rng.integers(0, 999, (3, 110, 130)).astype(np.uint16),
            photometric="minisblack",
        )
    return root


@pytest.fixture(scope="module")
def source(data_folder: Path) -> puncta_fields.Source:
    return puncta_fields.Source(data_folder, 1, 2)


def test_blocks_left_out_are_never_trained_on(data_folder: Path) -> None:
    kept = puncta_fields.psd95(data_folder, held=True)
    assert len(kept) == 50
    assert len(puncta_fields.psd95(data_folder, held=False)) == 100
    assert [puncta_fields.held_out(tile) for tile in (99, 100, 149, 150, 350)] == [
        False,
        True,
        True,
        False,
        True,
    ]


def test_a_crop_depends_on_its_seed_only(source: puncta_fields.Source) -> None:
    for seed in range(8):
        one, other = (source.crop(np.random.default_rng([3, seed]), 96) for _ in range(2))
        assert one[0].shape == (3, 96, 96)
        assert one[1].shape == (4, 96, 96)
        assert all(np.array_equal(a, b) and np.isfinite(a).all() for a, b in zip(one, other, strict=True))


def test_drawn_puncta_lie_where_light_is() -> None:
    gained = []
    for seed in range(30):
        image, spots = puncta_scenes.drawn_field(np.random.default_rng(seed), [])
        assert np.isfinite(image).all()
        sure = spots[(spots[:, 3] == 0) & (spots[:, :2] > 3).all(axis=1) & (spots[:, :2] < 140).all(axis=1)]
        y, x = np.round(sure[:, :2]).astype(int).T
        if len(sure):
            gained.append(np.median(image[y, x]) > np.median(image))
    assert len(gained) > 12
    assert np.mean(gained) > 0.7  # rings are dark in their middle


def test_what_nobody_could_see_is_no_punctum_and_what_is_doubtful_counts_for_nothing() -> None:
    empty = np.random.default_rng(0).normal(100, 5, (160, 160)).astype(np.float32)
    spots = np.array([[40, 40, 1.4, 0], [80, 80, 1.4, 0], [120, 120, 1.4, 0]], np.float32)
    judged = puncta_scenes.judged(spots, np.array([2.0, 10.0, 80.0], np.float32), empty, 1.4)
    assert judged[:, 0].tolist() == [80, 120]
    assert judged[:, 3].tolist() == [puncta_scenes.IGNORED, 0]


def test_the_fainter_of_two_in_one_place_is_ignored() -> None:
    spots = np.array([[40, 40, 2, 0], [41, 40, 2, 0], [60, 60, 2, 0]], np.float32)
    merged = puncta_scenes.merged(spots, np.array([5.0, 9.0, 5.0], np.float32))
    assert (merged[:, 3] != 0).tolist() == [True, False, False]


@pytest.mark.parametrize("which", range(8))
def test_flows_turn_with_the_image(which: int) -> None:
    spots = np.array([[20.0, 31.0, 3.0, 0.0]], np.float32)
    target = puncta_fields._target(spots, (64, 64))
    planes = np.zeros((3, 64, 64), np.float32)
    planes[0, 20, 31] = 1
    turned, flows = puncta_fields.turned(planes, target, which)
    [(y, x)] = np.argwhere(turned[0] == 1)
    for row, column in np.argwhere(flows[1] > 0):
        distance = max(float(np.hypot(y - row, x - column)), 1.0)
        assert flows[2:, row, column] == pytest.approx(
            [(y - row) / distance, (x - column) / distance], abs=1e-5
        )


def test_a_mirrored_field_has_mirrored_puncta() -> None:
    pixels = np.arange(30 * 40, dtype=np.float32).reshape(30, 40)
    whole, spots = puncta_fields.mirrored(pixels, np.array([[10, 35, 1, 0]], np.float32), 70)
    assert whole.shape == (70, 70)
    for y, x in np.round(spots[:, :2]).astype(int):
        if y < 70 and x < 70:
            assert whole[y, x] == pixels[10, 35]


def test_cameras_leave_the_light_as_bright_as_it_was() -> None:
    light = np.full((128, 128), 80, np.float32)
    light[50:60, 50:60] = 400
    for seed in range(40):
        camera = puncta_scenes.Camera.draw(np.random.default_rng(seed), light)
        image = camera.photograph(light, np.random.default_rng(seed))
        assert image.shape == light.shape
        assert np.median(image) == pytest.approx(80, rel=0.15)


def test_a_network_of_one_plane_is_a_start_for_one_of_three(tmp_path: Path) -> None:
    torch.manual_seed(0)
    old = FlowNet(1, (4, 8), 2).eval()
    save_file({k: v.contiguous() for k, v in old.state_dict().items()}, tmp_path / "old.safetensors")
    new = FlowNet(3, (4, 8), 2).eval()
    train_puncta.start_from(new, tmp_path / "old.safetensors")
    planes = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        assert torch.allclose(new(planes), old(planes[:, :1]), atol=1e-5)


def test_an_interrupted_training_ends_with_the_same_weights(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(train_puncta.NETWORKS["puncta"], "widths", (4, 6))

    def run(name: str, *steps: int) -> dict[str, Any]:
        for step in steps:
            given = ["--data", str(data_folder), "--out", str(tmp_path / f"{name}.pt"), "--steps", str(step)]
            more = ["--batch", "2", "--crop", "48", "--scenes", "1", "--rate", "1e-3"]
            train_puncta.train(train_puncta.read_arguments([*given, *more]))
        return dict(torch.load(tmp_path / f"{name}.pt", weights_only=True))

    monkeypatch.setattr(train_puncta, "rate", lambda *_: 1e-3)
    whole, parts = run("whole", 4), run("parts", 2, 4)
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    assert (tmp_path / "whole.json").is_file()
