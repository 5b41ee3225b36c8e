"""Names and styles of series: a name has the same style in all pictures; styles in one picture differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from dqrun.analysis.cells import Cell
from dqrun.analysis.order import natural, ordered_labels
from dqrun.analysis.text import for_picture

HUES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C564B", "#6A51A3")
"""Okabe and Ito's palette, which people with any colour vision can tell apart, without its black (kept for FP32) and
its yellow (faint on white); a brown and a violet follow."""
REFERENCE = "#000000"
MARKERS = ("o", "^", "D", "v", "P", "X", "s", "*")
LINES = ("-", "--", "-.", ":")
HATCHES = ("", "///", "\\\\\\", "xxx")
"""Straight lines: a hatch of dots takes 150 kB in an SVG file."""
SHADES = (0.0, 0.45, -0.45, 0.7)
"""How far a hue is mixed with white (above 0) or with black (below)."""

METHODS = ("dq", "naive", "noisy", "ptq", "dq_released")
"""Methods whose hue is the same whatever else is in the picture."""

PANELS, LABELS, CELLS = 12, 32, 200
"""The most that a picture shows: panels (or groups of bars), labels (as many as there are colours), and cells."""


@dataclass(frozen=True)
class Look:
    """How a series is drawn in all panels of a picture. `hatch`: of areas, whose colours may be close."""

    color: str
    marker: str = MARKERS[0]
    line: str = LINES[0]
    hatch: str = HATCHES[0]


class Series:
    """The series of a picture in the order of its legend, each with a name and a look of its own.

    FP32 is black. Methods differ in hue and marker, widths in shade, line and hatch; if columns name neither, series
    get hues in their order, then shades. After all colours are used, they are reused with other markers and lines.
    """

    def __init__(self, cells: Sequence[Cell], rows: Sequence[str], columns: Sequence[str]) -> None:
        """Cells with one label and one place are numbered, so that their names differ."""
        self._names = _names(cells, rows, columns)
        place = {label: i for i, label in enumerate(ordered_labels(cells, columns))}
        ordered = sorted(cells, key=lambda cell: (place[cell.label(columns)], natural([self._names[id(cell)]])))
        methods = [*METHODS, *sorted({cell.text("method") for cell in cells} - set(METHODS))]
        self.looks: dict[str, Look] = {}
        for cell in ordered:
            name = self._names[id(cell)]
            if name not in self.looks:
                wish = _wish(cell, columns, methods, len(self.looks))
                self.looks[name] = _free([wish, *_plain()], list(self.looks.values()))
        self._place = {name: i for i, name in enumerate(self.looks)}

    def name(self, cell: Cell) -> str:
        """Its name in the legend."""
        return self._names[id(cell)]

    def look(self, cell: Cell) -> Look:
        """How it is drawn."""
        return self.looks[self.name(cell)]

    def sorted(self, cells: Sequence[Cell]) -> list[Cell]:
        """Cells in the order of the legend."""
        return sorted(cells, key=lambda cell: self._place[self.name(cell)])


def selected(
    cells: Sequence[Cell], rows: Sequence[str], columns: Sequence[str], most: int = CELLS
) -> tuple[list[Cell], list[str]]:
    """As many cells as a picture has room for: the first labels in each of the first panels, in the order of tables.

    Also a warning if cells are left out.
    """
    groups: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells:
        groups.setdefault(tuple(cell.text(name) for name in rows), []).append(cell)
    shown = sorted(groups, key=natural)[:PANELS]
    each = min(LABELS, max(1, most // len(shown)))
    place = {label: i for i, label in enumerate(ordered_labels(cells, columns))}
    kept = {
        id(cell)
        for group in shown
        for cell in sorted(groups[group], key=lambda cell: place[cell.label(columns)])[:each]
    }
    warning = (
        f"{len(kept)} of {len(cells)} configurations are in the picture; conditions such as model=gcn choose others"
    )
    return [cell for cell in cells if id(cell) in kept], [warning] if len(kept) < len(cells) else []


def _names(cells: Sequence[Cell], rows: Sequence[str], columns: Sequence[str]) -> dict[int, str]:
    """By `id` of the cell: its label, with a number where some place holds several cells of it."""
    places: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells:
        places.setdefault((cell.label(columns), cell.metric, *(cell.text(name) for name in rows)), []).append(cell)
    several = {label for (label, *_), here in places.items() if len(here) > 1}
    return {
        id(cell): for_picture(label or "all") + (f" ({i + 1})" if label in several else "")
        for (label, *_), here in places.items()
        for i, cell in enumerate(here)
    }


def _wish(cell: Cell, columns: Sequence[str], methods: Sequence[str], place: int) -> Look:
    if "quant" in columns and cell.text("quant") == "fp32":
        return Look(REFERENCE, "s")
    if "quant" in columns and "method" in columns:
        return _look(methods.index(cell.text("method")), _shade_of(cell.runs[0].row.get("weight_bits")))
    return _look(place, place // len(HUES))


def _shade_of(bits: int | None) -> int:
    """8 bits and more: the hue itself; 4: light; between them: dark; fewer: pale."""
    width = bits or 32
    return 0 if width >= 8 else 2 if width > 4 else 1 if width == 4 else 3


def _look(hue: int, shade: int) -> Look:
    """Indices beyond the end of a list start again at its beginning."""
    color = mixed(HUES[hue % len(HUES)], SHADES[shade % len(SHADES)])
    return Look(color, MARKERS[hue % len(MARKERS)], LINES[shade % len(LINES)], HATCHES[shade % len(HATCHES)])


def _plain() -> list[Look]:
    """Each colour once."""
    return [_look(hue, shade) for shade, hue in product(range(len(SHADES)), range(len(HUES)))]


def _free(wishes: Sequence[Look], taken: Sequence[Look]) -> Look:
    """The first look whose colour is not used yet; if all are, the first unused look."""
    colors = {look.color for look in taken}
    for look in wishes:
        if look.color not in colors:
            return look
    others = product(MARKERS, zip(LINES, HATCHES, strict=True), _plain())
    looks = (Look(plain.color, marker, *lines) for marker, lines, plain in others)
    return next(look for look in looks if look not in taken)


def mixed(color: str, amount: float) -> str:
    """A colour moved towards white (amount 0 to 1) or black (0 to -1)."""
    channels = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    end = 255 if amount > 0 else 0
    return "#" + "".join(f"{round(channel + (end - channel) * abs(amount)):02X}" for channel in channels)
