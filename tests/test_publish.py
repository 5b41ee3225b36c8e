"""Published folders: what is copied, merged and refused, and that those of the repository are complete."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from dqrun.compose import load_configs
from dqrun.outcome import write_config
from dqrun.protocol import cell_hash, run_id, trial_hash, trials
from dqrun.row import Row, write_row

COMMAND = "dqrun -m model=gin quant=fp32,int4 method=dq protocol.trials=2 threads=1"
Write = Callable[..., Path]


@pytest.fixture
def publish(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The script, with `published/` in a temporary folder that has a command.sh."""
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    import pages
    import publish

    monkeypatch.setattr(pages, "ROOT", tmp_path)
    monkeypatch.setattr(publish, "PUBLISHED", tmp_path / "results" / "published")
    (publish.PUBLISHED / "some").mkdir(parents=True)
    broken = COMMAND.replace(" method", " \\\n  method")
    (publish.PUBLISHED / "some" / "command.sh").write_text(f"#!/bin/sh\n{broken}\n")
    return publish


@pytest.fixture
def write(tmp_path: Path, row: Row) -> Write:
    """Writes a trial as a run would have left it in a working folder."""

    def write(words: str = "quant=int4", into: str = "work", index: int = 0, **fields: Any) -> Path:
        (config,) = load_configs([*words.split(), "method=dq", f"results.dir={tmp_path / into}", "data.root=/data/a/b"])
        trial = trials(config.protocol)[index]
        hashes = {"config_hash": trial_hash(config, trial), "cell_hash": cell_hash(config)}
        name = run_id(config, trial)
        folder = tmp_path / into / "runs" / name
        folder.mkdir(parents=True)
        write_config(folder / "config.yaml", config)
        (folder / "history.csv").write_text("epoch\n1\n")
        quant = {"quant": config.quant.label, "weight_bits": config.quant.weight_bits}
        write_row(folder, replace(row, **({"run_id": name, "seed": trial.seed} | hashes | quant | fields)))
        return folder

    return write


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_rows_and_configurations_are_published(publish, write: Write, tmp_path: Path) -> None:
    trial = write(test_metric_integer=0.7, integer_agreement=1.0)
    write(index=1, into="other")
    assert publish.main([str(tmp_path / "work"), str(tmp_path / "other"), "some", "--made-here"]) == 0
    folder = publish.PUBLISHED / "some"
    made = bytes_of(folder)
    assert len([name for name in made if name.startswith("runs/")]) == 4
    row = json.loads(made[f"runs/{trial.name}/row.json"])
    assert row == json.loads((trial / "row.json").read_bytes()) | {"processor": row["processor"]}
    config = yaml.safe_load(made[f"runs/{trial.name}/config.yaml"])
    assert config["results"]["dir"] == "results" and config["data"]["root"] is None
    assert len(pd.read_csv(folder / "trials.csv")) == 2 and len(pd.read_csv(folder / "summary.csv")) == 1
    assert {name for name in made if "/" not in name} == {
        *("README.md", "bars.svg", "command.sh", "summary.csv", "trials.csv")
    }
    assert not any(str(tmp_path).encode() in text for text in made.values())


