"""``napari-tam doctor``: is the installation sound, and what does it use."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import warnings
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Literal

from napari_tam.cli.console import Answer
from napari_tam.errors import InputError, one_line

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

#: The bundled networks for pixels.
NETWORKS = ("cells", "cells-fast", "nuclei", "puncta")

#: Distribution and module of everything that an analysis imports.
LIBRARIES = {
    "numpy": "numpy",
    "scipy": "scipy",
    "scikit-image": "skimage",
    "opencv-python-headless": "cv2",
    "pandas": "pandas",
    "pyarrow": "pyarrow",
    "tifffile": "tifffile",
    "imagecodecs": "imagecodecs",
    "safetensors": "safetensors",
}

#: Distributions that a report of a fault names, this one first.
TOLD = ("napari-tam", "torch", "openvino", "cellpose", "numpy", "scikit-image", "tifffile", "napari", "PyQt6")

_REINSTALL = "install napari-tam again, in an environment of its own"


@dataclass(frozen=True)
class Check:
    """One line of the report; `fix` says what to do about a warning or problem."""

    status: Literal["ok", "warning", "problem"]
    text: str
    fix: str = ""


def doctor(_arguments: argparse.Namespace) -> Answer:
    """Print all checks, and a line for a report of a fault; exit status 1 if there is a problem."""
    found: list[Check] = []
    for check in checks():
        print(
            f"{check.status:8} {check.text}" + (f"\n{'':8} -> {check.fix}" if check.fix else ""), flush=True
        )
        found.append(check)
    states = [check.status for check in found]
    counts = ", ".join(f"{states.count(kind)} {kind}" for kind in dict.fromkeys(states))
    line = f"{installed()} | {counts}"
    print(f"\nto paste into a report of a fault:\n{line}")
    told = {"checks": [asdict(check) for check in found], "installed": line}
    return Answer(int("problem" in states), told)


def installed() -> str:
    """Return what is installed, and where, in one line."""
    parts = [f"Python {platform.python_version()}", platform.platform(), f"{os.cpu_count()} processors"]
    for name in TOLD:
        try:
            parts.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            parts.append(f"no {name}")
    return " | ".join([parts[3], *parts[:3], *parts[4:], _networks_run_by()])


def _networks_run_by() -> str:
    """Return engine, device and threads in a few words, whatever is broken."""
    try:
        import torch

        from napari_tam.networks.devices import choose_device
        from napari_tam.networks.engines import choose_engine, describe

        device = choose_device("auto")
        gpu = torch.cuda.get_device_name(device) if device.startswith("cuda") else "no CUDA"
        engine = describe(choose_engine("auto", device), device)
        return f"networks by {engine}, on {device} | {gpu} | {torch.get_num_threads()} threads of torch"
    except Exception as error:
        return f"engine unknown: {one_line(error)}"


def checks() -> Iterator[Check]:
    """Yield the findings, one check after another; a check that fails does not stop the others."""
    parts: tuple[Callable[[], Iterator[Check]], ...] = (
        _system,
        _libraries,
        network_checks,
        _cellpose,
        _models,
        _trial,
        _plugin,
    )
    for part in parts:
        try:
            yield from part()
        except Exception as error:  # whatever is broken is a finding
            name = part.__name__.strip("_")
            yield Check("problem", f"{name}: {type(error).__name__}: {one_line(error)}", _REINSTALL)


def _system() -> Iterator[Check]:
    from napari_tam.installation import __version__

    yield Check("ok", f"napari-tam {__version__}, Python {platform.python_version()}, {platform.platform()}")
    from napari_tam.io.tiff import available_memory

    memory = available_memory()
    text = f"{os.cpu_count()} processors"
    if memory is not None:
        text += f", {memory / 2**30:.1f} GiB of memory free"
    if memory is not None and memory < 2 * 2**30:
        yield Check("warning", text, "close other programs: a field of 2048 × 2048 pixels needs 2 GiB")
    else:
        yield Check("ok", text)


def _libraries() -> Iterator[Check]:
    found = []
    for distribution, module in LIBRARIES.items():
        try:
            _load(module)
        except Exception as error:
            yield Check("problem", f"{module} cannot be imported ({one_line(error)})", _REINSTALL)
        else:
            found.append(f"{distribution} {_version(distribution)}")
    yield Check("ok", ", ".join(found))


def network_checks() -> Iterator[Check]:
    """Yield what runs the networks."""
    try:
        import torch

        from napari_tam.networks.devices import choose_device
        from napari_tam.networks.engines import choose_engine, describe, openvino_problem
    except Exception as error:
        yield Check("problem", f"torch cannot be imported ({one_line(error)})", "install torch: pytorch.org")
        return
    device = choose_device("auto")
    cuda = device.startswith("cuda")
    name = torch.cuda.get_device_name(device) if cuda else f"{torch.get_num_threads()} threads"
    engine = choose_engine("auto", device)
    text = f"torch {torch.__version__}; networks run by {describe(engine, device)} on {device} ({name})"
    yield Check("ok", text)
    if device == "cpu" and engine == "torch":
        yield Check(
            "warning",
            f"OpenVINO {openvino_problem()}: the networks take about twice as long",
            "pip install openvino",
        )
    if not cuda and shutil.which("nvidia-smi"):
        yield Check(
            "warning",
            "there is an NVIDIA driver, but torch does not see a GPU",
            "install the CUDA build of torch (pytorch.org) if this machine has one",
        )


def _cellpose() -> Iterator[Check]:
    try:
        _load("cellpose.models")
    except Exception as error:
        yield Check(
            "problem",
            f"cellpose {_version('cellpose')} cannot be imported ({one_line(error)})",
            "install 'cellpose<4', which needs no torchvision" if "torchvision" in str(error) else _REINSTALL,
        )
    else:
        yield Check("ok", f"cellpose {_version('cellpose')}")


def _models() -> Iterator[Check]:
    from napari_tam.networks.cards import check_bundled
    from napari_tam.pipeline.models import available_models

    try:
        check_bundled()
    except InputError as error:
        yield Check("problem", f"{error.what} ({error.where})", error.fix or _REINSTALL)
        return
    bundled = {model.name: model for model in available_models() if model.source == "bundled"}
    for name in dict.fromkeys((*NETWORKS, *bundled)):
        if name not in bundled:
            yield Check("problem", f"network '{name}' is missing", _REINSTALL)
        elif bundled[name].ok:
            yield Check("ok", f"network '{name}', sha256 {bundled[name].sha256[:12]}… as on its card")
        else:
            yield Check("problem", f"network '{name}' is not the file that its card describes", _REINSTALL)


def _trial() -> Iterator[Check]:
    """Analyse a small field of noise with the default settings."""
    import numpy as np

    from napari_tam.io.field import Field
    from napari_tam.pipeline.models import load_models
    from napari_tam.pipeline.runner import run
    from napari_tam.settings import Settings

    random = np.random.default_rng(0)
    names = ("cell", "nucleus", "exosome")
    field = Field("trial", {name: random.poisson(20, (96, 96)).astype(np.uint16) for name in names}, 0.3)
    settings = Settings()
    try:
        analysis = run(field, settings, load_models(settings))
    except InputError as error:
        yield Check("problem", f"a trial analysis failed: {one_line(error)}", _REINSTALL)
    else:
        yield Check("ok", f"a trial analysis took {sum(analysis.seconds.values()):.1f} s")


def _plugin() -> Iterator[Check]:
    found = _version("napari")
    if found == "missing":
        yield Check(
            "warning",
            "napari is not installed: the command line works, the plugin does not",
            "install napari-tam with its extra 'all', if you want it",
        )
        return
    try:
        _load("napari_tam._napari._widget")
    except Exception as error:
        yield Check(
            "problem",
            f"napari {found}: the plugin cannot be imported ({one_line(error)})",
            "install napari-tam with its extra 'all', which brings napari and Qt",
        )
    else:
        yield Check("ok", f"napari {found}, the plugin can be imported")


def _load(module: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecation warnings of libraries are not reported
        importlib.import_module(module)


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "missing"
