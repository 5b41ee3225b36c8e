"""Progress on the terminal: a bar per trial, plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dqrun.config import RunConfig
from dqrun.protocol import Trial, canonical
from dqrun.report.tables import format_table, summary_lines
from dqrun.results import Results, Row
from dqrun.training import Epoch

SECONDS_BETWEEN_LINES = 30.0  # where stderr is no terminal


def title(config: RunConfig, trial: Trial) -> str:
    """A trial in a few words: `threads gin int4 dq seed 0`."""
    words = [config.dataset.name, config.model.name, config.quant.label]
    words += [] if config.quant.is_fp32 else [canonical(config).method.name]
    words += [f"seed {trial.seed}"] if trial.fold is None else [f"fold {trial.fold}"]
    return " ".join(words)


def integer_words(row: Row) -> str:
    """What the integer program gave: `; integer program 0.7990, 100.00 % of the predictions agree`."""
    if row.test_metric_integer is None or row.integer_agreement is None:
        return ""
    agreement = f"{100 * row.integer_agreement:.2f} % of the predictions agree"
    return f"; integer program {row.test_metric_integer:.4f}, {agreement}"


class Progress:
    """Tells a person what happens. Bars and messages go to stderr, the final table to stdout."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.bars = not quiet and sys.stderr.isatty()
        self.started = time.perf_counter()
        self.ran = self.known = 0
        self._notes: set[str] = set()
        self._complaints: set[str] = set()

    def note(self, text: str) -> None:
        """Says something once, unless quiet."""
        if text and text not in self._notes and not self.quiet:
            tqdm.write(text, file=sys.stderr)
        self._notes.add(text)

    def complain(self, complaints: list[str]) -> None:
        """Says each complaint once, even when quiet: something on the disk is damaged."""
        for text in complaints:
            if text not in self._complaints:
                tqdm.write(f"dqrun: {text}", file=sys.stderr)
            self._complaints.add(text)

    @contextmanager
    def trial(self, config: RunConfig, trial: Trial) -> Iterator[Callable[[Epoch], None]]:
        """Gives the function that takes each epoch of a trial."""
        if not self.bars:
            yield self._plain_lines(title(config, trial), config.train.epochs)
            return
        with tqdm(total=config.train.epochs, desc=title(config, trial), unit="epoch", leave=False) as bar:

            def report(epoch: Epoch) -> None:
                bar.set_postfix(loss=f"{epoch.train_loss:.4f}", val=f"{epoch.val_metric:.4f}", refresh=False)
                bar.update()

            yield report

    def _plain_lines(self, name: str, epochs: int) -> Callable[[Epoch], None]:
        """For logs: a line at most every half minute."""
        last = time.perf_counter()

        def report(epoch: Epoch) -> None:
            nonlocal last
            if self.quiet or time.perf_counter() - last < SECONDS_BETWEEN_LINES:
                return
            last = time.perf_counter()
            print(
                f"{name}: epoch {epoch.epoch} of {epochs}, loss {epoch.train_loss:.4f}, val {epoch.val_metric:.4f}",
                file=sys.stderr,
                flush=True,
            )

        return report

    def skipped(self, name: str, row: dict[str, Any]) -> None:
        """A trial that has its row already."""
        self.known += 1
        self.note(f"{name}: already done, test {row['metric']} {row['test_metric']:.4f} (rerun=true runs it again)")

    def finished(self, row: Row) -> None:
        """A trial that ended, well or not."""
        self.ran += 1
        if row.status != "done":
            tqdm.write(f"dqrun: {row.run_id} failed: {row.reason}", file=sys.stderr)
        elif not self.quiet:
            tqdm.write(
                f"{row.run_id}: test {row.metric} {row.test_metric:.4f}, validation {row.val_metric:.4f} "
                f"at epoch {row.best_epoch} of {row.epochs}, {row.seconds:.1f} s{integer_words(row)}",
                file=sys.stderr,
            )

    def summary(self, cells: dict[str, Results]) -> None:
        """The table of the cells of this command, from the rows on disk, and where the files are."""
        if self.quiet:
            return
        print(format_table(summary_lines(cells)))
        elapsed = time.perf_counter() - self.started
        known = f", {self.known} known before" if self.known else ""
        print(f"{self.ran} trials in {elapsed:.1f} s{known}")
        for root in sorted({str(results.root) for results in cells.values()}):
            print(f"tables: {Path(root) / 'summary.csv'}, {Path(root) / 'trials.csv'}; runs: {Path(root) / 'runs'}")
