"""`dqrun report [DIR ...] [FILTER ...] -o report.html`: tables and pictures on one page that needs no network."""

from __future__ import annotations

import argparse
import base64
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from dqrun import __version__
from dqrun.analysis import plot
from dqrun.analysis.compare import (
    DEFAULT_COLUMNS,
    DEFAULT_ROWS,
    add_layout,
    add_source,
    comparison_of,
    runs_of,
)
from dqrun.analysis.comparison import SPREADS, Comparison, difference_sheet, main_sheet, published_sheet
from dqrun.analysis.files import write_atomically
from dqrun.analysis.plots.style import encode, require_matplotlib, styled
from dqrun.analysis.sheets import Sheet, template
from dqrun.composition.arguments import VerbParser
from dqrun.errors import ConfigError, DqrunError


@dataclass(frozen=True)
class Section:
    """A part of the page: a table, a picture, or the reason for its absence; `command` makes the same output."""

    title: str
    command: str
    sheet: Sheet | None = None
    svg: str = ""  # in base 64
    missing: str = ""
    warnings: Sequence[str] = ()


def main(argv: Sequence[str]) -> int:
    """Writes the page. Returns the exit code."""
    arguments = build_parser().parse_intermixed_args(argv)
    output = Path(arguments.output)
    if output.suffix.lower() not in (".html", ".htm"):
        raise ConfigError.rule("-o", "end in .html", str(output))
    require_matplotlib()
    complaints: list[str] = []
    runs = runs_of(arguments.words, complaints.extend)
    comparison = comparison_of(runs, arguments)
    sections = [*tables(comparison, arguments), *pictures(comparison, arguments)]
    command = shlex.join(["dqrun", "report", *argv])
    text = page(sections, [*complaints, *comparison.warnings], command, len(runs))
    write_atomically(output, text.encode())
    print(output)
    return 0


def build_parser() -> VerbParser:
    """The options of `dqrun report`."""
    parser = VerbParser(prog="dqrun report", description="tables and pictures on one HTML page")
    add_source(parser)
    add_layout(parser)
    parser.add_argument("--latency", metavar="FILE", help="JSON of dqrun bench inference, for accuracy by latency")
    parser.add_argument("-o", "--output", default="report.html", metavar="FILE", help="default: report.html")
    return parser


def tables(comparison: Comparison, arguments: argparse.Namespace) -> list[Section]:
    """The main table with standard deviations; differences and published numbers on request."""
    command = _command("compare", arguments, with_tests=True)
    main = main_sheet(comparison, "both")
    main = replace(main, notes=[SPREADS["both"], *main.notes])
    found = [Section("Test metric", f"{command} --spread both", main)]
    if comparison.differences is not None:
        found.append(Section("Differences", command, difference_sheet(comparison)))
    if comparison.published is not None:
        found.append(Section("Published numbers", command, published_sheet(comparison)))
    return found


def pictures(comparison: Comparison, arguments: argparse.Namespace) -> list[Section]:
    """All pictures for which the run folders have data; for others the reason."""
    cells, rows, columns = plot.drawable(comparison.cells), comparison.rows, comparison.columns
    from dqrun.analysis.networks import Datasets
    from dqrun.analysis.plots import bars, curves

    datasets = Datasets()

    def pareto(x: str) -> Callable[[], plot.Drawn]:
        latency = arguments.latency if x == "latency" else None
        return lambda: plot.draw_pareto(cells, rows, columns, x, latency, datasets)

    draws: list[tuple[str, str, Callable[[], plot.Drawn]]] = [
        ("Means", "bars", lambda: bars.draw(cells, rows, columns)),
        ("Test metric against mean width", "pareto --x bits", pareto("bits")),
        ("Test metric against model size", "pareto --x bytes", pareto("bytes")),
        ("Test metric against bit-operations", "pareto --x bitops", pareto("bitops")),
        ("Training curves", "curves", lambda: curves.draw(cells, rows, columns)),
        ("Quantisation error by in-degree", "degree", lambda: plot.draw_degree(cells, rows, columns, "test", datasets)),
    ]
    if arguments.latency:
        kind = f"pareto --x latency --latency {shlex.quote(arguments.latency)}"
        draws.insert(4, ("Test metric against latency", kind, pareto("latency")))
    return [_picture(title, kind, draw, arguments) for title, kind, draw in draws]


def _picture(title: str, kind: str, draw: Callable[[], plot.Drawn], arguments: argparse.Namespace) -> Section:
    command = _command(f"plot {kind}", arguments)
    try:
        with styled():
            figure, warnings = draw()
        data = base64.b64encode(encode(figure, "svg")).decode()
    except DqrunError as error:
        return Section(title, command, missing=str(error))
    return Section(title, f"{command} -o {kind.split()[0]}.svg", svg=data, warnings=warnings)


def _command(verb: str, arguments: argparse.Namespace, with_tests: bool = False) -> str:
    words = [shlex.quote(word) for word in arguments.words]
    for flag, value, default in (("--rows", arguments.rows, DEFAULT_ROWS), ("--cols", arguments.cols, DEFAULT_COLUMNS)):
        words += [] if value == default else [flag, shlex.quote(value)]
    if with_tests:
        words += ["--baseline", shlex.quote(arguments.baseline)] if arguments.baseline else []
        words += ["--published"] if arguments.published else []
    return " ".join(["dqrun", verb, *words])


def page(sections: Sequence[Section], warnings: Sequence[str], command: str, trials: int) -> str:
    """The page as HTML: warnings first, then the sections with the commands that make them."""
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    values = {"sections": sections, "warnings": warnings, "command": command, "trials": trials}
    return str(template("page.html").render(**values, made=made, version=__version__))
