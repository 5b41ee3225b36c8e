"""Loads datasets of stored configurations, which may come from other people; code that they name does not run."""

from __future__ import annotations

from collections.abc import Iterator

from dqrun.config import DataConfig, DatasetConfig
from dqrun.config.parts import own_config
from dqrun.config.pyg import PygConfig
from dqrun.data.dataset import GraphDataset, load_dataset
from dqrun.errors import ConfigError
from dqrun.plugins import asked_for

CLASSES, TRANSFORMS = "torch_geometric.datasets", "torch_geometric.transforms"


def load_stored(dataset: DatasetConfig, data: DataConfig) -> GraphDataset:
    """As `load_dataset`, for the dataset of a stored configuration; also raises ConfigError if that names code which
    the user has not trusted, see `require_known_code`.
    """
    require_known_code(dataset)
    return load_dataset(dataset, data)


def require_known_code(dataset: DatasetConfig) -> None:
    """Raises ConfigError if `dataset=pyg` names a class or transform that is neither PyG's nor of DQRUN_PLUGINS.

    A dotted path of a stored configuration could name any class of any installed package, with any arguments. On a
    command line, the user chooses the path; in a file, its module must be PyG's or be listed in DQRUN_PLUGINS.
    """
    config = own_config(dataset) if dataset.source == "pyg" else None
    if isinstance(config, PygConfig):
        for field, path, home in _named(config):
            module = path.rpartition(".")[0]
            if module != home and module not in asked_for(()):
                rule = f"be of {home} where results name it, or of a module that DQRUN_PLUGINS names"
                raise ConfigError.rule(field, rule, path)


def _named(config: PygConfig) -> Iterator[tuple[str, str, str]]:
    yield "dataset.target", config.target or "", CLASSES
    for path in config.transforms:
        yield "dataset.transforms", path, TRANSFORMS
