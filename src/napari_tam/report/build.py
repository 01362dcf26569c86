"""The report: one HTML file that needs nothing else, and the figures beside it.

::

    RESULTS/report.html
    RESULTS/figures/<name>.png   <name>.svg   <name>.csv (the data of the figure)

It is made from the results folder alone, so it can be made again at any time. A figure whose data are
missing is left out, and the report says why.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_tam import files
from napari_tam.report.labels import about, labels_in
from napari_tam.report.reading import read_data
from napari_tam.report.style import WIDTH, MissingData
from napari_tam.results import tables

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import pandas as pd
    from matplotlib.figure import Figure

    from napari_tam.report.spots import Pointed

#: Dots per inch of the PNG files, and of what is drawn as pixels inside the SVG files.
DPI = 200

#: The same of figures that consist of pictures, which are large.
PICTURE_DPI = 150


@dataclass(frozen=True)
class Report:
    """What was written.

    Attributes
    ----------
    path
        The HTML file.
    figures
        Names of the figures in it.
    left_out
        Title of each figure that was left out, and why.
    """

    path: Path
    figures: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]


def write_report(folder: Path) -> Report:
    """Write ``report.html`` and ``figures/`` into a results folder, replacing earlier ones.

    Parameters
    ----------
    folder
        The results folder. Only images.csv, cells.csv and puncta.csv must be there.

    Raises
    ------
    InputError
        If it is no results folder, or one of those tables is damaged.
    OutputError
        If a file cannot be written.
    """
    from napari_tam.report.figures import FIGURES
    from napari_tam.report.page import Shown, data_address, render
    from napari_tam.report.pointing import told
    from napari_tam.report.spots import pointed

    whole = read_data(folder)
    labels = labels_in(whole)
    data = about(whole, labels[0])
    place = folder / "figures"
    try:
        place.mkdir(exist_ok=True)
    except OSError as error:
        raise files.OutputError(place, error) from error
    shown: list[Shown] = []
    left_out: list[tuple[str, str]] = []
    places: dict[str, Pointed] = {}
    # the figures of exosomes once a label, that of the first without its name in the files'
    plans = [(plan, label) for plan in FIGURES for label in (labels if plan.of_exosomes else labels[:1])]
    for plan, label in plans:
        name = plan.name if label == labels[0] else f"{plan.name}_{label}"
        title = f"{plan.title}: {label}" if label and plan.of_exosomes else plan.title
        paths = {kind: place / f"{name}.{kind}" for kind in ("png", "svg", "csv")}
        try:
            drawn = plan.draw(data if label == labels[0] else about(whole, label))
        except MissingData as why:
            if not plan.needs or getattr(data, plan.needs) is not None:
                left_out.append((title, str(why)))
            _remove(paths.values())
            continue
        dpi = PICTURE_DPI if drawn.picture else DPI
        svg, png = (encode(drawn.figure, kind, dpi) for kind in ("svg", "png"))
        here = pointed(drawn)
        if here is not None:
            places[name] = here
        _write_bytes(paths["svg"], svg)
        _write_bytes(paths["png"], png)
        write_table(paths["csv"], drawn.table)
        source = data_address(svg, png, picture=drawn.picture)
        share = min(round(100 * drawn.figure.get_figwidth() / WIDTH), 100)
        shown.append(Shown(name, title, plan.section, drawn.caption, source, share))
    path = folder / "report.html"
    files.write_text(path, render(whole, shown, left_out, told(data, places)))
    return Report(path, tuple(figure.name for figure in shown), tuple(left_out))


def encode(figure: Figure, kind: str, dpi: int = DPI) -> bytes:
    """Return a figure as the bytes of a ``png`` or ``svg`` file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    stream = io.BytesIO()
    # a canvas of its own: no backend is set for the surrounding program
    (FigureCanvasAgg if kind == "png" else FigureCanvasSVG)(figure)
    metadata = {"Date": None} if kind == "svg" else {"Software": "napari-tam"}
    with warnings.catch_warnings():
        # a name in letters that the font lacks is drawn as boxes; the CSV file has it
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(stream, format=kind, dpi=dpi, metadata=metadata)
    return stream.getvalue()


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write the data of a figure as CSV, safe for spreadsheets."""
    import pyarrow as pa

    arrow = pa.Table.from_pandas(table.reset_index(drop=True), preserve_index=False)
    tables.write_csv(path, arrow.replace_schema_metadata(None))


def _write_bytes(path: Path, content: bytes) -> None:
    with files.replacing(path) as part:
        part.write_bytes(content)


def _remove(paths: Iterable[Path]) -> None:
    """Remove a figure of an earlier report that this one does not have."""
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
