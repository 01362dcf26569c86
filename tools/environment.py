"""Make a virtual environment for the Makefile, or leave the one that is there when nothing changed.

    python3 tools/environment.py FOLDER [EXTRA ...] [-- PIP-ARGUMENT ...]

Installs the project (editable) with its extras, with the pins of constraints.txt or with what is given to
pip instead. Needs the standard library only, and no new syntax: an old Python shall get the message.
"""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST = (3, 11)
PINS = ["-c", "constraints.txt"]


def main(folder, extras, arguments):
    """Create or update the environment; return the exit status."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info < OLDEST:
        return fail(
            f"napari-tam needs Python {OLDEST[0]}.{OLDEST[1]} or newer, and {sys.executable} is {version}. "
            "Install a newer one and name it: make PYTHON=python3.12 ..."
        )
    target = (ROOT / folder).resolve()
    python = target / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    stamp = target / "napari-tam.json"
    base = {"python": [version, sys.executable], "folder": str(target)}
    old = read(stamp)
    if old.get("base") != base or not python.exists():
        old = {}
        try:
            import ensurepip  # noqa: F401  (Debian and Ubuntu leave it out of their python3)
            import venv
        except ImportError:
            return fail(
                f"{sys.executable} cannot make virtual environments. On Debian and Ubuntu run: "
                f"sudo apt-get install python{sys.version_info[0]}.{sys.version_info[1]}-venv"
            )
        print(f"Making the environment {folder} with Python {version}", flush=True)
        venv.create(str(target), with_pip=True, clear=True)
    wanted = sorted(set(old.get("extras", [])) | set(extras))
    new = {"base": base, "inputs": inputs(arguments), "extras": wanted}
    if new == old:
        return 0
    if stamp.exists():
        stamp.unlink()
    project = f".[{','.join(wanted)}]" if wanted else "."
    print(f"Installing {project} into {folder} (several minutes the first time)", flush=True)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    if subprocess.call([*pip, *arguments, "-e", project], cwd=str(ROOT)):
        return fail("the installation failed (see above); the same command tries again.")
    stamp.write_text(json.dumps(new))
    return 0


def inputs(arguments):
    """Return one hash of all that an installation depends on."""
    files = [
        (ROOT / name).read_bytes()
        for name in ("pyproject.toml", "constraints.txt", "hatch_build.py", "napari.yaml")
    ]
    return hashlib.sha256(b"\0".join([*files, " ".join(arguments).encode()])).hexdigest()


def read(stamp):
    """Return what the environment was made from; nothing where that cannot be told."""
    try:
        return dict(json.loads(stamp.read_text()))
    except (OSError, ValueError):
        return {}


def fail(message):
    """Print one sentence; return the exit status."""
    print(f"make: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    words = sys.argv[1:]
    split = words.index("--") if "--" in words else len(words)
    sys.exit(main(words[0], words[1:split], words[split + 1 :] or PINS))
