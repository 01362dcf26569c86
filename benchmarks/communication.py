"""Who gives and who takes, against simulated truth: ``python benchmarks/communication.py [--only a,b]``.

Parts: `types` (cell types and gates; images of co-cultures, 5 % spill-over, segmented by the bundled
network), `phenotype` (a model trained from markers), `distance` (decay length and transfer matrix; the same
images, both exosome labels), `distance_tables`, `association`, `dose` and `planning` (tables), `speed` (two
exosome channels and four markers over one and none). Seeds are not those of the tests.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from common import RESULTS, publish, table

from napari_tam.cli.main import main as napari_tam
from napari_tam.errors import InputError
from napari_tam.evaluate.matching import match_cells
from napari_tam.io.layout import read_layout
from napari_tam.results.folder import read_mask, read_results
from napari_tam.settings import Settings
from napari_tam.simulate.coculture import LABELS, MARKERS, Coculture, draw_coculture, layout_csv
from napari_tam.simulate.scene import Scene, write_scene
from napari_tam.simulate.tables import CocultureTables, DoseTables
from napari_tam.traffic.association import association as spatial_association
from napari_tam.traffic.communicate import communicate
from napari_tam.traffic.distances import outlines_of
from napari_tam.traffic.labels import Route
from napari_tam.uptake.dose_response import dose_response
from napari_tam.uptake.group_tests import Groups, welch_test
from napari_tam.uptake.power import power, spread_of

SEED = 2027
TYPES = {"macrophage": "CD11b+", "tumour": "EpCAM+ CD11b-"}
CHANNELS = "cell=CellMask,nucleus=DAPI,exosome={},marker=CD11b+EpCAM+CD86+CD206"
TABLES = Settings(types=TYPES, marker_phenotypes={"M1": "CD86+", "M2": "CD206+"}, neighbour_radius_um=20)

#: Replicates of the pilot, and experiments, that the calculation is judged with: fewer would judge chance.
PILOT, EXPERIMENTS = 2000, 4000

Part = tuple[list[str], dict]


def verdict(good: bool) -> str:
    """Return what stands beside a goal."""
    return "reached" if good else "MISSED"


class Images:
    """The co-culture of the image parts: drawn, analysed for both labels, matched with its truth."""

    def __init__(self, folder: Path, fields: int, size: int) -> None:
        self.folder, self.images = folder, folder / "images"
        base = Coculture().scene
        cells = round(base.cells_per_field * size**2 / base.shape[0] ** 2)
        culture = Coculture(fields=fields, scene=replace(base, shape=(size, size), cells_per_field=cells))
        if not (self.images / "layout.csv").exists():
            self.images.mkdir(parents=True, exist_ok=True)
            layout = layout_csv(culture, SEED).splitlines(keepends=True)
            for well, number, scene in draw_coculture(culture, SEED):
                # of the controls one field of each marker's will do
                stem = self.images / f"coculture_{well.name}_f{number}"
                wanted = not well.control_role or (well.control_role.startswith("fmo") and number == 1)
                if wanted and not stem.with_name(f"{stem.name}.ome.tif").exists():
                    write_scene(scene, stem)
            kept = [line for line in layout if "dye_only" not in line]
            (self.images / "layout.csv").write_text("".join(kept), encoding="utf-8")
        self.runs = {label.name: self._analyse(label.name, folder / label.name) for label in LABELS}

    def _analyse(self, label: str, out: Path) -> Path:
        giver = next(each.given_by for each in LABELS if each.name == label)
        if (out / "traffic.csv").exists():
            return out
        arguments = ["batch", self.images, "--out", out, "--layout", self.images / "layout.csv"]
        arguments += ["--channels", CHANNELS.format(label), "--no-overlays", "--donor-types", giver]
        arguments += ["--types", ",".join(f"{name}={rule}" for name, rule in TYPES.items())]
        arguments += ["--analyse-types", "macrophage" if giver == "tumour" else "tumour"]
        if label != LABELS[0].name:  # the cells are the same
            masks = self.folder / LABELS[0].name / "masks"
            arguments += ["--cells-masks", masks, "--nuclei-masks", masks]
        status = napari_tam([str(each) for each in (*arguments, "--marker-phenotypes", "M1=CD86+,M2=CD206+")])
        if status:
            raise SystemExit(f"the analysis failed ({status})")
        return out

    def truth(self, image: str, what: str) -> pd.DataFrame:
        """Return the true cells or puncta of an image."""
        return pd.read_csv(self.images / f"{image}_{what}.csv", keep_default_na=False, na_values=[""])

    def matched(self) -> pd.DataFrame:
        """Return the found cells with those of the truth that they overlap by more than half (IoU)."""
        results = read_results(self.runs["GFP"])
        parts = []
        for image, cells in results.cells.groupby("image"):
            true = read_mask(self.images / f"{image}_masks.tif")
            pairs = np.array(match_cells(true, results.masks(str(image)))).reshape(-1, 2)
            own = pd.DataFrame({"true_label": pairs[:, 0], "label": pairs[:, 1]})
            cells_true = self.truth(str(image), "cells").rename(columns=lambda name: f"true_{name}")
            parts.append(cells.merge(own, on="label").merge(cells_true, on="true_label"))
        return pd.concat(parts, ignore_index=True)


def types(images: Images) -> Part:
    """Cell types and shares of positive cells, by gates from FMO controls."""
    cells = images.matched()
    stained = cells[~cells["control_role"].fillna("").str.startswith("fmo")]
    recall = {
        name: float((stained.loc[stained["true_cell_type"] == name, "cell_type"] == name).mean())
        for name in TYPES
    }
    balanced = float(np.mean(list(recall.values())))
    found, all_cells = {}, read_results(images.runs["GFP"]).cells
    all_cells = all_cells[~all_cells["control_role"].fillna("").str.startswith("fmo")]
    truth = pd.concat([images.truth(str(name), "cells") for name in all_cells["image"].unique()])
    for marker in (stain.name for stain in MARKERS):
        share = float(all_cells[f"{marker}_positive"].astype(float).mean())
        found[marker] = 100 * (share - float(truth[marker].astype(float).mean()))
    worst = max(map(abs, found.values()))
    lines = [
        f"Cell types ({len(stained)} cells found and matched, network 'cells', FMO gates, 5 % spill-over): "
        f"balanced accuracy {balanced:.3f} ({', '.join(f'{k} {v:.3f}' for k, v in recall.items())}); goal "
        f"0.95: {verdict(balanced >= 0.95)}",
        "Share of positive cells less that of the truth (all cells, points): "
        + ", ".join(f"{k} {v:+.1f}" for k, v in found.items())
        + f"; goal within 3: {verdict(worst <= 3)}",
        "",
    ]
    return lines, {
        "balanced_accuracy": balanced,
        "recall": recall,
        "cells": len(stained),
        "gate_points": found,
    }


def distance(images: Images) -> Part:
    """Measure the decay length of both labels, and who holds them, on images."""
    lines, values = [], {}
    worst = 0.0
    for label in LABELS:
        row = pd.read_csv(images.runs[label.name] / "traffic.csv").iloc[0]
        error = row["decay_um"] / label.decay_um - 1
        values[label.name] = {
            "decay_um": float(row["decay_um"]),
            "low": float(row["decay_low"]),
            "high": float(row["decay_high"]),
            "true": label.decay_um,
            "error": float(error),
        }
        lines.append(
            f"Decay length of {label.name}: {row['decay_um']:.1f} µm ({row['decay_low']:.1f} to "
            f"{row['decay_high']:.1f}), true {label.decay_um:g}: {100 * error:+.0f} %; goal within 10 %: "
            f"{verdict(abs(error) <= 0.1)}"
        )
        matrix = pd.read_csv(images.runs[label.name] / "transfer_matrix.csv").set_index("place")[
            "puncta_share"
        ]
        true = _true_shares(images, label.name)
        off = {name: 100 * (float(matrix.get(name, 0.0)) - true[name]) for name in true}
        worst = max(worst, *map(abs, off.values()))
        values[label.name]["matrix_points"] = off
        lines.append(
            f"Share of {label.name} puncta less the true one (points): "
            + ", ".join(f"{k} {v:+.1f} of {100 * true[k]:.0f}" for k, v in off.items())
        )
    return [*lines, f"Transfer matrix, goal within 5 points: {verdict(worst <= 5)}", ""], values


def _true_shares(images: Images, label: str) -> dict[str, float]:
    """Return the mean of the replicates' true shares in each type and between the cells."""
    layout = read_layout(images.images / "layout.csv")
    names = sorted(path.name.removesuffix(".ome.tif") for path in images.images.glob("*.ome.tif"))
    about = layout.columns_of(names).assign(image=names)
    shares = []
    for _, part in about[about["control_role"] == ""].groupby("replicate"):
        places = []
        for image in part["image"]:
            spots = images.truth(image, "puncta")
            spots = spots[spots["exosome_label"] == label]
            kinds = images.truth(image, "cells").set_index("label")["cell_type"]
            places.append(spots["cell"].map(kinds).fillna("between cells"))
        shares.append(pd.concat(places).value_counts(normalize=True))
    return pd.DataFrame(shares).fillna(0).mean().to_dict()


