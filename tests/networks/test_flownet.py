from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_tam.errors import InputError
from napari_tam.networks.devices import choose_device
from napari_tam.networks.engines import fast_dtype
from napari_tam.networks.flownet import FlowNet
from napari_tam.networks.predictor import MARGIN, Predictor
from napari_tam.networks.tiles import tiles

# Small images: more threads would only wait for each other.
torch.set_num_threads(1)

#: The shapes of the three bundled networks.
BUNDLED = {
    "cells": (2, (32, 64, 128, 192), 1),
    "nuclei": (1, (16, 32, 64, 128), 1),
    "puncta": (3, (32, 64, 64), 2),
}


def network(
    in_channels: int = 2, widths: tuple[int, ...] = (8, 12, 16), stem: int = 1, seed: int = 0
) -> FlowNet:
    """Return an untrained network whose norms have seen something (so that folding them matters)."""
    torch.manual_seed(seed)
    made = FlowNet(in_channels, widths, stem)
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.7, 1.4)
            torch.nn.init.uniform_(module.bias, -0.3, 0.3)
            torch.nn.init.uniform_(module.running_mean, -0.3, 0.3)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    return made.eval()


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def reference(net: FlowNet, image: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return net(torch.from_numpy(image)[None])[0].numpy()


@pytest.mark.parametrize("stem", [1, 2])
@pytest.mark.parametrize("shape", [(64, 64), (61, 47), (8, 8), (5, 3), (1, 1), (3, 70), (16, 9)])
def test_output_has_the_size_of_the_image(shape: tuple[int, int], stem: int) -> None:
    output = Predictor(network(stem=stem))(noise(2, *shape))
    assert output.shape == (3, *shape)
    assert output.dtype == np.float32
    assert np.isfinite(output).all()


@pytest.mark.parametrize(("name", "shape"), BUNDLED.items())
def test_the_bundled_shapes_have_under_two_million_parameters(name: str, shape: tuple) -> None:
    net = FlowNet(*shape)
    assert sum(p.numel() for p in net.parameters()) < 2e6
    assert net.multiple == 8
    assert net(torch.zeros(1, shape[0], 16, 24)).shape == (1, 3, 16, 24)


@pytest.mark.parametrize("stem", [1, 2])
def test_folding_the_norms_changes_nothing(stem: int) -> None:
    net, image = network(stem=stem), noise(2, 48, 56)
    before = reference(net, image)
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in net.modules())
    folded = net.fold_norms()
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    assert np.abs(reference(folded, image) - before).max() < 1e-4


def test_a_predictor_leaves_its_network_as_it_was() -> None:
    net, image = network().train(), noise(2, 32, 32)
    state = {name: value.clone() for name, value in net.state_dict().items()}
    Predictor(net, dtype=torch.bfloat16)(image)
    assert net.training
    assert list(net.state_dict()) == list(state)
    assert all(torch.equal(net.state_dict()[name], value) for name, value in state.items())


def test_a_predictor_gives_the_networks_output_for_the_image_in_an_empty_frame() -> None:
    net, image = network(), noise(2, 40, 72)
    assert MARGIN % net.multiple == 0
    framed = np.pad(image, [(0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)])
    inside = (slice(None), slice(MARGIN, MARGIN + 40), slice(MARGIN, MARGIN + 72))
    assert np.abs(Predictor(net, dtype=torch.float32)(image) - reference(net, framed)[inside]).max() < 1e-4


