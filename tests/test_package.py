"""What a user gets from any copy of the project: wheel and editable installation, in clean environments."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import venv
from pathlib import Path
from typing import Any

import lazy_loader
import pytest
from paths import ROOT

#: Runs in the clean environment, which has no dependency of the project; prints what it finds.
LOOK = """
import hashlib, json, pathlib, importlib.metadata as metadata
import napari_tam
from napari_tam.installation import bundled
folder = pathlib.Path(napari_tam.__file__).parent
[manifest] = metadata.entry_points(group="napari.manifest")
module, _, name = manifest.value.partition(":")
def files(root):
    return {str(path.relative_to(root).as_posix()): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in root.rglob("*") if path.is_file() and path.suffix != ".pyc"}
scripts = [entry.name for entry in metadata.entry_points(group="console_scripts")]
print(json.dumps(dict(folder=str(folder), module=module, manifest=(folder / name).read_text("utf-8"),
                      files=sorted(files(folder)), scripts=scripts,
                      bundled={name: files(bundled(name)) for name in ("models", "sample_data")},
                      texts={n: bundled(n).read_text("utf-8") for n in ("CITATION.cff", "LICENSE")})))
"""


def run(*words: object, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files_in(folder: str) -> set[str]:
    paths = [path for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix != ".pyc"]
    return {path.relative_to(ROOT).as_posix() for path in paths}


def installed(environment: Path, *what: object) -> dict[str, Any]:
    """Install into a new environment, without dependencies and without a network; return what is there."""
    venv.create(environment, with_pip=False)
    python = environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index")
    run(*pip, *what)
    # the one library that importing the package itself needs
    [site] = [path for path in environment.rglob("site-packages") if path.is_dir()]
    shutil.copytree(Path(lazy_loader.__file__).parent, site / "lazy_loader")
    found: dict[str, Any] = json.loads(run(python, "-I", "-c", LOOK))
    return found


def is_complete(found: dict[str, Any]) -> None:
    assert found["module"] == "napari_tam"
    assert found["manifest"] == (ROOT / "napari.yaml").read_text(encoding="utf-8")
    assert found["scripts"] == ["napari-tam"]
    assert {"py.typed", "_napari/_widget.py"} <= set(found["files"])
    for folder, files in found["bundled"].items():
        assert {f"{folder}/{name}" for name in files} == files_in(folder)
    for name, text in found["texts"].items():
        assert text == (ROOT / name).read_text(encoding="utf-8")
    networks = found["bundled"]["models"]
    cards = [name for name in networks if name.endswith(".json")]
    assert cards
    for name in cards:
        card = json.loads((ROOT / "models" / name).read_text(encoding="utf-8"))
        assert networks[name.replace(".json", ".safetensors")] == card["sha256"]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Copy the project as a ZIP download or a clone without links leaves it: a link is a text file there."""
    target = tmp_path / "copy"
    ignored = (".git", ".venv*", "build", "dist", "results", "__pycache__", ".*_cache", ".hypothesis")
    shutil.copytree(ROOT, target, symlinks=True, ignore=shutil.ignore_patterns(*ignored))
    (target / "src" / "napari_tam" / "napari.yaml").unlink(missing_ok=True)  # ignored by git
    for path in target.rglob("*"):
        if path.is_symlink():
            text = path.readlink().as_posix()
            path.unlink()
            path.write_text(text, encoding="utf-8")
    return target


@pytest.mark.slow
def test_the_wheel_from_the_sdist_has_manifest_networks_and_sample_data(copy: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path / "dist", copy)
    [sdist] = (tmp_path / "dist").glob("*.tar.gz")
    [wheel] = (tmp_path / "dist").glob("*.whl")
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    for folder in ("models", "sample_data", "docs", "tools"):
        assert files_in(folder) <= inside
    found = installed(tmp_path / "clean", wheel)
    assert Path(found["folder"]).is_relative_to(tmp_path / "clean")
    is_complete(found)


@pytest.mark.slow
def test_an_editable_installation_reads_the_files_of_its_copy(copy: Path, tmp_path: Path) -> None:
    build = "import sys, hatchling.build; print(hatchling.build.build_editable(sys.argv[1]))"
    run(sys.executable, "-c", build, tmp_path, cwd=copy)
    [wheel] = tmp_path.glob("*.whl")
    found = installed(tmp_path / "clean", wheel)
    assert Path(found["folder"]) == copy / "src" / "napari_tam"
    is_complete(found)


def test_a_copy_that_is_not_complete_builds_no_package(copy: Path, tmp_path: Path) -> None:
    shutil.rmtree(copy / "models")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(copy)]
    done = subprocess.run(build, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode != 0
    assert "is not complete: models is missing" in done.stdout + done.stderr
    assert not list(tmp_path.glob("*.whl"))
