from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from paths import TRAINING
from safetensors.torch import save_file

from napari_tam.networks.flownet import FlowNet
from napari_tam.puncta.spot_input import PLANES
from napari_tam.train.flows import loss

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(not TRAINING.exists(), reason="the training scripts are not here")

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(TRAINING)
    import puncta_cells
    import puncta_fields
    import puncta_scenes
    import train_puncta
# The scripts' names are common ones.
for script in ("data", "puncta_cells", "puncta_fields", "puncta_scenes", "train_flownet", "train_puncta"):
    sys.modules.pop(script, None)
sys.modules.pop("training_loop", None)

torch.set_num_threads(1)

#: A texture that gives hazy fields no bumps.
FLAT = np.tile(np.linspace(0, 100, 200, dtype=np.float32), (200, 1))


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the least that training reads: tiles of three blocks, some images, some textures."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for name in ("puncta/real", "puncta/train", "nuclei", "unlabelled", "real"):
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
    planes = rng.integers(90, 200, (2, 512, 512)).astype(np.uint16)
    tifffile.imwrite(root / "puncta/real/autofluorescence.tif", planes)
    places = pd.DataFrame({"y_px": [10.0, 20, 400, 300], "x_px": [30.0, 400, 20, 301]})
    places.to_csv(root / "puncta/real/autofluorescence_puncta.csv", index=False)
    for name, shape in (
        ("real/hela_cells.ome", (3, 200, 200)), ("real/xy_16bit__autophagosomes", (150, 140)),
        ("real/nuclear_condensates_1_zstack", (2, 3, 190, 190)),
        ("real/nuclear_condensates_2_zstack", (2, 3, 190, 190)), ("unlabelled/deepblink_c1", (180, 180)),
        ("unlabelled/deepblink_c2", (180, 180)), ("unlabelled/spotiflow_hybiss", (180, 180)),
        ("unlabelled/spotiflow_terra", (180, 180)),
    ):  # fmt: skip
        pixels = rng.integers(90, 200, shape).astype(np.uint16)
        tifffile.imwrite(root / f"{name}.tif", pixels, photometric="minisblack", ome=False)
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
        assert one[0].shape == (PLANES, 96, 96)
        assert one[1].shape == (4, 96, 96)
        assert all(np.array_equal(a, b) and np.isfinite(a).all() for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("kind", puncta_fields.WEIGHTS)
def test_every_kind_of_field_is_finite_and_large_enough(kind: str, source: puncta_fields.Source) -> None:
    for seed in range(6):
        pixels, spots = source.field(kind, np.random.default_rng([4, seed]), 96)
        assert min(pixels.shape) >= 96
        assert np.isfinite(pixels).all()
        assert spots.shape[1] == len(puncta_scenes.COLUMNS)
    assert 0 <= puncta_fields.TEACHER[kind] <= 1


def test_shares_of_all_kinds_make_one() -> None:
    assert sum(puncta_fields.WEIGHTS.values()) == pytest.approx(1)
    assert set(puncta_fields.TEACHER) == set(puncta_fields.WEIGHTS)


def test_quadrants_left_out_are_never_trained_on(data_folder: Path) -> None:
    upper, lower = puncta_fields.autofluorescence(data_folder, held=False)
    assert upper.pixels.shape == lower.pixels.shape == (256, 256)
    assert upper.spots[:, :2].tolist() == [[10, 30]]
    assert lower.spots[:, :2].tolist() == [[44, 45]]
    right, left = puncta_fields.autofluorescence(data_folder, held=True)
    assert right.spots[:, :2].tolist() == [[20, 144]]
    assert left.spots[:, :2].tolist() == [[144, 20]]


@pytest.mark.parametrize("draw", ["crowd", "haze"])
def test_puncta_of_crowds_and_in_haze_are_bright_and_lie_where_they_are_said_to(draw: str) -> None:
    gained = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        image, spots = (
            puncta_cells.crowd_field(rng) if draw == "crowd" else puncta_cells.hazy_field(rng, [FLAT])
        )
        sure = spots[(spots[:, 3] == 0) & (spots[:, :2] > 12).all(axis=1)]
        sure = sure[(sure[:, :2] < min(image.shape) - 12).all(axis=1)]
        y, x = np.round(sure[:, :2]).astype(int).T
        around = cv2.GaussianBlur(image, (0, 0), 5)[y, x]
        gained += list(cv2.GaussianBlur(image, (0, 0), 1)[y, x] > around)
    assert len(gained) > 100
    assert np.mean(gained) > 0.9


def test_what_a_black_level_cuts_off_may_be_seen_or_not() -> None:
    light, heights = np.zeros((96, 96), np.float32), np.array([20.0, 100.0, 400.0])
    points = np.array([[24.0, 24], [24, 70], [70, 48]])
    spots = np.array([[*point, 1.5, 0] for point in points], np.float32)
    rng = np.random.default_rng(0)
    light += puncta_scenes.render(light.shape, spots, heights.astype(np.float32), rng, rings=False)
    image = light + rng.normal(100, 8, light.shape).astype(np.float32)
    for seed in range(20):
        cut, known = puncta_fields.cut_off(image, spots, np.random.default_rng(seed))
        assert cut.min() == 0
        assert (cut == 0).mean() > 0.1
        assert known[2, 3] == 0  # the brightest one stays
    assert spots[:, 3].tolist() == [0, 0, 0]


def test_few_photons_are_counted_and_what_has_hardly_one_counts_for_nothing() -> None:
    spots = np.array([[30, 30, 1.4, 0], [60, 60, 1.4, 0]], np.float32)
    rng = np.random.default_rng(0)
    heights = np.array([3.0, 300.0], np.float32)
    image = 100 + puncta_scenes.render((96, 96), spots, heights, rng, rings=False)
    for seed in range(20):
        counts, known = puncta_fields.counted(image, spots, np.random.default_rng(seed))
        assert counts.max() < 300
        assert known[0, 3] == puncta_scenes.IGNORED
        if (counts[58:63, 58:63] > 8).any():
            assert known[1, 3] == 0


@pytest.mark.parametrize("sigma", [0.8, 1.5, 2.2])
def test_coarse_pixels_leave_puncta_where_they_were_and_as_wide_as_the_network_sees_them(
    sigma: float,
) -> None:
    places = np.stack(np.meshgrid((30.3, 69.6), (28.7, 71.1)), axis=-1).reshape(-1, 2)
    spots = np.array([[y, x, sigma, 0] for y, x in places], np.float32)
    heights = np.full(4, 1000, np.float32)
    image = puncta_scenes.render((100, 100), spots, heights, np.random.default_rng(0), rings=False)
    for seed in range(10):
        taken, moved = puncta_fields.coarse(image, spots, None, np.random.default_rng(seed))
        for y, x, width, _ in moved:
            near = taken[int(y) - 4 : int(y) + 6, int(x) - 4 : int(x) + 6]
            rows, columns = np.mgrid[int(y) - 4 : int(y) + 6, int(x) - 4 : int(x) + 6]
            centre = [(axis * near).sum() / near.sum() for axis in (rows, columns)]
            assert centre == pytest.approx([y, x], abs=0.35)
            assert 0.7 < width < 2.1


def test_wide_puncta_stay_as_they_are() -> None:
    spots = np.array([[50, 50, 4.0, 0]], np.float32)
    image = np.ones((100, 100), np.float32)
    taken, kept = puncta_fields.coarse(image, spots, None, np.random.default_rng(0))
    assert taken is image
    assert kept is spots


def test_grain_changes_nothing_on_average() -> None:
    for seed in range(10):
        grain = puncta_cells.granular((160, 160), np.random.default_rng(seed))
        assert grain.min() > 0
        assert grain.mean() == pytest.approx(1, rel=1e-3)
        assert 0.05 < grain.std() < 1.5


def test_a_teacher_counts_for_its_share_and_alone_where_nothing_is_known() -> None:
    class Teacher(torch.nn.Module):
        in_channels = 3

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            flow = torch.ones_like(x[:, :1])
            return torch.cat(
                [5 * flow, 0 * flow, 0 * flow], 1
            )  # to the right: its mirror image says the left

    target = torch.zeros(2, 4, 8, 8)
    target[:, 0] = 1
    target[:, 0, 4:] = 0
    target[:, 1] = 1
    planes = torch.zeros(2, 4, 8, 8)
    mixed = train_puncta.taught(Teacher(), planes, target, torch.tensor([0.0, 0.5]), 3)  # type: ignore[arg-type]
    assert torch.equal(mixed[:, 0, :4], torch.ones(2, 4, 8))
    assert torch.allclose(mixed[:, 0, 4:], torch.tensor(train_puncta.UNKNOWN))
    assert mixed[:, 1, 0, 0].tolist() == [1, 0.75]
    assert torch.allclose(mixed[:, 1, 4:], torch.tensor(0.5))
    assert torch.allclose(mixed[:, 2, 4:], torch.tensor(1.0))
    upright = train_puncta.taught(Teacher(), planes, target, torch.tensor([1.0, 1.0]), 2)  # type: ignore[arg-type]
    assert torch.allclose(upright[:, 2], torch.tensor(0.0))


def test_the_soft_loss_of_hard_targets_is_the_usual_one() -> None:
    output, target = torch.randn(2, 3, 8, 8), torch.rand(2, 4, 8, 8)
    target[:, :2] = (target[:, :2] > 0.5).float()
    assert torch.isclose(train_puncta.soft_loss(output, target), loss(output, target))


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


@pytest.mark.parametrize(
    ("planes", "widths", "wider"),
    [
        (1, (4, 8), (4, 8, 8)),
        (3, (4, 8), (4, 8, 8)),
        (4, (4, 8, 8), (4, 8, 8)),
        (4, (4, 8, 8, 8), (4, 8, 12, 16)),
    ],
)
def test_a_smaller_network_is_a_start_for_one_that_sees_more(
    planes: int, widths: tuple[int, ...], wider: tuple[int, ...], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    old = FlowNet(planes, widths, 2).eval()
    save_file({k: v.contiguous() for k, v in old.state_dict().items()}, tmp_path / "old.safetensors")
    new = FlowNet(4, wider, 2).eval()
    train_puncta.start_from(new, tmp_path / "old.safetensors")
    image = torch.randn(1, 4, 32, 32)
    with torch.inference_mode():
        answer = old(image[:, :planes])
        assert torch.allclose(new(image), answer, atol=1e-5)
        assert torch.allclose(
            train_puncta.network_of(tmp_path / "old.safetensors")(image[:, :planes]), answer, atol=1e-4
        )


def test_an_interrupted_training_ends_with_the_same_weights(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(train_puncta.NETWORKS["puncta"], "widths", (4, 6))

    def run(name: str, *steps: int) -> dict[str, Any]:
        for step in steps:
            given = ["--data", str(data_folder), "--out", str(tmp_path / f"{name}.pt"), "--steps", str(step)]
            more = ["--batch", "2", "--crop", "48", "--scenes", "1", "--rate", "1e-3"]
            more += ["--init", str(before), "--teacher", str(before)]
            train_puncta.train(train_puncta.read_arguments([*given, *more]))
        return dict(torch.load(tmp_path / f"{name}.pt", weights_only=True))

    before = tmp_path / "before.safetensors"
    save_file({k: v.contiguous() for k, v in FlowNet(3, (4, 6), 2).state_dict().items()}, before)
    monkeypatch.setattr(train_puncta, "rate", lambda *_: 1e-3)
    whole, parts = run("whole", 4), run("parts", 2, 4)
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    assert (tmp_path / "whole.json").is_file()
