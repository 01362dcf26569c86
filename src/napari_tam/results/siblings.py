"""A field unlike its siblings: its sharpness, background and stain beside the other fields of the batch.

Siblings are the fields of the same plate and condition if a layout says which, else all fields. A value is
judged by its distance from their median in robust standard deviations (1.4826 × the median of the absolute
deviations), and must also differ by so much that it matters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_tam.errors import some
from napari_tam.results.folder import OK

if TYPE_CHECKING:
    import pandas as pd

#: Fewer siblings (the field among them) are not enough to know what is usual.
ENOUGH = 8

#: How the sentences begin.
UNLIKE = "unlike its siblings: "

_Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rule:
    """What a field is compared by.

    Attributes
    ----------
    code
        A name for it, as in `napari_tam.io.check.CODES`.
    column
        The column of images.csv.
    sentence
        What it is, for the report.
    word
        The same, for one field; ``{value}`` and ``{usual}`` are its value and the siblings' median.
    ratio
        The value differs from the median by this factor at least.
    deviations
        And by so many robust standard deviations (of logarithms).
    below
        Only smaller values are unusual.
    """

    code: str
    column: str
    sentence: str
    word: str
    ratio: float
    deviations: float
    below: bool = False

    def unusual(self, values: _Values) -> npt.NDArray[np.bool_]:
        """Return which values (of siblings; NaN where unknown) are unusual."""
        none = np.zeros(len(values), bool)
        known = np.isfinite(values)
        # of a channel whose background was subtracted, values around zero have no ratio
        if known.sum() < ENOUGH or (values[known] <= 0).mean() > 0.2:
            return none
        logarithm = np.log(np.where(known, values, 1.0).clip(1e-12))
        away = logarithm - np.median(logarithm[known])
        spread = 1.4826 * float(np.median(np.abs(away[known])))
        away = away if self.below else -np.abs(away)
        least = max(float(np.log(self.ratio)), self.deviations * spread)
        return np.asarray(known & (away < -least))


RULES = (
    Rule(
        "out_of_focus",
        "sharpness",
        "A field is far less sharp than its siblings: out of focus.",
        "out of focus (sharpness {value:.2g}, usual {usual:.2g})",
        ratio=2.0,
        deviations=4.0,
        below=True,
    ),
    Rule(
        "odd_background",
        "exosome_background",
        "The background of the exosome channel is not that of the siblings.",
        "background of the exosome channel {value:.4g}, usual {usual:.4g}",
        ratio=1.1,
        deviations=6.0,
    ),
    Rule(
        "odd_signal",
        "cell_signal",
        "The cells are much brighter or darker in the cell channel than those of the siblings.",
        "cell stain {value:.4g} above its background, usual {usual:.4g}",
        ratio=1.6,
        deviations=4.5,
    ),
)

#: A picture that is there under several names: its code, and how the sentence about one field begins.
TWIN, SAME = "same_picture", "the same picture as "

#: What can be found.
SIBLING_CODES = {rule.code: rule.sentence for rule in RULES} | {
    TWIN: "The same picture is there under several names."
}


def compare_fields(images: pd.DataFrame) -> pd.DataFrame:
    """Return the columns findings and notes of images.csv, with what is said about siblings said anew.

    Parameters
    ----------
    images
        images.csv; of the layout, plate and condition.
    """
    if not {"findings", "notes"} <= set(images):
        return images[[]]
    texts = {
        "findings": [_drop(text, " ", tuple(SIBLING_CODES)) for text in images["findings"].fillna("")],
        "notes": [_drop(text, "; ", (UNLIKE, SAME)) for text in images["notes"].fillna("")],
    }
    analysed = images["status"] == OK
    groups = [name for name in ("plate", "condition") if name in images]
    keys = images[groups].fillna("").astype(str).agg("\t".join, axis=1) if groups else images["status"]
    for rule in RULES:
        if rule.column not in images:
            continue
        values = images[rule.column].to_numpy(np.float64, na_value=np.nan)
        for _, members in images[analysed].groupby(keys[analysed]):
            rows = images.index.get_indexer(members.index)
            unusual = rule.unusual(values[rows])
            usual = float(np.nanmedian(values[rows])) if unusual.any() else 0.0
            for row in rows[unusual]:
                word = UNLIKE + rule.word.format(value=values[row], usual=usual)
                _say(texts, row, rule.code, word)
    for names in twins(images):
        for row in np.flatnonzero(images["image"].isin(names)):
            others = [name for name in names if name != images["image"].iloc[row]]
            _say(texts, int(row), TWIN, SAME + some(others, 3))
    return images[["findings", "notes"]].assign(**texts)


def _say(texts: dict[str, list[str]], row: int, code: str, sentence: str) -> None:
    texts["findings"][row] = f"{texts['findings'][row]} {code}".strip()
    texts["notes"][row] = "; ".join(filter(None, [texts["notes"][row], sentence]))


def twins(images: pd.DataFrame) -> list[list[str]]:
    """Return the names of pictures that are there several times, in groups.

    Two pictures that differ in a single pixel differ in the mean of their background or the sharpness of
    their cells, which are compared to the last digit.
    """
    known = ["exosome_background_mean", "focus_score", "cell_area_fraction", "puncta"]
    if not set(known) <= set(images):
        return []
    sure = images[(images["status"] == OK) & images[known].notna().all(axis=1)]
    groups: Any = sure.groupby(known)["image"].agg(list) if len(sure) else []
    return [[str(name) for name in names] for names in groups if len(names) > 1]


def told(images: pd.DataFrame) -> list[str]:
    """Return a sentence for every code that fields of images.csv have beside their siblings."""
    codes = [str(text).split() for text in images.get("findings", [])]
    found = []
    for code, sentence in SIBLING_CODES.items():
        names = [str(name) for name, own in zip(images["image"], codes, strict=False) if code in own]
        if names:
            found.append(f"{sentence} That is so in {len(names)} of {len(images)} images: {some(names, 5)}")
    return found


def _drop(text: str, between: str, starts: tuple[str, ...]) -> str:
    return between.join(each for each in text.split(between) if not each.startswith(starts))
