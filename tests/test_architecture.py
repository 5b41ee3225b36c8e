"""Imports point one way: config <- quant <- nn <- training <- sweep <- cli (docs/explanation/architecture.md)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "dqrun"

ORDER = ("errors", "config", "quant", "nn", "training", "sweep", "cli")
"""A package may use the packages to its left, never one to its right."""

ALLOWED = {
    "errors": set(),
    "config": {"errors", "paths", "register"},
    "register": {"errors"},
    "kernels": {"graphs", "errors"},
    "graphs": {"errors"},
    "ranks": {"kernels", "config", "errors", "process"},
    "integer": {"nn", "quant", "kernels", "graphs", "errors", "durable", "extras"},
}
"""Packages that may use these packages and no others."""

FORBIDDEN = {
    "quant": {"graphs", "data", "nn", "methods", "integer"},
    "nn": {"integer", "data"},
    "data": {"nn", "quant", "methods", "integer"},
}
"""Packages that never use these packages, wherever the order would let them."""

ENGINE_USERS = {"__init__", "api", "integer", "prediction", "training", "cli", "bench"}
"""Packages that may use the integer engine."""

MOST_AT_THE_ROOT = 8

NEEDS_NO_NETWORKS = {
    *("__init__", "container", "operations", "program", "signature"),
    *("storage", "structure", "summary", "validation"),
}
"""Modules of the engine that load and run a program: they import torch and the kernels' interface alone."""

LIGHT_MODULES = {
    *("errors", "names", "durable", "paths", "register", "config", "composition", "plugins"),
    *("cli/__init__", "cli/candidates", "cli/completion", "cli/docs", "cli/help", "cli/hydra_flags"),
    *("cli/verbs/__init__", "process/__init__", "process/cores", "process/interrupts", "process/streams"),
    *("ranks/__init__", "ranks/meeting"),
    *("process/verbosity", "process/waiting", "runs/__init__", "runs/protocol"),
    *("bench/__init__", "bench/cli", "bench/command", "bench/inference_cli", "bench/program_cli"),
    *("methods", "tune/__init__", "tune/cli", "tune/space"),
    *("sweep/__init__", "sweep/run", "sweep/plan", "sweep/tidying", "sweep/locks", "sweep/owner"),
    *("sweep/launchers/__init__", "sweep/launchers/plain", "data/__init__", "data/fingerprint", "extras"),
    *("runs/store", "runs/tables", "runs/row", "runs/records", "runs/intervals", "runs/tracking"),
    *("analysis/__init__", "analysis/progress", "analysis/running", "analysis/tables", "analysis/meter"),
    *("analysis/baselines", "analysis/cells", "analysis/checks", "analysis/rows", "analysis/study"),
    *("analysis/sheets", "analysis/text"),
}
"""Modules and packages that run before a command line is known to be right, or where each trial of a command has its
row: none imports torch or pandas when it is imported."""


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def part_of(file: Path) -> str:
    """The part of the package that a file belongs to: its folder, or its own name."""
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(nodes: list[ast.stmt] | list[ast.AST]) -> Iterator[str]:
    """Full names of what import statements name."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def parts_used(file: Path) -> set[str]:
    """Parts of the package that a file imports anywhere, inside functions too."""
    names = imports(list(ast.walk(ast.parse(file.read_text(encoding="utf-8")))))
    used = {name.split(".")[1] for name in names if name.startswith("dqrun.")}
    return used - {part_of(file), "__version__"}


@pytest.mark.parametrize("file", modules(), ids=lambda file: file.relative_to(PACKAGE).as_posix())
def test_arrows_point_one_way(file: Path) -> None:
    own, used = part_of(file), parts_used(file)
    if own in ORDER:
        assert not used & set(ORDER[ORDER.index(own) + 1 :])
    assert not used & FORBIDDEN.get(own, set())
    assert used <= ALLOWED.get(own, used)
    if own not in ("cli", "__main__"):
        assert "cli" not in used
    assert "integer" not in used or own in ENGINE_USERS


def test_the_root_has_few_modules() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= MOST_AT_THE_ROOT


@pytest.mark.parametrize("name", sorted(NEEDS_NO_NETWORKS))
def test_a_program_loads_without_networks_and_quantisers(name: str) -> None:
    assert parts_used(PACKAGE / "integer" / f"{name}.py") <= {"kernels", "graphs", "errors", "durable"}


@pytest.mark.parametrize("name", sorted(LIGHT_MODULES))
def test_light_modules_import_nothing_heavy(name: str) -> None:
    package = PACKAGE / name
    files = sorted(package.glob("*.py")) if package.is_dir() else [PACKAGE / f"{name}.py"]
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in files]
    for imported in (imported for tree in trees for imported in imports(tree.body)):
        top, *rest = imported.split(".")
        assert top not in ("torch", "torch_geometric", "numba", "pandas", "sklearn", "scipy")
        names = {"/".join(rest[:depth]) for depth in range(1, len(rest) + 1)}
        modules = names | {f"{name}/__init__" for name in names}
        assert top != "dqrun" or modules & (LIGHT_MODULES | {"__version__"}), imported
