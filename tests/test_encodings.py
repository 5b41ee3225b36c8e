"""Every text file that dqrun reads or writes is UTF-8, whatever the locale of the machine."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

OTHERS = {"os", "safetensors", "zipfile", "Image", "Archive", "archive", "tarfile", "ParquetFile", "EdgeFile"}
"""`open` of these is not about text. (pandas takes UTF-8 unless told otherwise.)"""


def without_encoding(source: str) -> Iterator[ast.Call]:
    """The calls that read or write text in the locale's encoding."""
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        method = isinstance(call.func, ast.Attribute)
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        owner = getattr(call.func.value, "id", "") if isinstance(call.func, ast.Attribute) else ""
        if any(keyword.arg == "encoding" for keyword in call.keywords) or owner == "durable":
            continue
        opens = (name == "open" and owner not in OTHERS) or name in ("fdopen", "NamedTemporaryFile")
        place = 0 if name != "fdopen" and method else 1
        if (method and name in ("read_text", "write_text")) or (opens and not binary(call, place)):
            yield call


def binary(call: ast.Call, place: int) -> bool:
    """Whether the mode of an `open` is binary."""
    modes = [keyword.value for keyword in call.keywords if keyword.arg == "mode"] + call.args[place : place + 1]
    return any(isinstance(mode, ast.Constant) and "b" in str(mode.value) for mode in modes)


def test_every_text_file_has_its_encoding_named(repository: Path) -> None:
    found = [
        f"{file.relative_to(repository)}:{call.lineno}"
        for file in sorted((repository / "dqrun").rglob("*.py"))
        for call in without_encoding(file.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("call", "found"),
    [
        ("path.read_text()", True),
        ("path.read_text(encoding='utf-8')", False),
        ("path.open()", True),
        ("path.open('rb')", False),
        ("open(path, 'w')", True),
        ("open(path, mode='wb')", False),
        ("os.open(path, flags)", False),
        ("os.fdopen(handle, 'w')", True),
        ("write_text(path, text)", False),
        ("durable.write_text(path, text)", False),
    ],
)
def test_what_counts_as_text(call: str, found: bool) -> None:
    assert bool(list(without_encoding(call))) is found
