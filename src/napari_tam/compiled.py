"""Loops over pixels as machine code (numba), where numpy would hold a large array for every step."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from numba import njit

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

Function = TypeVar("Function", bound="Callable[..., Any]")

#: Sums may be taken in another order and products fused; nothing is assumed of NaN and infinity.
_MATHS = {"reassoc", "contract", "arcp", "nsz"}


def compiled(function: Function) -> Function:
    """Compile a function when it is first called; other threads go on while it runs.

    The machine code is kept beside the module or, where that cannot be written to, in the user's cache folder,
    for each kind of processor.
    """
    options = {"nogil": True, "error_model": "numpy", "fastmath": _MATHS}
    try:
        made = njit(cache=True, **options)(function)
    except RuntimeError:  # neither can be written to: every process compiles for itself
        made = njit(**options)(function)
    return made  # type: ignore[no-any-return]
