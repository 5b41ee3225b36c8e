"""docs/explanation/architecture.md lists the package as it is."""

from __future__ import annotations

import re
from pathlib import Path


def test_the_page_lists_every_module_and_no_other(repository: Path) -> None:
    page = (repository / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
    table = page.split("## Modules\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]*`) \|", table, re.MULTILINE)
    listed = {name for row in rows for name in re.findall("`([^`]+)`", row)}
    package = repository / "dqrun"
    modules = {file.name for file in package.glob("*.py") if not file.name.startswith("__")}
    packages = {f"{folder.parent.name}/" for folder in package.glob("*/__init__.py")}
    assert {name for name in listed if name.count("/") < 2} == modules | packages | {"kernels/"}
    assert all((package / name).exists() for name in listed)
