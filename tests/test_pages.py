"""Tables in pages are what their commands print now."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from dqrun.analysis.cells import make_cells
from dqrun.analysis.published import matches
from dqrun.analysis.rows import load_runs
from dqrun.analysis.study import flat
from dqrun.errors import ConfigError, DqrunError

COMMAND = "dqrun compare results/published/citation dataset=Cora method=dq model=gcn"


@pytest.fixture
def pages(repository: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    import pages

    return pages


def test_every_block_is_what_its_command_prints(pages, repository: Path) -> None:
    files = [repository / "README.md", *sorted((repository / "docs").rglob("*.md"))]
    texts = {file.relative_to(repository).as_posix(): file.read_text(encoding="utf-8") for file in files}
    assert {name for name, text in texts.items() if pages.OPENING in text} >= {
        "docs/explanation/degree_quant.md",
        "docs/measurements/reproduction.md",
    }
    for name, text in texts.items():
        assert pages.filled(text) == text, f"run `python benchmarks/pages.py {name}`"


def test_the_picture_of_the_readme_is_what_its_command_prints(pages, repository: Path) -> None:
    import picture

    assert picture.drawn() == picture.FILE.read_text(encoding="utf-8"), "run `python benchmarks/picture.py`"
    assert f"({picture.FILE.relative_to(repository).as_posix()})" in (repository / "README.md").read_text(
        encoding="utf-8"
    )


@pytest.mark.parametrize(
    ("option", "fence"), [("", "```\ndataset  model"), (" --format markdown", "| dataset | model")]
)
def test_what_is_between_the_lines_is_replaced(pages, option: str, fence: str) -> None:
    page = f"# A\n\n<!-- $ {COMMAND}{option} -->\nold\n<!-- end -->\n\n<!-- other -->\n\n<!-- end -->\n"
    made = pages.filled(page)
    assert f"{option} -->\n\n{fence}" in made and "81." in made and "old" not in made
    assert made.endswith("\n\n<!-- other -->\n\n<!-- end -->\n")
    assert pages.filled(made) == made


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("rm -r results", "must be dqrun compare or leaderboard"),
        ("dqrun quant=int4", "must be dqrun compare or leaderboard"),
        (f"{COMMAND} -o table.md", "must write no file"),
        (f"{COMMAND} --metric name", "--metric must name columns"),
        ("dqrun compare results/published/nowhere", r"it has no folder runs/ and no configs\.yaml"),
    ],
)
def test_only_comparisons_that_can_be_made(pages, command: str, message: str) -> None:
    with pytest.raises(DqrunError, match=message):
        pages.filled(f"<!-- $ {command} -->\n<!-- end -->\n")


def test_a_block_has_an_end(pages) -> None:
    with pytest.raises(ConfigError, match=r"2 blocks begin with .*, and 1 of them have an end"):
        pages.filled(f"<!-- $ {COMMAND} -->\n\n<!-- $ {COMMAND} -->\n<!-- end -->\n")


def test_the_script_writes_the_page(pages, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "page.md"
    file.write_text(f"<!-- $ {COMMAND} -->\n<!-- end -->\n")
    assert pages.main([str(file)]) == 0 and "1 blocks, written" in capsys.readouterr().out
    assert pages.main([str(file)]) == 0 and "1 blocks, unchanged" in capsys.readouterr().out
    file.write_text("<!-- $ ls -->\n<!-- end -->\n")
    assert pages.main([str(file)]) == 2 and "must be dqrun compare or leaderboard" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("study", "command"),
    [
        ("citation", "dqrun compare results/published/citation --published"),
        ("reddit_binary", "dqrun compare results/published/reddit_binary plan.fp32=[] --published"),
    ],
)
def test_numbers_in_the_page_are_those_of_the_rows(repository: Path, study: str, command: str) -> None:
    """Means, deviations and counts, computed by pandas from trials.csv and not by `dqrun compare`."""
    trials = pd.read_csv(repository / "results" / "published" / study / "trials.csv", keep_default_na=False)
    if "plan.fp32" in trials:
        trials = trials[trials["plan.fp32"] == "[]"]
    cells = trials.astype({"test_metric": float}).groupby(["dataset", "model", "quant", "method"])["test_metric"]
    wanted = {key: (100 * values.mean(), 100 * values.std(), len(values)) for key, values in cells}
    page = (repository / "docs" / "measurements" / "reproduction.md").read_text(encoding="utf-8")
    block = page.partition(f"<!-- $ {command} --spread both --format markdown -->\n\n")[2]
    header, _, *lines = block.partition("\n\n")[0].splitlines()
    columns = [name.strip() for name in header.strip("|").split("|")][3:]
    found = {}
    for line in lines:
        dataset, model, metric, *texts = (cell.strip() for cell in line.strip("|").split("|"))
        assert metric == "accuracy"
        for column, text in zip(columns, texts, strict=True):
            quant, _, method = column.partition(" ")
            mean, std, count = re.fullmatch(r"\**(\d+\.\d+) % ± (\d+\.\d+), CI .* \((\d+)\)\**", text).groups()
            found[dataset, model, quant, method or "none"] = (float(mean), float(std), int(count))
    assert found == {key: pytest.approx(values, abs=0.0051) for key, values in wanted.items()}


def test_what_agrees_with_the_paper(repository: Path) -> None:
    """Cells whose mean is a published deviation or more away from the paper's: docs/measurements/reproduction.md."""
    runs, _ = load_runs([repository / "results" / "published" / "citation"])
    of_paper = [match for match in matches(make_cells(runs, [])) if match.published.source.startswith("DQ (ICLR2021)")]
    assert len(of_paper) == 17 and {match.published.mark for match in of_paper} == {"recalled"}
    apart = {
        match.cell.label(("dataset", "model", "quant")): match.difference / match.published.std for match in of_paper
    }
    assert {name: round(value, 1) for name, value in apart.items() if abs(value) > 1} == {
        "CiteSeer gin fp32": 1.6,
        "Cora gcn int4": 1.0,
        "Cora gat int4": 2.2,
        "CiteSeer gin int4": 2.6,
    }


def test_post_training_quantisation_has_the_settings_of_its_baseline(repository: Path) -> None:
    runs, _ = load_runs([repository / "results" / "published" / "citation"])
    settings = {}
    for cell in make_cells(runs, []):
        if cell.text("method") in ("none", "ptq"):
            tree = cell.runs[0].config or {}
            settings[cell.label(("dataset", "model", "quant"))] = flat({"model": tree["model"], "train": tree["train"]})
    others = {name for name, own in settings.items() if own != settings[f"{name.rpartition(' ')[0]} fp32"]}
    assert others == {"CiteSeer gat int4"}
    assert settings["CiteSeer gat int4"]["train.weight_decay"] == 5e-4
    assert settings["CiteSeer gat fp32"]["train.weight_decay"] == 2e-3
