"""Crafted data files: `python benchmarks/attacks/data.py [--count N] [--seed S]`.

The script damages one file of a small dataset at a time. The datasets are raw files of Planetoid, TU, ZINC, superpixels
and OGB, caches, folders with CSV or NPZ, and tensors for `dqrun predict`. Text, also in gzip, gets odd values, lines
and line ends. Binary files get changed bits, cuts and insertions. Archives get absurd headers. Archives and gzip files
get content that expands to more than a gigabyte. Pickles get function calls.

Failures: a planted call that ran, a signal, a hang, memory beyond the bound, an error that is not one printable line of
dqrun's own, an error because of a damaged cache, and accepted data that differ from the data that a second, slow reader
(`data_reference.py`) reads. The exit code is 1 after a failure.
"""

from __future__ import annotations

import base64
import builtins
import gzip
import io
import json
import logging
import pickle
import random
import struct
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import data_reference as reference
import data_samples as samples
import pool
from data_samples import Files

from dqrun.config import DataConfig, DatasetConfig
from dqrun.data.dataset import GraphDataset, load_dataset
from dqrun.data.unlabelled import load_unlabelled
from dqrun.errors import DqrunError

MARK = "dqrun_planted"
GRAPHS, NODES = "graph_classification", "node_classification"
SOURCES: dict[str, tuple[dict[str, Any], Callable[[Files], reference.Facts]]] = {
    "tu": ({"name": "TOY", "task": GRAPHS}, reference.tu),
    "planetoid": ({"name": "Cora", "task": NODES}, reference.planetoid),
    "zinc": ({"name": "ZINC", "task": "graph_regression"}, reference.zinc),
    "gnn_benchmark": ({"name": "MNIST", "task": GRAPHS}, reference.gnn_benchmark),
    "graph_tables": ({"name": "mine", "source": "folder", "task": GRAPHS}, reference.tables),
    "node_tables": ({"name": "mine", "source": "folder", "task": NODES}, reference.tables),
    "archive": ({"name": "mine", "source": "folder", "task": GRAPHS}, reference.archive),
    "weighted_archive": ({"name": "mine", "source": "folder", "task": GRAPHS}, reference.archive),
    "ogb_molecules": ({"name": "ogbg-molclintox", "source": "ogb", "task": "graph_multilabel"}, reference.ogb_text),
    "ogb_numbers": ({"name": "ogbg-molesol", "source": "ogb", "task": "graph_regression"}, reference.ogb_text),
    "ogb_nodes": ({"name": "ogbn-arxiv", "source": "ogb", "task": NODES}, reference.ogb_text),
    "ogb_arrays": ({"name": "ogbn-papers100M", "source": "ogb", "task": NODES}, reference.ogb_arrays),
}
WORDS = (
    "nan", "inf", "1e39", "-1e400", "True", "1_0", "\x00", "é", "\u0661", "9" * 30, "", "-1", "0x1F", "1.0", "1e3",
    " 5 ", '"1"', '"', ",", "1;2", "9007199254740993.0", "\x1b[2J", "2147483648", "1 2", "+3", "1e-400",
)  # fmt: skip


