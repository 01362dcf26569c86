"""napari-tam: how much exosome each macrophage takes up.

`analyse` takes one image, `batch` many; `Settings` holds every parameter. Importing this package loads
neither torch nor napari: what needs them is imported when it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from napari_tam.installation import __version__

if TYPE_CHECKING:
    from napari_tam.api import BatchResult, analyse, batch
    from napari_tam.errors import InputError
    from napari_tam.pipeline.analysis import Analysis
    from napari_tam.results.folder import read_results
    from napari_tam.settings import Settings

__all__ = [
    "Analysis",
    "BatchResult",
    "InputError",
    "Settings",
    "__version__",
    "analyse",
    "batch",
    "read_results",
]

_HOME = {
    "Analysis": "pipeline.steps",
    "BatchResult": "api",
    "InputError": "errors",
    "Settings": "settings",
    "analyse": "api",
    "batch": "api",
    "read_results": "results.folder",
}


def __getattr__(name: str) -> Any:
    """Import a part of the interface when it is first used."""
    if name not in _HOME:
        raise AttributeError(f"module 'napari_tam' has no attribute '{name}'")
    return getattr(import_module(f"napari_tam.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
