"""Breaks functions by one operator each and says whether the tests notice.

    python benchmarks/mutation.py [quant] [protocol] [analysis] [kernels] [compiled] [--per-function 1] [--seed 0]
                                  [--most N] [--only TEXT] [--near]

For each public function of the parts that are named (all by default) one operator or constant is drawn and changed:
`<` becomes `<=`, `+` becomes `-`, `and` becomes `or`, `True` becomes `False`, `3` becomes `4`. The tests of that part
then run in a copy of the checkout until one fails. Prints a line per change that no test noticed, and the share that
was noticed; writes nothing else. The tests must pass before anything is changed.

With `--near` only the tests of a change run that mirror its module (or, where none do, import from it), which takes
seconds: the share is then a lower bound, for a test of another module may notice what these do not.

`kernels` are the modules that Python runs, `compiled` those that numba compiles: their mutants compile anew what their
tests need, so that a sample (`--most 30`) takes as long as all of another part.

A change counts as noticed when a test fails, or when the tests take five times the processor's time that they take
without a change: an endless loop. Time of the clock says nothing on a busy machine; where it ends the tests, the change
is "undecided", and counts neither way.
"""

from __future__ import annotations

import argparse
import ast
import math
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).parents[1]
PARTS = {
    "quant": ("dqrun/quant", ["tests/quant", "tests/methods", "tests/nn"]),
    "protocol": ("dqrun/runs/protocol.py", ["tests/runs/test_protocol.py"]),
    "analysis": ("dqrun/analysis", ["tests/analysis"]),
    "kernels": ("dqrun/kernels", ["tests/kernels", "--ignore=tests/kernels/cpu/test_cache.py"]),
    "compiled": ("dqrun/kernels", ["tests/kernels", "--ignore=tests/kernels/cpu/test_cache.py"]),
}
"""The source of each part, and the tests that should notice its changes. The tests of the kernel cache are left out,
because they would fail in the copy, see `keep_machine_code`.
"""
COMPILED = ("dqrun/kernels/cpu", "dqrun/kernels/cpu/vector", "dqrun/kernels/integer/cpu")
"""Folders of the part `compiled`; all other modules of its source are the part `kernels`."""

OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
TIMES, MORE = 5.0, 30.0
"""Limit of the processor time of a change's tests: TIMES * the time without a change + MORE seconds."""
LINES = 15
"""Number of pytest's last lines that are shown if the tests fail without a change."""
PATIENCE = 3600.0
"""Seconds of wall time after which tests are killed and their change is undecided."""


@dataclass(frozen=True)
class Mutant:
    """A file with one change."""

    file: Path  # relative to the checkout
    function: str
    line: int
    change: str
    source: str

    @property
    def told(self) -> str:
        """The change in one line."""
        return f"{self.file}:{self.line} {self.function}: {self.change}"


def functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Public functions and methods of a module with their dotted names, including methods with double underscores."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef) and (inner.name[0] != "_" or inner.name.startswith("__")):
                    yield f"{node.name}.{inner.name}", inner


def places(function: ast.FunctionDef) -> list[tuple[ast.AST, str, int]]:
    """The places that can be changed: node, field, and the index of the operator in a comparison."""
    found: list[tuple[ast.AST, str, int]] = []
    annotations = {id(part) for node in ast.walk(function) for part in _annotations(node)}
    # Not in errors, f-strings and assertions: no test should depend on these.
    silent = {id(part) for node in ast.walk(function) if isinstance(node, ast.Raise | ast.JoinedStr | ast.Assert)
              for part in ast.walk(node)}  # fmt: skip
    for statement in function.body:
        for node in ast.walk(statement):
            if id(node) in annotations or id(node) in silent:
                continue
            if isinstance(node, ast.Compare):
                found += [(node, "ops", i) for i, op in enumerate(node.ops) if type(op) in OPERATORS]
            elif isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp) and type(node.op) in OPERATORS:
                found.append((node, "op", 0))
            elif isinstance(node, ast.Constant) and type(node.value) in (bool, int, float):
                found.append((node, "value", 0))
            elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
                found.append((node, "operand", 0))
    return found


def _annotations(node: ast.AST) -> Iterator[ast.AST]:
    parts = [getattr(node, name, None) for name in ("annotation", "returns")]
    for part in parts:
        if isinstance(part, ast.AST):
            yield from ast.walk(part)