class Planted:
    """An object whose unpickling sets the attribute MARK of `builtins`."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, (f"import builtins; builtins.{MARK} = True",)


@cache
def cases() -> list[tuple[str, Files]]:
    """Returns (kind, files) of each undamaged dataset, caches included."""
    found = [(kind, getattr(samples, kind)()) for kind in SOURCES]
    found += [("archive", samples.archive(compressed=True))]
    found += [("tensors", files) for files in samples.tensors()]
    for kind in ("tu", "planetoid", "ogb_molecules", "ogb_nodes"):
        with tempfile.TemporaryDirectory() as folder:
            files = dict(found)[kind]
            write(Path(folder), files)
            load_source(kind, Path(folder))
            (path,) = Path(folder).rglob("dqrun-data.safetensors")
            found.append((f"cache of {kind}", files | {str(path.relative_to(folder)): path.read_bytes()}))
    return found


def crafted(count: int, seed: int) -> Iterator[bytes]:
    """Yields `count` datasets with one damaged file each; every dataset is one JSON file for `judge`."""
    random_ = random.Random(seed)
    for number in range(count):
        kind, files = cases()[number % len(cases())]
        names = [name for name in files if "cache" not in kind or name.endswith(".safetensors")]
        name = random_.choice(names)
        content = files[name]
        changed = damaged(name, content, random_)
        packed = {path: base64.b64encode(data).decode() for path, data in (files | {name: changed}).items()}
        yield json.dumps({"kind": kind, "changed": name, "whole": number % len(cases()), "files": packed}).encode()


def damaged(name: str, content: bytes, random_: random.Random) -> bytes:
    """Returns the content of a file with random damage that suits the file's format."""
    if name.endswith((".txt", ".csv", ".index")):
        return damage_text(content, random_)
    if name.endswith(".gz") and random_.random() < 0.8:
        return gzip.compress(damage_text(gzip.decompress(content), random_), mtime=0)
    return damage_binary(name, content, random_)


def damage_text(content: bytes, random_: random.Random) -> bytes:
    lines = content.decode().split("\n")
    line = random_.randrange(len(lines) - 1)
    values = lines[line].split(",")
    values[random_.randrange(len(values))] = random_.choice(WORDS)
    odd = "\n".join([*lines[:line], ",".join(values), *lines[line + 1 :]])
    without, twice, longer = lines[:line] + lines[line + 1 :], lines[: line + 1] + lines[line:], list(lines)
    longer[line] += ",7"
    ways = [
        *[odd.encode()] * 6,
        *["\n".join(each).encode() for each in (without, twice, longer)],
        content[: random_.randrange(len(content))],
        content.rstrip(b"\n"),
        b"\xef\xbb\xbf" + content,
        content.replace(b"\n", b"\r\n"),
        content.replace(b"\n", b"\r"),
        content.replace(b"\n", b"\n\n", 2),
        content + b"\n\r\n \n",
        content.decode().encode("utf-16"),
        flipped(content, random_),
    ]
    return random_.choice(ways)


def flipped(content: bytes, random_: random.Random) -> bytes:
    """Returns the content after 1, 2 or 8 flips of random bits."""
    changed = bytearray(content)
    for _ in range(random_.choice((1, 1, 2, 8))):
        changed[random_.randrange(len(changed))] ^= 1 << random_.randrange(8)
    return bytes(changed)


def damage_binary(name: str, content: bytes, random_: random.Random) -> bytes:
    place = random_.randrange(len(content))
    ways = [
        lambda: flipped(content, random_),
        lambda: content[:place],
        lambda: content[:place] + random_.randbytes(8) + content[place:],
        lambda: content[:place] + bytes(64) + content[place + 64 :],
        lambda: pickle.dumps(
            random_.choice((Planted(), [Planted()] * 3, {0: [Planted()]})), random_.choice((0, 2, 4, 5))
        ),
        lambda: samples.saved(random_.choice((Planted(), [[{"x": Planted()}] * 2] * 3)), random_.random() < 0.5),
    ]
    if name.endswith(".npz"):
        ways += [lambda: absurd_archive(content, random_)] * 6
    if name.endswith(".gz"):
        ways += [lambda: content + content, lambda: content + b"more", gzip_bomb]
    if name.endswith(("pickle", "x", "y", "graph")):
        ways += [lambda: hostile_pickle(random_)] * 4
    if content[:2] == b"PK":
        ways += [lambda: rezipped(content, random_)] * 4
    return random_.choice(ways)()


@cache
def gzip_bomb() -> bytes:
    """Returns about a megabyte of gzip that expands to more than a gigabyte."""
    part = gzip.compress(bytes(2**26), mtime=0)
    return part * 17


