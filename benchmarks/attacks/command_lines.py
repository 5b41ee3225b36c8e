"""Attacks the command line: odd words for training and for every verb.

Each command line runs in its own process, forked from a process that has imported everything. It runs in a fresh copy
of a folder that holds a run, a program, graphs, folders, pipes, and empty and damaged files; some words name files that
do not exist. Trainings are interrupted when they begin, and so are the measurements of `dqrun bench`, except those of
program files.

Failures: a traceback, an end by a signal, an exit code other than 0, 2 and 130, an error without a last line
`dqrun: ...`, other lines of error output when the exit code is 2, more than 4,000 characters of error output, a
character in the output that is not printable, and no end within ten seconds of processor time or two minutes of
waiting.

The script also tests shell completion. A first word that begins with `COMP_LINE=` sets the environment variable
COMP_LINE, as a shell would.

    python benchmarks/attacks/command_lines.py [--count 500] [--seed 0]

Prints each failure, then one line with counts. The exit code is 1 after a failure.
"""

from __future__ import annotations

import argparse
import importlib
import math
import os
import random
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

SECONDS, WAITING = 10, 120.0
LONGEST = 4000  # most characters of error output
COMP_LINE = "COMP_LINE="
ENDS = (0, 2, 130)
TINY = ["dataset.graphs=10", "model.hidden=4", "train.epochs=1", "protocol.trials=1", "threads=1"]
ODD = [
    *(
        "",
        " ",
        "-",
        "--",
        "---x",
        "=",
        "==",
        "a=b=c",
        "~",
        "+",
        "*",
        "?",
        ".",
        "..",
        "/",
        "~root/x",
        "#",
        "$HOME",
        "%s",
    ),
    *("\x1b[31mred", "a\nb", "a\tb", "\u202eabc", "é", "数据", "\udce9", "a" * 5000, "\\", "'", '"', "`id`", "$(id)"),
    *("1e400", "-1", "0", "nan", "inf", "1e12", "99999999999999999999", "0x10", "1_0", "0.1", "true", "null", "None"),
    *("{}", "[]", "[", "[1,2", "{a:b}", "{a", "${x}", "${oc.env:HOME}", "${", "a,b", ",", "range(3)", "choice(1,2)"),
    *("interval(0,1)", "<b>", "a;b", "a|b", "a:b", "[[[[[[[[", "(" * 300, "{" * 300, "1" * 400),
]
PLACES = [
    *("empty", "junk", "text.csv", "pipe", "loop", "folder", "missing", "missing.dqp", "missing/x", "text.csv/x"),
    *(
        "graphs",
        "graphs/nodes.csv",
        "program.dqp",
        "empty.dqp",
        "junk.dqp",
        "pipe.dqp",
        "folder.dqp",
        "results",
        "x" * 300,
    ),
    *("junk.pt", "junk.npz", "empty.pt", "empty.npz", "pipe.npz", "junk.safetensors", "/dev/null", "/proc/self/mem"),
    *("/dev/full", "/proc/1", "results/runs", "results/summary.csv", "new.csv", "new.json", "new.png", "new.html"),
]
FIELDS = [
    *(
        "model",
        "quant",
        "method",
        "dataset",
        "plan",
        "protocol",
        "train",
        "launcher",
        "experiment",
        "recipe",
        "model.layers",
    ),
    *(
        "model.hidden",
        "quant.bits",
        "quant.weight_bits",
        "train.epochs",
        "train.lr",
        "train.batch_size",
        "dataset.path",
    ),
    *(
        "dataset.name",
        "dataset.task",
        "results.dir",
        "data.root",
        "data.mirror",
        "threads",
        "jobs",
        "device",
        "kernels",
    ),
    *("protocol.trials", "protocol.folds", "protocol.split_seed", "plan.fp32", "plan.rules", "tags", "notes", "rerun"),
    *(
        "hydra.run.dir",
        "nothing",
        "model.nothing",
        "evaluate.engine",
        "track",
        "train.schedule",
        "method.observer.tail",
    ),
]


