"""Freed memory goes back to the system."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from napari_tam.networks.memory import give_back_memory, malloc_trim


@pytest.mark.skipif(malloc_trim() is None, reason="only glibc keeps what was freed")
def test_memory_that_was_freed_is_given_back() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    blocks = [np.ones(12_000) for _ in range(2000)]  # 192 MB in pieces
    del blocks[:-1]  # the last one keeps the heap from shrinking
    before = resident()
    give_back_memory()
    assert before - resident() > 100e6
