"""The container of program files: tensors come back as they were, in order, with their types."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save
from torch import Tensor

from dqrun.integer.container import NAMES, Damage, ForeignFormat, Reader, Writer

SHAPES = st.lists(st.integers(0, 5), max_size=3)


@given(st.lists(st.tuples(SHAPES, st.sampled_from(list(NAMES))), max_size=8))
def test_round_trip(kinds: list[tuple[list[int], torch.dtype]]) -> None:
    writer = Writer()
    tensors = [torch.randn(shape).mul(99).to(dtype) for shape, dtype in kinds]
    structure = {"tensors": [writer.put(tensor) for tensor in tensors], "text": "a\nb"}
    reader = Reader(writer.write(structure))
    assert reader.structure == json.loads(json.dumps(structure))
    for tensor, spec in zip(tensors, reader.structure["tensors"], strict=True):
        found = reader.take(spec)
        assert found.dtype == tensor.dtype and torch.equal(found, tensor)
    reader.require_end()


def test_special_values_keep_their_bits() -> None:
    values = torch.tensor([0.0, -0.0, torch.inf, torch.nan, 1e-45, 1 / 3])
    writer = Writer()
    spec = writer.put(values)
    found: Tensor = Reader(writer.write({})).take(spec)
    assert torch.equal(found.view(torch.int32), values.view(torch.int32))


def test_what_is_not_there_cannot_be_taken() -> None:
    writer = Writer()
    writer.put(torch.zeros(3))
    data = writer.write({})
    with pytest.raises(Damage, match=r"a tensor of \['f4', 4\] where 3 words of 4 bytes are left"):
        Reader(data).take(["f4", 4])
    with pytest.raises(Damage, match="3 words that no operation has"):
        Reader(data).require_end()


def test_other_bytes_are_refused() -> None:
    for data in (b"", b"anything", b"{" * 20, save({"a": torch.zeros(1)}, {"format": "dqrun-program-1"})):
        with pytest.raises(ForeignFormat):
            Reader(data)


def test_the_header_must_be_as_written() -> None:
    writer = Writer()
    writer.put(torch.zeros(3, dtype=torch.int8))
    data = writer.write({})
    assert writer.write({}) == data
    with pytest.raises(Damage, match="not as it was written"):
        Reader(data.replace(b'{"__meta', b'{ "__meta').replace(b"  ", b" ", 1))
    with pytest.raises(Damage, match="elements of type"):
        Reader(data.replace(b'"U8"', b'"I8"'))
