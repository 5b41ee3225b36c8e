"""Progress of a benchmark on stderr: a bar on a terminal, otherwise a line per stage."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Tick = Callable[[], object]
"""Called after each step of a stage."""


@contextmanager
def stage(text: str, steps: int) -> Iterator[Tick]:
    """Shows `text` and the number of finished `steps` while the block runs; yields the function to call per step."""
    from tqdm import tqdm

    if not sys.stderr.isatty():
        print(f"{text} ...", file=sys.stderr, flush=True)
        yield lambda: None
        return
    with tqdm(total=steps, desc=text, leave=False) as bar:
        yield bar.update
