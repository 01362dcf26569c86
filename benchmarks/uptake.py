"""What the uptake science reaches: ``python benchmarks/uptake.py [--only plate,stats,…]``.

Each part lives in a module of its own (``uptake_<part>.py``, with a ``run`` that returns lines and values);
all of them work on simulated fields with known truth.
"""

from __future__ import annotations

import argparse
import importlib
import time

from common import publish

PARTS = ("plate", "stats", "volume", "correct", "time")


def main() -> None:
    """Run the parts one after the other and publish what they found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help=f"parts to run, separated by commas ({', '.join(PARTS)})")
    args = parser.parse_args()
    wanted = args.only.split(",") if args.only else PARTS
    lines: list[str] = []
    values = {}
    for part in wanted:
        start = time.perf_counter()
        text, values[part] = importlib.import_module(f"uptake_{part}").run()
        lines += [*text, f"({part}: {time.perf_counter() - start:.0f} s)", ""]
        print("\n".join(text), flush=True)
    publish("uptake" if not args.only else f"uptake_{'_'.join(wanted)}", lines, values)


if __name__ == "__main__":
    main()
