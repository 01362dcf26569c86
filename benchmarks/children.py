"""Parts of a benchmark in processes of their own. Standard library only: not all else is everywhere."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SOURCES = Path(__file__).resolve().parents[1] / "src"


class Child:
    """A part of a script (``SCRIPT --part NAME HOW``), begun at once; it answers by `answer`.

    Attributes
    ----------
    ready
        Set when it waits to be told to begin (`wait_to_begin`).
    """

    def __init__(self, script: str, name: str, how: dict[str, Any]) -> None:
        self.name, self.ready = name, threading.Event()
        self._found: dict[str, Any] | None = None
        path = os.pathsep.join([str(SOURCES), os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            [sys.executable, script, "--part", name, json.dumps(how)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # the libraries' own numbers of threads, whatever the shell says
            env={
                **{key: value for key, value in os.environ.items() if not key.endswith("_NUM_THREADS")},
                "PYTHONPATH": path,
            },
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            word, _, rest = line.partition(" ")
            if word.strip() == "@ready":
                self.ready.set()
            elif word == "@found":
                self._found = json.loads(rest)
        self.ready.set()  # it waits no more: nobody shall wait for it

    def begin(self) -> None:
        """Tell it to begin."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write("\n")
            self._process.stdin.flush()

    def finish(self, seconds: float | None = None) -> dict[str, Any]:
        """Wait for what it found; no longer than so many seconds.

        Raises
        ------
        RuntimeError
            If there is nothing.
        """
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(None if seconds is None else max(1.0, seconds))
        code = self._process.poll()
        self.end()
        if self._found is None:
            why = "did not end in time" if code is None else f"ended with exit status {code} (see above)"
            raise RuntimeError(f"the part '{self.name}' {why}")
        return self._found

    def end(self) -> None:
        """End it, if it still runs."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def wait_to_begin() -> None:
    """In a part: say that it is ready, and wait until it is told to begin."""
    print("@ready", flush=True)
    if not sys.stdin.readline():
        raise SystemExit("nobody waits for this part any more")


def answer(parts: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]]) -> bool:
    """Do the part that the command line names, and print what it found; False: it names none."""
    if sys.argv[1:2] != ["--part"]:
        return False
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # ends its own parts on the way
    print("@found", json.dumps(parts[sys.argv[2]](json.loads(sys.argv[3]))), flush=True)
    return True
