from __future__ import annotations

import argparse
import itertools
import json
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import torch
from flow_images import ellipses, scattered_cells
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import TRAINING
from scipy.spatial import cKDTree

from napari_tam.networks.flownet import FlowNet
from napari_tam.puncta.flows import centres_from_flows
from napari_tam.train.flows import perturb

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(not TRAINING.exists(), reason="the training scripts are not here")
MANY = settings(max_examples=40, deadline=None)

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(TRAINING)
    import data
    import train_flownet
    import training_loop
# The scripts' names are common ones.
for name in ("data", "train_flownet", "training_loop"):
    sys.modules.pop(name, None)

WEIGHTS = train_flownet.WEIGHTS


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(data, "CACHE", tmp_path / "cache")
    return tmp_path / "cache"


def samples(count: int = 3, channels: int = 2, group: str = "simulated") -> list[Any]:
    """Draw easy fields: cells bright on dark."""
    made = []
    for seed in range(count):
        labels = scattered_cells(seed, (72, 80), 9, 8)
        rng = np.random.default_rng(seed)
        image = np.stack([(labels > 0) + rng.normal(0, 0.05, labels.shape) for _ in range(channels)])
        made.append(data.Sample(f"drawn{seed}", group, image.astype(np.float32), data.flows(labels)))
    return made


