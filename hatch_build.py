"""Build hook: puts the manifest, the networks and the sample images of the root into the package."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

#: What a wheel holds of the root, by its place in the wheel.
IN_A_WHEEL = {
    "napari.yaml": "napari_tam/napari.yaml",
    "models": "napari_tam/bundled/models",
    "sample_data": "napari_tam/bundled/sample_data",
    "CITATION.cff": "napari_tam/bundled/CITATION.cff",
    "LICENSE": "napari_tam/bundled/LICENSE",
}


class RootFiles(BuildHookInterface):  # type: ignore[type-arg]
    """Take the files of the root along; a clone needs no links for it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Run before a wheel is built, or an editable installation made (`version` says which)."""
        root = Path(self.root)
        missing = [name for name in IN_A_WHEEL if not (root / name).exists()]
        if missing:
            raise FileNotFoundError(f"{root} is not complete: {', '.join(missing)} is missing")
        if version == "editable":
            _place_manifest(root)
        else:
            build_data["force_include"] |= {str(root / name): place for name, place in IN_A_WHEEL.items()}


def _place_manifest(root: Path) -> None:
    """Put the manifest where npe2 looks for it, in the package: a link, or a copy where links are refused.

    The rest is found at the root (`napari_tam.installation`).
    """
    source = root / "napari.yaml"
    target = root / "src" / "napari_tam" / source.name
    target.unlink(missing_ok=True)
    try:
        target.symlink_to(Path("..", "..", source.name))
    except (OSError, NotImplementedError):
        shutil.copyfile(source, target)