def distance_tables(runs: int) -> Part:
    """Measure the decay length and its interval over many experiments (tables)."""
    made = CocultureTables(images=6)
    errors, held = [], []
    for k in range(runs):
        cells, pictures = made.draw([SEED, 1, k])
        row = communicate(None, cells, _puncta(cells), pictures, TABLES).tables["traffic"].iloc[0]
        errors.append(row["decay_um"] / made.decay_um - 1)
        held.append(row["decay_low"] <= made.decay_um <= row["decay_high"])
    known = np.isfinite(errors)
    lines = [
        f"Decay length over {runs} experiments (tables, 4 replicates × 6 fields × 39 recipients): median "
        f"error {100 * np.nanmedian(errors):+.1f} %, median of its size "
        f"{100 * np.nanmedian(np.abs(errors)):.1f} %, the interval holds the truth in {np.mean(held):.1%}; "
        f"given in {known.mean():.0%}",
        "",
    ]
    return lines, {"errors": [round(float(each), 4) for each in errors], "coverage": float(np.mean(held))}


def _puncta(cells: pd.DataFrame) -> pd.DataFrame:
    return cells.loc[cells.index.repeat(cells["puncta_count"]), ["image", "label"]].assign(intensity=100.0)


def tested(cells: pd.DataFrame) -> pd.DataFrame:
    """Return what both questions find in tables of a co-culture, over all replicates."""
    route = Route("", ("tumour",), ("macrophage",))
    cells = cells.assign(unit=cells["replicate"], place=cells.groupby("image").cumcount(), donor_neighbours=0)
    pairs = {}
    for image, part in cells.groupby("image"):
        near = pairs[image] = outlines_of(part, None, (), 1.0).pairs(TABLES.neighbour_radius_um)
        gives, count = (part["cell_type"] == "tumour").to_numpy(), np.zeros(len(part))
        for one, other in ((0, 1), (1, 0)):
            np.add.at(count, near[:, one], gives[near[:, other]])
        cells.loc[part.index, "donor_neighbours"] = count.astype(int)
    found = spatial_association(cells, pairs, [route], "puncta_count", TABLES.neighbour_radius_um)
    return found[found["unit"] == ""].set_index("question")


