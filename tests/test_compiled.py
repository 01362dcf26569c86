"""Loops that are compiled when they are first called."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_tam import compiled as module

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def total(values: Any) -> float:
    result = 0.0
    for value in values:
        result += value
    return result


def test_where_nothing_can_be_kept_a_loop_is_compiled_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    real = module.njit

    def nowhere(**options: Any) -> Any:
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return real(**options)

    monkeypatch.setattr(module, "njit", nowhere)
    assert module.compiled(total)(np.array([1.0, 2.5])) == 3.5


def test_a_division_by_zero_is_infinite_as_in_numpy() -> None:
    def over(a: float, b: float) -> float:
        return a / b

    assert module.compiled(over)(1.0, 0.0) == np.inf


FLOWS = """
    import sys
    import numpy as np
    from napari_tam.networks.flow_errors import mask_flows
    from napari_tam.networks.dynamics import final_positions
    labels = np.zeros((40, 50), np.int32)
    labels[5:20, 8:30], labels[22:36, 3:17], labels[10:33, 31:47] = 1, 2, 3
    labels[9:13, 20:26] = 0
    flows = mask_flows(labels)
    ends = final_positions(flows.astype(np.float32), labels > 0, 6)
    sys.stdout.write(flows.tobytes().hex() + ends.tobytes().hex())
"""


def test_code_just_compiled_and_code_that_was_kept_give_the_same_digits(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", textwrap.dedent(FLOWS)]
    first, second = (
        subprocess.run(command, env=environment, capture_output=True, check=True, timeout=300).stdout
        for _ in range(2)
    )
    assert first == second
    assert len(first) > 1000
    assert list(tmp_path.rglob("*.nbi"))  # that it was kept
