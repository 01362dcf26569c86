"""The names of the pipeline's steps, and how far it is. Light: a window knows them before it runs."""

from __future__ import annotations

from dataclasses import dataclass

#: The steps of an analysis, in order; each is announced by one `Progress`.
STEPS = ("correct", "cells", "nuclei", "puncta", "measure", "classify")


@dataclass(frozen=True)
class Progress:
    """What the pipeline does now: the name of the step, and its number of `total`."""

    step: str
    done: int
    total: int
