"""Exported networks run without napari-tam and give the output that is in their package."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import yaml
from paths import ROOT

from napari_tam.cli.main import main
from napari_tam.errors import InputError
from napari_tam.export.bioimageio import example_input, export_network, scaled
from napari_tam.networks.cards import ModelCard, bundled_cards
from napari_tam.networks.predictor import Predictor
from napari_tam.segment.segmenter import normalise

if TYPE_CHECKING:
    from pathlib import Path

#: As other programs do it: the class from the file in the package, the weights without unpickling of code.
RUN = """
import importlib.util, json, sys
import numpy as np, torch
told = json.loads(sys.argv[1])
spec = importlib.util.spec_from_file_location("architecture", told["file"])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
assert not [name for name in sys.modules if name.startswith("napari_tam")]
network = getattr(module, told["callable"])(**told["kwargs"])
network.load_state_dict(torch.load(told["weights"], weights_only=True))
image = np.load(told["input"])
if told["percentiles"]:
    low, high = np.percentile(image, told["percentiles"], axis=(2, 3), keepdims=True)
    image = ((image - low) / (high - low + 1e-6)).astype(np.float32)
with torch.inference_mode():
    found = network.eval()(torch.from_numpy(image)).numpy()
np.testing.assert_allclose(found, np.load(told["output"]), rtol=1e-3, atol=1e-3)
"""
NAMES = ("cells", "cells-fast", "nuclei", "puncta")


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("packages")
    return {name: export_network(name, folder / name) for name in NAMES}


def described(package: Path) -> dict[str, Any]:
    told: dict[str, Any] = yaml.safe_load((package / "rdf.yaml").read_text(encoding="utf-8"))
    return told


def sources(value: Any) -> list[tuple[str, str]]:
    """Return all files that a description names, and their SHA-256."""
    if isinstance(value, list):
        return [found for each in value for found in sources(each)]
    if not isinstance(value, dict):
        return []
    own = [(value["source"], value["sha256"])] if {"source", "sha256"} <= set(value) else []
    return own + [found for key, each in value.items() if key != "config" for found in sources(each)]


def test_every_bundled_network_of_images_is_tested() -> None:
    assert set(NAMES) == set(bundled_cards())


@pytest.mark.parametrize("name", NAMES)
def test_the_package_runs_on_its_own(name: str, packages: dict[str, Path]) -> None:
    package = packages[name]
    told = described(package)
    weights = told["weights"]["pytorch_state_dict"]
    steps = told["inputs"][0]["preprocessing"]
    what = {
        "file": str(package / weights["architecture"]["source"]),
        "callable": weights["architecture"]["callable"],
        "kwargs": weights["architecture"]["kwargs"],
        "weights": str(package / weights["source"]),
        "input": str(package / told["inputs"][0]["test_tensor"]["source"]),
        "output": str(package / told["outputs"][0]["test_tensor"]["source"]),
        "percentiles": [steps[0]["kwargs"][f"{end}_percentile"] for end in ("min", "max") if steps],
    }
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(what)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_the_description_is_about_its_package(name: str, packages: dict[str, Path]) -> None:
    package = packages[name]
    told = described(package)
    named = dict(sources(told))
    assert set(named) | {"rdf.yaml"} == {path.name for path in package.iterdir()}
    for file, sha256 in named.items():
        assert hashlib.sha256((package / file).read_bytes()).hexdigest() == sha256
    card = bundled_cards()[name].values
    assert told["config"]["napari_tam"]["card"] == card
    terms = (package / "TERMS.md").read_text(encoding="utf-8")
    assert card["terms"] in terms
    assert all(source in terms for source in card["training_data"])
    assert [each["name"] for each in told["authors"]] == ["napari-tam developers"]


@pytest.mark.parametrize("name", NAMES)
def test_the_axes_fit_the_tensors_and_the_network(name: str, packages: dict[str, Path]) -> None:
    package = packages[name]
    told = described(package)
    network = bundled_cards()[name].load()
    for tensor, file in ((told["inputs"][0], "test_input.npy"), (told["outputs"][0], "test_output.npy")):
        shape = np.load(package / file, allow_pickle=False).shape
        assert len(shape) == len(tensor["axes"])
        assert shape[1] == len(tensor["axes"][1]["channel_names"])
    for axis, length in zip(
        told["inputs"][0]["axes"][2:], np.load(package / "test_input.npy").shape[2:], strict=True
    ):
        assert axis["size"]["step"] == network.multiple
        assert axis["size"]["min"] % network.multiple == 0
        assert axis["size"]["min"] <= length
        assert (length - axis["size"]["min"]) % axis["size"]["step"] == 0
    for axis in told["outputs"][0]["axes"][2:]:
        assert axis["halo"] == network.reach
        assert 2 * axis["halo"] < told["inputs"][0]["axes"][2]["size"]["min"]


@pytest.mark.parametrize("name", NAMES)
def test_the_output_is_what_napari_tam_sees(name: str, packages: dict[str, Path]) -> None:
    """Away from the border, where napari-tam has its margin; a pixel's answer depends on those in reach."""
    card = bundled_cards()[name]
    image = np.load(packages[name] / "test_input.npy")[0]
    ready = image if name == "puncta" else normalise(image)
    network = card.load()
    mine = Predictor(network, engine="torch")(ready)
    inside = (slice(None), *(slice(network.reach, length - network.reach) for length in image.shape[1:]))
    theirs = np.load(packages[name] / "test_output.npy")[0]
    # a CPNet's style is that of the whole image, its margin included, and processors may run in bfloat16
    agree = np.sign(mine[2][inside[1:]]) == np.sign(theirs[2][inside[1:]])
    assert agree.mean() > 0.97
    assert (theirs[2] > 0).any()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "puncta"])
