"""The order of cells in tables and pictures: one rule for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dqrun.analysis.cells import Cell

Key = tuple[tuple[int, float, str], ...]


def natural(texts: Iterable[str]) -> Key:
    """Sorts texts field by field: numbers by value (9 before 10) and before words, words by letters, '' first."""
    return tuple(_key(text) for text in texts)


def _key(text: str) -> tuple[int, float, str]:
    try:
        return 0, float(text), text
    except ValueError:
        return 1, 0.0, text.casefold()


def ordered_labels(cells: Sequence[Cell], columns: Sequence[str]) -> list[str]:
    """Labels of the cells, each once: FP32 first, then wide before narrow, methods of one width side by side."""

    def key(cell: Cell) -> Key:
        return tuple(part for name in columns for part in _field(cell, name))

    return list(dict.fromkeys(cell.label(columns) for cell in sorted(cells, key=key)))


def _field(cell: Cell, name: str) -> Key:
    if name != "quant":
        return natural([cell.text(name)])
    row = cell.runs[0].row
    widths = (row.get("weight_bits") or 32, row.get("activation_bits") or 32)
    return (*((0, -float(width), "") for width in widths), *natural([cell.text(name)]))