@dataclass(frozen=True)
class Ended:
    """The result of a command line. `code`: its exit code, negative for a signal, None if it did not end in time."""

    code: int | None
    out: str
    err: str

    def fault(self) -> str:
        """Describes the fault of the command line; "" if there is none."""
        if self.code in (None, -signal.SIGXCPU):
            return "no answer"
        if self.code < 0:
            return f"ended by signal {-self.code}"
        if "Traceback" in self.err or "Traceback" in self.out:
            return "traceback"
        if self.code not in ENDS:
            return f"exit code {self.code}"
        lines = self.err.splitlines()
        if self.code and not (lines and lines[-1].startswith("dqrun: ")):
            return "no line that tells the error"
        if self.code == 2 and sum(line.startswith("dqrun: ") for line in lines) < len(lines):
            return "more than the line that tells the error"
        if len(self.err) > LONGEST:
            return f"{len(self.err)} characters of error"
        if any(not (c.isprintable() or c in "\n\r\t") for c in self.out + self.err):
            return "a control character in the output"
        return ""


def main() -> int:
    """Runs the attack and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts, failures = attack(Path(folder), options.count, options.seed)
    ends = ", ".join(f"{counts[end]} with {end}" for end in sorted(counts, key=str))
    print(f"{options.count} command lines, ended {ends}; {len(failures)} failures")
    return 1 if failures else 0


def attack(folder: Path, count: int, seed: int) -> tuple[Counter[int | None], list[tuple[list[str], Ended]]]:
    """Runs `count` command lines in `folder`; returns the counts of exit codes, and the failed lines with results."""
    template = folder / "template"
    prepare(template)
    counts: Counter[int | None] = Counter()
    failures: list[tuple[list[str], Ended]] = []
    for words in tqdm(lines(random.Random(seed), count), total=count, mininterval=10.0):
        shutil.rmtree(folder / "here", ignore_errors=True)
        copy(template, folder / "here")
        ended = run(words, folder / "here")
        counts[ended.code] += 1
        if ended.fault():
            failures.append((words, ended))
            last = ended.err.splitlines()[-1:] or [""]
            print(f"{ended.fault()}: dqrun {shlex.join(words)[:300]!a} ({last[0][:200]!a})", flush=True)
    return counts, failures


def lines(draw: random.Random, count: int) -> Iterator[list[str]]:
    """Yields `count` command lines: a verb or a small training, then flags, paths, fields and odd words."""
    from dqrun.cli import build_parser
    from dqrun.cli.verbs import VERBS

    parsers = {"": build_parser(), **{name: verb.load().build_parser() for name, verb in VERBS.items()}}
    for _ in range(count):
        verb = draw.choice(["", "", "", *VERBS])
        flags = [flag for action in parsers[verb]._actions for flag in action.option_strings]
        words = [verb] if verb else [*TINY]
        if verb in ("predict",) and draw.random() < 0.7:
            words += [draw.choice(["program.dqp", "RUN", draw.choice(PLACES)]), "--dataset"]
        if verb in ("bench",):
            words += [draw.choice(["training", "inference"]), *draw.sample(["--rounds=1", "threads=1"], 1)]
        words += [word for _ in range(draw.randint(0, 4)) for word in _some(draw, flags)]
        yield words if draw.random() < 0.9 else completion(draw, words)


def completion(draw: random.Random, words: list[str]) -> list[str]:
    """Returns the request of a shell that completes these words, cut at a random character; or an odd request."""
    if draw.random() < 0.2:
        return ["-sc", draw.choice(["install", "uninstall", "query", ""]) + "=" + draw.choice(["bash", "zsh", *ODD])]
    typed = " ".join(["dqrun", *words])
    return [f"COMP_LINE={typed[: draw.randint(5, len(typed))]}", "-sc", f"query={draw.choice(['bash', 'zsh', 'fish'])}"]


def _some(draw: random.Random, flags: list[str]) -> list[str]:
    odd, place = draw.choice(ODD), draw.choice(PLACES)
    kind = draw.randrange(8)
    return [
        lambda: [draw.choice(flags), draw.choice([odd, place])],
        lambda: [f"{draw.choice(flags)}={odd}"],
        lambda: [draw.choice(flags)],
        lambda: [f"{draw.choice(['', '', '', '+', '++', '~'])}{draw.choice(FIELDS)}={draw.choice([odd, place])}"],
        lambda: [f"{draw.choice(FIELDS)}{draw.choice(['<', '>=', '!=', ''])}{odd}"],
        lambda: [odd],
        lambda: [place],
        lambda: ["RUN"],
    ][kind]()


def prepare(folder: Path) -> None:
    """Creates `folder` with the files for all command lines, such as a trained run and its program.

    Also imports the modules that the command lines need, and makes `folder` the current folder.
    """
    for name in (
        "matplotlib.figure",
        "matplotlib.backends.backend_agg",
        "optuna",
        "dqrun.sweep.run",
        "dqrun.bench.training",
    ):
        importlib.import_module(name)
    folder.mkdir()
    os.chdir(folder)
    _dqrun(*TINY, "model=gin", "quant=int8", "plan=integer")
    (run_folder,) = (folder / "results" / "runs").iterdir()
    _dqrun("export", str(run_folder), "-o", "program.dqp")
    _dqrun("report", "-o", "report.html")  # fills the kernel cache in about 8 s; lines have SECONDS
    (folder / "graphs").mkdir()
    (folder / "graphs" / "graphs.csv").write_text("graph,label\n0,0\n1,1\n")
    (folder / "graphs" / "nodes.csv").write_text("graph,node\n0,0\n0,1\n1,0\n")
    (folder / "graphs" / "edges.csv").write_text("graph,source,target\n0,0,1\n")
    for suffix in ("", ".dqp", ".pt", ".npz", ".safetensors"):
        (folder / f"empty{suffix}").touch()
        (folder / f"junk{suffix}").write_bytes(random.Random(0).randbytes(500))
    (folder / "text.csv").write_text("source,target\na,b\n")
    (folder / "folder").mkdir()
    (folder / "folder.dqp").mkdir()
    (folder / "loop").symlink_to("loop")


def copy(template: Path, folder: Path) -> None:
    """Copies `template` to `folder` and adds pipes to which no process writes."""
    shutil.copytree(template, folder, symlinks=True)
    for name in ("pipe", "pipe.dqp", "pipe.npz"):
        os.mkfifo(folder / name)


def run(words: list[str], folder: Path) -> Ended:
    """Runs one command line in a forked process and returns its result; the word RUN is replaced by the run's name."""
    name = next((folder / "results" / "runs").iterdir()).name
    out, err = folder.with_name("out"), folder.with_name("err")
    for path in (out, err):
        path.write_bytes(b"")
    pid = os.fork()
    if pid == 0:
        _child([name if word == "RUN" else word for word in words], folder, out, err)
    code = _wait(pid)
    texts = [path.read_text(encoding="utf-8", errors="backslashreplace") for path in (out, err)]
    return Ended(code, *texts)


