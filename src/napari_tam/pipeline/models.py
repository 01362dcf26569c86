"""The networks of an analysis: found, checked and loaded here, then passed in."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_tam.errors import InputError
from napari_tam.installation import bundled

if TYPE_CHECKING:
    from napari_tam.correct.folder import Corrections
    from napari_tam.networks.flownet import FlowNet
    from napari_tam.phenotype.classify import Classifier
    from napari_tam.puncta.detect import Detector
    from napari_tam.segment.segmenter import Segmenter
    from napari_tam.settings import Settings

#: The bundled weights and their cards.
MODELS_FOLDER = bundled("models")

#: The bundled phenotype model: not a network for pixels, so it has another kind of card.
PHENOTYPE = "phenotype"

#: Where the search for an unknown diameter starts (µm), by kind.
TYPICAL_UM = {"cells": 25.0, "nuclei": 10.0}
AREA_SETTINGS = {"cells": "min_cell_area_um2", "nuclei": "min_nucleus_area_um2"}


@dataclass(frozen=True)
class Models:
    """What `pipeline.steps` runs on, the microscope's corrections included, and what goes on record."""

    cells: Segmenter
    nuclei: Segmenter
    puncta: Detector
    device: str = "cpu"
    hashes: dict[str, str] = field(default_factory=dict)
    phenotype: Classifier | None = None
    corrections: Corrections | None = None


@dataclass(frozen=True)
class ModelInfo:
    """A model that can be used: one line of ``napari-tam models``."""

    name: str
    kind: str
    source: str
    description: str
    sha256: str = ""
    ok: bool = True


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
        needed = {"name", "kind", "in_channels", "widths", "stem", "diameter_px", "sha256"}
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
            return hashlib.sha256(self.weights.read_bytes()).hexdigest()
        except OSError as error:
            raise InputError(
                f"the weights of {'a bundled' if _bundled(self.path) else 'the'} network are missing",
                where=self.weights,
                fix=_mend(self.path),
            ) from error

    def load(self) -> FlowNet:
        """Check the weights against the card and build the network.

        Raises
        ------
        InputError
            If the weights are missing, changed, or do not fit.
        """
        import torch
        from safetensors.torch import load

        from napari_tam.networks.flownet import FlowNet

        if self.hash() != self.values["sha256"]:
            raise InputError(
                "the weights differ from the sha256 on their card",
                where=self.weights,
                fix=_mend(self.path),
            )
        try:
            network = FlowNet(self.values["in_channels"], self.values["widths"], self.values["stem"])
            state = load(self.weights.read_bytes())
            network.load_state_dict({name: tensor.to(torch.float32) for name, tensor in state.items()})
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(f"the weights do not fit their card ({reason})", where=self.weights) from error
        return network


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
    for key in ("diameter_px", "typical_um"):
        value = card.values.get(key, 1.0)
        if not isinstance(value, int | float) or not 0 < value < 1e6:
            raise InputError(f"the card's {key} is no length ({value!r})", where=path, fix=_mend(path))
    return card


def bundled_cards() -> dict[str, ModelCard]:
    """Cards of the bundled networks by name."""
    paths = sorted(path for path in MODELS_FOLDER.glob("*.json") if path.stem != PHENOTYPE)
    return {path.stem: ModelCard.read(path) for path in paths}


def load_models(settings: Settings) -> Models:
    """Load what the settings ask for.

    Raises
    ------
    InputError
        If a device or model cannot be used: one sentence that says which and why.
    """
    from napari_tam.correct.folder import read_corrections
    from napari_tam.networks.flownet import Predictor, choose_device
    from napari_tam.phenotype.classify import load_classifier
    from napari_tam.puncta.detect import LogDetector, NetworkDetector

    check_bundled()
    device = choose_device(settings.device)
    cards = bundled_cards()
    hashes: dict[str, str] = {}

    def card(name: str) -> ModelCard:
        if name not in cards:
            raise InputError(
                f"the bundled network '{name}' is missing", where=MODELS_FOLDER, fix="reinstall napari-tam"
            )
        hashes[name] = cards[name].values["sha256"]
        return cards[name]

    def segmenter(name: str, kind: str) -> Segmenter:
        from napari_tam.segment.segmenter import FlowNetSegmenter

        if name == kind:
            found = card(name)
            return FlowNetSegmenter(
                Predictor(found.load(), device),
                found.values["diameter_px"],
                TYPICAL_UM[kind],
                AREA_SETTINGS[kind],
            )
        if name in cards:
            raise InputError(
                f"the bundled network '{name}' finds {cards[name].values['kind']}, not {kind}",
                where=f"{kind}_model",
                fix=f"use '{kind}', a Cellpose model name, or a path",
            )
        own = own_card(name, kind)
        if own is not None:
            hashes[name] = own.values["sha256"]
            return FlowNetSegmenter(
                Predictor(own.load(), device),
                own.values["diameter_px"],
                own.values.get("typical_um", TYPICAL_UM[kind]),
                AREA_SETTINGS[kind],
            )
        from napari_tam.segment.cellpose_models import CellposeSegmenter

        path = Path(name).expanduser()
        if path.is_file():
            hashes[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        return CellposeSegmenter(name, kind, device, TYPICAL_UM[kind], AREA_SETTINGS[kind])

    puncta: Detector
    if settings.puncta_method == "network":
        puncta = NetworkDetector(Predictor(card("puncta").load(), device))
    else:
        puncta = LogDetector()
    phenotype = load_classifier(settings.phenotype_model, device)
    if phenotype is not None:
        hashes[settings.phenotype_model] = phenotype.model.card["sha256"]
    corrections = None
    if settings.corrections != "none":
        corrections = read_corrections(Path(settings.corrections).expanduser())
        hashes[settings.corrections] = corrections.sha256
    return Models(
        segmenter(settings.cells_model, "cells"),
        segmenter(settings.nuclei_model, "nuclei"),
        puncta,
        str(device),
        hashes,
        phenotype,
        corrections,
    )


def available_models() -> list[ModelInfo]:
    """List the bundled networks (checked against their cards) and what Cellpose knows by name."""
    from napari_tam.segment.cellpose_models import zoo_names

    found = []
    for name, card in bundled_cards().items():
        digest = card.hash() if card.weights.exists() else ""
        ok = digest == card.values["sha256"]
        text = card.values.get("description", "")
        found.append(ModelInfo(name, card.values["kind"], "bundled", text, digest, ok))
    if (MODELS_FOLDER / f"{PHENOTYPE}.json").exists():
        found.append(_phenotype_info())
    found += [
        ModelInfo(name, "cells", "cellpose zoo", "needs its weights on this machine or a download")
        for name in zoo_names()
    ]
    return found


def _phenotype_info() -> ModelInfo:
    card = json.loads((MODELS_FOLDER / f"{PHENOTYPE}.json").read_text(encoding="utf-8"))
    weights = MODELS_FOLDER / f"{PHENOTYPE}.safetensors"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest() if weights.exists() else ""
    return ModelInfo(
        PHENOTYPE, PHENOTYPE, "bundled", card.get("description", ""), digest, digest == card.get("sha256")
    )
