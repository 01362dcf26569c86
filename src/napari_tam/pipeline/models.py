"""The networks of an analysis: found, checked and loaded here, then passed in."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_tam.errors import InputError
from napari_tam.files import file_hash
from napari_tam.networks import cards
from napari_tam.networks.cards import (
    AREA_SETTINGS,
    PHENOTYPE,
    TYPICAL_UM,
    ModelCard,
    bundled_cards,
    check_bundled,
    own_card,
)

if TYPE_CHECKING:
    from napari_tam.correct.defects import Defects
    from napari_tam.correct.folder import Corrections
    from napari_tam.networks.cpnet import CPNet
    from napari_tam.networks.engines import EngineName, Precision
    from napari_tam.networks.flownet import FlowNet
    from napari_tam.networks.int8 import Limits
    from napari_tam.networks.predictor import Predictor
    from napari_tam.networks.stored_graphs import StoredGraph
    from napari_tam.phenotype.classify import Classifier
    from napari_tam.puncta.detect import Detector
    from napari_tam.segment.segmenter import Segmenter
    from napari_tam.settings import Settings


#: The settings that decide what `load_models` loads.
CHOICES = (
    "device",
    "engine",
    "precision",
    "cells_model",
    "nuclei_model",
    "puncta_method",
    "phenotype_model",
    "corrections",
    "defects",
)


@dataclass(frozen=True)
class Models:
    """What `pipeline.steps` runs on, what is known of the microscope included, and what goes on record."""

    cells: Segmenter
    nuclei: Segmenter
    puncta: Detector
    device: str = "cpu"
    engine: str = ""
    hashes: dict[str, str] = field(default_factory=dict)
    phenotype: Classifier | None = None
    corrections: Corrections | None = None
    defects: Defects | None = None


@dataclass(frozen=True)
class ModelInfo:
    """A model that can be used: one line of ``napari-tam models``."""

    name: str
    kind: str
    source: str
    description: str
    sha256: str = ""
    ok: bool = True


def load_models(settings: Settings) -> Models:
    """Load what the settings ask for.

    Raises
    ------
    InputError
        If a device or model cannot be used: one sentence that says which and why.
    """
    from napari_tam.correct.defects import AUTO, NONE, read_defects
    from napari_tam.correct.folder import read_corrections
    from napari_tam.networks.devices import choose_device
    from napari_tam.networks.engines import choose_engine, describe
    from napari_tam.phenotype.classify import load_classifier
    from napari_tam.puncta.detect import LogDetector, NetworkDetector

    check_bundled()
    # OpenVINO runs on the processor only: who asks for it means that
    on_processor = settings.engine == "openvino" and settings.device == "auto"
    device = choose_device("cpu" if on_processor else settings.device)
    engine = choose_engine(settings.engine, device)
    find = _Finder(device, engine, settings.precision, bundled_cards())
    puncta: Detector = LogDetector()
    if settings.puncta_method == "network":
        puncta = NetworkDetector(find.of_card(find.card("puncta")))
    phenotype = load_classifier(settings.phenotype_model, device, engine, settings.precision)
    if phenotype is not None:
        find.hashes[settings.phenotype_model] = phenotype.model.card["sha256"]
    corrections = None
    if settings.corrections != "none":
        corrections = read_corrections(Path(settings.corrections).expanduser())
        find.hashes[settings.corrections] = corrections.sha256
    defects = None
    if settings.defects not in (AUTO, NONE):
        defects = read_defects(Path(settings.defects).expanduser())
        find.hashes[settings.defects] = defects.sha256
    return Models(
        find.segmenter(settings.cells_model, "cells"),
        find.segmenter(settings.nuclei_model, "nuclei"),
        puncta,
        device,
        describe(engine, device, settings.precision),
        find.hashes,
        phenotype,
        corrections,
        defects,
    )


@dataclass
class _Finder:
    """Finds networks by their names, and notes the hashes of their files."""

    device: str
    engine: EngineName
    precision: Precision
    known: dict[str, ModelCard]
    hashes: dict[str, str] = field(default_factory=dict)

    def card(self, name: str) -> ModelCard:
        """Return the card of a bundled network."""
        if name not in self.known:
            raise InputError(
                f"the bundled network '{name}' is missing",
                where=cards.MODELS_FOLDER,
                fix="reinstall napari-tam",
            )
        self.hashes[name] = self.known[name].values["sha256"]
        return self.known[name]

    def segmenter(self, name: str, kind: str) -> Segmenter:
        """Return what finds ``cells`` or ``nuclei``: a bundled network, a model folder, a Cellpose model."""
        if name == kind or (name in self.known and self.known[name].values["kind"] == kind):
            return self._of_card(self.card(name), kind)
        if name in self.known:
            raise InputError(
                f"the bundled network '{name}' finds {self.known[name].values['kind']}, not {kind}",
                where=f"{kind}_model",
                fix=f"use '{kind}', a Cellpose model name, or a path",
            )
        own = own_card(name, kind)
        if own is not None:
            self.hashes[name] = own.values["sha256"]
            return self._of_card(own, kind)
        from napari_tam.segment.cellpose_models import CellposeSegmenter, cellpose_network

        path = Path(name).expanduser()
        if path.is_file():
            self.hashes[name] = file_hash(path)
        found = cellpose_network(name)
        if found is not None:
            network, diameter_px = found
            predictor = self._predictor(network, exact=False)
            return _segmenter(predictor, diameter_px, TYPICAL_UM[kind], kind, linear=True)
        return CellposeSegmenter(name, kind, self.device, TYPICAL_UM[kind], AREA_SETTINGS[kind])

    def of_card(self, card: ModelCard) -> Predictor:
        """Return the network of a card, checked and made ready to run."""
        network = card.load_for_openvino() if self.engine == "openvino" else card.load()
        return self._predictor(network, exact=not card.is_cpnet, limits=card.limits)

    def _predictor(
        self, network: FlowNet | CPNet | StoredGraph, *, exact: bool, limits: Limits | None = None
    ) -> Predictor:
        """Return a network made ready to run; `exact` if it is a FlowNet, the same in tiles of any size."""
        from napari_tam.networks.predictor import TILE, TILE_OF_CPNET, Predictor

        return Predictor(
            network,
            self.device,
            engine=self.engine,
            precision=self.precision,
            limits=limits,
            tile=TILE if exact else TILE_OF_CPNET,
        )

    def _of_card(self, card: ModelCard, kind: str) -> Segmenter:
        typical = card.values.get("typical_um", TYPICAL_UM[kind])
        return _segmenter(self.of_card(card), card.values["diameter_px"], typical, kind, linear=card.is_cpnet)


def _segmenter(
    predictor: Predictor, diameter_px: float, typical_um: float, kind: str, *, linear: bool
) -> Segmenter:
    from napari_tam.segment.segmenter import FlowNetSegmenter

    return FlowNetSegmenter(predictor, diameter_px, typical_um, AREA_SETTINGS[kind], linear=linear)


def stack_models(models: Models, z_step_um: float) -> Models:
    """Return the same models, for stacks (ZYX) whose planes are `z_step_um` apart."""
    from napari_tam.volume.detect import StackDetector
    from napari_tam.volume.segment import StackSegmenter

    return replace(
        models,
        cells=StackSegmenter(models.cells, z_step_um, AREA_SETTINGS["cells"]),
        nuclei=StackSegmenter(models.nuclei, z_step_um, AREA_SETTINGS["nuclei"]),
        puncta=StackDetector(models.puncta, z_step_um),
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
    if (cards.MODELS_FOLDER / f"{PHENOTYPE}.json").exists():
        found.append(_phenotype_info())
    found += [
        ModelInfo(name, "cells", "cellpose zoo", "needs its weights on this machine or a download")
        for name in zoo_names()
    ]
    return found


def _phenotype_info() -> ModelInfo:
    card = json.loads((cards.MODELS_FOLDER / f"{PHENOTYPE}.json").read_text(encoding="utf-8"))
    weights = cards.MODELS_FOLDER / f"{PHENOTYPE}.safetensors"
    digest = file_hash(weights) if weights.exists() else ""
    return ModelInfo(
        PHENOTYPE, PHENOTYPE, "bundled", card.get("description", ""), digest, digest == card.get("sha256")
    )
