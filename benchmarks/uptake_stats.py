"""Power and false positives of the comparisons: ``python benchmarks/uptake_stats.py [--seeds N …]``.

The tests were chosen on the experiments of other seeds (7, and some that are in no file): those of `SEEDS`
were drawn once the tests stood. Tables are simulated, not images: 12 designs, each with 500 experiments
without an effect and 200 with one a seed, for three kinds of test: a count (puncta per cell), a share
(positive cells), the count by the mixed model.

Counts: Poisson around a log-normal (SD of log 0.6 between cells) whose level varies between the replicates
of a condition with the SD of log that the design says (0.12 is an assumption: a spread of 12 % between
repeats, to which the number of cells adds 7 %); without an effect the conditions have the same level
(geometric mean). Mean 8 puncta; the effect is 1.5 times as many. Shares: beta-binomial with the share and the
SD between replicates that the design says; the effect is odds 2.5 times as high or low. Paired: donors differ
by 25 %, and a donor's two conditions by the design's spread; the shares of donors by 0.8 in log odds.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, astuple, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from common import publish, table

from napari_tam.uptake.fraction_tests import fraction_test, paired_fraction_test
from napari_tam.uptake.group_tests import Groups, paired_test, welch_test
from napari_tam.uptake.mixed_model import mixed_test

if TYPE_CHECKING:
    from collections.abc import Sequence

MEAN, CELLS, RATIO, ODDS = 8.0, 0.6, 1.5, 2.5
KINDS = ("count", "share", "mixed")
#: Seeds that no test was chosen on.
SEEDS = (2027, 2028)
#: Shares of false positives that 500 experiments have by chance where 5 % are due.
LOWEST, HIGHEST = 0.03, 0.07


@dataclass(frozen=True)
class Group:
    """One condition: replicates, fewest and most cells of one, SD of log counts and SD of shares."""

    replicates: int
    cells: tuple[int, int]
    spread: float
    share_sd: float


MANY, FEW = (60, 140), (5, 11)
#: name: both groups, share of positive cells, whether units are donors (pairs)
DESIGNS: dict[str, tuple[Group, Group, float, bool]] = {
    "4 v 4": (Group(4, MANY, 0.12, 0.05), Group(4, MANY, 0.12, 0.05), 0.5, False),
    "3 v 3": (Group(3, MANY, 0.12, 0.05), Group(3, MANY, 0.12, 0.05), 0.5, False),
    "3 v 8": (Group(3, MANY, 0.12, 0.05), Group(8, MANY, 0.12, 0.05), 0.5, False),
    "10 v 10, spread 20 %": (Group(10, MANY, 0.2, 0.08), Group(10, MANY, 0.2, 0.08), 0.5, False),
    "3 v 8, few cells in 3": (Group(3, FEW, 0.12, 0.05), Group(8, MANY, 0.12, 0.05), 0.5, False),
    "4 v 4, 5 to 140 cells": (Group(4, (5, 140), 0.12, 0.05), Group(4, (5, 140), 0.12, 0.05), 0.5, False),
    "3 v 8, spread 40 % v 5 %": (Group(3, MANY, 0.4, 0.12), Group(8, MANY, 0.05, 0.04), 0.5, False),
    "3 v 3, 98 % positive": (Group(3, MANY, 0.12, 0.014), Group(3, MANY, 0.12, 0.014), 0.98, False),
    "3 v 8, 98 %, few cells in 3": (Group(3, FEW, 0.12, 0.014), Group(8, MANY, 0.12, 0.014), 0.98, False),
    "3 v 8, 98 % positive": (Group(3, MANY, 0.12, 0.014), Group(8, MANY, 0.12, 0.014), 0.98, False),
    "4 v 4, 5 % positive": (Group(4, MANY, 0.12, 0.022), Group(4, MANY, 0.12, 0.022), 0.05, False),
    "4 donors, paired": (Group(4, MANY, 0.08, 0.04), Group(4, MANY, 0.08, 0.04), 0.5, True),
}


@dataclass(frozen=True)
class Sample:
    """The cells of one condition: the number of their replicate, puncta, and whether they are positive."""

    unit: np.ndarray
    count: np.ndarray
    positive: np.ndarray

    def means(self, values: np.ndarray) -> pd.Series:
        """Return the mean of each replicate."""
        return pd.Series(np.bincount(self.unit, values) / np.bincount(self.unit))


def _condition(
    rng: np.random.Generator, group: Group, level: float, share: float, donors: np.ndarray | None
) -> Sample:
    many = rng.integers(group.cells[0], group.cells[1] + 1, group.replicates)
    own = np.zeros(group.replicates) if donors is None else donors
    levels = level * np.exp(0.25 * own + rng.normal(0, group.spread, group.replicates))
    odds = share / (1 - share) * np.exp(0.8 * own)
    shares = odds / (1 + odds)
    size = np.maximum(shares * (1 - shares) / group.share_sd**2 - 1, 0.1)
    chance = rng.beta(shares * size, (1 - shares) * size)
    unit = np.repeat(np.arange(group.replicates), many)
    uptake = levels[unit] * np.exp(rng.normal(-(CELLS**2) / 2, CELLS, len(unit)))
    return Sample(unit, rng.poisson(uptake), rng.random(len(unit)) < chance[unit])


def experiment(rng: np.random.Generator, name: str, *, effect: bool) -> tuple[Sample, Sample]:
    """Simulate the cells of one experiment."""
    first, second, share, paired = DESIGNS[name]
    donors = rng.normal(size=first.replicates) if paired else None
    odds = share / (1 - share) * (ODDS ** (1 if share < 0.9 else -1) if effect else 1)
    return (
        _condition(rng, first, MEAN, share, donors),
        _condition(rng, second, MEAN * (RATIO if effect else 1), odds / (1 + odds), donors),
    )


def p_values(a: Sample, b: Sample, *, paired: bool) -> dict[str, float]:
    """Return the p values that comparisons.csv would have; NaN where it would say "not tested"."""
    counts = Groups("a", "b", a.means(a.count), b.means(b.count))
    cells = [pd.Series(np.bincount(each.unit)) for each in (a, b)]
    shares = Groups("a", "b", a.means(a.positive), b.means(b.positive), *cells)
    table = pd.DataFrame(
        {
            "group": np.repeat(["A", "B"], [len(a.unit), len(b.unit)]),
            "unit": np.concatenate([a.unit, b.unit]).astype(str),
            "puncta_count": np.concatenate([a.count, b.count]),
        }
    )
    found = {
        "count": paired_test(counts) if paired else welch_test(counts),
        "share": paired_fraction_test(shares) if paired else fraction_test(shares),
        "mixed": mixed_test(counts, table, "puncta_count", paired=paired),
    }
    return {kind: row.get("p", float("nan")) for kind, row in found.items()}


@dataclass(frozen=True)
class Counts:
    """Experiments, those with p < 0.05, and those that were not tested."""

    experiments: int
    found: int
    untested: int

    @property
    def share(self) -> float:
        """Share with p < 0.05."""
        return self.found / self.experiments


def sum_of(several: Sequence[Counts]) -> Counts:
    """Put the counts of several seeds together."""
    return Counts(*(sum(column) for column in zip(*(astuple(each) for each in several), strict=True)))


def interval(counts: Counts) -> str:
    """Return a share with its 95 % interval as text."""
    from scipy.stats import binomtest

    limits = binomtest(counts.found, counts.experiments).proportion_ci(0.95)
    return f"{counts.share:.3f} ({limits.low:.3f}-{limits.high:.3f})"


def judge(name: str, experiments: int, *, effect: bool, seed: tuple[int, int]) -> dict[str, Counts]:
    """Return for every kind of test how many experiments have p < 0.05."""
    rng = np.random.default_rng([*seed, int(effect)])
    p = pd.DataFrame(
        [p_values(*experiment(rng, name, effect=effect), paired=DESIGNS[name][3]) for _ in range(experiments)]
    )
    return {
        kind: Counts(experiments, int((p[kind] < 0.05).sum()), int(p[kind].isna().sum())) for kind in KINDS
    }


def naive(rng: np.random.Generator, experiments: int) -> float:
    """Return the false positives with the cell as n, for comparison."""
    from scipy.stats import ttest_ind

    found = 0
    for _ in range(experiments):
        a, b = experiment(rng, "4 v 4", effect=False)
        found += ttest_ind(a.count, b.count, equal_var=False).pvalue < 0.05
    return found / experiments


def _remark(false: dict[str, Counts]) -> str:
    """Say which tests find effects more seldom, or more often, than the p value says."""
    kinds = {
        "conservative": [kind for kind, each in false.items() if each.share < LOWEST],
        "LIBERAL": [kind for kind, each in false.items() if each.share > HIGHEST],
    }
    return "; ".join(f"{word}: {', '.join(found)}" for word, found in kinds.items() if found)


def design_table(found: list[dict[str, dict[str, Counts]]]) -> list[str]:
    """Lay out false positives and power of all designs, of one seed or of several together."""
    rows: list[list[object]] = []
    for name in DESIGNS:
        false, power = (
            {kind: sum_of([each[name][what][kind] for each in found]) for kind in KINDS}
            for what in ("false_positives", "power")
        )
        shown = [interval(each) if len(found) > 1 else each.share for each in false.values()]
        powers = [each.share for each in power.values()]
        rows.append([name, *shown, *powers, sum(each.untested for each in false.values()), _remark(false)])
    heads = [f"{what}, {kind}" for what in ("false", "power") for kind in KINDS]
    return table(["design", *heads, "not tested", "remark"], rows)


def run(seeds: Sequence[int] = SEEDS, *, quick: bool = False) -> tuple[list[str], dict[str, Any]]:
    """Judge all designs on the experiments of each seed, and of all together."""
    many, some = (50, 20) if quick else (500, 200)
    found, lines = [], []
    for seed in seeds:
        found.append(
            {
                name: {
                    "false_positives": judge(name, many, effect=False, seed=(seed, number)),
                    "power": judge(name, some, effect=True, seed=(seed, number)),
                }
                for number, name in enumerate(DESIGNS)
            }
        )
        lines += [
            f"seed {seed}: {many} experiments without an effect, {some} with one",
            *design_table(found[-1:]),
            "",
        ]
    everyone = [
        "all seeds together: share of experiments with p < 0.05 (0.05 is due), with its 95 % interval "
        "(Clopper and Pearson)",
        *design_table(found),
        "",
    ]
    wrong = [naive(np.random.default_rng([seed, 99]), many) for seed in seeds]
    last = f"for comparison, the cell as n, without effect: {float(np.mean(wrong)):.3f} false positives"
    values = {str(seed): _plain(each) for seed, each in zip(seeds, found, strict=True)}
    return [*everyone, *lines, last, ""], {**values, "cell_as_n_false_positives": wrong}


def _plain(found: dict[str, dict[str, Counts]]) -> dict[str, Any]:
    return {
        name: {what: {kind: asdict(each) for kind, each in kinds.items()} for what, kinds in whats.items()}
        for name, whats in found.items()
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    given = parser.parse_args()
    lines, values = run(given.seeds, quick=given.quick)
    if given.quick or tuple(given.seeds) != SEEDS:
        print("\n".join(lines))
    else:
        publish("uptake_stats", lines, values)
