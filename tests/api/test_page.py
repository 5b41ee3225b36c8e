"""The code on docs/howto/python.md and docs/howto/pandas.md runs, from top to bottom."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import dqrun


def test_the_code_of_the_page_runs(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (repository / "docs" / "howto" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 8
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for place, block in enumerate(blocks):
        exec(compile(block, f"docs/howto/python.md, block {place + 1}", "exec"), names)
    assert (names["rows"]["status"] == "done").all() and len(names["rows"]) == 4
    assert torch.isfinite(names["logits"]).all() and (tmp_path / "gcn.dqp").is_file()


def test_the_code_of_the_page_on_pandas_runs(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (repository / "docs" / "howto" / "pandas.md").read_text(encoding="utf-8")
    (tmp_path / "results" / "runs" / "one").mkdir(parents=True)
    (tmp_path / "results" / "runs" / "one" / "history.csv").write_text("epoch,val_metric\n1,0.5\n2,0.75\n")
    (tmp_path / "results" / "published").symlink_to(repository / "results" / "published")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        exec(compile(block, "docs/howto/pandas.md", "exec"), names)
    assert set(names["cells"]["trials"]) == {30} and names["table"].shape[0] == 3
    assert names["difference"].mean() > 0.05 and "one 0.75" in capsys.readouterr().out


def test_the_page_lists_every_name(repository: Path) -> None:
    page = (repository / "docs" / "howto" / "python.md").read_text(encoding="utf-8")
    assert all(f"`dqrun.{name}`" in page or f"`{name}`" in page for name in dqrun.__all__)
