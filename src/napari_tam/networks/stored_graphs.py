"""Networks as OpenVINO keeps them, stored on this machine: to run one, torch need not be imported.

A graph is made once from the torch network (`napari_tam.networks.openvino_graph`) and lies in the user's
cache folder from then on, under the hashes of the weights and of what makes graphs. It is used only if its
files are as they were written; where none can be written, it is made anew each time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from napari_tam.files import OutputError, file_hash, replacing, write_json
from napari_tam.networks.openvino_import import openvino

if TYPE_CHECKING:
    from collections.abc import Callable

#: The modules that decide what a graph looks like, from the package on.
_MAKERS = (
    "networks/openvino_graph.py", "networks/cpnet.py", "networks/flownet.py", "phenotype/morphology_net.py",
)  # fmt: skip


#: How long graphs of other versions are kept (s).
_KEPT_S = 90 * 86400

#: How long to wait for another process that makes the same graph (s).
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class StoredGraph:
    """A network's graph in the cache folder.

    Attributes
    ----------
    path
        OpenVINO's ``.xml``; the weights lie beside it (``.bin``).
    in_channels, multiple, reach
        As those of the network (`napari_tam.networks.flownet.FlowNet`); 0 where it has none.
    """

    path: Path
    in_channels: int = 0
    multiple: int = 0
    reach: int = 0

    def graph(self) -> Any:
        """Read the graph."""
        core = openvino().Core()
        core.set_property({"ENABLE_MMAP": False})  # another process may put a new file in its place
        return core.read_model(self.path)


def cache_folder() -> Path:
    """Return where graphs are stored."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("napari-tam", appauthor=False)) / "graphs"


@cache
def _makers() -> str:
    """Return a hash of what makes graphs."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256(version("openvino").encode())
    for name in _MAKERS:
        with contextlib.suppress(OSError):  # a package in a single file has no sources to change
            digest.update((package / name).read_bytes())
    return digest.hexdigest()


def stored_graph(
    key: list[object], make: Callable[[], tuple[Callable[[Any], Any], list[int], dict[str, int]]]
) -> StoredGraph | None:
    """Return the stored graph of a network; it is made if there is none.

    Parameters
    ----------
    key
        All that tells it from others: SHA-256 of its weights, and its architecture.
    make
        Gives the network, the shape of its input (-1: any), and `StoredGraph`'s values.

    Returns
    -------
    The graph; None if it cannot be stored.
    """
    name = f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:24]}-{_makers()[:16]}"
    card = cache_folder() / f"{name}.json"
    found = _read(card)
    if found is None:
        with contextlib.suppress(OutputError, OSError):
            card.parent.mkdir(parents=True, exist_ok=True)
            # Of several processes one makes it, and the others wait for it.
            with FileLock(card.with_suffix(".lock"), timeout=_PATIENCE_S):
                if _read(card) is None:
                    _write(card, *make())
        found = _read(card)
    return found


def _read(card: Path) -> StoredGraph | None:
    """Return a graph whose files are as they were written; None if there is none."""
    try:
        values = json.loads(card.read_text(encoding="utf-8"))
        if any(file_hash(card.with_suffix(end)) != values["sha256"][end] for end in (".xml", ".bin")):
            return None
        numbers = {key: int(values.get(key, 0)) for key in ("in_channels", "multiple", "reach")}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return StoredGraph(card.with_suffix(".xml"), **numbers)


def _write(card: Path, network: Callable[[Any], Any], shape: list[int], values: dict[str, int]) -> None:
    from tempfile import TemporaryDirectory

    from napari_tam.networks.openvino_graph import graph_of

    with TemporaryDirectory(dir=card.parent) as folder:
        made = Path(folder) / card.with_suffix(".xml").name
        openvino().save_model(graph_of(network, shape), made, compress_to_fp16=False)
        hashes = {end: file_hash(made.with_suffix(end)) for end in (".xml", ".bin")}
        for end in hashes:
            with replacing(card.with_suffix(end)) as part:
                made.with_suffix(end).replace(part)
    write_json(card, {**values, "sha256": hashes})
    for path in card.parent.iterdir():  # of other versions
        if _makers()[:16] not in path.name and path.stat().st_mtime < time.time() - _KEPT_S:
            path.unlink()
