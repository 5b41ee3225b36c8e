"""Studies: what is written is what is read, a study and its run folders say the same, and damage is named."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dqrun.analysis import compare
from dqrun.analysis.rows import Run, load_runs
from dqrun.analysis.study import CONFIGS, TRIALS, flat, read_study, write_study
from dqrun.errors import ResultsError
from dqrun.runs.row import Row

WriteRun = Callable[..., Path]
CONFIG = {"train": {"lr": 0.01, "epochs": 100}, "plan": {"fp32": ["a", "b"], "rules": {"**.x": {"bits": None}}}}
ODD = ("'=1", "=SUM(A1)", "-5", "-", "\r\n", '"', ",", "é\u2028", "", "0123", "nan", "null", "true")
texts = st.one_of(st.sampled_from(ODD), st.text(st.characters(codec="utf-8", exclude_characters="\0")))


def study_of(runs: list[Run], folder: Path) -> Path:
    """The runs as a study."""
    folder.mkdir()
    write_study(folder, [run.row for run in runs], {run.row["cell_hash"]: run.config or {} for run in runs})
    return folder


def test_what_is_written_is_what_is_read(row: Row, tmp_path: Path) -> None:
    rows = [asdict(replace(row, run_id="a0", finished_utc="2026-01-02", fold=3, test_metric=0.1 + 0.2)), asdict(row)]
    write_study(tmp_path, rows, {"c": CONFIG})
    study, complaints = read_study(tmp_path)
    assert complaints == [] and study.rows == rows[::-1], "the oldest comes first"
    assert [list(map(type, read.values())) for read in study.rows] == [list(map(type, r.values())) for r in rows[::-1]]
    assert {cell: yaml.safe_load(text) for cell, text in study.configs.items()} == {"c": CONFIG}


@given(texts, st.floats(allow_nan=False, allow_infinity=False))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # the fixture is a constant
def test_any_text_and_number_comes_back(row: Row, text: str, number: float) -> None:
    line = asdict(replace(row, reason=text, notes=text, dataset=text, test_metric=number, lr=number))
    with tempfile.TemporaryDirectory() as folder:
        write_study(Path(folder), [line], {"c": {"dataset": {"name": text}, "train": {"lr": number}}})
        study, complaints = read_study(Path(folder))
    assert (study.rows, complaints) == ([line], [])
    assert yaml.safe_load(study.configs["c"]) == {"dataset": {"name": text}, "train": {"lr": number}}


def test_settings_that_differ_are_columns(row: Row, tmp_path: Path) -> None:
    rows = [asdict(replace(row, run_id=cell, cell_hash=cell)) for cell in ("a", "b")]
    other = {"train": {"lr": 0.02, "epochs": 100}, "plan": {"fp32": [], "rules": {"**.x": {"bits": 4}}}}
    write_study(tmp_path, rows, {"a": CONFIG, "b": other})
    with (tmp_path / TRIALS).open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [name for name in lines[0] if "." in name] == ["train.lr", "plan.fp32"]
    assert [(line["train.lr"], line["plan.fp32"]) for line in lines] == [("0.01", "[a,b]"), ("0.02", "[]")]
    assert [read["cell_hash"] for read in read_study(tmp_path)[0].rows] == ["a", "b"]


def test_a_study_and_its_run_folders_say_the_same(
    write_run: WriteRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for method in ("dq", "naive"):
        for seed in range(3):
            write_run(method=method, seed=seed, test_metric=0.7 + seed / 100)
    write_run(method="naive", seed=3, status="failed", test_metric=None, val_metric=None, reason="no, 'space'\nleft")
    study = study_of(load_runs([tmp_path / "results"])[0], tmp_path / "study")
    shown = []
    for folder in (tmp_path / "results", study):
        words = ["--metric", "test_metric,seconds", "--rows", "dataset,train.lr", "--format", "json"]
        assert compare.main([str(folder), "seed<9", *words]) == 0
        shown.append(capsys.readouterr())
    assert shown[0] == shown[1] and '"train.lr"' in shown[0].out


def test_studies_and_folders_are_merged(write_run: WriteRun, tmp_path: Path) -> None:
    write_run(seed=0)
    study = study_of(load_runs([tmp_path / "results"])[0], tmp_path / "study")
    write_run(seed=1)
    runs, (complaint,) = load_runs([study, tmp_path / "results"])
    assert [run.row["seed"] for run in runs] == [0, 1]
    assert complaint.startswith(f"1 trial is more than once in {tmp_path / 'results'} and {study}, without conflict")
    assert runs[0].config == runs[1].config and runs[0].configuration.path == study / CONFIGS


def test_a_group_that_a_study_leaves_out_has_its_default(row: Row, tmp_path: Path) -> None:
    write_study(tmp_path, [asdict(row)], {"c": CONFIG})
    assert "loader" not in (tmp_path / CONFIGS).read_text()
    ((run,), _) = load_runs([tmp_path])
    assert run.value("loader.name") == "full"


@pytest.mark.parametrize(
    ("name", "old", "new", "reason"),
    [
        (TRIALS, ",0.7,", ",x,", "line 2 is damaged and was skipped (test_metric must be "),
        (TRIALS, ",0.7,", ",", "line 2 is damaged and was skipped (it has "),
        (TRIALS, "run_id,", "name,", "line 2 is damaged and was skipped (it has the unknown field 'name')"),
        (TRIALS, "r0,", 'r0"x,"', "line 2 is damaged"),
        (CONFIGS, '"c":', '"d":', "lacks the configuration of cell c"),
    ],
)
def test_damage_is_named(row: Row, tmp_path: Path, name: str, old: str, new: str, reason: str) -> None:
    write_study(tmp_path, [asdict(row)], {"c": CONFIG})
    text = (tmp_path / name).read_text()
    assert old in text
    (tmp_path / name).write_text(text.replace(old, new, 1))
    study, (complaint,) = read_study(tmp_path)
    assert study.rows == [] and complaint.startswith(str(tmp_path / name)) and reason in complaint


@pytest.mark.parametrize("content", [b"", b"a: 1\n", b'"c": {}\n', b'"c":\n  a: 1\nb: 2\n', b"\xff"])
def test_configurations_that_cannot_be_read(row: Row, tmp_path: Path, content: bytes) -> None:
    write_study(tmp_path, [asdict(row)], {"c": CONFIG})
    (tmp_path / CONFIGS).write_bytes(content)
    with pytest.raises(ResultsError, match=r"configs\.yaml"):
        read_study(tmp_path)


def test_a_study_without_its_table(tmp_path: Path) -> None:
    (tmp_path / CONFIGS).write_text('"c":\n  a: 1\n')
    with pytest.raises(ResultsError, match=r"trials\.csv can't be read: No such file"):
        load_runs([tmp_path])


def test_a_failed_replacement_leaves_the_study(row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_study(tmp_path, [asdict(row)], {"c": CONFIG})
    before = read_study(tmp_path)

    def refuse(path: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    rename, count = Path.replace, iter(range(9))
    monkeypatch.setattr(Path, "replace", lambda a, b: refuse(a, b) if next(count) else rename(a, b))
    with pytest.raises(OSError, match="No space left"):
        write_study(tmp_path, [asdict(row), asdict(replace(row, run_id="r1", cell_hash="d"))], {"c": CONFIG, "d": {}})
    assert read_study(tmp_path)[0].rows == before[0].rows and read_study(tmp_path)[1] == []


def test_flat() -> None:
    assert flat({"a": {"b": 1, "c": {"d": None}}, "e": [1]}) == {"a.b": 1, "a.c.d": None, "e": [1]}
