"""`Sheet`: a table of texts with some in bold, written as text or by the templates of `analysis/templates/`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from dqrun.analysis.text import for_latex, for_markdown, for_terminal

if TYPE_CHECKING:
    from jinja2 import Template

NOTE_WIDTH = 115
BOLD, PLAIN = "\x1b[1m", "\x1b[0m"
TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True)
class Sheet:
    """`lines` of as many texts as `header`; `bold`: (line, column) of the texts in bold; `notes` below it."""

    header: Sequence[str]
    lines: Sequence[Sequence[str]]
    bold: frozenset[tuple[int, int]] = frozenset()
    title: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def cells(self) -> list[list[tuple[str, bool]]]:
        """Each text of each line, and whether it is bold."""
        return [[(text, (i, j) in self.bold) for j, text in enumerate(line)] for i, line in enumerate(self.lines)]


def as_text(sheet: Sheet, color: bool = False) -> str:
    """Left-aligned columns; bold only with `color`, for terminals."""
    rows = [[for_terminal(text) for text in row] for row in (sheet.header, *sheet.lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    text = [for_terminal(sheet.title)] if sheet.title else []
    for number, row in enumerate(rows):
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        if color:
            padded = [f"{BOLD}{c}{PLAIN}" if (number - 1, i) in sheet.bold else c for i, c in enumerate(padded)]
        text.append("  ".join(padded).rstrip())
    return "\n".join([*text, *wrapped(sheet.notes)])


def wrapped(notes: Iterable[str]) -> list[str]:
    """Notes as lines of a terminal."""
    return [textwrap.fill(for_terminal(note), NOTE_WIDTH) for note in notes]


def as_markdown(sheets: Sequence[Sheet], warnings: Sequence[str] = ()) -> str:
    """GitHub-flavoured tables, and a list of warnings."""
    return str(template("tables.md").render(sheets=sheets, warnings=warnings)).strip("\n")


def as_latex(sheets: Sequence[Sheet], warnings: Sequence[str] = ()) -> str:
    """`tabular`s with rules of the booktabs package; titles, notes and warnings as comments."""
    return str(template("tables.tex").render(sheets=sheets, warnings=warnings)).strip("\n")


@cache
def template(name: str) -> Template:
    """A template; whatever it inserts is escaped for its language."""
    import jinja2

    marks = ("{%", "%}", "{{", "}}") if name.endswith(".html") else ("<%", "%>", "<<", ">>")
    return jinja2.Environment(
        *marks,
        loader=jinja2.FileSystemLoader(TEMPLATES),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        autoescape=name.endswith(".html"),
        finalize={".html": _for_page, ".md": _for_markdown, ".tex": _for_latex}[Path(name).suffix],
    ).get_template(name)


def _for_page(value: object) -> object:
    """Plain text without control characters, which jinja2 escapes; what is HTML already stays."""
    return for_terminal(value).replace("+-", "±") if type(value) is str else value


def _for_markdown(value: object) -> str:
    return for_markdown(str(value)).replace("+-", "±")


def _for_latex(value: object) -> str:
    return for_latex(str(value)).replace("+-", r"$\pm$")
