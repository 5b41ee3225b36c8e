"""Damaged results folders: `python benchmarks/attacks/rows.py [--count N] [--seed S]`.

A results folder holds four good runs and a fifth run, which the script damages. It changes bytes of row.json, or its
fields: missing, unknown, twice, of other types or of extreme values. It changes config.yaml or history.csv. It removes
one of these files or replaces it by something else, such as a folder. Or it adds a folder or file with an odd name
beside the run. Then the tables are rebuilt, `dqrun compare`, `leaderboard` and `ls` run, `show` runs if config.yaml or
history.csv was changed, and `dqrun rm` removes the damaged run, first by conditions on its row, then by its name.

Failures: an exception, a complaint of more than one line, a `compare`, `leaderboard` or `ls` that fails or prints
nothing, output that UTF-8 cannot encode, a good run that is missing or changed in trials.csv, a second rebuild that
gives another trials.csv, an `rm` that ends with a code other than 0 and 2, changes a good run, or adds or removes
something beside the results folder, and more than 60 seconds for one folder. The exit code is 1 after a failure.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dqrun.cli import main as dqrun
from dqrun.composition.compose import load_configs
from dqrun.runs.outcome import write_config
from dqrun.runs.protocol import named_trials
from dqrun.runs.row import TRIAL_COLUMNS, Row, write_row
from dqrun.runs.store import Results

PATIENCE = 60  # seconds for one folder
GOOD = 4
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 2**63, 10**400, 1e308, -0.5, "", " ", "x" * 10_000, "\ud800", "\x1b[31m", "a\nb", "=1+1"),
    *([], {}, [[]], {"a": {}}, "../../x", "nan", "1"),
)
WORDS = (b"NaN", b"-Infinity", b"1e999", b"1" * 5000, b"[" * 3000, b'"\\ud800"', b"{" * 10, b"\x00", b"\xff", b"")
NAMES = (
    *(
        "=cmd",
        "a b",
        "a\nb",
        "\x1b[31mred",
        "-rf",
        "%2E",
        "é",
        "e\u0301",
        "x" * 255,
        "con",
        "a'b",
        'a"b',
        "$(x)",
        "<img>",
    ),
    *("r.lock", "\udcff", "*", "[a]", "~", "\u202e"),
)
TREES = (
    *(b"", b"- 1", b"train: 3", b"train: {epochs: .nan}", b"train: {epochs: [1]}", b"model: {name: 2}", b"\xff\xfe"),
    *(
        b"a: &a [*a, *a]",
        b"? {a: b}\n: c",
        b"[" * 5000,
        b"!!python/object:os.system {}",
        b"train: &t {x: *t}",
        b"{" * 9,
    ),
    b"a: &a [x,x,x,x,x,x,x,x,x]\n"
    + b"".join(b"%c: &%c [%s]\n" % (98 + i, 98 + i, b",".join([b"*%c" % (97 + i)] * 9)) for i in range(9)),
)


def make_folder(root: Path) -> list[Row]:
    """Creates a results folder with GOOD runs and the run to be damaged; returns all rows, that run's row last."""
    (config,) = load_configs([f"protocol.trials={GOOD + 1}", "dataset.graphs=20", "train.epochs=2"])
    known = {name: "0" for name in ("git_revision", "dqrun_version", "torch_version", "pyg_version")}
    rows = []
    for trial, name, digest in named_trials(config):
        row = Row(
            run_id=name, dataset="threads", task="graph_classification", model="gin", quant="int8", weight_bits=8,
            activation_bits=8, method="dq", estimator="clipped", observer="minmax", p_min=0.0, p_max=0.1, plan="paper",
            protocol="seeds", seed=trial.seed, fold=None, epochs=2, best_epoch=1, metric="accuracy", reason="",
            higher_is_better=True, train_metric=0.9, val_metric=0.8, test_metric=0.5 + trial.seed / 10, status="done",
            seconds=1.0, seconds_per_epoch=0.5, peak_bytes=1000, parameters=10, device="cpu", threads=1,
            config_hash=digest, finished_utc=f"2026-01-01T00:00:0{trial.seed}+00:00", cell_hash="c0", **known,
        )  # fmt: skip
        folder = root / "runs" / name
        folder.mkdir(parents=True)
        write_row(folder, row)
        write_config(folder / "config.yaml", config)
        (folder / "history.csv").write_text("epoch,train_loss,val_loss,val_metric,lr,seconds\n1,1,1,0.5,0.1,1\n")
        rows.append(row)
    return rows


