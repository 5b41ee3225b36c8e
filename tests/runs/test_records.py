"""Small files that are read strictly."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dqrun.runs.records import check_types, parse_yaml, read_text

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(9)
)


def test_a_mapping_is_read() -> None:
    assert parse_yaml("a: {b: [1, 0.5, x]}\nc: null\n") == {"a": {"b": [1, 0.5, "x"]}, "c": None}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it holds no mapping of names"),
        ("- 1", "it holds no mapping of names"),
        ("1: 2", "it holds no mapping of names"),
        ("a: [", "it is not YAML"),
        ("a: 2024-13-45", "it is not YAML"),
        ("a: !!python/object:os.system {}", "it is not YAML"),
        ("[" * 5000, "it is not YAML"),
        ("a: &a [*a]", "it has more than 10000 values"),
        (f"a: &a [{','.join(['*a'] * 9_000)}]", "it has more than 10000 values"),
        (BOMB, "it has more than 10000 values"),
    ],
    ids=range(10),
)
def test_what_is_no_mapping_is_refused_in_one_line(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}") as caught:
        parse_yaml(text)
    assert len(str(caught.value).splitlines()) == 1


@dataclass
class _Listed:
    sizes: list[int] = field(default_factory=lambda: [1])
    names: tuple[str, ...] = ()


def test_lists_and_tuples_are_lists_of_json() -> None:
    assert check_types(_Listed, {}) == {"sizes": [1], "names": ()}
    assert check_types(_Listed, {"sizes": [2, 3], "names": ["a"]}) == {"sizes": [2, 3], "names": ("a",)}


@pytest.mark.parametrize("values", [{"sizes": 2}, {"sizes": [None]}, {"sizes": [2.5]}, {"names": "a"}, {"names": [1]}])
def test_no_list_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must be a list of"):
        check_types(_Listed, values)


def test_only_regular_files_in_utf8_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "bytes").write_bytes(b"\xff")
    with pytest.raises(ValueError, match="it is no regular file"):
        read_text(tmp_path / "pipe")
    with pytest.raises(ValueError, match="it is not text in UTF-8"):
        read_text(tmp_path / "bytes")
