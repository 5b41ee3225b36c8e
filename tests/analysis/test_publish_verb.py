"""`dqrun publish`: what is merged and refused, and that the studies of the repository are complete."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from dqrun.analysis import study_page
from dqrun.analysis.merge import is_dirty
from dqrun.analysis.publish import runs_in
from dqrun.analysis.rows import Run, config_of, load_runs
from dqrun.cli import main
from dqrun.composition.compose import load_configs
from dqrun.data.fingerprint import fingerprint
from dqrun.runs.outcome import write_config
from dqrun.runs.protocol import Trial, cell_hash, run_id, trial_hash, trials
from dqrun.runs.row import HYPERPARAMETERS, Row, hyperparameters, read_row, write_row

COMMAND = "dqrun -m model=gin quant=fp32,int4 method=dq protocol.trials=2 threads=1 -q"
FILES = {"README.md", "bars.svg", "command.sh", "configs.yaml", "trials.csv"}
Write = Callable[..., Path]


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new study's folder, with the commands in a file beside it; pictures are not drawn."""
    monkeypatch.setattr("dqrun.analysis.plots.style.find_spec", lambda name: None)
    broken = COMMAND.replace(" method", " \\\n  method")
    (tmp_path / "commands").write_text(f"#!/bin/sh\n{broken}\n")
    return tmp_path / "study"


@pytest.fixture
def write(tmp_path: Path, row: Row) -> Write:
    """Writes a trial as a run would have left it in a working folder."""

    def write(words: str = "quant=int4", into: str = "work", index: int = 0, **fields: Any) -> Path:
        (config,) = load_configs([*words.split(), "method=dq", f"results.dir={tmp_path / into}", "data.root=/data/a/b"])
        trial = trials(config.protocol)[0]
        trial = Trial(trial.seed + index, trial.fold)
        mark = fingerprint(config.dataset)
        hashes = {"config_hash": trial_hash(config, trial, mark), "cell_hash": cell_hash(config, mark)}
        name = run_id(config, trial, mark)
        folder = tmp_path / into / "runs" / name
        folder.mkdir(parents=True)
        write_config(folder / "config.yaml", config)
        quant = {"quant": config.quant.label, "weight_bits": config.quant.weight_bits}
        named = {"run_id": name, "seed": trial.seed} | hashes | quant | hyperparameters(config) | fields
        write_row(folder, replace(row, **named))
        return folder

    return write


