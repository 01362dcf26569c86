"""What the tab Correct offers: every action with its button, key and explanation. One table."""

from __future__ import annotations

from dataclasses import dataclass

CELLS, MASKS, PUNCTA = ("cells",), ("cells", "nuclei"), ("puncta",)


@dataclass(frozen=True)
class Action:
    """One way to correct.

    Attributes
    ----------
    name
        The method of `napari_tam._napari._correction._editor.Editor` that does it.
    title
        On its button.
    key
        While a layer of `kinds` is chosen; none of napari's own for these layers (a test compares).
    tip
        What it does.
    kinds
        The layers it is for.
    """

    name: str
    title: str
    key: str
    tip: str
    kinds: tuple[str, ...]


ACTIONS = (
    Action(
        "merge",
        "Merge",
        "J",
        "Make the selected cells one. Select them with a click, more with Shift and a click.",
        MASKS,
    ),
    Action(
        "merge_by_line",
        "Merge by a line",
        "Shift-J",
        "Draw a line through cells: those that it runs over become one.",
        MASKS,
    ),
    Action(
        "split_by_line",
        "Split by a line",
        "K",
        "Draw a line right through a cell; one line may split several. If cells are selected, only these.",
        MASKS,
    ),
    Action(
        "split_by_nuclei",
        "Split by nuclei",
        "Shift-K",
        "Split each selected cell between the nuclei in it.",
        CELLS,
    ),
    Action(
        "add_by_click",
        "Add by a click",
        "W",
        "Click where a cell was missed: the network looks there again, with a lower threshold.",
        CELLS,
    ),
    Action("add_by_lasso", "Add by a lasso", "Shift-W", "Draw around what was missed.", MASKS),
    Action("delete", "Delete", "Delete", "Delete the selected cells.", MASKS),
    Action(
        "keep_inside",
        "Keep only inside",
        "H",
        "Draw around cells: all others are deleted. A cell is inside with more than half of its area.",
        MASKS,
    ),
    Action("grow", "Grow", "G", "Grow the selected cells by one pixel, never into a neighbour.", MASKS),
    Action("shrink", "Shrink", "Shift-G", "Take one pixel off the edge of the selected cells.", MASKS),
    Action(
        "next_doubtful",
        "Next doubtful cell",
        "N",
        "Go to the cell that the network was least sure of.",
        CELLS,
    ),
    Action(
        "accept",
        "Accept",
        "Shift-N",
        "The selected doubtful cell is right as it is; go to the next one.",
        CELLS,
    ),
    Action("add_puncta", "Add puncta", "W", "Add a punctum with every click.", PUNCTA),
    Action(
        "delete_puncta",
        "Delete chosen",
        "Shift-D",
        "Delete the puncta that were chosen with the arrow (key 3); napari's own key Delete does the same.",
        PUNCTA,
    ),
    Action(
        "delete_puncta_inside",
        "Delete inside",
        "H",
        "Draw around puncta: all of them are deleted.",
        PUNCTA,
    ),
)

#: Undo and redo: napari's own keys, for masks and puncta alike.
UNDO, REDO = "Control-Z", "Control-Shift-Z"
