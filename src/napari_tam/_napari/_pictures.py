"""What goes into a paper or a talk: the plot as PNG, SVG or CSV, and the view with a scale bar."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error, show_info
from qtpy.QtWidgets import QFileDialog

from napari_tam.errors import InputError
from napari_tam.files import write_text

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari.viewer
    import pandas as pd
    from qtpy.QtWidgets import QWidget

#: Dots per inch of a plot that is saved as pixels: what journals ask for.
DPI = 300

#: A saved view has so many pixels for each of the screen.
SCALE = 2.0


def save_plot(figure: Any, table: pd.DataFrame, path: Path) -> None:
    """Write a plot, or with the ending .csv the values in it.

    Raises
    ------
    InputError
        If the ending is another one than .png, .svg or .csv, or the file cannot be written.
    """
    ending = path.suffix.lower()
    if ending == ".csv":
        write_text(path, table.to_csv(index=False))
    elif ending in (".png", ".svg"):
        try:
            figure.savefig(path, dpi=DPI)
        except OSError as error:
            raise InputError(f"the plot cannot be written ({error.strerror})", where=path) from error
    else:
        raise InputError(
            f"a plot is not written as '{path.suffix}'", where=path, fix="Choose .png, .svg or .csv"
        )


def save_view(viewer: napari.viewer.Viewer, path: Path) -> None:
    """Write what the viewer shows as PNG, with a scale bar; the viewer stays as it is.

    Raises
    ------
    InputError
        If the ending is another one than .png, or the file cannot be written.
    """
    if path.suffix.lower() != ".png":
        raise InputError(f"a view is not written as '{path.suffix}'", where=path, fix="Choose .png")
    bar = viewer.canvas.overlays.scale_bar
    before = bar.visible
    bar.visible = True
    try:
        viewer.screenshot(str(path), scale=SCALE, canvas_only=True, flash=False)
    except OSError as error:
        raise InputError(f"the view cannot be written ({error.strerror})", where=path) from error
    finally:
        bar.visible = before


def ask_and_save(
    parent: QWidget, what: str, suggestion: str, kinds: str, save: Callable[[Path], None]
) -> None:
    """Ask for a file, and save there; what goes wrong is told."""
    chosen, _ = QFileDialog.getSaveFileName(parent, what, suggestion, kinds)
    if not chosen:
        return
    try:
        save(Path(chosen))
    except InputError as error:
        show_error(str(error))
    else:
        show_info(f"Saved: {chosen}")
