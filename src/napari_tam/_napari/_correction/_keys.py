"""The keys of the actions, while a layer of theirs is chosen. napari's layers outlive the editor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_tam._napari._correction._actions import ACTIONS, REDO, UNDO

if TYPE_CHECKING:
    from collections.abc import Callable
    from weakref import ref


def bind_keys(layer: Any, kind: str, editor: ref[Any]) -> None:
    """Let the keys of a layer of some kind do the actions of an editor, by their names."""
    keys = [(action.key, action.name) for action in ACTIONS if kind in action.kinds]
    if not keys:
        return
    for key, name in (*keys, (UNDO, "undo"), (REDO, "redo")):
        layer.bind_key(key, _press(editor, name), overwrite=True)


def _press(known: ref[Any], name: str) -> Callable[[Any], None]:
    """Return what a key does: a function with a name, as napari wants it, that keeps no editor alive."""

    def press(_: Any) -> None:
        editor = known()
        if editor is not None:
            editor.do(name)

    return press
