"""`Sheet`: a table of texts with some in bold, written for a terminal, Markdown, LaTeX or HTML."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from dqrun.report.text import for_html, for_latex, for_markdown, for_terminal

NOTE_WIDTH = 115
BOLD, PLAIN = "\x1b[1m", "\x1b[0m"


@dataclass(frozen=True)
class Sheet:
    """`lines` of as many texts as `header`; `bold`: (line, column) of the ones that stand out; `notes` below it."""

    header: Sequence[str]
    lines: Sequence[Sequence[str]]
    bold: frozenset[tuple[int, int]] = frozenset()
    title: str = ""
    notes: Sequence[str] = ()


def as_text(sheet: Sheet, color: bool = False) -> str:
    """Left-aligned columns; bold only where `color` says that a terminal will show it."""
    rows = [[for_terminal(text) for text in row] for row in (sheet.header, *sheet.lines)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(sheet.header))]
    text = [for_terminal(sheet.title)] if sheet.title else []
    for number, row in enumerate(rows):
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        if color:
            padded = [f"{BOLD}{c}{PLAIN}" if (number - 1, i) in sheet.bold else c for i, c in enumerate(padded)]
        text.append("  ".join(padded).rstrip())
    return "\n".join([*text, *(textwrap.fill(for_terminal(note), NOTE_WIDTH) for note in sheet.notes)])


def as_markdown(sheet: Sheet) -> str:
    """A GitHub-flavoured table."""

    def escaped(text: str) -> str:
        return for_markdown(text).replace("+-", "±")

    rows = [[escaped(text) for text in sheet.header], ["---"] * len(sheet.header)]
    for number, line in enumerate(sheet.lines):
        texts = map(escaped, line)
        rows.append([f"**{text}**" if (number, i) in sheet.bold else text for i, text in enumerate(texts)])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    parts = [f"**{escaped(sheet.title)}**"] if sheet.title else []
    return "\n\n".join([*parts, table, *map(escaped, sheet.notes)])


def as_latex(sheet: Sheet) -> str:
    """A `tabular` with rules of the booktabs package; title and notes as comments."""

    def escaped(text: str) -> str:
        return for_latex(text).replace("+-", r"$\pm$")

    lines = []
    for number, line in enumerate(sheet.lines):
        texts = map(escaped, line)
        cells = [rf"\textbf{{{text}}}" if (number, i) in sheet.bold else text for i, text in enumerate(texts)]
        lines.append(" & ".join(cells) + r" \\")
    head = " & ".join(map(escaped, sheet.header)) + r" \\"
    comments = [f"% {for_terminal(text)}" for text in (sheet.title, *sheet.notes) if text]
    rules = [rf"\begin{{tabular}}{{{'l' * len(sheet.header)}}}", r"\toprule", head, r"\midrule"]
    return "\n".join([*comments, *rules, *lines, r"\bottomrule", r"\end{tabular}"])


def as_html(sheet: Sheet) -> str:
    """A `table` element with the title as its caption, and a paragraph per note."""

    def escaped(text: str) -> str:
        return for_html(text).replace("+-", "&plusmn;")

    head = "".join(f"<th>{escaped(text)}</th>" for text in sheet.header)
    lines = []
    for number, line in enumerate(sheet.lines):
        texts = [escaped(text) for text in line]
        cells = [f"<b>{text}</b>" if (number, i) in sheet.bold else text for i, text in enumerate(texts)]
        lines.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    caption = f"<caption>{escaped(sheet.title)}</caption>" if sheet.title else ""
    body = "\n".join(lines)
    notes = "".join(f"\n<p>{escaped(note)}</p>" for note in sheet.notes)
    return f"<table>{caption}\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>{notes}"
