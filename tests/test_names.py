"""Text of a user as a part of a path."""

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dqrun.names import LONGEST, path_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("REDDIT-BINARY", "reddit-binary"),
        ("github_stargazers", "github_stargazers"),
        ("./g1", "%2E%2Fg1"),
        ("..", "%2E%2E"),
        ("données", "donn%C3%A9es"),
        ("my (copy)", "my%20%28copy%29"),
        ("a\\b:c", "a%5Cb%3Ac"),
        ("~", "%7E"),
        ("\udcff", "%ED%B3%BF"),
    ],
)
def test_examples(text: str, name: str) -> None:
    assert path_name(text) == name


@given(st.text())
def test_names_are_plain_parts_of_a_path_and_can_be_read_back(text: str) -> None:
    name = path_name(text)
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-%ABCDEF") and len(name) <= LONGEST
    if len(name) < LONGEST - 2:
        assert unquote(name, errors="surrogatepass") == text.lower()


def test_a_cut_name_ends_with_a_whole_character() -> None:
    assert path_name("a" * (LONGEST - 1) + "/") == "a" * (LONGEST - 1)
    assert path_name("a" * (LONGEST - 2) + "/") == "a" * (LONGEST - 2)
