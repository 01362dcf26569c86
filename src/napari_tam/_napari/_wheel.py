"""napari's turning wheel ("in progress"), slowed down while a task of ours runs.

It has 34 frames a second, each of which composes the whole window anew. Where the processor draws (a virtual
machine, a remote desktop, no graphics driver) that takes a third of what the networks could use.
"""

from __future__ import annotations

from qtpy.QtWidgets import QApplication, QLabel, QMainWindow

#: Its pace while a task runs, in per cent: three frames a second.
SLOW, USUAL = 10, 100


def slow_down() -> None:
    """Let the wheels of all viewers turn slowly."""
    _set(SLOW)


def as_usual() -> None:
    """Let them turn as napari has them."""
    _set(USUAL)


def _set(pace: int) -> None:
    for window in QApplication.topLevelWidgets():
        if isinstance(window, QMainWindow):
            for label in window.findChildren(QLabel):
                if (movie := label.movie()) is not None:
                    movie.setSpeed(pace)
