"""The bundled networks, for the tests that need them."""

from __future__ import annotations

import pytest

from napari_tam.networks import cards
from napari_tam.networks.cards import ModelCard

#: The networks are part of the project: a missing one is a failure, not a reason to skip.
REQUIRED = True


def need(name: str) -> ModelCard:
    """Return the card of a bundled network; skip (or fail, see `REQUIRED`) without a
    finished one."""
    path = cards.MODELS_FOLDER / f"{name}.json"
    card = ModelCard.read(path) if path.exists() else None
    if card is not None and card.values.get("note") != "interim":
        return card
    if REQUIRED:
        pytest.fail(f"the bundled network '{name}' is {'missing' if card is None else 'an interim one'}")
    pytest.skip(f"the bundled network '{name}' is not trained yet")
