"""Where things are."""

from __future__ import annotations

from pathlib import Path

import napari_tam

HELPERS = Path(__file__).resolve().parent
ROOT = HELPERS.parent.parent
PACKAGE = Path(napari_tam.__file__).resolve().parent
SOURCE = PACKAGE.parent
TRAINING = ROOT / "training"
#: Images beside the project; tests pass without them.
SHARED = ROOT.parent / "shared"
