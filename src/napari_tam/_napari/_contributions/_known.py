"""Which paths are results: a results folder, or a mask in one."""

from __future__ import annotations

from pathlib import Path

_ENDS = ("_cells.tif", "_nuclei.tif")


def results_of(path: str | list[str]) -> tuple[Path, str | None] | None:
    """Return a results folder, and of a mask in one its image; None for anything else."""
    given = Path(path) if isinstance(path, str) else None
    if given is None:
        return None
    if given.is_dir() and (given / "images.csv").is_file() and (given / "masks").is_dir():
        return given, None
    ends = [end for end in _ENDS if given.name.endswith(end)]
    if ends and given.parent.name == "masks" and (given.parent.parent / "images.csv").is_file():
        return given.parent.parent, given.name.removesuffix(ends[0])
    return None
