"""Progress of a sweep and estimate of its remaining time."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm

_BAR = "{desc} {percentage:3.0f}%|{bar}|"


class Meter:
    """Counts the trials of a sweep; `bar`: whether to show a progress bar over all of them.

    The remaining time is estimated as if all trials took equally long: seconds so far x trials left / trials done.
    """

    def __init__(self, total: int, bar: bool) -> None:
        self.total, self.done = total, 0
        self._parts: dict[str, float] = {}
        self._started = time.perf_counter()
        self._bar = tqdm(total=total, bar_format=_BAR, leave=False, file=sys.stderr) if bar else None
        self._show()

    def advance(self, name: str, part: float) -> None:
        """Sets the completed part, 0..1, of the running trial `name`."""
        self._parts[name] = min(part, 1.0)
        self._show()

    def leave(self, name: str) -> None:
        """The trial `name` does not run any more."""
        self._parts.pop(name, None)

    def finish(self) -> None:
        """Counts one more finished trial."""
        self.done += 1
        self._show()

    def left(self) -> str:
        """`; 3 of 8 done, about 4 min left`, or empty without an estimate."""
        if self.total < 2 or self.done >= self.total:
            return ""
        return f"; {self.done} of {self.total} done{self._estimate()}"

    def close(self) -> None:
        """Removes the bar."""
        if self._bar is not None:
            self._bar.close()

    def _estimate(self) -> str:
        worked = self._worked()
        if worked <= 0 or self.total <= 0:
            return ""
        seconds = (time.perf_counter() - self._started) * (self.total - worked) / worked
        return f", about {duration(seconds)} left"

    def _worked(self) -> float:
        """Number of finished trials, plus the completed parts of running ones."""
        return min(self.done + sum(self._parts.values()), self.total)

    def _show(self) -> None:
        if self._bar is not None:
            self._bar.n = self._worked()
            self._bar.set_description_str(f"{self.done} of {count(self.total, 'trial')} done{self._estimate()}")


def duration(seconds: float) -> str:
    """A duration in readable form: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def count(number: int, thing: str) -> str:
    """`1 trial`, `2 trials`."""
    return f"{number} {thing}" + ("" if number == 1 else "s")
