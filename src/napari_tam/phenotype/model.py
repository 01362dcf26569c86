"""A phenotype model on disk and in memory: network, card, calibration, and what training cells look like.

::

    <folder>/phenotype.json          the card
    <folder>/phenotype.safetensors   the weights; their sha256 is on the card
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_tam.columns import class_column
from napari_tam.errors import InputError, one_line
from napari_tam.files import make_folder, replacing, write_json
from napari_tam.phenotype.calibration import softmax
from napari_tam.phenotype.crops import CROP_CHANNELS, CROP_SIZE, CROP_UM
from napari_tam.phenotype.features import FEATURE_NAMES
from napari_tam.phenotype.likeness import Likeness
from napari_tam.phenotype.stored_net import StoredNet, stored_net

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_tam.networks.engines import Precision
    from napari_tam.phenotype.morphology_net import MorphologyNet

Floats = npt.NDArray[np.float32]

#: Name of the two files of a model folder.
STEM = "phenotype"

#: What a card must have to be loaded.
NEEDED = ("description", "kind", "classes", "crop", "features", "network", "temperature", "unlike", "sha256")

_RETRAIN = "train it again with 'napari-tam train phenotype', or use --phenotype-model phenotype"


@dataclass(frozen=True)
class Scores:
    """What a model says about cells.

    Attributes
    ----------
    logits, probabilities
        (cells, classes); the probabilities are calibrated.
    distance
        How far each is from the training cells (see `Likeness`).
    """

    logits: Floats
    probabilities: npt.NDArray[np.float64]
    distance: npt.NDArray[np.float64]


@dataclass(frozen=True)
class PhenotypeModel:
    """A trained classifier of cells.

    Attributes
    ----------
    network
        In evaluation mode; or what is stored of it, which scores cells and cannot be trained on.
    classes
        Their names, in the order of the logits.
    mean, sd
        Mean and SD of each shape feature (`napari_tam.phenotype.features.FEATURES`) over the training cells.
    typical
        Mean crop of the training cells, (3, Y, X): what an explanation starts from.
    likeness
        What training cells look like.
    temperature
        By which logits are divided.
    unlike_above
        Distance above which a cell is out of distribution (unlike the training cells).
    card
        Everything else that the card says.
    """

    network: MorphologyNet | StoredNet
    classes: tuple[str, ...]
    mean: Floats
    sd: Floats
    typical: Floats
    likeness: Likeness
    temperature: float = 1.0
    unlike_above: float = float("inf")
    card: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse class names that cannot be told apart."""
        check_classes(self.classes)

    @property
    def trained(self) -> MorphologyNet:
        """The network with its weights, to be trained on, looked into or saved."""
        assert not isinstance(self.network, StoredNet), "loaded for OpenVINO, without weights"
        return self.network

    def standardise(self, features: Floats) -> Floats:
        """Return features in SDs from the training cells' mean."""
        return np.asarray((features - self.mean) / self.sd, np.float32)

    def score(self, crops: npt.NDArray[Any], features: Floats, device: str | None = None) -> Scores:
        """Score cells by their crops and shape features (`phenotype.crops`, `phenotype.features`)."""
        given = self.standardise(features)
        if isinstance(self.network, StoredNet):
            logits, pooled = self.network.run(crops, given)
        else:
            from napari_tam.phenotype.morphology_net import run_network  # loads torch

            logits, pooled = run_network(self.network, crops, given, device)
        vectors = np.concatenate([given, pooled], axis=1)
        return Scores(logits, softmax(logits, self.temperature), self.likeness.distance(vectors))

    def save(self, folder: Path) -> None:
        """Write the model folder.

        Raises
        ------
        InputError
            If it cannot be written.
        """
        import torch
        from safetensors.torch import save

        network = self.trained
        state = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
        own = {"mean": self.mean, "sd": self.sd, "typical": self.typical}
        own |= {"likeness.means": self.likeness.means, "likeness.whiten": self.likeness.whiten}
        state |= {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in own.items()}
        data = save({name: tensor.contiguous() for name, tensor in state.items()})
        unlike = dict(self.card.get("unlike", {}))
        card = {
            "description": self.card.get("description", ""),
            "name": self.card.get("name", STEM),
            "kind": STEM,
            "classes": list(self.classes),
            "crop": {"size_px": CROP_SIZE, "um_per_px": CROP_UM, "channels": list(CROP_CHANNELS)},
            "features": [
                {"name": name, "mean": round(float(mean), 5), "sd": round(float(sd), 5)}
                for name, mean, sd in zip(FEATURE_NAMES, self.mean, self.sd, strict=True)
            ],
            "network": {"widths": list(network.widths), "hidden": list(network.hidden)},
            "parameters": sum(value.numel() for value in network.parameters()),
            "temperature": self.temperature,
            "unlike": {**unlike, "threshold": self.unlike_above},
        }
        card |= {name: value for name, value in self.card.items() if name not in card}
        card["sha256"] = hashlib.sha256(data).hexdigest()
        make_folder(folder)
        with replacing(folder / f"{STEM}.safetensors") as part:
            part.write_bytes(data)
        write_json(folder / f"{STEM}.json", card)