def publish(study: Path, *sources: str) -> int:
    beside = study.parent
    words = [] if (study / "command.sh").exists() else ["--commands", str(beside / "commands")]
    return main(["publish", *(str(beside / source) for source in sources), "-o", str(study), *words])


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_rows_and_configurations_are_published(
    study: Path, write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(test_metric_integer=0.7, integer_agreement=1.0)
    write(index=1, into="other", status="failed", test_metric=None, reason="loss is nan", log="runs/x/log.txt")
    assert publish(study, "work", "other") == 0
    assert capsys.readouterr().out == f"{study}: 2 new, 0 replaced, 0 there before\n"
    assert set(bytes_of(study)) == FILES - {"bars.svg"}
    runs, _ = load_runs([study])
    originals, _ = load_runs([tmp_path / "work", tmp_path / "other"])
    assert [run.row for run in runs] == [{**run.row, "log": ""} for run in originals]
    assert cell_hash(config_of(runs[0])) == runs[0].row["cell_hash"]
    assert not any(str(tmp_path).encode() in text or b"/data" in text for text in bytes_of(study).values())


def test_again_changes_nothing(study: Path, write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    write()
    assert publish(study, "work") == 0
    before = bytes_of(study)
    for sources in (["work"], [], ["study"]):
        assert publish(study, *sources) == 0
        assert bytes_of(study) == before
    assert "0 new, 0 replaced, 1 there before" in capsys.readouterr().out


def test_filters_choose_what_is_published(study: Path, write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    write()
    write(index=1)
    write("quant=int8")  # which no command makes
    words = [str(study.parent / "work"), "quant=int4", "seed<1", "--commands", str(study.parent / "commands")]
    assert main(["publish", *words, "-o", str(study)]) == 0
    assert [run.row["seed"] for run in runs_in(study)] == [0]
    assert main(["publish", str(study.parent / "work"), "quant=int2", "-o", str(study)]) == 2
    assert "no trial has quant=int2" in capsys.readouterr().err


def test_the_readme_says_commands_machine_and_tables(study: Path, write: Write) -> None:
    write(test_metric_integer=0.65, processor="A CPU")
    write(index=1, status="failed", test_metric=None, reason="loss is nan")
    write("quant=fp32", git_revision="abc")
    assert publish(study, "work") == 0
    page = (study / "README.md").read_text(encoding="utf-8")
    assert "3 trials of 2 configurations, 1 of them failed" in page
    assert "```bash\ndqrun -m model=gin quant=fp32,int4 \\\n  method=dq" in page
    assert "| processor | A CPU (1), not recorded (2) |" in page or "| not recorded (2), A CPU (1) |" in page
    assert "| accuracy (test_metric_integer) |" in page and "| seconds |" in page and "dqrun compare . --metric" in page
    assert "bars.svg" not in page


def test_a_tag_stands_beside_every_number_of_the_study(
    study: Path, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tags="mine")
    assert publish(study, "work") == 0
    write(index=1)
    again = ["publish", str(study.parent / "work"), "-o", str(study)]
    assert main([*again, "--tag", "rebuilt,part"]) == 0
    assert [run.row["tags"] for run in runs_in(study)] == ["mine rebuilt part", "rebuilt part"]
    assert main(again) == 0  # the tags stay
    assert {run.row["tags"] for run in runs_in(study)} == {"mine rebuilt part", "rebuilt part"}
    page = (study / "README.md").read_text(encoding="utf-8")
    assert "--rows dataset,model,tags" in page and "rebuilt part" in page
    capsys.readouterr()
    assert main([*again, "--tag", "two words"]) == 2
    assert "--tag must be words of letters" in capsys.readouterr().err


def test_configurations_that_share_a_place_are_told_apart(study: Path, write: Write, tmp_path: Path) -> None:
    (tmp_path / "commands").write_text("dqrun -m quant=int4 method.estimator=ste,clipped\n")
    for estimator in ("ste", "clipped"):
        write(f"quant=int4 method.estimator={estimator}", estimator=estimator)
    assert publish(study, "work") == 0
    page = (study / "README.md").read_text(encoding="utf-8")
    assert "--rows dataset,model,method.estimator" in page and "| threads | gin | ste | accuracy |" in page


def test_the_picture_is_drawn(study: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[list[str]] = []
    monkeypatch.setattr("dqrun.analysis.plot.main", lambda words: drawn.append(words) or Path(words[-1]).touch())
    write()
    assert publish(study, "work") == 0
    assert drawn == [["bars", str(study), "-o", str(study / "bars.svg")]]
    assert "![Means, intervals and trials](bars.svg)" in (study / "README.md").read_text(encoding="utf-8")


def test_what_is_refused_leaves_the_study_as_it_is(
    study: Path, write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = write(into="a").name
    assert publish(study, "a") == 0
    before = bytes_of(study)
    write(into="conflict", test_metric=0.71)
    write("quant=int8", into="not-made")
    (write(into="damaged", index=1) / "row.json").write_text("{}")
    write(into="path", index=1, reason="no file /home/me/a")
    write(into="dirty", index=1, git_revision="abc+")
    (write(into="foreign", index=1) / "config.yaml").write_text("model: {nothing: 1}")
    changed = write(into="changed", index=1) / "config.yaml"
    changed.write_text(changed.read_text().replace("hidden: ", "hidden: 1"))
    capsys.readouterr()
    wanted = {
        "conflict": f"trial {name} has conflicting results: test_metric is 0.7 in",
        "not-made": "its lines make 4 trials, and 1 others are published, the first of them, got 'threads-gin",
        "damaged": "row.json is damaged",
        "path": "row.reason names a path of its machine: /home/me",
        "dirty": "comes from code that no commit holds (git_revision abc+): run it again",
        "foreign": "config.yaml does not fit this version of dqrun",
        "changed": "config.yaml and the data that it names do not have the hash that the row has",
    }
    for source, message in wanted.items():
        assert publish(study, source) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    assert bytes_of(study) == before


@pytest.mark.parametrize(
    ("commands", "message"),
    [(None, "must hold the commands that make the trials"), ("ls\n", "must hold a line 'dqrun ...'")],
)
def test_every_published_trial_has_its_command(
    study: Path, write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str], commands: str | None, message: str
) -> None:
    write()
    (tmp_path / "commands").unlink() if commands is None else (tmp_path / "commands").write_text(commands)
    assert publish(study, "work") == 2 and message in capsys.readouterr().err
    assert not study.exists()


def test_a_new_study_asks_for_its_commands(
    study: Path, write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write()
    assert main(["publish", str(tmp_path / "work"), "-o", str(study)]) == 2
    assert "--commands must name a file" in capsys.readouterr().err and not study.exists()


def test_data_of_ones_own(study: Path, write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Their content stands in the hash; where they lay is not published."""
    data = tmp_path / "network"
    data.mkdir()
    (data / "nodes.csv").write_text("node\n")
    words = f"dataset=folder dataset.task=node_classification dataset.path={data} model=gcn quant=int4"
    (tmp_path / "commands").write_text(f"dqrun {words} method=dq\n")
    write(words)
    assert publish(study, "work") == 0
    (run,) = runs_in(study)
    assert run.value("dataset.path") is None and str(tmp_path) not in (study / "configs.yaml").read_text()
    (data / "nodes.csv").write_text("node\n0\n")
    assert publish(study, "work") == 2
    assert "config.yaml and the data that it names do not have the hash" in capsys.readouterr().err


def test_a_results_folder_is_no_study(write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write()
    (tmp_path / "commands").write_text(COMMAND)
    assert publish(tmp_path / "work", "work") == 2
    assert "-o must name a folder of its own, not a results folder" in capsys.readouterr().err


@pytest.fixture(scope="module")
def studies(repository: Path) -> dict[Path, list[Run]]:
    """The published studies and their runs."""
    folders = sorted(path for path in (repository / "results" / "published").iterdir() if path.is_dir())
    assert len(folders) >= 5
    return {folder: runs_in(folder) for folder in folders}


def test_published_studies_are_complete(studies: dict[Path, list[Run]]) -> None:
    for folder, runs in studies.items():
        assert {path.name for path in folder.iterdir()} == FILES
        page = (folder / "README.md").read_text(encoding="utf-8")
        assert study_page.render(folder, runs) == page, f"run `dqrun publish -o {folder}`"


def test_published_trials_have_the_hashes_of_their_configurations(studies: dict[Path, list[Run]]) -> None:
    for folder, runs in studies.items():
        with (folder / "trials.csv").open(encoding="utf-8", newline="") as file:
            assert len(runs) == sum(1 for _ in csv.reader(file)) - 1
        for run in {run.row["cell_hash"]: run for run in runs}.values():
            config, trial = config_of(run), Trial(run.row["seed"], run.row["fold"])
            assert trial_hash(config, trial) == run.row["config_hash"], run.row["run_id"]
            assert (cell_hash(config), run_id(config, trial)) == (run.row["cell_hash"], run.row["run_id"])
            assert hyperparameters(config).items() <= run.row.items()


def test_no_row_of_uncommitted_code_has_come_since(studies: dict[Path, list[Run]]) -> None:
    """Until 21 November such rows were published; `dqrun publish` refuses them, and replaces them by committed ones."""
    dirty = [run.row["finished_utc"] for runs in studies.values() for run in runs if is_dirty(run)]
    assert all(finished < "2026-11-21" for finished in dirty) and len(dirty) <= 9


def test_results_are_few_files(repository: Path) -> None:
    command = ["git", "-C", str(repository), "ls-files", "results"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert 25 <= len(listed) < 500


def test_published_results_are_what_they_were(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """benchmarks/unchanged.py finds nothing in the repository, and finds one changed digit."""
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    import unchanged

    lines = unchanged.DIGESTS.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 334 and sum(len(line.split()) - 1 for line in lines) == 4763
    assert unchanged.lost(lines, unchanged.PUBLISHED) == []
    shutil.copytree(unchanged.PUBLISHED / "integer", tmp_path / "integer")
    of_study = [line for line in lines if line.startswith("integer: ")]
    assert unchanged.lost(of_study, tmp_path) == []
    table = tmp_path / "integer" / "trials.csv"
    text = table.read_text(encoding="utf-8")
    (run, *_), _ = load_runs([tmp_path / "integer"])
    table.write_text(text.replace(f",{run.row['seconds']!r},", ",0.5,", 1), encoding="utf-8")
    assert unchanged.lost(of_study, tmp_path) == []
    differing = [f"integer: {run.row['run_id']} differs in seconds"]
    assert unchanged.compared(unchanged.PUBLISHED / "integer", tmp_path / "integer") == (246, differing)
    table.write_text(text.replace(f",{run.row['test_metric']!r},", ",0.5,", 1), encoding="utf-8")
    assert len(unchanged.lost(of_study, tmp_path)) == 1


def test_rows_of_older_code_are_brought_to_the_present_schema(
    study: Path, write: Write, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """benchmarks/rehash.py: run folders whose configurations and rows lack fields are published."""
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    import rehash

    folder = write("quant=int4 train.warm_start=fp32", integer_agreement=0.9)
    (tmp_path / "commands").write_text("dqrun quant=int4 method=dq train.warm_start=fp32\n")
    new_row, tree = read_row(folder / "row.json"), yaml.safe_load((folder / "config.yaml").read_text())
    old_row = {name: new_row[name] for name in new_row if name not in {*rehash.ROW, *HYPERPARAMETERS}}
    old_row |= {"run_id": "old", "config_hash": "0", "cell_hash": "0", "integer_agreement": 0.9, "started_from": "old2"}
    (folder / "row.json").write_text(json.dumps(old_row))
    del tree["method"]["learned_scale"], tree["method"]["observer"]["percentile"], tree["train"]["bn_reestimation"]
    (folder / "config.yaml").write_text(yaml.safe_dump(tree))
    assert publish(study, "work") == 2

    study.mkdir(exist_ok=True)
    shutil.copy(tmp_path / "commands", study / "command.sh")
    assert rehash.main([str(tmp_path / "work"), "-o", str(study)]) == 0
    (run,) = runs_in(study)
    assert run.row["config_hash"] == new_row["config_hash"] and run.row["run_id"] == folder.name
    assert (run.row["integer_agreement"], run.row["integer_agreement_float32"]) == (None, 0.9)
    assert run.row["started_from"].startswith("threads-gin-fp32-none-s0-") and run.row["lr"] == new_row["lr"]
    assert run.value("method.learned_scale") is False and run.value("train.bn_reestimation") == 0

    shutil.copy(tmp_path / "commands", tmp_path / "work" / "command.sh")
    assert rehash.main([str(tmp_path / "work")]) == 0
    assert not (tmp_path / "work" / "runs").exists()
    assert [other.row for other in runs_in(tmp_path / "work")] == [run.row]
