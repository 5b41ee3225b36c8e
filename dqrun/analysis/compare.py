"""`dqrun compare [DIR ...] [FILTER ...]`: the means of all trials so far, side by side. See docs/howto/comparing.md."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from dqrun.analysis.cells import TEST
from dqrun.analysis.comparison import SPREADS, Comparison, compare
from dqrun.analysis.formats import FORMATS, SUFFIXES, render, write
from dqrun.analysis.published import FIELDS
from dqrun.analysis.rows import Run, load_runs
from dqrun.analysis.select import choose, numeric_fields, require_fields, split_fields, split_words
from dqrun.analysis.significance import parse_baseline
from dqrun.analysis.text import for_terminal
from dqrun.composition.arguments import VerbParser
from dqrun.errors import ConfigError

DEFAULT_ROWS, DEFAULT_COLUMNS = "dataset,model", "quant,method"
EPILOG = """\
examples:
  dqrun compare results machine2/results dataset=Cora 'seed<10'
  dqrun compare --rows model,train.lr --cols quant,method --spread both
  dqrun compare --baseline method=naive --published -o table.md
  dqrun compare --metric test_metric,test_metric_integer
"""


def main(argv: Sequence[str]) -> int:
    """Prints the comparison, warnings on stderr; `-o FILE` also writes it to a file. Returns the exit code."""
    arguments = build_parser().parse_intermixed_args(argv)
    form = output_format(arguments.output, arguments.format)
    complaints: list[str] = []
    comparison = comparison_of(runs_of(arguments.words, complaints.extend), arguments, arguments.metric)
    warnings = [*complaints, *comparison.warnings]
    if arguments.output:
        write(Path(arguments.output), comparison, form, arguments.spread, warnings)
    shown = "table" if arguments.output else form
    print(render(comparison, shown, arguments.spread, color=shown == "table" and sys.stdout.isatty()))
    if shown == "table":
        print(SPREADS[arguments.spread], file=sys.stderr)
    warn(warnings)
    return 0


def build_parser() -> VerbParser:
    """The options of `dqrun compare`."""
    parser = VerbParser(
        prog="dqrun compare",
        description="compares the trials recorded so far",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_source(parser)
    add_layout(parser)
    metric = f"numeric columns of the rows whose means are shown (default: {TEST})"
    parser.add_argument("--metric", default=TEST, metavar="FIELDS", help=metric)
    parser.add_argument("--spread", choices=list(SPREADS), default="ci95", help="what +- is in tables (default: ci95)")
    parser.add_argument("--format", choices=FORMATS, help="default: by the suffix of FILE; on the terminal a table")
    parser.add_argument("-o", "--output", metavar="FILE", help="write to .csv, .md, .tex, .json, or a table to .txt")
    return parser


def add_source(parser: argparse.ArgumentParser) -> None:
    """The positional words that `runs_of` reads."""
    parser.add_argument(
        "words",
        nargs="*",
        metavar="DIR|FILTER",
        help="results folders (default: results), and conditions on any field: quant=int4 model=gcn,gin 'seed<5'",
    )


def add_layout(parser: argparse.ArgumentParser) -> None:
    """The options of `comparison_of`."""
    rows = f"fields that make a row (default: {DEFAULT_ROWS}): of a trial's row, or of its configuration like train.lr"
    parser.add_argument("--rows", default=DEFAULT_ROWS, metavar="FIELDS", help=rows)
    columns = f"fields that make a column (default: {DEFAULT_COLUMNS})"
    parser.add_argument("--cols", default=DEFAULT_COLUMNS, metavar="FIELDS", help=columns)
    baseline = "FIELD=VALUE,...: differences to these cells, paired by seed or fold, with tests"
    parser.add_argument("--baseline", metavar="CELLS", help=baseline)
    parser.add_argument("--published", action="store_true", help="published numbers beside one's own")


def runs_of(words: Sequence[str], complain: Callable[[Sequence[str]], None]) -> list[Run]:
    """The trials in the folders that pass the filters; `complain` gets a line for each row that was not counted."""
    dirs, filters = split_words(words)
    runs, complaints = load_runs(dirs or ["results"])
    complain(complaints)
    return choose(runs, filters)


def comparison_of(runs: list[Run], arguments: argparse.Namespace, metric: str = TEST) -> Comparison:
    """The comparison for the parsed options of `add_layout`; `metric`: columns of the rows, separated by commas."""
    shown = numeric_fields("--metric", metric, runs)
    if arguments.baseline is not None and shown != [TEST]:
        raise ConfigError.rule("--metric", f"be {TEST} where --baseline asks for differences", metric)
    if arguments.published and not set(shown) <= set(FIELDS):
        raise ConfigError.rule("--metric", f"be among {', '.join(FIELDS)} where --published is asked for", metric)
    baseline = None if arguments.baseline is None else parse_baseline(arguments.baseline)
    rows, columns = split_fields("--rows", arguments.rows, runs), split_fields("--cols", arguments.cols, runs)
    if baseline:
        require_fields("--baseline", [condition.name for condition in baseline], runs)
    return compare(runs, rows, columns, baseline, arguments.published, shown)


def output_format(output: str | None, form: str | None, suffixes: Mapping[str, str] = SUFFIXES) -> str:
    """The format: `form`, else that of the output file's suffix, else a table.

    Raises ConfigError for a file with an unknown suffix.
    """
    if form is not None or output is None:
        return form or "table"
    known = {".txt": "table", **suffixes}
    suffix = Path(output).suffix.lower()
    if suffix not in known:
        raise ConfigError.rule("-o", f"end in {', '.join(known)}, or --format must say what it is", output)
    return known[suffix]


def warn(warnings: Sequence[str]) -> None:
    """Prints each on a line of stderr."""
    for text in warnings:
        print(f"dqrun: {for_terminal(text)}", file=sys.stderr)
