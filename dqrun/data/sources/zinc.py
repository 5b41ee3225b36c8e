"""ZINC-12k molecules with their official split (PyG's `ZINC(subset=True)`): graph regression from atom types."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from dqrun.config import DataConfig, DatasetConfig
from dqrun.data.dataset import GraphDataset
from dqrun.data.mirror import RawFiles, load_pyg, unreadable
from dqrun.data.sources.collated import joined
from dqrun.errors import ConfigError, DataError

PARTS = ("train", "val", "test")
KEYS = ("atom_type", "bond_type", "logP_SA_cycle_normalized")


def load(dataset: DatasetConfig, data: DataConfig) -> GraphDataset:
    """Molecules; category: atom type int64 [N], y: constrained solubility (normalised, no unit) float32 [G].

    Raises ConfigError for another task, DataError for files that are missing or broken.
    """
    if dataset.task != "graph_regression":
        raise ConfigError.rule("dataset.task", "be graph_regression for ZINC", dataset.task)
    files = RawFiles(
        folder="ZINC",
        required=tuple(f"{part}.{kind}" for part in PARTS for kind in ("pickle", "index")),
        check=check,
        processed=tuple(f"subset/processed/{part}.pt" for part in PARTS),
        pyg_root="ZINC",
    )
    parts = load_pyg("ZINC", files, data, *({"subset": True, "split": part} for part in PARTS))
    packed, split = joined(parts)
    return GraphDataset(
        name=dataset.name,
        task=dataset.task,
        packed=packed,
        y=torch.cat([part._data.y.flatten().float() for part in parts]),
        num_classes=0,
        category=torch.cat([part._data.x.flatten() for part in parts]),
        official=split,
    )


def check(raw: Path) -> None:
    """Raises DataError naming the first file that does not unpickle, or an index that does not fit its molecules."""
    for part in PARTS:
        molecules = _unpickle(raw / f"{part}.pickle")
        for number in _index(raw / f"{part}.index"):
            try:
                molecule = molecules[number]
            except (LookupError, TypeError) as error:
                raise DataError(f"{raw / f'{part}.index'}: {part}.pickle has no molecule {number}") from error
            if not isinstance(molecule, dict) or any(key not in molecule for key in KEYS):
                raise DataError(f"{raw / f'{part}.pickle'}: molecule {number} must have {', '.join(KEYS)}")


def _unpickle(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return pickle.load(file)
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise unreadable(path, error) from error


def _index(path: Path) -> list[int]:
    """The comma-separated numbers of an index file, which ends with a line break (PyG cuts its last character)."""
    try:
        text = path.read_text(encoding="ascii")
        if not text.endswith("\n"):
            raise ValueError("no line break at the end")
        numbers = [int(number) for number in text.split(",")]
        if len(numbers) < 2:
            raise ValueError("fewer than 2 molecules")
        return numbers
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
