"""Pickles of plain data are read; whatever else a pickle asks for is one line, without a call, a crash or a bomb."""

from __future__ import annotations

import ast
import builtins
import pickle
import struct
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from dqrun.data.pickled_arrays import PLAIN, array, csr
from dqrun.data.torch_files import PICKLED_TENSORS, as_tensor
from dqrun.data.unpickling import unpickle


@pytest.mark.parametrize("protocol", range(2, 6))
def test_plain_data_is_what_it_was(protocol: int) -> None:
    value = {"a": [1, -2.5, 2**80, True, None, "é", b"\0\xff", (1, (2,))], 3: {}, 2.5: []}
    assert unpickle(pickle.dumps(value, protocol), PLAIN) == value
    assert unpickle(pickle.dumps(defaultdict(list, {1: [2]}), protocol), PLAIN) == {1: [2]}
    assert unpickle(pickle.dumps(OrderedDict(a=1), protocol), PLAIN) == {"a": 1}


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize(
    "value",
    [
        np.arange(6).reshape(2, 3),
        np.asfortranarray(np.eye(2, 3)),
        np.array([], np.float32),
        np.array([1.5], ">f8"),
        np.array(True),
    ],
)
def test_arrays_keep_type_shape_and_order(value: np.ndarray, protocol: int) -> None:
    found = array(unpickle(pickle.dumps(value, protocol), PLAIN))
    assert found.dtype == value.dtype and np.array_equal(found, value)


def test_csr_matrices_and_tensors() -> None:
    matrix = csr_matrix(np.array([[0, 2.5, 0], [1, 0, 3]]))
    pieces = csr(unpickle(pickle.dumps(matrix), PLAIN))
    assert pieces is not None and np.array_equal(csr_matrix(pieces[:3], pieces[3]).toarray(), matrix.toarray())
    tensor = torch.arange(6.0).view(2, 3).t()
    assert torch.equal(as_tensor(unpickle(pickle.dumps(tensor), PICKLED_TENSORS)), tensor)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"indices": np.array([5])}, "name columns in 0..2"),
        ({"indices": np.array([-1])}, "name columns in 0..2"),
        ({"indptr": np.array([0, 2, 1])}, "add up"),
        ({"indptr": np.array([0, 9])}, "add up"),
        ({"data": np.array([1.0, 2.0])}, "add up"),
        ({"indices": np.array([0.5])}, "must be vectors, of integers"),
        ({"_shape": (2**62, -1)}, "must have a shape"),
        ({"_shape": "x"}, "must have a shape"),
    ],
)
def test_pieces_of_a_matrix_must_fit(change: dict[str, Any], rule: str) -> None:
    matrix = csr_matrix((np.array([1.0]), np.array([0]), np.array([0, 1, 1])), (2, 3))
    matrix.__dict__.update(change)
    with pytest.raises(ValueError, match=rule):
        csr(unpickle(pickle.dumps(matrix), PLAIN))


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + text("b") + b"tR"
HOSTILE = {
    "a call": b"cbuiltins\nexec\n(" + text("import builtins; builtins.planted = 1") + b"tR.",
    "a call by INST": b"(" + text("1") + b"ibuiltins\neval\n.",
    "a call by OBJ": b"(cbuiltins\neval\n" + text("1") + b"o.",
    "a call of an allowed class": b"cscipy.sparse._csr\ncsr_matrix\n(K\x01tR.",
    "a new object of a type": b"cbuiltins\nobject\n)\x81.",
    "attributes of a function": b"ccollections\nOrderedDict\n}" + text("__call__") + b"K\x01sb.",
    "state of a list": b"](" + text("append") + b"K\x01db.",
    "an extension": b"\x82\x01.",
    "a persistent id": b"K\x01Q.",
    "objects as bytes": ARRAY + b"(K\x01(K\x01tcnumpy\ndtype\n(" + text("O8") + b"tR\x89C\x08ABCDEFGHtb.",
    "more elements than bytes": ARRAY
    + b"(K\x01(J\xff\xff\xff\x7ftcnumpy\ndtype\n("
    + text("f8")
    + b"tR\x89C\x08ABCDEFGHtb.",
    "a huge bytearray": b"\x80\x05\x96" + struct.pack("<Q", 2**46) + b".",
    "a huge text": b"\x8d" + struct.pack("<Q", 2**46) + b".",
    "a huge memo": b"Nr" + struct.pack("<I", 2**32 - 1) + b"\x80\x63.",
    "a deeply nested key": b"}" + b"(" * 50000 + b"t" * 50000 + b"K\x01s.",
    "a set": b"\x8f(K\x01\x90.",
    "nothing": b"",
    "no end": b"K\x01",
    "an empty stack": b".",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_whatever_else_is_one_line(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"^[ -~]+$"):
        unpickle(content, PICKLED_TENSORS)
    assert not hasattr(builtins, "planted")


def test_one_pickle_does_not_change_how_the_next_is_read() -> None:
    for name in ("csr_matrix", "OrderedDict"):
        module = "scipy.sparse._csr" if name == "csr_matrix" else "collections"
        with pytest.raises(ValueError, match=r"sets attributes|changes"):
            unpickle(f"c{module}\n{name}\n".encode() + b"}" + text("__init__") + b"K\x01sb.", PLAIN)
    assert unpickle(pickle.dumps(OrderedDict(a=1)), PLAIN) == {"a": 1}


@pytest.mark.parametrize(
    "fields",
    [
        (-1, (2,), (1,)),
        (0, (5,), (1,)),
        (3, (2,), (1,)),
        (0, (2,), (-1,)),
        (0, (4, 4), (0, 1)),
        (0, (2,), (1, 1)),
        (0, (2**61,), (0,)),
        (0, "ab", (1, 1)),
    ],
)
def test_a_tensor_has_the_elements_that_are_there(fields: tuple[int, Any, Any]) -> None:
    class Crafted:
        def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
            storage = torch.arange(4.0).untyped_storage()
            typed = torch.storage.TypedStorage(wrap_storage=storage, dtype=torch.float32, _internal=True)
            return torch._utils._rebuild_tensor_v2, (typed, *fields, False, OrderedDict())

    value = unpickle(pickle.dumps(Crafted()), PICKLED_TENSORS)
    with pytest.raises(ValueError, match=r"a tensor (is malformed|has more elements than the file holds for it)"):
        as_tensor(value)


def test_nothing_of_the_package_reads_data_with_a_reader_that_runs_code(repository: Path) -> None:
    """Calls `pickle.load`, `np.load`, `torch.load` without `weights_only`, and classes of PyG, but for downloads."""
    readers = {("pickle", "load"), ("pickle", "loads"), ("np", "load"), ("torch", "load"), ("joblib", "load")}
    for file in sorted((repository / "dqrun" / "data").rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) not in readers, f"{file.name}:{node.lineno}"
            if isinstance(node, ast.Constant) and node.value == "torch_geometric.datasets":
                assert file.name in ("downloads.py", "stored.py")  # the second only compares names
            if isinstance(node, ast.ImportFrom | ast.Import):
                names = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
                assert not any(str(name).startswith("torch_geometric") for name in names), file.name
