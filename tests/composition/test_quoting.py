"""Text fields keep what was typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dqrun.composition.compose import load_configs
from dqrun.composition.quoting import quoted, split
from dqrun.errors import ConfigError


@pytest.mark.parametrize(
    ("word", "result"),
    [
        ("dataset.name=0.10", "dataset.name='0.10'"),
        ("results.dir=2024_11_20", "results.dir='2024_11_20'"),
        ("dataset.path=it's", r"dataset.path='it\'s'"),
        ("dataset.path=my (copy)", "dataset.path='my (copy)'"),
        ("dataset.path=p#1", "dataset.path='p#1'"),
        ("dataset.path=null", "dataset.path=null"),
        ("dataset.name='a, b'", "dataset.name='a, b'"),
        ('dataset.name="a"', 'dataset.name="a"'),
        ("dataset.name=a,0.10, c", "dataset.name='a','0.10','c'"),
        ("dataset.name=choice(1_0,b)", "dataset.name=choice('1_0','b')"),
        ("dataset.path=${oc.env:HOME}/x", "dataset.path=${oc.env:HOME}/x"),
        ("tags=[0.10,a,'x,y']", "tags=['0.10','a','x,y']"),
        ("tags=[a],[b]", "tags=['a'],['b']"),
        ("plan.fp32=[head.**]", "plan.fp32=['head.**']"),
        ("notes=a, b (c", "notes='a, b (c'"),
        ("+dataset.name=1", "+dataset.name='1'"),
        ("train.lr=0.10", "train.lr=0.10"),
        ("model=gin,gcn", "model=gin,gcn"),
        ("~experiment", "~experiment"),
    ],
)
def test_values_of_text_fields_are_quoted(word: str, result: str) -> None:
    assert quoted(word) == result
    assert quoted(result) == result


@given(st.text(st.characters(exclude_characters="$", exclude_categories=["Cs"])))
def test_a_field_without_commas_holds_any_text(text: str) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    wanted = quoted(f"notes={text}")
    parsed = OverridesParser.create().parse_override(wanted).value()
    inside = text[:1] in ("'", '"') and wanted == f"notes={text}"  # it was quoted
    assert inside or str(parsed) == text


@given(st.text(",'\"()[] ab", max_size=12))
def test_parts_join_to_the_whole(text: str) -> None:
    assert ",".join(split(text)) == text


@pytest.mark.parametrize("name", ["0.10", "2024_11_20", "1e3", "true", "données", "it's", "my (copy)", "p#1", "null"])
def test_names_reach_the_configuration(name: str) -> None:
    (config,) = load_configs([f"dataset.name={name}", f"results.dir={name}", f"notes={name}"])
    assert (config.dataset.name, config.results.dir, config.notes) == (name, name, name)


def test_tags_stay_text_and_sweeps_go_on() -> None:
    (config,) = load_configs(["tags=[0.10,1_0]"])
    assert config.tags == ["0.10", "1_0"]
    found = load_configs(["results.dir=0.1,0.10", "train.lr=0.1"], multirun=True)
    assert [config.results.dir for config in found] == ["0.1", "0.10"]
    with pytest.raises(ConfigError, match="gives several values: add -m"):
        load_configs(["results.dir=a,b"])


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(ConfigError, match="must be text in the encoding of the terminal"):
        load_configs(["dataset.name=\udcff"])


@pytest.mark.parametrize(
    ("file", "content", "name"),
    [
        ("dataset/mine.yaml", "name: 0.10\nsource: threads\ntask: graph_classification\n", "dataset.name"),
        ("experiment/mine.yaml", "# @package _global_\nresults: {dir: 2024_11_20}\n", "results.dir"),
    ],
)
def test_a_number_for_text_in_a_preset_is_refused(tmp_path: Path, file: str, content: str, name: str) -> None:
    path = tmp_path / file
    path.parent.mkdir()
    path.write_text(content)
    group = path.parent.name
    with pytest.raises(ConfigError, match=f"^{name} must be text, got the number .*mine.yaml: write it in quotes"):
        load_configs([f"{group}=mine"], config_dir=str(tmp_path))
    load_configs(["quant=fp32"], config_dir=str(tmp_path))  # it is not chosen
