"""Cellpose's ``_seg.npy``: the masks in it, found without unpickling.

The file is a NumPy array of one Python object, which NumPy loads with pickle: whoever made the file could
then run any code. Here the pickle's instructions are only read: lists, dictionaries, texts, numbers and the
raw bytes of arrays are put together, and no function that the file names is ever looked up or called.
"""

from __future__ import annotations

import pickletools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_tam.errors import InputError, one_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt


@dataclass(frozen=True)
class _Name:
    """Something that the file names (a function or class); it is never looked up."""

    module: str
    name: str


@dataclass
class _Made:
    """What a function that the file names would make: its arguments, and the state it is given."""

    by: object
    given: object
    state: object = None


class _Mark:
    """Where a collection on the stack begins."""


npy: Any = np.lib.format  # without types of its own

_SKIPPED = {"PROTO", "FRAME", "STOP"}
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "MARK": _Mark,
}
_VALUES = re.compile(
    r"(BIN)?INT[12]?|LONG[14]?|(BIN)?FLOAT|(SHORT_)?BIN(UNICODE|BYTES|STRING)8?|UNICODE|STRING"
)


def read_seg(path: Path) -> npt.NDArray[Any]:
    """Return the masks of a ``_seg.npy``: YX or ZYX, as they are in the file.

    Raises
    ------
    InputError
        If there are none, or the file is damaged or holds what cannot be read in this way.
    """
    fix = "save the masks in Cellpose as PNG or TIFF and use these"
    try:
        with path.open("rb") as stream:
            version = npy.read_magic(stream)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            read(stream)
            masks = _find(_values(stream))
    except InputError:
        raise
    except OSError as error:
        raise InputError("the file cannot be read", where=path, fix="check its permissions") from error
    except (
        ValueError,
        KeyError,
        IndexError,
        TypeError,
        AttributeError,
        RecursionError,
        MemoryError,
    ) as error:
        raise InputError(f"no masks can be read from it ({one_line(error)})", where=path, fix=fix) from error
    return masks


def _find(content: Any) -> npt.NDArray[Any]:
    if isinstance(content, _Made) and isinstance(content.state, tuple):  # the array of one object
        content = content.state[4]
    content = content[0] if isinstance(content, list) and len(content) == 1 else content
    if not isinstance(content, dict) or not isinstance(content.get("masks"), _Made):
        raise ValueError("it has no entry 'masks'")
    return _array(content["masks"])


def _array(made: _Made) -> npt.NDArray[Any]:
    """Make an array of the state that NumPy pickles: version, shape, type, order, bytes."""
    if not isinstance(made.by, _Name) or made.by.name != "_reconstruct" or not isinstance(made.state, tuple):
        raise ValueError("its masks are no array")
    _, shape, kind, by_columns, data = made.state
    text = kind.given[0] if isinstance(kind, _Made) and isinstance(kind.given, tuple) else None
    if not isinstance(text, str) or not re.fullmatch(r"[biuf][1248]", text) or not isinstance(data, bytes):
        raise ValueError("its masks are no numbers")
    order = kind.state[1] if isinstance(kind.state, tuple) else "<"
    dtype = np.dtype(text).newbyteorder(">" if order == ">" else "<")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if by_columns else "C")


def _values(stream: Any) -> Any:
    """Follow the instructions of a pickle as far as they put values together."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}

    def pop_to_mark() -> list[Any]:
        start = max(k for k, item in enumerate(stack) if isinstance(item, _Mark))
        items = stack[start + 1 :]
        del stack[start:]
        return items

    instructions: Any = pickletools.genops(stream)
    for code, argument, _ in instructions:
        name = code.name
        if name in _SKIPPED:
            continue
        if name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif _VALUES.fullmatch(name):
            stack.append(argument)
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name in ("TUPLE", "LIST"):
            stack.append((tuple if name == "TUPLE" else list)(pop_to_mark()))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            number = int(name[-1])
            stack[-number:] = [tuple(stack[-number:])]
        elif name in ("APPENDS", "APPEND"):
            items = pop_to_mark() if name == "APPENDS" else [stack.pop()]
            stack[-1].extend(items)
        elif name in ("SETITEMS", "SETITEM"):
            items = pop_to_mark() if name == "SETITEMS" else [stack.pop(-2), stack.pop()]
            stack[-1].update(zip(items[::2], items[1::2], strict=True))
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            words = argument.split(" ", 1) if name == "GLOBAL" else [stack.pop(-2), stack.pop()]
            stack.append(_Name(*map(str, words)))
        elif name in ("REDUCE", "NEWOBJ"):
            given = stack.pop()
            stack[-1] = _Made(stack[-1], given)
            if stack[-1].by == _Name("_codecs", "encode"):  # how old pickles hold bytes
                stack[-1] = given[0].encode("latin-1")
        elif name == "BUILD":
            state = stack.pop()
            stack[-1].state = state
        else:
            raise ValueError(f"it holds an instruction of a kind that masks do not need ({name})")
    return stack[-1]
