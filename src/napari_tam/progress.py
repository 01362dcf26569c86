"""The progress of a task that runs step by step."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """The current step: its name, how many steps are `done` before it, and how many there are in `total`."""

    step: str
    done: int
    total: int
