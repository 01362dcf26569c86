"""What the marks tell: the line that they are answered with, and how sure that is, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_tam.train.lines import CONTRAST, ENOUGH, FEW_IMAGES, FEW_MARKS, SCORE, choose_line
from napari_tam.train.marks import compare

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from napari_tam._napari._marking._marks import Marked
    from napari_tam.settings import Settings
    from napari_tam.train.lines import Choice
    from napari_tam.train.lines import Marked as Compared

#: Setting → what it is in words.
WORDS = {SCORE: "score", CONTRAST: "contrast"}


@dataclass(frozen=True)
class Learnt:
    """What the marks of all images tell.

    Attributes
    ----------
    choice
        The line that agrees best; None with too few marks.
    marks, outside, images
        Marks in marked regions, and outside of them; images with marks.
    before
        The settings that it is compared with.
    """

    choice: Choice | None
    marks: int
    outside: int
    images: int
    before: Settings

    @property
    def moves(self) -> bool:
        """Whether another line is better than that of the settings."""
        return self.choice is not None and self.choice.better

    def settings(self, label: str) -> Settings:
        """Return the settings that follow; of an exosome label (empty for a single one)."""
        if self.choice is None or not self.moves:
            return self.before
        if label and self.choice.setting == CONTRAST:
            own = {**self.before.puncta_thresholds, label: self.choice.value}
            return self.before.updated(puncta_thresholds=own)
        return self.choice.settings(self.before)


def compared(name: str, candidates: pd.DataFrame, marked: Marked, settings: Settings, label: str) -> Compared:
    """Compare an image's candidates (of one exosome label) with its marks."""
    return compare(name, candidates, marked.points, settings, regions=marked.regions, label=label)


def learn(images: Iterable[Compared], settings: Settings, label: str) -> Learnt:
    """Find the line that agrees best with the marks.

    Parameters
    ----------
    images
        Images with their marks, compared under these settings.
    settings
        Those before.
    label
        The exosome label; of several only the contrast is learnt, as one score holds for all of them.
    """
    some = [each for each in images if len(each.items) or each.outside]
    marks = sum(int(each.counts[0, 0]) for each in some)
    families = (CONTRAST,) if label else (SCORE, CONTRAST)
    choice = choose_line(some, families) if marks >= ENOUGH else None
    return Learnt(choice, marks, sum(each.outside for each in some), len(some), settings)


def sentences(learnt: Learnt, label: str) -> str:
    """Say what was learnt, in HTML; without marks how to begin."""
    said = [_outside(learnt.outside)] if learnt.outside else []
    choice = learnt.choice
    if choice is None:
        first = f"<b>{learnt.marks} of {ENOUGH}</b> marks. " if learnt.marks else ""
        said.append(
            f"{first}Click every punctum in the blue region that you would count, and no other; a second "
            f"click takes a mark back. From {ENOUGH} marks on the threshold follows."
        )
        return "<br>".join(said)
    word, old, new = WORDS[choice.setting], _old(learnt, label), f"{choice.value:g}"
    low, high = (f"{value:g}" for value in choice.between)
    number = f"<b>{choice.marks}</b> marks" + (
        f" in {choice.images} images" if choice.images > 1 else " in one image"
    )
    if choice.better:
        said.append(
            f"{number}: puncta begin at a <b>{word} of {new}</b> (before: {old}"
            f"{'' if low == high else f'; {low} to {high} is likely'})."
        )
        new_one, old_one = choice.chosen, choice.before
        said.append(
            f"Agreement with your marks (F1) <b>{new_one.f1:.2f}</b>, before {old_one.f1:.2f}; "
            f"count off by {new_one.count_error:.0%}, before {old_one.count_error:.0%}."
        )
        where = "in another image" if choice.images >= FEW_IMAGES else "elsewhere in such an image"
        said.append(f"Expect about {choice.left_out.f1:.2f} {where}.")
    else:
        said.append(f"{number}: the threshold is <b>kept</b>, as nothing is gained by another one.")
        said.append(
            f"Agreement with your marks (F1) <b>{choice.before.f1:.2f}</b>, "
            f"count off by {choice.before.count_error:.0%}."
        )
    if choice.few:
        said.append(f"A first guess: with {FEW_MARKS} marks in {FEW_IMAGES} images you can rely on it.")
    return "<br>".join(said)


def _old(learnt: Learnt, label: str) -> str:
    assert learnt.choice is not None
    if learnt.choice.setting == SCORE:
        return f"{learnt.before.puncta_score:g}"
    value: Any = learnt.before.threshold_of(label)
    return "none" if value is None or value <= 1 else f"{value:g}"


def _outside(number: int) -> str:
    one = number == 1
    return (
        f"<b>{number} mark{'' if one else 's'} outside the marked region</b> "
        f"do{'es' if one else ''} not count: draw a region around {'it' if one else 'them'}, or click again."
    )