def absurd_archive(content: bytes, random_: random.Random) -> bytes:
    """Returns an NPZ archive in which one array has an odd type, shape or value, a false header, or Python objects."""
    with np.load(io.BytesIO(content)) as file:
        arrays = dict(file)
    name = random_.choice(list(arrays))
    if random_.random() < 0.4:
        return samples.archived(arrays | {name: odd_array(arrays[name], random_)})
    kind = random_.choice(("<i8", "<f8", "|O", "<U3", "<c16", ">i8", "<f2", "|b1", "<i4", "|V8"))
    shape = random_.choice(((2**40,), (2, 2**35), (-1,), (0,), (0, 2**62), (2, 5), (5, 2), (), (5,), (2**31, 2**31)))
    header = f"{{'descr': '{kind}', 'fortran_order': {random_.random() < 0.5}, 'shape': {shape}, }}"
    body = pickle.dumps(Planted()) if kind == "|O" else arrays[name].tobytes()
    npy = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + body
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for other, array in arrays.items():
            saved = io.BytesIO()
            np.save(saved, array)
            archive.writestr(f"{other}.npy", npy if other == name else saved.getvalue())
        if random_.random() < 0.1:
            archive.writestr("train.npy", bytes(2**31 - 2))
    return stream.getvalue()


def odd_array(array: np.ndarray, random_: random.Random) -> np.ndarray:
    """Returns the array with another type, shape, length or value."""
    if not array.size:
        return np.zeros((3, 0), array.dtype)
    flat = array.astype(random_.choice((array.dtype, np.float64, np.int64))).reshape(-1).copy()
    if flat.dtype.kind == "f":
        flat[random_.randrange(flat.size)] = random_.choice((np.nan, np.inf, -np.inf, 1e39, -1.0, 0.5, 2.0**40, -0.0))
    else:
        flat[random_.randrange(flat.size)] = random_.choice((-1, 2**31, 2**62, -(2**63), 0, 100_000))
    changed = flat.reshape(array.shape)
    return random_.choice(
        (changed, changed, changed, array[..., None], array.reshape(-1), array[:0], array[:-1], array[None],
         array.astype(np.int8), array.astype(np.float16), array.astype(bool), np.array(array.flat[0]),
         np.concatenate([array, array]), array.astype(">f8"), np.asfortranarray(array), array.T.copy())
    )  # fmt: skip


def hostile_pickle(random_: random.Random) -> bytes:
    """Returns a hostile pickle: function calls, huge reservations of memory, deep nesting, or a false data type."""
    nested = b"\x80\x02" + b"(" * 3000 + b"t" * 3000 + b"."
    return random_.choice(
        (
            b"cbuiltins\nexec\n(V" + f"import builtins; builtins.{MARK} = 1".encode() + b"\ntR.",
            b"\x80\x04\x96" + struct.pack("<Q", 2**45) + b".",
            b"\x80\x02Nr" + struct.pack("<I", 2**31 - 1) + b".",
            b"\x80\x02]" + b"(" * 100000 + b"t" * 100000 + b".",
            b"\x80\x02}(" + nested[2:-1] + b"K\x01u.",
            b"cnumpy\ndtype\n(X\x02\x00\x00\x00O8tR(K\x03X\x01\x00\x00\x00|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb.",
            b"cnumpy\nndarray\n(I1000000000\ntR.",
            b"cbuiltins\ngetattr\n(cbuiltins\nlist\nX\x07\x00\x00\x00__doc__tR.",
            b"ctorch.storage\n_load_from_bytes\n(B" + struct.pack("<I", 3) + b"abctR.",
            pickle.dumps(np.array([Planted()], dtype=object)),
        )
    )


