"""Print the head of a results folder's table of cells, and where to look further (make demo does)."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

COLUMNS = ["image", "label", "area_um2", "elongation", "puncta_count", "puncta_intensity_sum", "exosome_mean"]


def main(folder: Path) -> None:
    """Print what the folder holds."""
    cells = pd.read_csv(folder / "cells.csv")
    images = pd.read_csv(folder / "images.csv")
    print(f"\n{len(cells)} cells in {len(images)} images. A few of the {len(cells.columns)} columns:\n")
    print(cells[COLUMNS].head(8).to_string(index=False, float_format="{:.2f}".format))
    print("\nLook at the pictures first: outlines and puncta over every image")
    for label, name in (
        ("pictures", "overlays"),
        ("cells", "cells.csv"),
        ("puncta", "puncta.csv"),
        ("images", "images.csv"),
        ("masks", "masks"),
    ):
        print(f"  {label:9} {folder / name}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
