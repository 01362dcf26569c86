"""How far something is that goes step by step."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """What is done now: the name of the step, how many are `done` before it, and of how many in `total`."""

    step: str
    done: int
    total: int
