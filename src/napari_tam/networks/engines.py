"""What runs a network: OpenVINO on processors (two to three times as fast there), torch on the rest."""

from __future__ import annotations

import threading
from copy import deepcopy
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

import numpy as np
import numpy.typing as npt

from napari_tam.errors import InputError, one_line
from napari_tam.networks.devices import kind_of, turn
from napari_tam.networks.int8 import is_exact, rounded
from napari_tam.networks.memory import give_back_memory
from napari_tam.networks.openvino_import import openvino
from napari_tam.networks.stored_graphs import StoredGraph
from napari_tam.networks.threads import limit_torch, thread_count
from napari_tam.stopping import checkpoint

if TYPE_CHECKING:
    import torch

    from napari_tam.networks.cpnet import CPNet
    from napari_tam.networks.flownet import FlowNet
    from napari_tam.networks.int8 import Limits

    Device = torch.device | str

Float = npt.NDArray[np.float32]
EngineName = Literal["torch", "openvino"]

#: How exactly networks compute: as the processor does it quickest, or in single precision everywhere.
Precision = Literal["auto", "full"]

#: How often (ms) a running OpenVINO network asks whether it should go on.
_PATIENCE_MS = 100


class Engine(Protocol):
    """A network, ready to run."""

    def __call__(self, image: Float) -> Float:
        """Run on a CYX image whose height and width are multiples of the network's; returns CYX."""
        ...

    def rest(self) -> None:
        """Give back the memory that is used between images only to be quick."""
        ...


def choose_engine(name: str, device: Device) -> EngineName:
    """Turn an engine setting into an engine that runs here.

    Parameters
    ----------
    name
        ``torch``, ``openvino``, or ``auto``: OpenVINO on the processor if it is installed, else torch.
    device
        Where the networks run.

    Raises
    ------
    InputError
        If OpenVINO is asked for, and is not there or cannot run on the device.
    """
    if name == "torch" or (name == "auto" and kind_of(device) != "cpu"):
        return "torch"
    if kind_of(device) != "cpu":
        raise InputError(
            f"OpenVINO runs the networks on the processor, not on '{device}'",
            where="engine",
            fix="use the engine 'auto' or 'torch', or the device 'cpu'",
        )
    problem = openvino_problem()
    if not problem:
        return "openvino"
    if name == "auto":
        return "torch"
    raise InputError(f"OpenVINO {problem}", where="engine", fix="pip install openvino, or use 'auto'")


def openvino_problem() -> str:
    """Return why OpenVINO cannot be used here; nothing if it can."""
    try:
        openvino()
    except ModuleNotFoundError:
        return "is not installed"
    except Exception as error:  # a library that does not load on an old system
        return f"cannot be imported ({one_line(error)})"
    return ""


def fast_dtype(device: Device) -> torch.dtype:
    """Return the data type in which torch's convolutions run fastest on a device at sufficient precision.

    Half precision on a GPU; bfloat16 on processors with native support (2.5 times faster there); float32
    otherwise, where bfloat16 would be emulated.
    """
    import torch

    if kind_of(device) == "cuda":
        return torch.float16
    if kind_of(device) == "cpu":
        capability = torch.backends.cpu.get_cpu_capability()
        native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
        if native and "AVX512" in capability:
            return torch.bfloat16
    return torch.float32


def torch_dtype(device: Device, precision: Precision) -> torch.dtype:
    """Return the data type in which torch runs networks."""
    import torch

    return torch.float32 if precision == "full" else fast_dtype(device)


def openvino_precision(precision: Precision = "auto") -> Literal["bf16", "f32"]:
    """Return the precision in which OpenVINO runs: bfloat16 only where the processor has it."""
    if precision == "full":
        return "f32"
    found = openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "bf16" if "BF16" in found else "f32"


def describe(engine: EngineName, device: Device, precision: Precision = "auto") -> str:
    """Say what runs the networks, for records: ``openvino 2026.4.1, f32``, or ``…, int8, f32``."""
    if engine == "openvino":
        whole = "int8, " if precision == "auto" and is_exact() else ""
        return f"openvino {version('openvino')}, {whole}{openvino_precision(precision)}"
    name = str(torch_dtype(device, precision)).removeprefix("torch.")
    return f"torch {version('torch')}, {name.replace('bfloat', 'bf').replace('float', 'f')}"


