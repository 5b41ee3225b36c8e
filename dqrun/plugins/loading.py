"""Imports plug-ins: entry points of installed packages, `DQRUN_PLUGINS`, and the list of the field `plugins`."""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib.machinery import SourceFileLoader
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from dqrun import register
from dqrun.errors import ConfigError, printable
from dqrun.paths import real_path, user_path

FIELD, VARIABLE, GROUP = "plugins", "DQRUN_PLUGINS", "dqrun.plugins"
VERSION = "__dqrun_version__"
"""Attribute of a module that was imported from a file: the digest of its source."""


def asked_for(names: Iterable[str]) -> list[str]:
    """The plug-ins of the environment variable DQRUN_PLUGINS, then those of `names`, without repetitions."""
    variable = (name.strip() for name in os.environ.get(VARIABLE, "").split(","))
    return list(dict.fromkeys([*(name for name in variable if name), *names]))


def load_plugins(names: Iterable[str]) -> None:
    """Imports installed plug-ins, then `names`: files (`./mine.py`), folders with an `__init__.py`, or modules.

    Each is imported once per process; a changed file is imported again. If an import fails, raises ConfigError, in one
    line with the file, the line and the exception.
    """
    for point in entry_points(group=GROUP):
        _guarded(f"the installed plug-in {point.name} ({point.value})", point.load)
    for name in names:
        if _is_path(name):
            path = _existing(name)
            _guarded(name, partial(_load_file, path))
        else:
            _guarded(name, partial(importlib.import_module, name))


def typed_plugins(words: Sequence[str]) -> list[str]:
    """The list of the last `plugins=[...]` among the words of a command line; raises ConfigError for no plain list."""
    found: list[str] = []
    for word in words:
        name, _, value = word.partition("=")
        if name.lstrip("+") != FIELD:
            continue
        text = value.strip()
        if not (text.startswith("[") and text.endswith("]")) or "]" in text[:-1]:
            raise ConfigError.rule(FIELD, "be one list, e.g. [./mine.py,my_package.quant]", text)
        found = [part.strip().strip("'\"") for part in text[1:-1].split(",") if part.strip()]
    return found


def _is_path(name: str) -> bool:
    return name.endswith(".py") or "/" in name or os.sep in name or name.startswith((".", "~"))


def _existing(name: str) -> Path:
    """The file of a plug-in, for a folder its `__init__.py`; raises ConfigError if it does not exist."""
    path = user_path(name)
    file = path / "__init__.py" if path.is_dir() else path
    if not file.is_file():
        raise ConfigError.rule(FIELD, "name existing files, folders with an __init__.py, or modules", name)
    return real_path(file)


def _load_file(file: Path) -> None:
    """Runs a file as a module; its name depends only on the path, so that it is the same in all workers."""
    package = file.name == "__init__.py"
    root = file.parent if package else file
    name = f"dqrun_plugin_{root.stem}_{hashlib.sha256(os.fsencode(root)).hexdigest()[:8]}"
    digest = digest_of(sorted(root.rglob("*.py")) if package else [file], root)
    known = sys.modules.get(name)
    if known is not None and getattr(known, VERSION, "") == digest:
        return
    forget(name)
    spec = spec_from_file_location(
        name, file, loader=_Uncached(name, str(file)), submodule_search_locations=[str(root)] if package else None
    )
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    setattr(module, VERSION, digest)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        forget(name)
        raise


class _Uncached(SourceFileLoader):
    """Compiles the file without the bytecode cache, which can miss a second edit within one second."""

    def get_code(self, fullname: str) -> object:  # type: ignore[override]
        return compile(Path(self.path).read_bytes(), self.path, "exec", dont_inherit=True)


def forget(name: str) -> None:
    """Removes a module, its submodules, and the names that they registered."""
    gone = [module for module in sys.modules if module == name or module.startswith(f"{name}.")]
    for module in gone:
        del sys.modules[module]
    for kind in register.KINDS:
        for registered in kind.added():
            if kind.entry(registered).module in (name, *gone):
                kind.remove(registered)


def digest_of(files: Sequence[Path], root: Path) -> str:
    """Digest of Python files by name and content; 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for file in files:
        inside = file.relative_to(root).as_posix() if file != root else file.name
        digest.update(f"{inside}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\0".encode())
    return digest.hexdigest()[:16]


def _guarded(name: str, load: Callable[[], ModuleType | None]) -> None:
    try:
        load()
    except (Exception, SystemExit) as error:  # any error of the user's code becomes one line
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(f"{FIELD}: {name} can't be imported{place_of(error)}: {printable(reason)}") from error


def place_of(error: BaseException) -> str:
    """` (mine.py, line 12)`: file and line of the innermost frame outside dqrun and the import system; "" for none."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}, line {error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not _is_ours(frame.filename)]
    return f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""


def place_in_plugin(error: BaseException) -> str:
    """` in penalty (mine.py, line 12)`: the innermost frame of an error in a plug-in's file; "" if there is none."""
    files = {getattr(module, "__file__", "") for module in list(sys.modules.values()) if hasattr(module, VERSION)}
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
    return f" in {frames[-1].name} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""


def _is_ours(file: str) -> bool:
    """Whether a file of a traceback is dqrun's or the import system's."""
    package = str(Path(__file__).parents[1])
    return file.startswith(("<frozen", package)) or "importlib" in Path(file).parts