def test_again_changes_nothing(publish, write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write()
    assert publish.main([str(tmp_path / "work"), "some"]) == 0
    before = bytes_of(publish.PUBLISHED)
    for sources in ([str(tmp_path / "work")], []):
        assert publish.main([*sources, "some"]) == 0
        assert bytes_of(publish.PUBLISHED) == before
    assert "0 trials written" in capsys.readouterr().out


def test_the_readme_says_commands_machine_and_tables(publish, write: Write, tmp_path: Path) -> None:
    write(test_metric_integer=0.65, processor="A CPU")
    write(index=1, status="failed", test_metric=None, reason="loss is nan", log="runs/x/log.txt")
    write("quant=fp32", git_revision="abc")
    assert publish.main([str(tmp_path / "work"), "some"]) == 0
    page = (publish.PUBLISHED / "some" / "README.md").read_text(encoding="utf-8")
    assert "3 trials of 2 configurations, 1 of them failed" in page
    assert "```bash\ndqrun -m model=gin quant=fp32,int4 \\\n  method=dq" in page
    assert (
        "| processor | A CPU (1), not recorded (2) |" in page or "| processor | not recorded (2), A CPU (1) |" in page
    )
    assert "| accuracy (test_metric_integer) |" in page and "| seconds |" in page and "(bars.svg)" in page


def test_configurations_that_share_a_place_are_told_apart(publish, write: Write, tmp_path: Path) -> None:
    (publish.PUBLISHED / "some" / "command.sh").write_text("dqrun -m quant=int4 method.estimator=ste,clipped\n")
    for estimator in ("ste", "clipped"):
        write(f"quant=int4 method.estimator={estimator}", estimator=estimator)
    assert publish.main([str(tmp_path / "work"), "some"]) == 0
    page = (publish.PUBLISHED / "some" / "README.md").read_text(encoding="utf-8")
    assert "--rows dataset,model,method.estimator" in page and "| threads | gin | ste | accuracy |" in page


def test_a_result_replaces_a_failure_and_one_with_integers_one_without(publish, write: Write, tmp_path: Path) -> None:
    failed = {"status": "failed", "test_metric": None}
    name = write(into="a", **failed).name
    write(into="b")
    write(into="c", test_metric_integer=0.6, seconds=2.0)
    for source, expected in (("a", None), ("b", None), ("a", None), ("c", 0.6), ("b", 0.6)):
        assert publish.main([str(tmp_path / source), "some"]) == 0
        row = json.loads((publish.PUBLISHED / "some" / "runs" / name / "row.json").read_bytes())
        assert row["test_metric_integer"] == expected
    assert row["status"] == "done"


def test_what_is_refused_leaves_the_folder_as_it_is(
    publish, write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = write(into="a").name
    assert publish.main([str(tmp_path / "a"), "some"]) == 0
    before = bytes_of(publish.PUBLISHED)
    write(into="b", test_metric=0.71)
    write("quant=int8", into="c")
    write(into="d")
    (write(into="d", index=1) / "row.json").write_text("{}")
    write(into="e", index=1, reason="no file /home/me/a")
    wanted = {
        "b": f"trial {name} has conflicting results: test_metric is 0.7 in",
        "c": "command.sh must make every published trial; 1 are not among its 4, the first, got 'threads-gin-int8",
        "d": "is damaged",
        "e": "row.json names a path of its machine: /home/me",
    }
    for source, message in wanted.items():
        assert publish.main([str(tmp_path / source), "some"]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    assert bytes_of(publish.PUBLISHED) == before
    (publish.PUBLISHED / "some" / "command.sh").unlink()
    assert publish.main([str(tmp_path / "a"), "some"]) == 2
    assert "must hold the commands that make the trials" in capsys.readouterr().err


def test_published_folders_are_complete(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    import published_readme

    folders = sorted(path for path in (repository / "results" / "published").iterdir() if path.is_dir())
    assert folders
    for folder in folders:
        assert not {path.name for path in folder.iterdir()} - {
            *("README.md", "bars.svg", "command.sh", "runs", "summary.csv", "trials.csv")
        }
        page = (folder / "README.md").read_text(encoding="utf-8")
        assert published_readme.render(folder) == page, f"run `python benchmarks/publish.py {folder.name}`"
        assert len((folder / "trials.csv").read_text().splitlines()) == 1 + len(list((folder / "runs").iterdir()))


def test_without_matplotlib_there_is_no_picture(
    publish, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("dqrun.report.plots.style.find_spec", lambda name: None)
    write()
    assert publish.main([str(tmp_path / "work"), "some"]) == 0
    assert "pictures need matplotlib" in capsys.readouterr().err
    folder = publish.PUBLISHED / "some"
    assert not (folder / "bars.svg").exists() and "bars.svg" not in (folder / "README.md").read_text(encoding="utf-8")
