"""The README.md of a study, and its picture: commands, machines and tables, all from the files in the folder."""

from __future__ import annotations

import contextlib
import io
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from dqrun.analysis import compare, plot
from dqrun.analysis.cells import Cell, make_cells
from dqrun.analysis.checks import distinguishing
from dqrun.analysis.comparison import by_place
from dqrun.analysis.merge import INTEGER
from dqrun.analysis.rows import Run, load_runs
from dqrun.analysis.study import COMMANDS
from dqrun.durable import write_text
from dqrun.errors import DqrunError

PICTURE = "bars.svg"
_ABOUT = {
    "processor": "processor",
    "device": "device",
    "threads": "threads",
    "torch_version": "torch",
    "pyg_version": "PyG",
    "dqrun_version": "dqrun",
    "git_revision": "commit of dqrun",
}
_PAGE = """\
# {name}

{trials} trials of {cells} configurations{failed}, made by

```bash
{commands}
```

Written by `dqrun publish`, which also merges further trials in. `trials.csv` has their rows, `configs.yaml` the
configuration of each `cell_hash`. A cell with fewer trials than the commands give is not complete. The commands below
are run in this folder.

## Machine and code

{machine}

`(N)`: in N trials; `+` after a commit: with changes that were not committed.

## Test metric

{metric}
{integer}
## Seconds per trial

{seconds}
{picture}"""
_INTEGER = """
## The network and its integer program

{table}
"""
_PICTURE = f"""
## Means and trials

![Means, intervals and trials]({PICTURE})
"""


def write_page(folder: Path) -> None:
    """Writes `README.md`, and the picture if matplotlib is installed and a trial has a result."""
    try:
        _quiet(plot.main, ["bars", str(folder), "-o", str(folder / PICTURE)])
    except DqrunError as error:
        print(f"dqrun: {error}; {folder / PICTURE} stays as it is", file=sys.stderr)
    write_text(folder / "README.md", render(folder, load_runs([folder])[0]))


def render(folder: Path, runs: Sequence[Run]) -> str:
    """The page of a study with these `runs`."""
    cells = make_cells(runs, (compare.DEFAULT_ROWS + "," + compare.DEFAULT_COLUMNS).split(","))
    failed = sum(cell.failed for cell in cells)
    integer = [name for name in INTEGER if any(cell.values(name) for cell in cells)]
    layout = _layout(cells)

    def table(*options: str) -> str:
        return _table(folder, [*layout, *options])

    return _PAGE.format(
        name=folder.resolve().name,
        trials=len(runs),
        cells=len({run.row["cell_hash"] for run in runs}),
        failed=f", {failed} of them failed" if failed else "",
        commands=_without_shebang((folder / COMMANDS).read_text(encoding="utf-8")),
        machine=_machine(runs),
        metric=table("--published", "--spread", "both"),
        integer=_INTEGER.format(table=table("--metric", ",".join(["test_metric", *integer]))) if integer else "",
        seconds=table("--metric", "seconds"),
        picture=_PICTURE if (folder / PICTURE).exists() else "",
    )


def _table(folder: Path, options: Sequence[str]) -> str:
    """The output of `dqrun compare` in Markdown, below the command."""
    words = [*options, "--format", "markdown"]
    shown = _quiet(compare.main, [str(folder), *words]).rstrip()
    return f"```bash\ndqrun compare . {shlex.join(words)}\n```\n\n{shown}"


def _quiet(main: Callable[[Sequence[str]], int], words: Sequence[str]) -> str:
    """The output of a verb, without warnings."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(io.StringIO()):
        main(words)
    return shown.getvalue()


def _without_shebang(commands: str) -> str:
    return "\n".join(line for line in commands.strip().splitlines() if not line.startswith("#!"))


def _machine(runs: Sequence[Run]) -> str:
    """Machine and code of the rows, a line for each column, as a Markdown table."""
    lines = ["| | |", "| --- | --- |"]
    for column, name in _ABOUT.items():
        found = Counter(str(run.row[column] or "not recorded") for run in runs)
        values = [f"{value} ({count})" if len(found) > 1 else value for value, count in found.items()]
        lines.append(f"| {name} | {', '.join(values)} |")
    days = sorted(run.row["finished_utc"][:10] for run in runs)
    lines.append(f"| finished | {days[0]}{f' to {days[-1]}' if days[-1] != days[0] else ''} |")
    return "\n".join(lines)


def _layout(cells: Sequence[Cell]) -> list[str]:
    """The option that shows tags and separates configurations in the same place of the default table; empty if there
    are none of both."""
    rows = compare.DEFAULT_ROWS.split(",")
    extra = dict.fromkeys(["tags"] if any(run.row["tags"] for cell in cells for run in cell.runs) else [])
    for here in by_place(cells, rows, compare.DEFAULT_COLUMNS.split(",")).values():
        if len(here) > 1:
            extra |= dict.fromkeys(name for name in distinguishing(here) if here[0].runs[0].has(name))
    return ["--rows", ",".join([*rows, *extra])] if extra else []
