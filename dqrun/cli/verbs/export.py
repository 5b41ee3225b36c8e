"""`dqrun export RUN|FILE [--format F] [-o PATH]`: the integer program of a finished trial, to run elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dqrun.cli.verbs.export_formats import add_formats, chosen
from dqrun.composition.arguments import VerbParser, add_results
from dqrun.paths import user_path
from dqrun.runs.folders import find_network

SUFFIX = ".dqp"


def main(argv: Sequence[str]) -> int:
    """Writes the program and prints what it costs. Returns the exit code."""
    arguments = build_parser().parse_args(argv)
    form = chosen(arguments)
    path = user_path(arguments.run)
    of_file = path.suffix == SUFFIX
    if not of_file:
        path = find_network(arguments.run, Path(arguments.results))
    output = Path(arguments.output or form.output.replace("RUN", path.stem if of_file else path.name))
    from dqrun.cli.verbs.exporting import Export  # imports torch: only now that the command line is right

    exported = Export.read(path) if of_file else Export.load(path)
    print(*form.load()(exported, output, arguments), sep="\n")
    return 0


def build_parser() -> VerbParser:
    """The words of the verb."""
    parser = VerbParser(
        prog="dqrun export",
        description="Writes the integer program of a network that was trained with plan=integer.",
    )
    meaning = f"a run folder, the name of one in the results folder, or a program's file {SUFFIX}"
    parser.add_argument("run", metavar="RUN|FILE", help=meaning)
    parser.add_argument("-o", "--output", metavar="PATH", help="default: named after the run, in the current folder")
    add_formats(parser)
    add_results(parser)
    return parser
