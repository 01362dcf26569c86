"""Files about the project: they say the same as the package, and programs can read them."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_what_is_cited_is_this_version_under_this_licence() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == PROJECT["version"]
    assert cited["license"] == PROJECT["license"]
    assert [author["name"] for author in cited["authors"]] == [one["name"] for one in PROJECT["authors"]]


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob(".github/**/*.yml")) + sorted(ROOT.glob(".napari-hub/*.yml"))
)
def test_files_for_a_host_are_yaml(path: Path) -> None:
    assert yaml.safe_load(path.read_text(encoding="utf-8"))


def test_the_extras_that_other_installers_name_are_there() -> None:
    extras = set(PROJECT["optional-dependencies"])
    pixi = tomllib.loads((ROOT / "pixi.toml").read_text(encoding="utf-8"))
    assert set(pixi["pypi-dependencies"]["napari-tam"]["extras"]) <= extras
    container = (ROOT / "Containerfile").read_text(encoding="utf-8")
    named = container.partition('"/src[')[2].partition("]")[0].split(",")
    assert named and set(named) <= extras
    jobs = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text(encoding="utf-8"))["jobs"]
    steps = " ".join(step.get("run", "") for step in jobs["test"]["steps"])
    assert set(steps.partition('-e ".[')[2].partition("]")[0].split(",")) <= extras
    pythons = {each["python"] for each in jobs["test"]["strategy"]["matrix"]["include"]}
    assert min(pythons, key=lambda text: tuple(map(int, text.split(".")))) == PROJECT[
        "requires-python"
    ].strip(">=")


def test_a_container_gets_all_that_the_package_is_built_from() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    left_out = {line for line in lines if line and not line.startswith("#")}
    needed = {"src", "models", "sample_data", "napari.yaml", "hatch_build.py", "pyproject.toml", "README.md"}
    assert not left_out & {*needed, "LICENSE", "constraints.txt"}
    assert all((ROOT / name).exists() for name in needed)


def test_the_source_archive_has_what_its_tests_read() -> None:
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    included = set(tool["hatch"]["build"]["targets"]["sdist"]["only-include"])
    text = Path(__file__).read_text(encoding="utf-8")
    for name in ("CITATION.cff", "Containerfile", "pixi.toml", ".github", ".napari-hub", ".dockerignore"):
        assert name in text
        assert name in included
