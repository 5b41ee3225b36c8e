"""Runs the commands of README.md and of the documentation: `python benchmarks/commands.py [PAGE...] [--missing]`.

The commands of each page run from top to bottom in a new folder. Commands that train get the words of SMALL, so that a
page takes minutes. `benchmarks/figures/commands.json` records for each command: the line that was run, date,
commit, seconds and outcome. `--missing` runs the pages that have a command without a record. tests/test_commands.py
checks each line without running it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from dqrun.bench.inference_cli import build_parser as inference_parser
from dqrun.bench.scale_cli import build_parser as scale_parser
from dqrun.cli.verbs import VERBS
from dqrun.composition.compose import load_configs, load_jobs
from dqrun.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "benchmarks" / "figures" / "commands.json"
BENCHES = {"inference": inference_parser, "scale": scale_parser}
BLOCK = re.compile(r"^```(?:bash|sh)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
SMALL = ["protocol.trials=1", "protocol.folds=[0]", "train.epochs=3", "threads=1", "model.hidden=8"]
RUN = "$(dqrun ls --names 'quant!=fp32' | tail -1)"
TRAINED = (
    "dqrun dataset=tu dataset.name=MUTAG model=gin quant=fp32 protocol=seeds train.lr=0.01",
    "dqrun -m dataset=tu dataset.name=MUTAG model=gin quant=int4,int8 method=naive,dq plan=integer protocol=seeds "
    "evaluate.engine=integer train.lr=0.01",
)
"""Trainings whose rows a page reads; the last row is RUN."""
OTHER_DATA = r"--dataset (zinc|cora|my_graphs/)(?!\S)"
"""Datasets that `as_run` replaces by MUTAG, the data of `prepare`, unless the page trains on them."""
PLACEHOLDERS = {
    r"\bRUN\b(?!=)(?<!\$RUN)(\.\.\.)?": RUN,
    r"\S+-s0-1234abcd": RUN,
    r"/mnt/other/results|machine2/results": "results",
    r"dataset\.path=DIR": "dataset.path=shapes",
    r"experiment=threads_gin_int4_dq_\w+": "experiment=$(ls results/tune/configs/experiment | tail -1 | sed s/.yaml//)",
    r"--trials \d+": "--trials 2",
    r"dqrun bench scale\b": "dqrun bench scale --divide 64",
}
"""Replacements for words that readers replace by their own names, and for numbers that only make a command slow."""
GENERATED = {
    "python benchmarks/parquet_graph.py hundred": f"python {ROOT}/benchmarks/parquet_graph.py hundred --nodes 20000 "
    "--edges 200000",
}
"""Commands that generate data, and their lines for less data."""
NOT_RUN = {
    "dqrun dataset=pyg dataset.target=torch_geometric.datasets.PPI": "it downloads data",
    "pip install": "installations are tested by .ci/run and tests/test_packaging.py",
    "python -m venv": "installations are tested by .ci/run and tests/test_packaging.py",
    "git clone": "it needs a network",
    "python benchmarks/": "it writes published figures; docs/measurements says when it ran",
    "dqrun bench training dataset=reddit_binary": "it writes published figures; docs/measurements says when it ran",
    "dqrun bench inference graph=powerlaw": "it writes published figures; docs/measurements says when it ran",
    "dqrun publish RESULTS": "the words stand for what a reader has; tests/analysis/test_publish_verb.py runs it",
    "python -m sphinx": "tests/test_site.py runs it",
    "pre-commit install": "it changes the checkout",
    ".ci/run": "it runs the whole test suite in a new environment",
    "srun": "it needs Slurm",
    "pytest": "the test suite is run by .ci/run",
    "ruff": "the checks are run by .ci/run",
}


@dataclass(frozen=True)
class Command:
    """A line of a shell block of a page."""

    page: str
    line: str

    @property
    def reason_not_to_run(self) -> str:
        """The reason why the script does not run it, or ""."""
        if self.line in GENERATED:
            return ""
        return next((reason for start, reason in NOT_RUN.items() if self.line.startswith(start)), "")

    @property
    def words(self) -> list[str]:
        """The words of the line as a shell splits them, without the comment; RUN in place of `$(...)`."""
        return shlex.split(re.sub(r"\$\([^)]*\)", "RUN", self.line), comments=True)


def commands() -> list[Command]:
    """All commands, page by page from top to bottom; lines that end with a backslash are joined."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    found = []
    for page in (page for page in pages if page.exists() and page.parent.name != "studies"):
        name = page.relative_to(ROOT).as_posix()
        for block in BLOCK.findall(page.read_text(encoding="utf-8")):
            lines = (line.strip() for line in block.replace("\\\n", " ").splitlines())
            found += [Command(name, line) for line in lines if line and not line.startswith("#")]
    return found


