"""The model of ``benchmarks/cores.py`` says what it is said to say."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from paths import ROOT


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("cores")


@pytest.mark.parametrize(("share", "lock"), [(0.0, 0.0), (0.04, 0.0), (0.0, 0.3), (0.1, 0.45), (0.02, 1.0)])
def test_what_was_measured_with_two_cores_comes_out_again(cores: Any, share: float, lock: float) -> None:
    one = 1.7
    processes = cores.by_processes(one, share, 2)
    threads = cores.by_threads(one, share, lock, 2)
    assert cores.shared_by_processes(one, processes) == pytest.approx(share)
    assert cores.held_lock(threads, processes, one, share) == pytest.approx(lock)


def test_nothing_is_quicker_than_its_limits(cores: Any) -> None:
    assert cores.by_threads(2.0, 0, 0, 16) == pytest.approx(2 / 16)
    assert cores.by_threads(2.0, 0, 1, 16) == pytest.approx(2)  # all of it waits for the lock
    assert cores.by_processes(2.0, 1, 16) == 2
    times = [cores.by_threads(2.0, 0, 0.25, n) for n in (1, 2, 4, 8, 64, 1000)]
    assert times == sorted(times, reverse=True)
    assert times[0] == 2
    assert times[-1] == pytest.approx(0.5, rel=0.01)  # one field after another holds the lock
    assert min(times) >= 0.5
    both = [cores.by_threads(2.0, 0.1, 0.25, n) for n in (1, 2, 4, 8, 64, 1000)]
    assert both == sorted(both, reverse=True)  # more threads are never slower
    assert both[-1] == pytest.approx(2 * (0.1 + 0.9 * 0.25), rel=0.01)


def test_noise_gives_no_shares_below_nothing(cores: Any) -> None:
    assert cores.shared_by_processes(1.0, 0.45) == 0
    assert cores.held_lock(0.9, 1.0, 2.0, 0.0) == 0
    assert cores.held_lock(3.0, 1.0, 2.0, 0.0) == 1
    assert cores.held_lock(3.0, 2.0, 2.0, 1.0) == 0  # nothing is divided
