"""Draws the table of README.md, as a terminal shows it: `python benchmarks/picture.py` writes docs/images/table.svg."""

from __future__ import annotations

import shlex
import sys
from html import escape
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import pages

FILE = pages.ROOT / "docs" / "images" / "table.svg"
COMMAND = "dqrun compare results/published/citation dataset=Cora quant=fp32,int4 --rows model"
WIDTH, HEIGHT, MARGIN = 7.83, 19, 16
"""Width of a character at 13 px, height of a line, and margin of the text, in pixels."""
NO_BREAK = "\u00a0"  # browsers draw several spaces as one
STYLE = 'font-family="ui-monospace, Menlo, Consolas, DejaVu Sans Mono, monospace" font-size="13"'


def drawn(command: str = COMMAND) -> str:
    """The SVG of a command and its output: dark text on a light ground, for light and dark pages."""
    lines = [f"$ {command}", "", *pages.output(shlex.split(command)).splitlines()]
    width, height = max(map(len, lines)) * WIDTH + 2 * MARGIN, len(lines) * HEIGHT + 2 * MARGIN
    texts = [
        f'<text x="{MARGIN}" y="{MARGIN + HEIGHT * place + 13}" textLength="{len(line) * WIDTH:.0f}" '
        f'fill="{"#57606a" if place == 0 else "#1f2328"}">{escape(line).replace(" ", NO_BREAK)}</text>'
        for place, line in enumerate(lines)
        if line
    ]
    size = f'width="{width:.0f}" height="{height}" viewBox="0 0 {width:.0f} {height}"'
    ground = f'<rect width="{width:.0f}" height="{height}" rx="6" fill="#f6f8fa" stroke="#d0d7de"/>'
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {STYLE}>'
    return "\n".join([opening, ground, *texts, "</svg>", ""])


if __name__ == "__main__":
    FILE.write_text(drawn(), encoding="utf-8")
