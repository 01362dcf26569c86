"""Where networks run, told without importing torch where there is no graphics card."""

from __future__ import annotations

import ctypes.util
import platform
import sys
import threading
from collections import defaultdict
from contextlib import nullcontext
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from napari_tam.errors import InputError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

#: What a driver for a graphics card that torch can use leaves on a Linux machine (NVIDIA, AMD, and NVIDIA in
#: Windows' Linux).
_DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")

#: One for each graphics card that is in use, by its name.
_turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)


def kind_of(device: object) -> str:
    """Return ``cpu``, ``cuda``, ``mps`` …, of a name such as ``cuda:1`` or of torch's own device."""
    return str(device).partition(":")[0]


def turn(device: object) -> AbstractContextManager[object]:
    """Let one thread at a time use a graphics card; on the processor all go on.

    A card does tiles one after another anyway, and the memory of all that were begun would add up.
    """
    return nullcontext() if kind_of(device) == "cpu" else _turns[str(device)]


def gpu_is_possible() -> bool:
    """Return whether torch might find a graphics card: False only where it certainly would not."""
    try:
        build = version("torch")
    except PackageNotFoundError:
        return False
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    if build.endswith("+cpu"):
        return False
    if sys.platform == "linux":
        return any(Path(path).exists() for path in _DRIVERS)
    return sys.platform != "win32" or ctypes.util.find_library("nvcuda") is not None


def choose_device(name: str = "auto") -> str:
    """Turn a device setting into the name of a device that torch can use.

    Raises
    ------
    InputError
        If the named device does not exist here.
    """
    if name == "cpu" or (name == "auto" and not gpu_is_possible()):
        return "cpu"
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()  # 'meta' computes, but gives nothing back
    except Exception as error:  # each kind of device fails in its own way
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"the device '{name}' cannot be used ({reason})",
            where="device",
            fix="use 'auto' or 'cpu'",
        ) from error
    return str(device)
