"""Warnings on unequal cells in a line of a table (trials, epochs, protocol), and on cells in one place of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from dqrun.analysis.cells import Cell
from dqrun.analysis.rows import Run, config_of
from dqrun.analysis.significance import BUDGET
from dqrun.analysis.study import flat
from dqrun.analysis.text import text_of
from dqrun.errors import DataError
from dqrun.runs.protocol import INCIDENTAL, INCIDENTAL_PROTOCOL, canonical

GROUPS = ("dataset", "model", "quant", "method", "plan", "protocol")
"""Columns of the rows that name a choice which sets many fields; the fields begin with the same word."""

MOST = 5
"""Fields, values or cells that one warning names."""

MANY = 12
"""Cells whose configurations are read in full to tell in what they differ."""

PROTOCOL = ("protocol.name", "protocol.num_folds", "protocol.split_seed")


def unequal(group: str, cells: Sequence[Cell], columns: Sequence[str]) -> list[str]:
    """Warnings if cells of one line of a table differ in trials, budget of epochs or protocol.

    `group` names the line; `columns` are the fields that name a cell in it.
    """
    warnings = []
    names = [cell.label(columns) or "all" for cell in cells]
    counts = [len(cell.done) for cell in cells]
    if len(set(counts)) > 1:
        warnings.append(f"{group}: trials differ: {_listed(names, counts)}")
    elif len({frozenset(cell.done) for cell in cells}) > 1:
        warnings.append(f"{group}: seeds or folds differ")
    for fields, what in (((BUDGET,), "epochs"), (PROTOCOL, "protocols")):
        values = [" ".join(text_of(cell.runs[0].value(name)) for name in fields) for cell in cells]
        if len(set(values)) > 1:
            warnings.append(f"{group}: {what} differ ({', '.join(fields)}): {_listed(names, values)}")
    return warnings


def without_config(cells: Sequence[Cell]) -> list[str]:
    """A warning on cells whose config.yaml is missing: their epochs and protocol cannot be compared."""
    paths = [cell.runs[0].configuration.path for cell in cells if cell.runs[0].config is None]
    if not paths:
        return []
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return [f"{paths[0]}{more} can't be read: epochs and protocol of these trials are not compared"]


def incomplete(cells: Sequence[Cell]) -> list[str]:
    """Warnings on cells whose mean leaves out finished trials, which lack a value."""
    return [
        f"{cell.label(('dataset', 'model', 'quant', 'method'))}: {len(cell.values())} of {len(cell.done)} trials have "
        f"{cell.field}"
        for cell in cells
        if 0 < len(cell.values()) < len(cell.done)
    ]


def sharing(place: str, cells: Sequence[Cell]) -> str:
    """A note with the configuration fields in which cells in one place of a table differ."""
    found = distinguishing(cells)
    named = [f"{name} ({_some([text_of(value) or '(none)' for value in values])})" for name, values in found.items()]
    by = f": they differ in {_some(named)}" if named else ""
    return f"{place}: {len(cells)} configurations, a line each{by}"


def distinguishing(cells: Sequence[Cell]) -> dict[str, list[Any]]:
    """As `differing`, but with few fields.

    Cells with different options of a group (`plan=paper`, `plan=integer`) differ in the option's name only, not in each
    field that follows from it. Data with the same name and different content differ in `data_fingerprint`.
    """
    found = differing(cells)
    short: dict[str, list[Any]] = {}
    for group in GROUPS:
        names = [cell.text(group) for cell in cells]
        if len(set(names)) > 1:
            short[group] = names
    contents = [cell.text("data_fingerprint")[:8] for cell in cells]
    if all(contents) and len(set(contents)) > 1:
        short["data_fingerprint"] = contents
    return short | {name: values for name, values in found.items() if name.partition(".")[0] not in short}


def differing(cells: Sequence[Cell]) -> dict[str, list[Any]]:
    """Dotted fields in which the configurations of cells differ, except those without effect on their results.

    Each with its value in every cell, None without a value. To determine whether a setting has an effect takes long:
    for more than MANY cells, only cells with the first two values of a field are examined.
    """
    written = _unequal([flat(cell.runs[0].config or {}) for cell in cells])
    if len(cells) <= MANY:
        return _unequal([flat(_effective(cell.runs[0])) for cell in cells]) if written else {}
    chosen: dict[int, None] = {}
    for values in written.values():
        texts = list(map(repr, values))
        chosen |= dict.fromkeys((0, next(i for i, text in enumerate(texts) if text != texts[0])))
    effective = differing([cells[i] for i in list(chosen)[:MANY]])
    return {name: values for name, values in written.items() if name in effective}


def _unequal(trees: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for tree in trees for name in tree)
    values = {name: [tree.get(name) for tree in trees] for name in names if not _incidental(name)}
    return {name: found for name, found in values.items() if len({repr(value) for value in found}) > 1}


def _effective(run: Run) -> dict[str, Any]:
    """The run's configuration without settings that have no effect; unchanged where another version wrote it."""
    try:
        return asdict(canonical(config_of(run)))
    except DataError:
        return run.config or {}


def _incidental(name: str) -> bool:
    """Whether a dotted field has no effect on a result."""
    first, _, rest = name.partition(".")
    return first in INCIDENTAL or (first == "protocol" and rest in INCIDENTAL_PROTOCOL)


def _listed(names: Sequence[str], values: Sequence[object]) -> str:
    return _some([f"{name} {value}" for name, value in zip(names, values, strict=True)])


def _some(texts: Sequence[str]) -> str:
    """`int4 dq 10, int8 dq 9 and 2 more`; equal texts are given once."""
    each = list(dict.fromkeys(texts))
    return ", ".join(each[:MOST]) + (f" and {len(each) - MOST} more" if len(each) > MOST else "")