def association(runs: int) -> Part:
    """Count false positives and power of both questions of spatial association, 4 replicates."""
    base = CocultureTables(far=1.0)
    designs = {
        "no effect": base,
        "1.5 x uptake beside donors": replace(base, near_factor=1.5),
    }
    rows, values = [], {}
    for name, made in designs.items():
        p: dict[str, list[float]] = {"neighbours": [], "uptake": []}
        ratios: dict[str, list[float]] = {"neighbours": [], "uptake": []}
        for k in range(runs):
            found = tested(made.draw([SEED, 2, k])[0])
            for question in p:
                row = found.loc[question]
                p[question].append(row["p"])
                ratios[question].append(row["ratio"])
        values[name] = {q: float(np.mean(np.array(p[q]) < 0.05)) for q in p}
        values[name] |= {f"{q}_ratio": float(np.median(ratios[q])) for q in p}
        rows.append([name, *(values[name][q] for q in p), *(values[name][f"{q}_ratio"] for q in p)])
    # how strong an attraction makes 1.5 times as many donors around a recipient
    pull = replace(base, attraction=4.0)
    hits, ratio = [], []
    for k in range(runs // 2):
        row = tested(pull.draw([SEED, 3, k])[0]).loc["neighbours"]
        hits.append(row["p"] < 0.05)
        ratio.append(row["ratio"])
    values["attraction"] = {"neighbours": float(np.mean(hits)), "neighbours_ratio": float(np.median(ratio))}
    rows.append(
        [f"{np.median(ratio):.2f} x donors around", float(np.mean(hits)), "", float(np.median(ratio)), ""]
    )
    false = [values["no effect"][q] for q in ("neighbours", "uptake")]
    strong = values["1.5 x uptake beside donors"]["uptake"]
    lines = [
        f"Spatial association, 4 replicates × 3 fields × 60 cells ({runs} experiments a row, the last half): "
        "share with p < 0.05",
        *table(["truth", "neighbours", "uptake", "ratio, neighbours", "ratio, uptake"], rows),
        f"false positives, goal 0.03 to 0.07: {verdict(all(0.03 <= each <= 0.07 for each in false))}; power "
        f"at 1.5 x uptake, goal 0.8: {verdict(strong >= 0.8)}; at {np.median(ratio):.2f} x donors around: "
        f"{verdict(np.mean(hits) >= 0.8)}",
        "",
    ]
    return lines, values


def dose(runs: int) -> Part:
    """EC50 of simulated plates and how often its interval holds the truth."""
    made = DoseTables()
    errors, held, given = [], [], 0
    for k in range(runs):
        cells = made.draw([SEED, 4, k])
        row = dose_response(cells.assign(unit=cells["replicate"]), "puncta_count")
        if not np.isfinite(row.get("ec50", np.nan)):
            continue
        given += 1
        errors.append(row["ec50"] / made.ec50 - 1)
        held.append(row["ec50_low"] <= made.ec50 <= row["ec50_high"])
    beyond = [
        dose_response(cells.assign(unit=cells["replicate"]), "puncta_count")
        for cells in (
            replace(made, ec50=500.0, hill=1.2).draw([SEED, 5, k]) for k in range(max(10, runs // 10))
        )
    ]
    withheld = float(np.mean([not np.isfinite(row.get("ec50", np.nan)) for row in beyond]))
    middle, cover = float(np.median(np.abs(errors))), float(np.mean(held))
    lines = [
        f"EC50 of {runs} simulated plates (3 replicates, 6 doses and none, 60 cells a well, wells differ by "
        f"10 %, replicates by 15 %): given in {given}, median error {100 * np.median(errors):+.1f} %, "
        f"median of its size {100 * middle:.1f} % (goal 15: {verdict(middle <= 0.15)}), largest "
        f"{100 * float(np.max(np.abs(errors))):.0f} %; the interval holds the truth in {cover:.1%} (goal 93 "
        f"to 97: {verdict(0.93 <= cover <= 0.97)})",
        f"EC50 of 500 with doses up to 100: withheld in {withheld:.0%} of {len(beyond)} plates",
        "",
    ]
    return lines, {
        "plates": runs,
        "given": given,
        "median_error": middle,
        "coverage": cover,
        "withheld_beyond": withheld,
    }


def planning(runs: int) -> Part:
    """Power from a pilot against experiments with the same truth that are drawn and tested."""
    rows, values = [], {}
    worst = 0.0
    for number, (between, replicates, cells, effect) in enumerate(
        ((0.2, 4, 40, 1.5), (0.3, 5, 60, 1.8), (0.15, 3, 30, 1.5), (0.25, 8, 20, 1.4))
    ):
        rng = np.random.default_rng([SEED, 6, number])
        pilot = spread_of(_experiment(rng, PILOT, cells, between, 1.0), "light", Settings())
        stated = power(pilot, effect, replicates, cells)
        found = 0
        for _ in range(runs):
            a, b = (pd.Series(each.mean(axis=1)) for each in _light(rng, replicates, cells, between, effect))
            found += welch_test(Groups("a", "b", a, b))["p"] < 0.05
        rows.append(
            [f"{between:.0%}", replicates, cells, effect, stated, found / runs, 100 * (stated - found / runs)]
        )
        worst = max(worst, abs(stated - found / runs))
    small = []
    for k in range(100):
        rng = np.random.default_rng([SEED, 7, k])
        pilot = spread_of(_experiment(rng, 4, 40, 0.2, 1.0), "light", Settings())
        small.append(power(pilot, 1.5, 4, 40))
    values = {
        "designs": rows,
        "worst_points": 100 * worst,
        "of_pilots_of_4": np.quantile(small, (0.1, 0.5, 0.9)).tolist(),
    }
    lines = [
        f"Power stated from a pilot of {PILOT} replicates against {runs} experiments (standard error up to "
        f"{100 * np.sqrt(0.25 / runs):.1f} points)",
        *table(["spread", "replicates", "cells", "effect", "stated", "found", "points"], rows),
        f"goal within 5 points: {verdict(worst <= 0.05)}",
        "first design from 100 pilots of 4 replicates: 10 % state less than "
        f"{values['of_pilots_of_4'][0]:.2f}, half less than {values['of_pilots_of_4'][1]:.2f}, 10 % more "
        f"than {values['of_pilots_of_4'][2]:.2f}",
        "",
    ]
    return lines, values


def _experiment(
    rng: np.random.Generator, replicates: int, cells: int, between: float, effect: float
) -> pd.DataFrame:
    """Draw the cells of two conditions: gamma light (SD half of the mean), log-normal replicates."""
    parts = []
    unit = np.repeat(np.arange(1, replicates + 1), cells).astype(str)
    for k, light in enumerate(_light(rng, replicates, cells, between, effect)):
        parts.append(pd.DataFrame({"light": light.ravel(), "replicate": unit, "condition": f"c{k}"}))
    drawn = pd.concat(parts, ignore_index=True)
    return drawn.assign(
        dose=np.nan, time=np.nan, donor="", plate="", well="", control_role="", positive=pd.NA
    )


def _light(
    rng: np.random.Generator, replicates: int, cells: int, between: float, effect: float
) -> list[np.ndarray]:
    """Draw the light of both conditions, replicates × cells."""
    sd = np.sqrt(np.log1p(between**2))
    found = []
    for level in (1.0, effect):
        means = 10 * level * np.exp(rng.normal(-(sd**2) / 2, sd, replicates))
        found.append(rng.gamma(4.0, means[:, None] / 4.0, (replicates, cells)))
    return found


def phenotype(images: Images) -> Part:
    """Train a model from the markers' own labels, left-out replicates judging it; and shuffled."""
    from napari_tam.phenotype.calibration import balanced_accuracy
    from napari_tam.phenotype.classify import load_classifier
    from napari_tam.phenotype.features import shape_features
    from napari_tam.train.folds import group_folds
    from napari_tam.train.known_cells import read_labelled
    from napari_tam.train.phenotype import Recipe, held_out

    classifier = load_classifier("phenotype")
    cells = read_labelled(images.runs["GFP"], markers=True)
    logits, _ = held_out(cells, group_folds(cells.groups), Recipe(), classifier.model)
    called = logits.argmax(axis=1)
    by_markers = balanced_accuracy(cells.truth, called)
    # the true class of each cell, which is found again by its features
    matched = images.matched().sort_values(["image", "label"]).reset_index(drop=True)
    row_of = {row.tobytes(): k for k, row in enumerate(shape_features(matched))}
    rows = np.array([row_of.get(row.tobytes(), -1) for row in cells.features])
    names = matched["true_phenotype"].to_numpy(object)[rows]
    known = (rows >= 0) & np.isin(names.astype(str), cells.classes)
    true = np.array([cells.classes.index(name) for name in names[known]])
    by_truth = balanced_accuracy(true, called[known])
    word = float((cells.truth[known] == true).mean())
    rng = np.random.default_rng(0)
    truth = cells.truth.copy()
    for name in np.unique(cells.groups):
        at = np.flatnonzero(cells.groups == name)
        truth[at] = rng.permutation(truth[at])
    logits, _ = held_out(replace(cells, truth=truth), group_folds(cells.groups), Recipe(), classifier.model)
    shuffled = balanced_accuracy(truth, logits.argmax(axis=1))
    lines = [
        f"Phenotype model from markers ({len(cells)} cells, left-out replicates): balanced accuracy against "
        f"the true class {by_truth:.3f} ({int(known.sum())} cells that are matched with a true one; goal "
        f"0.93: {verdict(by_truth >= 0.93)}), against the markers' own word {by_markers:.3f}; the markers' "
        f"word is the true class for {word:.1%}; markers shuffled {shuffled:.3f} (goal 0.43 to 0.57: "
        f"{verdict(abs(shuffled - 0.5) <= 0.07)})",
        "",
    ]
    return lines, {
        "cells": len(cells),
        "balanced_accuracy": by_truth,
        "against_markers": by_markers,
        "markers_are_true": word,
        "shuffled": shuffled,
    }


def speed() -> Part:
    """Two exosome channels and four markers on a 2048² field, over one and none."""
    from napari_tam.io.images import read_fields
    from napari_tam.pipeline.models import load_models
    from napari_tam.pipeline.runner import run

    plain = "cell=CellMask,nucleus=DAPI,exosome=GFP"
    names = ("cell", "nucleus", "exosome", "marker")
    wanted = {
        "one exosome channel": dict(zip(names, ("CellMask", "DAPI", "GFP"), strict=False)),
        "two and four markers": dict(
            zip(
                names,
                ("CellMask", "DAPI", ["GFP", "PKH26"], ["CD11b", "EpCAM", "CD86", "CD206"]),
                strict=True,
            )
        ),
    }
    try:
        settings = {name: Settings.from_values({"channels": channels}) for name, channels in wanted.items()}
    except InputError as error:
        return [f"Speed: not measured, this version has one exosome channel ({error}); {plain}", ""], {}
    p = replace(Coculture().scene, shape=(2048, 2048), cells_per_field=640)
    seconds: dict[str, list[float]] = {name: [] for name in settings}
    with tempfile.TemporaryDirectory() as folder:
        path = write_scene(Scene.draw(p, [SEED, 8]), Path(folder) / "field")
        for turn in range(4):
            for name, own in settings.items():
                models = load_models(own)
                field = next(read_fields(path, own))
                start = time.perf_counter()
                run(field, own, models)
                if turn:  # the first one warms up
                    seconds[name].append(time.perf_counter() - start)
    best = {name: float(np.median(each)) for name, each in seconds.items()}
    one, both = best.values()
    lines = [
        f"Speed on a 2048² field: {', '.join(f'{k} {v:.1f} s' for k, v in best.items())}: {both / one:.2f} "
        f"x (goal 1.6: {verdict(both / one <= 1.6)})",
        "",
    ]
    return lines, {"seconds": best, "ratio": both / one}


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fields", type=int, default=4, help="images a well of the image parts")
    parser.add_argument("--size", type=int, default=1024, help="their side in pixels")
    parser.add_argument("--runs", type=int, default=200, help="experiments of each design of tables")
    parser.add_argument("--only", help="parts to run, separated by commas; the others keep their figures")
    parser.add_argument("--folder", type=Path, help="keep images and results here, and take what is there")
    args = parser.parse_args()
    images: list[Images] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)

        def drawn() -> Images:
            if not images:
                images.append(Images(folder, args.fields, args.size))
            return images[0]

        parts = {
            "types": lambda: types(drawn()),
            "distance": lambda: distance(drawn()),
            "phenotype": lambda: phenotype(drawn()),
            "distance_tables": lambda: distance_tables(args.runs // 2),
            "association": lambda: association(args.runs),
            "dose": lambda: dose(args.runs),
            "planning": lambda: planning(EXPERIMENTS),
            "speed": speed,
        }
        wanted = args.only.split(",") if args.only else list(parts)
        unknown = [name for name in wanted if name not in parts]
        if unknown:
            raise SystemExit(f"there is no part {unknown[0]} (there are {', '.join(parts)})")
        run_parts(parts, wanted)


def run_parts(parts: dict, wanted: list[str]) -> None:
    """Run parts; those that are not wanted keep what was measured before, with its commit and date."""
    import json

    from common import machine

    path = RESULTS / "communication.json"
    facts = machine()
    for name in wanted:
        start = time.perf_counter()
        text, values = parts[name]()
        print("\n".join(text), flush=True)
        kept = json.loads(path.read_text(encoding="utf-8"))["parts"] if path.exists() else {}
        kept[name] = {
            "run": {key: facts[key] for key in ("date", "commit", "machine")},
            "seconds": round(time.perf_counter() - start),
            "text": text,
            "values": values,
        }
        lines = []
        for each in (each for each in parts if each in kept):
            about = kept[each]
            head = f"[{each}] {about['run']['date']}, {about['run']['commit']}, {about['seconds']} s"
            lines += [head, *about["text"]]
        publish("communication", lines, {"parts": kept})


if __name__ == "__main__":
    main()
