"""How far a sweep is and how long the rest will take."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm

_BAR = "{desc} {percentage:3.0f}%|{bar}| {postfix}"


class Meter:
    """Counts the trials of a sweep, with a bar over all of them where `bar` asks for one.

    The estimate of the time left takes the trials to be alike: seconds so far, times what is left, by what is done.
    """

    def __init__(self, total: int, bar: bool) -> None:
        self.total, self.done = total, 0
        self._part = 0.0
        self._started = time.perf_counter()
        self._bar = tqdm(total=total, desc="all trials", bar_format=_BAR, leave=False, file=sys.stderr) if bar else None
        self._show()

    def advance(self, part: float) -> None:
        """The trial that runs now is done to this part, 0..1."""
        self._part = min(part, 1.0)
        self._show()

    def finish(self) -> None:
        """One more trial has ended."""
        self.done, self._part = self.done + 1, 0.0
        self._show()

    def left(self) -> str:
        """`; 3 of 8 done, about 4 min left`, or nothing where there is nothing to estimate."""
        if self.total < 2 or self.done >= self.total:
            return ""
        return f"; {self.done} of {self.total} done{self._estimate()}"

    def close(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.close()

    def _estimate(self) -> str:
        worked = self.done + self._part
        if worked <= 0 or self.total <= 0:
            return ""
        seconds = (time.perf_counter() - self._started) * (self.total - worked) / worked
        return f", about {duration(seconds)} left"

    def _show(self) -> None:
        if self._bar is not None:
            self._bar.n = self.done + self._part
            self._bar.set_postfix_str(f"{self.done} of {self.total} done{self._estimate()}", refresh=True)


def duration(seconds: float) -> str:
    """A time for people: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def count(number: int, thing: str) -> str:
    """`1 trial`, `2 trials`."""
    return f"{number} {thing}" + ("" if number == 1 else "s")
