"""One image and a folder of images from Python: ``python examples/notebook.py OUT``.

What is printed comes from simulated fields, so the truth is known.
"""

from __future__ import annotations

import sys
from pathlib import Path

import tifffile

import napari_tam
from napari_tam.simulate.scene import write_fields


def main(out: Path) -> None:
    """Analyse an array, a file and a folder."""
    fields = write_fields(out / "images", 2, seed=1, size=256)

    # a file: channels and pixel size are read from it
    analysis = napari_tam.analyse(fields[0])
    print(analysis.table[["label", "area_um2", "puncta_count", "phenotype"]].head(3))

    # the same pixels as an array: then the settings say what is what
    settings = napari_tam.Settings(
        channels={"cell": 0, "nucleus": 1, "exosome": 2}, pixel_size_um=analysis.field.pixel_size_um
    )
    same = napari_tam.analyse(tifffile.imread(fields[0])[:3], settings)
    assert (same.cells == analysis.cells).all()

    # many images: results are kept one by one, so a second call finds them done
    first = napari_tam.batch(out / "images", out / "results")
    again = napari_tam.batch(out / "images", out / "results")
    print(f"{first.analysed} analysed, then {again.kept} kept")
    cells = again.results().cells
    print(cells.groupby("image")["puncta_count"].mean())


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "results/notebook"))
