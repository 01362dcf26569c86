"""Take a file of an earlier commit, to begin a training with it."""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commit", required=True)
    parser.add_argument("--file", required=True, help="its path in the repository")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    where = Path(__file__).resolve().parents[1]
    show = ["git", "show", f"{args.commit}:{args.file}"]
    args.out.write_bytes(subprocess.run(show, cwd=where, capture_output=True, check=True).stdout)
