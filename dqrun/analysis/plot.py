"""`dqrun plot KIND [DIR ...] [FILTER ...] -o FILE`: pictures of the trials so far. See docs/howto/comparing.md."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dqrun.analysis.cells import Cell, make_cells
from dqrun.analysis.checks import sharing
from dqrun.analysis.compare import DEFAULT_COLUMNS, DEFAULT_ROWS, add_source, runs_of, warn
from dqrun.analysis.comparison import by_place
from dqrun.analysis.files import write_atomically
from dqrun.analysis.latency import latency_of, read_latencies
from dqrun.analysis.plots.pareto import COSTS, Cost
from dqrun.analysis.plots.series import selected
from dqrun.analysis.plots.style import FORMATS, encode, field_label, require_matplotlib, styled
from dqrun.analysis.select import require_fields, split_fields
from dqrun.analysis.text import unit_of
from dqrun.composition.arguments import VerbParser
from dqrun.errors import ConfigError, DataError, DqrunError, ResultsError
from dqrun.runs.intervals import mean

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dqrun.analysis.networks import Datasets

KINDS = {
    "curves": "losses and validation metric over the epochs (history.csv of the run folders)",
    "bars": "means with intervals",
    "pareto": "metric against bits, bytes, bit-operations or latency, with the Pareto front",
    "degree": "quantisation error and accuracy against in-degree (needs model.safetensors and the dataset)",
}
NETWORKS = 60
"""Trained networks that `degree` loads at most: each is loaded and run twice."""
Drawn = tuple["Figure", list[str]]


def main(argv: Sequence[str]) -> int:
    """Draws one picture and writes it. Returns the exit code."""
    arguments = build_parser().parse_intermixed_args(argv)
    if arguments.kind not in KINDS:
        raise ConfigError.rule("dqrun plot", f"be given one of {', '.join(KINDS)}", arguments.kind)
    output = Path(arguments.output or f"{arguments.kind}.png")
    if output.suffix.lower() not in FORMATS:
        raise ConfigError.rule("-o", f"end in {', '.join(FORMATS)}", str(output))
    require_matplotlib()
    runs = runs_of(arguments.words, warn)
    rows, columns = split_fields("--rows", arguments.rows, runs), split_fields("--cols", arguments.cols, runs)
    cells = drawable(make_cells(runs, [*rows, *columns]))
    with styled():
        figure, warnings = picture(arguments, cells, rows, columns)
    write_atomically(output, encode(figure, FORMATS[output.suffix.lower()]))
    print(output)
    warn([*shared_labels(cells, rows, columns), *warnings])
    return 0


def build_parser() -> VerbParser:
    """The options of `dqrun plot`."""
    kinds = "\n".join(f"  {name:<8}{meaning}" for name, meaning in KINDS.items())
    parser = VerbParser(
        prog="dqrun plot",
        description="pictures of the trials recorded so far",
        epilog=f"kinds:\n{kinds}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kind", nargs="?", default="", metavar="KIND", help=f"one of {', '.join(KINDS)}")
    add_source(parser)
    parser.add_argument("--rows", default=DEFAULT_ROWS, metavar="FIELDS", help=f"panels (default: {DEFAULT_ROWS})")
    parser.add_argument("--cols", default=DEFAULT_COLUMNS, metavar="FIELDS", help=f"lines (default: {DEFAULT_COLUMNS})")
    parser.add_argument("--spread", choices=("ci95", "std"), default="ci95", help="bars: what is drawn (default: ci95)")
    costs = ", ".join(COSTS)
    parser.add_argument("--x", default="bits", metavar="COST", help=f"pareto: {costs}, or a numeric field of the rows")
    parser.add_argument("--latency", metavar="FILE", help="pareto --x latency: JSON of dqrun bench inference")
    parser.add_argument(
        "--part", choices=("train", "val", "test"), default="test", help="degree: nodes (default: test)"
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="a .png, .svg or .pdf file (default: KIND.png)")
    return parser


def picture(arguments: argparse.Namespace, cells: list[Cell], rows: list[str], columns: list[str]) -> Drawn:
    """The requested figure, and warnings on what it leaves out."""
    if arguments.kind == "bars":
        from dqrun.analysis.plots import bars

        return bars.draw(cells, rows, columns, arguments.spread)
    if arguments.kind == "curves":
        from dqrun.analysis.plots import curves

        return curves.draw(cells, rows, columns)
    if arguments.kind == "pareto":
        return draw_pareto(cells, rows, columns, arguments.x, arguments.latency)
    return draw_degree(cells, rows, columns, arguments.part)


def drawable(cells: Sequence[Cell]) -> list[Cell]:
    """The cells with a finished trial; raises ResultsError without any."""
    found = [cell for cell in cells if cell.done]
    if not found:
        raise ResultsError("none of the chosen trials has a result: nothing to draw")
    return found


def shared_labels(cells: Sequence[Cell], rows: list[str], columns: list[str]) -> list[str]:
    """Warnings on configurations with the same name in a panel, and the fields in which they differ."""
    places = by_place(cells, rows, columns)
    return [sharing(" ".join([*row[:-1], name]), here) for (row, name), here in places.items() if len(here) > 1]


def draw_pareto(
    cells: list[Cell],
    rows: list[str],
    columns: list[str],
    x: str,
    latency: str | None,
    datasets: Datasets | None = None,
) -> Drawn:
    """`datasets`: the ones loaded so far. Raises ResultsError where the cost of no cell is known."""
    from dqrun.analysis.plots import pareto

    if (x == "latency") != (latency is not None):
        raise ConfigError("--x latency and --latency FILE go together")
    cells, left_out = selected(cells, rows, columns)
    values, warnings = cost_values(cells, x, latency, datasets)
    known = [(cell, value) for cell, value in zip(cells, values, strict=True) if not math.isnan(value)]
    if not known:
        more = f" (and {len(warnings) - 1} more)" if len(warnings) > 1 else ""
        reason = f": {warnings[0]}{more}" if warnings else ""
        raise ResultsError(f"--x {x} is known for none of the chosen trials{reason}")
    if len(known) < len(cells):
        warnings.append(
            f"{len(cells) - len(known)} of {len(cells)} configurations have no {x} and are not in the picture"
        )
    chosen, costs = [cell for cell, _ in known], [value for _, value in known]
    cost = COSTS.get(x) or Cost(field_label(x), unit_of(x)[0])
    return pareto.draw(chosen, costs, cost, rows, columns), left_out + warnings


def cost_values(
    cells: list[Cell], x: str, latency: str | None, datasets: Datasets | None = None
) -> tuple[list[float], list[str]]:
    """The cost of each cell in its base unit, nan where unknown; and warnings."""
    if latency is not None:
        measured = read_latencies(Path(latency))
        return [latency_of(cell, measured) for cell in cells], []
    if x not in COSTS:
        require_fields("--x", [x], [cell.runs[0] for cell in cells])
        return [_mean_of_field(cell, x) for cell in cells], []
    from dqrun.analysis.networks import Datasets

    name = {"bits": "mean_bits", "bytes": "model_bytes", "bitops": "bit_operations"}.get(x, "bit_operations_product")
    datasets, values, warnings = datasets or Datasets(), [], []
    for cell in cells:
        try:
            values.append(float(getattr(datasets.costs(cell.firsts[0]), name)))
        except DqrunError as error:
            values.append(math.nan)
            warnings.append(str(error))
    return values, list(dict.fromkeys(warnings))


def _mean_of_field(cell: Cell, name: str) -> float:
    """Mean of a numeric field over the trials; raises ConfigError for text."""
    for run in cell.firsts:
        value = run.value(name)
        if value is not None and (not isinstance(value, int | float) or isinstance(value, bool)):
            raise ConfigError.rule("--x", f"be one of {', '.join(COSTS)} or a field with numbers", name)
    return mean(cell.values(name))


def draw_degree(
    cells: list[Cell], rows: list[str], columns: list[str], part: str, datasets: Datasets | None = None
) -> Drawn:
    """`datasets`: the ones loaded so far. Raises ResultsError where no trial has a model file and a dataset."""
    from dqrun.analysis.degrees import node_errors
    from dqrun.analysis.networks import Datasets
    from dqrun.analysis.plots import degree

    cells, left_out = selected(cells, rows, columns, NETWORKS)
    datasets, found, warnings = datasets or Datasets(), {}, []
    most = max(1, NETWORKS // len(cells))
    if any(len(cell.done) > most for cell in cells):
        left_out.append(f"of each configuration {most} trials at most are in the picture")
    for cell in cells:
        trials = []
        for run in cell.firsts[:most]:
            try:
                trials.append(node_errors(run, datasets, part))
            except DataError as error:
                warnings.append(str(error))
        if trials:
            found[id(cell)] = trials
    if not found:
        raise ResultsError(f"no network of the chosen trials can be looked into: {warnings[0]}")
    if len(warnings) > 1:
        warnings = [f"{len(warnings)} trials are not in the picture, the first because {warnings[0]}"]
    shown = [cell for cell in cells if id(cell) in found]
    return degree.draw(shown, found, rows, columns, part), left_out + warnings
