"""The command line: ``napari-tam COMMAND …``.

Only argparse is imported here, so that ``--help`` is there at once; a command imports what it needs.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import sys
from typing import TYPE_CHECKING

from napari_tam.cli.commands import build
from napari_tam.cli.console import INTERRUPTED, Answer, answer_programs, complain, stdout_kept_free
from napari_tam.errors import InputError, one_line
from napari_tam.stopping import terminable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # torch's threads wait asleep: those that spin take the cores from OpenVINO's and from other processes
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for stream in (sys.stdout, sys.stderr):
        # the terminal's encoding may lack characters of file names
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        answer, for_programs = _answer(arguments)
        if for_programs:
            answer_programs(answer)
        sys.stdout.flush()
    except BrokenPipeError:  # e.g. napari-tam models | head -1
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return answer.status


def _answer(arguments: Sequence[str]) -> tuple[Answer, bool]:
    """Run a command; return what it answers, and whether to programs."""
    for_programs = "--json" in arguments
    try:
        with terminable():
            parsed = _parse(arguments)
            for_programs = getattr(parsed, "json", False) is True
            with stdout_kept_free() if for_programs else contextlib.nullcontext():
                answer: Answer = parsed.run(parsed)
                return answer, for_programs
    except InputError as error:
        sentence = one_line(error)
        return Answer(complain(sentence), {"error": sentence}), for_programs
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return Answer(INTERRUPTED, {"error": "interrupted"}), for_programs


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    command = next((word for word in argv if not word.startswith("-")), "")
    parser, parsers = build(command)
    parsed, unknown = parser.parse_known_args(argv)
    if unknown:
        own = parsers[parsed.command]
        problems = []
        for word in unknown:
            name = word.partition("=")[0]
            close = difflib.get_close_matches(name, own._option_string_actions, n=1)
            problems.append(f"unknown: {word}" + (f" (did you mean {close[0]}?)" if close else ""))
        own.error("; ".join(problems))
    parsed.argv = argv
    return parsed
