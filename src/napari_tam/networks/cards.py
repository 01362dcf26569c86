"""The bundled networks: where they lie, and what their cards say."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_tam.errors import InputError
from napari_tam.files import file_hash
from napari_tam.installation import bundled

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from napari_tam.networks.cpnet import CPNet
    from napari_tam.networks.flownet import FlowNet
    from napari_tam.networks.int8 import Limits
    from napari_tam.networks.stored_graphs import StoredGraph

#: The bundled weights and their cards.
MODELS_FOLDER = bundled("models")

#: The bundled phenotype model: not a network for pixels, so it has another kind of card.
PHENOTYPE = "phenotype"

#: What a card says of a network of `napari_tam.networks.cpnet`; others are FlowNets.
CPNET = "CPNet"

#: The small bundled network for the cells: quick, and what a user's own is trained from.
SMALL_CELLS = "cells-fast"

#: Where the search for an unknown diameter starts (µm), by kind.
TYPICAL_UM = {"cells": 25.0, "nuclei": 10.0}
#: What the lengths on a card can be: the network's working scale, and the size of a cell.
LENGTHS = {"diameter_px": (3.0, 1000.0), "typical_um": (0.5, 1000.0)}
AREA_SETTINGS = {"cells": "min_cell_area_um2", "nuclei": "min_nucleus_area_um2"}


@dataclass(frozen=True)
class ModelCard:
    """A bundled network's card (``models/<name>.json``) and weights (``models/<name>.safetensors``)."""

    path: Path
    values: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> ModelCard:
        """Read and check a card.

        Raises
        ------
        InputError
            If the card is missing, no JSON, or lacks what is needed to load the network.
        """
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(
                f"the model card cannot be read ({error})", where=path, fix=_mend(path)
            ) from error
        needed = {"name", "kind", "in_channels", "widths", "diameter_px", "sha256"}
        if not isinstance(values, dict) or values.get("architecture") != CPNET:
            needed.add("stem")
        missing = sorted(needed - set(values)) if isinstance(values, dict) else sorted(needed)
        if missing:
            raise InputError(f"the model card lacks {', '.join(missing)}", where=path)
        return cls(path, values)

    @property
    def weights(self) -> Path:
        """The weights beside the card."""
        return self.path.with_suffix(".safetensors")

    def hash(self) -> str:
        """SHA-256 of the weights file.

        Raises
        ------
        InputError
            If the weights are missing.
        """
        try:
            return file_hash(self.weights)
        except OSError as error:
            raise InputError(
                f"the weights of {'a bundled' if _bundled(self.path) else 'the'} network are missing",
                where=self.weights,
                fix=_mend(self.path),
            ) from error

    @property
    def is_cpnet(self) -> bool:
        """Whether the network is a `napari_tam.networks.cpnet.CPNet`; else it is a FlowNet."""
        return bool(self.values.get("architecture") == CPNET)

    @property
    def limits(self) -> Limits:
        """Of its convolutions in whole numbers (`napari_tam.networks.int8`); none where the card has none.

        Raises
        ------
        InputError
            If they are no limits.
        """
        found = self.values.get("int8", {})
        pairs = list(found.values()) if isinstance(found, dict) else [None]
        if not all(isinstance(pair, list) and len(pair) == 2 and _increase(*pair) for pair in pairs):
            raise InputError("the card's int8 holds no limits", where=self.path, fix=_mend(self.path))
        return {name: (float(low), float(high)) for name, (low, high) in found.items()}

    def check(self) -> None:
        """Do nothing if the weights are those of the card.

        Raises
        ------
        InputError
            If they are missing or changed.
        """
        if self.hash() != self.values["sha256"]:
            raise InputError(
                "the weights differ from the sha256 on their card",
                where=self.weights,
                fix=_mend(self.path),
            )

    def load_for_openvino(self) -> FlowNet | CPNet | StoredGraph:
        """Return what is stored of the network; the network itself where nothing can be stored.

        Raises
        ------
        InputError
            As `load`.
        """
        from napari_tam.networks.stored_graphs import stored_graph

        self.check()
        made: list[FlowNet | CPNet] = []

        def make() -> tuple[FlowNet | CPNet, list[int], dict[str, int]]:
            made.append(network := self.load().eval())
            values = {key: getattr(network, key) for key in ("in_channels", "multiple", "reach")}
            return network, [1, network.in_channels, -1, -1], values

        key = [self.values.get(name) for name in ("sha256", "architecture", "in_channels", "widths", "stem")]
        return stored_graph(key, make) or (made[0] if made else self.load())

    def load(self) -> FlowNet | CPNet:
        """Check the weights against the card and build the network.

        Raises
        ------
        InputError
            If the weights are missing, changed, or do not fit.
        """
        import torch
        from safetensors.torch import load

        from napari_tam.networks.cpnet import CPNet
        from napari_tam.networks.flownet import FlowNet

        self.check()
        try:
            inputs, widths = self.values["in_channels"], self.values["widths"]
            with torch.device("meta"):  # no random numbers, which the weights would replace
                network: FlowNet | CPNet = (
                    CPNet(inputs, widths) if self.is_cpnet else FlowNet(inputs, widths, self.values["stem"])
                )
            state = {
                name: tensor.float() if tensor.is_floating_point() else tensor
                for name, tensor in load(self.weights.read_bytes()).items()
            }
            network.load_state_dict(state, assign=True)
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(f"the weights do not fit their card ({reason})", where=self.weights) from error
        check_weights(network.state_dict(), self.weights, fix=_mend(self.path))
        return network


