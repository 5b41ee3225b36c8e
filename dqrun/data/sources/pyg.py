"""Any dataset class with PyG's interface: `dataset=pyg dataset.target=torch_geometric.datasets.Airports`.

The class reads its raw files in a temporary folder, so that it loads no processed file of an earlier run; its graphs
are cached as dqrun's own tensors. The user's choice of the class is a choice of the code that runs.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import os
import random
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dqrun.config import DataConfig, DatasetConfig
from dqrun.config.parts import own_config
from dqrun.config.pyg import PygConfig
from dqrun.data.arrays import GraphArrays
from dqrun.data.cache import FILE, Cached, read_cache, write_cache
from dqrun.data.dataset import GraphDataset
from dqrun.data.downloads import quiet, waiting_at_most
from dqrun.data.sources.pyg_arrays import arrays_of
from dqrun.errors import ConfigError, DataError

log = logging.getLogger(__name__)
SAFE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
"""If this environment variable is set, `torch.load` reads only tensors and plain values."""


def load(dataset: DatasetConfig, data: DataConfig) -> GraphDataset:
    """Lets the class of `dataset.target` read its raw files: from the mirror, the cache, or the network.

    Raises ConfigError for a path that names no class and for wrong arguments, DataError if the class can't read its
    files or its graphs break a rule.
    """
    config = own_config(dataset)
    assert isinstance(config, PygConfig) and config.target is not None
    made = _imported("dataset.target", config.target)
    if not inspect.isclass(made):
        raise ConfigError.rule("dataset.target", "name a class", config.target)
    source = _Source(config, made, dataset.task, dataset.name)
    return source.arrays(data).dataset(dataset.name, dataset.task)


def _imported(field: str, path: str) -> Any:
    """The object at a dotted path; raises ConfigError in one line."""
    module, _, name = path.rpartition(".")
    try:
        with quiet():
            return getattr(import_module(module), name)
    except Exception as error:  # importing a module can raise any exception
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(f"{field} must name something that can be imported, got {path!r} ({reason})") from None


class _RawKnown(Exception):
    """Ends the construction of a dataset once the paths of its raw files are known."""

    def __init__(self, dataset: Any) -> None:
        super().__init__()
        self.required, self.folder = [Path(file) for file in dataset.raw_paths], Path(dataset.raw_dir)

    def files(self, root: Path) -> list[Path]:
        """All files of the raw folder, because classes also read files that `raw_paths` omits; if that folder is
        `root`, only `raw_paths`. [] if one of `raw_paths` is missing."""
        if not self.required or not all(file.is_file() for file in self.required):
            return []
        others = [] if self.folder == root else [file for file in self.folder.rglob("*") if file.is_file()]
        return sorted({*self.required, *others})


class _Downloaded(Exception):
    """Ends the construction of a dataset after its download."""


@dataclass(frozen=True)
class _Source:
    """A class and its arguments."""

    config: PygConfig
    made: type
    task: str
    name: str

    def arrays(self, data: DataConfig) -> GraphArrays:
        """The dataset, from dqrun's cache if the cache was made from the same raw files."""
        if "root" not in self._parameters:  # the class generates its graphs
            return self._converted(self._parts(None))
        root, files = self._raw(data)
        digests = {file.relative_to(root).as_posix(): _digest(file) for file in files}
        cached = data.resolved_root / "pyg" / self.made.__name__ / self._key / FILE
        known = read_cache(cached)
        if known is not None and known.raw == digests:
            return known.arrays
        with tempfile.TemporaryDirectory(prefix="dqrun-pyg-") as folder:
            for file in files:
                link = Path(folder) / file.relative_to(root)
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(file)
            arrays = self._converted(self._parts(folder))
        try:
            cached.parent.mkdir(parents=True, exist_ok=True)
            write_cache(cached, Cached(digests, arrays))
        except OSError as error:
            log.warning("%s can't be written (%s): the raw files are read each time", cached, error.strerror)
        return arrays

    @property
    def _parameters(self) -> set[str]:
        return set(inspect.signature(self.made.__init__).parameters)  # type: ignore[misc]

    @property
    def _key(self) -> str:
        """Name of the folder of cached tensors: a hash of the dataset's fields, the task, PyG's version and the files
        that define the class, its bases and the transforms. Other modules that these files import do not count."""
        modules = {
            getattr(each, "__module__", type(each).__module__) for each in (*self.made.__mro__, *self._transforms)
        }
        files = {name: getattr(sys.modules.get(name), "__file__", None) for name in sorted(modules)}
        code = {name: _digest(Path(file)) for name, file in files.items() if file is not None}
        parts = [vars(self.config), self.task, version("torch-geometric"), code]
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]

    @property
    def _transforms(self) -> list[Any]:
        return [_imported("dataset.transforms", path) for path in self.config.transforms]

    def _raw(self, data: DataConfig) -> tuple[Path, list[Path]]:
        """PyG's root and the raw files below it: in the mirror, else in the cache, else downloaded to the cache."""
        own, mirror = data.resolved_root.absolute() / "pyg" / self.made.__name__, data.resolved_mirror
        roots = [] if mirror is None else [mirror.absolute(), mirror.absolute() / self.made.__name__]
        for root in [*roots, own]:
            if files := self._known(root).files(root):
                return root, files
        log.info("data: %s downloads to %s", self.config.target, own)
        with waiting_at_most():
            self._stopped(own, "_process", _Downloaded())
        known = self._known(own)
        if not known.files(own):
            missing = [str(file) for file in known.required if not file.is_file()]
            raise DataError(f"{self.config.target}: raw files are missing: {', '.join(missing[:3])}")
        return own, known.files(own)

    def _known(self, root: Path) -> _RawKnown:
        """The paths of the raw files of the class below a root."""
        known = self._stopped(root, "_download", None)
        if known is None:
            raise DataError(f"{self.config.target} is no dataset class of PyG: it looks for no raw files")
        return known

    def _stopped(self, root: Path, method: str, end: Exception | None) -> _RawKnown | None:
        """Constructs the dataset up to the call of `method`, which raises `end`, or `_RawKnown` if `end` is None.

        Returns that `_RawKnown`; None after `_Downloaded` or if `method` was not called.
        """

        def stop(dataset: Any) -> None:
            raise end or _RawKnown(dataset)

        stopping = type(self.made.__name__, (self.made,), {method: stop})
        try:
            self._constructed(stopping, str(root), self._splits[0])
        except _RawKnown as known:
            return known
        except _Downloaded:
            return None
        return None

    @property
    def _splits(self) -> list[dict[str, Any]]:
        """Arguments that choose parts: train, val and test if the class has an argument `split="train"`, which
        `dataset.args` does not set; else no argument."""
        parameter = inspect.signature(self.made.__init__).parameters.get("split")  # type: ignore[misc]
        if parameter is None or "split" in self.config.args or parameter.default != "train":
            return [{}]
        return [{"split": part} for part in ("train", "val", "test")]

    def _parts(self, root: str | None) -> list[list[Any]]:
        """The graphs of each part, transformed."""
        transforms = [each() if inspect.isclass(each) else each for each in self._transforms]
        parts = []
        for split in self._splits:
            made = self._constructed(self.made, root, split)
            if not isinstance(made, Iterable):
                raise DataError(f"{self.config.target} is no dataset class: what it makes holds no graphs")
            graphs = list(made)
            for transform in transforms:
                graphs = [self._guarded(transform, graph) for graph in graphs]
            parts.append(graphs)
        return parts

    def _constructed(self, made: type, root: str | None, split: dict[str, Any]) -> Any:
        given = {} if root is None else {"root": root}
        return self._guarded(made, **given, **self.config.args, **split)

    def _guarded(self, call: Any, *args: Any, **kwargs: Any) -> Any:
        """Calls code of the class; any exception becomes an error of one line."""
        try:
            with quiet(), _tensors_only(), _seeded(self.config.transform_seed):
                return call(*args, **kwargs)
        except (_RawKnown, _Downloaded):
            raise
        except TypeError as error:
            raise ConfigError(f"dataset.args must be arguments of {self.config.target}: {error}") from error
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise DataError(f"{self.config.target} can't be read: {reason}") from error

    def _converted(self, parts: list[list[Any]]) -> GraphArrays:
        graphs, sizes = [graph for part in parts for graph in part], [len(part) for part in parts]
        return arrays_of(graphs, self.task, self.name, sizes if len(sizes) > 1 else (), self.config.column)


@contextmanager
def _tensors_only() -> Iterator[None]:
    """Within the block, `torch.load` runs no code of a file."""
    before = os.environ.get(SAFE)
    os.environ[SAFE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[SAFE]
        else:
            os.environ[SAFE] = before


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seeds the random streams of Python, NumPy and torch within the block, and restores them after it."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            random.seed(seed)
            np.random.seed(seed)
            torch.manual_seed(seed)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def _digest(file: Path) -> str:
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
