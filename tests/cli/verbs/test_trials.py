"""`dqrun ls`, `show`, `tag` and `rm` on results folders that were made without training."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dqrun.cli import main
from dqrun.cli.verbs.ls import age_of
from dqrun.runs.row import read_row
from dqrun.sweep.locks import LockFile

WriteTrial = Callable[..., Path]
Capture = pytest.CaptureFixture[str]


def output(capsys: Capture, *words: object, code: int = 0) -> str:
    assert main([str(word) for word in words]) == code
    shown = capsys.readouterr()
    return shown.out if code == 0 else shown.err


@pytest.fixture
def three(write_trial: WriteTrial) -> Path:
    """A finished, a failed and a tagged trial; one that runs, one that was stopped, and a damaged one."""
    folder = write_trial("done0", seed=0)
    write_trial("failed1", seed=1, status="failed", reason="loss is nan", test_metric=None, val_metric=None)
    write_trial("tagged2", seed=2, tags="paper old", notes="in table 2", quant="int8")
    root = folder.parents[1]
    (root / "runs" / "damaged3").mkdir()
    (root / "runs" / "damaged3" / "row.json").write_text("{")
    (root / ".checkpoints").mkdir()
    (root / ".checkpoints" / "stopped4.pt").write_bytes(b"x")
    return root


def names(text: str) -> list[str]:
    return text.split()


def test_ls_shows_every_trial_with_its_status(three: Path, capsys: Capture) -> None:
    lock = LockFile(three / ".locks" / "running5.lock")
    assert lock.acquire()
    header, *lines = output(capsys, "ls").splitlines()
    lock.release()
    assert header.split() == ["run", "status", "metric", "test", "validation", "epochs", "age", "tags", "about"]
    found = {line.split()[0]: line for line in lines}
    status = {name: line.split()[1] for name, line in found.items()}
    assert status == {
        "done0": "done", "failed1": "failed", "tagged2": "done", "damaged3": "damaged", "stopped4": "stopped",
        "running5": "running",
    }  # fmt: skip
    assert "70.00 %" in found["done0"] and "loss is nan" in found["failed1"] and "in table 2" in found["tagged2"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["status=failed"], ["failed1"]),
        (["status=stopped,damaged"], ["damaged3", "stopped4"]),
        (["seed<2"], ["done0", "failed1"]),
        (["quant!=int4"], ["tagged2"]),  # not those whose width is unknown
        (["results", "run_id=done0"], ["done0"]),
    ],
)
def test_ls_chooses(words: list[str], expected: list[str], three: Path, capsys: Capture) -> None:
    assert names(output(capsys, "ls", "--names", *words)) == expected


def test_what_is_no_lock_hides_no_trial(three: Path, capsys: Capture) -> None:
    (three / ".locks" / "foreign.lock").mkdir(parents=True)
    assert main(["ls", str(three), "--names"]) == 0
    shown = capsys.readouterr()
    assert "done0" in names(shown.out) and "foreign.lock is no lock" in shown.err


def test_ls_escapes_what_would_steer_the_terminal(write_trial: WriteTrial, capsys: Capture) -> None:
    write_trial("x", status="failed", reason="a\x1b[2Jb", test_metric=None)
    assert "a\\x1b[2Jb" in (text := output(capsys, "ls")) and "\x1b" not in text


def test_each_verb_tells_what_could_not_be_read(three: Path, capsys: Capture) -> None:
    for words in (["ls"], ["show", "done0"], ["tag", "done0", "--add", "a"], ["rm", "done0", "--dry-run"]):
        assert main([*words]) == 0
        assert capsys.readouterr().err.count("row.json is damaged") == 1


def test_mistakes_are_one_line(three: Path, capsys: Capture) -> None:
    for words, message in [
        (["ls", "nowhere"], "no results in"),
        (["ls", "colour=red"], "a filter must name fields among"),
        (["show", "done1"], "there is no run 'done1' in results; did you mean 'done0'?"),
        (["show", "x" * 300], "there is no run"),
        (["rm", "nothing"], "there is no run 'nothing'"),
        (["rm"], "required: RUN|FILTER; dqrun rm --help lists the options"),
        (["rm", "done0"], "give -y where nobody can answer"),
        (["tag", "done0"], "needs what to change"),
        (["tag", "done0", "--add", "two words"], "--add must be words of letters, digits"),
        (["tag", "done0", "--add", "a", "--results", "nowhere"], "must be a results folder"),
    ]:
        error = output(capsys, *words, code=2)
        *others, last = error.splitlines()
        assert last.startswith("dqrun: ") and message in last
        assert all("row.json is damaged" in line for line in others)


def test_show_tells_row_settings_history_and_files(
    write_trial: WriteTrial, config_text: Callable[..., str], capsys: Capture
) -> None:
    config = config_text(
        "model=gcn",
        "quant=w4a8",
        "method=naive",
        "train.lr=0.5",
        "results.dir=elsewhere",
        "launcher=parallel",
        "jobs=3",
    )
    folder = write_trial("one", config=config, model="gcn", epochs=3, best_epoch=2)
    (folder / "history.csv").write_text(
        "epoch,train_loss,val_loss,val_metric,lr,seconds\n1,0.9,0.8,0.5,0.5,1\n2,0.7,0.6123456,0.75,0.5,1\n3,1,1,1,0.5,1\n"
    )
    text = output(capsys, "show", "one")
    assert "test_metric        0.7\n" in text
    assert "presets: dataset=threads model=gcn method=naive plan=paper quant=w4a8" in text
    settings = text.partition("presets: ")[2].partition("\n\n")[0].splitlines()[1:]
    assert [line.split() for line in settings] == [["train.lr", "0.5", "(preset:", "0.002)"]]
    history = text.partition("history\n")[2].partition("\n\n")[0].splitlines()
    assert [line.split()[0] for line in history] == ["epoch", "1", "2", "3"]
    assert history[2].split() == ["2", "0.7", "0.61235", "0.75", "0.5", "chosen"]
    assert "config.yaml" in text.partition("files in ")[2]
    assert output(capsys, "show", folder) == text


def test_show_names_the_data_of_an_option_that_stands_for_many(
    write_trial: WriteTrial, config_text: Callable[..., str], capsys: Capture
) -> None:
    for words, name in (
        (["dataset=folder", "dataset.path=my data"], "one"),
        (["dataset=tu", "dataset.name=MUTAG"], "two"),
    ):
        write_trial(name, config=config_text(*words, "model=gin", "train.lr=0.5"))
        settings = output(capsys, "show", name).partition("presets: ")[2].partition("\n\n")[0].splitlines()
        assert all(word in settings[0] for word in words)
        assert [line.split()[0] for line in settings[1:]] == ["train.lr"]


def test_show_reads_published_studies(repository: Path, capsys: Capture) -> None:
    study = next(path for path in sorted((repository / "results" / "published").iterdir()) if path.is_dir())
    name = names(output(capsys, "ls", study, "--names"))[0]
    text = output(capsys, "show", name, "--results", study)
    assert text.startswith("run_id ") and "presets: dataset=" in text and "Traceback" not in text


def test_tags_and_notes_are_rewritten_in_row_and_table(three: Path, capsys: Capture) -> None:
    words = ["seed!=0", "status=done", "--add", "new,paper", "--remove", "old", "--note", "chosen"]
    assert output(capsys, "tag", *words) == "1 trial changed\n"
    row = read_row(three / "runs" / "tagged2" / "row.json")
    assert (row["tags"], row["notes"], row["test_metric"]) == ("paper new", "chosen", 0.7)
    with (three / "trials.csv").open(newline="") as stream:
        assert {line["run_id"]: line["tags"] for line in csv.DictReader(stream)}["tagged2"] == "paper new"
    assert read_row(three / "runs" / "done0" / "row.json")["tags"] == ""
    assert not (three / ".locks").exists()


def test_a_trial_that_runs_is_neither_tagged_nor_removed(three: Path, capsys: Capture) -> None:
    lock = LockFile(three / ".locks" / "done0.lock")
    assert lock.acquire()
    assert "is run by process" in output(capsys, "rm", "done0", "failed1", "-y")
    assert (three / "runs" / "done0" / "row.json").exists() and not (three / "runs" / "failed1").exists()
    assert output(capsys, "tag", "done0", "--add", "x") == "0 trials changed\n"
    lock.release()


def test_rm_shows_first_then_removes_all_that_is_left_of_a_trial(three: Path, capsys: Capture) -> None:
    (three / "runs" / ".done0-left").mkdir()
    (three / ".checkpoints" / "done0.pt").write_bytes(b"x")
    everything = sorted(three.rglob("*"))
    assert "2 trials would be removed" in output(capsys, "rm", "done0", "stopped4", "--dry-run")
    assert sorted(three.rglob("*")) == everything
    assert "2 trials removed" in output(capsys, "rm", "done0", "stopped4", "-y")
    assert sorted(path.name for path in (three / "runs").iterdir()) == ["damaged3", "failed1", "tagged2"]
    assert not (three / ".checkpoints").exists() and not (three / ".locks").exists()
    assert "done0" not in (three / "trials.csv").read_text()
    assert "1 trial removed" in output(capsys, "rm", "status=damaged", "-y")


@pytest.mark.parametrize(("answer", "left"), [("n\n", True), ("\n", True), ("y\n", False)])
def test_rm_asks(answer: str, left: bool, three: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO(answer)
    monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", stream)
    output(capsys, "rm", "done0")
    assert (three / "runs" / "done0").exists() is left


@pytest.mark.parametrize(
    ("finished", "age"),
    [
        ("2026-01-01T00:00:00+00:00", "2 d"),
        ("2026-01-02T21:30:00+00:00", "2 h"),
        ("2026-01-02T23:58:00", "2 min"),
        ("2026-01-03T00:00:09+00:00", "0 s"),
        ("yesterday", ""),
    ],
)
def test_ages(finished: str, age: str) -> None:
    assert age_of(finished, datetime(2026, 1, 3, tzinfo=UTC)) == age