def _wait(pid: int) -> int | None:
    """Waits for a process and returns its exit code, negative for a signal; kills it after WAITING and returns None."""
    end = time.monotonic() + WAITING
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def _child(words: list[str], folder: Path, out: Path, err: Path) -> NoReturn:
    """Runs a command line in the forked process and exits with its code.

    A training or measurement that begins is interrupted, as by Ctrl-C; see `_interrupt_training`.
    """
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115 - open until exit
    os.chdir(folder)
    if words[0].startswith(COMP_LINE):
        os.environb[COMP_LINE[:-1].encode()] = os.fsencode(words[0].removeprefix(COMP_LINE))
        words = words[1:]
    used = math.ceil(time.process_time())
    resource.setrlimit(resource.RLIMIT_CPU, (used + SECONDS, used + SECONDS + 5))
    _interrupt_training()
    code = 1
    try:
        from dqrun.cli import main as dqrun

        code = dqrun(words)
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _interrupt_training() -> None:
    import dqrun.bench.inference
    import dqrun.bench.training
    import dqrun.sweep.worker

    def interrupted(*arguments: object, **named: object) -> NoReturn:
        raise KeyboardInterrupt

    dqrun.sweep.worker.run_trial = interrupted  # type: ignore[assignment] - a replacement
    dqrun.bench.training.compare = interrupted  # type: ignore[assignment] - a replacement
    dqrun.bench.inference.compare = interrupted  # type: ignore[assignment] - a replacement


def _dqrun(*words: str) -> None:
    """Runs a command in a new process, not a fork: numba ends a forked process whose parent has used numba's threads.

    Raises CalledProcessError if the command fails.
    """
    subprocess.run([sys.executable, "-m", "dqrun", *words], check=True, capture_output=True)


if __name__ == "__main__":
    sys.exit(main())
