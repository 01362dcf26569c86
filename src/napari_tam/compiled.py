"""Loops over pixels as machine code (numba), where numpy would hold a large array for every step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from numba import njit

if TYPE_CHECKING:
    from collections.abc import Callable

Function = TypeVar("Function", bound="Callable[..., Any]")


def compiled(function: Function) -> Function:
    """Compile a function when it is first called; other threads go on while it runs.

    The machine code is kept beside the module or, where that cannot be written to, in the user's cache
    folder, for each kind of processor. Sums are taken in the order in which they are written: with leave to
    change it, code that was compiled just now and code from the folder gave other last digits.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        made = njit(cache=True, **options)(function)
    except RuntimeError:  # neither can be written to: every process compiles for itself
        made = njit(**options)(function)
    return made  # type: ignore[no-any-return]
