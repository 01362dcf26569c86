"""The structure of the code, and how soon ``--help`` answers, beside another commit (by default `BEFORE`).

Both are measured in a fresh checkout each. A circle is a set of modules that import each other, directly or
through others, also inside functions and for types.
"""

from __future__ import annotations

import ast
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import ROOT, publish, table

#: The commit before the modules were put into packages.
BEFORE = "558e980"

#: Files of data, which may be long.
DATA = ("columns.py", "settings.py")

#: How often ``--help`` is called; the median counts.
CALLS = 15

GRAPH = """
import json, grimp
graph = grimp.build_graph("napari_tam")
print(json.dumps({m: sorted(graph.find_modules_directly_imported_by(m)) for m in graph.modules}))
"""

HELP = """
import sys
sys.argv = ["napari-tam", "--help"]
try:
    from napari_tam.cli.main import main
except ImportError:
    from napari_tam.cli import main
main()
"""


def python(tree: Path, code: str) -> str:
    """Run code with the package of a checkout; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(tree / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout


def circles(imports: dict[str, list[str]]) -> list[list[str]]:
    """Return the sets of modules that import each other."""
    reached: dict[str, set[str]] = {}
    for start in imports:
        seen: set[str] = set()
        waiting = list(imports[start])
        while waiting:
            module = waiting.pop()
            if module not in seen:
                seen.add(module)
                waiting += imports.get(module, [])
        reached[start] = seen
    found = {
        tuple(sorted({module, *(m for m in reached[module] if module in reached.get(m, ()))}))
        for module in imports
        if module in reached[module]
    }
    return sorted(map(list, found))


def measure(tree: Path) -> dict[str, Any]:
    """Return the figures of a checkout."""
    package = tree / "src" / "napari_tam"
    files = {path.relative_to(package).as_posix(): path for path in package.rglob("*.py")}
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in files.items()}
    functions = [
        ((node.end_lineno or 0) - node.lineno + 1, f"{name}: {node.name}")
        for name, path in files.items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    seconds = []
    for _ in range(CALLS):
        started = time.perf_counter()
        python(tree, HELP)
        seconds.append(time.perf_counter() - started)
    return {
        "modules": len(files),
        "modules directly in the package": sum("/" not in name for name in files),
        "circles": len(circles(json.loads(python(tree, GRAPH)))),
        "longest function": max(functions)[0],
        "functions above 80 lines": sum(length > 80 for length, _ in functions),
        "files above 300 lines": sorted(name for name, n in lines.items() if n > 300 and name not in DATA),
        "seconds of --help": round(statistics.median(seconds), 3),
    }


def main() -> None:
    """Measure this commit and the one before."""
    before = sys.argv[1] if len(sys.argv) > 1 else BEFORE
    values = {}
    with tempfile.TemporaryDirectory() as folder:
        for commit in (before, "HEAD"):
            tree = Path(folder) / commit
            subprocess.run(
                ["git", "worktree", "add", "--quiet", "--detach", tree, commit], cwd=ROOT, check=True
            )
            try:
                values[commit] = measure(tree)
            finally:
                subprocess.run(["git", "worktree", "remove", "--force", tree], cwd=ROOT, check=True)
    rows: list[list[object]] = []
    for name, value in values["HEAD"].items():
        old = values[before][name]
        rows.append([name, *(len(v) if isinstance(v, list) else v for v in (old, value))])
    kept = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    ).stdout.strip().splitlines()[-1]  # fmt: skip
    long = ", ".join(values["HEAD"]["files above 300 lines"])
    publish(
        "structure", [*table(["", before, "now"], rows), "", f"above 300 lines now: {long}", kept], values
    )


if __name__ == "__main__":
    main()
