"""The documentation site builds without a warning, and its pages fetch nothing from a network."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import dqrun
from dqrun.cli.verbs import VERBS
from dqrun.runs.row import TRIAL_COLUMNS

FETCHED = re.compile(r"""<(?:script|img|iframe|source)\b[^>]*?\bsrc="([^"]+)"|<link\b[^>]*?\bhref="([^"]+)\"""")
IMPORTED = re.compile(r"""(?:@import\s+|url\()["']?(https?:[^"')]+|//[^"')]+)""")


@pytest.fixture(scope="module")
def site(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-d", str(folder / "doctrees")]
    built = subprocess.run([*command, str(repository / "docs"), str(folder / "html")], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return folder / "html"


def test_every_page_is_there_and_can_be_searched(site: Path, repository: Path) -> None:
    pages = [file.relative_to(repository / "docs") for file in (repository / "docs").rglob("*.md")]
    assert len(pages) > 30
    assert all((site / page).with_suffix(".html").is_file() for page in pages)
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    assert all(f'"{page.with_suffix("").as_posix()}"' in index for page in pages)


def test_pages_fetch_nothing_from_a_network(site: Path) -> None:
    found = {
        (page.name, address)
        for page in site.rglob("*.html")
        for match in FETCHED.finditer(page.read_text(encoding="utf-8"))
        if (address := match[1] or match[2]).startswith(("http:", "https:", "//"))
    }
    sheets = "\n".join(sheet.read_text(encoding="utf-8") for sheet in site.rglob("*.css"))
    assert not found and not IMPORTED.findall(sheets)
    assert len(FETCHED.findall((site / "index.html").read_text(encoding="utf-8"))) > 3, "the pattern finds local files"


def test_what_the_code_writes_is_complete(site: Path) -> None:
    lines = (site / "reference/command_line.html").read_text(encoding="utf-8")
    assert all(f"dqrun {verb}" in lines for verb in VERBS)
    rows = (site / "reference/rows.html").read_text(encoding="utf-8")
    assert all(f">{column}<" in rows for column in TRIAL_COLUMNS)
    api = (site / "reference/api.html").read_text(encoding="utf-8")
    assert all(f'id="dqrun.{name}"' in api or name == "register" for name in dqrun.__all__)
