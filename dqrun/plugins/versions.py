"""The versions of the plug-ins that a run uses: they are part of the identity of its results."""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from dqrun import register
from dqrun.config.parts import PARTS
from dqrun.plugins.loading import VERSION, digest_of

if TYPE_CHECKING:
    from dqrun.config import RunConfig
    from dqrun.register import Registry


def versions_of(config: RunConfig) -> dict[str, str]:
    """The version of each plug-in whose registered names the run uses, by the plug-in's name; {} if it uses none."""
    modules = (kind.entry(name).module for kind, name in _used(config) if name in kind)
    return dict(sorted(_named(module) for module in set(modules) if module))


def _used(config: RunConfig) -> list[tuple[Registry, str]]:
    """The names in a configuration that may be registered, each with its registry."""
    used = [
        (register.layer, config.model.name),
        (register.model, config.model.name),
        (register.dataset, config.dataset.source),
        (register.metric, config.dataset.metric),
    ]
    if not config.quant.is_fp32:
        used.append((register.quantizer, config.quant.quantizer or ""))
        used.append((register.method, getattr(config.method, PARTS["method"].chooser)))
    return used


def _named(module: str) -> tuple[str, str]:
    """A plug-in's name and version: a file and the digest of its content, or a package and the package's version."""
    loaded = sys.modules.get(module)
    parents = [module.rsplit(".", depth)[0] for depth in range(module.count(".") + 1)]
    for name in parents:
        digest = getattr(sys.modules.get(name), VERSION, None)
        if digest is not None:
            file = Path(str(sys.modules[name].__file__))
            return file.parent.name if file.name == "__init__.py" else file.name, str(digest)
    top = parents[-1]
    return top, _package_version(top) or _file_version(getattr(loaded, "__file__", None))


@lru_cache(maxsize=64)
def _package_version(name: str) -> str:
    try:
        return version(name)
    except (PackageNotFoundError, ValueError):
        return ""


def _file_version(file: str | None) -> str:
    """Digest of a module's file; "" without a file, e.g. in a notebook."""
    path = Path(file or "")
    return digest_of([path], path) if path.is_file() else ""