def bytewise(data: bytes, chance: random.Random) -> bytes:
    """Returns the data with a few bytes changed, added, removed, doubled or cut off."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 3, 20))):
        at, length = chance.randrange(len(changed) + 1), chance.choice((1, 1, 5, 60))
        part = chance.choice((b"", bytes(chance.randrange(256) for _ in range(length)), changed[at : at + length] * 2))
        changed[at : at + length] = part
    return bytes(changed[: chance.randrange(len(changed) + 1)] if chance.random() < 0.2 else changed)


def structurally(data: bytes, chance: random.Random) -> bytes:
    """Returns the JSON of a row with fields removed, added, doubled, or of other types or extreme values."""
    row = json.loads(data)
    name = chance.choice(list(row))
    kind = chance.randrange(7)
    if kind == 0:
        del row[name]
    elif kind == 1:
        row |= {f"column{i}": i for i in range(chance.choice((1, 1000, 100_000)))}
    elif kind == 2:
        row = chance.choice(([row], row | {"run_id": chance.choice(NAMES)}, {"row": row}, list(row)))
    elif kind == 3:
        text = json.dumps(row).encode()
        return text[:-1] + b', "' + name.encode() + b'": 1}'
    elif kind == 4:
        text = json.dumps(row | {name: "@"}).encode()
        return text.replace(b'"@"', chance.choice(WORDS))
    else:
        row[name] = chance.choice(VALUES)
    return json.dumps(row).encode()


def no_file(path: Path, chance: random.Random) -> None:
    """Removes a file or replaces it by a folder, a pipe, a symbolic link or foreign content."""
    path.unlink()
    kind = chance.randrange(6)
    if kind == 0:
        path.mkdir()
    elif kind == 1:
        os.mkfifo(path)
    elif kind == 2:
        path.symlink_to(path)
    elif kind == 3:
        path.symlink_to("/dev/zero")
    elif kind == 4:
        path.write_bytes(chance.choice(("\ufeff{}".encode(), "{}".encode("utf-16"), bytes(3_000_000), b"PK\x03\x04")))


def beside(folder: Path, chance: random.Random) -> None:
    """Adds an entry with an odd name beside the run: a copy of its folder, whole or damaged, or a file."""
    other = folder.with_name(chance.choice(NAMES))
    if chance.random() < 0.2:
        other.write_bytes(b"not a folder")
        return
    shutil.copytree(folder, other)
    if chance.random() < 0.6:
        row = json.loads((other / "row.json").read_text()) | {"run_id": other.name}
        row |= {chance.choice(("dataset", "method", "reason", "notes", "finished_utc")): chance.choice(VALUES)}
        (other / "row.json").write_text(json.dumps(row))


def damage(folder: Path, chance: random.Random) -> str:
    """Damages the run in one random way, or adds an odd entry beside it; returns the name of the way."""
    row, config, history = (folder / name for name in ("row.json", "config.yaml", "history.csv"))
    ways: dict[str, Callable[[], object]] = {
        "bytes": lambda: row.write_bytes(bytewise(row.read_bytes(), chance)),
        "fields": lambda: row.write_bytes(structurally(row.read_bytes(), chance)),
        "no file": lambda: no_file(chance.choice((row, row, config, history)), chance),
        "beside": lambda: beside(folder, chance),
        "config bytes": lambda: config.write_bytes(bytewise(config.read_bytes(), chance)),
        "config": lambda: config.write_bytes(chance.choice(TREES)),
        "history": lambda: history.write_bytes(bytewise(history.read_bytes(), chance)),
    }
    way = chance.choice(("bytes", "bytes", "fields", "fields", "fields", *ways))
    ways[way]()
    return way


def called(*words: str) -> tuple[int, str, str]:
    """Runs a command line; returns its exit code, output and error output. Does not catch its exceptions.

    Raises UnicodeEncodeError if UTF-8 cannot encode the output.
    """
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = dqrun(list(words))
    (out.getvalue() + err.getvalue()).encode()
    return code, out.getvalue(), err.getvalue()


def faults(root: Path, good: list[Row], victim: str, way: str) -> str:
    """Reads a damaged folder with dqrun's commands and describes the fault; "" if there is none. `way`: the damage."""
    for complaint in Results(root).rebuild_tables():
        if len(complaint.splitlines()) != 1:
            return f"a complaint of several lines: {complaint!r}"
    with (root / "trials.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    found = {line["run_id"]: line["test_metric"] for line in lines}
    if any(found.get(row.run_id) != str(row.test_metric) for row in good) or list(lines[0]) != TRIAL_COLUMNS:
        return "a good run is missing or changed in trials.csv"
    before = (root / "trials.csv").read_bytes()
    Results(root).rebuild_tables()
    if (root / "trials.csv").read_bytes() != before:
        return "a second rebuild gives another table"
    seeds = ",".join(str(row.seed) for row in good)
    for words in (
        ("compare", str(root), f"seed={seeds}"),
        ("compare", str(root), "train.epochs<9"),
        ("leaderboard", str(root), "--no-costs"),
        ("ls", str(root)),
    ):
        code, out, err = called(*words)
        if code or not out.strip():
            return f"dqrun {words[0]} ends with {code}: {err.strip()[:200]}"
    if "config" in way or way == "history":
        called("show", str(root / "runs" / victim))
    return removed(root, good, victim)


def removed(root: Path, good: list[Row], victim: str) -> str:
    """Describes the fault of `dqrun rm` on the damaged run; "" if there is none. `dqrun rm` may end with code 2."""
    before = files_beside(root, good)
    for words in (f"seed={GOOD}", "status!=done", victim):
        if called("rm", words, "-y", "--results", str(root))[0] not in (0, 2):
            return "dqrun rm ends with another code than 0 and 2"
        if files_beside(root, good) != before:
            return f"dqrun rm {words} changes a good run, or something outside the results folder"
    return ""


def files_beside(root: Path, good: list[Row]) -> dict[str, bytes]:
    """Returns the contents of the good runs' files by path; paths beside the results folder have empty contents."""
    folders = [root / "runs" / row.run_id for row in good]
    found = {str(path): path.read_bytes() for folder in folders for path in folder.iterdir()}
    return found | {str(path): b"" for path in root.parent.iterdir()}


def attack(root: Path, rows: list[Row], chance: random.Random) -> tuple[str, str]:
    """Damages a copy of `make_folder`'s folder; returns the kind of damage and the description of a failure, or ""."""
    *good, victim = rows
    way = damage(root / "runs" / victim.run_id, chance)
    signal.alarm(PATIENCE)
    try:
        return way, faults(root, good, victim.run_id, way)
    except Exception as error:  # dqrun must turn every error into one line
        place = traceback.extract_tb(error.__traceback__)[-1]
        return (
            way,
            f"traceback {type(error).__name__} in {Path(place.filename).name}:{place.lineno}: {str(error)[:150]}",
        )
    finally:
        signal.alarm(0)


def main(count: int, seed: int) -> int:
    """Attacks `count` folders; returns the number of failures."""
    failures = 0
    ways: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole"
        rows = make_folder(whole)
        for i in range(count):
            root = Path(folder) / str(i)
            shutil.copytree(whole, root)
            way, fault = attack(root, rows, random.Random(f"{seed} {i}"))
            ways[way] = ways.get(way, 0) + 1
            if fault:
                failures += 1
                print(f"folder {i} ({way}): {fault}", flush=True)
            shutil.rmtree(root)
    told = ", ".join(f"{number} by {way}" for way, number in sorted(ways.items()))
    print(f"{count} damaged results folders ({told}): {failures} failures")
    return failures


def _too_long(*_: object) -> None:
    raise TimeoutError(f"more than {PATIENCE} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=900)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    signal.signal(signal.SIGALRM, _too_long)
    sys.exit(main(arguments.count, arguments.seed) > 0)
