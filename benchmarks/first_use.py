"""What the first trial of a new installation compiles: `python benchmarks/first_use.py [WORDS...]`.

Trains `dqrun model=gin quant=int4` for three epochs, or the configuration of WORDS, with an empty compile cache, and
prints the processor time of each kernel's compilation and of the whole process, in seconds; other processes change it
less than wall time. `plan=integer evaluate.engine=integer` adds the kernels of an integer program.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import Counter
from typing import Any

DEFAULT = ["model=gin", "quant=int4", "train.epochs=3", "protocol.trials=1"]


class Clock:
    """Processor time of compilation by kernel, in seconds; a nested compilation counts for the outermost kernel."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.depth = 0

    def around(self, name_of: Any, method: Any) -> Any:
        """Wraps the method, so that its time is added to the function `name_of(owner)`."""

        def timed(owner: Any, *args: Any) -> Any:
            start = time.process_time()
            self.depth += 1
            try:
                return method(owner, *args)
            finally:
                self.depth -= 1
                if not self.depth:
                    function = name_of(owner)
                    self.seconds[f"{function.__module__}.{function.__name__}"] += time.process_time() - start

        return timed


def main(words: list[str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NUMBA_CACHE_DIR"] = f"{folder}/kernels"
        from numba.core.ccallback import CFunc
        from numba.core.dispatcher import _FunctionCompiler

        from dqrun.cli import main as dqrun

        clock = Clock()
        _FunctionCompiler.compile = clock.around(lambda compiler: compiler.py_func, _FunctionCompiler.compile)
        CFunc.compile = clock.around(lambda task: task._pyfunc, CFunc.compile)
        code = dqrun([*(words or DEFAULT), f"results.dir={folder}/results"])
    for name, seconds in clock.seconds.most_common():
        print(f"{seconds:6.2f} s  {name.removeprefix('dqrun.kernels.')}")
    print(f"{clock.seconds.total():6.2f} s  of {time.process_time():.2f} s of the process: compilation")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