def test_a_predictor_takes_views_and_leaves_the_image_alone() -> None:
    image = noise(2, 80, 60)
    before = image.copy()
    predictor = Predictor(network(), dtype=torch.float32)
    turned = predictor(image.transpose(0, 2, 1)[:, ::-1])
    assert np.array_equal(image, before)
    assert np.allclose(turned, predictor(np.ascontiguousarray(image.transpose(0, 2, 1)[:, ::-1])), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_close_to_single_precision(dtype: torch.dtype) -> None:
    net, image = network(), noise(2, 64, 64)
    exact, half = (Predictor(net, dtype=kind)(image) for kind in (torch.float32, dtype))
    assert half.dtype == np.float32
    # Eight bits of a number survive in bfloat16, and ten layers add their errors up.
    assert np.abs(half - exact).max() < (0.15 if dtype == torch.bfloat16 else 0.02) * np.abs(exact).max()
    assert np.corrcoef(half.ravel(), exact.ravel())[0, 1] > (0.999 if dtype == torch.bfloat16 else 0.99999)


@pytest.mark.parametrize(("stem", "shape"), [(1, (190, 131)), (2, (232, 149)), (1, (64, 203))])
def test_tiles_change_nothing(stem: int, shape: tuple[int, int]) -> None:
    net, image = network(stem=stem), noise(2, *shape)
    # An overlap of 24 (stem 2: 40) covers the reach of this small network; 21 is rounded up.
    overlap = 21 if stem == 1 else 40
    whole = Predictor(net, dtype=torch.float32, tile=4096)(image)
    parts = Predictor(net, dtype=torch.float32, tile=3 * overlap + 1, overlap=overlap)(image)
    assert len(list(tiles(shape, 3 * overlap + 1, overlap, net.multiple))) > 3
    assert np.abs(whole - parts).max() < 1e-4


def test_the_default_overlap_covers_the_reach_of_the_bundled_networks() -> None:
    for in_channels, widths, stem in BUNDLED.values():
        # Same reach, fewer channels. The reach is where a gradient arrives.
        net = network(in_channels, tuple(4 for _ in widths), stem)
        default = Predictor(net).overlap
        for place in (128, 135):  # first and last pixel of what is pooled together
            image = torch.zeros(1, in_channels, 256, 8, requires_grad=True)
            net(image)[0, :, place].sum().backward()
            rows = torch.nonzero(image.grad.abs().sum((0, 1, 3))).ravel()
            if place == 128:
                assert rows.min() >= 128 - default
            else:
                assert rows.max() <= 135 + default


@settings(max_examples=100, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 400), st.integers(1, 30)),
    size=st.integers(1, 200),
    overlap=st.integers(0, 60),
    multiple=st.sampled_from([1, 2, 8, 16]),
)
def test_tiles_cover_every_pixel_once(shape: tuple[int, int], size: int, overlap: int, multiple: int) -> None:
    overlap -= overlap % multiple
    covered = np.zeros(shape, int)
    for tile in tiles(shape, size, overlap, multiple):
        covered[tile.inner] += 1
        for inner, outer, length in zip(tile.inner, tile.outer, shape, strict=True):
            assert 0 <= outer.start <= inner.start < inner.stop <= outer.stop <= length
            # The overlap is whole, but at the edge of the plane.
            assert inner.start - outer.start == min(overlap, inner.start)
            assert outer.stop - inner.stop == min(overlap, length - inner.stop)
            assert outer.start % multiple == 0
            if size >= 2 * overlap + multiple:
                assert outer.stop - outer.start <= max(size, multiple)
    assert (covered == 1).all()


def test_a_plane_that_fits_is_one_tile() -> None:
    [tile] = tiles((768, 700), 768, 48, 8)
    assert tile.outer == tile.inner == (slice(0, 768), slice(0, 700))


def test_tiles_are_about_equal_in_size() -> None:
    heights = [t.inner[0].stop - t.inner[0].start for t in tiles((1500, 10), 768, 48, 8)]
    assert sum(heights) == 1500
    assert len(heights) == 3
    assert max(heights) - min(heights) <= 2 * 8


def test_auto_finds_a_device_that_works() -> None:
    assert torch.ones(2, device=choose_device("auto")).sum().item() == 2
    assert choose_device("cpu") == "cpu"


@pytest.mark.parametrize("name", ["cuda:99", "banana", "", "cpu:x", "meta", "hpu", "cuda:-1", "xla"])
def test_a_device_that_is_not_there_is_an_input_error(name: str) -> None:
    with pytest.raises(InputError, match=r"device.*cannot be used.*use 'auto' or 'cpu'") as caught:
        choose_device(name)
    assert "\n" not in str(caught.value)


def test_every_device_has_a_fast_format_it_computes_in() -> None:
    assert fast_dtype(torch.device("cpu")) in (torch.float32, torch.bfloat16)
    assert fast_dtype(torch.device("cuda")) == torch.float16