def change(node: ast.AST, field: str, index: int) -> str:
    """Changes a node in place; returns the code before and after."""
    before = ast.unparse(node)
    if isinstance(node, ast.Compare):
        node.ops[index] = OPERATORS[type(node.ops[index])]()  # type: ignore[call-overload]
    elif field == "op":
        node.op = OPERATORS[type(node.op)]()  # type: ignore[attr-defined]
    elif isinstance(node, ast.Constant):
        node.value = (not node.value) if isinstance(node.value, bool) else node.value + 1  # type: ignore[operator]
    elif isinstance(node, ast.UnaryOp):
        node.op = ast.UAdd() if isinstance(node.op, ast.USub) else ast.Not()
        if isinstance(node.op, ast.Not):
            node.operand = ast.UnaryOp(ast.Not(), node.operand)
    return f"{before}  ->  {ast.unparse(node)}"


def files(part: str) -> list[Path]:
    """The modules of a part."""
    place = ROOT / PARTS[part][0]
    found = sorted(place.rglob("*.py")) if place.is_dir() else [place]
    if PARTS[part][0] != "dqrun/kernels":
        return found
    return [path for path in found if is_compiled(path.relative_to(ROOT)) == (part == "compiled")]


def is_compiled(file: Path) -> bool:
    """Whether numba compiles the functions of a module; `file`: relative to the checkout."""
    return file.parent.as_posix() in COMPILED


def mutants(part: str, per_function: int, seed: int) -> list[Mutant]:
    """The changes of one part, which depend only on the seed and the source."""
    made = []
    for file in files(part):
        text = file.read_text(encoding="utf-8")
        for name, function in functions(ast.parse(text)):
            generator = random.Random(f"{seed} {file.relative_to(ROOT)} {name}")
            count = len(places(function))
            for place in generator.sample(range(count), min(per_function, count)):
                tree = ast.parse(text)
                fresh = dict(functions(tree))[name]
                node, field, index = places(fresh)[place]
                said = change(node, field, index)
                line = getattr(node, "lineno", fresh.lineno)
                made.append(
                    Mutant(file.relative_to(ROOT), name, line, said, ast.unparse(ast.fix_missing_locations(tree)))
                )
    return made


def copy_checkout(folder: Path) -> None:
    """Copies the tracked files of the checkout, including published results, which tests read."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout
    for name in filter(None, names.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    for words in (["init", "-q"], ["add", "-A"]):  # tests ask git for the files of the checkout
        subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)


def tests_of(part: str, file: Path | None) -> list[str]:
    """Paths of tests of a part, those near a source file first."""
    return ([] if file is None else tests_near(file)) + PARTS[part][1]


def tests_near(file: Path) -> list[str]:
    """Paths of the tests that mirror a module, else of those that import from it, else from modules that import it."""
    below = file.relative_to("dqrun")
    mirror = str(Path("tests") / below.with_name(f"test_{below.name}"))
    if mirror in imports("tests"):
        return [mirror]
    module = dotted(file)
    importing = {dotted(Path(name)) for name, names in imports("dqrun").items() if module in names}
    for modules in ({module}, importing):
        if found := [test for test, names in imports("tests").items() if modules & names]:
            return found
    return []


def dotted(file: Path) -> str:
    """The name of a module."""
    return ".".join(file.with_suffix("").parts).removesuffix(".__init__")


@cache
def imports(folder: str) -> dict[str, set[str]]:
    """Imports of each file in "tests" or "dqrun", as dotted names: modules, and the names imported from them."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / folder).rglob("test_*.py" if folder == "tests" else "*.py")):
        names: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        found[str(path.relative_to(ROOT))] = names
    return found


@dataclass(frozen=True)
class Answer:
    """The result of a run of tests; `passed` is None if it was killed after PATIENCE seconds."""

    passed: bool | None
    seconds: float  # processor time
    said: str = ""  # the last lines of pytest


def run_tests(folder: Path, tests: list[str], limit: float | None = None, caches: Path | None = None) -> Answer:
    """Runs tests in a fork of this process, in which large packages are loaded already.

    `limit`: seconds of processor time. `caches`: folder of the machine code; None: beside the modules.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        process = os.fork()
        if process == 0:
            _run_pytest(folder, tests, limit, caches, output.fileno())
        passed, used = _ended(process)
        output.seek(0)
        said = "\n".join(output.read().splitlines()[-LINES:])
    return Answer(passed, used.ru_utime + used.ru_stime, said)


def _ended(process: int) -> tuple[bool | None, resource.struct_rusage]:
    """Waits for a process; whether it exited with 0, or None if it was killed after PATIENCE seconds, and its usage."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        done, status, used = os.wait4(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) == 0, used
        time.sleep(0.02)
    os.killpg(process, signal.SIGKILL)
    return None, os.wait4(process, 0)[2]


