"""Libraries that only some users need: imported when asked for; a clear sentence when they are missing."""

from __future__ import annotations

import importlib
from typing import Any

from napari_tam.errors import InputError


def need(module: str, extra: str, purpose: str) -> Any:
    """Import and return a module of an extra of this package.

    Parameters
    ----------
    module
        Its full name.
    extra
        The extra that brings it.
    purpose
        What it is for, e.g. ``writing .h5ad``.

    Raises
    ------
    InputError
        If it (or what it needs itself) is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"{purpose} needs {module.partition('.')[0]} ({error})",
            fix=f'install napari-tam[{extra}], e.g. pip install "napari-tam[{extra}]"',
        ) from error