def arguments(out: Path, **changes: Any) -> argparse.Namespace:
    given = ["cells", "--out", str(out), "--steps", "3", "--batch", "2", "--crop", "48", "--average", "0.9"]
    return argparse.Namespace(**vars(train_flownet.read_arguments(given)) | changes)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny network on drawn fields."""
    monkeypatch.setitem(train_flownet.NETWORKS["cells"], "widths", (4, 8))
    drawn = samples()
    monkeypatch.setattr(train_flownet, "load", lambda *_: (drawn, []))


def weights(path: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
    return state


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return list(one) == list(other) and all(torch.equal(one[key], other[key]) for key in one)


# --- the training ---


@pytest.mark.usefixtures("small")
def test_three_steps_leave_weights_a_record_and_nothing_half_done(tmp_path: Path) -> None:
    train_flownet.train(arguments(tmp_path / "net.pt"))
    FlowNet(2, (4, 8)).load_state_dict(weights(tmp_path / "net.pt"))
    record = json.loads((tmp_path / "net.json").read_text())
    assert record["steps"] == 3
    assert record["seed"] == 1
    assert str(tmp_path) not in json.dumps(record)
    assert {path.name for path in tmp_path.iterdir()} == {"net.pt", "net.json", "net.checkpoint.pt"}


@pytest.mark.usefixtures("small")
def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        train_flownet.train(arguments(tmp_path / f"{name}.pt", seed=seed))
    assert same(weights(tmp_path / "one.pt"), weights(tmp_path / "again.pt"))
    assert not same(weights(tmp_path / "one.pt"), weights(tmp_path / "other.pt"))


@pytest.mark.usefixtures("small")
def test_an_interrupted_training_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_flownet.train(arguments(tmp_path / "whole.pt", steps=5))
    # A checkpoint after every step, and a power cut after the third.
    clock = itertools.count(0, 1000)
    monkeypatch.setattr(training_loop, "time", SimpleNamespace(time=lambda: float(next(clock))))
    original = train_flownet.batches

    def cut(*given: Any) -> Iterator[Any]:
        yield from itertools.islice(original(*given), 3)
        raise OSError("power cut")

    monkeypatch.setattr(train_flownet, "batches", cut)
    with pytest.raises(OSError, match="power cut"):
        train_flownet.train(arguments(tmp_path / "parts.pt", steps=5))
    assert weights(tmp_path / "parts.checkpoint.pt")["step"] == 3
    monkeypatch.setattr(train_flownet, "batches", original)
    train_flownet.train(arguments(tmp_path / "parts.pt", steps=5))
    assert same(weights(tmp_path / "whole.pt"), weights(tmp_path / "parts.pt"))


@pytest.mark.usefixtures("small")
def test_given_weights_are_the_start(tmp_path: Path) -> None:
    torch.manual_seed(5)
    start = FlowNet(2, (4, 8)).state_dict()
    torch.save(start, tmp_path / "start.pt")
    train_flownet.train(
        arguments(tmp_path / "net.pt", init=str(tmp_path / "start.pt"), steps=1, rate=1e-9, average=0.0)
    )
    trained = weights(tmp_path / "net.pt")
    assert all(
        torch.allclose(trained[key], start[key], atol=1e-4) for key in start if key.endswith("0.weight")
    )


@pytest.mark.usefixtures("small")
def test_the_loss_falls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    original = train_flownet.loss

    def spy(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        value: torch.Tensor = original(output, target)
        seen.append(float(value.detach()))
        return value

    monkeypatch.setattr(train_flownet, "loss", spy)
    train_flownet.train(arguments(tmp_path / "net.pt", steps=60, rate=0.05))
    assert len(seen) == 60
    assert np.mean(seen[-10:]) < 0.65 * np.mean(seen[:3])


def test_batches_depend_on_seed_and_number_only() -> None:
    drawn = samples()
    whole = list(itertools.islice(train_flownet.batches(drawn, "cells", 48, 2, 7, 0, WEIGHTS), 4))
    [third] = itertools.islice(train_flownet.batches(drawn, "cells", 48, 2, 7, 3, WEIGHTS), 1)
    assert all(torch.equal(one, other) for one, other in zip(whole[3], third, strict=True))
    assert len({float(images.sum()) for images, _ in whole}) == 4
    [different] = itertools.islice(train_flownet.batches(drawn, "cells", 48, 2, 8, 3, WEIGHTS), 1)
    assert not torch.equal(third[0], different[0])
    images, targets = third
    assert images.shape == (2, 2, 48, 48)
    assert targets.shape == (2, 3, 48, 48)
    assert torch.isfinite(images).all()


def test_augmented_flows_still_point_to_the_cells_middle() -> None:
    labels = ellipses((96, 96), [(48, 48, 22, 22, 0)])
    image = (labels > 0).astype(np.float32)
    sample = data.Sample("disc", "simulated", np.stack([image, image]), data.flows(labels))
    for _, targets in itertools.islice(train_flownet.batches([sample], "cells", 96, 2, 0, 0, WEIGHTS), 6):
        for probability, dy, dx in targets.numpy():
            y, x = np.nonzero(probability > 0.5)
            inward_y, inward_x = y.mean() - y, x.mean() - x
            length = np.hypot(inward_y, inward_x)
            far = length > 0.3 * length.max()
            cosine = (dy[y, x] * inward_y + dx[y, x] * inward_x)[far] / length[far]
            assert np.median(cosine) > 0.9


def test_padding_of_a_puncta_batch_is_background_that_counts() -> None:
    spots = pd.DataFrame({"y_px": [20.0], "x_px": [20.0], "sigma_px": [1.4]})
    target = data.spot_target((40, 40), spots, np.array([False]))
    image = np.full((1, 40, 40), 0.5, np.float32)
    sample = data.Sample("small", "simulated", image, target)
    [(_, targets)] = itertools.islice(train_flownet.batches([sample], "puncta", 96, 2, 0, 0, WEIGHTS), 1)
    assert targets.shape == (2, 4, 96, 96)
    assert (targets[:, 0] == 1).float().mean() > 0.98


def test_prefetch_keeps_the_order_ends_and_hands_errors_on() -> None:
    assert list(train_flownet.prefetch(iter(range(50)))) == list(range(50))

    def failing() -> Iterator[int]:
        yield 1
        raise KeyError("lost")

    stream = train_flownet.prefetch(failing())
    assert next(stream) == 1
    with pytest.raises(KeyError, match="lost"):
        next(stream)


@pytest.mark.parametrize("kind", ["cells", "nuclei", "puncta"])
def test_perturbed_images_stay_finite_and_of_their_kind(kind: str) -> None:
    rng = np.random.default_rng(0)
    empty = 0
    for _ in range(60):
        image = rng.normal(0.3, 0.3, (2, 24, 24)).astype(np.float32)
        changed = perturb(image, kind, rng)
        assert changed.dtype == np.float32
        assert np.isfinite(changed).all()
        empty += not changed[1].any()
    # Cells must be found without a nuclear stain, too.
    assert (5 <= empty <= 30) == (kind == "cells")


# --- the loss ---


def test_the_loss_is_cellposes() -> None:
    rng = torch.Generator().manual_seed(0)
    output, flow = torch.randn(2, 3, 8, 8, generator=rng), torch.randn(2, 2, 8, 8, generator=rng)
    probability = (torch.rand(2, 1, 8, 8, generator=rng) > 0.5).float()
    expected = torch.nn.MSELoss()(output[:, :2], 5 * flow) / 2
    expected += torch.nn.BCEWithLogitsLoss()(output[:, 2:], probability)
    target = torch.cat([probability, flow], 1)
    assert torch.isclose(train_flownet.loss(output, target), expected)
    # A plane of ones as weights changes nothing; pixels of no weight do not count.
    weighted = torch.cat([torch.ones(2, 1, 8, 8), target], 1)
    assert torch.isclose(train_flownet.loss(output, weighted), expected)
    weighted[:, 0, 4:] = 0
    worse = output.clone()
    worse[:, :, 4:] += 100
    assert torch.isclose(train_flownet.loss(output, weighted), train_flownet.loss(worse, weighted))


def test_a_perfect_output_has_next_to_no_loss() -> None:
    [sample] = samples(1)
    target = torch.from_numpy(sample.target[None, 1:])
    output = torch.cat([5 * target[:, 1:], 40 * target[:, :1] - 20], 1)
    assert train_flownet.loss(output, target) < 1e-6


# --- the targets ---


def spots(*places: tuple[float, float], sigma: float = 1.4) -> pd.DataFrame:
    return pd.DataFrame(places, columns=["y_px", "x_px"], dtype=float).assign(sigma_px=sigma)


@MANY
@given(st.floats(8, 21), st.floats(8, 21), st.floats(0.7, 4))
def test_spot_flows_point_inward_and_vanish_at_the_centre(y: float, x: float, sigma: float) -> None:
    target = data.spot_target((30, 30), spots((y, x), sigma=sigma), np.array([False]))
    rows, columns = np.nonzero(target[1])
    assert len(rows) >= 4
    dy, dx = target[2][rows, columns], target[3][rows, columns]
    distance = np.hypot(y - rows, x - columns)
    # Unit vectors to the sub-pixel centre; within 1 px of it they are as long as the way.
    assert np.hypot(dy, dx) == pytest.approx(np.minimum(distance, 1), abs=1e-5)
    assert dy * np.maximum(distance, 1) == pytest.approx(y - rows, abs=1e-4)
    assert dx * np.maximum(distance, 1) == pytest.approx(x - columns, abs=1e-4)
    assert (distance < np.clip(1.5 * sigma, 1.7, 7)).all()
    assert not target[2:4][:, target[1] == 0].any()
    assert (target[4] == 1).all()


@MANY
@given(st.lists(st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5)), min_size=9, max_size=9))
def test_the_detector_reads_the_targets_as_they_were_meant(offsets: list[tuple[float, float]]) -> None:
    places = [(8 + 9 * (i // 3) + dy, 8 + 9 * (i % 3) + dx) for i, (dy, dx) in enumerate(offsets)]
    target = data.spot_target((36, 36), spots(*places), np.zeros(9, bool))
    output = np.stack([5 * target[2], 5 * target[3], 16 * target[1] - 8])
    found, _ = centres_from_flows(output)
    assert len(found) == 9
    assert cKDTree(found).query(np.array(places))[0].max() < 0.1


def test_a_pixel_belongs_to_the_spot_it_lies_deepest_in() -> None:
    target = data.spot_target((20, 30), spots((10, 10), (10, 13)), np.zeros(2, bool))
    assert target[0, 10, 9:12].tolist() == [1, 1, 1]
    assert target[0, 10, 12:15].tolist() == [2, 2, 2]
    assert target[3, 10, 11] < 0 < target[3, 10, 12]


def test_ignored_spots_are_looked_away_from_but_not_over_others() -> None:
    target = data.spot_target((30, 40), spots((10, 10), (10, 12), (20, 30)), np.array([False, True, False]))
    assert (target[4][target[1] > 0] == 1).all()
    assert target[4, 10, 14] == 0
    assert set(np.unique(target[0])) == {0, 1, 3}
    assert target[4].mean() > 0.95


@pytest.mark.parametrize("place", [(-0.5, -0.5), (29.5, 39.5), (-9.0, 5.0), (5.0, 60.0)])
def test_spots_at_and_beyond_the_border_do_no_harm(place: tuple[float, float]) -> None:
    target = data.spot_target((30, 40), spots(place), np.array([False]))
    assert target.shape == (5, 30, 40)
    assert np.isfinite(target).all()
    inside = -1 < place[0] < 30 and -1 < place[1] < 40
    assert bool(target[1].any()) == inside


def test_cell_targets_are_cellposes() -> None:
    labels = scattered_cells(2, (60, 70), 10, 6)
    target = data.flows(labels)
    assert target.shape == (4, 60, 70)
    assert np.array_equal(target[0] > 0, labels > 0)
    assert np.array_equal(target[1] > 0, labels > 0)
    length = np.hypot(*target[2:])
    assert length.max() == pytest.approx(1, abs=1e-5)
    assert not data.flows(np.zeros((20, 30), int)).any()


# --- the fields ---


def test_the_first_run_sees_the_same_samples_as_later_ones(own_cache: Path) -> None:
    calls = []

    def make() -> list[Any]:
        calls.append(1)
        return samples(2)

    first, second = data.cached("key", make), data.cached("key", make)
    assert len(calls) == 1
    for one, other in zip(first, second, strict=True):
        assert (one.name, one.group) == (other.name, other.group)
        assert np.array_equal(one.image, other.image)
        assert np.array_equal(one.target, other.target)
        assert one.image.dtype == one.target.dtype == np.float32
    data.cached("another key", make)
    assert len(calls) == 2
    assert not list(own_cache.glob("*.part*"))


def test_fields_are_brought_to_the_working_scale() -> None:
    labels = ellipses((120, 200), [(60, 50, 40, 40, 0), (60, 150, 40, 40, 0)])
    image = np.stack([labels > 0, labels == 2]).astype(np.uint8) * 200
    assert data.median_diameter(labels) == pytest.approx(80, rel=0.02)
    small, fewer = data.to_scale(image, labels, 30 / 80)
    assert small.shape == (2, 45, 75)
    assert fewer.shape == (45, 75)
    assert data.median_diameter(fewer) == pytest.approx(30, rel=0.03)
    assert set(np.unique(fewer)) == {0, 1, 2}
    inside, labelled = small[1] > 100, fewer == 2
    assert (inside & labelled).sum() > 0.93 * (inside | labelled).sum()
    assert data.median_diameter(np.zeros((4, 4), int)) == 0


def test_the_held_out_nuclei_are_always_the_same() -> None:
    names = [f"dsb_{i:03d}" for i in range(200)]
    held = data.held_out_nuclei(names)
    assert len(held) == 50
    assert held < set(names)
    assert data.held_out_nuclei(names[::-1]) == held


@pytest.mark.parametrize("kind", ["cells", "nuclei"])
def test_simulated_fields_are_at_working_scale_and_repeatable(kind: str, own_cache: Path) -> None:
    diameter = 30.0 if kind == "cells" else 17.0
    made = data.simulated(kind, diameter, 2, 11)
    for path in own_cache.iterdir():
        path.unlink()
    again = data.simulated(kind, diameter, 2, 11)
    assert made
    for one, other in zip(made, again, strict=True):
        assert np.array_equal(one.image, other.image)
        assert np.array_equal(one.target, other.target)
        assert one.image.shape == (2 if kind == "cells" else 1, *one.target.shape[1:])
        assert data.median_diameter(one.target[0].astype(int)) == pytest.approx(diameter, rel=0.1)
