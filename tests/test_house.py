"""The rules of the house that a machine can check."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from typing import TYPE_CHECKING, Any

import pytest
from paths import PACKAGE, ROOT

from napari_tam import columns

if TYPE_CHECKING:
    from pathlib import Path

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
GUI = {"napari", "magicgui", "qtpy", "PyQt5", "PyQt6", "PySide2", "PySide6", "superqt", "vispy"}
CORE = sorted(path for path in PACKAGE.rglob("*.py") if "_napari" not in path.relative_to(PACKAGE).parts)
NETWORKS = ("cells", "cells-fast", "nuclei", "puncta", "phenotype")


def python(code: str) -> str:
    """Run code in a fresh interpreter; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def imports(path: Path) -> set[str]:
    """Return the top-level packages that a file imports anywhere."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
    return found


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def names(requirements: list[str]) -> set[str]:
    return {normal(re.split(r"[\[>=<]", item)[0]) for item in requirements}


def test_importing_the_core_loads_no_torch_and_no_gui() -> None:
    light = (
        "napari_tam, napari_tam.settings, napari_tam.io.images, napari_tam.measure.cells, napari_tam.cli.main"
    )
    heavy = GUI | {"torch", "cellpose", "numba", "openvino"}
    assert python(f"import sys, {light}; print(*sorted({heavy!r} & set(sys.modules)))") == ""


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.stem)
def test_the_core_names_no_gui_library(path: Path) -> None:
    assert not imports(path) & GUI


def test_everything_the_code_imports_is_a_stated_dependency() -> None:
    provided = packages_distributions()
    stated = {False: names(PROJECT["dependencies"])}
    for extra in ("cluster", "watch"):  # imported where they are asked for
        stated[False] |= names(PROJECT["optional-dependencies"][extra])
    stated[True] = stated[False] | names(PROJECT["optional-dependencies"]["napari"])
    for path in PACKAGE.rglob("*.py"):
        for module in imports(path) - sys.stdlib_module_names - {"napari_tam"}:
            distributions = {normal(name) for name in provided.get(module, [module])}
            assert distributions & stated["_napari" in path.parts], f"{path.name} imports {module}"


def test_no_file_of_the_project_is_a_link() -> None:
    """Windows, and who downloads the ZIP, would get a text file in its place."""
    done = subprocess.run(
        ["git", "ls-files", "--stage"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert not [line for line in done.stdout.splitlines() if line.startswith("120000")]


def borrowed(value: ast.AST | None) -> bool:
    """Whether an expression may be a view of a pandas table, which pandas 3 makes read-only."""
    return (
        isinstance(value, ast.Call)
        and isinstance(value.func, ast.Attribute)
        and value.func.attr == "to_numpy"
        and not any(named.arg == "copy" for named in value.keywords)
    )


def written(statement: ast.AST) -> set[str]:
    """Return the names whose elements, or which in place, a statement writes."""
    if isinstance(statement, ast.Assign):
        places = [target for target in statement.targets if isinstance(target, ast.Subscript)]
    else:
        places = [statement.target] if isinstance(statement, ast.AugAssign) else []
    owners = [place.value if isinstance(place, ast.Subscript) else place for place in places]
    return {owner.id for owner in owners if isinstance(owner, ast.Name)}


def writes_into_tables(code: str) -> set[str]:
    """Return the names that hold a table's numbers, not copied, and are written to in the same function."""
    found = set()
    for function in ast.walk(ast.parse(code)):
        if isinstance(function, ast.FunctionDef):
            inside = list(ast.walk(function))
            given = {
                target.id
                for each in inside
                if isinstance(each, ast.Assign | ast.AnnAssign) and borrowed(each.value)
                for target in (each.targets if isinstance(each, ast.Assign) else [each.target])
                if isinstance(target, ast.Name)
            }
            found |= given & {name for each in inside for name in written(each)}
    return found


