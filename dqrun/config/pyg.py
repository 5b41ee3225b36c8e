"""Fields of `dataset=pyg`: any dataset class of PyG, or written like one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from dqrun.config.rules import LARGEST_SEED, doc, require, require_in

_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)
_PLAIN = (str, int, float, bool, type(None))


@dataclass
class PygConfig:
    """Fields of a dataset class in the manner of PyG."""

    target: str | None = doc("source=pyg: dotted path of the class, e.g. torch_geometric.datasets.Airports", None)
    args: dict[str, Any] = doc("source=pyg: arguments of the class, e.g. {name: usa}; dqrun chooses the folder", {})
    transforms: list[str] = doc(
        "source=pyg: dotted paths of transforms of each graph, in this order: classes that need no arguments, or "
        "functions",
        [],
    )
    column: int = doc("source=pyg: column of the targets, where a graph or node has several and the task wants one", 0)
    transform_seed: int = doc("source=pyg: seed of what the class and its transforms draw at random, 0..2^32 - 1", 0)

    def validate(self) -> None:
        rule = "be a dotted path of a class, e.g. torch_geometric.datasets.Airports"
        require(_PATH.fullmatch(self.target or "") is not None, "dataset.target", rule, self.target)
        for path in self.transforms:
            require(_PATH.fullmatch(path) is not None, "dataset.transforms", "list dotted paths", path)
        for name, value in self.args.items():
            rule = "be text, a number, true, false, null or a list of these, or of such lists"
            require(_is_plain(value), f"dataset.args.{name}", rule, value)
            require(name != "root", "dataset.args", "name no root: data.root and data.mirror say where data lie", name)
        require(self.column >= 0, "dataset.column", "be >= 0", self.column)
        require_in("dataset.transform_seed", self.transform_seed, 0, LARGEST_SEED)


def _is_plain(value: Any) -> bool:
    return all(map(_is_plain, value)) if isinstance(value, list) else isinstance(value, _PLAIN)


def pyg_name(target: str | None, args: Any) -> str:
    """The name of such a dataset in tables: `Airports-usa`, the class and the first text among its arguments."""
    texts = [str(value) for value in dict(args or {}).values() if isinstance(value, str)]
    return "-".join([(target or "pyg").rpartition(".")[2], *texts[:1]])
