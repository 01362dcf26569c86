from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from napari_tam.cli import doctor
from napari_tam.errors import InputError
from napari_tam.networks import engines, openvino_import
from napari_tam.networks.cpnet import CPNet
from napari_tam.networks.engines import OpenVinoEngine, TorchEngine, choose_engine, openvino_problem
from napari_tam.networks.flownet import FlowNet
from napari_tam.networks.predictor import Predictor
from napari_tam.stopping import Interrupted, set_cancel_check

if TYPE_CHECKING:
    from collections.abc import Iterator

torch.set_num_threads(1)

CPU = torch.device("cpu")
needs_openvino = pytest.mark.skipif(bool(openvino_problem()), reason="OpenVINO is not here")

NETWORKS = {
    "FlowNet": lambda: FlowNet(2, (8, 12, 16)),
    "FlowNet with a stem": lambda: FlowNet(3, (8, 16), 2),
    "FlowNet of blocks of four": lambda: FlowNet(1, (8, 12), 4),
    "CPNet": lambda: CPNet(2, (8, 12, 16)),
    "CPNet of one channel": lambda: CPNet(1, (4, 6)),
}


def untrained(name: str) -> Any:
    """Return a network whose norms have seen something."""
    torch.manual_seed(3)
    made = NETWORKS[name]()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.7, 1.4)
            nn.init.uniform_(module.bias, -0.3, 0.3)
            nn.init.uniform_(module.running_mean, -0.3, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return made.eval()


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def without_openvino(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    openvino_import.openvino.cache_clear()
    monkeypatch.setitem(sys.modules, "openvino", None)
    yield
    openvino_import.openvino.cache_clear()


@needs_openvino
@pytest.mark.parametrize("name", NETWORKS)
def test_both_engines_compute_what_the_network_computes(name: str) -> None:
    network = untrained(name)
    openvino = OpenVinoEngine(network, precision="full")
    torchs = TorchEngine(network, CPU, torch.float32)
    for shape in ((40, 56), (8, 8), (72, 16), (40, 56)):
        image = noise(network.in_channels, *shape)
        with torch.inference_mode():
            wanted = network(torch.from_numpy(image)[None])[0].numpy()
        assert wanted.std() > 0.01
        for engine in (openvino, torchs):
            found = engine(image)
            assert found.dtype == np.float32
            assert np.abs(found - wanted).max() < 1e-4 * np.abs(wanted).max()


@given(
    count=st.integers(1, 2),
    channels=st.integers(1, 3),
    size=st.integers(2, 4),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
)
@settings(deadline=None)  # the loop is compiled first
def test_blocks_become_pixels_as_torch_shuffles_them(
    count: int, channels: int, size: int, height: int, width: int
) -> None:
    blocks = noise(count, channels * size**2, height, width)
    wanted = nn.functional.pixel_shuffle(torch.from_numpy(blocks), size).numpy()
    np.testing.assert_array_equal(engines.spread(blocks, size), wanted)


@needs_openvino
@pytest.mark.parametrize("name", NETWORKS)
def test_the_number_of_threads_changes_no_bit(name: str, threads: None) -> None:
    predictor, results = Predictor(untrained(name), engine="openvino", tile=96, overlap=16), []
    image = noise(predictor.in_channels, 150, 117)
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        results.append(predictor(image))
    assert all(np.array_equal(result, results[0]) for result in results)


@needs_openvino
def test_several_threads_use_one_engine_at_once() -> None:
    predictor = Predictor(untrained("CPNet"), engine="openvino")
    images = [noise(2, 60 + 8 * n, 90, seed=n) for n in range(8)]
    wanted = [predictor(image) for image in images]
    with ThreadPoolExecutor(4, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for _ in range(3):
            for found, expected in zip(pool.map(predictor, images), wanted, strict=True):
                assert np.array_equal(found, expected)


@needs_openvino
def test_a_network_that_runs_can_be_stopped_and_used_again() -> None:
    predictor = Predictor(CPNet(2, (24, 32)).eval(), engine="openvino", tile=4096)
    image, outcome = noise(2, 600, 700), []
    running = threading.Event()

    def run() -> None:
        asked = 0

        def stop() -> bool:
            nonlocal asked
            asked += 1
            if asked > 1:  # the first question comes before the tile
                running.set()
            return asked > 1

        set_cancel_check(stop)
        try:
            predictor(image)
        except Interrupted:
            outcome.append("interrupted")

    worker = threading.Thread(target=run)
    worker.start()
    worker.join(60)
    assert running.is_set()
    assert outcome == ["interrupted"]
    assert predictor(noise(2, 40, 40)).shape == (3, 40, 40)


@needs_openvino
def test_an_engine_leaves_its_network_as_it_was() -> None:
    for name in NETWORKS:
        network = untrained(name).train()
        state = {key: value.clone() for key, value in network.state_dict().items()}
        for engine in ("openvino", "torch"):
            Predictor(network, engine=engine)(noise(network.in_channels, 24, 24))
        assert network.training
        assert all(torch.equal(network.state_dict()[key], value) for key, value in state.items())


@needs_openvino
@pytest.mark.parametrize(
    "forward",
    [
        lambda x: torch.sigmoid(x),
        lambda x: nn.functional.interpolate(x, scale_factor=2, mode="bilinear"),
        lambda x: x[:, :1],
        lambda x: nn.functional.max_pool2d(x, 2, padding=1),
        lambda x: nn.functional.conv2d(x, torch.ones(2, 1, 3, 3), groups=2),
    ],
)
def test_what_has_no_counterpart_is_refused_and_not_guessed(forward: Any) -> None:
    from napari_tam.networks.openvino_graph import graph_of

    class Other(nn.Module):
        def forward(self, x: Any) -> Any:
            return forward(x)

    with pytest.raises(NotImplementedError, match="no counterpart"):
        graph_of(Other(), [1, 2, -1, -1])


@pytest.mark.parametrize(("device", "most"), [("cuda:1", 1), ("mps", 1), ("cpu", 2)])
def test_threads_take_turns_at_a_card_and_not_on_the_processor(device: str, most: int) -> None:
    inside, seen, both = [0], [], threading.Barrier(2)

    class Slow(TorchEngine):
        def run(self, batch: np.ndarray) -> np.ndarray:
            inside[0] += 1
            with contextlib.suppress(threading.BrokenBarrierError):
                both.wait(0.2)  # for the other thread: it comes in time only if it need not wait
            seen.append(inside[0])
            inside[0] -= 1
            return batch

    engine = Slow(untrained("FlowNet"), CPU, torch.float32)
    engine.device = device
    images = [noise(2, 8, 8, seed=n) for n in range(2)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(engine, images))
    assert all(np.array_equal(a, b) for a, b in zip(found, images, strict=True))
    assert max(seen) == most


def test_auto_takes_openvino_on_the_processor_and_torch_on_other_devices() -> None:
    assert choose_engine("auto", CPU) == ("torch" if openvino_problem() else "openvino")
    assert choose_engine("auto", torch.device("cuda")) == "torch"
    assert choose_engine("torch", CPU) == "torch"


@needs_openvino
def test_openvino_on_another_device_is_an_input_error() -> None:
    with pytest.raises(InputError, match=r"engine: OpenVINO runs .* not on 'mps'"):
        choose_engine("openvino", torch.device("mps"))


def test_without_openvino_torch_runs_the_networks(without_openvino: None) -> None:
    assert choose_engine("auto", CPU) == "torch"
    assert isinstance(Predictor(untrained("FlowNet")).engine, TorchEngine)
    with pytest.raises(InputError, match=r"engine: OpenVINO is not installed.*pip install openvino"):
        Predictor(untrained("FlowNet"), engine="openvino")


def test_doctor_says_what_a_machine_without_openvino_loses(without_openvino: None) -> None:
    [check] = [
        check for check in doctor.network_checks() if check.status == "warning" and "OpenVINO" in check.text
    ]
    assert "is not installed" in check.text
    assert "twice" in check.text
    assert check.fix == "pip install openvino"


@needs_openvino
def test_a_given_data_type_means_torch() -> None:
    predictor = Predictor(untrained("FlowNet"), dtype=torch.bfloat16)
    assert isinstance(predictor.engine, TorchEngine)
    assert isinstance(Predictor(untrained("FlowNet")).engine, OpenVinoEngine)


@needs_openvino
def test_half_precision_is_for_processors_that_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Core:
        found: tuple[str, ...] = ()

        def get_property(self, *_: str) -> tuple[str, ...]:
            return self.found

    class Fake:
        pass

    fake: Any = Fake()
    fake.Core = Core
    monkeypatch.setattr(engines, "openvino", lambda: fake)
    assert engines.openvino_precision() == "f32"
    Core.found = ("FP32", "FP16", "INT8")  # as on ARM
    assert engines.openvino_precision() == "f32"
    Core.found = ("FP32", "BF16")
    assert engines.openvino_precision() == "bf16"


@needs_openvino
def test_openvino_is_imported_without_its_telemetry() -> None:
    code = (
        "import sys, socket\n"
        "def no(*_): raise SystemExit('it called home')\n"
        "socket.socket.connect = socket.getaddrinfo = no\n"
        "from napari_tam.networks.openvino_import import openvino\n"
        "openvino()\n"
        "from openvino.tools.ovc import telemetry_utils\n"
        "print(telemetry_utils.tm.__name__, *(m for m in sys.modules if m.startswith('openvino_telemetry')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["openvino.tools.ovc.telemetry_stub"]