def check_classes(classes: Sequence[str]) -> None:
    """Check that class names are distinct, also as column names.

    Raises
    ------
    InputError
        If there are fewer than two, or two get the same column, or one is ``uncertain`` or empty.
    """
    columns = [class_column(name) for name in classes]
    twins = sorted({name for name in classes if columns.count(class_column(name)) > 1})
    if len(classes) < 2:
        raise InputError(f"a phenotype model needs two classes or more, not {list(classes)}")
    if twins:
        raise InputError(
            f"the classes {', '.join(map(repr, twins))} would get the same column", fix="rename one of them"
        )
    if "uncertain" in columns or not all(re.search(r"\w", name) for name in classes):
        raise InputError("a class cannot be called 'uncertain', nor have no letter", fix="rename it")


def model_files(path: Path) -> tuple[Path, Path]:
    """Return card and weights of a model folder (or of one of its two files)."""
    folder = path if path.is_dir() else path.parent
    return folder / f"{STEM}.json", folder / f"{STEM}.safetensors"


def load_phenotype_model(path: Path, *, openvino: Precision | None = None) -> PhenotypeModel:
    """Read and check a model folder.

    Parameters
    ----------
    path
        The folder, or its card or weights.
    openvino
        Take what is stored of the network, where it can be, and run it so exactly: for scoring only, without
        torch.

    Raises
    ------
    InputError
        If it is none, is damaged, or was made for other crops or features.
    """
    from safetensors.numpy import load

    card_path, weights = model_files(path)
    if not card_path.is_file() or not weights.is_file():
        raise InputError(
            f"not a phenotype model (it must be a folder with {STEM}.json and {STEM}.safetensors)",
            where=path,
            fix="give the --out folder of 'napari-tam train phenotype'",
        )
    card = _read_card(card_path)
    data = weights.read_bytes()
    if hashlib.sha256(data).hexdigest() != card["sha256"]:
        raise InputError("the weights differ from the sha256 on their card", where=weights, fix=_RETRAIN)
    try:
        arrays = load(data)
        model = PhenotypeModel(
            _network(card, arrays, openvino=openvino),
            tuple(card["classes"]),
            arrays["mean"],
            arrays["sd"],
            arrays["typical"],
            Likeness(arrays["likeness.means"], arrays["likeness.whiten"]),
            float(card["temperature"]),
            float(card["unlike"]["threshold"]),
            card,
        )
        _check_shapes(model)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"the weights do not fit their card ({one_line(error)})", where=weights, fix=_RETRAIN
        ) from error
    return model


def _network(
    card: dict[str, Any], arrays: dict[str, npt.NDArray[Any]], *, openvino: Precision | None
) -> MorphologyNet | StoredNet:
    """Build the network, or take what is stored of it."""
    classes, widths, hidden = len(card["classes"]), card["network"]["widths"], card["network"]["hidden"]

    def make() -> MorphologyNet:
        import torch

        from napari_tam.phenotype.morphology_net import MorphologyNet

        network, mark = MorphologyNet(classes, widths, hidden), "network."
        own = {name.removeprefix(mark): array for name, array in arrays.items() if name.startswith(mark)}
        network.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in own.items()})
        return network.eval()

    if openvino is None:
        return make()
    return stored_net([card["sha256"], classes, widths, hidden], widths, classes, make, openvino) or make()


def _read_card(path: Path) -> dict[str, Any]:
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"the model card cannot be read ({error})", where=path, fix=_RETRAIN) from error
    missing = [name for name in NEEDED if not isinstance(card, dict) or name not in card]
    if missing or card["kind"] != STEM:
        what = f"lacks {', '.join(missing)}" if missing else f"is that of a '{card['kind']}' network"
        raise InputError(f"the model card {what}", where=path, fix=_RETRAIN)
    try:
        check_classes(card["classes"])
        scale = (card["crop"]["size_px"], card["crop"]["um_per_px"], tuple(card["crop"]["channels"]))
        names = tuple(feature["name"] for feature in card["features"])
    except InputError as error:
        raise InputError(error.what, where=path, fix=_RETRAIN) from error
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(
            f"the model card is damaged ({one_line(error)})", where=path, fix=_RETRAIN
        ) from error
    if scale != (CROP_SIZE, CROP_UM, CROP_CHANNELS) or names != FEATURE_NAMES:
        raise InputError(
            "the model was made for crops of another scale or for other features than this version's "
            f"({CROP_SIZE} px of {CROP_UM} µm; {', '.join(FEATURE_NAMES)})",
            where=path,
            fix=_RETRAIN,
        )
    return dict(card)


def _check_shapes(model: PhenotypeModel) -> None:
    classes, features = len(model.classes), len(FEATURE_NAMES)
    dimensions = features + model.network.widths[-1]
    wanted = {
        "mean": (model.mean, (features,)),
        "sd": (model.sd, (features,)),
        "typical": (model.typical, (len(CROP_CHANNELS), CROP_SIZE, CROP_SIZE)),
        "likeness.means": (model.likeness.means, (classes, dimensions)),
        "likeness.whiten": (model.likeness.whiten, (dimensions, dimensions)),
    }
    for name, (array, shape) in wanted.items():
        if array.shape != shape:
            raise ValueError(f"{name} has the shape {array.shape}, not {shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds values that are no numbers")
    if not (model.sd > 0).all() or not model.temperature > 0 or not model.unlike_above > 0:
        raise ValueError("spread, temperature and threshold must be above 0")
