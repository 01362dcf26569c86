"""Compare what two commits compute: ``python tools/compare_results.py 558e980 HEAD``.

Runs the same commands with both, in a fresh checkout each (``git worktree``) and with the Python that runs
this: the sample data; a simulated plate with comparisons, report and exports; a z-stack in 3-D; a movie with
tracks. Every file of the results is then compared byte by byte. Only what tells when and how long a run took,
and the version, is set aside. The exit status is 1 if anything else differs.
"""

from __future__ import annotations

import argparse
import base64
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

COMMANDS = (
    "analyse {tree}/sample_data --settings {tree}/sample_data/settings.yaml --out sample",
    "score sample {tree}/sample_data --json sample/score.json",
    "settings default_settings.yaml",
    "simulate plate --plate --seed 1",
    "analyse plate --out results_plate --layout plate/layout.csv",
    "compare results_plate --reference LPS+IFNg",
    "methods results_plate",
    "export results_plate --to geojson roi tidy",
    "simulate stack --planes 12 --fields 1 --seed 2",
    "analyse stack --out results_stack --z-stack volume",
    "simulate movie --frames 5 --fields 1 --seed 3",
    "analyse movie --out results_movie",
    "track results_movie",
)

#: Starts the command line of a checkout, wherever it keeps it.
START = """
import sys
try:
    from napari_tam.cli.main import main
except ImportError:
    from napari_tam.cli import main
sys.exit(main())
"""

#: What may differ between two runs of the same code, as it stands in text files.
MOMENTS = (
    (rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(\+\d\d:?\d\d|Z)?", b"DATE"),
    (rb"\d{4}-\d\d-\d\d", b"DATE"),
    (rb"urn:uuid:[0-9a-f-]{36}", b"UUID"),
    # matplotlib names clip paths and markers at random
    (rb'(?<=["#])(?:image|[a-z])[0-9a-f]{10}(?=["\)])', b"ID"),
    (
        rb'"(seconds|seconds_by_step|mtime_ns|size|sha256|peak_memory_gb)": ?'
        rb'(\{[^}]*\}|"[0-9a-f]*"|[\d.e-]+)',
        b'"MOMENT"',
    ),
)


def run(tree: Path, work: Path) -> None:
    """Run all commands with the code of a checkout, in `work`; what they print is kept beside the results."""
    environment = {**os.environ, "PYTHONPATH": str(tree / "src"), "PYTHONHASHSEED": "0"}
    for number, command in enumerate(COMMANDS):
        words = [word.format(tree=tree) for word in command.split()]
        print(f"  napari-tam {' '.join(words)}", flush=True)
        done = subprocess.run(
            [sys.executable, "-c", START, *words],
            cwd=work,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{tree}: exit status {done.returncode}\n{done.stdout}\n{done.stderr}")
        (work / f"printed_{number:02}.txt").write_text(done.stdout)


def content(path: Path) -> bytes:
    """Return what is compared of a file."""
    import pandas as pd

    if path.suffix in (".csv", ".parquet"):
        table = pd.read_csv(path, dtype=str) if path.suffix == ".csv" else pd.read_parquet(path)
        kept = [name for name in table.columns if "seconds" not in name and name != "version"]
        text: str = table[kept].to_csv(index=False)
        return text.encode()
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            return b"".join(name.encode() + archive.read(name) for name in sorted(archive.namelist()))
    data = path.read_bytes()
    if path.suffix == ".html":
        data = re.sub(
            rb"data:image/svg\+xml;base64,([\w+/=]+)", lambda found: base64.b64decode(found[1]), data
        )
    if path.suffix in (".json", ".html", ".yaml", ".txt", ".svg", ".md", ".geojson", ".tif"):
        for pattern, name in MOMENTS:
            data = re.sub(pattern, name, data)
    if path.suffix == ".txt" and path.name.startswith("printed_"):
        data = re.sub(rb"\d+(\.\d+)? (s|min|ms)\b", b"DURATION", data)
    return data


def differences(first: Path, second: Path) -> list[str]:
    """Return a line for every file that differs or is there once."""
    names = [
        {path.relative_to(each).as_posix() for path in each.rglob("*") if path.is_file()}
        for each in (first, second)
    ]
    lines = [f"only in the first: {name}" for name in sorted(names[0] - names[1])]
    lines += [f"only in the second: {name}" for name in sorted(names[1] - names[0])]
    both = sorted(names[0] & names[1])
    lines += [f"differs: {name}" for name in both if content(first / name) != content(second / name)]
    print(f"{len(both)} files compared, {len(lines)} differ")
    return lines


def main() -> int:
    """Compare two commits; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("before", help="a commit")
    parser.add_argument("after", help="another one")
    parser.add_argument("--keep", type=Path, help="folder for both results; those that are there are used")
    arguments = parser.parse_args()
    keep: Path = arguments.keep or Path(tempfile.mkdtemp())
    keep.mkdir(parents=True, exist_ok=True)
    found = []
    for commit in (arguments.before, arguments.after):
        name = subprocess.check_output(["git", "rev-parse", "--short", commit], cwd=ROOT, text=True).strip()
        found.append(keep / name)
        if found[-1].exists():
            continue
        print(f"{commit} ({name})", flush=True)
        # Both run in folders of the same name, as results hold the paths of their images.
        tree, work = keep / "tree", keep / "work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", tree, commit], cwd=ROOT, check=True)
        try:
            run(tree, work)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", tree], cwd=ROOT, check=True)
        work.rename(found[-1])
    lines = differences(*found)
    print("\n".join(lines))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
