"""The README.md of a folder of published trials: commands, machine and tables, all from what lies in the folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pages

from dqrun.report.cells import Cell, make_cells
from dqrun.report.checks import differing
from dqrun.report.compare import DEFAULT_COLUMNS, DEFAULT_ROWS
from dqrun.report.comparison import by_place
from dqrun.report.rows import Run, load_runs

ABOUT = {
    "processor": "processor",
    "device": "device",
    "threads": "threads",
    "torch_version": "torch",
    "pyg_version": "PyG",
    "dqrun_version": "dqrun",
    "git_revision": "commit of dqrun",
}

INTEGER_FIELDS = ("test_metric_integer", "integer_agreement", "integer_agreement_float32")

PAGE = """\
# {name}

{trials} trials of {cells} configurations{failed}, made by

```bash
{commands}
```

Written by `python benchmarks/publish.py` from the rows and configurations in `runs/`; `trials.csv` and `summary.csv`
hold the same. A cell with fewer trials than the commands give is not complete.

## Machine and code

{machine}

`+` after a commit: with changes that were not committed; `(N)`: in N trials.

## Test metric

{block_metric}
{integer}
## Seconds per trial

{block_seconds}
{picture}"""

INTEGER = """
## The network and its integer program

{block}
"""

PICTURE = """
## Means and trials

![Means, intervals and trials](bars.svg)
"""


def render(folder: Path) -> str:
    """The page of `results/published/NAME`, with its tables filled in."""
    runs, _ = load_runs([folder])
    cells = make_cells(runs, (DEFAULT_ROWS + "," + DEFAULT_COLUMNS).split(","))
    command = f"dqrun compare results/published/{folder.name}{_rows(cells)} --format markdown"
    failed = sum(cell.failed for cell in cells)
    integer = [name for name in INTEGER_FIELDS if any(cell.values(name) for cell in cells)]
    block = _empty_block(f"{command} --metric {','.join(['test_metric', *integer])}")
    page = PAGE.format(
        name=folder.name,
        trials=len(runs),
        cells=len(cells),
        failed=f", {failed} of them failed" if failed else "",
        commands=commands(folder / "command.sh"),
        machine=machine(runs),
        block_metric=_empty_block(f"{command} --published --spread both"),
        integer=INTEGER.format(block=block) if integer else "",
        block_seconds=_empty_block(f"{command} --metric seconds"),
        picture=PICTURE if (folder / "bars.svg").exists() else "",
    )
    return pages.filled(page)


def commands(path: Path) -> str:
    """A command.sh without its shebang."""
    lines = path.read_text(encoding="utf-8").strip().splitlines()
    return "\n".join(line for line in lines if not line.startswith("#!"))


def machine(runs: Sequence[Run]) -> str:
    """What the rows say of machine and code, a line for each column, as a Markdown table."""
    lines = ["| | |", "| --- | --- |"]
    for column, name in ABOUT.items():
        found = Counter(str(run.row.get(column) or "not recorded") for run in runs)
        values = [f"{value} ({count})" if len(found) > 1 else value for value, count in found.items()]
        lines.append(f"| {name} | {', '.join(values)} |")
    days = sorted(run.row["finished_utc"][:10] for run in runs)
    lines.append(f"| finished | {days[0]}{f' to {days[-1]}' if days[-1] != days[0] else ''} |")
    return "\n".join(lines)


def _rows(cells: Sequence[Cell]) -> str:
    """The option that parts configurations which would share a place of the default table, or nothing."""
    rows = DEFAULT_ROWS.split(",")
    extra: dict[str, None] = {}
    for here in by_place(cells, rows, DEFAULT_COLUMNS.split(",")).values():
        extra |= dict.fromkeys(name for name in differing(here) if here[0].runs[0].has(name))
    return f" --rows {','.join([*rows, *extra])}" if extra else ""


def _empty_block(command: str) -> str:
    return f"{pages.OPENING}{command} -->\n<!-- end -->"
