"""What all pictures share: palette, panels, legend and saving."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from dqrun.errors import ConfigError
from dqrun.report.cells import Cell
from dqrun.report.order import ordered_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = {".png": "png", ".svg": "svg", ".pdf": "pdf"}

# Okabe and Ito's palette, which people with any colour vision can tell apart; black is kept for FP32, and its yellow
# is left out, being faint on white. Markers and line styles say the same once more.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
REFERENCE = "#000000"
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":")

RC: dict[Any, Any] = {  # matplotlib types its keys as a long list of literals
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.hashsalt": "dqrun",  # the same picture has the same bytes
    "pdf.fonttype": 42,  # text stays text
}


@dataclass(frozen=True)
class Look:
    """How one label is drawn in all panels of a picture."""

    color: str
    marker: str
    line: str


def require_matplotlib() -> None:
    """Raises ConfigError where the extra is not installed."""
    if find_spec("matplotlib") is None:
        raise ConfigError("pictures need matplotlib, the extra 'plots': pip install 'dqrun[plots]'")


def looks(cells: Sequence[Cell], columns: Sequence[str]) -> dict[str, Look]:
    """A look for each label, widest first: FP32 black, the others by place in the palette."""
    labels = ordered_labels(cells, columns)
    reference = {cell.label(columns) for cell in cells if cell.text("quant") == "fp32"}
    found, place = {}, 0
    for label in labels:
        if label in reference:
            found[label] = Look(REFERENCE, MARKERS[0], LINES[0])
            continue
        color = PALETTE[place % len(PALETTE)]
        found[label] = Look(color, MARKERS[(place + 1) % len(MARKERS)], LINES[place // len(PALETTE) % len(LINES)])
        place += 1
    return found


def by_label(cells: Sequence[Cell], columns: Sequence[str], order: Sequence[str]) -> Iterator[tuple[str, str, Cell]]:
    """Label, name in the legend and cell; configurations that share a label are numbered, so that none hides one."""
    for label in order:
        same = [cell for cell in cells if cell.label(columns) == label]
        for i, cell in enumerate(same):
            yield label, f"{label or 'all'} ({i + 1})" if len(same) > 1 else label or "all", cell


def panels(rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[list[Axes]]]:
    """A figure of rows x columns panels, each of the given size in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(columns * width, rows * height + 0.5), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    return figure, [list(line) for line in grid]


def legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """One legend above all panels, each name once."""
    handles: dict[str, Any] = {}
    for panel in axes:
        for handle, name in zip(*panel.get_legend_handles_labels(), strict=True):
            handles.setdefault(name, handle)
    if handles:
        columns = min(len(handles), max(2, int(figure.get_figwidth() / 1.3)))
        figure.legend(list(handles.values()), list(handles), loc="outside upper center", ncols=columns)


def explain(figure: Figure, text: str) -> None:
    """A note below all panels, broken to the width of the figure."""
    lines = textwrap.wrap(text, int(figure.get_figwidth() * 17))
    figure.supxlabel("\n".join(lines), fontsize="small", color="#555555")


def metric_label(metric: str, part: str = "Test") -> str:
    """`Test accuracy (%)`; an error is in the unit of its target."""
    return f"{part} accuracy (%)" if metric == "accuracy" else f"{part} {metric.upper()} (target's unit)"


def encode(figure: Figure, form: str) -> bytes:
    """The picture as png, svg or pdf; no date in it, so that the same rows give the same bytes."""
    buffer = io.BytesIO()
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}[form]
    with styled():
        figure.savefig(buffer, format=form, dpi=160, metadata=metadata)
    return buffer.getvalue()


@contextmanager
def styled() -> Iterator[None]:
    """matplotlib's settings inside a `with` block, whatever the user's own are."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(RC)
        yield
