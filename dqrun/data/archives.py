"""ZIP archives, gzip files and NPY arrays from bytes, with memory bounded by the size of the file; no pickles."""

from __future__ import annotations

import gzip
import io
import math
import zipfile
import zlib
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

MOST_UNPACKED = 2**30  # unpacked bytes that any file may have
MOST_RATIO = 100  # largest ratio of unpacked to packed bytes beyond that


def open_archive(content: bytes) -> zipfile.ZipFile:
    """A ZIP archive. Raises ValueError for other content, duplicate names, and a decompression bomb.

    Python's reader gives no more bytes of a member than its entry declares, so the declared sizes are a bound.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except Exception:  # zipfile documents BadZipFile and raises more
        raise ValueError("it is truncated or no ZIP archive") from None
    names = archive.namelist()
    if len(set(names)) < len(names):
        raise ValueError("it holds two members of one name")
    unpacked = sum(info.file_size for info in archive.infolist())
    if unpacked > max(MOST_UNPACKED, MOST_RATIO * len(content)):
        raise ValueError(f"it unpacks {len(content)} bytes to {unpacked}")
    return archive


def member_bytes(archive: zipfile.ZipFile, name: str) -> bytes:
    """The content of one member. Raises ValueError if it is missing or damaged."""
    try:
        return archive.read(name)
    except Exception:  # damaged members raise many kinds of exceptions
        raise ValueError(f"its member {name!r:.60} is missing or damaged") from None


def gunzip(content: bytes) -> bytes:
    """The content of a gzip file. Raises ValueError for other content, a damaged file, and a decompression bomb."""
    most = max(MOST_UNPACKED, MOST_RATIO * len(content))
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            unpacked = file.read(most + 1)
    except (OSError, EOFError, zlib.error):
        raise ValueError("it is truncated or no gzip file") from None
    if len(unpacked) > most:
        raise ValueError(f"it unpacks {len(content)} bytes to more than {most}")
    return unpacked


def npy_header(stream: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether in Fortran order, and dtype of an NPY file of numbers or booleans; values follow in the stream.

    Raises ValueError for anything else.
    """
    try:
        version = np.lib.format.read_magic(stream)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, fortran, dtype = read(stream)
    except OSError:
        raise
    except Exception:  # numpy parses the header as Python text
        raise ValueError("it is no NPY array of numbers") from None
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise ValueError(f"it holds {'objects' if dtype.hasobject else dtype}, not numbers")
    return shape, fortran, dtype


def read_npy(content: bytes) -> NDArray[Any]:
    """The array of an NPY file of numbers or booleans. Raises ValueError for anything else."""
    stream = io.BytesIO(content)
    shape, fortran, dtype = npy_header(stream)
    body = memoryview(content)[stream.tell() :]
    if any(size < 0 for size in shape) or math.prod(shape) * dtype.itemsize != len(body):
        raise ValueError(f"its header says {list(shape)} of {dtype}, but it holds {len(body)} bytes")
    return np.frombuffer(body, dtype).reshape(shape, order="F" if fortran else "C")
