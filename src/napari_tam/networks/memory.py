"""Freed memory goes back to the system."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@cache
def malloc_trim() -> Callable[[int], int] | None:
    """Return glibc's function of this name; None where there is none."""
    if sys.platform != "linux":
        return None
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
    if trim is not None:
        trim.argtypes, trim.restype = (ctypes.c_size_t,), ctypes.c_int
    return trim


def give_back_memory() -> None:
    """Let the system have what was freed.

    glibc keeps it: 300 MB after the networks of a field of 2048², and a fifth more after 200 fields.
    """
    trim = malloc_trim()
    if trim is not None:
        trim(0)
