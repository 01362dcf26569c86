"""Folders as microscopes write them, through the command line: ``python benchmarks/channel_files.py``.

Every kind of the small cases: are fields, wells and channels right without an option, and are the tables
those of the same fields as one multi-channel file each? Then what is wrong with a folder: is it said in a
sentence, with the other images analysed? And names that spoil tables, read back by pandas.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
from common import SHARED, publish, require_shared, table

from napari_tam.cli.main import main as napari_tam

CASES = SHARED / "cases" / "channel_files"
COMMON = (
    *("--pixel-size", "0.325", "--cell-diameter", "20", "--nucleus-diameter", "9"),
    *("--phenotype-model", "none", "--no-overlays"),
)
BY_POSITION = ("--channels", "cell=0,nucleus=1,exosome=2")
#: Where their numbers are in another order than the roles.
BY_NAME = {"rgb_one_colour": ("--channels", "cell=c1,nucleus=c5,exosome=c3")}


def run(*words: object) -> tuple[int, str, str]:
    """Run a command; return its status, and what it printed."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = napari_tam([str(word) for word in words])
        except SystemExit as stop:
            status = int(stop.code or 0)
    return status, out.getvalue(), err.getvalue()


def read(path: Path) -> np.ndarray:
    """Read a plane; of a colour picture the one that is in use."""
    plane = tifffile.imread(path)
    return plane if plane.ndim == 2 else plane[..., int(plane.reshape(-1, plane.shape[-1]).max(0).argmax())]


def as_one_file(kind: Path, folder: Path) -> Path:
    """Write every field of a kind as one file with all channels, named after its well and number."""
    folder.mkdir()
    expected = pd.read_csv(kind / "expected.csv", dtype=str)
    for field, rows in expected.groupby("field"):
        planes = [read(kind / name) for name in rows.sort_values("channel")["file"]]
        tifffile.imwrite(
            folder / f"{field}.ome.tif", np.stack(planes), metadata={"axes": "CYX"}, photometric="minisblack"
        )
    return folder


def numbers(results: Path) -> list[np.ndarray]:
    """Return the numbers of the cells' and puncta's tables, in the order of the images."""
    found = []
    for name in ("cells", "puncta"):
        whole = pd.read_parquet(results / f"{name}.parquet")
        drop = [column for column in ("well", "site", "plate", "time", "z") if column in whole]
        found.append(whole.drop(columns=drop).select_dtypes("number").to_numpy(float))
    return found


def try_kind(kind: Path, here: Path) -> list[object]:
    """Analyse a kind without an option, and its fields as one file each."""
    own, one = here / f"{kind.name}_in", here / f"{kind.name}_one"
    shutil.copytree(kind, own)
    (own / "expected.csv").unlink()
    expected = pd.read_csv(kind / "expected.csv", dtype=str)
    roles = BY_NAME.get(kind.name, BY_POSITION)
    status, said, _ = run("batch", own, "--out", here / f"{kind.name}_a", *COMMON, *roles)
    summary = next((line[9:] for line in said.splitlines() if line.startswith("files")), "-")
    run("batch", as_one_file(kind, one), "--out", here / f"{kind.name}_b", *COMMON, *BY_POSITION)
    images = pd.read_csv(here / f"{kind.name}_a" / "images.csv")
    wells = sorted(expected.drop_duplicates("field")["well"])
    right = status == 0 and len(images) == expected["field"].nunique()
    found = sorted(images["well"]) if "well" in images else sorted(n[:3] for n in images["image"])
    pairs = zip(numbers(here / f"{kind.name}_a"), numbers(here / f"{kind.name}_b"), strict=True)
    same = all(a.shape == b.shape and np.array_equal(a, b, equal_nan=True) for a, b in pairs)
    cells = len(pd.read_parquet(here / f"{kind.name}_a" / "cells.parquet"))
    return [kind.name, len(images), cells, _yes(right), _yes(found == wells), _yes(same), summary]


def _yes(value: bool) -> str:
    return "yes" if value else "NO"