def test_numbers_of_a_table_are_copied_before_they_are_changed() -> None:
    assert writes_into_tables("def f(t):\n a = t.to_numpy(float)\n a[:, 0] *= 2") == {"a"}
    assert writes_into_tables("def f(t):\n a: X = t.to_numpy()\n a[0] = 2") == {"a"}
    assert writes_into_tables("def f(t):\n a = t.to_numpy(float, copy=True)\n a[0] = 2") == set()
    for path in sorted(PACKAGE.rglob("*.py")):
        assert not writes_into_tables(path.read_text(encoding="utf-8")), path


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_is_the_one_its_card_describes(name: str) -> None:
    card = json.loads((ROOT / "models" / f"{name}.json").read_text(encoding="utf-8"))
    weights = (ROOT / "models" / f"{name}.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == card["sha256"]
    assert card["training_data"]
    assert card["terms"]


def test_no_weights_without_a_card_and_no_card_without_weights() -> None:
    cards, weights = (
        {path.stem for path in (ROOT / "models").glob(f"*.{e}")} for e in ("json", "safetensors")
    )
    assert cards == weights
    assert sum(path.stat().st_size for path in (ROOT / "models").iterdir()) < 25e6


def test_the_constraints_are_portable_and_pin_every_dependency() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    pattern = re.compile(r"([A-Za-z0-9._-]+)==[\w.]+( ; python_version (<|>=) \"3\.\d+\")?")
    assert [line for line in pins if not pattern.fullmatch(line)] == []  # no '+cpu', no path, no address
    pinned = {normal(pin.partition("=")[0]) for pin in pins}
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    wanted = set().union(*map(names, groups))
    assert wanted - pinned == {"napari-tam"}


def test_the_reference_pages_are_current() -> None:
    path = ROOT / "tools" / "reference_pages.py"
    spec = importlib.util.spec_from_file_location("reference_pages", path)
    assert spec is not None
    assert spec.loader is not None
    tool: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    for name, page in tool.PAGES.items():
        assert (ROOT / "docs" / name).read_text(encoding="utf-8") == page(), "run: make format"


def test_the_architecture_page_is_short_and_every_module_says_what_it_is_for() -> None:
    assert len((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").splitlines()) <= 120
    page = (ROOT / "docs" / "modules.md").read_text(encoding="utf-8")
    assert not re.findall(r"^- `[\w/.]+`: ?$", page, re.MULTILINE)


def test_folders_and_files_stay_readable() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= 12
    for folder in (path.parent for path in PACKAGE.rglob("__init__.py")):
        assert len(list(folder.glob("*.py"))) <= 24, f"too many modules in {folder.name}"


@pytest.mark.parametrize("path", sorted((ROOT / "tests").glob("*/test_*.py")), ids=lambda path: path.stem)
def test_tests_stand_where_the_code_stands(path: Path) -> None:
    assert (PACKAGE / path.parent.name / "__init__.py").is_file()


def test_the_makefile_calls_only_what_is_there() -> None:
    for name in re.findall(r"tools/\w+\.\w+", (ROOT / "Makefile").read_text(encoding="utf-8")):
        assert (ROOT / name).is_file()


def test_the_columns_page_has_every_column_of_every_table_with_unit_formula_and_source() -> None:
    page = (ROOT / "docs" / "columns.md").read_text(encoding="utf-8")
    assert "| column | in words | group | unit | definition | source |" in page
    rows = {tuple(part.strip() for part in line[1:-1].split(" | ")) for line in page.splitlines()}
    tables = [value for name, value in vars(columns).items() if name.isupper() and not name.startswith("_")]
    found = [
        c for table in tables if isinstance(table, tuple) for c in table if isinstance(c, columns.Column)
    ]
    assert len(found) > 50
    for column in (*found, *columns.phenotype_columns(), *columns.phenotype_summary_columns()):
        texts = (column.title, column.group, column.unit, column.definition, column.source)
        row = (f"`{column.name}`", *(text.replace("|", "\\|") for text in texts))
        assert row in rows, f"{column.name} is not on the page: tools/reference_pages.py"
