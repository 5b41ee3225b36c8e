"""`dqrun export RUN [-o FILE]`: the integer program of a finished trial as a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dqrun.composition.arguments import VerbParser, add_results
from dqrun.runs.folders import find_network

SUFFIX = ".dqp"


def main(argv: Sequence[str]) -> int:
    """Writes the program and prints what it costs. Returns the exit code."""
    arguments = build_parser().parse_args(argv)
    folder = find_network(arguments.run, Path(arguments.results))
    output = Path(arguments.output or f"{folder.name}{SUFFIX}")
    from dqrun.cli.verbs.exporting import export  # imports torch: only now that the command line is right

    print(*export(folder, output), sep="\n")
    return 0


def build_parser() -> VerbParser:
    """The words of the verb."""
    parser = VerbParser(
        prog="dqrun export",
        description="Writes the integer program of a network that was trained with plan=integer.",
    )
    parser.add_argument("run", metavar="RUN", help="a run folder, or the name of one in the results folder")
    parser.add_argument("-o", "--output", metavar="FILE", help=f"default: RUN{SUFFIX} in the current folder")
    add_results(parser)
    return parser