def test_the_formats_scaling_is_napari_tams(name: str) -> None:
    card = bundled_cards()[name]
    image = example_input(card, card.load())
    np.testing.assert_allclose(scaled(image), normalise(image), atol=1e-5)
    assert not scaled(np.zeros((2, 16, 16), np.float32)).any()


@pytest.mark.parametrize("name", NAMES)
def test_the_cover_is_one_that_the_zoo_takes(name: str, packages: dict[str, Path]) -> None:
    path = packages[name] / "cover.png"
    height, width, _ = cv2.imread(str(path)).shape
    assert width == 2 * height
    assert path.stat().st_size < 500_000


def test_a_trained_network_and_a_zip_file(tmp_path: Path) -> None:
    folder = tmp_path / "my model"
    folder.mkdir()
    card = json.loads((ROOT / "models" / "cells-fast.json").read_text(encoding="utf-8"))
    card |= {"name": "mine/of: café", "typical_um": 20.0}
    del card["terms"]
    (folder / "cells.json").write_text(json.dumps(card), encoding="utf-8")
    shutil.copyfile(ROOT / "models" / "cells-fast.safetensors", folder / "cells.safetensors")
    assert ModelCard.read(folder / "cells.json").values["typical_um"] == 20.0
    path = export_network(str(folder), tmp_path / "new" / "mine.zip")
    with zipfile.ZipFile(path) as package:
        assert package.testzip() is None
        told = yaml.safe_load(package.read("rdf.yaml"))
        assert "ask whoever trained the network" in package.read("TERMS.md").decode()
    assert told["name"] == "napari-tam mine-of- caf-"


def test_what_cannot_be_exported_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="judges single cells"):
        export_network("phenotype", tmp_path / "a")
    with pytest.raises(InputError, match=r"there is no network 'cyto3' to export.*cells-fast"):
        export_network("cyto3", tmp_path / "a")
    assert not list(tmp_path.iterdir())
    (tmp_path / "a.zip").write_bytes(b"mine")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "notes.txt").write_text("mine")
    for target in (tmp_path / "a.zip", tmp_path / "b"):
        with pytest.raises(InputError, match="there is something already"):
            export_network("nuclei", target)
    assert (tmp_path / "a.zip").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["list", "cells"], "belong to 'napari-tam models export'"),
        (["--out", "x"], "belong to 'napari-tam models export'"),
        (["export", "cells"], "--to bioimageio --out cells.zip"),
        (["export", "cells", "--to", "bioimageio"], "--to bioimageio --out cells.zip"),
    ],
)
def test_the_command_says_what_is_missing(
    words: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", *words]) == 2
    assert why in capsys.readouterr().err


def test_the_command_exports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "nuclei"
    assert main(["models", "export", "nuclei", "--to", "bioimageio", "--out", str(target), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"] == {"package": str(target)}
    assert (target / "rdf.yaml").is_file()


@pytest.mark.skipif(importlib.util.find_spec("bioimageio") is None, reason="bioimageio.spec is not installed")
@pytest.mark.parametrize("name", NAMES)
def test_the_format_is_that_of_the_zoo(name: str, packages: dict[str, Path]) -> None:
    code = "import sys; from bioimageio.spec import load_description as load; d = load(sys.argv[1]);"
    code += "print(d.validation_summary.display()); sys.exit(d.validation_summary.status == 'failed')"
    words = [sys.executable, "-c", code, str(packages[name])]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
