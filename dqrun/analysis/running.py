"""Shows the epochs of running trials: on a terminal a bar for each, elsewhere a line from time to time."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Never

from tqdm import tqdm

from dqrun.analysis.meter import Meter

if TYPE_CHECKING:  # imports torch: a command whose trials have their rows needs none
    from dqrun.training.state import Epoch

SECONDS_BETWEEN_LINES = 30.0
"""Where stderr is no terminal."""
MOST_BARS = 8
"""Trials at a time that get a bar; more would fill the terminal."""


class Running:
    """Shows the epochs of trials by name; `meter` counts them as parts of the sweep."""

    def __init__(self, bars: bool, quiet: bool) -> None:
        self.meter: Meter | None = None
        self._with_bars, self._quiet = bars, quiet
        self._bars: dict[str, tqdm[Never]] = {}
        self._latest: dict[str, str] = {}
        self._said = time.perf_counter()

    def show(self, name: str, title: str, epochs: int, epoch: Epoch) -> None:
        """The trial `name`, shown as `title`, has trained `epoch` of `epochs`."""
        if self.meter is not None:
            self.meter.advance(name, epoch.epoch / epochs)
        if self._with_bars:
            self._move_bar(name, title, epochs, epoch)
        elif not self._quiet:
            figures = f"loss {epoch.train_loss:.4f}, val {epoch.val_metric:.4f}"
            self._latest[name] = f"{title}: epoch {epoch.epoch} of {epochs}, {figures}"
            self._say()

    def end(self, name: str) -> None:
        """The trial does not run any more."""
        if self.meter is not None:
            self.meter.leave(name)
        self._latest.pop(name, None)
        if name in self._bars:
            self._bars.pop(name).close()

    def close(self) -> None:
        """Removes the bars."""
        for name in [*self._bars, *self._latest]:
            self.end(name)

    def _move_bar(self, name: str, title: str, epochs: int, epoch: Epoch) -> None:
        bar = self._bars.get(name)
        if bar is not None and bar.desc != f"{title}: ":  # the FP32 trial of its warm start has ended
            self._bars.pop(name).close()
        if name not in self._bars:
            if len(self._bars) >= MOST_BARS:
                return
            self._bars[name] = tqdm(total=epochs, desc=title, unit="epoch", leave=False, file=sys.stderr)
        bar = self._bars[name]
        bar.set_postfix(loss=f"{epoch.train_loss:.4f}", val=f"{epoch.val_metric:.4f}", refresh=False)
        bar.update(epoch.epoch - bar.n)  # a resumed trial does not begin at 1

    def _say(self) -> None:
        """For logs: a line for each trial that runs, at most every half minute."""
        if time.perf_counter() - self._said >= SECONDS_BETWEEN_LINES:
            self._said = time.perf_counter()
            print(*self._latest.values(), sep="\n", file=sys.stderr, flush=True)