def rezipped(content: bytes, random_: random.Random) -> bytes:
    """Returns a ZIP archive with the same members, one of them changed; all checksums are right."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    used = [name for name in members if name.endswith((".npy", "data.pkl", "byteorder")) or "/data/" in name]
    name = random_.choice([*used, *[name for name in used if name.endswith("data.pkl")] * 3])
    data = members[name]
    if data:
        members[name] = random_.choice((flipped(data, random_), data[: random_.randrange(len(data))], data + bytes(8)))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for other, body in members.items():
            archive.writestr(other, body)
    return stream.getvalue()


def write(root: Path, files: Files) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def load_source(kind: str, root: Path) -> GraphDataset:
    fields = {"source": kind, "features": "auto", "path": str(root / "mine")} | SOURCES[kind][0]
    return load_dataset(DatasetConfig(**fields), DataConfig(root=str(root), mirror=str(root)))


def said(dataset: GraphDataset) -> reference.Facts:
    """Converts a dataset that dqrun has read to the form of the reference."""
    packed = dataset.packed
    kept = packed.edges
    carried = [part.view(len(part), -1).T for part in (packed.edge_weight, packed.edge_attr) if part is not None]
    columns = [kept.col.tolist(), kept.row.tolist(), *(column for part in carried for column in part.tolist())]
    edges = list(zip(*columns, strict=True))
    x = dataset.x if dataset.x is not None else dataset.category
    found = {
        "sizes": packed.node_ptr.diff().tolist(),
        "edges": [sorted(edges[start:stop]) for start, stop in pairwise(packed.edge_ptr.tolist())],
        "y": [None if value != value else value for value in dataset.y.flatten().tolist()],
        "x": None if x is None else x.float().view(dataset.num_nodes, -1).tolist(),
    }
    if dataset.official is not None:
        found["parts"] = [
            part.tolist() for part in (dataset.official.train, dataset.official.val, dataset.official.test)
        ]
    return found


def judge(path: Path) -> str:
    """Loads a crafted dataset; returns "refused", "ran", or a description of the failure."""
    case = json.loads(path.read_bytes())
    kind, files = case["kind"], {name: base64.b64decode(data) for name, data in case["files"].items()}
    dataset: GraphDataset | DqrunError
    with tempfile.TemporaryDirectory() as folder:
        write(root := Path(folder), files)
        try:
            if kind == "tensors":
                dataset = load_unlabelled([root / name for name in files], GRAPHS).dataset
            else:
                dataset = load_source(kind.removeprefix("cache of "), root)
        except DqrunError as error:
            dataset = error
    if builtins.__dict__.pop(MARK, False):
        return "planted code ran"
    if isinstance(dataset, DqrunError):
        if kind.startswith("cache"):
            return f"different: a damaged cache is no error: {dataset}"
        return "refused" if str(dataset).isprintable() else f"lines {dataset!r}"
    try:
        expected = slowly(kind, files)
    except Exception:  # the damage is in a part that dqrun does not use: expect the undamaged data
        expected = slowly(*cases()[case["whole"]])
    found = said(dataset)
    differ = [name for name in expected if found[name] != expected[name]]
    return "ran" if not differ else f"different: {case['changed']} was taken with other {', '.join(differ)}"


def slowly(kind: str, files: Files) -> reference.Facts:
    """Returns the facts that the reference reads from raw files; it ignores caches."""
    raw = {name: data for name, data in files.items() if not name.endswith("dqrun-data.safetensors")}
    return (reference.tensors if kind == "tensors" else SOURCES[kind.removeprefix("cache of ")][1])(raw)


def prepare(path: Path) -> None:
    """Judges all undamaged datasets; this imports every needed module before memory is bounded.

    Also disables logging: dqrun reports damaged caches in the log, and nobody reads that log here.
    """
    logging.disable()
    for number, (kind, files) in enumerate(cases()):
        packed = {name: base64.b64encode(data).decode() for name, data in files.items()}
        path.write_text(json.dumps({"kind": kind, "changed": "nothing", "whole": number, "files": packed}))
        assert judge(path) == "ran" and slowly(kind, files), kind


if __name__ == "__main__":
    sys.exit(pool.main(__file__, __doc__, "data files", 500, crafted, judge, prepare))
