"""What a user gets: the wheel, built from the sdist, in a clean environment."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

import pytest
from paths import ROOT

#: Runs in the clean environment, which has no dependency of the project; prints what it finds.
LOOK = """
import hashlib, json, pathlib, importlib.metadata as metadata
import napari_tam
folder = pathlib.Path(napari_tam.__file__).parent
[manifest] = metadata.entry_points(group="napari.manifest")
module, _, name = manifest.value.partition(":")
files = {str(path.relative_to(folder).as_posix()): hashlib.sha256(path.read_bytes()).hexdigest()
         for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}
scripts = [entry.name for entry in metadata.entry_points(group="console_scripts")]
print(json.dumps(dict(folder=str(folder), module=module, manifest=name, files=files, scripts=scripts)))
"""


def files_in(folder: str) -> set[str]:
    paths = [path for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix != ".pyc"]
    return {path.relative_to(ROOT).as_posix() for path in paths}


@pytest.mark.slow
def test_the_wheel_from_the_sdist_has_manifest_networks_and_sample_data(
    tmp_path: Path,
) -> None:
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, timeout=200)
    [sdist] = (tmp_path / "dist").glob("*.tar.gz")
    [wheel] = (tmp_path / "dist").glob("*.whl")
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    for folder in ("models", "sample_data", "docs", "tools"):
        assert files_in(folder) <= inside

    venv.create(tmp_path / "clean", with_pip=False)
    python = tmp_path / "clean" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--no-deps",
        "--no-index",
        str(wheel),
    ]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True, timeout=100)
    done = subprocess.run(
        [str(python), "-I", "-c", LOOK], check=True, capture_output=True, text=True, timeout=60
    )
    found = json.loads(done.stdout)

    assert Path(found["folder"]).is_relative_to(tmp_path / "clean")
    assert found["module"] == "napari_tam"
    assert found["manifest"] in found["files"]
    assert found["scripts"] == ["napari-tam"]
    assert {"py.typed", "_napari/_widget.py"} <= set(found["files"])
    shared = {name for folder in ("models", "sample_data") for name in files_in(folder)}
    assert shared <= set(found["files"])
    for name in shared:
        if name.startswith("models/") and name.endswith(".json"):
            card = json.loads((ROOT / name).read_text(encoding="utf-8"))
            assert found["files"][name.replace(".json", ".safetensors")] == card["sha256"]