def check(words: Sequence[str]) -> None:
    """Reads and composes a command line of dqrun without running it; raises ConfigError for a wrong one.

    For a sweep it composes each value at least once, not each combination.
    """
    verb, *others = words
    if verb in VERBS:
        parser = BENCHES.get("".join(others[:1]), VERBS[verb].load().build_parser)()
        parser.parse_intermixed_args([word for word in others if word not in BENCHES and word[:8] != "plugins="])
        return
    flags = ("-m", "--help", "-q", "-v")
    values = [_values(word) if "-m" in words else [word] for word in words if word not in flags]
    for place in range(max(map(len, values))):
        load_jobs([each[min(place, len(each) - 1)] for each in values], multirun=False, config_dir=None)


def _values(word: str) -> list[str]:
    """The assignments of a word of a sweep, `a=1` and `a=2` for `a=1,2`; a word with brackets is one assignment."""
    name, _, value = word.partition("=")
    return [word] if "[" in value or "{" in value else [f"{name}={each}" for each in value.split(",")]


def trains_on_these(command: Command) -> bool:
    """Whether the command's page has a line that trains on the dataset of the command's `--dataset`."""
    named = re.search(OTHER_DATA, command.line)
    if named is None:
        return False
    lines = (other.line for other in commands() if other.page == command.page)
    return any(re.match(rf"dqrun (-m )?dataset={named[1]} ", line) for line in lines)


def as_run(command: Command) -> str:
    """The line with placeholders replaced and, if it trains or tunes, with words of SMALL."""
    if written := re.fullmatch(r"echo '(dqrun .*)' > (\S+)", command.line):
        return f"echo '{as_run(Command(command.page, written[1]))}' > {written[2]}"
    line = GENERATED.get(command.line, re.sub(r"\s+#.*$", "", command.line))
    for pattern, value in PLACEHOLDERS.items():
        line = re.sub(pattern, value.replace("\\", "\\\\"), line)
    if not trains_on_these(command):
        line = re.sub(OTHER_DATA, "--dataset MUTAG", line)
    words = command.words
    return " ".join([line, *_small(words, command)]) if trains(command) or words[:2] == ["dqrun", "tune"] else line


def trains(command: Command) -> bool:
    """Whether the command is `dqrun` without a verb, which trains."""
    words = command.words
    return words[0] == "dqrun" and len(words) > 1 and words[1] not in VERBS and "--help" not in words


def _small(words: Sequence[str], command: Command) -> Iterator[str]:
    """The words of SMALL that a command accepts: e.g. only k-fold runs have folds.

    Typed fields keep their values, except the numbers of trials and folds.
    """
    typed = {word.split("=")[0] for word in words if word.split("=")[0] not in ("protocol.trials", "protocol.folds")}
    base = [word for word in words[1:] if word not in ("-m", "-q") and not word.startswith("--")]
    if "tune" in words:
        base = [word for word in base[1:] if "=" in word]
    taken: list[str] = []
    for word in SMALL:
        if word.split("=")[0] in typed:
            continue
        try:
            load_configs([*base, *taken, word], multirun=True)
        except ConfigError:
            continue
        taken.append(word)
    return iter(taken)


