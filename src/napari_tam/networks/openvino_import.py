"""The one place where OpenVINO is imported: late, and without its telemetry."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

_TELEMETRY = "openvino_telemetry"


@cache
def openvino() -> Any:
    """Import OpenVINO.

    Its Python package reports to a web service that it was imported, if ``openvino_telemetry`` is there, a
    package that it requires. So it is hidden while OpenVINO is imported, which goes on without it.

    Raises
    ------
    ImportError
        If OpenVINO is not installed, or broken.
    """
    absent = _TELEMETRY not in sys.modules
    if absent:
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # the import system's sign for "not there"
    try:
        import openvino as found
        import openvino.opset13
    finally:
        if absent:
            del sys.modules[_TELEMETRY]
    return found
