"""The plot tab: a column by phenotype, or two columns; cells lassoed in the plot are highlighted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.notifications import show_error
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_tam._napari._column_colours import MISSING, is_number
from napari_tam._napari._controls import Combo, button, row
from napari_tam._napari._pictures import ask_and_save, save_plot
from napari_tam._napari._results import BY_GROUP, OVER_TIME, choose, chosen, fill, shown_columns
from napari_tam._napari._whole._curves import DRAWN, draw_curves, values_over_time
from napari_tam._napari._whole._movie import FoundMovie
from napari_tam.columns import label_of

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

    from napari_tam._napari._found import Found
    from napari_tam._napari._session import Session


class PlotTab(QWidget):
    """A plot of the current image's cells."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._canvas: Any = None
        self._gate: Any = None
        self._shown = ""
        self.points: npt.NDArray[np.float64] = np.zeros((0, 2))
        self.labels: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self.upright, self.across, self.shape = Combo(), Combo(), Combo()
        self.shape.addItems(["lasso", "rectangle"])
        self.shape.setToolTip("How cells are drawn around in the plot.")
        for combo in (self.upright, self.across):
            combo.activated.connect(lambda _: self.draw())
        self.shape.activated.connect(lambda _: self._arm())
        self._hint = QLabel("Run an analysis first; then draw around cells here, and they light up.")
        self._hint.setWordWrap(True)
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(4, 4, 4, 4)
        self._layout.addWidget(row(QLabel("plot"), self.upright, QLabel("against"), self.across))
        clear = button("Clear", "Select no cell.", self._clear)
        keep = button("Save plot …", "As a picture (PNG, SVG), or its values (CSV).", self.save)
        self._layout.addWidget(row(QLabel("choose with"), self.shape, clear, keep))
        self._layout.addWidget(self._hint)
        session.changed.connect(self._on_changed)
        session.selected.connect(self._on_selected)

    def show_columns(self, y: str, x: str = BY_GROUP) -> None:
        """Choose what is plotted."""
        choose(self.upright, y)
        choose(self.across, x)
        self.draw()

    def draw(self) -> None:
        """Draw the plot of the current image."""
        found = self._session.current
        if found is None or not chosen(self.upright):
            return
        import pandas as pd

        canvas = self._ready()
        table = found.analysis.table
        figure = canvas.figure
        figure.clear()
        axes = figure.add_subplot()
        groups = table["phenotype"] if "phenotype" in table else pd.Series("cells", table.index)
        if isinstance(found, FoundMovie) and chosen(self.across) == OVER_TIME:
            self.points, self.labels = draw_curves(axes, found, chosen(self.upright))
            self._arm()
            canvas.draw_idle()
            return
        y = table[chosen(self.upright)].to_numpy(float, na_value=np.nan)
        self.labels = table["label"].to_numpy(np.int64)
        names = sorted(groups.unique())
        colours = _colours_of(table) if "phenotype" in table else {}
        if chosen(self.across) == BY_GROUP:
            x = _spread(groups, names, y, axes, colours)
        else:
            x = table[chosen(self.across)].to_numpy(float, na_value=np.nan)
            axes.set_xlabel(label_of(chosen(self.across)))
        self.points = np.column_stack([x, y])
        marked = np.isin(self.labels, list(found.selected)) if found.selected else np.ones(len(y), bool)
        for name in names:
            here = (groups == name).to_numpy()
            for part, alpha in ((here & ~marked, 0.15), (here & marked, 0.9)):
                label = f"{name} ({here.sum()})" if alpha > 0.5 else None
                colour = colours.get(name, "#0072B2" if not colours else MISSING)
                stands_out = bool(found.selected) and alpha > 0.5
                look = {"s": 36, "edgecolors": "black"} if stands_out else {"s": 14, "linewidths": 0}
                axes.scatter(x[part], y[part], color=colour, alpha=alpha, label=label, **look)
        axes.set_ylabel(label_of(chosen(self.upright)))
        if chosen(self.across) != BY_GROUP:
            axes.legend(fontsize="small", frameon=False)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        self._arm()
        canvas.draw_idle()

    def choose(self, outline: npt.NDArray[np.float64]) -> None:
        """Select the cells whose points lie inside an outline, (N, 2) in the plot's units."""
        from matplotlib.path import Path

        found = self._session.current
        if found is not None and len(outline) > 2:
            inside = Path(outline).contains_points(self.points)
            self._session.select(found, self.labels[inside].tolist())

    def values(self) -> pd.DataFrame:
        """Return what is plotted: image, cell, phenotype, and the columns, named as in cells.csv."""
        found = self._session.current
        assert found is not None  # or there is no plot
        if isinstance(found, FoundMovie) and chosen(self.across) == OVER_TIME:
            return values_over_time(found, chosen(self.upright))
        table = found.analysis.table
        shown = [name for name in (chosen(self.upright), chosen(self.across)) if name in table]
        names = ["image", "label", *(["phenotype"] if "phenotype" in table else []), *shown]
        return table[list(dict.fromkeys(names))]

    def save(self) -> None:
        """Ask for a file, and write the plot or its values."""
        found = self._session.current
        if found is None or not chosen(self.upright):
            show_error("There is no plot yet: run an analysis first")
            return
        self.draw()
        ask_and_save(
            self,
            "Save the plot",
            f"{found.name}.png",
            "Picture (*.png);;Drawing (*.svg);;Values (*.csv)",
            lambda path: save_plot(self._canvas.figure, self.values(), path),
        )

    def _clear(self) -> None:
        if self._session.current is not None:
            self._session.select(self._session.current, ())

    def _ready(self) -> Any:
        """Return the canvas; matplotlib is loaded when there is something to draw."""
        if self._canvas is None:
            from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
            from matplotlib.figure import Figure

            self._canvas = FigureCanvasQTAgg(Figure(figsize=(4, 3.2), layout="constrained"))
            self._canvas.setMinimumHeight(200)
            self._hint.setText("Draw around points with the mouse: their cells light up in the viewer.")
            self._layout.addWidget(self._canvas, 1)
        return self._canvas

    def _arm(self) -> None:
        """Activate the lasso on the current axes."""
        from matplotlib.backend_bases import MouseButton
        from matplotlib.widgets import LassoSelector, RectangleSelector

        if self._canvas is None or not self._canvas.figure.axes:
            return
        axes = self._canvas.figure.axes[0]
        if self._gate is not None:
            self._gate.disconnect_events()
        if self.shape.currentText() == "lasso":
            self._gate = LassoSelector(axes, lambda corners: self.choose(np.array(corners)))
        else:
            self._gate = RectangleSelector(axes, self._on_rectangle, useblit=True, button=MouseButton.LEFT)

    def _on_rectangle(self, press: Any, release: Any) -> None:
        x, y = (press.xdata, release.xdata), (press.ydata, release.ydata)
        if None not in (*x, *y):
            self.choose(np.array([(x[0], y[0]), (x[1], y[0]), (x[1], y[1]), (x[0], y[1])]))

    def _on_changed(self, found: Found) -> None:
        table = found.analysis.table
        numbers = [name for name in shown_columns(table) if is_number(table[name])]
        movie = isinstance(found, FoundMovie)
        first = DRAWN if movie and found.name != self._shown else chosen(self.upright)
        fill(self.upright, numbers, first or "puncta_count")
        first = OVER_TIME if movie and found.name != self._shown else chosen(self.across)
        fill(self.across, [*([OVER_TIME] if movie else []), BY_GROUP, *numbers], first or BY_GROUP)
        self._shown = found.name
        if self.isVisible():
            self.draw()

    def _on_selected(self, _: Found) -> None:
        if self.isVisible():
            self.draw()

    def showEvent(self, event: Any) -> None:
        """Draw what happened while the tab was hidden."""
        super().showEvent(event)
        self.draw()


def _colours_of(table: pd.DataFrame) -> dict[str, str]:
    from napari_tam.phenotype.colours import classes_of, phenotype_colours

    return phenotype_colours(classes_of(table))


def _spread(
    groups: pd.Series, names: list[str], y: npt.NDArray[np.float64], axes: Any, colours: dict[str, str]
) -> npt.NDArray[np.float64]:
    """Return the jittered positions of each group's points; draw violins and medians."""
    rng = np.random.default_rng(0)  # the same picture every time
    x = np.full(len(y), np.nan)
    for number, name in enumerate(names):
        here = (groups == name).to_numpy() & np.isfinite(y)
        x[here] = number + rng.uniform(-0.22, 0.22, here.sum())
        if here.sum() > 4 and np.ptp(y[here]) > 0:
            parts = axes.violinplot(y[here], [number], widths=0.85, showextrema=False)
            for body in parts["bodies"]:
                body.set(facecolor=colours.get(name, MISSING), alpha=0.25)
        if here.any():
            axes.hlines(np.median(y[here]), number - 0.3, number + 0.3, color="black", linewidth=1.5)
    axes.set_xticks(range(len(names)), [f"{name}\n({(groups == name).sum()})" for name in names])
    return x
