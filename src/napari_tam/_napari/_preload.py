"""Loading PyTorch in a thread without freezing the window.

Two things block the interpreter for long: the dynamic loader, while it links libtorch, and the garbage
collector, which scans all objects again and again while a million new ones are created.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer

from napari_tam.networks.devices import gpu_is_possible
from napari_tam.networks.engines import openvino_problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    import napari.viewer

#: How long a thread keeps the interpreter while another waits for it (s); Python's own is 0.005.
_TURN_S = 0.001

#: How long the invisible text is shown (ms): one draw.
_LETTERS_MS = 50

_one_at_a_time, _counting = threading.Lock(), threading.Lock()

#: What `short_turns` found: Python's own first.
_turns: list[float] = []

#: Linked before the import, the largest of PyTorch's libraries; on Windows PyTorch's own way is as good.
_LIBRARIES = ("libtorch_cpu.so", "libtorch_cpu.dylib")


@contextmanager
def loading() -> Iterator[None]:
    """Load big modules inside of this, in a thread; a second one waits for the first.

    Where modules were loaded, objects that exist at the end are excluded from garbage collection until
    `collect_again`: scanning PyTorch's modules takes 0.2 s each time, and they are never freed.
    """
    if "torch" in sys.modules:
        yield
        return
    with _one_at_a_time, short_turns():
        collecting, known = gc.isenabled(), len(sys.modules)
        gc.disable()
        try:
            if gpu_is_possible() or openvino_problem():  # else it is not imported
                link_torch()
            yield
            if len(sys.modules) > known:  # else what earlier runs left would never be freed
                gc.freeze()
        finally:
            if collecting:
                gc.enable()


@contextmanager
def short_turns() -> Iterator[None]:
    """Let threads have the interpreter for a short time each, so that the window gets it soon when it asks.

    The window asks again after nearly every call into Qt. With Python's own turns, and two threads that
    compute, a layer that takes 0.1 s to make takes several times as long.
    """
    with _counting:
        _turns.append(sys.getswitchinterval())
        sys.setswitchinterval(_TURN_S)
    try:
        yield
    finally:
        with _counting:
            usual = _turns[0]
            _turns.pop()
            if not _turns:  # else another thread still needs it
                sys.setswitchinterval(usual)


def collect_again() -> None:
    """Include all objects in garbage collection again, so that a closed widget can be freed."""
    gc.unfreeze()


def link_torch() -> bool:
    """Let the system link PyTorch's largest library; return whether it did.

    An import does the same while holding the GIL (0.3 s and more); a call through ctypes releases it.
    """
    spec = find_spec("torch")
    if spec is None or spec.origin is None or sys.platform == "win32":
        return False
    for name in _LIBRARIES:
        path = Path(spec.origin).parent / "lib" / name
        if path.exists():
            dlopen = ctypes.CDLL(None).dlopen
            dlopen.argtypes, dlopen.restype = (ctypes.c_char_p, ctypes.c_int), ctypes.c_void_p
            return dlopen(str(path).encode(), ctypes.RTLD_LOCAL | 2) is not None  # 2: RTLD_NOW
    return False


def draw_letters(viewer: napari.viewer.Viewer) -> None:
    """Let a viewer draw its first text now, briefly and invisibly.

    This takes 0.1 s; napari would do it with the first points, which take 0.2 s by themselves.
    """
    overlay = viewer.canvas.overlays.text
    if not overlay.visible and not overlay.text:
        overlay.text, overlay.visible = " ", True
        QTimer.singleShot(_LETTERS_MS, lambda: overlay.update({"text": "", "visible": False}))


def load_drawing() -> None:
    """Load what plots and a viewer's first labels need, so that the window does not have to."""
    import matplotlib.backends.backend_qtagg
    import matplotlib.figure
    import matplotlib.widgets  # noqa: F401
    import skimage.color.colorconv  # noqa: F401

    with suppress(ImportError):  # a detail of vispy
        from vispy.visuals.line.dash_atlas import DashAtlas

        DashAtlas()  # 0.1 s, and then remembered
