"""Train what `stages.yaml` lists: ``python training/run.py [STAGE ...]``.

A stage that is done as it is described is not run again, and one that was interrupted goes on from its last
checkpoint, so that the same command is repeated until nothing is left: on two processors in the background
(hours), or, with ``--device cuda --minutes 11``, within what a borrowed graphics card allows.
``--pack FOLDER`` copies the images that the stages read, and nothing else, for a machine that has only the
repository; there, ``--data FOLDER`` names them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
KEYS = {"script", "name", "options", "each", "data", "trains"}


@dataclass(frozen=True)
class Stage:
    """One line of work: see the head of `stages.yaml`."""

    name: str
    script: str
    arguments: tuple[str, ...]
    data: tuple[str, ...]
    trains: bool


def read_stages(path: Path, places: dict[str, Path]) -> list[Stage]:
    """Read a file of stages.

    Parameters
    ----------
    path
        YAML; see the head of `stages.yaml`.
    places
        What the names in braces stand for.

    Raises
    ------
    SystemExit
        If a stage says what is not known, or lacks its script: which one, and what.
    """
    stages = []
    for name, given in yaml.safe_load(path.read_text(encoding="utf-8")).items():
        if unknown := sorted(set(given) - KEYS):
            raise SystemExit(
                f"{path.name}: stage {name} has {', '.join(unknown)}; known: {', '.join(sorted(KEYS))}"
            )
        if not (HERE / str(given.get("script"))).is_file():
            raise SystemExit(f"{path.name}: stage {name} has no script that is in {HERE.name}/")
        each = given.get("each", {})
        for values in itertools.product(*each.values()):
            known = {**places, **dict(zip(each, values, strict=True))}
            arguments = [str(given["name"])] if "name" in given else []
            for option, value in given.get("options", {}).items():
                arguments += [f"--{option}", str(value).format(**known)]
            stages.append(
                Stage(
                    name.format(**known),
                    given["script"],
                    tuple(arguments),
                    tuple(given.get("data", ())),
                    bool(given.get("trains", False)),
                )
            )
    return stages


def chosen(stages: list[Stage], names: list[str]) -> list[Stage]:
    """Return the stages of these names, in their own order; all without names.

    Raises
    ------
    SystemExit
        If there is no stage of a name.
    """
    if unknown := sorted(set(names) - {stage.name for stage in stages}):
        raise SystemExit(
            f"no stage {', '.join(unknown)}; there are {', '.join(stage.name for stage in stages)}"
        )
    return [stage for stage in stages if not names or stage.name in names]


def pack(stages: list[Stage], data: Path, folder: Path) -> int:
    """Copy the images that stages read; returns how many bytes they are."""
    for name in sorted({name for stage in stages for name in stage.data}):
        shutil.copytree(data / name, folder / name, dirs_exist_ok=True)
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _state(runs: Path, stage: Stage) -> dict[str, Any]:
    path = runs / f"{stage.name}.stage.json"
    return json.loads(path.read_text()) if path.exists() else {}


def run(stage: Stage, args: argparse.Namespace, minutes: float | None) -> bool:
    """Run one stage; returns whether it is done.

    Raises
    ------
    SystemExit
        If its script fails; the end of its log is shown.
    """
    told = {"script": stage.script, "arguments": list(stage.arguments)}
    before = _state(args.runs, stage)
    same = {key: before.get(key) for key in told} == told
    if before.get("done") and same:
        print(f"{stage.name}: done before", flush=True)
        return True
    if stage.trains and before and not same:
        # a checkpoint of another recipe is no start for this one
        (args.runs / f"{stage.name}.checkpoint.pt").unlink(missing_ok=True)
    command = [sys.executable, str(HERE / stage.script), *stage.arguments]
    if stage.trains:
        command += ["--data", str(args.data), "--out", str(args.runs / f"{stage.name}.pt")]
        command += ["--device", args.device, "--threads", str(args.threads)]
        command += [] if minutes is None else ["--minutes", f"{minutes:.2f}"]
    state, log = args.runs / f"{stage.name}.stage.json", args.runs / f"{stage.name}.log"
    state.write_text(json.dumps(told))
    started = time.monotonic()
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    with log.open("a") as stream:
        end = subprocess.run(
            command,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONPATH": path},
            check=False,
        )
    took = f"{time.monotonic() - started:.0f} s"
    if end.returncode:
        lines = "\n".join(log.read_text().splitlines()[-15:])
        raise SystemExit(f"{stage.name}: failed after {took}; the end of {log}:\n{lines}")
    record = args.runs / f"{stage.name}.json"
    known = json.loads(record.read_text()) if stage.trains else {}
    done = not stage.trains or known["steps_done"] == known["steps"]
    state.write_text(json.dumps(told | {"done": done}))
    print(f"{stage.name}: {'done' if done else 'out of time'} after {took}", flush=True)
    return done


def main() -> int:
    """Run the stages; 3 if the time was over before all were done."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stages", nargs="*", help="which ones (all)")
    parser.add_argument("--settings", type=Path, default=HERE / "stages.yaml", help="the file of stages")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="the images")
    parser.add_argument("--runs", type=Path, default=HERE / "runs", help="weights, checkpoints, logs")
    parser.add_argument("--models", type=Path, default=ROOT / "models", help="where the bundled models go")
    parser.add_argument("--left-out", type=Path, default=ROOT / "benchmarks" / "leave_one_out")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: all")
    parser.add_argument("--minutes", type=float, help="stop, with checkpoints, after so long")
    parser.add_argument(
        "--pack", type=Path, metavar="FOLDER", help="copy the images that are needed, and end"
    )
    parser.add_argument("--list", action="store_true", help="say what would run, and end")
    args = parser.parse_args()
    places = {"runs": args.runs, "models": args.models, "data": args.data, "left_out": args.left_out}
    stages = chosen(read_stages(args.settings, places), args.stages)
    if args.list:
        for stage in stages:
            print(stage.name, stage.script, *stage.arguments)
        return 0
    if args.pack is not None:
        print(f"{pack(stages, args.data, args.pack) / 2**20:.1f} MiB in {args.pack}")
        return 0
    args.runs.mkdir(parents=True, exist_ok=True)
    ends = None if args.minutes is None else time.monotonic() + 60 * args.minutes
    for stage in stages:
        left = None if ends is None else (ends - time.monotonic()) / 60
        if left is not None and left <= 0:
            return 3
        if not run(stage, args, left):
            return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
