"""`dqrun leaderboard [DIR ...] [FILTER ...]`: methods by width, and what each costs. See docs/howto/comparing.md."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dqrun.analysis.board import Costing, boards
from dqrun.analysis.cells import Cell, make_cells
from dqrun.analysis.compare import add_source, output_format, runs_of, warn
from dqrun.analysis.files import write_atomically
from dqrun.analysis.latency import read_latencies
from dqrun.analysis.sheets import Sheet, as_latex, as_markdown, as_text
from dqrun.composition.arguments import VerbParser
from dqrun.errors import DqrunError

if TYPE_CHECKING:
    from dqrun.nn.costs import Costs

EPILOG = """\
examples:
  dqrun leaderboard
  dqrun leaderboard results dataset=Cora model=gcn -o methods.md
  dqrun leaderboard --latency latency.json --no-costs
"""
FORMATS: dict[str, Callable[[list[Sheet]], str]] = {
    "table": lambda sheets: "\n\n".join(map(as_text, sheets)),
    "markdown": as_markdown,
    "latex": as_latex,
}
SUFFIXES = {".md": "markdown", ".tex": "latex"}


def main(argv: Sequence[str]) -> int:
    """Prints the tables, warnings on stderr; `-o FILE` writes them to a file instead. Returns the exit code."""
    arguments = build_parser().parse_intermixed_args(argv)
    form = output_format(arguments.output, arguments.format, SUFFIXES)
    latencies = read_latencies(Path(arguments.latency)) if arguments.latency else []
    cells = make_cells(runs_of(arguments.words, warn), [])
    troubles: dict[str, None] = {}
    sheets = boards(cells, Costing(counting(troubles) if arguments.costs else lambda cell: None, latencies))
    text = FORMATS[form](sheets)
    if arguments.output:
        write_atomically(Path(arguments.output), f"{text}\n".encode())
        print(arguments.output)
    elif form == "table":
        print("\n\n".join(as_text(sheet, color=sys.stdout.isatty()) for sheet in sheets))
    else:
        print(text)
    warn(list(troubles))
    return 0


def build_parser() -> VerbParser:
    """The options of `dqrun leaderboard`."""
    parser = VerbParser(
        prog="dqrun leaderboard",
        description="methods by width, with the costs of each configuration, from the trials recorded so far",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_source(parser)
    parser.add_argument("--latency", metavar="FILE", help="latencies: the JSON of dqrun bench inference")
    costs = "build no network where rows do not record sizes and bit-operations"
    parser.add_argument("--no-costs", dest="costs", action="store_false", help=costs)
    parser.add_argument("--format", choices=list(FORMATS), help="default: by the suffix of FILE; else a table")
    parser.add_argument("-o", "--output", metavar="FILE", help="write to .md, .tex or .txt")
    return parser


def counting(troubles: dict[str, None]) -> Callable[[Cell], Costs | None]:
    """A function that counts the costs of a cell's network; errors are added to `troubles`, each once."""
    from dqrun.analysis.networks import Datasets

    datasets = Datasets()

    def counted(cell: Cell) -> Costs | None:
        try:
            return datasets.costs(cell.runs[0])
        except DqrunError as error:
            troubles[f"no costs of {cell.label(('dataset', 'model', 'quant', 'method'))}: {error}"] = None
            return None

    return counted
