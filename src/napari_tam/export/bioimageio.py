"""Networks as packages of the BioImage Model Zoo (bioimage.io), model description format 0.5.

A package holds ``rdf.yaml``, the weights as a PyTorch state dict (tensors and nothing else, to be loaded with
``weights_only=True``), the source of the network as it is here, an input and its output for tests, a cover,
the terms, and a page that says how to use it (`napari_tam.export.bioimageio_page`). The format knows no
safetensors.

Format: https://github.com/bioimage-io/spec-bioimage-io; a test checks packages with ``bioimageio.spec`` where
that is installed.
"""

from __future__ import annotations

import inspect
import re
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_tam import files
from napari_tam.errors import InputError
from napari_tam.export.bioimageio_page import page, terms
from napari_tam.installation import __version__, bundled
from napari_tam.networks.cards import PHENOTYPE, TYPICAL_UM, ModelCard, bundled_cards, own_card

if TYPE_CHECKING:
    from napari_tam.networks.cpnet import CPNet
    from napari_tam.networks.flownet import FlowNet

Float = npt.NDArray[np.float32]

#: The version of the format that is written: the one that bioimageio.core 0.11 knows.
FORMAT = "0.5.12"

#: What the networks find in a place, in the order of their output.
OUTPUTS = ("flow_y", "flow_x", "probability_logit")

#: Percentiles of an image that become 0 and 1 (`napari_tam.segment.segmenter.normalise`).
PERCENTILES = (1.0, 99.0)

#: Largest side of the image for tests (px).
_SIDE = 256


def export_network(name: str, target: Path) -> Path:
    """Write a network as a package.

    Parameters
    ----------
    name
        A bundled network, or the folder of a model of ``napari-tam train cells``.
    target
        The folder to write, or the file if it ends in ``.zip``; nothing may be there yet.

    Returns
    -------
    What was written.

    Raises
    ------
    InputError
        If there is no such network, it cannot be exported, or something is there already.
    OutputError
        If it cannot be written.
    """
    card = _card(name)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise InputError("there is something already", where=target, fix="name a new folder or .zip file")
    network = card.load().eval()
    zipped = target.suffix.lower() == ".zip"
    files.make_folder(target.parent if zipped else target)
    try:
        with tempfile.TemporaryDirectory(prefix="napari-tam-") as scratch:
            folder = Path(scratch)
            _write(card, network, folder)
            # the description last: a folder that has it is whole
            written = sorted(folder.iterdir(), key=lambda path: path.name == "rdf.yaml")
            if zipped:
                with files.replacing(target) as part, zipfile.ZipFile(part, "w") as whole:
                    for path in written:
                        whole.write(path, path.name, zipfile.ZIP_DEFLATED)
            else:
                for path in written:
                    shutil.copyfile(path, target / path.name)
    except OSError as error:
        raise files.OutputError(target, error) from error
    return target


def _card(name: str) -> ModelCard:
    known = bundled_cards()
    if name in known:
        return known[name]
    if name == PHENOTYPE:
        raise InputError(
            f"'{PHENOTYPE}' judges single cells by shape and stain; the format is for networks of images",
            fix=f"export one of {', '.join(known)}",
        )
    own = own_card(name, "cells")
    if own is None:
        raise InputError(
            f"there is no network '{name}' to export",
            fix=f"name one of {', '.join(known)}, or the folder of a model of 'napari-tam train cells'",
        )
    return own


def _write(card: ModelCard, network: FlowNet | CPNet, folder: Path) -> None:
    """Write all files of a package."""
    import torch
    import yaml

    from napari_tam.results.overlay import encode_png

    state = {key: tensor.detach().clone().contiguous() for key, tensor in network.state_dict().items()}
    torch.save(state, folder / "weights.pt")
    source = Path(inspect.getfile(type(network)))
    shutil.copyfile(source, folder / source.name)
    shutil.copyfile(bundled("LICENSE"), folder / "LICENSE")
    example = example_input(card, network)
    ready = example if card.values["kind"] == "puncta" else scaled(example)
    with torch.inference_mode():
        output = network(torch.from_numpy(ready[None])).numpy()
    np.save(folder / "test_input.npy", example[None])
    np.save(folder / "test_output.npy", output)
    (folder / "cover.png").write_bytes(encode_png(_cover(ready, output[0])))
    (folder / "README.md").write_text(page(card, network), encoding="utf-8")
    (folder / "TERMS.md").write_text(terms(card), encoding="utf-8")
    told = description(
        card, network, {path.name: files.file_hash(path) for path in folder.iterdir()}, source.name
    )
    text = yaml.safe_dump(told, sort_keys=False, allow_unicode=True, width=110)
    (folder / "rdf.yaml").write_text(text, encoding="utf-8")


