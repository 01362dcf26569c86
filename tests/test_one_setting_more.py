"""A setting is declared once: what else knows it (options, form, pages, re-runs, fingerprints) follows."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from paths import PACKAGE, ROOT

if TYPE_CHECKING:
    from pathlib import Path

#: What somebody adds to `Settings`, and nothing else.
DECLARATION = """
    grain_um: float = _setting(
        0.5, "Size of the grain.", group="puncta", enters={enters!r}, unit="µm", gt=0, le=9
    )
"""

#: Runs beside a copy of the package in which the setting is declared; prints who knows it.
LOOK = """
import contextlib, io, json, runpy, sys
from pathlib import Path
from napari_tam.cli.main import main
from napari_tam.pipeline.models import Models
from napari_tam.pipeline.rerun import steps_of
from napari_tam.results.fingerprint import analysis_hash, mask_hashes
from napari_tam.settings import Settings

def help_of(command):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        main([command, "--help"])
    return out.getvalue()

models = Models(None, None, None)
plain, other = Settings(), Settings(grain_um=2)
before, after = mask_hashes(plain, models), mask_hashes(other, models)
found = {
    "steps": steps_of("grain_um"),
    "analysis": analysis_hash(plain, models) != analysis_hash(other, models),
    "masks": [kind for kind in before if before[kind] != after[kind]],
    "option": "--grain " in help_of("analyse") and "Size of the grain." in help_of("batch"),
    "yaml": "grain_um: 2.0" in other.to_yaml(),
    "page": "| `grain_um` | `0.5` µm |" in runpy.run_path(sys.argv[1])["settings_page"](),
}
if sys.argv[2] == "form":
    from qtpy.QtWidgets import QApplication
    application = QApplication([])
    from napari_tam._napari._tabs._form import SettingsForm
    form = SettingsForm()
    form.entries["grain_um"].value = 3.5
    found["form"] = form.settings().grain_um
print(json.dumps(found))
"""


def look(tmp_path: Path, enters: object, *, form: bool = False) -> dict[str, Any]:
    """Declare the setting in a copy of the package; return who knows it."""
    copy = tmp_path / "napari_tam"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "napari.yaml"))
    text = (copy / "settings.py").read_text(encoding="utf-8")
    place = text.index("    spot_sigma_um:")
    declared = DECLARATION.format(enters=enters).lstrip("\n")
    (copy / "settings.py").write_text(text[:place] + declared + text[place:], encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", LOOK, str(ROOT / "tools" / "reference_pages.py"), "form" if form else ""],
        env={**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found.pop("option")
    assert found.pop("yaml")
    assert found.pop("page")
    return found


@pytest.mark.parametrize(
    ("enters", "steps", "analysis", "masks"),
    [
        ("nuclei", ["nuclei", "cells", "classify"], True, ["cells", "nuclei"]),
        ("measure", [], True, []),
        ("conclude", [], False, []),
        ((), [], False, []),
    ],
    ids=["nuclei", "measure", "conclude", "nothing"],
)
def test_what_a_new_setting_enters_tells_what_is_done_again(
    tmp_path: Path, enters: object, steps: list[str], analysis: bool, masks: list[str]
) -> None:
    assert look(tmp_path, enters) == {"steps": steps, "analysis": analysis, "masks": masks}


def test_a_new_setting_is_in_the_form_and_what_is_read_with_it_is_done_again(tmp_path: Path) -> None:
    found = look(tmp_path, "read", form=True)
    every = ["correct", "nuclei", "cells", "puncta", "classify"]
    assert found == {"steps": every, "analysis": True, "masks": ["cells", "nuclei"], "form": 3.5}


def test_every_setting_enters_a_step_or_a_known_stage() -> None:
    from napari_tam.pipeline.steps import STEPS
    from napari_tam.settings import Settings

    for name in Settings.model_fields:
        entered = Settings.entered_by(name)
        assert set(entered) <= {*STEPS, "read", "tiles", "conclude"}, name