def spoiled(here: Path) -> list[list[object]]:
    """Spoil a folder in several ways: what is said, the exit status, and how many fields are analysed."""
    kind, rows = CASES / "metaxpress_guid", []
    files = sorted(kind.glob("*.tif"))

    def folder(name: str) -> Path:
        place = here / name
        place.mkdir()
        for file in files:
            shutil.copy(file, place)
        return place

    def told(name: str, place: Path) -> None:
        status, said, err = run("batch", place, "--out", here / f"{name}_out", *COMMON, *BY_POSITION)
        images = here / f"{name}_out" / "images.csv"
        done = int((pd.read_csv(images)["status"] == "ok").sum()) if images.exists() else 0
        lines = [line for line in (*err.splitlines(), *said.splitlines()) if line.startswith("failed")]
        lines = lines or [line for line in said.splitlines() if line.startswith("files")] or err.splitlines()
        rows.append([name, status, done, lines[0].replace(str(here), "").strip() if lines else "-"])

    place = folder("two kinds mixed")
    for file in sorted((CASES / "leica_lasx").glob("*.tif")):
        shutil.copy(file, place)
    told("two kinds mixed", place)
    place = folder("no third channel")
    next(place.glob("*B02_s1_w3*")).unlink()
    told("no third channel", place)
    place = folder("a channel twice")
    first = next(place.glob("*B02_s1_w3*"))
    shutil.copy(first, first.with_name(first.name.replace("3D.", "3E.").replace("-4C", "-4D")))
    told("a channel twice", place)
    place = folder("another size")
    first = next(place.glob("*B02_s1_w3*"))
    tifffile.imwrite(first, tifffile.imread(first)[:150])
    told("another size", place)
    return rows


def odd_names(here: Path) -> list[list[object]]:
    """Analyse images with names that spoil tables, in two folders; read the names back."""
    names = ["=cmd", "-out", "nan", "CON", "a,b", "it's", 'say "hi"']
    source = as_one_file(CASES / "metaxpress", here / "one")
    picture = sorted(source.glob("*.tif"))[0]
    for place in ("x", "y"):
        (here / "odd" / place).mkdir(parents=True)
        for name in names:
            shutil.copy(picture, here / "odd" / place / f"{name}.ome.tif")
    status, _, err = run("batch", here / "odd", "--out", here / "odd_out", *COMMON, *BY_POSITION)
    if not (here / "odd_out" / "images.csv").exists():
        return [["none analysed", status, 0, 0, "NO", err.strip()]]
    read_as = {"dtype": {"image": str}, "keep_default_na": False, "na_values": [""]}
    found = set(pd.read_csv(here / "odd_out" / "images.csv", **read_as)["image"].str.removeprefix("'"))
    binary = set(pd.read_parquet(here / "odd_out" / "cells.parquet")["image"])
    wanted = len(names) * 2
    return [
        [f"{wanted} images", status, len(found), len(binary), _yes(len(found) == wanted), err.strip()[:80]]
    ]


def plate(here: Path) -> list[list[object]]:
    """Write results as an OME-Zarr plate, validate it, and analyse it again."""
    import yaozarrs

    results = here / "metaxpress_a"
    run("export", results, "--to", "ome-zarr", "--out", here / "plate")
    (path,) = (here / "plate").rglob("*.ome.zarr")
    yaozarrs.validate_zarr_store(str(path))
    status, _, _ = run("batch", path, "--out", here / "plate_out", *COMMON)
    pairs = list(zip(numbers(results), numbers(here / "plate_out"), strict=True))
    same = all(a.shape == b.shape and np.allclose(a, b, equal_nan=True, rtol=1e-6) for a, b in pairs)
    return [[path.name, "valid", status, _yes(same)]]


def main() -> None:
    """Try all, print and keep the tables."""
    with tempfile.TemporaryDirectory() as place:
        here = Path(place)
        kinds = [try_kind(kind, here) for kind in sorted(CASES.iterdir()) if kind.is_dir()]
        header = ["kind", "fields", "cells", "fields right", "wells right", "tables same", "said"]
        lines = ["Without an option that says how files are named:", "", *table(header, kinds), ""]
        rows = spoiled(here)
        lines += ["A folder with a fault:", "", *table(["fault", "status", "analysed", "said"], rows), ""]
        lines += ["Names that spoil tables, in two folders:", ""]
        header = ["", "status", "names in images.csv", "in cells.parquet", "all", "said"]
        lines += [*table(header, odd_names(here)), "", "As an OME-Zarr plate, and analysed again:", ""]
        lines += table(["plate", "yaozarrs", "status", "tables same"], plate(here))
        good = sum(row[3] == row[4] == row[5] == "yes" for row in kinds)
    publish("channel_files", [f"{good} of {len(kinds)} kinds right", "", *lines], {"right": good})


if __name__ == "__main__":
    require_shared()
    main()