def description(
    card: ModelCard, network: FlowNet | CPNet, hashes: dict[str, str], source: str
) -> dict[str, Any]:
    """Return the content of ``rdf.yaml``.

    Parameters
    ----------
    card, network
        The network.
    hashes
        The SHA-256 of each file of the package by its name.
    source
        The file that defines the network's class.
    """
    import torch
    import yaml

    def file(name: str) -> dict[str, str]:
        return {"source": name, "sha256": hashes[name]}

    citation = yaml.safe_load(bundled("CITATION.cff").read_text(encoding="utf-8"))
    kind, values = card.values["kind"], card.values
    arguments = {"in_channels": network.in_channels, "widths": list(network.widths)}
    if "stem" in values:
        arguments["stem"] = values["stem"]
    named = re.sub(r"[^A-Za-z0-9_+() -]", "-", str(values["name"]))
    return {
        "format_version": FORMAT,
        "type": "model",
        "name": f"napari-tam {named}"[:64],
        "description": f"{values.get('description') or kind}. Output: Cellpose flows and a probability.",
        "version": __version__,
        "authors": [{"name": _author(each)} for each in citation["authors"]],
        "cite": [_cited(each) for each in citation["references"]],
        "license": file("TERMS.md"),
        "documentation": file("README.md"),
        "covers": [file("cover.png")],
        "attachments": [file("LICENSE")],
        "tags": ["fluorescence-light-microscopy", "segmentation", "cellpose", "unet", "pytorch", "2d", kind],
        "inputs": [
            {
                "id": "image",
                "description": _input_text(kind, network),
                "axes": _axes(channels_of(kind, network.in_channels), network),
                "data": {"type": "float32"},
                "test_tensor": file("test_input.npy"),
                "preprocessing": [] if kind == "puncta" else [_scale_range()],
            }
        ],
        "outputs": [
            {
                "id": "flows",
                "description": "flow to the centre in y, x (5 x the unit vector), logit of the probability",
                "axes": _axes(list(OUTPUTS), network, of="image"),
                "data": {"type": "float32"},
                "test_tensor": file("test_output.npy"),
            }
        ],
        "weights": {
            "pytorch_state_dict": {
                **file("weights.pt"),
                "architecture": {**file(source), "callable": type(network).__name__, "kwargs": arguments},
                "pytorch_version": torch.__version__.partition("+")[0],
            }
        },
        "config": {"napari_tam": {"card": values}},
    }


def channels_of(kind: str, number: int) -> list[str]:
    """Return what the channels of a network of a kind are."""
    if kind == "puncta":
        return ["in_noise", "fine_contrast", "wide_contrast", "round_contrast"][:number]
    return ["nucleus"] if kind == "nuclei" else ["cell", "nucleus"][:number]


def scaled(image: Float) -> Float:
    """Return a CYX image as the format's ``scale_range`` makes it: each channel's percentiles to 0 and 1."""
    low, high = np.percentile(image, PERCENTILES, axis=(1, 2), keepdims=True)
    return np.asarray((image - low) / (high - low + 1e-6), np.float32)


def example_input(card: ModelCard, network: FlowNet | CPNet) -> Float:
    """Return the middle of a bundled sample image as the network wants it, CYX, before ``scale_range``."""
    from napari_tam.io.images import read_fields
    from napari_tam.puncta.spot_input import network_input, repair_hot_pixels
    from napari_tam.segment.segmenter import resize, working_size
    from napari_tam.settings import Settings

    field = next(iter(read_fields(bundled("sample_data") / "field_01.ome.tif", Settings())))
    kind = card.values["kind"]
    if kind == "puncta":
        pixels, _ = repair_hot_pixels(field.channels["exosome"])
        image = network_input(pixels, network.in_channels)
    else:
        stains = [np.asarray(field.channels[name]) for name in channels_of(kind, network.in_channels)]
        typical = card.values.get("typical_um", TYPICAL_UM[kind])
        size = working_size(stains[0], card.values["diameter_px"] * field.pixel_size_um / typical)
        image = np.stack([resize(stain, size) for stain in stains])
    cut = []
    for length in image.shape[1:]:
        side = min(length, _SIDE) // network.multiple * network.multiple
        cut.append(slice((length - side) // 2, (length - side) // 2 + side))
    return np.ascontiguousarray(image[:, cut[0], cut[1]], np.float32)


def _axes(channels: list[str], network: FlowNet | CPNet, of: str = "") -> list[dict[str, Any]]:
    """Return the axes of the input, or of the output of an input."""
    axes: list[dict[str, Any]] = [{"type": "batch"}, {"type": "channel", "channel_names": channels}]
    for name in ("y", "x"):
        if of:
            size: dict[str, Any] = {"tensor_id": of, "axis_id": name}
            axes.append({"type": "space", "id": name, "size": size, "halo": network.reach})
        else:
            # what is left inside the halo is at least one step
            size = {"min": 2 * network.reach + network.multiple, "step": network.multiple}
            size["min"] += -size["min"] % network.multiple
            axes.append({"type": "space", "id": name, "size": size})
    return axes


def _scale_range() -> dict[str, Any]:
    low, high = PERCENTILES
    return {
        "id": "scale_range",
        "kwargs": {"axes": ["y", "x"], "min_percentile": low, "max_percentile": high},
    }


def _input_text(kind: str, network: FlowNet | CPNet) -> str:
    if kind == "puncta":
        return "exosome channel as napari_tam.puncta.spot_input prepares it, native pixels"
    more = "; nucleus: zeros if there is none" if network.in_channels > 1 else ""
    return f"stains, resized to the diameter that README.md names{more}"


def _author(each: dict[str, str]) -> str:
    """Return an author of CITATION.cff as one name."""
    return each.get("name") or f"{each.get('given-names', '')} {each.get('family-names', '')}".strip()


def _cited(each: dict[str, Any]) -> dict[str, str]:
    people = ", ".join(map(_author, each["authors"]))
    return {"text": f"{people} ({each['year']}). {each['title']}. {each['journal']}", "doi": each["doi"]}


def _cover(ready: Float, output: Float) -> npt.NDArray[np.uint8]:
    """Return a picture, twice as wide as high: what goes in, and the probability that comes out."""
    side = min(ready.shape[1:])
    stain = np.clip(ready[:, :side, :side], 0, 1)
    # grey; of two stains the second in blue on it
    blue = stain.max(axis=0) if len(stain) == 2 else stain[0]
    left = np.stack([stain[0], stain[0], blue], axis=-1)
    right = np.repeat(1 / (1 + np.exp(-output[2, :side, :side, None])), 3, axis=-1)
    both = np.concatenate([left, right], axis=1)
    return np.asarray((both * 255).round().repeat(2, axis=0).repeat(2, axis=1), np.uint8)
