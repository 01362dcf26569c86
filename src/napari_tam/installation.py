"""What is installed: the version, and the networks, sample images and texts that come with the package."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

try:
    __version__ = version("napari-tam")
except PackageNotFoundError:  # a source tree that is not installed
    __version__ = "0.0.0"

_PACKAGE = Path(__file__).resolve().parent


def bundled(name: Literal["models", "sample_data", "CITATION.cff", "LICENSE"]) -> Path:
    """Return a folder or file that comes with the package, whether it is there or not.

    A wheel holds it in ``napari_tam/bundled/``; in a clone (editable installations) it lies at the root.
    """
    folder = _PACKAGE / "bundled" / name
    root = _PACKAGE.parent.parent
    return root / name if not folder.exists() and (root / "pyproject.toml").is_file() else folder
