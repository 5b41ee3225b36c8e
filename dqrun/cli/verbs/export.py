"""`dqrun export RUN [--format F] [-o PATH]`: the integer program of a finished trial, to run elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dqrun.cli.verbs.export_formats import add_formats, chosen
from dqrun.composition.arguments import VerbParser, add_results
from dqrun.runs.folders import find_network


def main(argv: Sequence[str]) -> int:
    """Writes the program and prints what it costs. Returns the exit code."""
    arguments = build_parser().parse_args(argv)
    form = chosen(arguments)
    folder = find_network(arguments.run, Path(arguments.results))
    output = Path(arguments.output or form.output.replace("RUN", folder.name))
    from dqrun.cli.verbs.exporting import Export  # imports torch: only now that the command line is right

    print(*form.load()(Export.load(folder), output, arguments), sep="\n")
    return 0


def build_parser() -> VerbParser:
    """The words of the verb."""
    parser = VerbParser(
        prog="dqrun export",
        description="Writes the integer program of a network that was trained with plan=integer.",
    )
    parser.add_argument("run", metavar="RUN", help="a run folder, or the name of one in the results folder")
    parser.add_argument("-o", "--output", metavar="PATH", help="default: named after the run, in the current folder")
    add_formats(parser)
    add_results(parser)
    return parser
