"""ZINC-12k molecules with their official split (Dwivedi et al., 2020): graph regression from atom types."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dqrun.config import DataConfig, DatasetConfig
from dqrun.data.arrays import GraphArrays
from dqrun.data.dataset import GraphDataset
from dqrun.data.downloads import of_pyg
from dqrun.data.raw_files import RawContent, RawFiles, load_raw, unreadable
from dqrun.data.sources.graph_list import joined
from dqrun.data.splits import PARTS
from dqrun.data.torch_files import PICKLED_TENSORS, as_tensor
from dqrun.data.unpickling import unpickle
from dqrun.errors import ConfigError, DataError

KEYS = ("atom_type", "bond_type", "logP_SA_cycle_normalized")
MOST_TYPES = 1000


def load(dataset: DatasetConfig, data: DataConfig) -> GraphDataset:
    """Molecules; category: atom type int64 [N], edge_attr: bond type int64 [E].

    y: constrained solubility (normalised, no unit) float32 [G]. Raises ConfigError for another task, DataError for
    files that are missing or broken.
    """
    if dataset.task != "graph_regression":
        raise ConfigError.rule("dataset.task", "be graph_regression for ZINC", dataset.task)
    files = RawFiles(
        folder="ZINC",
        required=tuple(f"{part}.{kind}" for part in PARTS for kind in ("pickle", "index")),
        fetch=of_pyg("ZINC", "ZINC", subset=True),
    )
    return load_raw(files, data, parse).dataset(dataset.name, dataset.task)


def parse(raw: RawContent) -> GraphArrays:
    """The molecules that the three index files list. Raises DataError that names the file and the molecule."""
    parts = [[_molecule(raw, part, number, found) for number, found in _chosen(raw, part)] for part in PARTS]
    molecules = [molecule for part in parts for molecule in part]
    return joined(
        sizes=[len(part) for part in parts],
        edges=[bonds.nonzero().t() for _, bonds, _ in molecules],
        nodes=[len(atoms) for atoms, _, _ in molecules],
        y=torch.cat([target for _, _, target in molecules]),
        num_classes=0,
        category=torch.cat([atoms for atoms, _, _ in molecules]),
        edge_attr=torch.cat([bonds[bonds != 0] for _, bonds, _ in molecules]),
    )


def _chosen(raw: RawContent, part: str) -> list[tuple[int, Any]]:
    """The molecules of one part, with their numbers in the pickle."""
    path = raw.path(f"{part}.pickle")
    try:
        molecules = unpickle(raw.content[f"{part}.pickle"], PICKLED_TENSORS)
    except ValueError as error:
        raise unreadable(path, error) from error
    if not isinstance(molecules, list | dict):
        raise DataError(f"{path}: must hold a list of molecules, or a dict of them by number")
    found = dict(enumerate(molecules)) if isinstance(molecules, list) else molecules
    index = _index(raw, part)
    for number in index:
        if number not in found:
            raise DataError(f"{raw.path(f'{part}.index')}: {part}.pickle has no molecule {number}")
    return [(number, found[number]) for number in index]


def _index(raw: RawContent, part: str) -> list[int]:
    """The comma-separated numbers of an index file, which is one line."""
    path, text = raw.path(f"{part}.index"), raw.content[f"{part}.index"]
    words = text.decode("utf-8", "replace").removesuffix("\n").split(",")
    for word in words:
        if not (word.strip(" ").isascii() and word.strip(" ").isdigit() and len(word) < 12):
            raise DataError(f"{path}: truncated or not the expected format: {word[:40]!r} is no number of a molecule")
    numbers = [int(word) for word in words]
    if len(set(numbers)) < max(len(numbers), 2):
        raise DataError(f"{path}: must name at least 2 molecules, each once")
    return numbers


def _molecule(raw: RawContent, part: str, number: int, molecule: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Atom types int64 [n], bond types int64 [n, n], 0 where there is no bond, and the target float32 [1]."""
    where = f"{raw.path(f'{part}.pickle')}: molecule {number}"
    if not isinstance(molecule, dict) or any(key not in molecule for key in KEYS):
        raise DataError(f"{where} must have {', '.join(KEYS)}")
    try:
        atoms, bonds, target = (as_tensor(molecule[key]) for key in KEYS)
    except ValueError as error:
        raise DataError(f"{where}: {error}") from None
    if atoms.dim() != 1 or atoms.is_floating_point() or bonds.shape != (len(atoms), len(atoms)) or not len(atoms):
        raise DataError(f"{where}: atom_type must be integers [n] and bond_type [n, n]")
    if not 0 <= int(atoms.min()) <= int(atoms.max()) < MOST_TYPES:
        raise DataError(f"{where}: atom_type must be in 0..{MOST_TYPES - 1}")
    if target.numel() != 1 or not bool(target.float().isfinite().all()):
        raise DataError(f"{where}: {KEYS[2]} must be one finite number in float32")
    if bonds.is_floating_point() or not 0 <= int(bonds.min()) <= int(bonds.max()) < MOST_TYPES:
        raise DataError(f"{where}: bond_type must be integers in 0..{MOST_TYPES - 1}")
    return atoms.long(), bonds.long(), target.float().flatten()
