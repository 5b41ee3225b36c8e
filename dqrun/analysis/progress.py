"""Progress on the terminal: a bar per trial, plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from dqrun.analysis.meter import Meter, count
from dqrun.analysis.running import Running
from dqrun.analysis.tables import format_table, summary_lines, told_apart
from dqrun.config import RunConfig
from dqrun.runs.protocol import Trial, canonical
from dqrun.runs.store import Results

if TYPE_CHECKING:  # imports torch: a command whose trials have their rows needs none
    from dqrun.training.state import Epoch


def title(config: RunConfig, trial: Trial) -> str:
    """A trial in a few words: `threads gin int4 dq seed 0`."""
    words = [config.dataset.name, config.model.name, config.quant.label]
    words += [] if config.quant.is_fp32 else [canonical(config).method.name]
    words += [f"seed {trial.seed}"] if trial.fold is None else [f"fold {trial.fold}"]
    return " ".join(words)


def integer_words(row: Mapping[str, Any]) -> str:
    """The integer program's metric and the shares of its predictions that agree with the network in float64 and
    float32: `; integer program 0.7990, 100.00 % of the predictions agree (99.50 % in float32)`."""
    if row.get("test_metric_integer") is None or row.get("integer_agreement") is None:
        return ""
    agreement = f"{100 * row['integer_agreement']:.2f} % of the predictions agree"
    in_float32 = f"{100 * row['integer_agreement_float32']:.2f} % in float32"
    return f"; integer program {row['test_metric_integer']:.4f}, {agreement} ({in_float32})"


class Progress:
    """Reports progress to the user. Bars and messages go to stderr, the final table to stdout."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.bars = not quiet and sys.stderr.isatty()
        self.started = time.perf_counter()
        self.known = 0
        self.rows: list[dict[str, Any]] = []
        """Rows of the trials that ended while this command ran."""
        self.meter: Meter | None = None
        self._running = Running(self.bars, quiet)
        self._notes: set[str] = set()
        self._complaints: set[str] = set()

    def plan(self, text: str, to_do: int, known: int) -> None:
        """Prints the plan of the command, before anything runs."""
        self.known = known
        self.note(text)
        self.meter = self._running.meter = Meter(to_do, bar=self.bars and to_do > 1)

    def note(self, text: str) -> None:
        """Prints a message once, unless quiet."""
        if text and text not in self._notes and not self.quiet:
            tqdm.write(text, file=sys.stderr)
        self._notes.add(text)

    def complain(self, complaints: list[str]) -> None:
        """Prints each complaint about damaged files once, even if quiet."""
        for text in complaints:
            if text not in self._complaints:
                tqdm.write(f"dqrun: {text}", file=sys.stderr)
            self._complaints.add(text)

    @contextmanager
    def trial(self, config: RunConfig, trial: Trial) -> Iterator[Callable[[Epoch], None]]:
        """Yields a function to be called with each epoch of a trial."""
        name, epochs = title(config, trial), config.own_train.epochs
        try:
            yield lambda epoch: self._running.show(name, name, epochs, epoch)
        finally:
            self._running.end(name)

    def heard(self, label: str, title: str, epochs: int, epoch: Epoch) -> None:
        """Reports an epoch of a trial in another process; `label` identifies the trial."""
        self._running.show(label, title, epochs, epoch)

    def unheard(self, label: str) -> None:
        """The trial `label` no longer runs."""
        self._running.end(label)

    def finished(self, row: Mapping[str, Any], here: bool = True) -> None:
        """Reports the end of a trial, finished or failed; `here`: in this sweep, else in another one."""
        self.rows.append(dict(row))
        if self.meter is not None:
            self.meter.finish()
        if row["status"] != "done":
            tqdm.write(f"dqrun: {row['run_id']} failed: {row['reason']}", file=sys.stderr)
        elif not self.quiet:
            tqdm.write(self._result(row) + ("" if here else ", by another sweep"), file=sys.stderr)

    def _result(self, row: Mapping[str, Any]) -> str:
        left = self.meter.left() if self.meter is not None and not self.bars else ""
        judged = "" if row["test_metric"] is None else f"test {row['metric']} {row['test_metric']:.4f}, "
        kept = f" at epoch {row['best_epoch']} of {row['epochs']}" if row["epochs"] else ", not trained"
        words = f"{judged}validation {row['val_metric']:.4f}{kept}, {row['seconds']:.1f} s"
        return f"{row['run_id']}: {words}{integer_words(row)}{left}"

    def close(self) -> None:
        """Removes the bars."""
        self._running.close()
        if self.meter is not None:
            self.meter.close()

    def summary(self, cells: dict[str, Results]) -> None:
        """Prints the table of this command's cells, from the rows on disk, the folders of the files, and failures."""
        failures = [row for row in self.rows if row["status"] != "done"]
        if not self.quiet:
            lines = summary_lines(cells)
            print(format_table(lines, told_apart(lines, cells)))
            known = f", {self.known} known before" if self.known else ""
            print(f"{count(len(self.rows), 'trial')} in {time.perf_counter() - self.started:.1f} s{known}")
            for root in sorted({str(results.root) for results in cells.values()}):
                print(f"tables: {Path(root) / 'summary.csv'}, {Path(root) / 'trials.csv'}; runs: {Path(root) / 'runs'}")
        if failures and len(self.rows) > 1:
            print(f"dqrun: {len(failures)} of {count(len(self.rows), 'trial')} failed:", file=sys.stderr)
            for row in failures:
                log = f" (see {row['log']})" if row["log"] else ""
                print(f"  {row['run_id']}: {row['reason']}{log}", file=sys.stderr)
