"""The identity of data: a digest of a user's files, and a digest of any loaded dataset."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from dqrun.config import DatasetConfig
from dqrun.config.parts import own_config
from dqrun.config.pyg import PygConfig
from dqrun.config.tasks import is_node_task
from dqrun.paths import user_path

if TYPE_CHECKING:  # a plan asks for fingerprints before anything heavy is imported
    from torch import Tensor

    from dqrun.data.dataset import GraphDataset

LENGTH = 32  # hexadecimal digits, 128 bits
ELEMENTS_AT_ONCE = 1 << 24


def fingerprint(dataset: DatasetConfig) -> str:
    """Digest of the files that a dataset is made from and that its configuration does not identify: the part of a
    trial's identity that says which data it was trained on.

    For a `folder` dataset these are its files, by name and content; the folder's path and other files in it do not
    count. For a `pyg` dataset they are the files that define a class or transforms outside PyG. Empty for all others.
    Each file is read once per process as long as it does not change.
    """
    if dataset.source == "pyg":
        return _code_digest(dataset)
    if dataset.source != "folder" or dataset.path is None:
        return ""
    folder, digest = user_path(dataset.path), hashlib.sha256()
    for name in folder_files(dataset.task):
        state = _state(folder / name)
        if state is not None:
            digest.update(f"{name}\0{_file_digest(str((folder / name).resolve()), state)}\0".encode())
    return digest.hexdigest()[:LENGTH]


def _code_digest(dataset: DatasetConfig) -> str:
    own, digest = own_config(dataset), hashlib.sha256()
    assert isinstance(own, PygConfig)
    modules = {path.rpartition(".")[0] for path in (own.target or "", *own.transforms)}
    found = {name: _file_of(name) for name in sorted(modules) if name.partition(".")[0] not in ("", "torch_geometric")}
    for name, file in found.items():
        if file is not None and (state := _state(file)) is not None:
            digest.update(f"{name}\0{_file_digest(str(file), state)}\0".encode())
    return digest.hexdigest()[:LENGTH] if found else ""


def _file_of(module: str) -> Path | None:
    """The file of a module; None if there is none, for which loading later raises an error."""
    try:
        spec = find_spec(module)
    except Exception:  # it imports the packages above the module, which can raise any exception
        return None
    return None if spec is None or spec.origin is None else Path(spec.origin)


def folder_files(task: str) -> tuple[str, ...]:
    """The files of a user's folder that a task is read from."""
    if is_node_task(task):
        return ("data.npz", "nodes.csv", "edges.csv", "nodes.parquet", "edges.parquet", "edges.npy", "x.npy")
    return ("data.npz", "graphs.csv", "nodes.csv", "edges.csv")


def data_fingerprint(dataset: GraphDataset) -> str:
    """Digest of a dataset as it was loaded: structure, features, targets and official split, whatever its source.

    Weights and features of edges count where the dataset has them: a trial leaves out those that it does not read.
    It does not depend on name, path and format of the files: CRLF in place of LF gives the same fingerprint, a changed
    label another one. Takes one pass over the tensors.
    """
    import torch

    digest = hashlib.sha256(f"{dataset.task}\0{dataset.num_classes}\0".encode())
    for name, tensor in _tensors(dataset):
        kind = "torch.int64" if name == "col" else tensor.dtype
        digest.update(f"{name}\0{kind}\0{list(tensor.shape)}\0".encode())
        for part in torch.split(tensor.detach().reshape(-1), ELEMENTS_AT_ONCE):
            content = part.cpu().long() if name == "col" else part.cpu()
            digest.update(content.numpy().view("uint8").data)
    return digest.hexdigest()[:LENGTH]


def _tensors(dataset: GraphDataset) -> Iterator[tuple[str, Tensor]]:
    """The tensors that cannot be derived from others."""
    packed = dataset.packed
    edges = packed.edges
    yield from (
        ("node_ptr", edges.node_ptr),
        ("edge_ptr", edges.edge_ptr),
        ("col", edges.col),
        ("row", edges.targets()),
    )
    for name, edge_data in (("edge_weight", packed.edge_weight), ("edge_attr", packed.edge_attr)):
        if edge_data is not None:
            yield name, edge_data
    for name in ("x", "category", "y"):
        if (tensor := getattr(dataset, name)) is not None:
            yield name, tensor
    if dataset.official is not None:
        for part in ("train", "val", "test"):
            yield part, dataset.official.part(part)


def _state(path: Path) -> tuple[int, ...] | None:
    """A value that changes when the file changes, or None where there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@lru_cache(maxsize=64)
def _file_digest(path: str, state: tuple[int, ...]) -> str:
    """SHA-256 of a file in a `state`; empty if it cannot be read, for which loading later raises an error."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
