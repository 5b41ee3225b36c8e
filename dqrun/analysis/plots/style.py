"""Common parts of all pictures: panels, legend, settings and saving."""

from __future__ import annotations

import io
import math
import os
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from dqrun.analysis.text import for_picture, unit_of
from dqrun.config.tasks import FRACTIONS, LOWER_IS_BETTER, METRIC_COLUMNS
from dqrun.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = {".png": "png", ".svg": "svg", ".pdf": "pdf"}

RC: dict[Any, Any] = {  # matplotlib types its keys as a long list of literals
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "hatch.linewidth": 0.5,
    "legend.frameon": False,
    "svg.hashsalt": "dqrun",  # the same picture has the same bytes
    "pdf.fonttype": 42,  # text stays text
    "text.parse_math": False,  # a $ in a name is a $
}


def require_matplotlib() -> None:
    """Raises ConfigError where the extra is not installed."""
    if find_spec("matplotlib") is None:
        raise ConfigError("pictures need matplotlib, the extra 'plots': pip install 'dqrun[plots]'")


def panels(rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[list[Axes]]]:
    """A figure of rows x columns panels, each of the given size in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(columns * width, rows * height + 0.3), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    return figure, [list(line) for line in grid]


def legend(figure: Figure, handles: Mapping[str, Any]) -> None:
    """One legend above all panels: what is drawn, by name. The figure grows by the lines that it takes."""
    if handles:
        longest = max(map(len, handles))
        columns = max(1, min(len(handles), int(figure.get_figwidth() / (0.5 + 0.075 * longest))))
        figure.set_figheight(figure.get_figheight() + 0.17 * math.ceil(len(handles) / columns))
        figure.legend(
            list(handles.values()), list(map(for_picture, handles)), loc="outside upper center", ncols=columns
        )


def title(panel: Axes, text: str) -> None:
    """A panel's name, above its left end."""
    panel.set_title(for_picture(text), loc="left", fontweight="bold")


def explain(figure: Figure, text: str) -> None:
    """A note below all panels, broken to the width of the figure."""
    lines = textwrap.wrap(text, int(figure.get_figwidth() * 17))
    figure.supxlabel("\n".join(lines), fontsize="small", color="#555555")


def metric_label(metric: str, part: str = "Test") -> str:
    """`Test accuracy (%)`; an error is in the unit of its target, a registered metric has none."""
    name = metric.upper() if metric in METRIC_COLUMNS and metric not in FRACTIONS else metric.replace("_", " ")
    unit = "%" if metric in FRACTIONS else "target's unit" if metric in LOWER_IS_BETTER else ""
    return for_picture(f"{part} {name} ({unit})" if unit else f"{part} {name}")


def field_label(name: str) -> str:
    """`seconds (s)`, `peak_bytes (MiB)`: a numeric field of the rows with its unit, where it has one."""
    unit = unit_of(name)[2].strip()
    return for_picture(f"{name} ({unit})" if unit else name)


def encode(figure: Figure, form: str) -> bytes:
    """The picture as png, svg or pdf; no date in it, so that the same rows give the same bytes."""
    buffer = io.BytesIO()
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}[form]
    with styled():
        figure.savefig(buffer, format=form, dpi=160, metadata=metadata)
    return buffer.getvalue()


@contextmanager
def styled() -> Iterator[None]:
    """dqrun's settings of matplotlib inside a `with` block; the user's own have no effect there.

    Pictures are drawn with matplotlib's objects, without pyplot: no backend is chosen, and that of MPLBACKEND (in a
    notebook) is not loaded.
    """
    with _environment("MPLBACKEND", "agg"):  # matplotlib reads it at its first import and may refuse it
        import matplotlib
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(RC)
        yield


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    old = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name)
        if old is not None:
            os.environ[name] = old