class TorchEngine:
    """A network run by torch: norms folded, channels last. Threads that share a graphics card take turns.

    Parameters
    ----------
    network
        The network; it is copied, and stays as it was.
    device, dtype
        Where to run, and in which data type.
    """

    def __init__(self, network: FlowNet | CPNet, device: Device, dtype: torch.dtype) -> None:
        import torch

        self.device, self.dtype = device, dtype
        folded = deepcopy(network).eval().fold_norms().to(device, dtype)
        # The stubs of torch lack this overload.
        self.network = cast("torch.nn.Module", folded.to(memory_format=torch.channels_last))  # type: ignore[call-overload]

    def __call__(self, image: Float) -> Float:
        """See `Engine`."""
        limit_torch()
        with turn(self.device):
            return np.asarray(self.run(image[None])[0])

    def run(self, batch: Float) -> Float:
        """Run on the network's input as it is, and wait for the result."""
        import torch

        with torch.inference_mode():
            given = torch.from_numpy(batch).to(self.device, self.dtype)
            out = self.network(given.contiguous(memory_format=torch.channels_last))
            return np.asarray(out.float().cpu().numpy())

    def rest(self) -> None:
        """See `Engine`: torch frees what it used at once."""


class OpenVinoEngine:
    """A network run by OpenVINO on the processor, in `napari_tam.networks.threads.thread_count` threads.

    Several threads may call it at once: each call has a compiled network to itself, which later calls
    use again. The output does not depend on the number of threads.

    Parameters
    ----------
    network
        The network, which stays as it was; or what is stored of one.
    limits
        Of its convolutions in whole numbers (`napari_tam.networks.int8`), where the processor has them.
    precision
        How exactly it computes.
    """

    def __init__(
        self,
        network: FlowNet | CPNet | StoredGraph,
        limits: Limits | None = None,
        precision: Precision = "auto",
    ) -> None:
        graph = network.graph() if isinstance(network, StoredGraph) else _graph_of(network)
        self._graph, self._block = without_shuffle(graph)
        self._precision: Precision = precision
        if limits and precision == "auto" and is_exact():
            self._graph = rounded(self._graph, limits)
        self._idle: dict[int, list[Any]] = {}
        self._lock = threading.Lock()

    def __call__(self, image: Float) -> Float:
        """See `Engine`."""
        return np.asarray(self.run(image[None])[0], np.float32)

    def run(self, batch: Float) -> Float:
        """Run on the network's input as it is; it can be stopped at any time (`napari_tam.stopping`)."""
        threads = thread_count()
        compiled = self._take(threads)
        request = compiled.create_infer_request()
        request.start_async([np.ascontiguousarray(batch)], share_inputs=True)
        try:
            while not request.wait_for(_PATIENCE_MS):  # without the GIL, and without work
                checkpoint()
        except BaseException:
            request.cancel()
            raise
        result = np.asarray(request.get_output_tensor().data, np.float32)
        result = spread(result, self._block) if self._block > 1 else result.copy()
        del request
        with self._lock:
            self._idle[threads].append(compiled)
        return result

    def rest(self) -> None:
        """See `Engine`: a network keeps some 500 MB after a tile of 768², and takes them anew in 0.1 s."""
        with self._lock:
            for compiled in self._idle.get(thread_count(), ()):
                compiled.release_memory()
        give_back_memory()

    def _take(self, threads: int) -> Any:
        """Return a compiled network for so many threads that nobody uses."""
        with self._lock:
            idle = self._idle.setdefault(threads, [])
            if idle:
                return idle.pop()
        options = {
            "INFERENCE_PRECISION_HINT": openvino_precision(self._precision),
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # processes that are pinned share the first cores
        }
        return openvino().Core().compile_model(self._graph, "CPU", options)


def without_shuffle(graph: Any) -> tuple[Any, int]:
    """Return a graph without the operation that puts channels beside each other as pixels at its end.

    Returns
    -------
    The graph, and how many pixels a side its channels are (1: as they were). `spread` does that in a third of
    the time, while it copies the result.
    """
    (result,) = graph.get_results()
    last = result.input_value(0).get_node()
    if last.get_type_name() != "DepthToSpace":
        return graph, 1
    result.input(0).replace_source_output(last.input_value(0))
    graph.validate_nodes_and_infer_types()
    return graph, int(last.get_attributes()["block_size"])


def spread(blocks: Float, size: int) -> Float:
    """Put channels beside each other as pixels, as ``torch.nn.functional.pixel_shuffle`` does.

    Parameters
    ----------
    blocks
        (N, C · size², Y, X) float32.
    size
        Height and width (px) of a block.

    Returns
    -------
    (N, C, Y · size, X · size) float32.
    """
    from napari_tam.networks.pixel_loops import put_beside

    count, channels, height, width = blocks.shape
    pixels = np.empty((count * channels // size**2, height * size, width * size), np.float32)
    put_beside(pixels, blocks.reshape(-1, size, size, height, width))
    return pixels.reshape(count, -1, height * size, width * size)


def _graph_of(network: FlowNet | CPNet) -> Any:
    from napari_tam.networks.openvino_graph import graph_of

    training = network.training
    graph = graph_of(network.eval(), [1, network.in_channels, -1, -1])
    network.train(training)
    return graph
