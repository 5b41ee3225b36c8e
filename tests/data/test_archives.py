"""Archives and NPY arrays from bytes: what is read, and what memory no header can claim."""

from __future__ import annotations

import io
import struct
import zipfile

import numpy as np
import pytest

from dqrun.data.archives import member_bytes, open_archive, read_npy


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def with_header(header: str, body: bytes = bytes(16)) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + body


@pytest.mark.parametrize(
    "array", [np.eye(2, 3), np.asfortranarray(np.eye(2, 3)), np.array(3, ">i4"), np.zeros((0, 5)), np.array([True])]
)
def test_arrays_keep_type_and_shape(array: np.ndarray) -> None:
    found = read_npy(npy(array))
    assert found.dtype == array.dtype and found.shape == array.shape and np.array_equal(found, array)


@pytest.mark.parametrize(
    "content",
    [
        with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776,), }"),
        with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (4294967296, 4294967296), }"),
        with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (-2,), }"),
        with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -2), }"),
        with_header("{'descr': '|O', 'fortran_order': False, 'shape': (2,), }"),
        with_header("{'descr': '<c16', 'fortran_order': False, 'shape': (1,), }"),
        with_header("{'descr': '<U2', 'fortran_order': False, 'shape': (2,), }"),
        with_header("{'descr': [('a', '<f8'), ('b', '<f8')], 'fortran_order': False, 'shape': (1,), }"),
        with_header("__import__('os')"),
        with_header("(" * 5000),
        b"\x93NUMPY\x09\x00" + bytes(50),
        b"",
    ],
)
def test_other_headers_are_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"^it (holds|is no)|^its header says"):
        read_npy(content)


def zipped(members: list[tuple[str, bytes]]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return stream.getvalue()


def test_members_are_read_and_damage_is_named() -> None:
    content = zipped([("a.npy", npy(np.eye(50)))])
    assert np.array_equal(read_npy(member_bytes(open_archive(content), "a.npy")), np.eye(50))
    damaged = bytearray(content)
    damaged[60] ^= 255
    with pytest.raises(ValueError, match=r"its member 'a\.npy' is missing or damaged"):
        member_bytes(open_archive(bytes(damaged)), "a.npy")
    with pytest.raises(ValueError, match="truncated or no ZIP archive"):
        open_archive(content[:-10])


def test_bombs_and_names_that_stand_twice_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dqrun.data.archives.MOST_UNPACKED", 10**6)
    open_archive(zipped([("a", bytes(10**6))]))
    with pytest.raises(ValueError, match=r"it unpacks \d+ bytes to 2000000"):
        open_archive(zipped([("a", bytes(10**6)), ("b", bytes(10**6))]))
    with pytest.warns(UserWarning, match="Duplicate name"):
        content = zipped([("a", b"1"), ("a", b"2")])
    with pytest.raises(ValueError, match="two members of one name"):
        open_archive(content)