def _run_pytest(folder: Path, tests: list[str], limit: float | None, caches: Path | None, output: int) -> NoReturn:
    """Runs pytest and ends this process, with 0 if all tests pass; `output`: descriptor of the file for its output."""
    code = 1
    try:
        os.setsid()
        os.chdir(folder)
        os.environ["PYTHONPATH"] = str(folder)
        if caches is not None:
            import numba

            numba.config.CACHE_DIR = os.environ["NUMBA_CACHE_DIR"] = str(caches)
        sys.path.insert(0, str(folder))
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(limit), math.ceil(limit) + 5))
        for stream in (1, 2):
            os.dup2(output, stream)
        import pytest

        code = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests]))
        sys.stdout.flush()
    finally:
        os._exit(code)


def outcome(folder: Path, tests: list[str], mutant: Mutant, limit: float) -> Answer:
    """The result of the tests with the change in the copy, which is undone afterwards."""
    target = folder / mutant.file
    original, status = target.read_bytes(), target.stat()
    target.write_text(mutant.source, encoding="utf-8")
    try:
        if not is_compiled(mutant.file):
            return run_tests(folder, tests, limit)
        with tempfile.TemporaryDirectory() as caches:
            return run_tests(folder, tests, limit, Path(caches))
    finally:
        target.write_bytes(original)
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))  # the compile cache depends on this time


def keep_machine_code(folder: Path) -> None:
    """Makes the digest of the copy's kernels constant, so that changes of other modules do not cause compilation."""
    cache = folder / "dqrun/kernels/cpu/cache.py"
    text = cache.read_text(encoding="utf-8")
    assert "    return digest.hexdigest()\n" in text
    cache.write_text(text.replace("    return digest.hexdigest()\n", '    return "kept"\n'), encoding="utf-8")


def score(folder: Path, part: str, args: argparse.Namespace) -> None:
    """Prints the unnoticed and undecided changes, and the share of noticed changes."""

    @cache
    def unchanged(tests: tuple[str, ...]) -> float:
        """Processor time of the tests without a change; exits if they fail."""
        whole = run_tests(folder, list(tests))
        if not whole.passed:
            sys.exit(f"{part}: the tests fail before anything is changed:\n{whole.said}")
        return whole.seconds

    chosen = [mutant for mutant in mutants(part, args.per_function, args.seed) if args.only in mutant.told]
    if args.most is not None and len(chosen) > args.most:
        chosen = random.Random(args.seed).sample(chosen, args.most)
    noticed = undecided = 0
    for mutant in chosen:
        near = tests_near(mutant.file)
        seconds = unchanged(tuple(near if args.near else PARTS[part][1])) if near or not args.near else 0.0
        tests = near if args.near else tests_of(part, mutant.file)
        answer = outcome(folder, tests, mutant, TIMES * seconds + MORE) if tests else Answer(True, 0.0)
        noticed += answer.passed is False
        undecided += answer.passed is None
        if answer.passed is not False:
            print(f"  {'undecided: ' if answer.passed is None else ''}{mutant.told}", flush=True)
    judged = len(chosen) - undecided
    share = f"{100 * noticed / max(1, judged):.1f} %"
    print(f"{part}: {noticed} of {judged} changes noticed, {share}; {undecided} undecided", flush=True)


def main() -> None:
    """Reads the command line and scores the parts, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"{', '.join(PARTS)}; none: all")
    parser.add_argument("--per-function", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--most", type=int, help="draw so many changes of a part, not all")
    parser.add_argument("--near", action="store_true", help="run the tests of a changed module alone: a lower bound")
    parser.add_argument("--only", default="", help="changes whose file, function or text has this")
    args = parser.parse_args()
    for part in args.parts:
        if part not in PARTS:
            parser.error(f"a part must be one of {', '.join(PARTS)}, got {part!r}")
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.dont_write_bytecode = True
    preload()
    with tempfile.TemporaryDirectory() as name:
        copy_checkout(Path(name))
        keep_machine_code(Path(name))
        for part in args.parts or PARTS:
            score(Path(name), part, args)


def preload() -> None:
    """Imports the packages that all tests import, but no module of dqrun."""
    import matplotlib
    import numba
    import numpy
    import pandas
    import pytest
    import scipy.stats
    import sklearn.model_selection
    import torch

    assert all((matplotlib, numba, numpy, pandas, pytest, scipy, sklearn, torch))
    assert not any(module == "dqrun" or module.startswith("dqrun.") for module in sys.modules)


if __name__ == "__main__":
    main()
