"""Run the commands of docs/tutorial_terminal.md, and write what they print into the page.

    python tools/tutorial.py

A ``text`` block directly below a ``sh`` block is what its command printed. A line ``…`` in it stands for
what the page leaves out: as many lines as were above and below it are kept; where the last line ends with
``…``, as many of the first sentences. It takes some minutes. docs/tutorial_terminal.json notes for which
networks and defaults the figures are, and a test says when these have changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from napari_tam.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "tutorial_terminal.md"
NOTES = ROOT / "docs" / "tutorial_terminal.json"
START = "from napari_tam.cli.main import main; raise SystemExit(main())"
STEP = re.compile(
    r"```sh\n(?P<command>[^\n]+)\n```\n(?:\n(?P<before>```text\n)(?P<printed>.*?)\n```\n)?", re.DOTALL
)


def made_with() -> dict[str, dict[str, object]]:
    """Return what the printed figures depend on: the networks' SHA-256, and the defaults of all settings."""
    networks = sorted((ROOT / "models").glob("*.safetensors"))
    hashes: dict[str, object] = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in networks
    }
    return {"networks": hashes, "defaults": Settings().model_dump(mode="json")}


def kept(shown: str, printed: str) -> str:
    """Return of what was printed the part that the page shows, by the marks ``…`` in what it showed."""
    lines, old = printed.rstrip("\n").split("\n"), shown.split("\n")
    if "…" in old:
        above = old.index("…")
        below = len(old) - above - 1
        return "\n".join([*lines[:above], "…", *(lines[-below:] if below else [])])
    if shown.endswith(" …"):
        sentences = re.split(r"(?<=\.) (?=[A-Z])", " ".join(printed.split()))
        count = len(re.split(r"(?<=\.) (?=[A-Z])", shown.removesuffix(" …")))
        return " ".join(sentences[:count]) + " …"
    return "\n".join(line.rstrip() for line in lines)


def run(command: str, folder: Path) -> str:
    """Run one command of the page in a folder; return what it prints to be read."""
    words = shlex.split(command)
    program = [sys.executable, "-c", START, *words[1:]]
    ended = subprocess.run(program, cwd=folder, check=True, capture_output=True, text=True, encoding="utf-8")
    return ended.stdout


def main() -> None:
    """Renew the page."""
    page = PAGE.read_text(encoding="utf-8")
    os.environ["COLUMNS"] = "200"
    with tempfile.TemporaryDirectory() as place:

        def renewed(step: re.Match[str]) -> str:
            began = time.monotonic()
            printed = run(step["command"], Path(place))
            print(f"{time.monotonic() - began:6.1f} s  {step['command']}", flush=True)
            if step["before"] is None:
                return step[0]
            return step[0].replace(step["printed"], kept(step["printed"], printed))

        PAGE.write_text(STEP.sub(renewed, page), encoding="utf-8")
    NOTES.write_text(json.dumps(made_with(), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