def check_weights(
    tensors: Mapping[str, torch.Tensor], where: object, *, fix: str, fewest_axes: int = 4
) -> None:
    """Refuse weights of which no network can be made: it would find nothing, and nobody would know why.

    Parameters
    ----------
    tensors
        Name and values of each tensor; what holds no floating-point numbers is passed over.
    where, fix
        For the error: the file, and what to do.
    fewest_axes
        Weights of so many axes are never all zero: 4 are those of a convolution, 2 those of a transformer's
        layers as well.

    Raises
    ------
    InputError
        If some are NaN or infinite, all weights of a layer are zero, or a variance is negative.
    """
    import numpy as np
    import torch

    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            continue
        # by numpy: torch would wake all its threads for every small tensor, a second of work in all
        known = tensor.detach().cpu()
        values = (known.float() if known.dtype == torch.bfloat16 else known).numpy()
        if not bool(np.isfinite(values).all()):
            raise InputError(f"the weights are damaged ({name} is not finite)", where=where, fix=fix)
        if name.endswith("running_var") and bool((values < 0).any()):
            raise InputError(f"the weights are damaged ({name} is below zero)", where=where, fix=fix)
        # biases may well be zero, and a block may be switched off; a convolution never is
        weights = values.ndim >= 4 or (values.ndim >= fewest_axes and name.endswith("weight"))
        if weights and not bool(values.any()):
            raise InputError(f"the weights are damaged ({name} is all zero)", where=where, fix=fix)


def check_bundled() -> None:
    """Do nothing where the package has its networks.

    Raises
    ------
    InputError
        If the package came without them: a broken download or build.
    """
    if not any(MODELS_FOLDER.glob("*.json")):
        raise InputError(
            "this installation of napari-tam came without its networks",
            where=MODELS_FOLDER,
            fix="install it again, from a complete copy of the project or from an index",
        )


def _increase(low: object, high: object) -> bool:
    """Whether two values of a file are finite numbers, the first one the smaller."""
    return isinstance(low, int | float) and isinstance(high, int | float) and -1e9 < low < high < 1e9


def _bundled(path: Path) -> bool:
    return path.parent == MODELS_FOLDER


def _mend(path: Path) -> str:
    """Return what to do about a broken model."""
    return (
        "reinstall napari-tam" if _bundled(path) else "copy the whole model folder again, or train it again"
    )


def own_card(name: str, kind: str) -> ModelCard | None:
    """Return the card of a model folder of ``napari-tam train cells``; None if `name` is no such folder.

    Raises
    ------
    InputError
        If the folder holds a model of another kind, or its card cannot be used.
    """
    folder = Path(name).expanduser()
    path = folder / f"{kind}.json"
    if not path.is_file():
        if folder.is_dir() and (len(folder.parts) > 1 or any(folder.glob("*.json"))):
            raise InputError(
                f"there is no model for {kind} in the folder (no {path.name})",
                where=name,
                fix="give a model file or a name"
                + (", or the --out folder of 'napari-tam train cells'" if kind == "cells" else ""),
            )
        return None
    card = ModelCard.read(path)
    if card.values["kind"] != kind:
        raise InputError(f"the model finds {card.values['kind']}, not {kind}", where=path)
    for key, (least, most) in LENGTHS.items():
        value = card.values.get(key, most)
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise InputError(
                f"the card's {key} is no length of a cell ({value!r}; {least:g} to {most:g} can be)",
                where=path,
                fix=_mend(path),
            )
    return card


def bundled_cards() -> dict[str, ModelCard]:
    """Cards of the bundled networks by name."""
    paths = sorted(path for path in MODELS_FOLDER.glob("*.json") if path.stem != PHENOTYPE)
    return {path.stem: ModelCard.read(path) for path in paths}
