"""A page for each study of results/published: its README.md, included. The pages are written before a build reads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx


def write_pages(app: Sphinx) -> None:
    """Writes measurements/studies/NAME.md for each study, and removes the pages of studies that are gone."""
    source = Path(app.srcdir)
    folder = source / "measurements" / "studies"
    folder.mkdir(exist_ok=True)
    texts = {file.parent.name: _page(file, folder) for file in source.parent.glob("results/published/*/README.md")}
    for page in folder.glob("*.md"):
        if page.stem not in texts:
            page.unlink()
    for name, text in texts.items():
        page = folder / f"{name}.md"
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


def _page(readme: Path, folder: Path) -> str:
    path = Path(os.path.relpath(readme, folder)).as_posix()
    return f"```{{include}} {path}\n:relative-images:\n```\n"


def setup(app: Sphinx) -> dict[str, Any]:
    """Connects the writing of pages with the beginning of a build."""
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True}