def run_page(page: str, lines: Sequence[Command]) -> Iterator[dict[str, object]]:
    """Runs the commands of a page in a new folder; yields a record of each."""
    revision = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, lines)
        assigned = ""
        for command in lines:
            record = {**asdict(command), "date": f"{datetime.now(UTC):%Y-%m-%d}", "commit": revision.stdout.strip()}
            if command.reason_not_to_run:
                yield {**record, "outcome": f"not run: {command.reason_not_to_run}"}
                continue
            line, begin = as_run(command), time.perf_counter()
            done = subprocess.run(["bash", "-c", f"{assigned}{line}"], cwd=folder, capture_output=True, text=True)
            outcome = "done" if done.returncode == 0 else f"exit code {done.returncode}"
            if done.returncode:
                print(done.stdout[-300:], done.stderr[-700:], file=sys.stderr)
            yield {
                **record,
                "run_as": line.replace(f"{ROOT}/", ""),
                "seconds": round(time.perf_counter() - begin, 1),
                "outcome": outcome,
            }
            if re.match(r"\w+=", line):
                assigned += f"{line}\n"


def prepare(folder: Path, lines: Sequence[Command]) -> None:
    """Writes the files that a page needs: examples, own graphs, a plug-in, a trained run, a program."""
    for name in ("examples", "results/published"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "docs/tutorials/make_shapes.py", folder)
    write_plugins(folder)
    subprocess.run([sys.executable, "make_shapes.py"], cwd=folder, check=True)
    text = "\n".join(command.line for command in lines)
    small = " ".join(word for word in SMALL if "folds" not in word)
    trained = [f"{line} {small}" for line in TRAINED]
    trainings = [as_run(command) for command in lines if trains(command) and not command.reason_not_to_run]
    for name in ("commands.sh", "run.sh"):
        (folder / name).write_text("\n".join([*trained, *trainings, ""]))
    if not lines[0].page.startswith("docs/tutorials") and re.search(
        r"RUN|1234abcd|dqp|compare|plot|report|publish", text
    ):
        export = f"dqrun export {RUN} -o gin.dqp"
        bench = "dqrun bench inference gin.dqp --dataset MUTAG --json gin.json --rounds 3"
        steps = [*trained, export, *([bench] if "gin.json" in text else [])]
        subprocess.run(["bash", "-ec", "\n".join(steps)], cwd=folder, check=True, capture_output=True)


def write_plugins(folder: Path) -> None:
    """Writes the plug-ins that pages name: `mine.py`, a block of the page on plug-ins, and `kure_method.py`."""
    page = (ROOT / "docs/howto/plugins.md").read_text(encoding="utf-8")
    (mine,) = (block for block in PYTHON.findall(page) if 'register.model("mine"' in block)
    (folder / "mine.py").write_text(mine, encoding="utf-8")
    shutil.copy(ROOT / "examples/kure_method.py", folder)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs pages and records them; returns 1 if a command failed."""
    parser = argparse.ArgumentParser(description="runs the commands of the documentation and records what came of them")
    parser.add_argument("pages", nargs="*", metavar="PAGE", help="docs/howto/sweeps.md, ... (default: all)")
    parser.add_argument("--missing", action="store_true", help="only pages with a command that has no record")
    arguments = parser.parse_args(argv)
    os.environ.setdefault("DQRUN_DATA_MIRROR", str(ROOT.parent / "shared" / "data"))
    every, records = commands(), read_record()
    pages = {command.page for command in every if not arguments.pages or command.page in arguments.pages}
    if arguments.missing:
        pages &= {command.page for command in every if (command.page, command.line) not in records}
    failed = 0
    for page in sorted(pages):
        lines = [command for command in every if command.page == page]
        for record in run_page(page, lines):
            failed += str(record["outcome"]).startswith("exit")
            records[page, str(record["line"])] = record
            print(f"{page}: {record['line'][:90]}: {record['outcome']}", flush=True)
        kept = [records[key] for each in every if (key := (each.page, each.line)) in records]
        RECORD.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return int(failed > 0)


def read_record() -> dict[tuple[str, str], dict[str, object]]:
    """The records of the file, by page and line."""
    if not RECORD.exists():
        return {}
    return {(each["page"], each["line"]): each for each in json.loads(RECORD.read_text(encoding="utf-8"))}


if __name__ == "__main__":
    sys.exit(main())
