"""Loops over pixels as machine code (numba), where numpy would hold a large array for every step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from numba import njit

if TYPE_CHECKING:
    from collections.abc import Callable

Function = TypeVar("Function", bound="Callable[..., Any]")

#: Sums may be taken in another order and products fused; nothing is assumed of NaN and infinity.
_MATHS = {"reassoc", "contract", "arcp", "nsz"}


def compiled(function: Function) -> Function:
    """Compile a function when it is first called; other threads go on while it runs.

    The machine code is kept beside the module or, where that cannot be written to, in the user's cache
    folder, for each kind of processor.
    """
    return _compiled(function, fastmath=_MATHS)


def compiled_in_order(function: Function) -> Function:
    """As `compiled`, with sums in the order in which they are written: what is symmetric stays so."""
    return _compiled(function, fastmath=False)


def _compiled(function: Function, **options: Any) -> Function:
    options |= {"nogil": True, "error_model": "numpy"}
    try:
        made = njit(cache=True, **options)(function)
    except RuntimeError:  # neither can be written to: every process compiles for itself
        made = njit(**options)(function)
    return made  # type: ignore[no-any-return]
