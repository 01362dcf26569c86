"""Power and false positives of the comparisons: ``python benchmarks/uptake_stats.py``.

Tables are simulated, not images: one experiment has 4 replicates of an M1 and an M2 condition with 60 to
140 cells each. Uptake of a cell: Poisson around a log-normal (SD of log 0.6 between cells) whose mean varies
between replicates of one condition: SD of log 0.12, an assumption (a spread of 12 % between repeats, to
which the number of cells adds 7 %); 0.10, 0.15 and 0.20 are shown, too. Paired: donors differ by 25 %, and a
donor's two conditions by 8 % more. Mean 8 puncta in M1 wells.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
from common import table

from napari_tam.settings import Settings
from napari_tam.uptake.comparisons import compare
from napari_tam.uptake.replicates import replicate_table

REPLICATES, MEAN, CELLS = 4, 8.0, 0.6
DESIGNS = {
    # name: settings, SD of log uptake between replicates, and between donors, experiments without effect
    "Welch, spread 12 %": ({}, 0.12, 0.0, 1000),
    "Welch, spread 10 %": ({}, 0.10, 0.0, 0),
    "Welch, spread 15 %": ({}, 0.15, 0.0, 0),
    "Welch, spread 20 %": ({}, 0.20, 0.0, 0),
    "paired by donor": ({"comparison_unit": "donor"}, 0.08, 0.25, 1000),
    "mixed model, spread 12 %": ({"comparison_mixed": True}, 0.12, 0.0, 300),
}


def experiment(rng: np.random.Generator, ratio: float, spread: float, donor: float) -> pd.DataFrame:
    """Simulate the cells of one experiment."""
    parts = []
    donors = rng.normal(0, donor, REPLICATES)
    for condition, factor in (("M1", 1.0), ("M2", ratio)):
        for k in range(REPLICATES):
            level = MEAN * factor * np.exp(donors[k] + rng.normal(0, spread))
            n = int(rng.integers(60, 141))
            uptake = level * np.exp(rng.normal(-(CELLS**2) / 2, CELLS, n))
            count = rng.poisson(uptake)
            parts.append(
                pd.DataFrame(
                    {
                        "condition": condition,
                        "donor": f"D{k + 1}" if donor else "",
                        "replicate": str(k + 1),
                        "puncta_count": count,
                        "puncta_intensity_sum": count * np.exp(rng.normal(0, 0.35 / np.sqrt(count + 1), n)),
                        "positive": pd.array(count > 1, dtype="boolean"),
                    }
                )
            )
    cells = pd.concat(parts, ignore_index=True)
    return cells.assign(dose=1.0, time=4.0, plate="", well="", control_role="")


def judge(rng: np.random.Generator, experiments: int, ratio: float, name: str) -> dict[str, float]:
    """Return the share of experiments with p < 0.05: one readout alone, and any of three after Holm."""
    chosen, spread, donor, _ = DESIGNS[name]
    settings = Settings().updated(**chosen)
    single = settings.updated(comparison_readouts="puncta_count")
    found = {"p of one readout": 0, "adjusted p of it among 3": 0, "any adjusted p of 3": 0}
    for _ in range(experiments):
        cells = experiment(rng, ratio, spread, donor)
        use = single if "mixed" in name else settings
        tests = compare(cells, replicate_table(cells, use), use).set_index("readout")
        found["p of one readout"] += tests.loc["puncta_count", "p"] < 0.05
        found["adjusted p of it among 3"] += tests.loc["puncta_count", "p_adjusted"] < 0.05
        found["any adjusted p of 3"] += bool((tests["p_adjusted"] < 0.05).any())
    return {key: float(value) / max(experiments, 1) for key, value in found.items()}


def naive(rng: np.random.Generator, experiments: int) -> float:
    """Return the false positives with the cell as n, for comparison."""
    from scipy.stats import ttest_ind

    found = 0
    for _ in range(experiments):
        cells = experiment(rng, 1.0, 0.12, 0.0)
        groups = [cells.loc[cells["condition"] == name, "puncta_count"] for name in ("M1", "M2")]
        found += ttest_ind(*groups, equal_var=False).pvalue < 0.05
    return found / experiments


def run(*, quick: bool = False) -> tuple[list[str], dict]:
    """Judge all designs: 200 experiments with an effect of 1.5, many more without one."""
    rows, values = [], {}
    for k, name in enumerate(DESIGNS):
        slow, none = "mixed" in name, DESIGNS[name][3] // (20 if quick else 1)
        power = judge(np.random.default_rng([7, k, 0]), 200, 1.5, name)
        false = judge(np.random.default_rng([7, k, 1]), none, 1.0, name)
        for key in power:
            if not (slow and "3" in key):
                rows.append([name, key, power[key], false[key] if none else "-", none])
        values[name] = {"power": power, "false_positives": false, "experiments_without_effect": none}
    wrong = naive(np.random.default_rng([7, 9]), 500)
    values["cell_as_n_false_positives"] = wrong
    lines = [
        f"M2 1.5 × M1, {REPLICATES} replicates, 200 experiments; and no effect. Share with p < 0.05",
        *table(["test", "what", "power", "false positives", "experiments without effect"], rows),
        f"for comparison, the cell as n (500 experiments without effect): {wrong:.3f} false positives",
        "",
    ]
    return lines, values


if __name__ == "__main__":
    print("\n".join(run(quick="--quick" in sys.argv)[0]))
