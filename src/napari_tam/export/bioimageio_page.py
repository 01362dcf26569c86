"""What a person reads in an exported network's package: how to use it, and under which terms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_tam.installation import __version__
from napari_tam.networks.cards import TYPICAL_UM
from napari_tam.networks.predictor import MARGIN

if TYPE_CHECKING:
    from napari_tam.networks.cards import ModelCard
    from napari_tam.networks.cpnet import CPNet
    from napari_tam.networks.flownet import FlowNet


def page(card: ModelCard, network: FlowNet | CPNet) -> str:
    """Return README.md of a package."""
    values = card.values
    lines = [
        f"# napari-tam {values['name']}",
        "",
        f"{_sentence(values.get('description') or values['kind'])} "
        f"A network of napari-tam {__version__}, {values.get('parameters', _count(network)):,} weights.",
        "",
        "## Input",
        "",
        *_input(values, network),
        "",
        "## Output",
        "",
        "Three planes as those of Cellpose (Stringer et al. 2021): the flow to the centre of the object in "
        "y and x, five times the unit vector, and the logit of the probability that there is an object. "
        + _use(values["kind"]),
        "",
        f"Around an image, napari-tam puts a margin of {MARGIN} pixels of zeros (after scaling), so that the "
        "network sees where it ends. Without one, what is found at the border differs.",
        "",
        "## Training data",
        "",
        *_training_data(values),
        "",
        *_more(values),
        "## Validation",
        "",
        *_accuracy(values),
        "",
        "To judge it on images of your own: draw all objects of a few fields by hand, and compare them with "
        "`napari-tam score`, or with any tool that gives the average precision at an overlap (IoU) of 0.5.",
        "",
        "## Terms",
        "",
        "See TERMS.md.",
        "",
    ]
    return "\n".join(lines)


def terms(card: ModelCard) -> str:
    """Return TERMS.md of a package: no identifier of a licence says what the cards do."""
    values = card.values
    lines = [
        f"# Terms of napari-tam {values['name']}",
        "",
        f"Weights: {values.get('terms', 'not on the card; ask whoever trained the network')}.",
        "",
        *([f"Source of the weights: {values['source']}.", ""] if "source" in values else []),
        "Trained on:",
        "",
        *_training_data(values),
        "",
        "The source code of the network (the Python file in this package): BSD-3-Clause, see LICENSE.",
        "",
    ]
    return "\n".join(lines)


def _training_data(values: dict[str, Any]) -> list[str]:
    return [f"- {each}" for each in values.get("training_data", ["not on the card"])]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."


def _count(network: FlowNet | CPNet) -> int:
    return sum(weights.numel() for weights in network.parameters())


def _input(values: dict[str, Any], network: FlowNet | CPNet) -> list[str]:
    sides = f"Height and width must be multiples of {network.multiple} pixels."
    if values["kind"] == "puncta":
        return [
            f"{_sentence(str(values.get('input', 'exosome channel')))} {sides}",
            "",
            "The format cannot say that: `napari_tam.puncta.spot_input.network_input` makes the planes.",
        ]
    typical = values.get("typical_um", TYPICAL_UM[values["kind"]])
    return [
        f"{_sentence(str(values.get('input', 'cell stain, nuclear stain')))} This scaling is the package's "
        "preprocessing, so raw intensities go in.",
        "",
        f"Resize the image before, so that a typical object has a diameter of {values['diameter_px']:g} "
        f"pixels: by {values['diameter_px']:g} × (pixel size in µm) / (diameter in µm). "
        f"napari-tam finds the diameter by itself, beginning at {typical:g} µm. {sides}",
    ]


def _use(kind: str) -> str:
    if kind == "puncta":
        return "Puncta are where the flows of a place end."
    return (
        "Masks are made of them by following the flows, e.g. by "
        "`napari_tam.networks.dynamics.labels_from_flows` or `cellpose.dynamics.compute_masks`, and resized "
        "to the image."
    )


def _more(values: dict[str, Any]) -> list[str]:
    told = [_sentence(str(values[key])) for key in ("source", "may_have_seen", "note") if values.get(key)]
    return [line for each in told for line in (each, "")]


def _accuracy(values: dict[str, Any]) -> list[str]:
    import yaml

    if not values.get("accuracy"):
        return ["There are no figures on its card."]
    text = yaml.safe_dump(values["accuracy"], sort_keys=False, allow_unicode=True)
    precision = "average precision at an overlap (IoU) of 0.5, 0.75 and 0.9"
    what = "" if values["kind"] == "puncta" else f" ({precision})"
    return [f"As on its card{what}:", "", "```yaml", *text.splitlines(), "```"]
